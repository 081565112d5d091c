"""The margin hunt: climb towards the sum that a model decides most narrowly.

A margin is the lead of the right digit's logit at one place of the answer, negative where another
digit wins. Random sums say little about the smallest one; a search that keeps the narrowest sums of
every kind and changes them finds failures that no sample meets. Kinds (cells) are: which place of
the answer, how long the run of columns with sum 9 below it, whether a carry comes in. Each keeps
its own narrowest sums, since a margin of 1 may be narrow at one place and wide at another.

A fault may sleep in a hidden unit that lets nothing through, and moves no margin, until its sum
comes. So every unit that was silent on the first sums is a cell, too: it keeps the sums that came
nearest to waking it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np

from tinyadder.tasks.addition import Addition
from tinyadder.tasks.pairs import Pair
from tinyadder.verify.external.decoding import WIDTH
from tinyadder.verify.external.formats import digits_of
from tinyadder.verify.external.recording import DIGITS

TASK = Addition(digits=DIGITS)
KEPT = 6
"""Narrowest sums kept a cell."""
CELLS = WIDTH * WIDTH * 2
POWERS = 10 ** np.arange(DIGITS, dtype=np.int64)

FIRST = 2000
"""Sums after which a unit that let nothing through counts as silent."""

Ask = Callable[[list[Pair]], tuple[np.ndarray, np.ndarray]]
"""Margins (n, 11) of sums, by place, least significant first, NaN where nothing is decided; and
what hidden units were given (n, units), positive where they let something through."""


def cells_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 11) the cell of each place, of digits (n, 10)."""
    sums, count = a + b, len(a)
    found = np.empty((count, WIDTH), dtype=np.int64)
    carry, run = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for place in range(WIDTH):
        found[:, place] = (place * WIDTH + run) * 2 + carry
        if place < DIGITS:
            run = np.where(sums[:, place] == 9, run + 1, 0)
            carry = (sums[:, place] + carry >= 10).astype(np.int64)
    return found


def described(cell: int) -> str:
    """A cell in words."""
    if cell >= CELLS:
        return f"hidden unit {cell - CELLS}"
    place, rest = divmod(int(cell), WIDTH * 2)
    run, carry = divmod(rest, 2)
    return f"place {place}, {run} nines below, carry {carry}"


