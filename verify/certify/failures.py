"""How many problems of its task a refuted model answers wrongly: an interval, for the floating-point program itself.

The family: models whose decision at an answer position is a function of *one* number S that depends on the text (the
output of one head at the query, the remainder of the sum), of the token at the query, and of constants. All else of a
model is refused, never guessed.

What is proved. Let E(k, d) be the set of problems with right answer token d at answer position k, where the model, given
the right answer before k, does not choose d. By induction greedy decoding is wrong on exactly the union of all E(k, d).

1. `View` (the prover's rules, rounding included) gives each logit difference "right - other" as a form in S. The values
   of S are cut into ranges where all differences are positive (right), one is negative (wrong), or neither is known
   (unsure: at most a few rounding errors wide, equal logits included).
2. S is a sum of one table per position, each entry an interval that holds the rounding. The runs of the specification
   automaton are counted by the value of S, from the last stage to the first. Runs with equal state and value are one node
   with a multiplicity (a Python integer); a node is settled as soon as all its completions lie in one range. Nodes that
   differ by little are merged to their hull when there are too many: that widens the result, it cannot falsify it.
   Runs surely in "wrong" are the lower end of |E|; runs possibly outside "right" are the upper end.
3. Sets E(k, d) with the same k are disjoint. For two positions an upper bound of |E n F| comes from the same count with
   both answer tokens fixed (0 where S then stays in "right"). The union is at most the sum of the |E| and at least the
   sum of the |E| minus the sum of the |E n F| (Bonferroni); also at least what one position alone has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from tinyadder.tasks.base import Task
from tinyadder.transformer import Transformer
from verify.certify.forms import Ball, Form, Symbol
from verify.certify.machine import NeedPhase, View
from verify.certify.network import Network, Unsupported, overflow, read_network
from verify.certify.paths import BITS, Paths, Restriction, far
from verify.certify.spec import Specification, specifications

RIGHT, WRONG, UNSURE = "right", "wrong", "unsure"
NODES = 1 << 13
"""More nodes than this are merged. On add10_gist 2^13 leaves the rounding of the model as the larger uncertainty."""
PAIRS = 4000
"""Bonferroni's bound is skipped where more pairs of sets than this might overlap."""
SPLITS = 40

Piece = tuple[Ball, Ball, str]
"""A closed range of S and what is known of the decision in it."""


@dataclass(frozen=True)
class Wrong:
    """E(k, d): between `low` and `high` problems have the right token `token` at `position` and get another."""

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
    """Upper bound of the problems counted in two of `sets`; 0: the sets are disjoint, the sums are the interval."""
    sets: tuple[Wrong, ...]
    seconds: float


class Sums:
    """A separable form as integers in units of 2^exponent: both ends of what every move adds."""

    def __init__(self, paths: Paths, form: Form) -> None:
        assert not form.symbols
        size = sum((max(abs(b).upper() for b in table.values()) for table in form.tables.values()), abs(form.c).upper())
        self.exponent = int(np.frexp(float(size))[1]) - BITS
        self.paths = paths
        self.start = self.floor(form.c), self.ceil(form.c)
        self.low, self.high = [], []
        for stage in paths.spec.stages:
            tokens, table = paths.spec.tokens[stage.position], form.tables.get(stage.position)
            entries = [Ball(0)] * len(tokens) if table is None else [table[token] for token in tokens]
            self.low.append(np.array([self.floor(entry) for entry in entries], dtype=np.int64))
            self.high.append(np.array([self.ceil(entry) for entry in entries], dtype=np.int64))

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
    """For every stage and state, over the allowed ways from the start: least and largest sum, and how many ways."""

    def __init__(self, sums: Sums, restriction: Restriction) -> None:
        paths = sums.paths
        self.moves = [paths._allowed(t, restriction) for t in range(len(paths.src))]
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
    """The integers cut at `cuts`: segment s holds cuts[s-1] <= x < cuts[s] and is labelled `labels[s]`."""

    cuts: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, pieces: list[Piece], sums: Sums) -> Segments:
        """Pieces in rising order; S never leaves them, so the first and the last go on for ever."""
        cuts: list[int] = []
        labels: list[str] = [pieces[0][2]]
        for (_, end, label), (_, _, after) in zip(pieces, pieces[1:], strict=False):
            if label == after:
                continue
            below, above = sums.floor(end), sums.ceil(end)
            if UNSURE in (label, after):
                cuts.append(below + 1 if after == UNSURE else above)
                labels.append(after)
            else:
                cuts += [below, above + 1]
                labels += [UNSURE, after]
        # a piece without an integer in it leaves cuts out of order: what lies between them is unsure
        return cls(np.maximum.accumulate(np.array(cuts, dtype=np.int64)), np.array(labels))

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
            state, low, high, many = _back(sums, prefixes.moves[t], t, state, low, high, many)
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


