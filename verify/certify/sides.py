"""The sides of many boxes at once: the bound on a weighted mean that holds on every text of a
branch, by shortest paths in arrays. As `Search.side` does it for one box; nothing here is trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyadder.verify.certify.batch import FloatArray
from tinyadder.verify.certify.check.specifications import Moves

IntArray = NDArray[np.int64]
ROWS = 2048
"""Sides that are looked for together."""
ROUNDS = 12
"""Of Dinkelbach's method, which converges faster than Newton's."""


class StageArrays(NamedTuple):
    """Moves by the state that they lead to: (states behind, moves into each), padded."""

    position: int
    before: IntArray
    """The state that each comes from; the last one is none."""
    token: IntArray


class BatchedPaths:
    """Shortest paths over the stages that branches of one tree read."""

    def __init__(
        self,
        stages: Sequence[tuple[int, Moves]],
        texts: Sequence[Sequence[str]],
        read: set[int],
    ) -> None:
        """`read`: the positions whose tokens have a cost, or may be known."""
        self.stages: list[StageArrays] = []
        self.tokens = {position: len(texts[position]) for position in read}
        states = sorted({state for state, _, _ in stages[0][1]})
        for position, moves in stages:
            place = {state: n for n, state in enumerate(states)}
            number = {token: n for n, token in enumerate(texts[position])}
            after = sorted({to for _, to, _ in moves})
            into: dict[int, set[tuple[int, int]]] = {to: set() for to in after}
            for state, to, token in moves:
                if state in place:
                    into[to].add((place[state], number[token] if position in read else 0))
            most = max(map(len, into.values()))
            padded = np.full((2, len(after), most), [[[len(states)]], [[0]]])
            for k, to in enumerate(after):
                padded[:, k, : len(into[to])] = np.array(sorted(into[to])).T.reshape(2, -1)
            self.stages.append(StageArrays(position, *padded))
            states = after
        self.first = len({state for state, _, _ in stages[0][1]})

    def ratios(
        self,
        costs: Mapping[int, FloatArray],
        tops: Mapping[int, FloatArray],
        masses: Mapping[int, FloatArray],
    ) -> tuple[FloatArray, FloatArray]:
        """Sums of `tops` and of `masses` (rows, tokens) along the path of least `costs`, by row."""
        rows = len(next(iter(costs.values())))
        found = np.zeros((3, rows, self.first + 1))
        found[0, :, -1] = np.inf
        for position, before, token in self.stages:
            cost = found[0][:, before]
            if position in costs:
                cost = cost + costs[position][:, token]
            best = cost.argmin(2)[..., None]
            came = np.take_along_axis(np.broadcast_to(before, cost.shape), best, 2)[..., 0]
            then = np.full((3, rows, len(before) + 1), np.inf)
            then[0, :, :-1] = np.take_along_axis(cost, best, 2)[..., 0]
            then[1:, :, :-1] = np.take_along_axis(found[1:], came[None], 2)
            if position in tops:
                by = np.take_along_axis(np.broadcast_to(token, cost.shape), best, 2)[..., 0]
                then[1, :, :-1] += np.take_along_axis(tops[position], by, 1)
                then[2, :, :-1] += np.take_along_axis(masses[position], by, 1)
            found = then
        last = found[0].argmin(1)[:, None]
        top, mass = (np.take_along_axis(part, last, 1)[:, 0] for part in found[1:])
        return top, mass


class Tables(NamedTuple):
    """What queries with one token need, by position: values (2 symbols, tokens) of lower and upper
    sides in turn, weights (symbols, tokens); of far positions the hull of values and the weight.
    """

    values: dict[int, FloatArray]
    least: dict[int, FloatArray]
    most: dict[int, FloatArray]
    hull: FloatArray
    far: FloatArray
    size: FloatArray
    """The largest value, by symbol."""


def sides(
    paths: BatchedPaths,
    tables: Sequence[Tables],
    owns: IntArray,
    known: Mapping[int, IntArray],
    start: FloatArray,
    slack: float,
) -> FloatArray:
    """The sides of n boxes (n, 2 symbols), each further out by `slack` of the largest value.

    `owns`: which table a box needs; `known`: position -> the token that is known there, or -1.
    """
    n, count = start.shape
    found = start.copy()
    flat = found.reshape(-1)
    sign = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    for first in range(0, n * count, ROWS):
        active = np.arange(first, min(first + ROWS, n * count))
        for turn in range(ROUNDS):
            bound = flat[active]
            new = improved(paths, tables, owns, known, active, bound, sign, count)
            flat[active] = new
            settled = np.abs(new - bound) <= 1e-13 * np.maximum(1, np.abs(bound))
            active = active[~settled] if turn else active
            if not len(active):
                break
    size = np.array([t.size for t in tables])[owns].repeat(2, axis=1)
    return found - sign * slack * np.maximum(size, 1e-3)


def improved(
    paths: BatchedPaths,
    tables: Sequence[Tables],
    owns: IntArray,
    known: Mapping[int, IntArray],
    active: IntArray,
    bound: FloatArray,
    sign: FloatArray,
    count: int,
) -> FloatArray:
    """One step of Dinkelbach's method: the ratio of the path that the bound makes shortest."""
    box, side = active // count, active % count
    own, way = owns[box], sign[side][:, None]
    costs: dict[int, FloatArray] = {}
    tops: dict[int, FloatArray] = {}
    masses: dict[int, FloatArray] = {}
    for j in tables[0].values:
        value = np.stack([t.values[j] for t in tables])[own, side]
        least = np.stack([t.least[j] for t in tables])[own, side // 2]
        most = np.stack([t.most[j] for t in tables])[own, side // 2]
        gap = (value - bound[:, None]) * way
        weight = np.where(gap >= 0, least, most)
        costs[j], tops[j], masses[j] = gap * weight, value * weight, weight
    for j, token in known.items():
        here = token[box][:, None]
        other = (here >= 0) & (here != np.arange(paths.tokens[j]))
        costs[j] = np.where(other, np.inf, costs.get(j, np.zeros(1)))
    hull = np.stack([t.hull for t in tables])[own, side]
    far = np.stack([t.far for t in tables])[own, side // 2]
    far = np.where((hull - bound) * way[:, 0] < 0, far, 0.0)
    top, mass = paths.ratios(costs, tops, masses)
    return (top + far * hull) / (mass + far)


def tables_of(
    found: Any, own: str, near: Sequence[int], texts: Sequence[Sequence[str]], one: int
) -> Tables:
    """The tables of the checker in floats; `found` is what `GraphTree.table` gives."""
    values: dict[int, FloatArray] = {}
    least: dict[int, FloatArray] = {}
    most: dict[int, FloatArray] = {}
    for j in near:
        values[j] = np.zeros((2 * len(found), len(texts[j])))
        least[j], most[j] = (np.zeros((len(found), len(texts[j]))) for _ in range(2))
        for s, (rows, _, _) in enumerate(found):
            for n, token in enumerate(texts[j]):
                if token in rows.get(j, ()):
                    (low, high), (v,) = rows[j][token]
                    values[j][2 * s : 2 * s + 2, n] = v[0] / one, v[1] / one
                    least[j][s, n], most[j][s, n] = low / one, high / one
    hull = np.array([end / one for _, _, (h,) in found for end in h])
    far = np.array([weight / one for _, weight, _ in found])
    size = [np.abs(hull.reshape(-1, 2)).max(1)]
    size += [np.abs(v).max(1).reshape(-1, 2).max(1) for v in values.values()]
    return Tables(values, least, most, hull, far, np.max(size, axis=0))
