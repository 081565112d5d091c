"""How many problems of its task a refuted model answers wrongly: an interval, for the
floating-point program itself.

The family: models whose decision at an answer position is a function of *one* number S that depends
on the text (the output of one head at the query, the remainder of the sum), of the token at the
query, and of constants. All else of a model is refused, never guessed.

What is proved. Let E(k, d) be the set of problems with right answer token d at answer position k
where the model, given the right answer before k, does not choose d. Greedy decoding is wrong on
exactly the union of all E(k, d): up to its first wrong token it has read the right answer.

1. `View` (the prover's rules, rounding included) gives each logit difference "right - other" as a
  form in S. The values of S are cut into ranges where all differences are positive (right), one is
  negative (wrong), or neither is known (unsure: a few rounding errors wide, equal logits included).
  Where more is open, each token at the query by itself.
2. S is a sum of one table per position, each entry an interval that holds the rounding. The runs of
  the specification automaton are counted by the value of S, from the last stage to the first. Runs
  of equal state and value are one node with a multiplicity (a Python integer), settled as soon as
  all its completions lie in one range. Where there are too many nodes, those of nearly the same
  value become their hull: that widens the result, and never falsifies it. Runs surely in "wrong"
  are the lower end of |E|; runs possibly outside "right" are the upper end.
3. Sets E(k, d) of one k are disjoint. For two positions the same count with both answer tokens
  fixed bounds |E n F| from above (0 where S then stays in "right": the sets are proved disjoint).
  The union is at most the sum of all |E|, at least that sum minus the sum of all |E n F|
  (Bonferroni), and at least what one position has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

import numpy as np

from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Task
from tinyadder.verify.certify.forms import Ball, Form, Symbol, precision
from tinyadder.verify.certify.machine import NeedPhase, View
from tinyadder.verify.certify.network import Network, Unsupported, overflow, read_network
from tinyadder.verify.certify.paths import BITS, FINE_BITS, Paths, Restriction, far
from tinyadder.verify.certify.spec import Specification, specifications

RIGHT, WRONG, UNSURE = "right", "wrong", "unsure"
NODES = 1 << 15
"""More nodes than this are merged. Four times as many make the widest set of add10_gist 11 %
narrower.
"""
PAIRS = 4000
"""Bonferroni's bound is skipped where more pairs of sets than this might overlap."""
SPLITS = 40