Nodes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _back(
    sums: Sums, allowed: np.ndarray | None, t: int, state: np.ndarray, low: np.ndarray, high: np.ndarray, many: np.ndarray
) -> Nodes:  # fmt: skip
    """All nodes one stage earlier."""
    paths, parts = sums.paths, []
    for after in np.unique(state):
        here = paths.dst[t] == after if allowed is None else (paths.dst[t] == after) & allowed
        nodes, tokens = state == after, paths.tok[t][here]
        shape = int(nodes.sum()), len(tokens)
        parts.append((
            np.broadcast_to(paths.src[t][here], shape).ravel(),
            (low[nodes][:, None] + sums.low[t][tokens]).ravel(),
            (high[nodes][:, None] + sums.high[t][tokens]).ravel(),
            np.repeat(many[nodes], len(tokens)),
        ))  # fmt: skip
    state, low, high, many = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return state, low, high, many


def _merged(state: np.ndarray, low: np.ndarray, high: np.ndarray, many: np.ndarray) -> Nodes:
    """Nodes of one state and value as one; where that leaves too many, nodes of nearly the same value as their hull."""
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

    def __init__(self, network: Network, spec: Specification, base: View, position: int) -> None:
        self.network, self.position = network, position
        self.view = View(network, spec, position, base)
        for right in network.outputs:
            for other in network.outputs:
                if right != other:
                    with suppress(NeedPhase):
                        self.view.margin(right, other)
        self.symbol = self._symbol(self.view)

    def _symbol(self, view: View) -> Symbol:
        heads = [key for key in view.definitions if key[0] == "mixed"]
        if len(heads) != 1:
            raise Unsupported(
                f"position {self.position}: {len(heads)} numbers that depend on the text before it decide the next "
                "token; failures are counted where exactly one does (the remainder of most-significant-first adders)"
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

    def _pieces(self, view: View, right: str, low: Ball, high: Ball, splits: int) -> Iterator[Piece]:
        part = view.branch()
        part.memo = part.lasting()  # all that follows from S is computed anew, and rounds less in a smaller range
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
        rest = Form(form.c, form.tables, {s: a for s, a in form.symbols.items() if s != self.symbol})
        zero = -view.low(rest).union(view.high(rest)) / alpha
        width = high - low
        # a little more than the zone, so that beside it the sign is decided
        start = max(low, (zero.lower() - width * Ball(2) ** -30).lower())
        end = min(high, (zero.upper() + width * Ball(2) ** -30).upper())
        return (start, end) if start < end and 2 * (end - start) < width else None

    def label(self, view: View, right: str) -> tuple[str, Form]:
        """The decision where S has the range that `view` says, and a logit difference whose sign is open."""
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


@dataclass(frozen=True)
class _Set:
    """One E(k, d) with what is needed to count parts of it."""

    found: Wrong
    sums: Sums
    segments: Segments
    restriction: Restriction


def _sets(network: Network, spec: Specification) -> Iterator[_Set]:
    """All E(k, d) that may hold a problem."""
    paths, base = Paths(spec), View(network, spec)
    for i in range(spec.start - 1, spec.length - 1):
        decision = Decision(network, spec, base, i)
        sums = Sums(paths, decision.form)
        for token in spec.tokens[i + 1]:
            restriction = Restriction({i + 1: token})
            prefixes = Prefixes(sums, restriction)
            low = sums.ball(sums.start[0] + int(prefixes.least[-1].min()))
            high = sums.ball(sums.start[1] + int(prefixes.most[-1].max()))
            pieces = decision.pieces(token, low, high)
            if all(label == RIGHT for *_, label in pieces):
                continue
            segments = Segments.of(pieces, sums)
            surely, possibly = count(sums, segments, restriction)
            if possibly:
                yield _Set(Wrong(i + 1, token, surely, possibly), sums, segments, restriction)


def _overlap(one: _Set, two: _Set) -> int:
    """An upper bound of the problems in both sets."""
    position, token = two.found.position, two.found.token
    both = one.restriction.with_token(position, token)
    most = count(one.sums, one.segments, both)[1]
    return min(most, count(two.sums, two.segments, both)[1]) if most else 0


def count_failures(model: Transformer, task: Task) -> Failures:
    """How many problems of `task` the model, decoding greedily, answers wrongly, as an interval.

    Holds for every execution that the numerics of `verify.certify.prove` allow. Raises `Unsupported` for a model
    outside the family and `NoSpecification` for a task without an automaton.
    """
    began = time.perf_counter()
    network = read_network(model)
    if network.vocabulary != task.vocabulary:
        raise Unsupported("the vocabulary of the model is not that of the task")
    low = high = problems = overlap = 0
    found: list[Wrong] = []
    for spec in specifications(task):
        if where := overflow(network, spec.length):
            raise Unsupported(f"{where} may overflow")
        sets = list(_sets(network, spec))
        pairs = [(a, b) for a, b in combinations(sets, 2) if a.found.position != b.found.position]
        shared = sum(_overlap(a, b) for a, b in pairs) if len(pairs) <= PAIRS else spec.count()
        by_position: dict[int, int] = {}
        for one in sets:
            by_position[one.found.position] = by_position.get(one.found.position, 0) + one.found.low
        low += max(sum(by_position.values()) - shared, *by_position.values(), 0)
        high += min(sum(one.found.high for one in sets), spec.count())
        problems += spec.count()
        overlap += shared
        found += [one.found for one in sets]
    return Failures(low, high, problems, overlap, tuple(found), time.perf_counter() - began)
