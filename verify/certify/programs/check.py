"""Check that the weights of a compiled program do what the program means, for every text.

Every column of the stream is a function of bases, exact, with an error bound for each combination
of their values. Embeddings and hidden units are computed from the weights; what a head delivers is
the node that the certificate names, once the scores of every pair of descriptions are found to
select what the program selects, and the values to be the program's. The readout is tried for every
combination. Hints say where to look; nothing else of the compiler is believed. Where a text is read
in several copies, a column is known from some copy on; elsewhere, and at separators, it is only
known to lie in its box, and a head must not attend to anything there. Standard library only; of the
package `check` only the reading of weights and the list of what is assumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise, product
from math import exp, isfinite, prod
from pathlib import Path
from typing import Any, NamedTuple

from tinyadder.verify.certify.check.files import parse, read
from tinyadder.verify.certify.check.intervals import Rejected, need
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.programs.meaning import (
    COPY,
    INDEX,
    MARK,
    TOKEN,
    Base,
    Meaning,
    number,
    plain,
)
from tinyadder.verify.certify.programs.texts import every_text

U = 2.0**-53
LOWEST = -700
"""The lowest score of a sum: below about -708 e^score is subnormal, with fewer digits."""
MOST_MARKS = 2000
"""The most combinations of what heads deliver at a separator that are gone through."""
LARGEST = 2.0**1000
"""What no sum may reach."""
LITTLE = 2.0**-40
"""What is less than this is next to nothing."""
FAR = 128.0
"""A score so far below is far enough by any rule."""
SLACK = 1 + 2.0**-30
"""Error bounds are added up in floats and widened by this: more than their own rounding."""
RULES = {
    "EMBED": "a column after the embedding is a function of the token: the entries",
    "UNITS": "relu(gate) * up, computed exactly for every combination of bases; errors by Lipschitz"
    " constants, 0 where the gate is surely negative",
    "SELECT": "selected positions have scores within d of the base, others at least g below; of two"
    " descriptions with one position, one token: they are the same position",
    "SUM": "base far below 0: sum of e^base v, relative error 2d, n e^-g and rounding",
    "MEAN": "base far above 0: the mean of v, or 0 where nothing is selected",
    "RANK": "a count of all that come before in an order of the positions takes each of 0 .. n - 1"
    " once",
    "ORDER": "a slope s: the nearest (farthest) selected position, others weigh e^-|s|",
    "READ": "the logit of the right token is the largest, for every combination",
    "NUMBER": "the one logit is within a quarter of the least distance of two values",
}


Noise = tuple[tuple[int, Fraction], ...]
"""(number of a column that a head writes, factor): how much of what that column is off by."""


class Held(NamedTuple):
    """What a column holds: at most `error` from `value`; and at most `rest` from the value and,
    times the factors, what the columns of `noise` are off by at the same position.
    """

    value: Fraction
    error: float
    rest: float
    noise: Noise = ()


def exactly(value: Fraction) -> Held:
    return Held(value, 0.0, 0.0)


@dataclass(frozen=True)
class Mark:
    """What a column holds at a separator: a function of what heads deliver there, which is named
    by the number of the column (of `ProgramChecker.counted`), or of the length of the text.
    """

    bases: tuple[Base, ...]
    table: dict[tuple, Held]


def fixed(held: Held) -> Mark:
    """A value that is the same for every text."""
    return Mark((), {(): held})


@dataclass
class Column:
    """A function of bases: combination of values -> what it holds."""

    bases: tuple[Base, ...]
    table: dict[tuple, Held]
    boxes: list[tuple[float, float]]
    """What the column can hold at a token of each copy, then at the separator after each copy."""
    separators: list[Mark | None]
    """What is held at the separator after each copy; None where only the box is known."""
    level: int = 0
    """The first copy in which the table holds."""

    def at(self, row: dict[Base, Any]) -> Held:
        return self.table[tuple(row[b] for b in self.bases)]

    @property
    def box(self) -> tuple[float, float]:
        """What the column can hold anywhere at all."""
        return min(b[0] for b in self.boxes), max(b[1] for b in self.boxes)

    @property
    def zero(self) -> bool:
        return self.box == (0.0, 0.0)

    def sharpened(self) -> Column:
        """The boxes of the copies in which the table holds, from the table."""
        last = len(self.separators)
        for copy in range(self.level, last + 1):
            at = self.bases.index(COPY) if COPY in self.bases else None
            self.boxes[copy] = hull(
                v for row, v in self.table.items() if at is None or row[at] == copy
            )
        for copy, known in enumerate(self.separators):
            if known is not None:
                self.boxes[last + 1 + copy] = hull(known.table.values())
        return self


def hull(values: Iterable[Held]) -> tuple[float, float]:
    """A box of floats around these."""
    ends = [(float(v), e * SLACK + abs(float(v)) * 2.0**-52) for v, e, *_ in values]
    return min(v - e for v, e in ends), max(v + e for v, e in ends)


def box_product(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """A box around the products of two boxes."""
    ends = [x * y for x in a for y in b]
    low, high = min(ends), max(ends)
    need(all(map(isfinite, ends)), "a box has no ends")
    return low - 2.0**-52 * abs(low), high + 2.0**-52 * abs(high)


def no_overflow(boxes: Iterable[tuple[float, float]]) -> None:
    """No sum of these, in any order, and no part of it reaches 2^1000 (rule EXTENT)."""
    total = 0.0
    for low, high in boxes:
        total += max(-low, high)
    need(total < LARGEST, "a number may overflow")


def box_sum(boxes: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """A box around the sums of boxes."""
    slack = (len(boxes) + 2) * 2.0**-52
    low = sum(b[0] - slack * abs(b[0]) for b in boxes)
    return low, sum(b[1] + slack * abs(b[1]) for b in boxes)


def above(number: Fraction) -> float:
    """A float at least as large as |number|."""
    return abs(float(number)) * SLACK


def exp_of(number: Fraction) -> Fraction:
    """e^number to 50 digits."""
    with localcontext() as context:
        context.prec = 60
        value = Decimal(number.numerator) / Decimal(number.denominator)
        return Fraction(value.exp())


class ProgramChecker:
    """One model against one program."""

    def __init__(self, model: ProgramModel, meaning: Meaning, hints: dict[str, Any]) -> None:
        self.model, self.meaning = model, meaning
        self.codes = {plain(value): Fraction(*code) for value, code in hints["codes"]}
        self.hints = {(h["layer"], h["column"]): h for h in hints["heads"]}
        self.known: dict[Base, int] = {TOKEN: 0, INDEX: 0, COPY: 0}
        self.combinations = 0
        self.margin = float("inf")
        self.counted: dict[Base, list[int]] = {}
        """What heads that count may deliver at a separator, by a name of its own."""
        self.radius: list[float] = []
        """Rule NOISE: what each column that a head wrote is off by, at most."""

    def noisy(self, value: Fraction, error: float) -> Held:
        """What a head writes: within `error` of `value`, as all of the column last begun."""
        return Held(value, error, 0.0, ((len(self.radius) - 1, Fraction(1)),))

    def held(self, value: Fraction, error: float, rest: float, noise: dict[int, Fraction]) -> Held:
        """With the better of two error bounds: `error`, or what rest and noise add up to."""
        kept = tuple((s, f) for s, f in noise.items() if f)
        if not kept:
            error = rest = min(error, rest)
        else:
            apart = rest + sum(above(f) * self.radius[s] for s, f in kept) * SLACK
            error = min(error, apart * SLACK)
        return Held(value, error, rest, kept)

    def levels(self, base: Base) -> int:
        """The first copy in which a base is known: it must have been found in a column."""
        need(base in self.known, f"node {base} is not in any column yet")
        return self.known[base]

    def code(self, value: Any) -> Fraction:
        """The number that stands for a value: numbers for themselves."""
        if isinstance(value, int | Fraction):
            return Fraction(value)
        need(value in self.codes, f"no number stands for {value!r}")
        return self.codes[value]

    # ---- affine forms ----

    def affine(self, terms: Iterable[tuple[float, Column]], bias: float = 0.0) -> Column:
        """Rule LINEAR of the machine: a sum of products, in any order."""
        kept = [(w, c) for w, c in terms if w != 0 and not c.zero]
        bases = tuple(dict.fromkeys(b for _, c in kept for b in c.bases))
        table = {}
        weights = [(Fraction(w), abs(w)) for w, _ in kept]
        rounds = (len(kept) + 2) * U if len(kept) + (bias != 0) > 1 else 0.0
        if len(kept) == 1 and abs(kept[0][0]) != 1:
            rounds = max(rounds, 2 * U)

        def total(parts: Sequence[Held]) -> Held:
            value, error, rest, size = Fraction(bias), 0.0, 0.0, abs(bias)
            noise: dict[int, Fraction] = {}
            for (weight, magnitude), (inner, wrong, own, of) in zip(weights, parts, strict=True):
                value += weight * inner
                error += magnitude * wrong
                rest += magnitude * own
                size += magnitude * (above(inner) + wrong)
                for symbol, factor in of:
                    noise[symbol] = noise.get(symbol, Fraction(0)) + weight * factor
            rounding = rounds * size
            return self.held(value, (error + rounding) * SLACK, (rest + rounding) * SLACK, noise)

        for row in self.meaning.rows(bases):
            self.combinations += 1
            at = dict(zip(bases, row, strict=True))
            table[row] = total([column.at(at) for _, column in kept])
        separators = [
            self.marked([column.separators[copy] for _, column in kept], total)
            for copy in range(self.meaning.copies)
        ]
        boxes = []
        for place in range(2 * self.meaning.copies + 1):
            parts_ = [box_product((w, w), column.boxes[place]) for w, column in kept]
            no_overflow([*parts_, (bias, bias)])
            boxes.append(box_sum([*parts_, (bias, bias)]) if kept else (bias, bias))
        level = max((column.level for _, column in kept), default=0)
        return Column(bases, table, boxes, separators, level).sharpened()

    def marked(
        self, parts: Sequence[Mark | None], of: Callable[[Sequence[Held]], Held]
    ) -> Mark | None:
        """What is computed at a separator from these; None where one of them is not known."""
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        bases, rows = self.mark_rows(known)
        return None if rows is None else Mark(bases, {at: of(held) for at, held in rows})

    def mark_rows(
        self, marks: Sequence[Mark]
    ) -> tuple[tuple[Base, ...], list[tuple[tuple, list[Held]]] | None]:
        """(bases, what the columns hold together for each combination of their values); None where
        these are too many.
        """
        bases = tuple(dict.fromkeys(b for mark in marks for b in mark.bases))
        values = [self.counted[b] for b in bases]
        if prod(map(len, values)) > MOST_MARKS:
            return bases, None
        found = []
        for row in product(*values):
            at = dict(zip(bases, row, strict=True))
            found.append((row, [m.table[tuple(at[b] for b in m.bases)] for m in marks]))
        return bases, found

    # ---- the forward pass ----

    def run(self) -> None:
        """Follow every column through the layers, then try the readout."""
        model = self.model
        letters = [t for t in model.vocabulary if t in self.meaning.letters]
        need(len(letters) == len(self.meaning.letters), "the model lacks tokens of the program")
        need(MARK not in letters, "a token of the program is the separator")
        ids = {self.meaning.letters[t]: model.vocabulary.index(t) for t in letters}
        mark = model.vocabulary.index(MARK) if self.meaning.copies else None
        stream = []
        for k in range(model.width):
            table = {(v,): exactly(Fraction(model.embedding[t][k])) for v, t in ids.items()}
            entry = exactly(Fraction(model.embedding[mark][k] if mark is not None else 0.0))
            marks: list[Mark | None] = [fixed(entry)] * self.meaning.copies
            bases: tuple[Base, ...] = (TOKEN,)
            if len(set(table.values())) == 1:
                first = next(iter(table.values()))
                bases, table = (), {(): first}  # type: ignore[dict-item]
            boxes = [(0.0, 0.0)] * (2 * self.meaning.copies + 1)
            stream.append(Column(bases, table, boxes, [*marks]).sharpened())
        for depth, layer in enumerate(model.layers):
            if layer.query:
                added = self.attention(depth, layer, stream)
                stream = [self.plus(a, b) for a, b in zip(stream, added, strict=True)]
            if layer.gate:
                added = self.units(layer, stream)
                stream = [self.plus(a, b) for a, b in zip(stream, added, strict=True)]
        for token in model.outputs:
            row, bias = model.logit(token)
            parts = [box_product((w, w), c.box) for w, c in zip(row, stream, strict=True) if w]
            no_overflow([*parts, (bias, bias)])
        self.read(stream)

    def plus(self, a: Column, b: Column) -> Column:
        if a.zero or b.zero:
            return a if b.zero else b
        return self.affine([(1.0, a), (1.0, b)])

    def units(self, layer: Any, stream: Sequence[Column]) -> list[Column]:
        """Rule UNITS: what the MLP adds to every column."""
        made = []
        for n in range(len(layer.gate)):
            gate = self.affine(zip(layer.gate[n], stream, strict=True), layer.gate_bias[n])
            up = self.affine(zip(layer.up[n], stream, strict=True), layer.up_bias[n])
            bases = tuple(dict.fromkeys([*gate.bases, *up.bases]))
            table = {}
            for row in self.meaning.rows(bases):
                at = dict(zip(bases, row, strict=True))
                table[row] = self.unit(gate.at(at), up.at(at))
            separators = [
                self.marked(pair, lambda held: self.unit(*held))
                for pair in zip(gate.separators, up.separators, strict=True)
            ]
            boxes = [
                box_product((max(g[0], 0.0), max(g[1], 0.0)), u)
                for g, u in zip(gate.boxes, up.boxes, strict=True)
            ]
            no_overflow(boxes)
            level = max(gate.level, up.level)
            made.append(Column(bases, table, boxes, separators, level).sharpened())
        return [
            self.affine((layer.down[k][n], made[n]) for n in range(len(made)))
            for k in range(self.model.width)
        ]

    def unit(self, gate: Held, up: Held) -> Held:
        """relu(gate) * up; exactly 0 where the gate is surely shut.

        Where it is surely open, (g + d)(u + e) = g u + g e + u d + d e, to first order with noise.
        """
        g, wrong, own, _ = gate
        u, other, others, _ = up
        shut = float(-g) > wrong * SLACK * SLACK
        if g < 0 and shut:
            return exactly(Fraction(0))
        high = max(g, Fraction(0))
        error = wrong * (above(u) + other) + above(high) * other
        error = (error + 2 * U * (above(high * u) + error)) * SLACK
        if not float(g) > wrong * SLACK * SLACK:
            return Held(high * u, error, error)
        noise: dict[int, Fraction] = {}
        for factor, of in ((u, gate.noise), (g, up.noise)):
            for symbol, part in of:
                noise[symbol] = noise.get(symbol, Fraction(0)) + factor * part
        rest = above(g) * others + above(u) * own + wrong * other
        rest += 2 * U * (above(g) + wrong) * (above(u) + other)
        return self.held(g * u, error, rest * SLACK, noise)

    def attention(self, depth: int, layer: Any, stream: Sequence[Column]) -> list[Column]:
        """What the heads of a layer add to every column."""
        added = []
        for k in range(self.model.width):
            wires = [
                (h, r)
                for h, rows in enumerate(layer.wiring)
                for r, row in enumerate(rows)
                if row[k] != 0
            ]
            if not wires:
                added.append(self.affine([]))
                continue
            need(len(wires) == 1, f"column {k} of layer {depth} is written by several heads")
            (h, r) = wires[0]
            need(layer.wiring[h][r][k] == 1, "a wire is not 1")
            need((depth, k) in self.hints, f"nothing is said of column {k} after layer {depth}")
            added.append(self.head(self.hints[depth, k], layer, h, r, stream))
        return added

    def head(
        self, hint: dict[str, Any], layer: Any, h: int, r: int, stream: Sequence[Column]
    ) -> Column:
        """Rules SELECT, SUM, MEAN, ORDER: the column that a head writes is what the hint says."""
        queries, keys = (
            [
                self.affine(zip(rows, stream, strict=True), bias)
                for rows, bias in zip(
                    getattr(layer, name)[h], getattr(layer, f"{name}_bias")[h], strict=True
                )
            ]
            for name in ("query", "key")
        )
        value = self.affine(zip(layer.value[h][r], stream, strict=True), layer.value_bias[h][r])
        slope, node, total = layer.slopes[h], hint["node"], self.total
        products = [box_product(q.box, k.box) for q, k in zip(queries, keys, strict=True)]
        no_overflow([*products, (0.0, abs(slope) * total)])
        no_overflow([value.box] * total)
        if node == COPY:
            return self.copies(queries, keys, value, slope)
        op = "count" if node == INDEX else self.meaning.nodes[node]["op"]
        sums = op in ("count", "sum")
        found = Selection(self, hint, queries, keys, value, slope, sums)
        delta, gap, lowest = found.delta, found.gap, found.lowest
        wrong, reach = found.wrong, found.reach
        rounding = 2.0**-49 + (total + 10) * 2 * U
        # texts on which a `pick` selects two positions have no meaning, and nothing is said of them
        one = slope or op == "pick" or (op == "mean" and self.meaning.single(found.read_selector()))
        need(delta < (1 if one else 0.01), "the scores of selected positions differ too much")
        if sums:
            need(slope == 0 and found.highest <= -40, "a sum needs scores far below 0, no slope")
            need(lowest >= LOWEST, "a sum has scores so low that e^score is not a normal number")
            need(gap >= 0, "a sum has an unselected position with a higher score")
            weight = exp(found.highest) * 2 * total
            relative = 2 * delta + rounding + weight
            error = total * (wrong + (reach + wrong) * relative)
            error += total * found.largest * exp(min(-gap, 0)) * 1.1
        else:
            spread = abs(slope) * total
            if slope:
                need(op in ("latest", "earliest"), "a slope means latest or earliest")
                need((slope > 0) == (op == "latest"), "the slope has the other sign")
            else:
                need(op in ("mean", "pick"), "latest and earliest need a slope")
            bottom = lowest - (spread if slope > 0 else 0.0)
            need(bottom >= 40, "a far position has a score too low")
            need(gap - spread >= 30, "positions that are not selected have scores too high")
            far = exp(delta - abs(slope)) / (1 - exp(-abs(slope))) if slope else 0.0
            leak = exp(-bottom) + total * exp(spread - gap) + far
            relative = rounding + (0.0 if one else 4 * delta + (bottom + 1) * 4 * U)
            error = wrong + 2 * (found.largest + wrong) * (relative + 1.1 * leak)
            if not found.never_empty:
                empty = found.loudest + (spread if slope < 0 else 0.0)
                need(empty <= -30, "where nothing is selected, something is attended to")
                default = self.code(self.meaning.default(self.meaning.nodes[node]))
                need(Fraction(*hint["shift"]) == default, "the default is another")
                error += 1.1 * total * found.largest * exp(empty)
        error *= SLACK
        self.radius.append(error)
        if node == INDEX:
            table = {(i,): self.noisy(Fraction(i + 1), error) for i in range(self.meaning.length)}
            bases: tuple[Base, ...] = (INDEX,)
        else:
            shift = Fraction(*hint["shift"])
            values = self.meaning.support(node)
            table = {(v,): self.noisy(self.code(v) - shift, error) for v in values}
            bases = (node,)
        # anywhere else: weights that add up to no more than 1, and to little where scores are low
        weights = [min(1.0, total * exp(min(loud, 0.0))) for loud in found.loud]
        low, high = min(value.box[0], 0.0), max(value.box[1], 0.0)
        boxes = [(low * weight * 1.01, high * weight * 1.01) for weight in weights]
        self.known[node] = min(found.level, self.known.get(node, found.level))
        separators = found.at_separators(error) if op == "count" else found.silent()
        return Column(bases, table, boxes, separators, found.level).sharpened()

    def copies(
        self, queries: list[Column], keys: list[Column], value: Column, slope: float
    ) -> Column:
        """The number of separators so far: a sum over everything that is 1 at separators."""
        low, high = self.score_box(queries, keys)
        need(slope == 0 and high <= -40 and high - low < 1e-9, "copies are not a plain sum")
        need(low >= LOWEST, "a sum has scores so low that e^score is not a normal number")
        need(value.level == 0, "what counts as a copy is not known in every copy")
        scale = exp_of(Fraction(low))
        need(all(v == 0 and e == 0 for v, e, *_ in value.table.values()), "tokens count as copies")
        marks = [mark.table for mark in value.separators if mark is not None]
        need(len(marks) == self.meaning.copies, "a separator has no known value")
        held = [held for table in marks for held in table.values()]
        off = max(above(v * scale - 1) + e * float(scale) * SLACK for v, e, *_ in held)
        apart = 2 * (high - low) + 2.0**-50 + exp(high) * 2 * self.total
        error = (self.meaning.copies + 1) * (off + apart)
        error = (error + (self.total + 10) * 4 * U * (self.meaning.copies + 1)) * SLACK
        self.radius.append(error)
        table = {(c,): self.noisy(Fraction(c), error) for c in range(self.meaning.copies + 1)}
        separators: list[Mark | None] = [
            fixed(self.noisy(Fraction(c + 1), error)) for c in range(self.meaning.copies)
        ]
        boxes = [(0.0, 0.0)] * (2 * self.meaning.copies + 1)
        return Column((COPY,), table, boxes, separators).sharpened()

    def score_box(self, queries: list[Column], keys: list[Column]) -> tuple[float, float]:
        """What a score can be between any two positions."""
        return box_sum([box_product(q.box, k.box) for q, k in zip(queries, keys, strict=True)])

    @property
    def total(self) -> int:
        """The most tokens of a prompt."""
        return (self.meaning.copies + 1) * self.meaning.length + self.meaning.copies

    def read(self, stream: Sequence[Column]) -> None:
        """Rule READ: the right token wins wherever a text can lead."""
        meaning, model = self.meaning, self.model
        if not meaning.answers:
            return self.read_number(stream)
        logits = {token: model.logit(token) for token in model.outputs}
        read = [k for k in range(model.width) if any(w[k] != 0 for w, _ in logits.values())]
        columns = {k: stream[k] for k in read}
        need(all(c.level <= meaning.copies for c in columns.values()), "the last copy lacks it")
        for at in self.last(meaning.bases(meaning.output), columns.values()):
            meant = meaning.value(meaning.output, at)
            need(meant in meaning.answers, f"no token stands for the answer {meant!r}")
            right = meaning.answers[meant]
            held = {k: column.at(at) for k, column in columns.items()}
            need(right in logits, f"the answer {right!r} has no logit")
            first = self.logit(logits[right], held)
            for token in model.outputs:
                if token == right:
                    continue
                self.combinations += 1
                other = self.logit(logits[token], held)
                lead = float(first[0] - other[0]) - (first[1] + other[1]) * SLACK
                need(lead > 0, f"{token!r} may win where {right!r} is right")
                self.margin = min(self.margin, lead / SLACK)

    def read_number(self, stream: Sequence[Column]) -> None:
        """Rule NUMBER: the one logit is nearer to the value than a quarter of the least distance
        between two values.
        """
        meaning, model = self.meaning, self.model
        need(len(model.outputs) == 1, "a number is read from one logit, and there are several")
        weights, bias = model.logit(model.outputs[0])
        columns = {k: stream[k] for k in range(model.width) if weights[k] != 0}
        need(all(c.level <= meaning.copies for c in columns.values()), "the last copy lacks it")
        values = meaning.values(meaning.output)
        need(all(map(number, values)), "the answer is not always a number")
        steps = sorted(values)
        quarter = min((b - a for a, b in pairwise(steps)), default=Fraction(1)) / 4
        for at in self.last(meaning.bases(meaning.output), columns.values()):
            held, error = self.logit(
                (weights, bias), {k: column.at(at) for k, column in columns.items()}
            )
            apart = above(held - meaning.value(meaning.output, at)) + error * SLACK
            lead = float(quarter) * (1 - 2.0**-40) - apart
            need(lead > 0, "the number is too far from the value")
            self.margin = min(self.margin, lead)

    def last(self, bases: Sequence[Base], columns: Iterable[Column]) -> Iterator[dict[Base, Any]]:
        """Every description of a position of the last copy by these bases and those of columns."""
        found = tuple(dict.fromkeys([*bases, *(b for c in columns for b in c.bases)]))
        for row in self.meaning.rows(found):
            at = dict(zip(found, row, strict=True))
            if at.get(COPY, self.meaning.copies) == self.meaning.copies:
                self.combinations += 1
                if self.meaning.possible(at, {}):
                    yield at

    def logit(
        self, row: tuple[list[float], float], held: dict[int, Held]
    ) -> tuple[Fraction, float]:
        weights, bias = row
        value, error, size, terms = Fraction(bias), 0.0, abs(bias), 2
        for k, (inner, wrong, *_) in held.items():
            weight = weights[k]
            if weight:
                value += Fraction(weight) * inner
                error += abs(weight) * wrong
                size += abs(weight) * (above(inner) + wrong)
                terms += 1
        return value, error + terms * 2 * U * size


class Selection:
    """What the scores of a head select, for every pair of descriptions of positions.

    `lowest` .. `highest` are the scores of selected positions, `delta` how far they differ for one
    query, `gap` how far others lie below, `loudest` the highest score of an unselected position,
    `wrong` the error of a value, `reach` its size, `stored` the size of any value anywhere, and
    `largest` that times the weight of what is selected.
    """

    def __init__(
        self,
        checker: ProgramChecker,
        hint: dict[str, Any],
        queries: list[Column],
        keys: list[Column],
        value: Column,
        slope: float,
        sums: bool,
    ) -> None:
        self.checker, self.meaning, self.queries, self.keys = (
            checker,
            checker.meaning,
            queries,
            keys,
        )
        self.own, self.slope, self.node = hint["own"] is True, slope, hint["node"]
        self.value = value
        meaning, node = self.meaning, hint["node"]
        self.selector: int | None = None
        read = None
        sides: tuple[tuple[Base, ...], tuple[Base, ...]] = ((), ())
        if node != INDEX:
            inputs = meaning.nodes[node]["inputs"]
            self.selector, read = inputs[0], inputs[1] if len(inputs) > 1 else None
            sides = meaning.key_bases(self.selector), meaning.query_bases(self.selector)
        of_value = meaning.bases(read) if read is not None else ()
        self.level = self._level(sides, of_value, value)
        need(self.own or meaning.copies > 0, "a head reads the copy before, and there is none")
        need(self.own or node != INDEX, "positions are counted in the copy before")
        self.places: dict[tuple[bool, int], list[tuple[Held, ...]] | None] = {}
        self.delta, self.gap, self.lowest = 0.0, float("inf"), float("inf")
        self.highest = self.loudest = -float("inf")
        self._pairs(*sides)
        if sums:  # every query must give a selected position one weight, not only each its own,
            self.delta = self.highest - self.lowest
            self.gap = self.lowest - self.loudest  # and a query that selects nothing must be silent
        self.loud = self._loud()
        single = self.selector is not None and meaning.nodes[node]["op"] == "pick"
        self.never_empty = self.selector is not None and meaning.nonempty(
            self.selector, single=single
        )
        # values: at every description, those that the scores do not see included
        scale = exp_of(Fraction(self.lowest)) if sums else Fraction(1)
        shift = Fraction(*hint["shift"])
        need(not sums or shift == 0, "a sum is shifted")
        self.wrong = self.reach = 0.0
        bases = tuple(dict.fromkeys([*of_value, *value.bases]))
        need(COPY not in bases, "values depend on the copy")
        for row in meaning.rows(bases):
            at = dict(zip(bases, row, strict=True))
            held, error, *_ = value.at(at)
            meant = checker.code(meaning.value(read, at)) if read is not None else Fraction(1)
            meant -= 0 if sums else shift
            factor = float(scale) * SLACK
            self.wrong = max(self.wrong, above(held * scale - meant) + error * factor)
            self.reach = max(self.reach, above(meant))
        self.stored = max(abs(end) for end in value.box)
        anywhere = self.stored * float(scale) * SLACK
        self.largest = max(anywhere, self.reach + self.wrong)

    def read_selector(self) -> int:
        """The selector of the node. Rejected where the node reads everything."""
        need(self.selector is not None, "the node has no selector")
        return self.selector or 0

    def _level(self, sides: Any, of_value: Sequence[Base], value: Column) -> int:
        """The first copy in which the head knows its node."""
        level = self.checker.levels
        there = max([0, *(level(b) for b in (*sides[0], *of_value))])
        there = max([there, value.level, *(k.level for k in self.keys)])
        here = max([0, *(level(b) for b in sides[1]), *(q.level for q in self.queries)])
        return max(here, there if self.own else there + 1)

    def _pairs(self, of_keys: Sequence[Base], of_queries: Sequence[Base]) -> None:
        """Go through every query in every copy that knows its node, and every key."""
        meaning = self.meaning
        key_bases = _union(of_keys, self.keys)
        query_bases = _union(of_queries, self.queries)
        placed = INDEX in key_bases and INDEX in query_bases
        shared = [b for b in key_bases if b in query_bases and b not in (INDEX, COPY)]
        there = self._described(self.keys, key_bases)
        for here, q_rows in self._described(self.queries, query_bases):
            if not meaning.possible(here, {}):
                continue
            copies = [here[COPY]] if COPY in here else range(self.level, meaning.copies + 1)
            for copy in copies:
                if copy < self.level:
                    continue
                target = copy if self.own else copy - 1
                on: list[tuple[float, float]] = []
                off = -float("inf")
                for k_row, k_rows in there:
                    if k_row.get(COPY, target) != target:
                        continue
                    fate = self._fate(here, k_row, placed, shared)
                    if fate is None:
                        continue
                    score, error = self._score(q_rows, k_rows)
                    if fate:
                        on.append((score, error))
                    else:
                        off = max(off, score + error)
                least = min((score for score, _ in on), default=0.0)
                others = self._elsewhere(q_rows, copy, target, least - FAR)
                off = max(off, *others, -float("inf"))
                self._note(on, off)

    def _fate(
        self, here: dict[Base, Any], there: dict[Base, Any], placed: bool, shared: list[Base]
    ) -> bool | None:
        """Whether the program selects the key; None where the two cannot be in one text so."""
        meaning = self.meaning
        if not meaning.possible(here, there):
            return None
        chosen = self.selector is None or meaning.selects(self.selector, there, here)
        if placed and there[INDEX] == here[INDEX] and any(there[b] != here[b] for b in shared):
            return None  # one position has one description
        if not self.own or self.selector is None:
            need(not meaning.causal or self.own, "a causal program reads the copy before")
            return chosen
        if placed and there[INDEX] > here[INDEX]:
            need(meaning.causal or not chosen, "the program looks ahead, and this head cannot")
            return None
        need(placed or meaning.causal or not chosen, "the program may look ahead")
        return chosen

    def _score(self, q_rows: Sequence[Held], k_rows: Sequence[Held]) -> tuple[float, float]:
        """(score without the slope, error). Rule NOISE: what the rows of one side are off by
        together is multiplied by the rows of the other, and may cancel.
        """
        self.checker.combinations += 1
        score, error, rest, size = Fraction(0), 0.0, 0.0, 0.0
        noise: dict[tuple[int, int], Fraction] = {}
        for (a, ea, ra, na), (b, eb, rb, nb) in zip(q_rows, k_rows, strict=True):
            if (a == 0 and ea == 0) or (b == 0 and eb == 0):
                continue
            product = a * b
            score += product
            error += above(a) * eb + (above(b) + eb) * ea
            rest += above(a) * rb + above(b) * ra + ea * eb
            size += above(product)
            for side, factor, of in ((0, b, na), (1, a, nb)):
                for symbol, part in of:
                    at = side, symbol
                    noise[at] = noise.get(at, Fraction(0)) + factor * part
        radius = self.checker.radius
        rest += sum(above(f) * radius[symbol] for (_, symbol), f in noise.items() if f) * SLACK
        rounding = (len(q_rows) + 3) * U * (size + error + abs(self.slope) * self.checker.total)
        value = float(score)
        return value, (min(error, rest) + rounding + abs(value) * 2.0**-50) * SLACK

    def _loud(self) -> list[float]:
        """For each place (a token of each copy, the separator after each), the highest score of a
        query there.
        """
        last = self.meaning.copies
        slope = abs(self.slope) * self.checker.total
        found = []
        for here in range(2 * last + 1):
            copy = here if here <= last else here - last - 1
            marks = copy if here <= last else copy + 1  # a separator sees itself
            seen = [*range(copy + 1), *range(last + 1, last + 1 + marks)]
            found.append(slope + max(self._between(here, there) for there in seen))
        return found

    def _between(self, here: int, there: int) -> float:
        """The highest score between two places: exact where both are known, else by boxes."""
        sides = [self._rows_at(self.queries, here), self._rows_at(self.keys, there)]
        if sides[0] is None or sides[1] is None:
            parts = [
                box_product(q.boxes[here], k.boxes[there])
                for q, k in zip(self.queries, self.keys, strict=True)
            ]
            return box_sum(parts)[1] + sum(abs(p[1]) for p in parts) * 2.0**-40
        scores = (self._score(q, k) for q in sides[0] for k in sides[1])
        return max((score + error for score, error in scores), default=-float("inf"))

    def _rows_at(self, columns: list[Column], place: int) -> list[tuple[Held, ...]] | None:
        """All that these columns hold together at a token of a copy, or a separator (as boxes are
        numbered); None where only their boxes are known.
        """
        name = (columns is self.keys, place)
        if name not in self.places:
            self.places[name] = self._found_at(columns, place)
        return self.places[name]

    def _found_at(self, columns: list[Column], place: int) -> list[tuple[Held, ...]] | None:
        last = self.meaning.copies
        if place > last:
            marks = [c.separators[place - last - 1] for c in columns]
            known = [mark for mark in marks if mark is not None]
            rows = self.checker.mark_rows(known)[1] if len(known) == len(marks) else None
            return None if rows is None else list({tuple(held) for _, held in rows})
        if max(c.level for c in columns) > place:
            return None
        bases = _union((), columns)
        described = self._described(columns, bases)
        rows_ = {tuple(held) for at, held in described if at.get(COPY, place) == place}
        return list(rows_)

    def _elsewhere(self, q_rows: list[Held], copy: int, target: int, enough: float) -> list[float]:
        """Upper bounds of the scores of positions outside of the target copy, and of separators:
        by boxes, and exactly where these are not below `enough`.
        """
        found = []
        boxes = [hull([row]) for row in q_rows]
        last = self.meaning.copies
        places = [c for c in range(copy + 1) if c != target] + [last + 1 + c for c in range(copy)]
        for place in places:
            parts = [
                box_product(q, column.boxes[place])
                for q, column in zip(boxes, self.keys, strict=True)
            ]
            # t + g |t| grows with t, so the rounding of a score counts at the upper ends only
            rounding = sum(abs(p[1]) for p in parts) * 2.0**-40
            rounding += abs(self.slope) * self.checker.total * 2.0**-40
            bound = box_sum(parts)[1] + rounding
            rows = self._rows_at(self.keys, place) if bound > enough else None
            if rows is not None:
                scores = (self._score(q_rows, row) for row in rows)
                bound = min(bound, max(score + error for score, error in scores))
            found.append(bound)
        return found

    # ---- what the head delivers at separators ----

    def silent(self) -> list[Mark | None]:
        """Rule MARK: where every score is low, the head delivers next to nothing."""
        found: list[Mark | None] = []
        for loud in self.loud[self.meaning.copies + 1 :]:
            left = 1.1 * self.checker.total * self.stored * exp(min(loud, 0.0)) * SLACK
            quiet = left <= LITTLE
            found.append(fixed(Held(Fraction(0), left, left)) if quiet else None)
        return found

    def at_separators(self, error: float) -> list[Mark | None]:
        """Rule MARK: a head that counts delivers a whole number at a separator, too, where every
        score is either that of a selected position or lies below by the gap.

        It is the length of the text where all positions of one copy are selected, and no others.
        """
        found = self.silent()
        for copy, known in enumerate(found):
            if known is None:
                found[copy] = self._count_at(copy, error)
        return found

    def _count_at(self, copy: int, error: float) -> Mark | None:
        """What a head that counts delivers at the separator after a copy; None where some score
        is neither that of a selected position nor low, or not known.
        """
        last, checker = self.meaning.copies, self.checker
        queries = self._rows_at(self.queries, last + 1 + copy)
        if queries is None:
            return None
        all_of, some_of, apart = set[int](), set[int](), 0.0
        for there in [*range(copy + 1), *range(last + 1, last + 2 + copy)]:
            keys = self._rows_at(self.keys, there)
            if keys is None:
                if self._between(last + 1 + copy, there) > self.lowest - self.gap:
                    return None
                continue
            for q in queries:
                for k in keys:
                    score, wrong = self._score(q, k)
                    if score + wrong <= self.lowest - self.gap:
                        some_of.add(there)
                        continue
                    all_of.add(there)
                    beyond = max(self.lowest - score + wrong, score + wrong - self.highest)
                    apart = max(apart, beyond)
                    if apart > 0.001:
                        return None
        least = most = 0  # of separators, each of which is one position
        for there in [place for place in all_of if place > last]:
            mark = self.value.separators[there - last - 1]
            counts = None if mark is None else self._counts(mark)
            if counts is None:
                return None
            most += counts
            least += counts if there not in some_of else 0
        tokens = {there for there in all_of if there <= last}
        if any(there < self.value.level for there in tokens):
            return None  # what is counted there is not known to be 1
        whole = tokens == {copy} and not tokens & some_of and most == 0
        if whole and self._is_length():
            checker.counted[self.node] = list(range(1, self.meaning.length + 1))
            name: Base = self.node
        else:
            name = f"column {len(checker.radius)} after {copy}"
            most += self.meaning.length * len(tokens)
            checker.counted[name] = list(range(least, most + 1))
        error += 2 * checker.total * (self.reach + self.wrong) * apart * SLACK
        checker.radius[-1] = max(checker.radius[-1], error)
        rows = {(n,): checker.noisy(Fraction(n), error) for n in checker.counted[name]}
        return Mark((name,), rows)

    def _counts(self, mark: Mark) -> int | None:
        """Whether a separator counts as much as a selected position: 1, 0, or neither, None."""
        scale = exp_of(Fraction(self.lowest))
        held = [(value * scale, e * float(scale) * SLACK) for value, e, *_ in mark.table.values()]
        for whole in (0, 1):
            if all(above(v - whole) + e <= self.wrong for v, e in held):
                return whole
        return None

    def _is_length(self) -> bool:
        return self.node != INDEX and self.meaning.is_length(self.node)

    def _note(self, on: list[tuple[float, float]], off: float) -> None:
        """Take the scores that one query gives into account."""
        self.loudest = max(self.loudest, off)
        if not on:
            return
        low, high = min(s - e for s, e in on), max(s + e for s, e in on)
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)
        self.delta = max(self.delta, high - low)
        self.gap = min(self.gap, low - off)

    def _described(
        self, columns: list[Column], bases: tuple[Base, ...]
    ) -> list[tuple[dict[Base, Any], list[Held]]]:
        """Every description of a position, and what the rows hold there."""
        found = []
        for row in self.meaning.rows(bases):
            at = dict(zip(bases, row, strict=True))
            found.append((at, [column.at(at) for column in columns]))
        return found


def _union(bases: Sequence[Base], columns: list[Column]) -> tuple[Base, ...]:
    return tuple(dict.fromkeys([*bases, *(b for column in columns for b in column.bases)]))


def check(folder: Path) -> dict[str, Any]:
    """Judge the certificate in the folder. Raises `Rejected` with what is not so."""
    try:
        certificate = parse(read(folder / "certificate.json"))
    except (ValueError, RecursionError) as error:
        raise Rejected(f"the certificate cannot be read: {error!r}") from error
    need(type(certificate) is dict, "another kind of certificate")
    model = ProgramModel(folder)
    task = model.task
    need(task["name"] == "sequences", "the task is not that of a sequence program")
    options = task["options"]
    copies = options.get("copies", 0)
    need(type(copies) is int and 0 <= copies <= 10, "too many copies")
    need(options.get("steps", 0) == 0, "no rule covers programs that write")
    kind = certificate.get("format")
    need(kind == "tinyadder program proof", "another kind of certificate")
    digest = model.digest(model.to_json()["sha256"])
    need(certificate.get("model") == digest, "it is for other weights or another task")
    by_text = certificate.get("rule") == "TEXT"
    try:
        meaning = Meaning(json.loads(options["program"]), options["length"], copies)
        found = every_text(model, meaning) if by_text else by_columns(model, meaning, certificate)
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise Rejected(f"the certificate or the program cannot be read: {error!r}") from error
    letters, length = len(meaning.letters), meaning.length
    return {
        **found,
        "problems": sum(letters**n * (n if copies else 1) for n in range(1, length + 1)),
        "length": length,
        "number": not meaning.answers,
        "counted": "tokens of texts" if by_text else "combinations of values",
    }


def by_columns(
    model: ProgramModel, meaning: Meaning, certificate: dict[str, Any]
) -> dict[str, Any]:
    """`margin`, `combinations`, `partial` of a proof by columns, for all texts at once."""
    checker = ProgramChecker(model, meaning, certificate)
    checker.run()
    return {
        "margin": checker.margin,
        "combinations": checker.combinations,
        "partial": bool(meaning.partial),
    }
