"""Lanes -> columns of the residual stream: one each, or as few as the program allows.

A lane that nothing reads any more can give its column to a later one. The residual stream only
adds, so the old value is taken away first: hidden units read it and add minus what they read,
relu(a) - relu(-a) = a, in the first MLP after the last reader. That is exact, x - x = 0, because
the next lane is written later: in one sum with a large old value a small new one would be lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from tinyadder.programs.lines import Line
from tinyadder.programs.lower import LoweredLane, Lowering


@dataclass
class SharedColumn:
    """A column of the residual stream and the lanes that it holds, one after another."""

    lanes: list[LoweredLane]
    name: str = ""

    @property
    def meaning(self) -> str:
        """What it holds."""
        return ", then ".join(lane.meaning for lane in self.lanes)


def live(low: Lowering) -> list[LoweredLane]:
    """The lanes that the answer needs, directly or through others."""
    found: set[str] = set()
    stack = [name for name, _ in low.answer.terms]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [n for line in read_by(low.lanes[name]) for n, _ in line.terms]
    return [lane for lane in low.lanes.values() if lane.name in found]


def read_by(lane: LoweredLane) -> list[Line]:
    """The lines that the writers of a lane read."""
    lines = [line for gate, up, _ in lane.units for line in (gate, up) if line is not None]
    if lane.head is not None:
        head, row = lane.head
        lines += [line for pair in head.rows for line in pair] + [head.values[row][0]]
    return lines


def columns(low: Lowering, share: bool) -> list[SharedColumn]:
    """A column for each lane that is needed; with `share` as few as their lifetimes allow."""
    lanes = live(low)
    if not share:
        return [SharedColumn([lane], lane.name) for lane in lanes]
    cleared = _cleared(low, lanes)
    found: list[SharedColumn] = []
    for lane in sorted(lanes, key=_starts):
        free = [c for c in found if cleared[c.lanes[-1].name] < _starts(lane)]
        if free:
            max(free, key=lambda c: cleared[c.lanes[-1].name]).lanes.append(lane)
        else:
            found.append(SharedColumn([lane]))
    for number, column in enumerate(found, 1):
        shared = len(column.lanes) > 1
        column.name = f"column{number}" if shared else column.lanes[0].name
    return found


def clearing(low: Lowering, column: SharedColumn) -> Iterator[tuple[int, LoweredLane]]:
    """(MLP layer, lane) where the column is cleared of a lane for the next."""
    cleared = _cleared(low, column.lanes)
    for lane in column.lanes[:-1]:
        yield int(cleared[lane.name]) // 2 - 1, lane


def _starts(lane: LoweredLane) -> int:
    """The time from which the column is the lane's."""
    return 0 if lane.embed or lane.separator else lane.time


def _cleared(low: Lowering, lanes: list[LoweredLane]) -> dict[str, float]:
    """The time after which a lane's column is empty again: of the first MLP that has no reader
    behind it.
    """
    last: dict[str, float] = {name: inf for name, _ in low.answer.terms}
    for lane in live(low):
        at = lane.time - 1  # heads read what the MLP before them left, units what attention left
        for line in read_by(lane):
            for name, _ in line.terms:
                last[name] = max(last.get(name, 0), at)
    found: dict[str, float] = {}
    for lane in lanes:
        until = max(last.get(lane.name, 0), lane.time)
        found[lane.name] = until if until == inf else 2 * (int(until) // 2) + 2
    return found
