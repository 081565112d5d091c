"""The prover: searches for a proof that a model answers every problem of its task rightly, and
writes it down.

For every answer position i: given the right answer so far (induction), the next token has the
largest logit, strictly, for every text of the specification. The texts are split by the next token,
and further only where a margin or the sign of a gate is not decided: by states of the automaton,
phases of a gate, the token at the query. What a leaf needs is a list of claims, each a lower bound
of a separable form. The checker (package `check`) decides; the prover may be wrong.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import flint
import numpy as np
import torch

from tinyadder.io.digest import changed, model_digest, weights_digest
from tinyadder.io.files import atomic_write
from tinyadder.io.folder import save
from tinyadder.machine.answers import BATCH, answers, is_right
from tinyadder.machine.config import Options
from tinyadder.machine.tensors import items
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.computer import Computer
from tinyadder.tasks.sequences import Sequences
from tinyadder.verify.certify import check
from tinyadder.verify.certify.boxes import Undecided, prove_block
from tinyadder.verify.certify.check import NUMERICS, RULES, VERSION
from tinyadder.verify.certify.check import block as block_rules
from tinyadder.verify.certify.check.block import BlockModel
from tinyadder.verify.certify.check.texts import RULES as TEXT_RULES
from tinyadder.verify.certify.forms import Ball, Form, Symbol, precision
from tinyadder.verify.certify.machine import NeedPhase, View
from tinyadder.verify.certify.network import Network, TooWide, Unsupported, overflow, read_network
from tinyadder.verify.certify.paths import BITS, FINE_BITS, Paths, Restriction, far
from tinyadder.verify.certify.programs import computer
from tinyadder.verify.certify.spec import NoSpecification, Specification, specifications
from tinyadder.verify.counterexample import Way, in_company, refutation
from tinyadder.verify.verdict import Proved, Refuted, Unknown

SLACK = Ball(2) ** -10
EARLY = 10
"""The most states into which a branch is split by the first choice of the automaton."""
TEXTS = 70_000
"""The most texts that are gone through one by one where no proof by branches is found."""
DEPTH = 8
"""The most splits one below the other (after the next token)."""


class Empty(Exception):
    """No text is in the branch."""


class Failed(Exception):
    """A margin that could not be made positive; `texts` are the texts on which it is smallest."""

    def __init__(self, reason: str, texts: Sequence[tuple[str, ...]]) -> None:
        super().__init__(reason)
        self.reason, self.texts = reason, texts


@dataclass
class Branch:
    """A set of texts and what was claimed of them."""

    view: View
    restriction: Restriction
    claims: list[dict[str, Any]] = field(default_factory=list)
    made: frozenset[tuple] = frozenset()
    margin: Ball = field(default_factory=lambda: Ball("inf"))
    sharpened: bool = False

    def child(self, restriction: Restriction | None = None) -> Branch:
        """A part of the branch; the stream and the units are computed anew with what is claimed
        there.
        """
        view = self.view.branch()
        view.memo = view.lasting()
        return Branch(
            view, restriction or self.restriction, [], self.made, sharpened=self.sharpened
        )


@dataclass(frozen=True)
class Bound:
    """A lower bound of a form over the texts of a restriction, and a text that attains it."""

    low: Ball
    text: tuple[str, ...] | None
    """None where no text meets the restriction."""
    claim: dict[str, Any]


class Prover:
    """The search for one model and one specification."""

    def __init__(self, network: Network, spec: Specification) -> None:
        self.network, self.spec = network, spec
        self.paths = Paths(spec)
        self.base = View(network, spec)
        self.costs: dict[tuple, tuple[list[np.ndarray], int, int]] = {}
        self.by_states: set[int] = set()
        """Layers for whose units states of the automaton were the better split so far."""
        self.met: set[int] = set()
        """Layers that had an open gate."""
        self.early = False
        """Whether the first choice of the automaton was the better split of a leaf so far."""

    # ---- bounds ----------------------------------------------------------------------------------

    def integers(self, form: Form, bits: int) -> tuple[list[np.ndarray], int, int]:
        """(costs per stage, start, exponent): the expanded form is at least (start + sum of costs)
        * 2^exponent.

        A unit is 2^-bits of the largest value of the form (2^-24 of a margin at 10 digits for 56
        bits). Every entry is a unit and 2^-10 of its uncertainty below what it could be, so that
        slightly wider enclosures satisfy the claim.
        """
        size = float(
            sum(
                (max(abs(b).upper() for b in t.values()) for t in form.tables.values()),
                abs(form.c).upper(),
            )
        )
        exponent = int(np.frexp(size)[1]) - bits if size else 0
        scale = Ball(2) ** -exponent

        def floor(ball: Ball) -> int:
            lower = ball.lower() - ball.rad() * SLACK
            whole = (lower.lower() * scale).floor().unique_fmpz()
            assert whole is not None
            return int(whole) - 1

        kind, costs = np.int64 if bits == BITS else object, []
        for stage in self.spec.stages:
            tokens, table = self.spec.tokens[stage.position], form.tables.get(stage.position)
            costs.append(
                np.zeros(len(tokens), dtype=kind)
                if table is None
                # a token the branch excludes at the query has no entry
                else np.array([floor(table[t]) if t in table else 0 for t in tokens], dtype=kind)
            )
        return costs, floor(form.c), exponent

    def bound(self, branch: Branch, key: Symbol, form: Form, sign: int) -> Bound:
        """The least of sign * form over the branch."""
        expanded = branch.view.expand(form).times(Ball(sign))
        costs, start, exponent = self.integers(expanded, FINE_BITS if branch.sharpened else BITS)
        forward = self.paths.forward(costs, branch.restriction)
        least = int(forward[-1].min())
        limit = far(costs) // 2
        reached = least < limit
        low = below(Ball(least + start) * Ball(2) ** exponent) if reached else None
        text = self.paths.best(costs, branch.restriction, forward) if reached else None
        claim = {"of": [*key], "sign": sign, "low": None if low is None else low.hex()}
        return Bound(Ball("inf" if low is None else low), text, claim)

    def claim(self, branch: Branch, key: Symbol, form: Form, sign: int) -> Bound:
        """Bound a symbol (`("mixed", ...)`, `("middle", ...)`) or a gate from one side, and
        remember it.
        """
        found = self.bound(branch, key, form, sign)
        view = branch.view
        branch.claims.append(found.claim)
        branch.made |= {(key, sign)}
        if found.text is None:
            raise Empty
        if view.phases:
            view.memo = view.lasting()  # a sign that was assumed may now be known
        if sign > 0:
            view.lows[key] = max(view.lows.get(key, found.low), found.low)
        else:
            view.highs[key] = min(view.highs.get(key, -found.low), -found.low)
        return found

    # ---- the tree --------------------------------------------------------------------------------

    def position(self, i: int) -> dict[str, Any]:
        """The proof that the token after position i is right. Raises `Failed`."""
        root = View(self.network, self.spec, i, self.base)
        self.warm(root)
        children = {}
        for token in self.spec.tokens[i + 1]:
            if token not in self.network.outputs:
                raise Failed(
                    f"the right answer can have '{token}' after position {i}, and the model has no"
                    " logit for it",
                    [],
                )
            branch = Branch(root.branch(), Restriction({i + 1: token}))
            children[token] = self.settle(branch, token, DEPTH)
        return {"position": i, "children": children}

    def warm(self, view: View) -> None:
        """Compute once what all branches of a position share, as far as it goes without claims."""
        for right in self.network.outputs:
            for other in self.network.outputs[:2]:
                if other != right:
                    with suppress(NeedPhase):
                        view.margin(right, other)

    def settle(self, branch: Branch, right: str, depth: int) -> dict[str, Any]:
        """A tree for the branch, whose next token is `right`."""
        try:
            return self._settle(branch, right, depth)
        except Empty:
            return {"claims": branch.claims, "margin": None}

    def _settle(self, branch: Branch, right: str, depth: int) -> dict[str, Any]:
        while True:
            try:
                failed = self.weakest(branch, right)
            except NeedPhase as need:
                if self.decide(branch, need):
                    continue
                return self.split_gate(branch, right, need, depth)
            if failed is None:
                # the checker's enclosures are slightly wider
                stated = branch.margin * (1 - SLACK**2)
                return {"claims": branch.claims, "margin": below(stated).hex()}
            return self.sharpen(branch, right, failed, depth)

    def sharpen(self, branch: Branch, right: str, failed: Failed, depth: int) -> dict[str, Any]:
        """Claim the ranges of all head outputs: what is computed from them rounds less. Then claim
        finely.
        """
        view = branch.view
        heads = [key for key in view.definitions if isinstance(key, tuple) and key[0] == "mixed"]
        if branch.sharpened or not heads:
            ways = [self.split_own, self.split_early]
            for way in reversed(ways) if self.early else ways:
                with suppress(Failed):
                    found = way(branch, right, failed, depth)
                    self.early = way == self.split_early
                    return found
            raise failed
        for key in heads:
            for sign in (1, -1):
                if (key, sign) not in branch.made:
                    self.claim(branch, key, view.definitions[key], sign)
        child = branch.child()
        child.made, child.sharpened = frozenset(), True
        return {
            "claims": branch.claims,
            "split": ["again"],
            "children": {"again": self.settle(child, right, depth)},
        }

    def weakest(self, branch: Branch, right: str) -> Failed | None:
        """Make every margin of the branch positive with claims; what failed otherwise."""
        view, branch.margin = branch.view, Ball("inf")
        for other in self.network.outputs:
            if other == right:
                continue
            form = view.margin(right, other)
            low = view.low(form)
            if not low > 0 and len(form.symbols) == 1:
                ((symbol, alpha),) = form.symbols.items()
                side = 1 if alpha > 0 else -1
                if (symbol, side) not in branch.made:
                    self.claim(branch, symbol, view.definitions[symbol], side)
                    form = view.margin(right, other)
                    low = view.low(form)
            if not low > 0:
                found = self.bound(branch, ("margin", right, other), form, 1)
                if found.text is None:
                    branch.claims.append(found.claim)
                    raise Empty
                if not found.low > 0:
                    return self._failed(branch, right, other, found)
                branch.claims.append(found.claim)
                low = found.low
            branch.margin = min(branch.margin, low)
        return None

    def _failed(self, branch: Branch, right: str, other: str, found: Bound) -> Failed:
        i = branch.view.position
        assert i is not None and found.text is not None
        form = branch.view.expand(branch.view.margin(right, other))
        entries = [table[found.text[p]] for p, table in form.tables.items()]
        doubt = float(form.c.rad()) + sum(float(entry.rad()) for entry in entries)
        unrounded = float(form.c.mid()) + sum(float(entry.mid()) for entry in entries)
        needed = f"an uncertainty below {unrounded:.3g}" if unrounded > 0 else "a right answer"
        reason = (
            f"answer token {i + 2 - self.spec.start} (position {i + 1}), right '{right}' against"
            f" '{other}': the margin is bounded below by {float(found.low):.6g} only (uncertainty"
            f" +-{doubt:.3g} from rounding and relaxation, worst on {''.join(found.text)});"
            f" {needed} would be needed there"
        )
        return Failed(reason, [found.text])

    def decide(self, branch: Branch, need: NeedPhase) -> bool:
        """Claim what may decide the sign of a gate; False where everything was claimed already."""
        gate, view = need.gate, branch.view
        if len(gate.symbols) == 1 and not gate.tables:
            (key,) = gate.symbols
            form = view.definitions[key]
        else:
            key, form = ("gate", need.layer, need.unit), gate
        sides = [sign for sign in (1, -1) if (key, sign) not in branch.made]
        for sign in sides:
            self.claim(branch, key, form, sign)
        return bool(sides)

    def split_gate(self, branch: Branch, right: str, need: NeedPhase, depth: int) -> dict[str, Any]:
        """By phase, else by states of the automaton; what worked last in the layer is tried
        first.
        """
        if depth == 0:
            raise Failed(
                f"layer {need.layer}, unit {need.unit}: its sign is open after {DEPTH} splits", []
            )
        if need.layer not in self.met:
            self.met.add(need.layer)
            left, states, _ = self.deciding_stage(branch, need.gate)
            if not left and states <= 3:
                self.by_states.add(need.layer)
        ways = [self.by_phase, self.by_state]
        if need.layer in self.by_states and not branch.restriction.states:
            ways.reverse()
        failures = []
        for way in ways:
            try:
                found = way(branch, right, need, depth)
            except Failed as failed:
                failures.append(failed)
                continue
            (self.by_states.add if way == self.by_state else self.by_states.discard)(need.layer)
            return found
        raise max(failures, key=lambda failed: len(failed.texts))

    def by_phase(self, branch: Branch, right: str, need: NeedPhase, depth: int) -> dict[str, Any]:
        """Both phases of the gate, each for all texts of the branch: relu(g) is g or 0."""
        children = {}
        for phase in (True, False):
            child = branch.child()
            child.view.phases[need.layer, need.unit] = phase
            children["on" if phase else "off"] = self.settle(child, right, depth - 1)
        return {
            "claims": branch.claims,
            "split": ["phase", need.layer, need.unit],
            "children": children,
        }

    def by_state(self, branch: Branch, right: str, need: NeedPhase, depth: int) -> dict[str, Any]:
        """The states of the automaton after the stage where fewest of them decide the sign of the
        gate.
        """
        _, _, stage = self.deciding_stage(branch, need.gate)
        if stage is None:
            raise Failed(
                f"layer {need.layer}, unit {need.unit}: no state of the specification decides its"
                " sign",
                [],
            )
        children = {}
        for state in range(self.paths.sizes[stage + 1]):
            child = branch.child(branch.restriction.with_state(stage, state))
            child.made = frozenset()
            children[str(state)] = self.settle(child, right, depth - 1)
        return {"claims": branch.claims, "split": ["state", stage], "children": children}

    def deciding_stage(self, branch: Branch, gate: Form) -> tuple[int, int, int | None]:
        """(states that leave the sign of `gate` open, possible states, the stage after which these
        are fewest).
        """
        ends = []
        for sign in (1, -1):
            costs, start, _ = self.integers(branch.view.expand(gate).times(Ball(sign)), BITS)
            ways = zip(
                self.paths.forward(costs, branch.restriction),
                self.paths.backward(costs, branch.restriction),
                strict=True,
            )
            limit = far(costs)
            ends.append(
                [np.where(np.maximum(f, b) < limit // 2, f + b + start, limit) for f, b in ways]
            )
        found: list[tuple[int, int, int | None]] = []
        for stage, (low, high) in enumerate(zip(ends[0][1:], ends[1][1:], strict=True)):
            feasible = low < limit // 2
            decided = ((low >= 0) | (high >= 0)) & feasible
            if stage not in branch.restriction.states and feasible.sum() > 1 and decided.any():
                found.append((int((feasible & ~decided).sum()), int(feasible.sum()), stage))
        return min(found, default=(1, 0, None))

    def split_early(self, branch: Branch, right: str, failed: Failed, depth: int) -> dict[str, Any]:
        """By the first choice of the automaton, for products of two sums: it may settle one of
        them.
        """
        stage = next((t for t, size in enumerate(self.paths.sizes[1:]) if size > 1), None)
        if (
            stage is None
            or depth == 0
            or stage in branch.restriction.states
            or self.paths.sizes[stage + 1] > EARLY
        ):
            raise failed
        children = {}
        for state in range(self.paths.sizes[stage + 1]):
            child = branch.child(branch.restriction.with_state(stage, state))
            child.made, child.sharpened = frozenset(), False
            children[str(state)] = self.settle(child, right, depth - 1)
        return {"claims": branch.claims, "split": ["state", stage], "children": children}

    def split_own(self, branch: Branch, right: str, failed: Failed, depth: int) -> dict[str, Any]:
        """By the token at the query itself, for attention or units that depend on it."""
        i = branch.view.position
        assert i is not None
        tokens = self.spec.tokens[i]
        if depth == 0 or branch.view.own is not None or len(tokens) == 1 or branch.view.phases:
            raise failed
        children = {}
        for token in tokens:
            child = Branch(
                View(self.network, self.spec, i, self.base), branch.restriction.with_token(i, token)
            )
            child.view.own = token
            children[token] = self.settle(child, right, depth - 1)
        return {"claims": branch.claims, "split": ["own"], "children": children}


@dataclass(frozen=True)
class Attempt:
    """What the prover hands on: a certificate for the checker to judge, or a verdict that needs
    none.
    """

    certificate: dict[str, Any] | None
    verdict: Refuted | Unknown | None
    margin: float | None = None
    """Smallest certified margin in logits."""
    open: Sequence[Problem] = ()
    """Problems of branches that could not be decided."""
    seconds: float = 0.0


def replay(model: Transformer, task: Task, problems: Sequence[Problem]) -> Refuted | None:
    """One of `problems` that the model, decoding autoregressively, answers wrongly; rather one that
    it answers wrongly alone than in a batch only.
    """
    emitted = zip(problems, answers(model, task, problems), strict=True)
    wrong = [problem for problem, got in emitted if not is_right(task, problem, got)]

    def as_asked(problem: Problem) -> list[Way]:
        return in_company(model, task, problem, problems, BATCH)

    found = refutation(model, task, wrong, as_asked)
    return None if found is None else Refuted(found)


Proof = tuple[list[dict[str, Any]], dict[str, Any], float]
"""Parts of a certificate, what it says of numerics and rules, and its smallest margin."""


def stated(spec: Specification, trees: list[dict[str, Any]]) -> dict[str, Any]:
    """A part of a certificate."""
    about = {"sha256": spec.digest, "texts": spec.count(), **spec.to_json()}
    return {"specification": about, "positions": trees}


def prove_program(model: Transformer, task: Task) -> Proof:
    """A written program: forms over its texts."""
    network = read_network(model)
    if network.vocabulary != task.vocabulary:
        raise Unsupported("the vocabulary of the model is not that of the task")
    parts = []
    for spec in specifications(task):
        if where := overflow(network, spec.length):
            raise Unsupported(f"{where} may overflow")
        prover = Prover(network, spec)
        trees = [prover.position(i) for i in range(spec.start - 1, spec.length - 1)]
        parts.append(stated(spec, trees))
    margin = min(leaf_margins(tree) for part in parts for tree in part["positions"])
    return parts, {"version": VERSION, "numerics": NUMERICS, "rules": list(RULES)}, margin


def prove_trained(model: Transformer, task: Task) -> Proof:
    """A trained decoder of one block: boxes around what attention writes."""
    found = specifications(task)
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        save(model, task, folder, name="model", options={})
        try:
            block = BlockModel(folder)
            grown = prove_block(folder, jobs=-1)
        except check.Rejected as reason:
            raise Unsupported(str(reason)) from reason
        except Undecided as undecided:
            texts = [tuple(text) for text in undecided.texts]
            raise Failed(undecided.reason, texts) from undecided
    parts = [stated(spec, trees) for spec, trees in zip(found, grown, strict=True)]
    margin = min(float.fromhex(tree["margin"]) for trees in grown for tree in trees)
    about = {
        "version": block_rules.VERSION,
        "numerics": block.numerics(),
        "rules": block_rules.rules_for(block.options),
    }
    return parts, about, margin


def few_texts(model: Transformer, task: Task, most: int) -> bool:
    """Whether rule TEXT may go through all texts of the task: a written program, and not more."""
    plain = model.config.options == Options()
    return plain and sum(spec.count() for spec in specifications(task)) <= most


@precision()
def prove(model: Transformer, task: Task, most_texts: int = TEXTS) -> Attempt:
    """Look for a proof. The certificate in the result proves nothing before the checker accepted
    it.

    Where no proof by branches is found the checker is to go through every text, if there are at
    most `most_texts`. Refuted only with a problem that the model, run as it is, answers wrongly;
    Unknown says what is missing.
    """
    began = time.perf_counter()
    try:
        found = _search(model, task, most_texts)
    except (Unsupported, NoSpecification) as reason:
        found = Attempt(None, Unknown(str(reason)))
    return replace(found, seconds=time.perf_counter() - began)


def _search(model: Transformer, task: Task, most_texts: int) -> Attempt:
    by_branches = prove_program if model.config.options == Options() else prove_trained
    try:
        parts, about, margin = by_branches(model, task)
    except (Failed, TooWide) as failed:
        few = few_texts(model, task, most_texts)
        return prove_texts(model, task) if few else _undecided(model, task, failed)
    return Attempt(_sealed(model, task, about, parts, margin), None, margin)


@precision()
def prove_texts(model: Transformer, task: Task) -> Attempt:
    """A certificate that has the checker go through every text, one by one; Refuted where the model
    answers one of them wrongly.
    """
    began = time.perf_counter()
    problems = [spec.problem(text) for spec in specifications(task) for text in spec.texts()]
    wrong = replay(model, task, problems)
    about = {"version": VERSION, "numerics": NUMERICS, "rules": list(TEXT_RULES)}
    certificate = None if wrong else _sealed(model, task, about)
    return Attempt(certificate, wrong, seconds=time.perf_counter() - began)


def _undecided(model: Transformer, task: Task, failed: Failed | TooWide) -> Attempt:
    """The verdict where a proof by branches failed: the texts it failed on may refute the model."""
    few = few_texts(model, task, TEXTS)
    way_out = "; `tinyadder prove` then goes through all texts, one by one" if few else ""
    if isinstance(failed, TooWide):
        return Attempt(None, Unknown(f"{failed}{way_out}"))
    specs = specifications(task)  # texts of two of them may have one length
    stating = (spec.problem(t) for t in failed.texts for spec in specs if spec.has(t))
    problems = list(dict.fromkeys(stating))
    wrong = replay(model, task, problems) or replay(model, task, task.hard())
    return Attempt(None, wrong or Unknown(failed.reason + way_out), open=problems)


def _sealed(
    model: Transformer,
    task: Task,
    about: dict[str, Any],
    parts: list[dict[str, Any]] | None = None,
    margin: float | None = None,
) -> dict[str, Any]:
    """A certificate for this model; without `parts` the checker goes through the texts."""
    certificate = {
        "format": "tinyadder certificate",
        "model": model_digest(model, task),
        "config": changed(model.config),
        "task": task.to_json(),
        **about,
        "weights": {"sha256": weights_digest(model), "tensors": _hex(model)},
        "margin": None if margin is None else margin.hex(),
        "parts": parts,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "python-flint": flint.__version__,
        },
    }
    return {**certificate, "sha256": hashlib.sha256(canonical(certificate)).hexdigest()}


def below(bound: Ball) -> float:
    """A float64 below `bound`."""
    return float(np.nextafter(float(bound.lower()), -np.inf))


def leaf_margins(tree: dict[str, Any]) -> float:
    """The smallest margin of the leaves below."""
    if "children" in tree:
        return min(leaf_margins(child) for child in tree["children"].values())
    return float("inf") if tree["margin"] is None else float.fromhex(tree["margin"])


def canonical(data: Any) -> bytes:
    """The bytes that the seal of a certificate is the hash of."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def _hex(model: Transformer) -> dict[str, Any]:
    """Shape and nonzero entries of every tensor by its plain name, floats in hexadecimal."""
    tensors = {item.name: item.tensor.detach().cpu() for item in items(model)}
    return {
        name: {
            "shape": list(tensor.shape),
            "entries": {
                str(i): float(v).hex() for i, v in enumerate(tensor.flatten().tolist()) if v != 0
            },
        }
        for name, tensor in sorted(tensors.items())
    }


