"""Attacks on the word proved: `python -m benchmarks.redteam [--seconds N] [--seed S] [--save]`.

Models so small that every problem can be decoded, attacked in four campaigns, in turn:

- mutants: one to three weights of a construction changed at random; the verdict against the truth;
- hairline: a weight moved until neighbouring doubles give a right and a wrong model, and until the
  prover gives up; the verdicts on both sides against the truth;
- trees: random proofs of random mutants (claims as strong as the checker grants, splits of every
  kind, in any order), and forged ones; what is accepted against the truth;
- resealed: accepted certificates and descriptions with random edits, under a fresh seal.

The truth: every problem in torch, and in executions of our own that the numerics permit: sums in
random trees (the residual stream among them), each exponential off by up to 2^-51. Unsound is
whatever is proved and has a problem that comes out wrong, or a margin above the smallest of these
executions, or a statement about another task. Every attempt has a seed of its own and can be asked
for again: `--campaign trees --first 4711 --attempts 1`.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import re
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import tinyadder
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.io.digest import model_digest
from tinyadder.io.folder import save
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Task
from tinyadder.verify.certify.check import certificate as judgement
from tinyadder.verify.certify.check import forward, proof, tokens
from tinyadder.verify.certify.check import model as reading
from tinyadder.verify.certify.check.files import canonical
from tinyadder.verify.certify.check.intervals import ONE
from tinyadder.verify.certify.network import Network, Unsupported, read_network
from tinyadder.verify.certify.prove import certify, prove
from tinyadder.verify.certify.spec import specifications
from tinyadder.verify.verdict import Proved, Refuted

KEPT = Path(__file__).with_name("redteam.json")
BASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("add10", {"digits": 1}),
    ("add10_95", {"digits": 1}),
    ("add10_smallest", {"digits": 1}),
    ("add10_27", {"digits": 1}),
    ("add10_28", {"digits": 1}),
    ("add_any", {"digits": 1}),
    ("add_base", {"digits": 2, "base": 3}),
    ("compare", {"digits": 1}),
    ("maximum", {"digits": 1}),
    ("parity", {"length": 3}),
    ("parity_once", {"length": 4}),
    ("copy_digits", {"length": 2}),
    ("reverse", {"length": 2}),
    ("sort_digits", {"length": 2}),
    ("count_occurrences", {"length": 2}),
    ("subtract", {"digits": 1}),
    ("times_constant", {"digits": 2}),
    ("multiply", {"digits": 1, "second": 1}),
    ("binary_to_decimal", {"digits": 4}),
    ("deriv_coeff", {"exponents": 1}),
    ("vowels", {"longest": 3}),
    ("most_frequent", {"longest": 4}),
)
CIRCUITS = Path(__file__).parents[1] / "tests" / "circuits"
"""Circuits in files, with tasks of their own: tables of words and answers."""
HEX = re.compile(r"-?0x[01]\.[0-9a-f]+p[+-]\d+")
EXECUTIONS = 2
"""Hostile executions of every problem, beside torch."""


# ---- the truth -----------------------------------------------------------------------------------


@cache
def base(name: str, options: str) -> tuple[Transformer, Task, list[tuple[int, np.ndarray]]]:
    """A construction, its task, and every text by length: (length of the prompt, token ids)."""
    if (file := CIRCUITS / f"{name}.py").exists():
        made = construct(str(file))
        task = replace(made.task, **json.loads(options))  # type: ignore[type-var]
    else:
        made = construct(name, **json.loads(options))
        task = made.task
    groups = []
    for spec in specifications(task):
        groups.append((spec.start, task.encode(list(spec.texts()))))
    return build(made.program), task, groups


def fold(random: Random, terms: list[np.ndarray]) -> np.ndarray:
    """A sum in a random tree."""
    terms = list(terms)
    while len(terms) > 1:
        a = terms.pop(random.randrange(len(terms)))
        b = terms.pop(random.randrange(len(terms)))
        terms.append(a + b)
    return terms[0] if terms else np.zeros(1)


def dot(random: Random, weights: np.ndarray, x: np.ndarray, bias: float) -> np.ndarray:
    """One row over the columns [b, t, d] -> [b, t]; zeros are left out."""
    terms = [float(weights[c]) * x[..., c] for c in weights.nonzero()[0]]
    return fold(random, [*terms, np.full(x.shape[:-1], float(bias))])


def execute(network: Network, tokens: np.ndarray, random: Random) -> np.ndarray:
    """Logits [b, t, o] of one execution that the numerics permit."""
    bits = np.random.default_rng(random.getrandbits(64))
    lean = random.choice((-1, 0, 1))

    def e(x: np.ndarray) -> np.ndarray:
        off = bits.uniform(-1, 1, x.shape) if lean == 0 else lean * bits.uniform(0.5, 1, x.shape)
        return np.exp(x) * (1 + off * 2.0**-51 * 0.74)  # exp itself is off by a quarter of it

    x = network.embedding[tokens].astype(np.float64)
    length = tokens.shape[1]
    back = np.arange(length)[None, :] - np.arange(length)[:, None]  # j - i
    for layer in network.layers:
        added: list[list[np.ndarray]] = [[x[..., c]] for c in range(network.width)]
        for h in range(layer.heads):
            rows = {
                kind: [
                    dot(random, layer.arrays[kind][h, r], x, layer.arrays[f"{kind}_bias"][h, r])
                    for r in range(layer.arrays[kind].shape[1])
                ]
                for kind in ("query", "key", "value")
            }
            products = [
                q[:, :, None] * k[:, None, :]
                for q, k in zip(rows["query"], rows["key"], strict=True)
            ]
            place = np.broadcast_to(layer.slopes[h] * back, products[0].shape)
            scores = fold(random, [*products, place])
            scores = np.where(back > 0, -np.inf, scores)
            top = np.maximum(scores.max(-1), 0)
            weights = e(scores - top[..., None])
            weights = np.where(back > 0, 0.0, weights)
            columns = [weights[..., j] for j in range(length)]
            shares = weights / fold(random, [*columns, e(-top)])[..., None]
            for r, value in enumerate(rows["value"]):
                mixed = fold(random, [shares[..., j] * value[:, j, None] for j in range(length)])
                for c in layer.wiring[h, r].nonzero()[0]:
                    added[c].append(float(layer.wiring[h, r, c]) * mixed)
        x = np.stack([fold(random, terms) for terms in added], -1)
        if layer.hidden:
            added = [[x[..., c]] for c in range(network.width)]
            for n in range(layer.hidden):
                gate = dot(random, layer.gate[n], x, layer.gate_bias[n])
                unit = np.maximum(gate, 0) * dot(random, layer.up[n], x, layer.up_bias[n])
                for c in layer.down[:, n].nonzero()[0]:
                    added[c].append(float(layer.down[c, n]) * unit)
            x = np.stack([fold(random, terms) for terms in added], -1)
    logits = np.stack(
        [dot(random, r, x, b) for r, b in zip(network.readout, network.readout_bias, strict=True)],
        -1,
    )
    return -logits if network.argmin else logits


def smallest(outputs: Sequence[int], logits: np.ndarray, tokens: np.ndarray, start: int) -> float:
    """The smallest logit of a right answer token less the largest other; -inf where it has none."""
    index = {token: k for k, token in enumerate(outputs)}
    right = tokens[:, start:]
    if not set(right.flatten().tolist()) <= set(index):
        return -math.inf
    places = np.vectorize(index.__getitem__)(right)[..., None]
    rows = logits[:, start - 1 : -1].copy()
    mine = np.take_along_axis(rows, places, -1)[..., 0]
    np.put_along_axis(rows, places, -np.inf, -1)
    gap = (mine - rows.max(-1)) if rows.shape[-1] > 1 else mine
    return float(np.nan_to_num(gap, nan=-np.inf).min())


def torch_margin(model: Transformer, groups: list[tuple[int, np.ndarray]]) -> float:
    """The smallest margin over every problem, by torch."""
    found = math.inf
    with torch.inference_mode():
        for start, tokens in groups:
            logits = model(torch.from_numpy(tokens[:, :-1])).numpy()
            padded = np.concatenate([logits, logits[:, -1:]], 1)
            found = min(found, smallest(model.config.outputs, padded, tokens, start))
    return found


def true_margin(
    model: Transformer, groups: list[tuple[int, np.ndarray]], random: Random, many: int = EXECUTIONS
) -> float:
    """The smallest margin over every problem, by torch and by hostile executions."""
    found = torch_margin(model, groups)
    try:
        network = read_network(model)
    except Unsupported:
        return found
    with np.errstate(all="ignore"):
        for _ in range(many):
            for start, tokens in groups:
                logits = execute(network, tokens, random)
                found = min(found, smallest(model.config.outputs, logits, tokens, start))
    return found


# ---- what an attempt ends in ---------------------------------------------------------------------


@dataclass
class Tally:
    """What came of the attempts of one campaign."""

    tried: int = 0
    proved: int = 0
    refuted: int = 0
    unknown: int = 0
    """Neither proved nor refuted, or rejected by the checker."""
    wrong: int = 0
    """Models that answer some problem wrongly, by the truth."""
    unsound: list[str] = field(default_factory=list)

    def count(self, verdict: str, truth: float, margin: float, about: str) -> None:
        """`margin` is what was proved, `truth` the smallest margin that was seen."""
        self.tried += 1
        self.wrong += truth <= 0
        setattr(self, verdict, getattr(self, verdict) + 1)
        if verdict == "proved" and not margin <= truth:
            self.unsound.append(f"{about}: margin {margin!r} proved, {truth!r} seen")
        if verdict == "refuted" and truth > 0:
            self.unsound.append(f"{about}: refuted, and right on every problem")


def verdict_of(model: Transformer, task: Task, folder: Path) -> tuple[str, float]:
    """The verdict on a model, and the margin that the checker accepted."""
    try:
        save(model, task, folder, name="redteam", options={}, force=True)
    except TinyadderError:  # a weight that is no number
        return "unknown", 0.0
    found = certify(model, task, folder).verdict
    if isinstance(found, Proved):
        return "proved", found.margin
    return ("refuted", 0.0) if isinstance(found, Refuted) else ("unknown", 0.0)


# ---- mutants -------------------------------------------------------------------------------------


def step(value: float, ulps: int) -> float:
    """The double so many places further up."""
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    order = bits if bits >= 0 else -(bits & (2**63 - 1))
    order += ulps
    bits = order if order >= 0 else (-order) | (1 << 63)
    return float(struct.unpack("<d", struct.pack("<Q", bits & (2**64 - 1)))[0])


def between(low: float, high: float) -> float:
    """The double half way between two, counted in doubles."""
    ends = []
    for value in (low, high):
        (bits,) = struct.unpack("<q", struct.pack("<d", value))
        ends.append(bits if bits >= 0 else -(bits & (2**63 - 1)))
    return step(low, (ends[0] + ends[1]) // 2 - ends[0])


def changed(random: Random, value: float, others: Sequence[float], gently: bool = False) -> float:
    """Another number in the place of a weight; gently: one that is close."""
    kind = random.randrange(2 if gently else 9)
    near = 2.0 ** -random.randrange(20 if gently else 1, 50)
    return [
        value * (1 + random.choice((-1, 1)) * near),
        step(value, random.choice((-1, 1)) * random.randrange(1, 100)),
        0.0,
        -value,
        random.choice(others),
        value + random.choice((-1, 1)) * near,
        random.choice((-1, 1)) * 2.0 ** random.randrange(-60, 60),
        value * 2.0 ** random.randrange(-4, 5),
        random.uniform(-2, 2),
    ][kind]


def mutant(
    random: Random, gently: bool = False
) -> tuple[Transformer, Task, list[tuple[int, np.ndarray]], str]:
    """A construction with one to three weights changed, and once in a while its config."""
    name, options = random.choice(BASES)
    plain, task, groups = base(name, json.dumps(options))
    model = copy.deepcopy(plain)
    tensors = [p for p in [*model.parameters(), *model.buffers()] if p.is_floating_point()]
    entries = [(p, k) for p in tensors for k in range(p.numel())]
    used = [(p, k) for p, k in entries if p.data.flatten()[k] != 0]
    others = [float(p.data.flatten()[k]) for p, k in used]
    with torch.no_grad():
        for _ in range(random.choice((1, 1, 2, 3))):
            tensor, k = random.choice(used if gently or random.random() < 0.8 else entries)
            flat = tensor.data.view(-1)
            flat[k] = changed(random, float(flat[k]), others, gently)
    if not gently and random.random() < 0.05:
        outputs = random.sample(model.config.outputs, len(model.config.outputs))
        argmin = random.random() < 0.5
        model.config = replace(model.config, outputs=tuple(outputs), argmin=argmin)
        model.outputs.copy_(torch.tensor(outputs))
    return model, task, groups, f"{name} {options}"


def truth_about(
    verdict: str,
    model: Transformer,
    groups: list[tuple[int, np.ndarray]],
    random: Random,
    many: int = EXECUTIONS,
) -> float:
    """The smallest margin to hold a verdict against.

    What is refuted by decoding in batches, or with a cache, adds up in another order than whole
    texts do: it is asked for again in more orders.
    """
    truth = true_margin(model, groups, random, many)
    if verdict == "refuted" and truth > 0:
        truth = min(truth, true_margin(model, groups, random, 40))
    return truth


def mutants(seed: int, tally: Tally, folder: Path) -> None:
    """The verdict on one mutant against the truth."""
    random = Random(f"mutants {seed}")
    model, task, groups, about = mutant(random)
    verdict, margin = verdict_of(model, task, folder)
    truth = truth_about(verdict, model, groups, random)
    tally.count(verdict, truth, margin, f"mutants {seed} ({about})")


# ---- hairline ------------------------------------------------------------------------------------


def hairline(seed: int, tally: Tally, folder: Path) -> None:
    """One weight between a right and a wrong model: both sides of both boundaries."""
    random = Random(f"hairline {seed}")
    name, options = random.choice(BASES)
    plain, task, groups = base(name, json.dumps(options))
    model = copy.deepcopy(plain)
    used = [(p, k) for p in model.parameters() for k in range(p.numel()) if p.view(-1)[k] != 0]
    tensor, k = random.choice(used)
    flat, others = tensor.data.view(-1), [float(p.data.view(-1)[j]) for p, j in used]
    right, about = float(flat[k]), f"hairline {seed} ({name} {options})"

    def wrong(value: float) -> bool:
        flat[k] = value
        return torch_margin(model, groups) <= 0

    def unproved(value: float) -> bool:
        flat[k] = value
        return prove(model, task).certificate is None

    bad = next((v for v in (changed(random, right, others) for _ in range(20)) if wrong(v)), None)
    if bad is None:
        return
    edges = [search(wrong, right, bad)]
    if random.random() < 0.3:  # a proof a step
        edges.append(search(unproved, right, edges[0][1]))
    for edge in edges:
        for value in (*edge, between(right, edge[0])):
            flat[k] = value
            verdict, margin = verdict_of(model, task, folder)
            truth = truth_about(verdict, model, groups, random, 6 if verdict == "proved" else 1)
            tally.count(verdict, truth, margin, f"{about}: {value!r}")


def search(bad: Callable[[float], bool], good: float, worse: float) -> tuple[float, float]:
    """Neighbouring doubles, a good one and a bad one."""
    while (middle := between(good, worse)) not in (good, worse):
        good, worse = (good, middle) if bad(middle) else (middle, worse)
    return good, worse


# ---- trees ---------------------------------------------------------------------------------------


def trees(seed: int, tally: Tally, folder: Path) -> None:
    """A random proof of a mutant, or a forged one, put to the checker."""
    random = Random(f"trees {seed}")
    forge = random.choice(("nothing", "nothing", "margins", "claims", "children"))
    gently = forge == "nothing" or random.random() < 0.3
    model, task, groups, about = mutant(random, gently)
    about = f"trees {seed} ({about}, {forge} forged)"
    try:
        save(model, task, folder, name="redteam", options={}, force=True)
        read = reading.ProgramModel(folder)
        _, parts = tokens.read_task(read.task)
        tree = Tree(random, read, forge)
        content = tree.certificate(parts)
        (folder / "certificate.json").write_bytes(canonical(seal(content)))
        accepted = judgement.check(folder)
    except (judgement.Rejected, TinyadderError, ArithmeticError, ValueError, LookupError, NoProof):
        tally.count("unknown", 1.0, 0.0, about)
        return
    tally.count("proved", true_margin(model, groups, random), accepted["margin"], about)


class NoProof(Exception):
    """A tree that has no margin above zero."""


class Tree:
    """Random proofs, by the checker's own hand: every claim is as strong as it grants."""

    def __init__(self, random: Random, model: reading.ProgramModel, forge: str) -> None:
        self.random, self.model, self.forge = random, model, forge
        self.smallest = math.inf

    def certificate(self, parts: list[Any]) -> dict[str, Any]:
        """A whole certificate, not sealed."""
        written = []
        for start, stages in parts:
            rows = [{"position": p, "edges": [list(m) for m in moves]} for p, moves in stages]
            spec = {"start": start, "length": len(stages), "stages": rows}
            digest = hashlib.sha256(canonical(spec)).hexdigest()
            stated = {"sha256": digest, "texts": judgement.count(stages), **spec}
            checker = proof.TreeChecker(self.model, stages)
            positions = [self.position(checker, i) for i in range(start - 1, len(stages) - 1)]
            written.append({"specification": stated, "positions": positions})
        reference = proved_certificate(*BASES[0])
        weights = self.model.to_json()
        same = {k: reference[k] for k in ("format", "version", "numerics", "rules", "versions")}
        return {
            **same,
            "model": self.model.digest(weights["sha256"]),
            "config": self.model.config,
            "task": self.model.task,
            "weights": weights,
            "margin": self.smallest.hex(),
            "parts": written,
        }

    def position(self, checker: proof.TreeChecker, i: int) -> dict[str, Any]:
        view = type(checker.base)(self.model, checker.texts, i, checker.base)
        children = {}
        for token in checker.texts[i + 1]:
            part = view.part("tokens", i + 1, token)
            children[token] = self.node(checker, part, self.random.randrange(4))
        return {"position": i, "children": children}

    def node(self, checker: proof.TreeChecker, view: Any, depth: int) -> dict[str, Any]:
        claims: list[dict[str, Any]] = []
        for _ in range(self.random.randrange(4)):
            if (claim := self.claim(checker, view)) is None:
                continue
            claims.append(claim)
            if claim["low"] is None:
                return {"claims": claims, "margin": None}
        if depth:
            split = self.split(checker, view)
            parts = checker.split(view, *split)
            nodes = {name: self.node(checker, part, depth - 1) for name, part in parts.items()}
            if self.forge == "children" and self.random.random() < 0.3:
                nodes.pop(self.random.choice([*nodes]))
            return {"claims": claims, "split": split, "children": nodes}
        try:
            margin = self.margin(checker, view, claims)
            return {"claims": claims, "margin": None if margin is None else margin.hex()}
        except forward.OpenSign as sign:  # the checker says which gate; both cases of it
            if view.fixed["phases"] and len(view.fixed["phases"]) > 5:
                raise NoProof from sign
            split = ["phase", *map(int, re.findall(r"\d+", str(sign))[:2])]
        parts = checker.split(view, *split)
        nodes = {name: self.node(checker, part, 0) for name, part in parts.items()}
        return {"claims": claims, "split": split, "children": nodes}

    def claim(self, checker: Any, view: Any) -> dict[str, Any] | None:
        """A random claim, true unless it is forged; None where the checker has nothing to say."""
        random, model = self.random, self.model
        layer = random.randrange(len(model.layers))
        block = model.layers[layer]
        kinds: list[list[Any]] = [["middle", layer, random.randrange(model.width)]]
        if block.slopes:
            head = random.randrange(len(block.slopes))
            kinds += [["mixed", layer, head, random.randrange(len(block.value[head]))]] * 2
        if block.gate:
            kinds += [["gate", layer, random.randrange(len(block.gate))]] * 2
        kinds.append(["margin", *random.sample(model.outputs, 2)] if len(model.outputs) > 1 else [])
        of, sign = random.choice([kind for kind in kinds if kind]), random.choice((1, -1))
        try:
            bound = checker.least(view, view.claimed(*of).times((sign * ONE, sign * ONE)))
        except judgement.Rejected:
            return None
        if self.forge == "claims" and random.random() < 0.1:
            low = (abs(bound or 0) / ONE + 2.0 ** random.randrange(-40, 20)).hex()
            return {"of": of, "sign": sign, "low": random.choice((low, None))}
        if bound is None:
            return {"of": of, "sign": sign, "low": None}
        claim = {"of": of, "sign": sign, "low": below(bound).hex()}
        checker.claim(view, **claim)
        return claim

    def split(self, checker: proof.TreeChecker, view: Any) -> list[Any]:
        random = self.random
        ways: list[list[Any]] = [["again"], ["own"], ["state", random.randrange(len(view.texts))]]
        gated = [(k, block) for k, block in enumerate(self.model.layers) if block.gate]
        for k, block in gated:
            ways.append(["phase", k, random.randrange(len(block.gate))])
        return random.choice(ways)

    def margin(
        self, checker: proof.TreeChecker, view: Any, claims: list[dict[str, Any]]
    ) -> float | None:
        """The largest margin that the checker grants, or more; None where there is no text."""
        right = view.fixed["tokens"][view.position + 1]
        found = math.inf
        for other in self.model.outputs:
            if other == right:
                continue
            bound = checker.least(view, view.claimed("margin", right, other))
            if bound is None:
                claims.append({"of": ["margin", right, other], "sign": 1, "low": None})
                return None
            low = below(bound)
            if self.forge == "claims":
                low = max(low, 0.0) + 2.0 ** self.random.randrange(-20, 60)
            claims.append({"of": ["margin", right, other], "sign": 1, "low": low.hex()})
            found = min(found, low)
        if self.forge == "margins" and found < math.inf:
            found = max(found, 0.0) + 2.0 ** self.random.randrange(-20, 60)
        if not 0 < found < math.inf:
            raise NoProof
        self.smallest = min(self.smallest, found)
        return found