Nodes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Runs from a state on: the state, both ends of what they add to S, how many they are."""
Piece = tuple[Ball, Ball, str]
"""A closed range of S and what is known of the decision in it."""


@dataclass(frozen=True)
class ErrorBounds:
    """E(k, d): between `low` and `high` problems have the right token `token` at `position` and get
    another.

    Positions are those of the answer, from 0.
    """

    position: int
    token: str
    low: int
    high: int


@dataclass(frozen=True)
class Failures:
    """Between `low` and `high` of all `problems` are answered wrongly by greedy decoding."""

    low: int
    high: int
    problems: int
    overlap: int
    """Upper bound of the problems counted in two of `sets`; 0: the sets are disjoint, the sums are
    the interval.
    """
    sets: tuple[ErrorBounds, ...]
    seconds: float


class Sums:
    """A separable form as integers in units of 2^exponent: both ends of what every move adds."""

    def __init__(self, paths: Paths, form: Form, bits: int = BITS) -> None:
        assert not form.symbols
        size = sum(
            (max(abs(b).upper() for b in table.values()) for table in form.tables.values()),
            abs(form.c).upper(),
        )
        self.exponent = int(np.frexp(float(size))[1]) - bits
        self.paths, self.form = paths, form
        kind = np.int64 if bits == BITS else object
        self.start = self.floor(form.c), self.ceil(form.c)
        self.low, self.high = [], []
        for stage in paths.spec.stages:
            tokens, table = paths.spec.tokens[stage.position], form.tables.get(stage.position)
            # a token that a known one at the query excludes has no entry
            entries = [
                Ball(0) if table is None or token not in table else table[token] for token in tokens
            ]
            self.low.append(np.array([self.floor(entry) for entry in entries], dtype=kind))
            self.high.append(np.array([self.ceil(entry) for entry in entries], dtype=kind))

    @property
    def width(self) -> int:
        """The widest that the interval of a sum can be: the rounding of S, in units."""
        widths = ((high - low).max() for low, high in zip(self.low, self.high, strict=True))
        return self.start[1] - self.start[0] + int(sum(widths))

    def range(self, restriction: Restriction) -> tuple[Ball, Ball] | None:
        """The least and the largest sum of the allowed texts; None where there is none."""
        prefixes = Prefixes(self, restriction)
        there = prefixes.reached[-1]
        if not there.any():
            return None
        low, high = prefixes.least[-1][there].min(), prefixes.most[-1][there].max()
        return self.ball(self.start[0] + int(low)), self.ball(self.start[1] + int(high))

    def floor(self, ball: Ball) -> int:
        """The largest integer not above `ball`, in units."""
        found = (ball.lower() * Ball(2) ** -self.exponent).floor().unique_fmpz()
        assert found is not None
        return int(found)

    def ceil(self, ball: Ball) -> int:
        return -self.floor(-ball)

    def ball(self, units: int) -> Ball:
        return Ball(units) * Ball(2) ** self.exponent


class Prefixes:
    """For every stage and state, over the allowed ways from the start: least and largest sum, and
    how many ways.
    """

    def __init__(self, sums: Sums, restriction: Restriction) -> None:
        paths = sums.paths
        self.moves = [paths.allowed(t, restriction) for t in range(len(paths.src))]
        self.least = paths.forward(sums.low, restriction)
        self.most = [-row for row in paths.forward([-costs for costs in sums.high], restriction)]
        self.reached = [row < far(sums.low) // 2 for row in self.least]
        self.ways = [np.ones(1, dtype=object)]
        for t, keep in enumerate(self.moves):
            found = np.zeros(paths.sizes[t + 1], dtype=object)
            keep = np.ones(len(paths.src[t]), dtype=bool) if keep is None else keep
            np.add.at(found, paths.dst[t][keep], self.ways[-1][paths.src[t][keep]])
            self.ways.append(found)


@dataclass(frozen=True)
class Segments:
    """The integers cut at `cuts`: segment s holds cuts[s-1] <= x < cuts[s] and is labelled
    `labels[s]`.
    """

    cuts: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, pieces: list[Piece], sums: Sums) -> Segments:
        """Pieces in rising order; S never leaves them, so the first and the last go on for ever."""
        cuts: list[int] = []
        labels: list[str] = [pieces[0][2]]
        for (_, end, label), (_, _, after) in pairwise(pieces):
            if label == after:
                continue
            below, above = sums.floor(end), sums.ceil(end)
            if UNSURE in (label, after):
                cuts.append(below + 1 if after == UNSURE else above)
                labels.append(after)
            else:
                cuts += [below, above + 1]
                labels += [UNSURE, after]
        # a piece without an integer in it leaves cuts out of order: what lies between them is
        # unsure
        return cls(np.maximum.accumulate(np.array(cuts, dtype=np.int64)), np.array(labels))

    @property
    def unsure(self) -> float:
        """How many integers are unsure; infinite where an end is."""
        if UNSURE in (self.labels[0], self.labels[-1]):
            return float("inf")
        return float(np.diff(self.cuts)[self.labels[1:-1] == UNSURE].sum())

    def label(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Of each range low .. high: the label it has throughout, or '' where it has several."""
        first, last = (np.searchsorted(self.cuts, end, side="right") for end in (low, high))
        return np.where(first == last, self.labels[first], "")


def count(sums: Sums, segments: Segments, restriction: Restriction) -> tuple[int, int]:
    """(surely, possibly): how many allowed texts have a wrong decision."""
    paths, prefixes = sums.paths, Prefixes(sums, restriction)
    state = np.flatnonzero(prefixes.reached[-1])
    low, high = (np.full(len(state), end, dtype=np.int64) for end in sums.start)
    many = np.ones(len(state), dtype=object)
    surely = possibly = 0
    for t in range(len(paths.src), -1, -1):
        if t < len(paths.src):
            state, low, high, many = _back(sums, t, prefixes.moves[t], (state, low, high, many))
        reached = prefixes.reached[t][state]
        state, low, high, many = (array[reached] for array in (state, low, high, many))
        labels = segments.label(low + prefixes.least[t][state], high + prefixes.most[t][state])
        ways = many * prefixes.ways[t][state]
        wrong = int(ways[labels == WRONG].sum())
        surely += wrong
        possibly += wrong + int(ways[labels == UNSURE].sum())
        keep = labels == ""
        if not keep.any():
            return surely, possibly
        state, low, high, many = _merged(state[keep], low[keep], high[keep], many[keep])
    return surely, possibly + int(many.sum())


def _back(sums: Sums, t: int, allowed: np.ndarray | None, nodes: Nodes) -> Nodes:
    """All nodes one stage earlier."""
    state, low, high, many = nodes
    paths, parts = sums.paths, []
    for after in np.unique(state):
        here = paths.dst[t] == after if allowed is None else (paths.dst[t] == after) & allowed
        these, tokens = state == after, paths.tok[t][here]
        shape = int(these.sum()), len(tokens)
        parts.append(
            (
                np.broadcast_to(paths.src[t][here], shape).ravel(),
                (low[these][:, None] + sums.low[t][tokens]).ravel(),
                (high[these][:, None] + sums.high[t][tokens]).ravel(),
                np.repeat(many[these], len(tokens)),
            )
        )
    state, low, high, many = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return state, low, high, many


