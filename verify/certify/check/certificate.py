"""The judgement: do the files of this folder and this certificate belong together, and is every
part proved?
"""

from __future__ import annotations

import hashlib
import struct
from math import inf
from pathlib import Path
from typing import Any

from tinyadder.verify.certify.check import (
    block,
    graph_texts,
    intervals,
    sums,
    texts,
    tokens,
    units,
)
from tinyadder.verify.certify.check.block import BlockModel
from tinyadder.verify.certify.check.boxes import Tree
from tinyadder.verify.certify.check.files import canonical, number, parse, read, same
from tinyadder.verify.certify.check.graph import RULES as graph_rules
from tinyadder.verify.certify.check.graph import Graph, Reading, assumed
from tinyadder.verify.certify.check.graph_boxes import GraphTree
from tinyadder.verify.certify.check.intervals import NUMERICS, Rejected, need
from tinyadder.verify.certify.check.model import USUAL, ModelFiles, ProgramModel, no_overflow
from tinyadder.verify.certify.check.proof import TreeChecker
from tinyadder.verify.certify.check.specifications import Automaton, count

VERSION = 3
GRAPH_FORMAT, GRAPH_VERSION = "tinyadder certificate of a graph", 2
RULES = {
    "EMBED": "the residual stream starts as the embedding row of a token, exactly",
    "LINEAR": "fl(sum of n products) lies within gamma(n) times the sum of their sizes, within"
    " gamma(n - 1) if all weights are powers of two; exact if all are known and fit a grid of 2^53"
    " steps; one product, or two known doubles: the nearest double. The residual stream is one such"
    " sum: itself and all that a sublayer adds",
    "ALIBI": "slope * (j - i) is one product, and one more term of the score",
    "ATTN": "exponentials of scores less the largest, each a table over its token; their sum with"
    " e^-largest; quotients; products with the values, and their sum",
    "MUL": "token by token if one factor depends on the token at its position only; else the factor"
    " known better is replaced by its range",
    "RELU": "by the sign of the gate; where that is open: at the query by cases, elsewhere a chord",
    "READ": "differences of two logits, in which symbols cancel, less the rounding of each",
    "PATH": "the least value of a form over the texts of a branch is that of a shortest path",
}
"""The rules of a proof; docs/proofs.md has them in full."""


def check(folder: Path, certificate: Path | None = None) -> dict[str, Any]:
    """What is proved: task, number of problems, smallest margin, digest of the model.

    Raises `Rejected` for all that does not prove it.
    """
    try:
        data = read(certificate or folder / "certificate.json")
        given = parse(data)
        if given["format"] == GRAPH_FORMAT:
            alone = not (folder / "model.json").exists()
            need(alone, "it is about its own graph, not about the model in this folder")
            return judge_graph(given)
        model = model_of(folder)
        # a rotary base is one; the certificates of programs, which two checkers read, have none
        return judge(model, parse(data, fractions=isinstance(model, BlockModel)))
    except (
        OSError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        MemoryError,
        struct.error,
    ) as error:
        raise Rejected(f"{type(error).__name__}: {error}") from error


def model_of(folder: Path) -> ProgramModel | BlockModel:
    """The model, as one of the two families that there are rules for."""
    options = ModelFiles(folder).options
    return ProgramModel(folder) if same(options, USUAL) else BlockModel(folder)


def judge(model: ProgramModel | BlockModel, certificate: dict[str, Any]) -> dict[str, Any]:
    """`check` of what the files hold."""
    seal, weights = certificate.pop("sha256"), model.to_json()
    sealed = hashlib.sha256(canonical(certificate)).hexdigest() == seal
    need(sealed, "the certificate was edited or truncated")
    made_for, found = certificate["weights"]["sha256"], weights["sha256"]
    which = f"it is for weights {made_for[:8]}.., this model is {found[:8]}.."
    need(made_for == found, f"{which}: it proves nothing about it")
    vocabulary, specifications = tokens.read_task(model.task)
    need(model.vocabulary == vocabulary, "the vocabulary of the model is not that of the task")
    digest = model.digest(found)
    written = isinstance(model, ProgramModel)
    rules = [*RULES] if written else block.rules_for(model.options)
    if written and certificate["rules"] == [*texts.RULES]:
        rules = [*texts.RULES]
    expected = {
        "format": "tinyadder certificate",
        "version": VERSION if isinstance(model, ProgramModel) else block.VERSION,
        "model": digest,
        "config": model.config,
        "task": model.task,
        "numerics": NUMERICS if isinstance(model, ProgramModel) else model.numerics(),
        "rules": rules,
        "weights": weights,
    }
    for name, value in expected.items():
        need(same(certificate.pop(name), value), f"the certificate is of another {name}")
    parts, stated = certificate.pop("parts"), certificate.pop("margin")
    only = set(certificate) == {"versions"}
    need(only, "the certificate has a part too many, or none of the versions")
    if rules == [*texts.RULES]:
        need(parts is None and stated is None, "there is something besides the texts")
        problems, claims, margin = every_text(model, specifications)
    else:
        problems, claims, margin = every_branch(model, specifications, parts)
        exact = intervals.exact if written else units.exact
        need(exact(number(stated))[0] == margin, "the margin is not the smallest of all branches")
    return {
        "task": model.task,
        "problems": problems,
        "margin": margin / (intervals.ONE if written else units.ONE),
        "unit": "logits" if written else "logits times the root of the final norm",
        "claims": claims,
        "counted": "tokens of texts" if rules == [*texts.RULES] else "shortest paths",
        "numerics": expected["numerics"],
        "sha256": digest,
    }