def below(bound: int) -> float:
    """A double below so many units of the checker."""
    value = bound / ONE
    return math.nextafter(value, -math.inf) if value else value


# ---- resealed ------------------------------------------------------------------------------------


@cache
def _proved(name: str, options: str) -> bytes:
    model, task, _ = base(name, options)
    found = prove(model, task)
    assert found.certificate is not None
    return canonical(found.certificate)


def proved_certificate(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The certificate of a construction."""
    certificate: dict[str, Any] = json.loads(_proved(name, json.dumps(options)))
    return certificate


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """The certificate with a seal of its own."""
    content = {key: value for key, value in content.items() if key != "sha256"}
    return {**content, "sha256": hashlib.sha256(canonical(content)).hexdigest()}


def somewhere(random: Random, data: Any) -> tuple:
    """The path of a part of nested lists and dictionaries, near the top as likely as far down."""
    path: list[Any] = []
    while isinstance(data, dict | list) and data and not (path and random.random() < 0.2):
        key = random.choice([*data] if isinstance(data, dict) else range(len(data)))
        path.append(key)
        data = data[key]
    return tuple(path)


def edited(random: Random, value: Any, whole: Any) -> Any:
    """Something else in the place of a part."""
    if random.random() < 0.15:  # something from elsewhere
        for key in somewhere(random, whole):
            whole = whole[key]
        return copy.deepcopy(whole)
    if isinstance(value, dict) and value:
        kept = dict(value)
        key = random.choice([*kept])
        if random.random() < 0.5:
            kept.pop(key)
        else:
            kept[random.choice([*kept])] = kept[key]
        return kept
    if isinstance(value, list) and value:
        kept_list = list(value)
        k = random.randrange(len(kept_list))
        way = random.randrange(3)
        if way == 0:
            kept_list.pop(k)
        elif way == 1:
            kept_list.insert(k, random.choice(kept_list))
        else:
            random.shuffle(kept_list)
        return kept_list
    if isinstance(value, bool) or value is None:
        return random.choice((True, False, None, 0, 1))
    if isinstance(value, int):
        return random.choice((value + 1, value - 1, -value, 0, value + (1 << 60), bool(value)))
    if isinstance(value, str) and HEX.fullmatch(value):
        number = float.fromhex(value)
        ways = (step(number, 1), step(number, -1), number * 2, number / 2, -number, 0.0)
        return random.choice((*(way.hex() for way in ways), "inf", "nan", None))
    return random.choice(("", "1", str(value) + "x", "True", None, 1))


def nodes_of(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a tree of branches, and the tree itself."""
    yield tree
    for child in tree.get("children", {}).values():
        yield from nodes_of(child)


def lie(random: Random, content: dict[str, Any]) -> None:
    """An edit with a purpose: larger margins, stronger claims, less to prove."""
    trees = [tree for part in content["parts"] for tree in part["positions"]]
    nodes = [node for tree in trees for node in nodes_of(tree)]
    leaves = [node for node in nodes if node.get("margin")]
    claims = [claim for node in nodes for claim in node.get("claims", []) if claim["low"]]
    way, factor = random.randrange(6), 2.0 ** random.randrange(1, 20)
    if way in (0, 1):  # the whole, or every leaf and the whole
        for node in [content, *(leaves if way else [])]:
            node["margin"] = (float.fromhex(node["margin"]) * factor).hex()
    elif way == 2 and claims:
        claim = random.choice(claims)
        claim["low"] = (abs(float.fromhex(claim["low"])) * factor).hex()
    elif way == 3:  # the proof of one token for another
        children = random.choice([node for node in nodes if node.get("children")])["children"]
        children[random.choice([*children])] = random.choice([*children.values()])
    elif way == 4:
        random.choice(content["parts"])["positions"].pop()
    else:
        children = random.choice([node for node in nodes if node.get("children")])["children"]
        children.pop(random.choice([*children]))


def resealed(seed: int, tally: Tally, folder: Path) -> None:
    """An accepted certificate, or its model, with one to three random edits."""
    random = Random(f"resealed {seed}")
    name, options = random.choice(BASES)
    model, task, groups = base(name, json.dumps(options))
    about = f"resealed {seed} ({name} {options})"
    save(model, task, folder, name="redteam", options={}, force=True)
    content = proved_certificate(name, options)
    described = json.loads((folder / "model.json").read_bytes())
    target = described if random.random() < 0.25 else content
    purpose = target is content and random.random() < 0.5
    if purpose:
        lie(random, content)
    for _ in range(0 if purpose else random.choice((1, 1, 2, 3))):
        *parents, last = somewhere(random, target)
        inner = target
        for key in parents:
            inner = inner[key]
        inner[last] = edited(random, inner[last], target)
    parts = content.get("parts")
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, dict) and isinstance(spec := part.get("specification"), dict):
            rest = {k: v for k, v in spec.items() if k not in ("sha256", "texts")}
            spec["sha256"] = hashlib.sha256(canonical(rest)).hexdigest()
    if random.random() < 0.5:
        content["task"] = described.get("task")
    (folder / "model.json").write_text(json.dumps(described))
    (folder / "certificate.json").write_bytes(canonical(seal(content)))
    try:
        accepted = judgement.check(folder)
    except judgement.Rejected:
        tally.count("unknown", 1.0, 0.0, about)
        return
    same = canonical(accepted["task"]) == canonical(task.to_json())
    same &= accepted["sha256"] == model_digest(model, task)
    count = sum(len(tokens) for _, tokens in groups)
    if not same or accepted["problems"] != count:
        tally.unsound.append(f"{about}: accepted for another model or task")
    tally.count("proved", true_margin(model, groups, random), accepted["margin"], about)


