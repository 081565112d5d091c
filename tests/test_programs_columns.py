"""What the checker of programs believes of every column, held against runs of the model; and faults
planted in the checker, each of which must be noticed.
"""

import ast
import json
import sys
from fractions import Fraction
from random import Random
from types import SimpleNamespace

import pytest
import torch

import tinyadder.verify.certify.programs.check  # noqa: F401  (the module, below)
from tests import planting
from tinyadder.inspect.trace import run_with_cache
from tinyadder.io.folder import save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.programs import compile, everywhere, indices, key, prefix, tokens, where
from tinyadder.tasks import sequences
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.programs.prove import certify_program
from tinyadder.verify.verdict import Proved

CHECK = sys.modules["tinyadder.verify.certify.programs.check"]
PROVE = sys.modules["tinyadder.verify.certify.programs.prove"]
MEANING = sys.modules["tinyadder.verify.certify.programs.meaning"]

x, i = tokens("abc"), indices()
rank = (key(x) < x).count() + (prefix() & (key(x) == x)).count() - 1
HONEST = {
    "hist": compile((key(x) == x).count(), length=3),
    "sort": compile((key(rank) == i).pick(x), length=3),
    "share": compile(prefix().mean(x == "a"), length=3, causal=True),
    "previous": compile((key(i) == i - 1).pick(x, default="c"), length=3, causal=True),
    "nearest": compile((prefix() & (key(x) != "b")).latest(x, default="b"), length=3, causal=True),
    "first": compile((key(x) != "b").earliest(x, default="b"), length=3),
    "positive": compile(
        where(prefix().sum(x.map({"a": 1, "b": -1, "c": 0})) > 0, x, "b"), length=3, causal=True
    ),
    "number": compile(
        prefix().mean(x == "a") * 2 - everywhere().count(), length=3, answers="number"
    ),
    "less_frequent": compile(
        (key((key(x) == x).count()) <= (key(x) == x).count()).count(), length=2
    ),
    "turned": compile((key((i + 1) % everywhere().count()) == i).pick(x), length=2),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The honest models, each proved."""
    place = tmp_path_factory.mktemp("columns")
    for name, made in HONEST.items():
        model = build(made.program)
        save(model, made.task, place / name, name=name, options={})
        verdict = certify_program(model, made.task, place / name, 0)["verdict"]
        assert isinstance(verdict, Proved), (name, verdict)
    return place


def believed_streams(folder):
    """The columns before each sublayer and at the end, as the checker follows them; and where each
    column that a head wrote can be seen: (hook, column, what is believed of it), by its number.
    """
    seen, written = [], []

    class Watched(CHECK.ProgramChecker):
        def attention(self, depth, layer, stream):
            seen.append((f"blocks.{depth}.hook_resid_pre", stream))
            return super().attention(depth, layer, stream)

        def head(self, hint, layer, h, r, stream):
            column = super().head(hint, layer, h, r, stream)
            written.append((f"blocks.{hint['layer']}.hook_resid_mid", hint["column"], column))
            return column

        def units(self, layer, stream):
            depth = next(d for d, other in enumerate(self.model.layers) if other is layer)
            seen.append((f"blocks.{depth}.hook_resid_mid", stream))
            return super().units(layer, stream)

        def read(self, stream):
            seen.append((f"blocks.{len(self.model.layers) - 1}.hook_resid_post", stream))
            return super().read(stream)

    certificate = json.loads((folder / "certificate.json").read_text())
    options = json.loads((folder / "model.json").read_text())["task"]["options"]
    meaning = MEANING.Meaning(
        json.loads(options["program"]), options["length"], options.get("copies", 0)
    )
    checker = Watched(ProgramModel(folder), meaning, certificate)
    checker.run()
    assert len(written) == len(checker.radius)
    return seen, written


def strays(name, folder):
    """How often a column is not what the checker believes, over all texts and positions."""
    made, found = HONEST[name], 0
    model, task = build(made.program), made.task
    (streams, written), domain = believed_streams(folder), task.domain()
    for n in range(domain.size):
        problem = domain.problem(n)
        if task.copies and problem[1] != len(problem[0]) - 1:
            continue  # the prompt of the last position has all others within
        prompt = task.prompt(problem)
        ids = torch.tensor([[model.config.vocabulary.index(t) for t in prompt]])
        _, cache = run_with_cache(model, ids)
        letters = {name: value for value, name in task.graph["inputs"].items()}
        text = [letters[t] for t in problem[0]]
        nodes = [
            sequences.evaluate(task.graph | {"output": k}, text)
            for k in range(len(task.graph["nodes"]))
        ]
        for at, token in enumerate(prompt):
            copy, place = divmod(at, len(text) + 1)
            given = {CHECK.TOKEN: letters.get(token), CHECK.INDEX: place, CHECK.COPY: copy}
            off = []
            for hook, k, column in written:
                held = Fraction(cache[hook][0, at, k].item())
                known = described(column, token, copy, place, nodes, given)
                off.append(None if known is None else held - known.value)
            for hook, stream in streams:
                for k, column in enumerate(stream):
                    held = Fraction(cache[hook][0, at, k].item())
                    found += not within(column, held, token, copy, place, nodes, given, off)
    return found


def described(column, token, copy, place, nodes, given):
    """What is believed to be held at a token where the table holds, else None."""
    if token == "|" or copy < column.level:
        return None
    row = tuple(given[b] if b in given else nodes[b][place] for b in column.bases)
    return column.table[row]


def within(column, held, token, copy, place, nodes, given, off):
    """Whether a column may hold this number at a token or separator of a copy; `off` is what each
    column that a head wrote is off by there.
    """
    last = len(column.separators)
    at = last + 1 + copy if token == "|" else copy
    low, high = column.boxes[at]
    if not low - 1e-300 <= held <= high + 1e-300:
        return False
    if token == "|":
        mark = column.separators[copy]
        near = [] if mark is None else mark.table.values()
        return mark is None or any(abs(held - m.value) <= Fraction(m.error) for m in near)
    known = described(column, token, copy, place, nodes, given)
    if known is None:
        return True
    noise = sum(factor * off[symbol] for symbol, factor in known.noise)
    apart = held - known.value
    return abs(apart) <= Fraction(known.error) and abs(apart - noise) <= Fraction(known.rest)


# ---- planted faults ------------------------------------------------------------------------------


def other_task(made, change):
    """The task with another graph, under the same weights."""
    graph = json.loads(made.task.program)
    change(graph)
    return sequences.Sequences(json.dumps(graph), made.task.length, made.task.copies)


def mutated(name, tensor, at, factor):
    """An honest model with one weight multiplied."""
    model = build(HONEST[name].program)
    dict(model.named_parameters())[tensor].data.view(-1)[at] *= factor
    return model, HONEST[name].task


def blind_to_copies():
    return mutated("hist", "blocks.1.attention.key", 2, -1.0)


def loud_where_nothing_is_selected():
    made = compile((key(x) == x.map({"a": "b", "b": "c", "c": "d"}.get)).count(), length=3)
    model = build(made.program)
    a, c = (made.task.vocabulary.index(t) for t in "ac")
    for asked in (0, 3):  # the letter after, and its square
        model.embedding.data[c, asked] = model.embedding.data[a, asked]
    return model, made.task


def looking_ahead():
    made = compile((key((key(x) == x).count()) == 1).count(), length=3, causal=True)
    return build(made.program), other_task(made, lambda graph: graph.update(causal=False))


def length_as_position():
    made = compile(everywhere().count(), length=3, vocabulary="ab")

    def change(graph):
        graph["nodes"] = [
            {"op": "indices", "inputs": []},
            {"op": "affine", "inputs": [0], "factors": [1], "offset": 1},
        ]
        graph["output"] = 1
        for head in graph["hints"]["heads"]:
            head["node"] = "index" if head["lane"] == "count" else head["node"]

    return build(made.program), other_task(made, change)


def farthest_for_nearest():
    made = compile((prefix() & (key(x) != "b")).earliest(x, default="b"), length=3, causal=True)

    def change(graph):
        for node in graph["nodes"]:
            node["op"] = "latest" if node["op"] == "earliest" else node["op"]

    return build(made.program), other_task(made, change)


def other_default():
    made = compile((prefix() & (key(x) != "b")).latest(x, default="b"), length=3, causal=True)

    def change(graph):
        for node in graph["nodes"]:
            if "default" in node:
                node["default"] = "a"

    return build(made.program), other_task(made, change)


def deaf_readout():
    model = build(HONEST["hist"].program)
    model.unembedding.data.neg_()
    return model, HONEST["hist"].task


def renamed(function, old, new, places=1):
    """A fault: an expression is another one."""

    def change(node):
        there = isinstance(node, ast.expr) and ast.unparse(node) == old
        return planting.expression(new) if there else None

    return planting.within(function, change, places)


WRONG = {
    "SELECT: other copies": (
        planting.instead("Selection._elsewhere", "box_sum", "(0, -1e9)"),
        blind_to_copies,
    ),
    "SELECT: ahead": (
        planting.both(
            planting.believed("Selection._fate", "looks ahead"),
            planting.believed("Selection._fate", "may look ahead"),
        ),
        looking_ahead,
    ),
    "SELECT: the copy": (
        planting.believed("Selection.__init__", "in the copy before"),
        length_as_position,
    ),
    "SUM: silence": (
        planting.within(
            "Selection.__init__",
            lambda node: (
                planting.expression("self.gap")
                if ast.unparse(node) == "self.lowest - self.loudest"
                else None
            ),
        ),
        loud_where_nothing_is_selected,
    ),
    "MEAN: default": (
        planting.believed("ProgramChecker.head", "default is another"),
        other_default,
    ),
    "ORDER: sign": (planting.believed("ProgramChecker.head", "other sign"), farthest_for_nearest),
    "READ": (planting.believed("ProgramChecker.read", "may win"), deaf_readout),
}
"""Faults with which a wrong model is proved."""
OTHER = {
    "EMBED": (planting.instead("ProgramChecker.run", "index", "0", places=2), "hist"),
    "UNITS: open gate": (
        planting.both(
            planting.instead("ProgramChecker.unit", "max", "g"),
            planting.always("ProgramChecker.unit", ast.If, False),
        ),
        "positive",
    ),
    "UNITS: closed gate": (planting.always("ProgramChecker.unit", ast.If, True), "positive"),
    "SUM: scale": (planting.instead("Selection.__init__", "exp_of", "Fraction(1, 2**90)"), "hist"),
    "RANK": (planting.assigned("MOST_PAIRS", "0"), "sort"),
    "MARK: silence": (renamed("Selection.silent", "self.stored", "self.largest"), "hist"),
    "MARK: what is counted": (
        planting.instead("Selection._count_at", "range", "range(1)", places=4),
        "less_frequent",
    ),
    "PLACE": (planting.instead("Meaning.is_length", "isinstance", "False"), "turned"),
    "NUMBER": (planting.instead("ProgramChecker.read_number", "above", "1.0"), "number"),
}
"""Faults with which an honest model is not proved, or a column is not what is believed."""


def proved(model, task, folder):
    save(model, task, folder, name="x", options={}, force=folder.exists())
    return isinstance(certify_program(model, task, folder, 0)["verdict"], Proved)


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_that_lets_a_wrong_model_pass_is_noticed(name, tmp_path, monkeypatch):
    fault, wrong = WRONG[name]
    model, task = wrong()
    domain = task.domain()
    problems = [domain.problem(n) for n in range(domain.size)]
    given = answers(model, task, problems)
    assert any(tuple(g) != task.answer(p) for g, p in zip(given, problems, strict=True))
    assert not proved(model, task, tmp_path / "m")
    with planting.planted(CHECK, fault, (CHECK,)):
        monkeypatch.setattr(PROVE, "check", CHECK.check)
        assert proved(model, task, tmp_path / "m")


@pytest.mark.parametrize("name", OTHER)
def test_a_fault_about_what_is_computed_is_noticed(name, folders, tmp_path, monkeypatch):
    fault, honest = OTHER[name]
    made = HONEST[honest]
    module = MEANING if name in ("RANK", "PLACE") else CHECK
    with planting.planted(module, fault, (MEANING, CHECK)):
        monkeypatch.setattr(PROVE, "check", CHECK.check)
        if proved(build(made.program), made.task, tmp_path / "m"):
            assert strays(honest, folders / honest) > 0


# ---- noise ---------------------------------------------------------------------------------------

RADIUS = [0.02, 0.05]


def drawn(random, rest=0.01):
    """(what is believed of a number, the number for what two columns are off by)."""
    value = Fraction(random.randint(-8, 8), 16)
    noise = tuple((s, Fraction(random.randint(-8, 8), 4)) for s in (0, 1))
    own = Fraction(random.choice((-1, 1)) * rest)
    error = rest + sum(abs(float(f)) * r for (_, f), r in zip(noise, RADIUS, strict=True))
    held = CHECK.Held(value, error * (1 + 1e-12), rest * (1 + 1e-12), noise)
    return held, lambda off: value + own + sum(f * o for (_, f), o in zip(noise, off, strict=True))


def outside(tries=150):
    """How often a unit, a sum or a score lies outside of what the checker believes, where all that
    columns are off by is as large as it may be.
    """
    random, found = Random(5), 0
    checker = CHECK.ProgramChecker.__new__(CHECK.ProgramChecker)
    checker.radius, checker.combinations, checker.meaning = RADIUS, 0, SimpleNamespace(copies=0)
    selection = CHECK.Selection.__new__(CHECK.Selection)
    selection.checker, selection.slope = (
        SimpleNamespace(combinations=0, radius=RADIUS, total=1),
        0.0,
    )
    checker.meaning.rows = lambda bases: [()]
    for _ in range(tries):
        off, away = ([Fraction(random.choice((-r, r))) for r in RADIUS] for _ in range(2))
        pairs = [drawn(random, random.choice((0.0, 0.01))) for _ in range(4)]
        (gate, g), (up, u), (third, t), (fourth, f) = pairs
        unit = checker.unit(gate, up)
        apart = max(g(off), Fraction(0)) * u(off) - unit.value
        noise = sum(factor * off[s] for s, factor in unit.noise)
        found += abs(apart) > unit.error or abs(apart - noise) > unit.rest
        columns = [CHECK.Column((), {(): held}, [(0.0, 9.0)], []) for held in (gate, up)]
        (total,) = checker.affine(zip((2.0, -3.0), columns, strict=True), 1.0).table.values()
        apart = 1 + 2 * g(off) - 3 * u(off) - total.value
        noise = sum(factor * off[s] for s, factor in total.noise)
        found += abs(apart) > total.error or abs(apart - noise) > total.rest
        score, error = selection._score([gate, up], [third, fourth])
        found += abs(g(off) * t(away) + u(off) * f(away) - Fraction(score)) > error
    return found


NOISE = {
    "one factor only": renamed(
        "ProgramChecker.unit", "((u, gate.noise), (g, up.noise))", "((u, gate.noise),)"
    ),
    "no second order": renamed("ProgramChecker.unit", "wrong * other", "0.0"),
    "an open gate": planting.always("ProgramChecker.unit", ast.If, False, nth=1),
    "no radius": renamed("ProgramChecker.held", "self.radius[s]", "0.0"),
    "weights": renamed("ProgramChecker.affine", "weight * factor", "factor"),
    "one side": renamed("Selection._score", "((0, b, na), (1, a, nb))", "((0, b, na),)"),
    "both sides": renamed("Selection._score", "ea * eb", "0.0"),
}


def test_what_columns_are_off_by_together_stays_within_the_bounds():
    assert outside() == 0


@pytest.mark.parametrize("fault", NOISE)
def test_a_fault_of_rule_noise_is_noticed(fault):
    with planting.planted(CHECK, NOISE[fault], (CHECK,)):
        assert outside() > 0


@pytest.mark.parametrize("name", HONEST)
def test_every_column_is_what_the_checker_believes(folders, name):
    assert strays(name, folders / name) == 0
