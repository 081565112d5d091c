"""What every sequence of a program can hold within a length: its value set, found by enumerating
reachable tuples.

A pointwise node is a function of its bases: the token, the position, and what heads deliver. Its
values are enumerated
jointly over them, so that two functions of one token are not taken for independent. Bases
themselves are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import product
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.programs.functions import (
    CHOICE,
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    LARGER,
    LESS,
    LESS_EQUAL,
    OPPOSITE,
    SMALLER,
    TIMES,
    TUPLE,
    UNEQUAL,
    Function,
    Unreachable,
    Value,
    is_number,
    rational,
)
from tinyadder.programs.language import (
    AGGREGATES,
    Both,
    Either,
    Everywhere,
    Except,
    Relation,
    Selector,
    Seq,
    everywhere,
    indices,
    lift,
    relations,
    show,
    walk,
)
from tinyadder.programs.lines import spacing

MOST = 20_000
"""Combinations of values that are enumerated for one node."""
JOINT = 2_000
"""Combinations of bases always enumerated; beyond, arguments of few values are preferred."""
FEW = 64
"""Positions up to which relations between positions are tried one by one."""
GONE = object()
"""The value of a node where a combination cannot occur."""


class Refused(TinyadderError):
    """The program cannot be compiled: which node, what is too large or not exact, and the way
    out.
    """


@dataclass(frozen=True)
class Span:
    """Numbers lo, lo + grid, ..., hi, too many to list; grid 0 where they lie anywhere between."""

    lo: Fraction
    hi: Fraction
    grid: Fraction

    def __str__(self) -> str:
        return f"{self.lo} .. {self.hi}" + (f" in steps of {self.grid}" if self.grid else "")


Support = tuple[Value, ...] | Span
ORDERED = (EQUAL, UNEQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL)


class Values:
    """The value sets of the nodes of one program within one length."""

    def __init__(self, program: Seq, length: int, causal: bool) -> None:
        self.length, self.causal = length, causal
        self.bases: dict[Seq, tuple[Seq, ...]] = {}
        self.supports: dict[Seq, Support] = {}
        self.columns: dict[tuple[Seq, tuple[Seq, ...]], list[Any]] = {}
        self.order: dict[Seq, int] = {}
        self._sets: dict[Seq, frozenset] = {}
        self._numeric: dict[Seq, bool] = {}
        for node in walk(program):
            self.add(node)

    def support(self, node: Seq) -> Support:
        """Every value that the node can have at a position."""
        if node not in self.supports:
            for inner in walk(node):
                self.add(inner)
        return self.supports[node]

    def listed(self, node: Seq) -> tuple[Value, ...]:
        """The value set as a tuple. Raises `Refused` where it is too large to list."""
        found = self.support(node)
        if isinstance(found, Span):
            raise Refused(
                f"{show(node)} can be any of {found}: too many for a table, a selector or tokens; "
                "it can be "
                "added, scaled, or be a numeric answer"
            )
        return found

    def numeric(self, node: Seq) -> bool:
        """Whether every value is a number."""
        if node not in self._numeric:
            found = self.support(node)
            listed = () if isinstance(found, Span) or node is indices() else found
            self._numeric[node] = all(map(is_number, listed))
        return self._numeric[node]

    # ---- enumeration ----

    def add(self, node: Seq) -> None:
        if node in self.supports:
            return
        self.order.setdefault(node, len(self.order))
        if node.op in ("tokens", "indices") or node.op in AGGREGATES:
            self.bases[node] = (node,)
            self.supports[node] = self._base(node)
        elif node.op == "constant":
            self.bases[node], self.supports[node] = (), (node.data,)
        else:
            self._pointwise(node)

    def _base(self, node: Seq) -> Support:
        if node.op == "tokens":
            return node.data
        if node.op == "indices":
            return tuple(range(self.length))
        selector, default = node.data
        low = 1 if self.nonempty(selector) else 0
        high = 1 if self.single(selector) else self.length
        if node.op == "count":
            return tuple(range(low, high + 1))
        inner = self.support(node.args[0])
        if node.op == "sum":
            return self._sums(node, inner, high)
        found = inner
        if node.op == "mean" and high > 1:
            numbers = inner if isinstance(inner, Span) else tuple(filter(is_number, inner))
            if isinstance(numbers, Span) or numbers:  # several are averaged, a single one is itself
                found = self._means(numbers)
            if not isinstance(found, Span) and not isinstance(inner, Span):
                found = tuple(dict.fromkeys([*found, *inner]))
        if low:
            return found
        if isinstance(found, Span):  # a number in the logit; where there is none it means nothing
            least = Fraction(default if is_number(default) else min(found.lo, Fraction(0)) - 1)
            return Span(min(found.lo, least), max(found.hi, least), Fraction(0))
        return found if default in found else (*found, default)

    def _sums(self, node: Seq, inner: Support, most: int) -> Support:
        if isinstance(inner, Span):
            return Span(
                min(inner.lo * most, Fraction(0)),
                max(inner.hi * most, Fraction(0)),
                inner.grid and spacing([0, inner.lo, inner.lo + inner.grid]),
            )
        if not all(is_number(v) for v in inner):
            raise Refused(f"{show(node)}: sums are taken of numbers; the values can be {inner[:4]}")
        numbers = [Fraction(v) for v in inner]  # type: ignore[arg-type]
        zero = Fraction(0)
        ends = min(zero, *numbers) * most, max(zero, *numbers) * most
        return grid_span(*ends, spacing([zero, *numbers]))

    def _means(self, inner: Support) -> Support:
        if isinstance(inner, Span):
            return Span(inner.lo, inner.hi, Fraction(0))
        numbers = [Fraction(v) for v in inner]  # type: ignore[arg-type]
        low, high = min(numbers), max(numbers)
        if low == high:
            return (rational(low),)
        grid = spacing(numbers)
        steps = {int((n - low) / grid) for n in numbers}
        top, found, reach = max(steps), set(), 1
        if self.length * self.length * top // 3 > MOST:
            return Span(low, high, Fraction(0))
        masks = sum(1 << s for s in steps)
        for many in range(1, self.length + 1):
            reach = reduce(lambda total, s: total | (reach << s), steps, 0)
            found |= {Fraction(s, many) for s in range(top * many + 1) if reach >> s & 1}
        assert masks
        return tuple(sorted(rational(low + grid * share) for share in found))

    def _pointwise(self, node: Seq) -> None:
        for arg in node.args:
            self.add(arg)
        bases = tuple(
            sorted({b for arg in node.args for b in self.bases[arg]}, key=self.order.__getitem__)
        )
        size = 1
        for base in bases:
            found = self.supports[base]
            size *= MOST + 1 if isinstance(found, Span) else len(found)
        apart = 1  # combinations of the arguments, each by itself
        for arg in node.args:
            found = self.supports[arg]
            apart *= MOST + 1 if isinstance(found, Span) else len(found)
        if size <= JOINT or (size <= MOST and size <= 4 * apart and node.op != "affine"):
            self.bases[node] = bases
            self.supports[node] = tuple(
                dict.fromkeys(v for v in self.column(node, bases) if v is not GONE)
            )
            return
        if node.op == "affine" and all(self.numeric(arg) for arg in node.args):
            self.bases[node] = bases
            self.supports[node] = self._affine(node)
            return
        self.bases[node] = (node,)  # its arguments are taken as independent from here on
        if apart > MOST and (between := self._between(node)) is not None:
            self.supports[node] = between
            return
        self.supports[node] = tuple(dict.fromkeys(out for _, out in self.table(node, node.args)))

    def _between(self, node: Seq) -> Support | None:
        """Where a choice, product, minimum, maximum or comparison of numbers lies, without trying
        their combinations; None for other functions.
        """
        if node.op != "map" or not all(self.numeric(arg) for arg in node.args):
            return None
        if node.data in ORDERED:
            return (False, True)
        if node.data not in (CHOICE, TIMES, SMALLER, LARGER):
            return None
        spans = [span(self.supports[arg]) for arg in node.args]
        if node.data is TIMES:
            ends = [a * b for a in (spans[0].lo, spans[0].hi) for b in (spans[1].lo, spans[1].hi)]
            grid = spacing([0, *(s.lo for s in spans), *(s.lo + s.grid for s in spans)])
            whole = all(s.grid for s in spans) and grid.denominator == 1
            return Span(min(ends), max(ends), Fraction(int(whole)))
        if node.data is CHOICE:
            spans = spans[1:]
        lows, highs = [s.lo for s in spans], [s.hi for s in spans]
        least = {CHOICE: min, SMALLER: min, LARGER: max}[node.data](lows)
        most = {CHOICE: max, SMALLER: min, LARGER: max}[node.data](highs)
        if not all(s.grid for s in spans):
            return Span(least, most, Fraction(0))
        return grid_span(least, most, spacing([*lows, *(s.lo + s.grid for s in spans)]))

    def _affine(self, node: Seq) -> Support:
        low = high = Fraction(node.data[1])
        grids: list[Fraction] = []
        free = False
        for arg, factor in zip(node.args, node.data[0], strict=True):
            found = self.supports[arg]
            ends = (found.lo, found.hi) if isinstance(found, Span) else (min(found), max(found))  # type: ignore[type-var]
            a, b = sorted(factor * Fraction(end) for end in ends)  # type: ignore[arg-type]
            low, high = low + a, high + b
            grid = found.grid if isinstance(found, Span) else spacing(found)  # type: ignore[arg-type]
            free |= isinstance(found, Span) and not found.grid
            grids += [abs(factor) * grid] if grid else []
        return Span(low, high, Fraction(0)) if free else grid_span(low, high, spacing([0, *grids]))

    def rows(self, bases: tuple[Seq, ...]) -> list[tuple[Value, ...]]:
        """Every combination of values of these bases; a position lies before the length of the
        text.
        """
        found = list(product(*(self.listed(base) for base in bases)))
        i, n = place(indices(), bases), place(length_node(), bases)
        if i is not None and n is not None:
            found = [row for row in found if row[i] < row[n]]  # type: ignore[operator]
        return found

    def column(self, node: Seq, bases: tuple[Seq, ...]) -> list[Any]:
        """The node's value for each of `rows(bases)`; GONE where that combination cannot occur."""
        name = (node, bases)
        if name in self.columns:
            return self.columns[name]
        at = place(node, bases)
        if at is not None:
            found: list[Any] = [row[at] for row in self.rows(bases)]
        elif node.op == "constant":
            found = [node.data] * len(self.rows(bases))
        else:
            parts = [self.column(arg, bases) for arg in node.args]
            found = [
                GONE if GONE in row else self.apply(node, row) for row in zip(*parts, strict=True)
            ]
        self.columns[name] = found
        return found

    def apply(self, node: Seq, row: Sequence[Any]) -> Any:
        """The node's value for these values of its arguments. Raises `Refused` where its function
        fails.
        """
        if node.op == "affine":
            if None in row:
                return None
            if not all(is_number(v) for v in row):
                raise Refused(
                    f"{show(node)} adds {next(v for v in row if not is_number(v))!r}, which is "
                    "not a number"
                )
            return rational(
                sum((f * v for f, v in zip(node.data[0], row, strict=True)), node.data[1])
            )
        try:
            found = node.data(*row)
            hash(found)
        except Unreachable:
            return GONE
        except Exception as error:
            at = ", ".join(map(repr, row))
            raise Refused(
                f"{show(node)} fails at ({at}): {type(error).__name__}: {error}; nothing here "
                "rules these values out, "
                "so let the function give some value there"
            ) from error
        return found

    def table(self, node: Seq, inputs: Sequence[Seq]) -> list[tuple[tuple[Value, ...], Value]]:
        """(input values, value) for every combination that can occur; `inputs` are its bases or
        its arguments.
        """
        inputs = tuple(inputs)
        if same(inputs, self.bases.get(node, ())):
            rows, out = self.rows(inputs), self.column(node, inputs)
            return [(row, value) for row, value in zip(rows, out, strict=True) if value is not GONE]
        bases = tuple(
            sorted({b for a in inputs for b in self.bases[a]}, key=self.order.__getitem__)
        )
        size = 1
        for base in bases:
            support = self.supports[base]
            size *= MOST + 1 if isinstance(support, Span) else len(support)
        if size <= MOST and not same(self.bases.get(node, ()), (node,)):
            parts = [self.column(a, bases) for a in inputs]
            out = self.column(node, bases)
            seen = dict(zip(zip(*parts, strict=True), out, strict=True))
            return [
                (row, value) for row, value in seen.items() if value is not GONE and GONE not in row
            ]
        listed = getattr(node.data, "table", None)
        if listed is not None and same(inputs, node.args):  # what a table lacks cannot occur
            found = [
                (row, value) for row, value in listed.items() if all(map(self.can_be, inputs, row))
            ]
            columns = [
                dict.fromkeys(column) for column in zip(*(row for row, _ in found), strict=True)
            ]
            empty = [[None] if self.can_be(node, None) else [] for node in inputs]
            for row in product(*([*c, *e] for c, e in zip(columns, empty, strict=True))):
                if None in row:
                    found.append((row, None))
            return found
        size = 1
        for arg in inputs:
            size *= len(self.listed(arg))
        if size > MOST:
            raise Refused(
                f"{show(node)} is a table of {size:,} combinations, more than {MOST:,}; use sums, "
                "comparisons, "
                "minimum and maximum, which need no table, or a smaller length"
            )
        every = product(*(self.listed(arg) for arg in inputs))
        pairs = ((row, self.apply(node, row)) for row in every)
        return [(row, value) for row, value in pairs if value is not GONE]

    def can_be(self, node: Seq, value: Value) -> bool:
        """Whether the node can have this value."""
        found = self.supports[node]
        if not isinstance(found, Span):
            if node not in self._sets:
                self._sets[node] = frozenset(found)
            return value in self._sets[node]
        if not is_number(value):
            return False
        inside = found.lo <= value <= found.hi  # type: ignore[operator]
        return inside and (not found.grid or (value - found.lo) % found.grid == 0)  # type: ignore[operator]

    # ---- selectors ----

    def clauses(self, selector: Selector, positive: bool = True) -> list[Relation] | None:
        """Relations that must all hold; None where nothing is ever selected. A joint `or` becomes
        one relation.
        """
        if isinstance(selector, Everywhere):
            return [] if positive else None
        if isinstance(selector, Except):
            return self.clauses(selector.inner, not positive)
        if isinstance(selector, Relation):
            return [selector if positive else self.negated(selector)]
        assert isinstance(selector, Both | Either)
        if isinstance(selector, Both) == positive:
            left, right = (
                self.clauses(selector.left, positive),
                self.clauses(selector.right, positive),
            )
            return None if left is None or right is None else list(dict.fromkeys([*left, *right]))
        left, right = self.clauses(selector.left, positive), self.clauses(selector.right, positive)
        if left is None or right is None:
            return right if left is None else left
        return [] if not left or not right else [self._joint(selector, positive)]

    def negated(self, relation: Relation) -> Relation:
        """The relation that holds exactly where this one does not."""
        function = relation.function
        ordered = function not in (EQUAL, UNEQUAL) and not (
            self.numeric(relation.key) and self.numeric(relation.query)
        )
        if function in OPPOSITE and not ordered:
            return Relation(relation.key, relation.query, OPPOSITE[function])
        return Relation(relation.key, relation.query, _negation(relation))

    def _joint(self, selector: Both | Either, positive: bool) -> Relation:
        parts = relations(selector)
        keys = list(dict.fromkeys(r.key for r in parts))
        queries = list(dict.fromkeys(r.query for r in parts))
        name = (selector, positive)
        if name not in _joints:

            def holds(there: Any, here: Any) -> bool:
                key_of = dict(zip(keys, there if len(keys) > 1 else [there], strict=True))
                query_of = dict(zip(queries, here if len(queries) > 1 else [here], strict=True))
                return _truth(selector, key_of, query_of) == positive

            _joints[name] = Function(holds, repr(selector if positive else ~selector), lazy=True)
        key = keys[0] if len(keys) == 1 else lift(TUPLE, *keys)
        query = queries[0] if len(queries) == 1 else lift(TUPLE, *queries)
        return Relation(key, query, _joints[name])

    def places(self, node: Seq) -> dict[tuple[int, int], Value] | None:
        """{(position, length): value} of a node that is a function of these two; None for others
        or long texts.
        """
        self.support(node)
        bases = self.bases[node]
        both = (
            (indices(),) if self.causal else (indices(), length_node())
        )  # a causal count of everything is i + 1
        if self.length > FEW or not set(bases) <= set(both):
            return None
        for base in both:
            self.support(base)
        column = self.column(node, both)
        if self.causal:
            return {
                (i, n): value
                for i, value in enumerate(column)
                for n in range(i + 1, self.length + 1)
            }
        return dict(zip(self.rows(both), column, strict=True))  # type: ignore[arg-type]

    def looks_back(self, selector: Selector) -> bool:
        """Whether a selector provably selects no position after its own."""
        if self.causal:
            return True
        found = self.clauses(selector)
        return found is None or any(self._back(relation) for relation in found)

    def _back(self, relation: Relation) -> bool:
        if relation.key is indices() and relation.function.name in ("<=", "==", "<"):
            query = relation.query
            if query is indices():
                return True
            if _is_shifted(query) and query.data[1] <= 0:
                return True
        keys, queries = self.places(relation.key), self.places(relation.query)
        if keys is None or queries is None:
            return False
        return not any(
            relation.holds(keys[k, n], queries[q, n])
            for q, n in queries
            for k in range(q + 1, n)
            if GONE not in (keys[k, n], queries[q, n])
        )

    def nonempty(self, selector: Selector) -> bool:
        """Whether at least one position is provably selected from every position: its own, or by
        position alone.
        """
        found = self.clauses(selector)
        if found is None:
            return False
        if all(self._reflexive(relation) for relation in found):
            return True
        if len(found) == 1 and found[0].function is EQUAL and self._is_rank(found[0].key):
            here = self.places(found[0].query)  # ranks are a permutation of the positions
            return here is not None and all(
                0 <= v < n for (_, n), v in here.items() if is_number(v)
            )
        pairs = [(self.places(r.key), self.places(r.query), r) for r in found]
        if any(k is None or q is None for k, q, _ in pairs):
            return False
        lengths = range(1, self.length + 1)
        return all(
            any(
                all(r.holds(k[there, n], q[here, n]) for k, q, r in pairs)  # type: ignore[index]
                for there in range(here + 1 if self.causal else n)
            )
            for n in lengths
            for here in range(n)
        )

    def _reflexive(self, relation: Relation) -> bool:
        if relation.key is not relation.query:
            return False
        if relation.function is EQUAL:
            return True
        found = self.support(relation.key)
        if relation.function in (LESS_EQUAL, GREATER_EQUAL) and self.numeric(relation.key):
            return True
        return not isinstance(found, Span) and all(relation.holds(v, v) for v in found)

    def single(self, selector: Selector) -> bool:
        """Whether at most one position is provably selected: a key that no two positions share
        has one value.
        """
        found = self.clauses(selector)
        if found is None or any(r.function is EQUAL and self._distinct(r.key) for r in found):
            return True
        pairs = [
            (k, q, r) for r in found if (k := self.places(r.key)) and (q := self.places(r.query))
        ]
        return bool(pairs) and all(
            sum(
                all(r.holds(k[there, n], q[here, n]) for k, q, r in pairs)
                for there in range(here + 1 if self.causal else n)
            )
            <= 1
            for n in range(1, self.length + 1)
            for here in range(n)
        )

    def _distinct(self, node: Seq) -> bool:
        if node is indices() or (node.op == "affine" and same(node.args, (indices(),))):
            return True
        if self._is_rank(node):
            return True
        bases = self.bases[node]
        if place(indices(), bases) is None or isinstance(self.support(node), Span):
            return False
        if not all(base.op in ("tokens", "indices") for base in bases):
            places = self.places(node) or {}
            lengths = range(1, self.length + 1)
            return bool(places) and all(len({places[i, n] for i in range(n)}) == n for n in lengths)
        owner: dict[Value, Value] = {}
        at = place(indices(), bases) or 0
        rows = zip(self.rows(bases), self.column(node, bases), strict=True)
        return all(owner.setdefault(value, row[at]) == row[at] for row, value in rows)

    def _is_rank(self, node: Seq) -> bool:
        """Whether the node counts positions with a smaller (or larger) key, all keys distinct."""
        if node.op != "count" or self.causal:
            return False
        found = self.clauses(node.data[0])
        if found is None or len(found) != 1:
            return False
        (only,) = found
        ordered = only.function.name in ("<", ">") and only.key is only.query
        return ordered and self.numeric(only.key) and self._distinct(only.key)