def _merged(state: np.ndarray, low: np.ndarray, high: np.ndarray, many: np.ndarray) -> Nodes:
    """Nodes of one state and value as one; where that leaves too many, nodes of nearly the same
    value as their hull.
    """
    order = np.lexsort((high, low, state))
    state, low, high, many = state[order], low[order], high[order], many[order]
    new = np.ones(len(state), dtype=bool)
    new[1:] = (state[1:] != state[:-1]) | (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    width = 1
    while new.sum() > NODES:
        width *= 2
        cell = (low - low.min()) // width
        new[1:] = (state[1:] != state[:-1]) | (cell[1:] != cell[:-1])
    first = np.flatnonzero(new)
    return state[first], low[first], np.maximum.reduceat(high, first), np.add.reduceat(many, first)


class Decision:
    """What the model decides at one position, as a function of the one number S."""

    def __init__(
        self,
        network: Network,
        spec: Specification,
        base: View,
        position: int,
        own: str | None = None,
    ) -> None:
        self.network, self.position = network, position
        self.view = View(network, spec, position, base)
        self.view.own = own
        for right in network.outputs:
            for other in network.outputs[:2]:
                if right != other:
                    with suppress(NeedPhase):
                        self.view.margin(right, other)
        self.symbol = self._symbol(self.view)

    def _symbol(self, view: View) -> Symbol:
        heads = [key for key in view.definitions if key[0] == "mixed"]
        if len(heads) != 1:
            raise Unsupported(
                f"position {self.position}: {len(heads)} numbers that depend on the text before it"
                " decide the next token; failures are counted where exactly one does (the"
                " remainder of most-significant-first adders)"
            )
        return heads[0]

    @cached_property
    def form(self) -> Form:
        """S itself, as a separable form."""
        return self.view.definitions[self.symbol]

    def pieces(self, right: str, low: Ball, high: Ball) -> list[Piece]:
        """The range of S in rising order of pieces, for texts whose next token is `right`."""
        if right not in self.network.outputs:
            return [(low, high, WRONG)]
        return list(self._pieces(self.view, right, low, high, SPLITS))

    def _pieces(
        self, view: View, right: str, low: Ball, high: Ball, splits: int
    ) -> Iterator[Piece]:
        part = view.branch()
        # all that follows from S is computed anew, and rounds less in a smaller range
        part.memo = part.lasting()
        part.lows[self.symbol], part.highs[self.symbol] = low, high
        try:
            label, form = self.label(part, right)
        except NeedPhase as need:
            label, form = UNSURE, need.gate
        if label != UNSURE or splits == 0:
            yield low, high, label
            return
        zone = self.zone(part, form, low, high)
        if zone is None:
            yield low, high, self.both(part, right)
            return
        for start, end in ((low, zone[0]), zone, (zone[1], high)):
            if start < end:
                yield from self._pieces(part, right, start, end, splits - 1)

    def zone(self, view: View, form: Form, low: Ball, high: Ball) -> tuple[Ball, Ball] | None:
        """Where in low .. high the sign of `form` is open; None where that is most of it."""
        alpha = form.symbols.get(self.symbol)
        if alpha is None or alpha.contains(0):
            return None
        rest = Form(
            form.c, form.tables, {s: a for s, a in form.symbols.items() if s != self.symbol}
        )
        zero = -view.low(rest).union(view.high(rest)) / alpha
        width = high - low
        # a little more than the zone, so that beside it the sign is decided
        start = max(low, (zero.lower() - width * Ball(2) ** -30).lower())
        end = min(high, (zero.upper() + width * Ball(2) ** -30).upper())
        return (start, end) if start < end and 2 * (end - start) < width else None

    def label(self, view: View, right: str) -> tuple[str, Form]:
        """The decision where S has the range that `view` says, and a logit difference whose sign is
        open.
        """
        found = RIGHT, Form()
        for other in self.network.outputs:
            if other == right:
                continue
            margin = view.margin(right, other)
            self._symbol(view)
            if view.high(margin) < 0:
                return WRONG, margin
            if not view.low(margin) > 0:
                found = UNSURE, margin
        return found

    def both(self, view: View, right: str) -> str:
        """The decision where gates may have either sign: that of both phases, if they agree."""
        try:
            return self.label(view, right)[0]
        except NeedPhase as need:
            found = set()
            for phase in (True, False):
                part = view.branch()
                part.memo = part.lasting()
                part.phases[need.layer, need.unit] = phase
                found.add(self.both(part, right))
            return found.pop() if len(found) == 1 else UNSURE


def _right(pieces: list[Piece]) -> bool:
    return all(label == RIGHT for *_, label in pieces)


@dataclass(frozen=True)
class FailureRegion:
    """The texts of a restriction, the values of S on them, and what is decided there."""

    sums: Sums
    segments: Segments
    restriction: Restriction

    @classmethod
    def of(
        cls, decision: Decision, sums: Sums, right: str, restriction: Restriction
    ) -> FailureRegion | None:
        """None where no text meets the restriction, or none can be wrong."""
        ends = sums.range(restriction)
        if ends is None or _right(pieces := decision.pieces(right, *ends)):
            return None
        # finer ends of the range, which may leave nothing but right ones
        ends = Sums(sums.paths, sums.form, FINE_BITS).range(restriction)
        if ends is None or _right(pieces := decision.pieces(right, *ends)):
            return None
        return cls(sums, Segments.of(pieces, sums), restriction)

    def count(self, tokens: dict[int, str]) -> tuple[int, int]:
        """(surely, possibly) wrong among its texts with these tokens."""
        mine = self.restriction.tokens
        if any(mine.get(position, token) != token for position, token in tokens.items()):
            return 0, 0
        return count(self.sums, self.segments, Restriction({**mine, **tokens}))


@dataclass(frozen=True)
class Counted:
    """One E(k, d) with its parts."""

    found: ErrorBounds
    right: dict[int, str]
    parts: tuple[FailureRegion, ...]

    def most(self, tokens: dict[int, str]) -> int:
        """An upper bound of its problems with these tokens."""
        return sum(part.count(tokens)[1] for part in self.parts)

    def overlap(self, other: Counted) -> int:
        """An upper bound of the problems in both sets."""
        found = self.most(other.right)
        return min(found, other.most(self.right)) if found else 0


def _counted(network: Network, spec: Specification) -> Iterator[Counted]:
    """All E(k, d) that may hold a problem."""
    paths, base = Paths(spec), View(network, spec)
    for i in range(spec.start - 1, spec.length - 1):
        decision = Decision(network, spec, base, i)
        sums = Sums(paths, decision.form)
        for token in spec.tokens[i + 1]:
            right = {i + 1: token}
            parts = [FailureRegion.of(decision, sums, token, Restriction(right))]
            if parts[0] and parts[0].segments.unsure > sums.width and len(spec.tokens[i]) > 1:
                # more is open than rounding leaves: the decision depends on the token at the query
                parts = []
                for own in spec.tokens[i]:
                    known = Decision(network, spec, base, i, own)
                    parts.append(
                        FailureRegion.of(
                            known, Sums(paths, known.form), token, Restriction({i: own, **right})
                        )
                    )
            there = tuple(part for part in parts if part)
            counts = [part.count({}) for part in there]
            surely, possibly = sum(low for low, _ in counts), sum(high for _, high in counts)
            if possibly:
                yield Counted(
                    ErrorBounds(i + 1 - spec.start, token, surely, possibly), right, there
                )


@precision()
def count_failures(model: Transformer, task: Task) -> Failures:
    """How many problems of `task` the model, decoding greedily, answers wrongly, as an interval.

    Holds for every execution that the numerics of `tinyadder.verify.certify.prove` allow. Raises
    `Unsupported` for a model outside the family and `NoSpecification` for a task without an
    automaton.
    """
    began = time.perf_counter()
    network = read_network(model)
    if network.vocabulary != task.vocabulary:
        raise Unsupported("the vocabulary of the model is not that of the task")
    low = high = problems = overlap = 0
    found: list[ErrorBounds] = []
    for spec in specifications(task):
        if where := overflow(network, spec.length):
            raise Unsupported(f"{where} may overflow")
        sets = list(_counted(network, spec))
        pairs = [(a, b) for a, b in combinations(sets, 2) if a.found.position != b.found.position]
        shared = sum(a.overlap(b) for a, b in pairs) if len(pairs) <= PAIRS else spec.count()
        by_position: dict[int, int] = {}
        for one in sets:
            by_position[one.found.position] = by_position.get(one.found.position, 0) + one.found.low
        low += max(sum(by_position.values()) - shared, *by_position.values(), 0)
        high += min(sum(one.found.high for one in sets), spec.count())
        problems += spec.count()
        overlap += shared
        found += [one.found for one in sets]
    return Failures(low, high, problems, overlap, tuple(found), time.perf_counter() - began)
