"""Programs -> residual equations: every node becomes an affine form over lanes that heads and
hidden units write.

Scores are chosen so that softmax1 does exactly one thing: a selected position has the base score,
an unselected one
lies at least `penalty` below. At base -64 softmax1 is linear (sums, counts); at +64 it is a mean,
and its own 1 is the
empty case, so that a default costs nothing. `errors` follow every lane from its writers; they
choose scales and refuse
lengths that are not exact. They are not a proof: the verifier proves.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, lcm
from typing import Any, NamedTuple

from tinyadder.programs import selecting
from tinyadder.programs.functions import (
    BOTH,
    CHOICE,
    EITHER,
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    LARGER,
    LESS,
    LESS_EQUAL,
    SMALLER,
    TIMES,
    UNEQUAL,
    Function,
    Value,
    is_number,
)
from tinyadder.programs.language import AGGREGATES, Seq, combine, indices, relations, show, walk
from tinyadder.programs.lines import (
    Hinges,
    Line,
    Rational,
    fit_affine,
    fit_line,
    fit_product,
    interpolate,
    project,
    relevant,
    spacing,
)
from tinyadder.programs.targets import TARGETS, Target
from tinyadder.programs.values import GONE, MOST, Refused, Span, Values, same

SEPARATOR = "|"
CHEAP = 7
"""A way to make a node of at most so many weights is taken without looking for a cheaper one."""


@dataclass
class LoweredLane:
    """A column of the residual stream: who writes it and what is known of it."""

    name: str
    meaning: str
    time: int
    """0 after the embedding, 2 l + 1 after the attention of layer l, 2 l + 2 after its MLP."""
    low: Fraction
    high: Fraction
    error: float
    defines: tuple[Seq, Line] | None = None
    """The node whose code is this line (the lane and others)."""
    embed: dict[Value, Fraction] = field(default_factory=dict)
    separator: Fraction = Fraction(0)
    """What the embedding of the separator holds."""
    head: tuple[LoweredHead, int] | None = None
    units: list[tuple[Line, Line | None, Fraction]] = field(default_factory=list)
    """(gate, up, down): down * relu(gate) * up."""
    why: str = ""


@dataclass(eq=False)
class LoweredHead:
    """Scores are the sum of query * key over `rows`, plus slope * (j - i)."""

    rows: tuple[tuple[Line, Line], ...]
    slope: int
    layer: int
    values: list[tuple[Line, bool]] = field(default_factory=list)
    """(value, whether it is multiplied by e^64)."""


class Lowering:
    """One program on its way to lanes; `form(node)` gives the line that holds it."""

    def __init__(
        self,
        program: Seq,
        length: int,
        causal: bool,
        exact: bool = False,
        names: Mapping[str, Seq] | None = None,
        target: Target = TARGETS["tinyadder"],
    ) -> None:
        self.target = target
        self.program, self.length, self.causal, self.exact = program, length, causal, exact
        self.values = Values(program, length, causal)
        self.lanes: dict[str, LoweredLane] = {}
        self.names = {id(node): name for name, node in (names or {}).items()}
        self.making: list[Seq] = []
        """The nodes whose forms are being made, the innermost last."""
        self.heads: dict[Any, LoweredHead] = {}
        self.forms: dict[Seq, Line] = {}
        self.labels: dict[Any, Function] = {}
        self.levels: dict[Seq, int] = {}
        self.plans: dict[Seq, Plan] = {}
        self.codes: dict[Value, Fraction] = {}
        self.nothing = Fraction(-1)
        self._coding()
        self.copies = self.level(program)
        """How many copies of the text must be read before the answers."""
        self.total = (self.copies + 1) * length + self.copies
        self.answer = self.form(program)
        if exact:
            self._need_whole()

    def _need_whole(self) -> None:
        """Every lane holds an integer below 2^53 everywhere, every partial sum included."""
        for lane in self.lanes.values():
            node = self.program if lane.defines is None else lane.defines[0]
            lines = [line for gate, up, _ in lane.units for line in (gate, up) if line is not None]
            lines += [] if lane.head is None else [lane.head[0].values[lane.head[1]][0]]
            whole = [Line(bias=x) for x in [*lane.embed.values(), *(d for _, _, d in lane.units)]]
            for line in [*lines, *whole]:
                selecting.need_whole(line, node)
            largest = max([0.0, *map(self.size, lines)])
            if largest * largest >= 2.0**53:
                raise Refused(f"{show(node)}: numbers reach {largest:.2g}, too large to be exact")
        selecting.need_whole(self.answer, self.program)

    # ---- codes ----

    def _coding(self) -> None:
        """Numbers stand for themselves, other values for 0, 1, ... (above the numbers where a
        node mixes both).
        """
        offset, low = 0, Fraction(0)
        for node in walk(self.program):
            found = self.values.support(node)
            if self.values.numeric(node):
                continue
            assert not isinstance(found, Span)
            numbers = [Fraction(v) for v in found if is_number(v)]  # type: ignore[arg-type]
            if numbers and any(v is not None and not is_number(v) for v in found):
                offset = max(offset, int(max(numbers)) + 1)
            if numbers and None in found:
                low = min(low, *numbers)
        for node in walk(self.program):
            for relation in relations(node.data[0]) if node.op in AGGREGATES else []:
                if all(self.values.numeric(n) for n in (relation.key, relation.query)):
                    continue
                sides = [self.values.support(n) for n in (relation.key, relation.query)]
                listed = [v for side in sides if not isinstance(side, Span) for v in side]
                numbers = [Fraction(v) for v in listed if is_number(v)]
                if any(v is not None and not is_number(v) for v in listed):  # 1 is not "a"
                    offset = max([offset, *(int(n) + 1 for n in numbers)])
                    offset = MOST if any(isinstance(side, Span) for side in sides) else offset
                if None in listed:
                    low = min([low, *numbers])
        self.offset, self.nothing = offset, Fraction(ceil(low) - 1)

    def code(self, value: Value) -> Fraction:
        """The number that stands for a value."""
        if is_number(value):
            return Fraction(value)  # type: ignore[arg-type]
        if value is None:
            return self.nothing
        return self.codes.setdefault(value, Fraction(self.offset + len(self.codes)))

    def number(self, value: Value) -> Fraction | int:
        """The code of a value, as an int where it is whole: tables of ints are quick to search."""
        if type(value) is int:
            return value
        code = self.code(value)
        return code.numerator if code.denominator == 1 else code

    # ---- levels ----

    def level(self, node: Seq) -> int:
        """In which copy of the text (0 is the first) the node is known: heads that look ahead
        read the copy before.
        """
        if node not in self.levels:
            if node.op in AGGREGATES:
                self.values.support(node)
                clauses = self.values.clauses(node.data[0]) or []
                keys = [*(r.key for r in clauses), *node.args]
                low = max((self.level(k) for k in keys), default=0)
                here = max((self.level(r.query) for r in clauses), default=0)
                back = self.values.looks_back(node.data[0])
                self.levels[node] = max(here, low + (not back))
            else:
                self.levels[node] = max((self.level(arg) for arg in node.args), default=0)
        return self.levels[node]

    # ---- lanes ----

    def lane(
        self, name: str, meaning: str, time: int, low: Any, high: Any, error: float, why: str
    ) -> LoweredLane:
        name = self.names.get(id(self.making[-1]), name) if self.making else name
        base, number = name, 1
        while name in self.lanes:
            number += 1
            name = f"{base}_{number}"
        found = LoweredLane(name, meaning, time, Fraction(low), Fraction(high), error, why=why)
        self.lanes[name] = found
        return found

    def line(self, lane: LoweredLane) -> Line:
        return Line.of({lane.name: Fraction(1)})

    def time(self, *lines: Line) -> int:
        return max((self.lanes[name].time for line in lines for name, _ in line.terms), default=0)

    def range(self, line: Line) -> tuple[Fraction, Fraction]:
        low = high = line.bias
        for name, weight in line.terms:
            lane = self.lanes[name]
            a, b = sorted((weight * lane.low, weight * lane.high))
            low, high = low + a, high + b
        return low, high

    def size(self, line: Line) -> float:
        """An upper bound of |line|, and of every partial sum of it."""
        found = abs(float(line.bias))
        for name, weight in line.terms:
            lane = self.lanes[name]
            found += float(abs(weight) * max(abs(lane.low), abs(lane.high)))
        return found

    def error(self, line: Line) -> float:
        """How far the line can be from the exact number."""
        found = sum(float(abs(weight)) * self.lanes[name].error for name, weight in line.terms)
        single = len(line.terms) <= 1 and not line.bias and all(abs(w) == 1 for _, w in line.terms)
        exact = self.exact or single
        return (
            found if exact else found + (len(line.terms) + 2) * self.target.unit * self.size(line)
        )

    # ---- nodes ----

    def form(self, node: Seq) -> Line:
        """The line that holds the code of the node's value."""
        if node not in self.forms:
            self.making.append(node)
            found = self.values.support(node)
            if not isinstance(found, Span) and not found:
                raise Refused(
                    f"{show(node)} has no value that can occur: its table lacks all that its "
                    "arguments can be"
                )
            if not isinstance(found, Span) and len(found) == 1:
                self.forms[node] = Line(bias=self.code(found[0]))
            elif node.op == "indices":
                self.forms[node] = self._index()
            elif node.op in AGGREGATES:
                self.forms[node] = selecting.aggregate(self, node)
            elif all(base.op == "tokens" for base in self.values.bases[node]):
                self.forms[node] = self._embedded(node)
            elif node.op == "affine" and all(self.values.numeric(arg) for arg in node.args):
                self.forms[node] = self._affine(node)
            else:
                self.forms[node] = self._map(node)
            self.making.pop()
        return self.forms[node]

    def _affine(self, node: Seq) -> Line:
        found = Line(bias=node.data[1])
        for arg, factor in zip(node.args, node.data[0], strict=True):
            found = found + self.form(arg) * factor
        return found

    def _embedded(self, node: Seq) -> Line:
        """A function of the token alone: a column of the embedding, or an affine form of one that
        is there.
        """
        bases = self.values.bases[node]
        column = dict(
            zip(
                (row[0] for row in self.values.rows(bases)),
                self.values.column(node, bases),
                strict=True,
            )
        )
        table = {token: self.code(v) for token, v in column.items() if v is not GONE}
        ys = list(table.values())
        steep = isinstance(node.data, Function) and node.data.steep
        for lane in self.lanes.values():
            if lane.embed and not lane.head and not lane.units:
                fitted = fit_line([lane.embed[token] for token in table], ys)
                if fitted is not None and not (steep and fitted[1]):
                    return Line.of({lane.name: fitted[0]}, fitted[1])
        name = "token" if node.op == "tokens" else "of_token"
        low, high = min(table.values()), max(table.values())
        found = self.lane(
            name,
            show(node),
            0,
            min(low, 0),
            max(high, 0),
            0.0,
            "a function of the token: embedding",
        )
        found.error = max((abs(float(Fraction(float(v)) - v)) for v in table.values()), default=0.0)
        found.embed = {token: table.get(token, Fraction(0)) for token in self.program_tokens()}
        line = self.line(found)
        found.defines = (node, line)
        return line

    def program_tokens(self) -> tuple[Value, ...]:
        return self.program.vocabulary

    # ---- position and copy ----

    @property
    def sum_rounding(self) -> float:
        """The relative error of a sum over positions: of scores, exponentials, the sum."""
        rounding = (self.total + 2 * self.target.base + 12) * 2 * self.target.unit
        return rounding + 4 * self.target.base * self.target.drift

    def copy(self) -> Line:
        """The number of separators so far; half a step less at a separator, so that no head takes
        it for a token.
        """
        if "copy" not in self.lanes:
            found = self.lane(
                "copy",
                "which copy of the text this is",
                1,
                0,
                self.copies,
                (self.sum_rounding if self.target.stock else 1e-15) * self.copies,
                "counts separators",
            )
            mark = self.lane("mark", "1 at a separator", 0, 0, 1, 0.0, "embedding")
            mark.separator, found.separator = Fraction(1), Fraction(-1, 2)
            head = self.head(
                ((Line(bias=Fraction(1)), Line(bias=Fraction(-self.target.base))),), 0, 0
            )
            found.head = (head, self.deliver(head, self.line(mark), True))
        line = self.line(self.lanes["copy"])
        if self.target.stock:  # counted inexactly there, and read by every head
            line = self.hinges(line, {x: x for x in self._copy_values()}, "copy", clear=True)
        return line

    def _copy_values(self) -> list[Fraction]:
        return [Fraction(n, 2) for n in range(2 * self.copies + 1)]

    def copy_square(self) -> Line:
        """The square of `copy`, for programs with more than two copies."""
        line = self.copy()
        if self.copies == 1:
            return line
        if "copy_square" not in self.lanes:
            if not self.target.gates:
                squares = {x: x * x for x in self._copy_values()}
                counted = self.line(self.lanes["copy"])
                return self.hinges(counted, squares, "copy squared", clear=True)
            if self.target.stock:
                return self.product(line, line, "copy squared")
            found = self.lane(
                "copy_square", "copy squared", 2, 0, self.copies**2, 1e-14, "one unit"
            )
            found.units = [(line, line, Fraction(1))]
        return self.line(self.lanes["copy_square"])

    def _index(self) -> Line:
        """Positions of its own copy up to here, minus one."""
        if self.exact:
            raise Refused(
                "i is a count of positions, which is not exact; with exact=True let the tokens "
                "carry the numbers that the program needs"
            )
        rows = selecting.copy_rows(self, local=True)
        one = Line(bias=Fraction(1))
        penalty = selecting.head_penalty(self, 1.0, 0, True, True)
        head = selecting.make_head(
            self, rows, base=-self.target.base, slope=0, penalty=penalty, value=one
        )
        wobble = 2 * penalty * selecting.score_error(self, rows)
        error = self.length * (self.sum_rounding + wobble)
        text, most = "the position in its copy, and 1", self.total if self.copies else self.length
        found = self.lane("index", text, 2 * head.layer + 1, 0, most + 1, error, "counts")
        found.head = (head, self.deliver(head, Line(bias=Fraction(1)), True))
        line = self.line(found) - 1
        found.defines = (indices(), line)
        return line

    def head(self, rows: tuple[tuple[Line, Line], ...], slope: int, layer: int) -> LoweredHead:
        """The head with these scores in this layer: one for all that read by it."""
        name = (rows, slope, layer)
        if name not in self.heads:
            self.heads[name] = LoweredHead(rows, slope, layer)
        return self.heads[name]

    def deliver(self, head: LoweredHead, value: Line, scaled: bool) -> int:
        """The row of the head's value that delivers `value`."""
        if (value, scaled) not in head.values:
            head.values.append((value, scaled))
        return head.values.index((value, scaled))

    # ---- maps ----

    def _map(self, node: Seq) -> Line:
        direct = self._arithmetic(node)
        return self.plan(node).build(self) if direct is None else direct

    def _arithmetic(self, node: Seq) -> Line | None:
        """Comparisons, and, or, not, choices, products, minimum and maximum of large sets,
        without a table.
        """
        function, args = node.data, node.args
        if node.op != "map" or not isinstance(function, Function):
            return None
        known = (
            EQUAL,
            UNEQUAL,
            LESS,
            LESS_EQUAL,
            GREATER,
            GREATER_EQUAL,
            SMALLER,
            LARGER,
            TIMES,
            CHOICE,
            BOTH,
            EITHER,
        )
        if function not in known:
            return None
        size = 1
        for arg in args:
            found = self.values.support(arg)
            size *= 10**6 if isinstance(found, Span) else len(found)
        if size <= 400 or not all(self.values.numeric(arg) for arg in args):
            return None
        if function in (SMALLER, LARGER):
            difference = combine([(1, args[0]), (-1, args[1])])
            over = self.units(
                f"over {show(node)}", [(self.form(difference), None, Fraction(1))], show(difference)
            )
            first = self.form(args[0] if function is SMALLER else args[1])
            return first + over * (-1 if function is SMALLER else 1)
        if function is TIMES:
            return self._multiplied(node)
        if function in (BOTH, EITHER, CHOICE) and set(self.values.listed(args[0])) <= {0, 1}:
            if function is CHOICE:
                first, second, third = map(self.form, args)
                return third + self.switched(first, second - third, show(node))
            if set(self.values.listed(args[1])) <= {0, 1}:
                both = self.form(args[0]) + self.form(args[1])
                over = self.units(f"both {show(node)}", [(both - 1, None, Fraction(1))], "one unit")
                return over if function is BOTH else both - over
            return None
        if function in (EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL):
            difference = combine([(1, args[0]), (-1, args[1])])
            found = self.values.support(difference)
            if isinstance(found, Span) and not found.grid:
                raise Refused(
                    f"{show(node)} compares numbers that can lie anywhere in {found}; round them "
                    "first"
                )
            step = found.grid if isinstance(found, Span) else spacing(found)  # type: ignore[arg-type]
            points = {step * k: Fraction(int(function(step * k, 0))) for k in (-1, 0, 1)}  # type: ignore[call-overload]
            return self.hinges(self.form(difference), points, show(node), flat=True)
        return None

    def plan(self, node: Seq) -> Plan:
        """The cheapest way to make the node: from its arguments, or from the bases that they are
        functions of.
        """
        if node in self.plans:
            return self.plans[node]
        choices = [node.args]
        bases = self.values.bases[node]
        if not same(bases, (node,)) and set(bases) != set(node.args):
            size = 1000 if self._held(node) else 1
            for base in bases:
                found = self.values.support(base)
                size *= 1000 if isinstance(found, Span) else len(found)
            choices += [bases] if size <= 400 else []
        best: Plan | None = None
        problem: Refused | None = None
        flat = self._held(node)
        if len(bases) == 1 and bases[0] is not node:
            choices = [bases]
        for inputs in choices:
            if best is not None and best.price <= CHEAP:
                break
            try:
                table = self.values.table(node, inputs)
            except Refused as error:
                problem = error
                continue
            made = self._tabulated(node, *self._whole(inputs, table), flat)
            made.price += sum(self._unbuilt(arg) for arg in inputs)
            if best is None or made.price < best.price:
                best = made
        if best is None:
            raise problem or Refused(f"{show(node)} has no value that can occur")
        self.plans[node] = best
        return best

    def _whole(
        self, inputs: Sequence[Seq], table: Sequence[tuple[tuple[Value, ...], Value]]
    ) -> tuple[list[Argument], dict[tuple, Fraction | int]]:
        """The table in codes, every argument scaled so that it is whole: tables of ints are quick
        to search.
        """
        columns: list[dict[Value, int]] = []
        arguments: list[Argument] = []
        for place, node in enumerate(inputs):
            codes = {value: self.code(value) for value in dict.fromkeys(r[place] for r, _ in table)}
            scale = lcm(*(code.denominator for code in codes.values()))
            arguments.append(Argument(node, scale))
            columns.append({value: int(code * scale) for value, code in codes.items()})
        points = {
            tuple(map(dict.__getitem__, columns, row)): self.number(value) for row, value in table
        }
        return arguments, points

    def _held(self, node: Seq) -> bool:
        """Whether the node must stay level beyond its table: scores are made of it, and at a
        separator, or in a copy that does not know its argument yet, anything can stand there.
        """
        return isinstance(node.data, Function) and node.data.flat and self.copies > 0

    def _unbuilt(self, node: Seq) -> int:
        if (
            node in self.forms
            or node.op in ("tokens", "indices", "constant", "affine")
            or node.op in AGGREGATES
        ):
            return 0
        if all(base.op == "tokens" for base in self.values.bases[node]):
            return 0
        return self.plan(node).price

    def _tabulated(
        self, node: Seq, inputs: Sequence[Argument], points: dict[tuple, Fraction | int], flat: bool
    ) -> Plan:
        kept = relevant(points)
        inputs = [inputs[i] for i in kept]
        points = {tuple(x[i] for i in kept): y for x, y in points.items()}
        if not inputs:
            value = Fraction(next(iter(points.values())))
            return Plan(0, lambda self: Line(bias=value))
        if flat and len(inputs) == 1:
            values = inputs[0].unscaled(points)
            price = 4 * len(interpolate(values, flat=True).hinges)
            return Plan(
                price,
                lambda self: self.hinges(self.form(inputs[0].node), values, show(node), flat=True),
            )
        return self._shape(node, inputs, points, depth=0)

    def _shape(
        self, node: Seq, inputs: Sequence[Argument], points: dict[tuple, Fraction | int], depth: int
    ) -> Plan:
        """An affine form, hinges on one direction, a gated product, or a choice by an input of
        two values.
        """
        text = show(node)
        fitted = fit_affine(points.items())
        if fitted is not None:
            return Plan(0, lambda self: self.weighted(inputs, fitted))
        if len(inputs) == 1:
            values = inputs[0].unscaled(points)
            price = sum(3 + (k != 0) for _, k, _ in interpolate(values).hinges)
            return Plan(price, lambda self: self.hinges(self.form(inputs[0].node), values, text))
        found: list[Plan] = []
        searched = self.target.gates and len(points) <= 2000
        product = fit_product(points) if searched else None
        if product is not None:
            which, first, second = product
            rest = [arg for i, arg in enumerate(inputs) if i != which]

            def multiplied(self: Lowering) -> Line:
                return self.weighted(inputs, first) + self.product(
                    self.argument(inputs[which]), self.weighted(rest, second), text
                )

            found.append(Plan(2 + len(inputs), multiplied))
        projected = project(points)
        if projected is not None:

            def hinged(self: Lowering) -> Line:
                u = self.weighted(inputs, [*projected.direction, Fraction(0)])
                return self.weighted(inputs, [*projected.weights, Fraction(0)]) + self.hinges(
                    u, projected.rest, text
                )

            found.append(Plan(projected.price, hinged))
        if depth < 3 and (not found or min(p.price for p in found) > 12):
            found += self._choices(node, inputs, points, depth)
        return min(found, key=lambda plan: plan.price)

    def _choices(
        self, node: Seq, inputs: Sequence[Argument], points: dict[tuple, Fraction | int], depth: int
    ) -> list[Plan]:
        found = []
        for which in range(len(inputs)):
            ends = sorted({x[which] for x in points})
            if len(ends) != 2:
                continue
            rest = [arg for i, arg in enumerate(inputs) if i != which]
            sides = [
                {(*x[:which], *x[which + 1 :]): y for x, y in points.items() if x[which] == end}
                for end in ends
            ]
            low, high = ({**sides[1], **sides[0]}, {**sides[0], **sides[1]})
            step = {x: high[x] - low[x] for x in low}
            plans = [self._reduced(node, rest, part, depth + 1) for part in (low, step)]
            scale = Fraction(1) / (ends[1] - ends[0])

            def chosen(
                self: Lowering,
                which: int = which,
                plans: list[Plan] = plans,
                scale: Fraction = scale,
                end: Fraction | int = ends[0],
            ) -> Line:
                first, second = (plan.build(self) for plan in plans)
                return first + self.switched(
                    (self.argument(inputs[which]) - end) * scale, second, show(node)
                )

            found.append(Plan(5 + sum(p.price for p in plans), chosen))
        return found

    def _reduced(
        self, node: Seq, inputs: Sequence[Argument], points: dict[tuple, Fraction | int], depth: int
    ) -> Plan:
        kept = relevant(points)
        if not kept:
            value = Fraction(next(iter(points.values())))
            return Plan(0, lambda self: Line(bias=value))
        return self._shape(
            node,
            [inputs[i] for i in kept],
            {tuple(x[i] for i in kept): y for x, y in points.items()},
            depth,
        )

    def argument(self, given: Argument) -> Line:
        """The line that holds the scaled argument."""
        return self.form(given.node) * given.scale

    def weighted(self, inputs: Sequence[Argument], weights: Sequence[Fraction]) -> Line:
        """sum of weight * argument + bias (the last weight)."""
        found = Line(bias=weights[-1]) if len(weights) > len(inputs) else Line()
        for given, weight in zip(inputs, weights, strict=False):
            if weight:
                found = found + self.argument(given) * weight
        return found

    def _multiplied(self, node: Seq) -> Line:
        """The product of two numbers; without gates from squares, ((a + b)^2 - (a - b)^2) / 4."""
        a, b = node.args
        for first, second in ((a, b), (b, a)):
            found = self.values.support(first)
            if not isinstance(found, Span) and set(found) <= {0, 1}:
                return self.switched(self.form(first), self.form(second), show(node))
        if self.target.gates:
            return self.product(self.form(a), self.form(b), show(node))
        line = Line()
        for sign in (1, -1):
            part = combine([(1, a), (sign, b)])
            found = self.values.support(part)
            if isinstance(found, Span):
                raise Refused(
                    f"{show(node)} multiplies numbers, and {show(part)} can be any of {found}: too "
                    f"many for {self.target.about}, which has no unit that multiplies; give a "
                    "smaller length, or target='llama'"
                )
            squares = {self.code(v): Fraction(v) ** 2 / 4 for v in found}  # type: ignore[arg-type]
            if set(squares) == {0}:
                continue
            line = line + self.hinges(self.form(part), squares, show(node)) * sign
        return line

    def switched(self, on: Line, line: Line, text: str) -> Line:
        """`line` where `on` is 1, 0 where it is 0."""
        if self.target.gates or not on.terms or not line.terms:
            return self.product(on, line, text)
        low, high = self.range(line)
        most = max(abs(low), abs(high))
        units: list[tuple[Line, Line | None, Fraction]] = []
        for sign in (1, -1):
            if (high if sign > 0 else -low) > 0:
                units.append((line * sign + on * most - most, None, Fraction(sign)))
        return self.units(f"switch for {text}", units, text)

    def product(self, gate: Line, up: Line, text: str) -> Line:
        """gate * up by gated units: one where the gate cannot be negative, else two."""
        if not gate.terms:
            return up * gate.bias
        if not up.terms:
            return gate * up.bias
        low, _ = self.range(gate)
        if low < 0 and self.range(up)[0] >= 0:
            gate, up = up, gate
            low = Fraction(0)
        units: list[tuple[Line, Line | None, Fraction]] = [(gate, up, Fraction(1))]
        if low < 0:
            units.append((gate * -1, up, Fraction(-1)))
        return self.units(f"product for {text}", units, text)

    def units(
        self, meaning: str, units: list[tuple[Line, Line | None, Fraction]], text: str
    ) -> Line:
        """A lane that these units write."""
        for lane in self.lanes.values():
            if lane.units == units and not lane.embed and not lane.head:
                return self.line(lane)
        lines = [line for gate, up, _ in units for line in (gate, up) if line is not None]
        time = 2 * (self.time(*lines) // 2) + 2
        low = high = Fraction(0)
        error = 0.0
        for gate, up, down in units:
            top = max(self.range(gate)[1], Fraction(0))
            ends = (Fraction(1), Fraction(1)) if up is None else self.range(up)
            a, b = sorted((down * top * ends[0], down * top * ends[1]))
            low, high = low + min(a, Fraction(0)), high + max(b, Fraction(0))
            tall = max(abs(float(end)) for end in ends)
            error += float(abs(down)) * (
                self.error(gate) * tall + (0 if up is None else self.error(up) * float(top))
            )
            rounding = 0.0 if self.exact else 4 * self.target.unit + 2 * self.target.drift
            error += rounding * float(abs(down) * top) * tall
        found = self.lane("unit", meaning, time, low, high, error, text)
        found.units = units
        return self.line(found)

    def hinges(
        self,
        u: Line,
        values: Mapping[Any, Rational],
        text: str,
        *,
        flat: bool = False,
        clear: bool = False,
    ) -> Line:
        """The function with these values as hinges on u; level around every point where u's error
        would show.
        """
        xs = sorted(values)
        error, gap = (
            self.error(u),
            min((b - a for a, b in itertools.pairwise(xs)), default=Fraction(1)),
        )
        if error >= float(gap) / 4:
            raise Refused(
                f"{text}: its argument is known to {error:.2g} only, and values lie "
                f"{float(gap):.3g} apart, so length "
                f"{self.length} is not exact; give a smaller length, or snap the argument to "
                "fewer values"
            )
        levels = sorted(set(values.values()))
        fine = min((b - a for a, b in itertools.pairwise(levels)), default=Fraction(1))
        made = interpolate(values, flat=flat)
        snap = clear or float(made.steepest) * error > self.target.snap * float(fine)
        if snap:
            made = interpolate(values, snap=True)
        rest = u * made.slope + made.offset
        if not made.hinges:
            return rest
        units: list[tuple[Line, Line | None, Fraction]] = [
            ((u - knot) * sign, None, down) for sign, knot, down in made.hinges
        ]
        for lane in self.lanes.values():
            if lane.units == units and not lane.embed and not lane.head:
                return self.line(lane) + rest
        found = self.lane(
            "map",
            text,
            2 * (self.time(u) // 2) + 2,
            0,
            0,
            0.0,
            f"{len(units)} hinges{', level around each value' if snap else ''}",
        )
        found.units = units
        heights = [values[x] - made.slope * x - made.offset for x in xs]
        found.low, found.high = min(heights), max(heights)
        ends = self.range(u)
        if (
            self.copies and not flat and not snap
        ):  # other copies can hold anything in the range of u
            more = [made.at(x) - made.slope * x - made.offset for x in ends]
            found.low, found.high = min(found.low, *more), max(found.high, *more)
        reach = max(abs(float(end)) for end in ends)
        steep = 0.0 if snap else float(interpolate_slope(made))
        rounding = 0.0 if self.exact else 4 * self.target.unit
        found.error = steep * error + rounding * sum(
            float(abs(down)) * (reach + abs(float(knot))) for _, knot, down in made.hinges
        )
        found.error += 2 * self.target.drift * float(max(map(abs, heights)))
        return self.line(found) + rest


def interpolate_slope(made: Hinges) -> Fraction:
    """The steepest slope of the hinges without the linear part."""
    return Hinges(Fraction(0), Fraction(0), made.hinges).steepest


class Argument(NamedTuple):
    """An argument of a table, whose code times the scale is whole."""

    node: Seq
    scale: int

    def unscaled(self, points: Mapping[tuple, Fraction | int]) -> dict[Fraction | int, Any]:
        """The table of this argument alone, in codes."""
        if self.scale == 1:
            return {x: y for (x,), y in points.items()}
        return {Fraction(x, self.scale): y for (x,), y in points.items()}


@dataclass
class Plan:
    """How a node will be made, and about how many weights it takes."""

    price: int
    build: Any