@dataclass
class Hunt:
    """The narrowest sums of every cell, and the search that narrows them."""

    ask: Ask
    seed: int = 0
    asked: int = 0
    wrong: list[Pair] = field(default_factory=list)
    """Sums with a negative margin, in the order in which they were met."""

    def __post_init__(self) -> None:
        self.random, self.plain = np.random.default_rng(self.seed), Random(self.seed)
        self.a = np.empty((0, DIGITS), np.int64)
        self.b = np.empty((0, DIGITS), np.int64)
        self.score = np.empty(0)
        self.cell = np.empty(0, np.int64)
        self.known = set[Pair]()
        self.largest = np.empty(0)
        """What each hidden unit was given at most, on the first sums."""
        self.silent: np.ndarray | None = None
        """The units that let nothing through on these; None before that is known."""
        self.swept = set[Pair]()
        self.neighbours = list[Pair]()
        self.turn = 0

    # ---- the sums kept ---------------------------------------------------------------------------

    def pairs(self, rows: np.ndarray) -> list[Pair]:
        """The kept sums of these rows."""
        return _pairs(self.a[rows], self.b[rows])

    def smallest(self) -> tuple[float, Pair] | None:
        """The smallest margin and its sum."""
        if not (self.cell < CELLS).any():
            return None
        row = int(np.where(self.cell < CELLS, self.score, np.inf).argmin())
        return float(self.score[row]), self.pairs(np.array([row]))[0]

    def urgency(self) -> np.ndarray:
        """Of each kept sum: its margin, in units of the median of its place; infinite in the cells
        of units, where there is no margin.
        """
        place, found = self.cell // (2 * WIDTH), np.full(len(self.score), np.inf)
        for one in range(WIDTH):
            scores = self.score[place == one]
            if len(scores):
                found[place == one] = scores / max(float(np.median(np.abs(scores))), 1e-300)
        return found

    def narrowest(self, count: int) -> list[Pair]:
        """`count` sums that are the most urgent, each once."""
        margins = int((self.cell < CELLS).sum())
        return list(dict.fromkeys(self.pairs(self.urgency().argsort()[:margins])))[:count]

    def see(self, pairs: list[Pair], margins: np.ndarray, units: np.ndarray) -> None:
        """Take these sums into account."""
        self.asked += len(pairs)
        self.wrong += [pairs[n] for n in np.flatnonzero((margins < 0).any(1)).tolist()]
        a, b = (digits_of([pair[which] for pair in pairs]) for which in (0, 1))
        scores = np.where(np.isnan(margins), np.inf, margins)
        cells = cells_of(a, b)
        silent = self._silent(units)
        if len(silent):
            scores = np.concatenate([scores, -units[:, silent]], 1)
            where = np.broadcast_to(CELLS + silent, (len(pairs), len(silent)))
            cells = np.concatenate([cells, where], 1)
        count = CELLS + len(self.largest)
        full = np.bincount(self.cell, minlength=count) >= KEPT
        np.maximum.at(highest := np.full(count, -np.inf), self.cell, self.score)
        row, column = np.nonzero(scores < np.where(full, highest, np.inf)[cells])
        self._keep(a[row], b[row], scores[row, column], cells[row, column])

    def _silent(self, units: np.ndarray) -> np.ndarray:
        """The units whose cells are kept; none where passes show other units than the first did."""
        if self.asked <= FIRST or not len(self.largest):
            if not len(self.largest):
                self.largest = np.full(units.shape[1], -np.inf)
            if units.shape[1] == len(self.largest):
                self.largest = np.maximum(self.largest, units.max(0, initial=-np.inf))
        elif self.silent is None:
            self.silent = np.flatnonzero((self.largest <= 0) & np.isfinite(self.largest))
        if self.silent is None or units.shape[1] != len(self.largest):
            return np.empty(0, np.int64)
        return self.silent

    def _keep(self, a: np.ndarray, b: np.ndarray, score: np.ndarray, cell: np.ndarray) -> None:
        """The `KEPT` narrowest different sums of each cell, of the kept ones and these."""
        a, b = np.concatenate([self.a, a]), np.concatenate([self.b, b])
        score, cell = np.concatenate([self.score, score]), np.concatenate([self.cell, cell])
        first, second = a @ POWERS, b @ POWERS
        order = np.lexsort((second, first, score, cell))
        a, b, score, cell = a[order], b[order], score[order], cell[order]
        first, second = first[order], second[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (np.diff(cell) != 0) | (np.diff(first) != 0) | (np.diff(second) != 0)
        a, b, score, cell = a[new], b[new], score[new], cell[new]
        starts = np.searchsorted(cell, np.arange(CELLS + len(self.largest)))
        kept = np.arange(len(cell)) - starts[cell] < KEPT
        self.a, self.b, self.score, self.cell = a[kept], b[kept], score[kept], cell[kept]

    # ---- the search ------------------------------------------------------------------------------

    def round(self, size: int) -> None:
        """Ask about `size` new sums and keep the narrowest."""
        pairs = self.chains(size // 2) if not len(self.score) else []
        if not pairs:
            pairs = self.sweep(size // 3)
            pairs += self.children(size - len(pairs))
        fresh = [pair for pair in dict.fromkeys(pairs) if pair not in self.known]
        if fresh:
            self.known.update(fresh)
            self.see(fresh, *self.ask(fresh))

    def chains(self, count: int) -> list[Pair]:
        """Runs of columns with sum 9 of every length at every place, with a carry below them or
        none; the other columns random.
        """
        shapes = [
            (low, length, carry)
            for length in range(DIGITS + 1)
            for low in range(DIGITS + 1 - length)
            for carry in (0, 1)
            if low or not carry
        ]
        a = self.random.integers(0, 10, (max(count, len(shapes)), DIGITS))
        b = self.random.integers(0, 10, a.shape)
        for n in range(len(a)):
            self._chain(a, b, n, *shapes[n % len(shapes)])
        return _pairs(a, b)

    def _chain(
        self, a: np.ndarray, b: np.ndarray, n: int, low: int, length: int, carry: int
    ) -> None:
        """Write a run from column `low` into row n, and what comes into it."""
        b[n, low : low + length] = 9 - a[n, low : low + length]
        if low and carry:
            a[n, low - 1] = first = int(self.random.integers(1, 10))
            b[n, low - 1] = self.random.integers(10 - first, 10)
        elif low:
            a[n, low - 1] = first = int(self.random.integers(0, 9))
            b[n, low - 1] = self.random.integers(0, 9 - first)

    def sweep(self, count: int) -> list[Pair]:
        """`count` neighbours (one column replaced by any other) of the most urgent sums and of
        those nearest to waking a silent unit, one sum after the other; each sum once.
        """
        while len(self.neighbours) < count:
            self.turn += 1
            order = self.urgency().argsort()[: 4 * KEPT]
            units = np.flatnonzero(self.cell >= CELLS)
            if len(units) and self.turn % 2:
                one = self.random.choice(self.cell[units])
                order = np.concatenate([np.flatnonzero(self.cell == one), order])
            centre = next((pair for pair in self.pairs(order) if pair not in self.swept), None)
            if centre is None:
                break
            self.swept.add(centre)
            for column in range(DIGITS):
                power = 10**column
                x, y = (n - n // power % 10 * power for n in centre)
                self.neighbours += [
                    (x + i * power, y + j * power) for i in range(10) for j in range(10)
                ]
        found, self.neighbours = self.neighbours[:count], self.neighbours[count:]
        return found

    def _parents(self, count: int) -> np.ndarray:
        """Rows of kept sums: half from cells at random, half the most urgent."""
        cells = np.unique(self.cell)
        some = self.random.choice(cells, count - count // 2)
        start = np.searchsorted(self.cell, some)
        end = np.searchsorted(self.cell, some, side="right")
        at_random = start + (self.random.random(len(some)) ** 2 * (end - start)).astype(np.int64)
        urgent = self.urgency().argsort()[: max(8, len(self.score) // 10)]
        return np.concatenate([at_random, self.random.choice(urgent, count // 2)])

    def children(self, count: int) -> list[Pair]:
        """Changed copies of kept sums, and a tenth from samplers."""
        fresh = TASK.structured(self.plain, count // 10)
        count -= len(fresh)
        one, other = self._parents(count), self.random.permutation(self._parents(count))
        a, b = self.a[one].copy(), self.b[one].copy()
        kind = self.random.integers(0, len(CHANGES), count)
        for number, change in enumerate(CHANGES):
            rows = np.flatnonzero(kind == number)
            if len(rows):
                change(self, a, b, rows, other[rows])
        return [(x, y) for x, y in fresh] + _pairs(a, b)

    def _columns(self, rows: np.ndarray) -> np.ndarray:
        return self.random.integers(0, DIGITS, len(rows))

    def _renew(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """One to three columns at random."""
        for share in (1.0, 0.5, 0.3):
            some = rows[self.random.random(len(rows)) < share]
            column = self._columns(some)
            a[some, column] = self.random.integers(0, 10, len(some))
            b[some, column] = self.random.integers(0, 10, len(some))

    def _one_digit(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """One digit of one operand."""
        first = self.random.random(len(rows)) < 0.5
        for digits, some in ((a, rows[first]), (b, rows[~first])):
            digits[some, self._columns(some)] = self.random.integers(0, 10, len(some))

    def _same_sum(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """Digits of one column moved from one operand to the other: its sum stays."""
        column = self._columns(rows)
        total = a[rows, column] + b[rows, column]
        low = np.maximum(0, total - 9)
        first = low + (self.random.random(len(rows)) * (total - 2 * low + 1)).astype(np.int64)
        a[rows, column], b[rows, column] = first, total - first

    def _cross(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """The columns below a place from another sum."""
        below = np.arange(DIGITS) < self.random.integers(1, DIGITS, len(rows))[:, None]
        a[rows] = np.where(below, self.a[other], a[rows])
        b[rows] = np.where(below, self.b[other], b[rows])

    def _mix(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """Each column from one sum or the other."""
        mine = self.random.random((len(rows), DIGITS)) < 0.5
        a[rows] = np.where(mine, a[rows], self.a[other])
        b[rows] = np.where(mine, b[rows], self.b[other])

    def _run(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """A run of columns with sum 9, with a carry below it or none."""
        low, carry = self._columns(rows), self.random.integers(0, 2, len(rows))
        for n, at, with_carry in zip(rows, low.tolist(), carry.tolist(), strict=True):
            self._chain(a, b, n, at, int(self.random.integers(1, DIGITS + 1 - at)), with_carry)

    def _shift(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """Every column one place up or down."""
        up = self.random.random(len(rows)) < 0.5
        for some, by in ((rows[up], 1), (rows[~up], -1)):
            a[some], b[some] = np.roll(a[some], by, 1), np.roll(b[some], by, 1)

    def _copy(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """A column in place of another one."""
        source, target = self._columns(rows), self._columns(rows)
        a[rows, target], b[rows, target] = a[rows, source], b[rows, source]

    def _exchange(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """The digits of some columns exchanged between the operands."""
        some = self.random.random((len(rows), DIGITS)) < 0.3
        first, second = a[rows], b[rows]
        a[rows], b[rows] = np.where(some, second, first), np.where(some, first, second)

    def _clear(self, a: np.ndarray, b: np.ndarray, rows: np.ndarray, other: np.ndarray) -> None:
        """Zeros, or one repeated digit, below a place or above it."""
        cut = self.random.integers(1, DIGITS, len(rows))[:, None]
        below = np.arange(DIGITS) < cut
        part = np.where(self.random.random((len(rows), 1)) < 0.5, below, ~below)
        for digits in (a, b):
            digit = np.where(
                self.random.random((len(rows), 1)) < 0.5,
                0,
                self.random.integers(0, 10, (len(rows), 1)),
            )
            digits[rows] = np.where(part, digit, digits[rows])


CHANGES = (
    Hunt._renew,
    Hunt._one_digit,
    Hunt._same_sum,
    Hunt._cross,
    Hunt._mix,
    Hunt._run,
    Hunt._shift,
    Hunt._copy,
    Hunt._exchange,
    Hunt._clear,
)


def _pairs(a: np.ndarray, b: np.ndarray) -> list[Pair]:
    return list(zip((a @ POWERS).tolist(), (b @ POWERS).tolist(), strict=True))