@dataclass(frozen=True)
class TimedVerdict:
    """The verdict on a model folder and what it cost."""

    verdict: Proved | Refuted | Unknown
    proof_seconds: float
    check_seconds: float | None = None
    claims: int | None = None
    """How much the checker checked, of what `counted` says."""
    numerics: Mapping[str, str] = field(default_factory=lambda: NUMERICS)
    """What is assumed of the machine."""
    unit: str = "logits"
    """What margins are in."""
    counted: str = "shortest paths"
    open: Sequence[Problem] = ()
    """Problems of branches that could not be decided."""


def certify(model: Transformer, task: Task, folder: Path, most_texts: int = TEXTS) -> TimedVerdict:
    """Prove, write `certificate.json` into the folder that holds the saved model, and let the
    checker judge it.

    Proved is the checker's verdict on the files of the folder. A certificate of an earlier model is
    removed. A task without a proof by branches is proved text by text if it has at most
    `most_texts`; a text costs one to thirty milliseconds.
    """
    if isinstance(task, Sequences | Computer):  # compiled programs have checkers of their own
        from tinyadder.verify.certify.programs.prove import certify_computer, certify_program

        if isinstance(task, Computer):
            validated = certify_computer(model, task, folder)
            assumed, counted = computer.ASSUMED, "steps and pairs of positions"
        else:
            validated = certify_program(model, task, folder)
            assumed, counted = NUMERICS, validated["counted"]
        return TimedVerdict(
            validated["verdict"],
            validated["proof_seconds"],
            validated["check_seconds"],
            validated["combinations"],
            numerics=assumed,
            counted=counted,
        )
    found = prove(model, task, most_texts)
    verdict = _judged(found, folder)
    rejected = isinstance(verdict.verdict, Unknown) and found.certificate is not None
    by_branches = found.certificate is not None and found.certificate["parts"] is not None
    if rejected and by_branches and few_texts(model, task, most_texts):
        return _judged(prove_texts(model, task), folder)
    return verdict


def _judged(found: Attempt, folder: Path) -> TimedVerdict:
    """What the checker says of the certificate, written into the folder; without one, the prover's
    own verdict.
    """
    file = folder / "certificate.json"
    if found.certificate is None:
        file.unlink(missing_ok=True)
        assert found.verdict is not None
        return TimedVerdict(found.verdict, found.seconds, open=found.open)
    write_certificate(found.certificate, file)
    began = time.perf_counter()
    try:
        checked = check.check(folder)
    except check.Rejected as reason:
        why = f"the checker rejected the certificate: {reason}"
        return TimedVerdict(Unknown(why), found.seconds)
    verdict = Proved.by_checker(checked, str(file))
    seconds, about = time.perf_counter() - began, (checked["claims"], checked["numerics"])
    return TimedVerdict(
        verdict, found.seconds, seconds, *about, checked["unit"], checked["counted"]
    )


def write_certificate(certificate: dict[str, Any], path: Path) -> None:
    """Write compact JSON."""
    with atomic_write(path) as part:
        part.write_text(
            json.dumps(certificate, separators=(",", ":"), ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