# ---- the command ---------------------------------------------------------------------------------

CAMPAIGNS: dict[str, Callable[[int, Tally, Path], None]] = {
    "mutants": mutants,
    "hairline": hairline,
    "trees": trees,
    "resealed": resealed,
}


def run(names: Sequence[str], seconds: float, first: int, attempts: int | None) -> dict[str, Tally]:
    """The campaigns in turn, each as long as the others, until the time is over."""
    tallies = {name: Tally() for name in names}
    spent, at = dict.fromkeys(names, 0.0), dict.fromkeys(names, first)
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as place:
        while time.monotonic() < end:
            name = min(names, key=lambda one: spent[one])
            if attempts is not None and at[name] - first >= attempts:
                break
            began = time.monotonic()
            CAMPAIGNS[name](at[name], tallies[name], Path(place) / "model")
            spent[name] += time.monotonic() - began
            at[name] += 1
    return tallies


def table(tallies: dict[str, Tally]) -> Iterator[str]:
    """A line a campaign, then what is unsound."""
    heads = ("tried", "proved", "refuted", "unknown", "wrong", "unsound")
    yield f"{'campaign':10}" + "".join(f"{head:>9}" for head in heads)
    total = Tally()
    for tally in tallies.values():
        for head in heads:
            setattr(total, head, getattr(total, head) + getattr(tally, head))
    for name, tally in [*tallies.items(), ("all", total)]:
        counts = [getattr(tally, head) for head in heads[:-1]] + [len(tally.unsound)]
        yield f"{name:10}" + "".join(f"{count:>9,}" for count in counts)
    yield from (f"UNSOUND    {line}" for line in total.unsound)


def main(arguments: Sequence[str]) -> int:
    """A line a campaign; exit code 1 where something is unsound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redteam")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="seed of the first attempt of each")
    parser.add_argument("--attempts", type=int, help="at most so many of a campaign")
    parser.add_argument("--campaign", choices=CAMPAIGNS, action="append")
    parser.add_argument("--save", action="store_true", help=f"write {KEPT.name}")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tallies = run(given.campaign or [*CAMPAIGNS], given.seconds, given.first, given.attempts)
    print("\n".join(table(tallies)))
    if given.save:
        data = {
            "command": f"python -m benchmarks.redteam --seconds {given.seconds:g}"
            f" --first {given.first}",
            "date": datetime.now(UTC).date().isoformat(),
            "versions": {"tinyadder": tinyadder.__version__, "torch": torch.__version__},
            "campaigns": {name: vars(tally) for name, tally in tallies.items()},
        }
        KEPT.write_text(json.dumps(data, indent=1) + "\n")
    return int(any(tally.unsound for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
