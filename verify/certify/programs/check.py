"""Check that the weights of a compiled program do what the program means, for every text.

Every column of the stream is a function of bases, exact, with an error bound for each combination
of their values. Embeddings and hidden units are computed from the weights; what a head delivers is
the node that the certificate names, once the scores of every pair of descriptions are found to
select what the program selects, and the values to be the program's. The readout is tried for every
combination. Hints say where to look; nothing else of the compiler is believed. Standard library
only; of the package `check` only the reading of weights and the list of what is assumed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from math import exp
from pathlib import Path
from typing import Any

from tinyadder.verify.certify.check.intervals import Rejected, need
from tinyadder.verify.certify.check.model import Model, no_overflow
from tinyadder.verify.certify.programs.meaning import INDEX, TOKEN, Base, Meaning, plain

U = 2.0**-53
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
    "ORDER": "a slope s: the nearest (farthest) selected position, others weigh e^-|s|",
    "READ": "the logit of the right token is the largest, for every combination",
}


@dataclass
class Column:
    """A function of bases: combination of values -> (exact value, error bound)."""

    bases: tuple[Base, ...]
    table: dict[tuple, tuple[Fraction, float]]

    def at(self, row: dict[Base, Any]) -> tuple[Fraction, float]:
        return self.table[tuple(row[b] for b in self.bases)]

    @property
    def zero(self) -> bool:
        return all(value == 0 and error == 0 for value, error in self.table.values())


def constant(value: Fraction | int = 0) -> Column:
    return Column((), {(): (Fraction(value), 0.0)})


def above(number: Fraction) -> float:
    """A float at least as large as |number|."""
    return abs(float(number)) * SLACK


def exp_of(number: Fraction) -> Fraction:
    """e^number to 50 digits."""
    with localcontext() as context:
        context.prec = 60
        value = Decimal(number.numerator) / Decimal(number.denominator)
        return Fraction(value.exp())


class Checker:
    """One model against one program."""

    def __init__(self, model: Model, meaning: Meaning, hints: dict[str, Any]) -> None:
        self.model, self.meaning = model, meaning
        self.codes = {plain(value): Fraction(*code) for value, code in hints["codes"]}
        self.hints = {(h["layer"], h["column"]): h for h in hints["heads"]}
        self.combinations = 0
        self.margin = float("inf")

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
        if kept and len(kept) == 1 and abs(kept[0][0]) != 1:
            rounds = max(rounds, 2 * U)
        for row in self.meaning.rows(bases):
            self.combinations += 1
            at = dict(zip(bases, row, strict=True))
            value, error, size = Fraction(bias), 0.0, abs(bias)
            for (weight, magnitude), (_, column) in zip(weights, kept, strict=True):
                inner, wrong = column.at(at)
                value += weight * inner
                error += magnitude * wrong
                size += magnitude * (above(inner) + wrong)
            table[row] = value, (error + rounds * size) * SLACK
        return Column(bases, table)

    # ---- the forward pass ----

    def run(self) -> None:
        """Follow every column through the layers, then try the readout."""
        model = self.model
        letters = [t for t in model.vocabulary if t in self.meaning.letters]
        need(len(letters) == len(self.meaning.letters), "the model lacks tokens of the program")
        ids = {self.meaning.letters[t]: model.vocabulary.index(t) for t in letters}
        stream = []
        for k in range(model.width):
            table = {(v,): (Fraction(model.embedding[t][k]), 0.0) for v, t in ids.items()}
            column = Column((TOKEN,), table)
            stream.append(constant() if column.zero else column)
        for depth, layer in enumerate(model.layers):
            if layer.query:
                added = self.attention(depth, layer, stream)
                stream = [self.plus(a, b) for a, b in zip(stream, added, strict=True)]
            if layer.gate:
                added = self.units(layer, stream)
                stream = [self.plus(a, b) for a, b in zip(stream, added, strict=True)]
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
                (g, wrong), (u, other) = gate.at(at), up.at(at)
                if g < 0 and float(-g) > wrong * SLACK * SLACK:  # the gate is surely shut
                    table[row] = Fraction(0), 0.0
                    continue
                high = max(g, Fraction(0))
                error = wrong * (above(u) + other) + above(high) * other
                table[row] = high * u, (error + 2 * U * above(high * u)) * SLACK
            made.append(Column(bases, table))
        return [
            self.affine((layer.down[k][n], made[n]) for n in range(len(made)))
            for k in range(self.model.width)
        ]

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
                added.append(constant())
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
        form = [
            [
                self.affine(zip(rows, stream, strict=True), bias)
                for rows, bias in zip(
                    getattr(layer, name)[h], getattr(layer, f"{name}_bias")[h], strict=True
                )
            ]
            for name in ("query", "key")
        ]
        value = self.affine(zip(layer.value[h][r], stream, strict=True), layer.value_bias[h][r])
        slope, base = layer.slopes[h], Fraction(*hint["base"])
        node, shift = hint["node"], Fraction(*hint["shift"])
        sums = node == INDEX or self.meaning.nodes[node]["op"] in ("count", "sum")
        found = self.select(hint, form[0], form[1], value, base, slope, sums)
        delta, gap, wrong, reach, never_empty = found
        total = self.meaning.length
        op = "count" if node == INDEX else self.meaning.nodes[node]["op"]
        need(delta < 0.01, "the scores of selected positions differ too much")
        rounding = 2.0**-49 + (total + 10) * 2 * U
        if sums:
            need(slope == 0 and base <= -40, "a sum needs a base far below 0, and no slope")
            weight = float(exp_of(base)) * 2 * total
            relative = 2 * delta + rounding + weight
            error = total * (wrong + (reach + wrong) * relative)
            error += total * (reach + wrong) * exp(min(-gap, 0)) * 1.1
        else:
            need(base >= 40, "a mean needs a base far above 0")
            spread = abs(slope) * total
            if slope:
                need(op in ("latest", "earliest"), "a slope means latest or earliest")
                need((slope > 0) == (op == "latest"), "the slope has the other sign")
                need(abs(slope) >= 1, "the slope is too flat")
            else:
                several = op == "mean" or op == "pick"
                need(several, "latest and earliest need a slope")
            lowest = float(base) - (spread if slope > 0 else 0.0)
            need(lowest >= 40, "a far position has a score too low")
            off = gap - spread
            need(off >= 30, "positions that are not selected have scores too high")
            far = exp(-abs(slope)) / (1 - exp(-abs(slope))) if slope else 0.0
            leak = exp(-lowest) + total * exp(-off) + far
            relative = 4 * delta + rounding + (abs(lowest) + spread + gap_size(base)) * 4 * U
            error = wrong + 2 * (reach + wrong) * (relative + 1.1 * leak)
            empty = float(base) + (spread if slope < 0 else 0.0) - gap
            if not never_empty:
                need(empty <= -30, "where nothing is selected, something is heard")
                default = self.code(plain(self.meaning.nodes[node]["default"]))
                need(shift == default, "the default is another")
                error += 1.1 * total * (reach + wrong) * exp(empty)
        if node == INDEX:
            table = {(i,): (i + 1 + Fraction(0), error * SLACK) for i in range(total)}
            return Column((INDEX,), table)
        values = self.meaning.support(node)
        return Column((node,), {(v,): (self.code(v) - shift, error * SLACK) for v in values})

    def select(
        self,
        hint: dict[str, Any],
        queries: list[Column],
        keys: list[Column],
        value: Column,
        base: Fraction,
        slope: float,
        sums: bool,
    ) -> tuple[float, float, float, float, bool]:
        """(d, g, error of the values, their size, whether something is always selected)."""
        meaning, node = self.meaning, hint["node"]
        if node == INDEX:
            selector, read, selector_keys, selector_queries = None, None, (), ()
        else:
            inputs = meaning.nodes[node]["inputs"]
            selector, read = inputs[0], inputs[1] if len(inputs) > 1 else None
            selector_keys = meaning.key_bases(selector)
            selector_queries = meaning.query_bases(selector)
        scale = exp_of(base) if sums else Fraction(1)
        shift = Fraction(*hint["shift"])
        key_bases = tuple(dict.fromkeys([*selector_keys, *(b for c in keys for b in c.bases)]))
        query_bases = tuple(
            dict.fromkeys([*selector_queries, *(b for c in queries for b in c.bases)])
        )
        # values: every key description, those the scores do not see included
        of_value = meaning.bases(read) if read is not None else ()
        wrong = reach = 0.0
        bases = tuple(dict.fromkeys([*of_value, *value.bases]))
        for row in meaning.rows(bases):
            at = dict(zip(bases, row, strict=True))
            held, error = value.at(at)
            meant = self.code(meaning.value(read, at)) if read is not None else Fraction(1)
            meant -= 0 if sums else shift
            factor = float(scale) * SLACK
            wrong = max(wrong, above(held * scale - meant) + error * factor)
            reach = max(reach, above(meant))
        need(not sums or node == INDEX or shift == 0, "a sum is shifted")
        there = self.described(keys, key_bases)
        here = self.described(queries, query_bases)
        placed = INDEX in key_bases and INDEX in query_bases
        shared = [b for b in key_bases if b in query_bases and b != INDEX]
        delta, gap = 0.0, float("inf")
        for k_row, k_rows in there:
            for q_row, q_rows in here:
                chosen = selector is None or meaning.selects(selector, k_row, q_row)
                if placed and k_row[INDEX] > q_row[INDEX]:
                    need(
                        meaning.causal or selector is None or not chosen,
                        "the program looks ahead, and this head cannot",
                    )
                    continue
                if placed and k_row[INDEX] == q_row[INDEX]:
                    if any(k_row[b] != q_row[b] for b in shared):
                        continue  # one position has one description
                elif not placed and chosen:
                    need(meaning.causal or selector is None, "the program may look ahead")
                self.combinations += 1
                score, error, size = Fraction(0), 0.0, 0.0
                for (a, ea), (b, eb) in zip(q_rows, k_rows, strict=True):
                    if (a == 0 and ea == 0) or (b == 0 and eb == 0):
                        continue
                    score += a * b
                    error += above(a) * eb + (above(b) + eb) * ea
                    size += above(a * b)
                error += (len(keys) + 3) * U * (size + abs(slope) * meaning.length)
                away = score - base
                if chosen:
                    delta = max(delta, (above(away) + error) * SLACK)
                else:
                    below = float(-away) / SLACK if away < 0 else float(-away)
                    gap = min(gap, below - error * SLACK)
        need(gap > 0, "a position that is not selected has the score of one that is")
        never_empty = selector is not None and meaning.nonempty(selector)
        return delta, gap, wrong, reach, never_empty

    def described(
        self, columns: list[Column], bases: tuple[Base, ...]
    ) -> list[tuple[dict[Base, Any], list[tuple[Fraction, float]]]]:
        """Every description of a position, and what the rows hold there."""
        found = []
        for row in self.meaning.rows(bases):
            at = dict(zip(bases, row, strict=True))
            found.append((at, [column.at(at) for column in columns]))
        return found

    def read(self, stream: Sequence[Column]) -> None:
        """Rule READ: the right token wins wherever a text can lead."""
        meaning, model = self.meaning, self.model
        need(len(meaning.answers) > 0, "the answer is a number, not a token")
        logits = {token: model.logit(token) for token in model.outputs}
        read = [k for k in range(model.width) if any(w[k] != 0 for w, _ in logits.values())]
        columns = {k: stream[k] for k in read}
        output = meaning.bases(meaning.output)
        bases = tuple(dict.fromkeys([*output, *(b for c in columns.values() for b in c.bases)]))
        for row in meaning.rows(bases):
            at = dict(zip(bases, row, strict=True))
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

    def logit(
        self, row: tuple[list[float], float], held: dict[int, tuple[Fraction, float]]
    ) -> tuple[Fraction, float]:
        weights, bias = row
        value, error, size, terms = Fraction(bias), 0.0, abs(bias), 2
        for k, (inner, wrong) in held.items():
            weight = weights[k]
            if weight:
                value += Fraction(weight) * inner
                error += abs(weight) * wrong
                size += abs(weight) * (above(inner) + wrong)
                terms += 1
        return value, error + terms * 2 * U * size


def gap_size(base: Fraction) -> float:
    return abs(float(base))


def check(folder: Path) -> dict[str, Any]:
    """Judge the certificate in the folder. Raises `Rejected` with what is not so."""
    certificate = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    model = Model(folder)
    task = model.task
    need(task["name"] == "sequences", "the task is not that of a sequence program")
    options = task["options"]
    need(options.get("copies", 0) == 0, "no rule covers several copies of a text")
    need(options.get("steps", 0) == 0, "no rule covers programs that write")
    need(certificate["format"] == "tinyadder program proof", "another kind of certificate")
    digest = model.digest(model.to_json()["sha256"])
    need(certificate["model"] == digest, "it is for other weights or another task")
    meaning = Meaning(json.loads(options["program"]), options["length"])
    no_overflow(model, meaning.length)
    checker = Checker(model, meaning, certificate)
    try:
        checker.run()
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise Rejected(f"the certificate or the program cannot be read: {error!r}") from error
    letters, length = len(meaning.letters), meaning.length
    return {
        "problems": sum(letters**n for n in range(1, length + 1)),
        "length": length,
        "margin": checker.margin,
        "combinations": checker.combinations,
    }