def judge_graph(certificate: dict[str, Any]) -> dict[str, Any]:
    """`check` of a certificate that carries its model: the graph of a stranger's module, with the
    format of its decoding. What it says about the module is for whoever made the graph.
    """
    seal = certificate.pop("sha256")
    sealed = hashlib.sha256(canonical(certificate)).hexdigest() == seal
    need(sealed, "the certificate was edited or truncated")
    graph = Graph(certificate["graph"])
    task = certificate["task"]
    need(set(task) == {"name", "options"}, "the task is not described")
    need(task["name"] in ("sum", tokens.NAME), "the task is none of a graph")
    by_text = certificate["rules"] == [*graph_texts.RULES]
    expected = {
        "format": GRAPH_FORMAT,
        "version": GRAPH_VERSION,
        "numerics": assumed(graph.rounding),
        "rules": [*(graph_texts.RULES if by_text else graph_rules)],
    }
    for name, value in expected.items():
        need(same(certificate[name], value), f"the certificate is of another {name}")
    parts = {*expected, "graph", "task", "parts", "margin", "versions", "about"}
    need(set(certificate) == parts, "the certificate has a part too many, or too few")
    if by_text:
        nothing = certificate["parts"] is certificate["margin"] is None
        need(nothing, "there is something besides the texts")
        need(task["name"] == tokens.NAME, "a sum of numbers is not gone through text by text")
        logits, every = tokens.asked(task["options"])
        least, problems, claims = graph_texts.smallest_margin(graph, logits, every)
        margin = least / graph_texts.UNIT * (1 - 2.0**-50)  # below, whatever the division rounded
    else:
        problems, claims, least = every_graph_branch(graph, task, certificate["parts"])
        need(
            units.exact(number(certificate["margin"]))[0] == least, "the margin is not the smallest"
        )
        margin = least / units.ONE
    return {
        "task": task["options"]["task"] if task["name"] == tokens.NAME else task,
        "problems": problems,
        "margin": margin,
        "unit": "logits" if by_text else "logits, without a positive factor that all share",
        "claims": claims,
        "counted": "answer tokens" if by_text else "shortest paths",
        "numerics": expected["numerics"],
        "sha256": hashlib.sha256(canonical([certificate["graph"], task])).hexdigest(),
    }


def every_graph_branch(graph: Graph, task: Any, parts: Any) -> tuple[int, int, int]:
    """Problems, shortest paths, smallest margin of the trees of a graph."""
    claims, margins = 0, []
    if task["name"] == tokens.NAME:
        logits, every = tokens.asked(task["options"])
        passes = tokens.lengths_of(graph.passes, every)
        for part, one in zip(parts, every, strict=True):
            reading = Reading(graph, passes.index(one.place), smallest=False, outputs=logits)
            tree = GraphTree(reading, one.stages, one.place)
            margins.append(tree.part(part))
            claims += tree.claims
        return tokens.problems(every), claims, min(margins)
    specifications = sums.passes(task["options"])
    need(len(graph.passes) == len(specifications), "a pass has no specification")
    for which, (part, (_, stages)) in enumerate(zip(parts, specifications, strict=True)):
        reading = Reading(graph, which, smallest=task["options"]["smallest"])
        tree = GraphTree(reading, stages)
        margins.append(tree.part(part))
        claims += tree.claims
    return 10 ** (2 * task["options"]["digits"]), claims, min(margins)


def every_branch(
    model: ProgramModel | BlockModel,
    specifications: list[Automaton],
    parts: list[dict[str, Any]],
) -> tuple[int, int, float]:
    """Problems, shortest paths, smallest margin of the trees in a certificate."""
    problems, claims, margin = 0, 0, inf
    for part, specification in zip(parts, specifications, strict=True):
        stages = specification[1]
        checker = (
            TreeChecker(model, stages) if isinstance(model, ProgramModel) else Tree(model, stages)
        )
        problems += part_of(part, specification)
        first, trees = specification[0] - 1, part["positions"]
        if isinstance(checker, TreeChecker):
            no_overflow(checker.model, len(stages))
            need(len(trees) == len(stages) - first - 1, "a position is missing")
            found = [checker.position(tree, i) for i, tree in enumerate(trees, first)]
        else:
            answered = [p for tree in trees for p in tree["positions"]]
            need(same(sorted(answered), [*range(first, len(stages) - 1)]), "not each position once")
            found = [checker.position(tree) for tree in trees]
        margin = min([margin, *found])
        claims += checker.claims
    return problems, claims, margin


def every_text(
    model: ProgramModel | BlockModel, specifications: list[Automaton]
) -> tuple[int, int, float]:
    """Problems, tokens read, smallest margin of all texts, one by one."""
    assert isinstance(model, ProgramModel)
    problems, read, margin = 0, 0, inf
    for start, stages in specifications:
        no_overflow(model, len(stages))
        smallest, more = texts.smallest_margin(model, start, stages)
        problems, read, margin = problems + count(stages), read + more, min(margin, smallest)
    return problems, read, margin


def part_of(part: dict[str, Any], specification: Automaton) -> int:
    """The number of texts of a part of the certificate, if it is of the checker's specification."""
    (start, stages), length = specification, len(specification[1])
    once = sorted(p for p, _ in stages) == list(range(length))
    need(once, "the specification does not visit every position once")
    rows = [{"position": p, "edges": [list(m) for m in moves]} for p, moves in stages]
    spec = {"start": start, "length": length, "stages": rows}
    texts = count(stages)
    need(texts > 0, "the specification has no texts")
    stated = {"sha256": hashlib.sha256(canonical(spec)).hexdigest(), "texts": texts, **spec}
    need(same(part["specification"], stated), "the certificate is of another specification")
    need(set(part) == {"specification", "positions"}, "a part has something missing or too much")
    return texts
