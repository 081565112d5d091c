"""Check that the weights of the computer run every program on every input, by one step at a time.

A position of a text is described by the kind of its token, the instruction that its line holds, and
integers: its number, and what the heads read (the last line number, the accumulator, ...). On a
description every column of the stream is a polynomial with integer coefficients in these integers,
computed from the weights. Three things are checked:

EXACT   weights are integers, and no sum of products reaches 2^53 in any order, for every
        description: what is computed is these polynomials, without rounding.
LOOKUP  the score of a head, for every pair of descriptions, is B where a position is looked for and
        at least 1024 below 0 elsewhere, or B - S (q - k)^2 with integers q and k; a slope of 1024
        tells positions apart. So the last of the positions that are looked for has all the weight:
        the others have e^-1024 of it. B >= 1024 N and S >= B + 1024 for texts of N tokens.
STEP    for every instruction, in every case that it distinguishes, the token with the largest logit
        is the one that the table `instruction` says. This is the one-step lemma.

By induction over the trace every token is the computer's: what a step writes is what its registers
become, and the lookups read the registers back. The premises of that are checked in `induction.py`.
Standard library only; of the package `check` the reading of files and weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from tinyadder.verify.certify.check.files import parse, read
from tinyadder.verify.certify.check.intervals import NUMERICS, Rejected, need
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.programs.induction import over_the_trace
from tinyadder.verify.certify.programs.instructions import (
    KINDS,
    NAMES,
    WRITTEN,
    Lookup,
    Of,
    Outcome,
    Place,
    Poly,
    add,
    constant,
    instruction,
    lookups,
    next_line,
    second_token,
    symbol,
    there,
    times,
    value_of,
)

FORMAT = "tinyadder computer proof"
HARD = 1024
"""e^-1024 is below 2^-1477: 0 in float64, or less than anything counts here."""
LIMIT = 2**53
ASSUMED = {**NUMERICS, "exp": NUMERICS["exp"] + "; exp(0) = 1"}


@dataclass
class RecognizedHead:
    """A head that was recognized, and the value (of its lookup) that each of its rows delivers."""

    lookup: Lookup
    rows: list[tuple[Of, int, Of] | None] = field(default_factory=list)


class ComputerChecker:
    """One model."""

    def __init__(self, model: ProgramModel, word: int, length: int) -> None:
        self.model, self.word, self.length = model, word, length
        self.kinds = list(map(self.kind, model.vocabulary))
        numbers = [f"{n}" for n in range(word)]
        written = [letter + n for letter in WRITTEN for n in numbers]
        expected = [*(f"{n}:" for n in numbers), *(f"#{n}" for n in numbers), "halt", *NAMES]
        expected += [*numbers, "run", *written, "end"]
        need(sorted(model.vocabulary) == sorted(expected), "the vocabulary is another")
        self.codes = {token: code for code, token in enumerate([*written, "end"])}
        need(sorted(model.outputs) == sorted(self.codes), "other tokens can be written")
        top = word - 1
        usual = ("number", "line", "accumulator", "address", "n", "first", "second")
        self.ranges = {**dict.fromkeys(usual, (0, top)), "label": (0, 2 * word - 1)}
        self.ranges |= {"read": (-1, top), **{f"said {name}": (0, 1) for name in NAMES}}
        self.ranges |= {f"{name}'": ends for name, ends in self.ranges.items()}
        self.places = [Place(kind, does) for kind in KINDS for does in ("", *NAMES)]
        self.sparse: dict[int, tuple[list[tuple[int, int]], Sequence[float]]] = {}
        self.columns: dict[str, list[Poly]] = {}
        self.heads: list[list[RecognizedHead]] = []
        self.pairs = self.cases = self.premises = 0
        self.stepped: set[Place] = set()
        """The kinds of positions at which what is written was checked."""
        self.longest = length

    def kind(self, token: str) -> str:
        if token in NAMES or token in ("halt", "run", "end"):
            return token
        return ":" if token.endswith(":") else "0" if token.isdecimal() else token[:1]

    # ---- intervals ----

    def bounds(self, poly: Poly) -> tuple[int, int]:
        """Between what the polynomial lies."""
        low = high = 0
        for monomial, factor in poly.items():
            ends = [factor]
            for name in monomial:
                ends = [end * side for end in ends for side in self.ranges[name]]
            low, high = low + min(ends), high + max(ends)
        return low, high

    def size(self, poly: Poly) -> int:
        low, high = self.bounds(poly)
        return max(-low, high)

    def nonnegative(self, poly: Poly, facts: Sequence[Poly]) -> bool:
        """Whether it cannot be negative where the facts are not."""
        if self.bounds(poly)[0] >= 0:
            return True
        return any(self.bounds(add((1, poly), (-1, fact)))[0] >= 0 for fact in facts)

    # ---- the forward pass ----

    def embedded(self, kind: str) -> list[Poly]:
        """The columns at a token of this kind: affine in its number."""
        if kind not in self.columns:
            self.columns[kind] = self._embedded(kind)
        return self.columns[kind]

    def _embedded(self, kind: str) -> list[Poly]:
        rows = [row for k, row in zip(self.kinds, self.model.embedding, strict=True) if k == kind]
        tokens = [t for k, t in zip(self.kinds, self.model.vocabulary, strict=True) if k == kind]
        numbers = [int("".join(filter(str.isdecimal, token)) or 0) for token in tokens]
        found = []
        for k in range(self.model.width):
            column = {n: whole(row[k]) for n, row in zip(numbers, rows, strict=True)}
            step = column[1] - column[0] if len(column) > 1 else 0
            fits = all(value == column[0] + step * n for n, value in column.items())
            need(fits, f"column {k} is not affine in the number of a token of kind {kind!r}")
            found.append(add((step, symbol("number")), (1, constant(column[0]))))
        return found

    def affine(self, weights: Sequence[float], bias: float, stream: Sequence[Poly]) -> Poly:
        """Rule EXACT: a sum of products of integers, below 2^53 in any order."""
        used = [(w, stream[k]) for k, w in self.entries(weights)]
        return self.summed([*used, (1, constant(whole(bias)))] if bias else used)

    def summed(self, parts: Sequence[tuple[int, Poly]]) -> Poly:
        need(sum(abs(w) * self.size(part) for w, part in parts) < LIMIT, "a sum may reach 2^53")
        return add(*parts)

    def entries(self, weights: Sequence[float]) -> list[tuple[int, int]]:
        """(place, weight) of the weights that are not 0; a row of the model is read once."""
        if id(weights) not in self.sparse:
            found = [(k, whole(w)) for k, w in enumerate(weights) if w]
            self.sparse[id(weights)] = (found, weights)  # kept, so that the id stays its own
        return self.sparse[id(weights)][0]

    def mlp(self, layer: Any, stream: list[Poly], facts: Sequence[Poly]) -> list[Poly]:
        units = []
        for n, weights in enumerate(layer.gate):
            gate = self.affine(weights, layer.gate_bias[n], stream)
            up = self.affine(layer.up[n], layer.up_bias[n], stream)
            need(self.size(gate) * self.size(up) < LIMIT, "a unit may reach 2^53")
            units.append(times(self.relu(gate, facts), up))
        added = []
        for k, column in enumerate(stream):
            down = [(w, units[n]) for n, w in self.entries(layer.down[k])]
            added.append(self.summed([(1, column), *down]) if down else column)
        return added

    def relu(self, gate: Poly, facts: Sequence[Poly]) -> Poly:
        """max(gate, 0): itself, nothing, or a symbol of which only the range is known."""
        if self.nonnegative(gate, facts):
            return gate
        if self.nonnegative(add((-1, gate)), facts):
            return {}
        name = f"relu({sorted(gate.items())})"
        self.ranges[name] = self.ranges[name + "'"] = (0, self.bounds(gate)[1])
        return symbol(name)

    def attend(self, depth: int, place: Place, stream: list[Poly]) -> list[Poly]:
        """The stream with what the heads of a layer read there."""
        layer, added = self.model.layers[depth], []
        for k, column in enumerate(stream):
            parts = [column]
            for h, head in enumerate(self.heads[depth]):
                for row, wire in zip(head.rows, layer.wiring[h], strict=True):
                    if wire[k]:
                        assert row is not None
                        parts.append(add((1, row[2](place)), (1, constant(-row[1]))))
            added.append(self.summed([(1, p) for p in parts]) if parts[1:] else column)
        return added

    def stream(self, place: Place, facts: Sequence[Poly]) -> list[Poly]:
        """The columns after the layers whose heads are known."""
        found = self.embedded(place.kind)
        for depth, layer in enumerate(self.model.layers[: len(self.heads)]):
            found = self.attend(depth, place, found)
            found = self.mlp(layer, found, facts)
        return found

    # ---- lookups ----

    def recognize(self) -> None:
        """Rule LOOKUP for every head of every layer."""
        streams = [self.embedded(place.kind) for place in self.places]
        for depth, layer in enumerate(self.model.layers):
            self.heads.append([self.head(layer, h, streams) for h in range(len(layer.query))])
            for n, place in enumerate(self.places):
                streams[n] = self.mlp(layer, self.attend(depth, place, streams[n]), [])

    def head(self, layer: Any, h: int, streams: list[list[Poly]]) -> RecognizedHead:
        """What a head reads: the first lookup that its scores and values fit."""
        rows = []
        for name in ("query", "key", "value"):
            weights, biases = getattr(layer, name)[h], getattr(layer, f"{name}_bias")[h]
            rows.append(
                [
                    [self.affine(w, b, stream) for w, b in zip(weights, biases, strict=True)]
                    for stream in streams
                ]
            )
        slope = whole(layer.slopes[h])
        need(slope >= HARD, "the slope of a head does not tell positions apart")
        reasons = []
        for lookup in lookups(self.word):
            reason = self.misfit(lookup, slope, rows[0], rows[1])
            if not reason:
                return RecognizedHead(lookup, self.delivered(lookup, layer.wiring[h], rows[2]))
            reasons.append(f"{lookup.name}: {reason}")
        need(False, "a head reads nothing that a computer needs: " + "; ".join(reasons))
        raise AssertionError

    def misfit(
        self, lookup: Lookup, slope: int, queries: list[list[Poly]], keys: list[list[Poly]]
    ) -> str:
        """Why the scores of a head are not those of a lookup; empty where they are."""
        base, steep = set[int](), set[int]()
        far = slope * (self.length - 1)
        here = self.distinct(queries, lookup.query)
        known = self.distinct(keys, lookup.key, lookup.kinds)
        for q_rows, query, _ in here:
            for k_rows, key, chosen in known:
                self.pairs += 1
                primed = [there(row) for row in k_rows]
                reach = sum(
                    self.size(a) * self.size(b) for a, b in zip(q_rows, primed, strict=True)
                )
                need(reach + far < LIMIT, "a score may reach 2^53")
                parts = zip(q_rows, primed, strict=True)
                score = add(*((1, times(a, b)) for a, b in parts))
                if lookup.key is not None:
                    apart = add((1, query), (-1, there(key)))
                    square = times(apart, apart)
                    scale = self.scale(score, square)
                    if scale is None or scale <= 0:
                        return "scores are no parabola"
                    steep.add(scale)
                    score = add((1, score), (scale, square))
                value = value_of(score)
                if value is None:
                    return "scores depend on something else"
                if chosen:
                    base.add(value)
                elif value > -HARD:
                    return f"a score of {value} where nothing is looked for"
        if len(base) != 1 or len(steep) > 1:
            return "scores of what is looked for differ"
        (found,) = base
        if any(found - scale > -HARD for scale in steep):
            return "a near miss scores too high"
        self.longest = min(self.longest, (found - HARD) // slope + 1)
        need(self.longest >= self.length, f"a far position scores too low beyond {self.longest}")
        return ""

    def scale(self, score: Poly, square: Poly) -> int | None:
        """The S of a score C - S * square."""
        leading = next((m for m in square if m), None)
        if leading is None:
            return None
        factor, rest = divmod(-score.get(leading, 0), square[leading])
        return factor if rest == 0 else None

    def distinct(
        self, rows: list[list[Poly]], of: Of | None, kinds: tuple[str, ...] | None = None
    ) -> list[tuple[list[Poly], Poly, bool]]:
        """(rows, what is compared, whether the kind is looked for) of all places, each once."""
        found: dict[Any, tuple[list[Poly], Poly, bool]] = {}
        for place, row in zip(self.places, rows, strict=True):
            compared = of(place) if of is not None else {}
            chosen = kinds is None or place.kind in kinds
            name = str(([sorted(r.items()) for r in row], sorted(compared.items()), chosen))
            found[name] = (row, compared, chosen)
        return list(found.values())

    def delivered(
        self, lookup: Lookup, wiring: list[list[float]], values: list[list[Poly]]
    ) -> list[tuple[Of, int, Of] | None]:
        """Which value of the lookup each row of the head delivers."""
        found: list[tuple[Of, int, Of] | None] = []
        places = [
            (place, rows)
            for place, rows in zip(self.places, values, strict=True)
            if lookup.kinds is None or place.kind in lookup.kinds
        ]
        for r, wires in enumerate(wiring):
            need(all(w in (0, 1) for w in wires), "a wire is not 1")
            if not any(wires):
                found.append(None)
                continue
            fitting = [
                value
                for value in lookup.values
                if all(
                    rows[r] == add((1, value[0](place)), (1, constant(-value[1])))
                    for place, rows in places
                )
            ]
            need(bool(fitting), f"a row of {lookup.name} delivers something else")
            found.append(fitting[0])
        return found

    # ---- the step ----

    def run(self) -> None:
        """Check everything. Raises `Rejected` with what is not so."""
        self.recognize()
        self.noise()
        self.readout()
        for does in ("", *NAMES):
            for kind in ("run", "@"):
                self.step(Place(kind, does), instruction(does or "halt", self.word))
            # what `?` fetches is an input: the instruction there is any
            self.step(Place("?", does), second_token("in"))
        for does in ("store", "put"):
            self.step(Place("[", does), second_token(does))
        for does in NAMES:
            self.step(Place("!" if does == "out" else "=", does), next_line(does, self.word))
        self.premises = over_the_trace(self.word, self.stepped, self.is_word)

    def is_word(self, number: Poly, facts: Sequence[Poly]) -> bool:
        """Whether a number is one of 0 .. word - 1 where the facts are not negative."""
        usual = dict(self.ranges)
        self.ranges |= self.narrowed(facts)
        rest = add((1, constant(self.word - 1)), (-1, number))
        inside = self.nonnegative(number, facts) and self.nonnegative(rest, facts)
        self.ranges = usual
        return inside

    def step(self, place: Place, cases: Iterable[Outcome]) -> None:
        """Rule STEP: in every case the next token is that of the table."""
        self.stepped.add(place)
        for facts, letter, number in cases:
            self.cases += 1
            usual = dict(self.ranges)
            self.ranges |= self.narrowed(facts)
            stream = self.stream(place, facts)
            first = self.codes["end" if letter == "end" else f"{letter}0"]
            meant = add((1, number), (1, constant(first)))
            chosen = self.affine(self.direction, 0.0, stream)
            off = add((1, chosen), (1, constant(self.shift)), (-1, meant))
            need(
                self.bounds(off) == (0, 0),
                f"after {place.kind!r} with the instruction {place.does or 'halt'!r} another token "
                f"is written than {letter!r}: off by {off}",
            )
            for weights, bias in self.logits:
                self.affine(weights, bias, stream)
            self.ranges = usual

    def narrowed(self, facts: Sequence[Poly]) -> dict[str, tuple[int, int]]:
        """The ranges of symbols that a fact speaks of alone: s >= a, or s <= a."""
        found: dict[str, tuple[int, int]] = {}
        for fact in facts:
            names = [monomial for monomial in fact if monomial]
            if len(names) != 1 or len(names[0]) != 1 or abs(fact[names[0]]) != 1:
                continue
            name, bias = names[0][0], fact.get((), 0)
            low, high = found.get(name, self.ranges[name])
            rising = fact[names[0]] > 0
            found[name] = (max(low, -bias), high) if rising else (low, min(high, bias))
            need(found[name][0] <= found[name][1], "a case is empty")
        return found

    def readout(self) -> None:
        """The logit of the token with the code c is 2 (c - z) (y - z) - (c - z)^2, whose largest is
        at c = y: y is `direction` times the stream, plus `shift`.
        """
        tokens = sorted(self.codes, key=self.codes.__getitem__)
        self.logits = [self.model.logit(token) for token in tokens]
        rows = [[whole(w) for w in weights] for weights, _ in self.logits]
        biases = [whole(bias) for _, bias in self.logits]
        double = [b - a for a, b in zip(rows[0], rows[1], strict=True)]
        need(any(double) and all(d % 2 == 0 for d in double), "the readout is no parabola")
        column = next(k for k, d in enumerate(double) if d)
        centre, left = divmod(-rows[0][column], double[column])
        need(left == 0, "the readout is no parabola")
        # the bias of c is 2 (c - z) e - (c - z)^2, where y - z is `direction` times the stream + e
        extra, left = divmod(biases[1] + (1 - centre) ** 2 - biases[0] - centre**2, 2)
        need(left == 0, "the readout is no parabola")
        for code, (row, bias) in enumerate(zip(rows, biases, strict=True)):
            away = code - centre
            need(row == [away * d for d in double], "the readout is no parabola")
            need(bias == 2 * away * extra - away**2, "the readout is no parabola")
        self.direction = [float(d // 2) for d in double]
        self.shift = extra + centre

    # ---- what underflow leaves ----

    def noise(self) -> None:
        """What is left of e^-1024 of other positions never matters.

        A sum that should be an integer is that integer, unless it is 0: then it may be off by what
        its terms are off, times (1 + u) for every rounding, together less than 2. Every number is
        below 2^53, so an error grows by at most that and the sizes of the weights.
        """
        off, tiny = Fraction(0), Fraction(1, 2**898)

        def norm(rows: Iterable[Sequence[float]]) -> int:
            return max((sum(abs(whole(w)) for w in row) for row in rows), default=0)

        for layer in self.model.layers:
            for name in ("query", "key"):
                for rows in getattr(layer, name):
                    score = 2 * len(rows) * LIMIT * 2 * norm(rows) * off
                    need(score < Fraction(1, 8), "what underflow leaves reaches a score")
            heads = [row for head in layer.value for row in head]
            wires = len(heads) or 0
            read = 2 * norm(heads) * off + self.length * tiny * LIMIT
            off = 2 * (off + wires * read)
            unit = 2 * 2 * (LIMIT + 1) * (norm(layer.gate) + norm(layer.up)) * off
            off = 2 * (off + norm(layer.down) * unit)
        need(off < Fraction(1, 2**60), "what underflow leaves changes an integer")
        rows = [self.model.logit(token)[0] for token in self.model.outputs]
        need(2 * norm(rows) * off < Fraction(1, 8), "what underflow leaves reaches a logit")


def whole(number: float) -> int:
    """A weight as an integer. Rejected where it is none."""
    need(number == int(number), f"a weight is {number}, no integer")
    return int(number)


def check(folder: Path) -> dict[str, Any]:
    """Judge the model in the folder. Raises `Rejected` with what is not so."""
    try:
        return _check(folder)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise Rejected(f"the files cannot be read: {error!r}") from error


def _check(folder: Path) -> dict[str, Any]:
    certificate = parse(read(folder / "certificate.json"))
    need(type(certificate) is dict, "another kind of certificate")
    model = ProgramModel(folder)
    need(model.task["name"] == "computer", "the task is not that of the computer")
    need(certificate.get("format") == FORMAT, "another kind of certificate")
    digest = model.digest(model.to_json()["sha256"])
    need(certificate.get("model") == digest, "it is for other weights or another task")
    need(not model.argmin, "the smallest logit wins")
    options = model.task["options"]
    word, length = options["word"], options["length"]
    need(type(word) is int and 3 <= word <= 256, "the word has another size")
    need(type(length) is int and 2 <= length <= 2**30, "the length is another")
    checker = ComputerChecker(model, word, length)
    checker.run()
    return {
        "word": word,
        "length": length,
        "horizon": checker.longest,
        "cases": checker.cases,
        "pairs": checker.pairs,
        "premises": checker.premises,
        "margin": 1.0,
        "numerics": ASSUMED,
    }