def same(first: Sequence[Seq], second: Sequence[Seq]) -> bool:
    """Whether these are the same sequences in the same order (== between sequences is a program,
    not a test).
    """
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))


def place(node: Seq, nodes: Sequence[Seq]) -> int | None:
    """Where `node` stands among `nodes`."""
    return next((n for n, other in enumerate(nodes) if other is node), None)


def _is_shifted(node: Seq) -> bool:
    return node.op == "affine" and same(node.args, (indices(),)) and node.data[0] == (1,)


def length_node() -> Seq:
    """The length of the text, as programs write it."""
    return _LENGTH


_LENGTH = everywhere().count()
_joints: dict[tuple[Selector, bool], Function] = {}
_negations: dict[Relation, Function] = {}


def _negation(relation: Relation) -> Function:
    if relation not in _negations:
        _negations[relation] = Function(
            lambda there, here: not relation.holds(there, here),
            f"not {relation.function.name}",
            lazy=True,
        )
    return _negations[relation]


def _truth(selector: Selector, keys: dict[Seq, Value], queries: dict[Seq, Value]) -> bool:
    if isinstance(selector, Relation):
        return selector.holds(keys[selector.key], queries[selector.query])
    if isinstance(selector, Both):
        return _truth(selector.left, keys, queries) and _truth(selector.right, keys, queries)
    if isinstance(selector, Either):
        return _truth(selector.left, keys, queries) or _truth(selector.right, keys, queries)
    return not _truth(selector.inner, keys, queries) if isinstance(selector, Except) else True


def span(support: Support) -> Span:
    """A set of numbers as a span that holds them all; a single one has the grid 1."""
    if isinstance(support, Span):
        return support
    numbers = [Fraction(v) for v in support]  # type: ignore[arg-type]
    return Span(min(numbers), max(numbers), spacing(numbers) or Fraction(1))


def grid_span(low: Fraction, high: Fraction, grid: Fraction) -> Support:
    """low, low + grid, ..., high: as a tuple where they are few."""
    low, high = Fraction(low), Fraction(high)
    if low == high:
        return (rational(low),)
    many = (high - low) / grid
    if many > MOST:
        return Span(low, high, grid)
    return tuple(rational(low + grid * step) for step in range(int(many) + 1))
