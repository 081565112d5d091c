"""Selectors -> scores, aggregates -> heads.

Every relation becomes rows of query and key whose products add up to -violation: 0 where it holds,
at most -1 where it
does not, never positive. Equality is a parabola -(q - k)^2; a nested relation (an order) is -e^(c
(r(k) - t(q))), one
row for 14 classes; any other relation has a row for each class of queries or of keys.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from fractions import Fraction
from math import ceil, exp, log, log2
from typing import TYPE_CHECKING, Any, NamedTuple

from tinyadder.programs.functions import (
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    LESS,
    LESS_EQUAL,
    TUPLE,
    UNEQUAL,
    Function,
)
from tinyadder.programs.language import (
    Both,
    Either,
    Everywhere,
    Except,
    Relation,
    Selector,
    Seq,
    combine,
    constant,
    everywhere,
    indices,
    lift,
    show,
    where,
)
from tinyadder.programs.lines import Line, fit_affine, spacing
from tinyadder.programs.values import Refused, Span

if TYPE_CHECKING:
    from tinyadder.programs.lower import LoweredHead, Lowering

HARD = 1024
"""Exact lookups: the base, the slope and the least distance of scores. e^-1024 is 0 in float64, so
that one position has the weight 1 and all others 0.
"""
ORDERS = (LESS, LESS_EQUAL, GREATER, GREATER_EQUAL)
ONE = Line(bias=Fraction(1))


class Row(NamedTuple):
    """A product query * key that adds to minus the violation."""

    query: Line
    key: Line
    error: float | None = None
    """How far this row and its companions together can be off where the relation holds; None
    where it follows from the errors of the two lines.
    """
    level: bool = False
    """Whether this row and its companions together are never positive, whatever lanes hold."""


Rows = list[Row]


# ---- aggregates ----------------------------------------------------------------------------------


def aggregate(low: Lowering, node: Seq) -> Line:
    """The line of a count, sum, mean, pick, latest or earliest."""
    selector, default = node.data
    clauses = low.values.clauses(selector)
    sums = node.op in ("count", "sum")
    if clauses is None:
        return Line(bias=Fraction(0) if sums else low.code(default))
    rewritten = _rewritten(low, node, clauses)
    if rewritten is not None:
        return low.form(rewritten)
    back = low.values.looks_back(selector)
    clauses = [r for r in clauses if not _is_prefix(r)] if back else clauses
    nonempty = low.values.nonempty(selector)
    rows: Rows = []
    for relation in clauses:
        rows = rows + relation_rows(low, relation, square=sums or not nonempty)
    loud = sum(max(Fraction(0), _highest(low, row)) for row in rows if not row.level)
    rows = copy_rows(low, local=back, force=2 ** ceil(log2(1 + loud))) + rows
    value = ONE if node.op == "count" else low.form(node.args[0])
    shift = Fraction(0) if sums or nonempty else low.code(default)
    if node.op != "count":
        value = value - shift
    ends = low.range(value)
    reach = max(1.0, float(max(abs(end) for end in ends)))
    step = HARD if low.exact else low.target.step
    slope = {"latest": step, "earliest": -step}.get(node.op, 0)
    if low.exact and (sums or not (slope or low.values.single(selector))):
        raise Refused(
            f"{show(node)} is not exact: exact=True takes latest, earliest, and pick or mean of a "
            "single position, where one position has all the weight"
        )
    penalty = head_penalty(low, reach, slope, sums, nonempty)
    wobble = 2 * penalty * score_error(low, rows)
    if wobble > _allowed(low, bool(slope) or low.values.single(selector)):
        raise Refused(
            f"{show(node)}: selected positions should have one score, but scores are known to "
            f"{wobble:.2g} only at length {low.length}; give a smaller length"
        )
    base = -low.target.base if sums else HARD if low.exact else low.target.base
    head = make_head(low, rows, base=base, slope=slope, penalty=penalty, value=value)
    if low.exact:
        need_whole_scores(low, head, node)
    rounding = 0.0 if low.exact else low.sum_rounding * reach
    if sums:
        error = low.length * (
            low.error(value) + reach * (1.1 * wobble + low.target.drift) + rounding
        )
    else:
        several = node.op == "mean" and not low.values.single(selector)
        error = low.error(value) + rounding + several * wobble * float(ends[1] - ends[0])
    bottom, top = _held(low, node, shift, ends)
    copy = "" if not low.copies else "own copy, " if back else "the copy before, "
    why = f"{copy}{len(head.rows)} row{'s' * (len(head.rows) != 1)} of scores"
    lane = low.lane(node.op, show(node), 2 * head.layer + 1, bottom, top, error, why)
    lane.head = (head, low.deliver(head, value, sums))
    line = low.line(lane) + shift
    lane.defines = (node, line)
    return line


def _allowed(low: Lowering, alone: bool) -> float:
    """How far the scores of selected positions may be from one another. In a stock class more,
    above all where one position has nearly all the weight.
    """
    if not low.target.stock:
        return 0.01
    return 1.0 if alone else 0.1


def _held(
    low: Lowering, node: Seq, shift: Fraction, ends: tuple[Fraction, Fraction]
) -> tuple[Fraction, Fraction]:
    """The least and the largest number that the lane of an aggregate can hold, in any copy."""
    support = low.values.support(node)
    if isinstance(support, Span):
        bottom, top = support.lo - shift, support.hi - shift
    else:
        codes = [low.code(value) for value in support]
        bottom, top = min(codes) - shift, max(codes) - shift
    if low.copies:  # where a copy does not know the answer yet, anything of this kind may stand
        many = low.total + 1 if node.op in ("count", "sum") else 1
        bottom = min(bottom, Fraction(0), ends[0] * many)
        top = max(top, Fraction(0), ends[1] * many)
    return bottom, top


def head_penalty(low: Lowering, reach: float, slope: int, sums: bool, safe: bool) -> int:
    """How far below the selected positions the unselected ones lie: a power of two, so that it
    does not round.
    """
    if low.exact:  # below softmax1's 1 by HARD, though the nearest may be low.total * slope above
        return int(2 ** ceil(log2(2 * HARD + abs(slope) * low.total)))
    empty = (
        0 if sums or safe else low.target.base
    )  # where nothing is selected, all must lie below softmax1's 1
    needed = low.target.room + log(low.total + 1) + log(reach) + abs(slope) * low.total + empty
    return int(2 ** ceil(log2(needed)))


def make_head(
    low: Lowering, rows: Rows, *, base: int, slope: int, penalty: int, value: Line
) -> LoweredHead:
    """The head with these violations: constant queries joined in one row, constant keys in
    another.
    """
    base += slope * low.total if slope > 0 else 0  # the farthest position still has the base score
    key, query = Line(bias=Fraction(base)), Line()
    if slope and not low.target.slopes:  # slope * (j - i) of the positions as lanes
        position = low.form(indices())
        key, query, slope = key + position * slope, query - position * slope, 0
    others: dict[Line, Line] = {}
    for q, k, *_ in rows:
        if not q.terms:
            key = key + k * (q.bias * penalty)
        elif not k.terms:
            query = query + q * (k.bias * penalty)
        else:
            others[k] = others.get(k, Line()) + q * penalty
    query_bias = query.bias
    key, query = key + query_bias, query - query_bias
    made = [(ONE, key)]
    made += [(query, ONE)] if query.terms else []
    made += [(q, k) for k, q in others.items() if q.terms or q.bias]
    lines = [line for pair in made for line in pair] + [value]
    time = low.time(*lines)
    return low.head(tuple(made), slope, (time + 1) // 2)


def score_error(low: Lowering, rows: Rows) -> float:
    """How far a selected score can be off, for each unit of penalty: by lane errors and by
    rounding.
    """
    if low.exact:
        return 0.0
    found = 0.0
    for q, k, error, _ in rows:
        a, b = low.size(q), low.size(k)
        found += (
            low.error(q) * b + low.error(k) * a + 8 * low.target.unit * a * b
            if error is None
            else error
        )
    return found


def need_whole_scores(low: Lowering, head: LoweredHead, node: Seq) -> None:
    """Every product of a score is an integer, and no partial sum in any order reaches 2^53."""
    found = float(abs(head.slope) * low.total)
    for q, k in head.rows:
        need_whole(q, node)
        need_whole(k, node)
        found += low.size(q) * low.size(k)
    if found >= 2.0**53:
        raise Refused(
            f"{show(node)}: scores reach {found:.2g} at length {low.length}, and float64 holds "
            "every integer to 2^53 = 9e15 only; give a smaller length"
        )


def need_whole(line: Line, node: Seq) -> None:
    """All weights and the bias of the line are integers."""
    if any(w.denominator > 1 for _, w in line.terms) or line.bias.denominator > 1:
        raise Refused(
            f"{show(node)}: {line} is not made of integers, which exact=True needs: scale the "
            "numbers of the program"
        )


# ---- rewriting -----------------------------------------------------------------------------------


def _is_prefix(relation: Relation) -> bool:
    return relation.key is relation.query is indices() and relation.function is LESS_EQUAL


def _rewritten(low: Lowering, node: Seq, clauses: list[Relation]) -> Seq | None:
    """The same value by other nodes: or and not of counts by inclusion and exclusion, strict
    order of positions.
    """
    selector, default = node.data
    sums = node.op in ("count", "sum")
    joint = any(
        (r.key.op == "map" and r.key.data is TUPLE)
        or (r.query.op == "map" and r.query.data is TUPLE)
        for r in clauses
    )
    large = any(r.function is UNEQUAL and _size(low, r) > 9 for r in clauses)
    ahead = (
        any(r.key is r.query is indices() and r.function is GREATER for r in clauses)
        and low.length > low.target.classes
    )
    if sums and (joint or large or ahead):
        polynomial = _indicator(selector)
        if len(polynomial) <= 8 and len(polynomial) > 1:
            return combine(
                [(factor, _read(node, _all(parts))) for parts, factor in polynomial.items()]
            )
    parted = next((r for r in clauses if r.function in ORDERS and sums and _is_long(low, r)), None)
    if parted is not None:
        rest = [r for r in clauses if r is not parted]
        pieces = (_all([*rest, *part]) for part in _by_digits(low, parted))
        return combine([(1, _read(node, piece)) for piece in pieces])
    strict = [r for r in clauses if r.key is r.query is indices() and r.function is LESS]
    if strict and (sums or low.length > low.target.classes):
        rest = [r for r in clauses if r not in strict and not _is_prefix(r)]
        reflexive = Relation(indices(), indices(), LESS_EQUAL)
        if sums:
            value = node.args[0] if node.args else constant(1)
            own: Any = value
            for r in rest:
                own = where(lift(_own(r), r.key, r.query), own, 0)
            return combine([(1, _read(node, _all([reflexive, *rest]))), (-1, own)])
        shifted = [Relation(_before(r.key), r.query, _guarded(r)) for r in rest]
        started = Relation(_before(constant(1), 0), constant(1), EQUAL)
        return Seq(
            node.op, (_before(node.args[0]),), (_all([reflexive, started, *shifted]), default)
        )
    return None


def _size(low: Lowering, relation: Relation) -> int:
    found = [low.values.support(n) for n in (relation.key, relation.query)]
    return min(10**6 if isinstance(s, Span) else len(s) for s in found)


def _is_long(low: Lowering, relation: Relation) -> bool:
    """Whether an order has so many ranks that two digits of them are cheaper than rows of ranks."""
    supports = [low.values.support(n) for n in (relation.key, relation.query)]
    if any(isinstance(s, Span) for s in supports) or relation.key is indices():
        return False
    numeric = low.values.numeric(relation.key) and low.values.numeric(relation.query)
    return numeric and len({*supports[0], *supports[1]}) > 2 * low.target.classes  # type: ignore[misc]


def _by_digits(low: Lowering, relation: Relation) -> list[list[Relation]]:
    """An order as a disjoint union: of the higher digits of the ranks, or of the lowest where the
    higher ones agree.
    """
    supports = [low.values.listed(n) for n in (relation.key, relation.query)]
    rank = {v: r for r, v in enumerate(sorted({*supports[0], *supports[1]}))}
    digits = [
        [
            _labelled(
                low,
                node,
                lambda v, part=part: divmod(rank[v], low.target.classes)[part],
                name,
                False,
            )
            for node in (relation.key, relation.query)
        ]
        for part, name in ((0, "rank high"), (1, "rank low"))
    ]
    strict = {LESS_EQUAL: LESS, GREATER_EQUAL: GREATER}.get(relation.function, relation.function)
    (high_key, high_query), (low_key, low_query) = digits
    return [
        [Relation(high_key, high_query, strict)],
        [
            Relation(high_key, high_query, EQUAL),
            Relation(low_key, low_query, relation.function),
        ],
    ]


def _own(relation: Relation) -> Function:
    if relation not in _owns:
        _owns[relation] = Function(
            lambda there, here: int(relation.holds(there, here)), "own", lazy=True
        )
    return _owns[relation]


def _guarded(relation: Relation) -> Function:
    return relation.function


_owns: dict[Relation, Function] = {}


def _before(value: Seq, default: Any = None) -> Seq:
    """The value one position before."""
    return (Relation(indices(), combine([(1, indices())], -1), EQUAL)).pick(value, default)


def _read(node: Seq, selector: Selector) -> Seq:
    return Seq(node.op, node.args, (selector, node.data[1]))


def _all(parts: Any) -> Selector:
    found: Selector | None = None
    for part in parts:
        found = part if found is None else found & part
    return everywhere() if found is None else found


def _indicator(selector: Selector) -> dict[tuple[Relation, ...], int]:
    """The indicator of the selector as a polynomial: conjunction -> factor."""
    if isinstance(selector, Everywhere):
        return {(): 1}
    if isinstance(selector, Relation):
        if selector.function is UNEQUAL:
            return {(): 1, (Relation(selector.key, selector.query, EQUAL),): -1}
        if selector.key is selector.query is indices() and selector.function is GREATER:
            return {(): 1, (Relation(selector.key, selector.query, LESS_EQUAL),): -1}
        return {(selector,): 1}
    if isinstance(selector, Except):
        return _sum({(): 1}, _indicator(selector.inner), -1)
    assert isinstance(selector, Both | Either)
    left, right = _indicator(selector.left), _indicator(selector.right)
    product: dict[tuple[Relation, ...], int] = {}
    for a, x in left.items():
        for b, y in right.items():
            name = tuple(sorted({*a, *b}, key=id))
            product[name] = product.get(name, 0) + x * y
    product = {name: factor for name, factor in product.items() if factor}
    return product if isinstance(selector, Both) else _sum(_sum(left, right, 1), product, -1)


def _sum(a: dict, b: dict, sign: int) -> dict:
    found = dict(a)
    for name, factor in b.items():
        found[name] = found.get(name, 0) + sign * factor
    return {name: factor for name, factor in found.items() if factor}


# ---- relations -----------------------------------------------------------------------------------


def copy_rows(low: Lowering, *, local: bool, force: int = 1) -> Rows:
    """Which copy a head reads: its own (local), or the one before. A separator lies half a step
    from every copy. Positions elsewhere are at least `force` penalties below, whatever they hold.
    """
    if not low.copies:
        return []
    copy = low.copy()
    if low.copies == 1:
        return [Row(copy * (2 * force), copy - 1)] if local else [Row(ONE, copy * (-2 * force))]
    square = low.copy_square()
    here = copy if local else copy - 1
    here_square = square if local else square - copy * 2 + 1
    error: float | None = None
    if low.target.stock and low.target.gates:  # a square of the same lane: second order
        error = 4 * force * (4 * low.error(copy) ** 2 + 24 * low.target.unit * low.copies**2)
    rest = None if error is None else 0.0
    return [
        Row(here * (8 * force), copy, error),
        Row(ONE, square * (-4 * force), rest),
        Row(here_square * (-4 * force), ONE, rest),
    ]


def _highest(low: Lowering, row: Row) -> Fraction:
    """The largest that the product of a row can be, at any two positions."""
    return max(a * b for a in low.range(row.query) for b in low.range(row.key))


def relation_rows(low: Lowering, relation: Relation, *, square: bool) -> Rows:
    """Rows whose products are 0 where the relation holds and at most -1 where it does not."""
    keys, queries = low.values.support(relation.key), low.values.support(relation.query)
    many = isinstance(keys, Span) or isinstance(queries, Span) or len(keys) * len(queries) > 40_000
    if (
        relation.function is EQUAL
        and not (isinstance(queries, tuple) and len(queries) == 1)
        and not (isinstance(keys, tuple) and len(keys) == 1)
    ):
        return _parabola(low, relation, square)
    if many and relation.function in (LESS, LESS_EQUAL, GREATER, GREATER_EQUAL):
        return _ordered(low, relation)
    if many:
        raise Refused(
            f"{relation!r} relates {_many(keys)} with {_many(queries)} values one by one; compare "
            "by ==, <, <=, >, >=, "
            "or give a smaller length"
        )
    return _table(low, relation)


def _many(support: Any) -> str:
    return f"{support}" if isinstance(support, Span) else f"{len(support):,}"


def _parabola(low: Lowering, relation: Relation, square: bool) -> Rows:
    """-(q - k)^2 / gap^2."""
    q, k = low.form(relation.query), low.form(relation.key)
    ends = [low.values.support(relation.key), low.values.support(relation.query)]
    if any(isinstance(s, Span) and not s.grid for s in ends):
        raise Refused(
            f"{relation!r} compares numbers that can lie anywhere in a range; round them first"
        )
    lists = [[s.lo, s.hi] if isinstance(s, Span) else [low.code(v) for v in s] for s in ends]
    if all(isinstance(s, tuple) for s in ends) and len(lists[0]) * len(lists[1]) <= 10_000:
        apart = {abs(a - b) for a in lists[0] for b in lists[1]} - {0}
        gap = min(apart) if apart else Fraction(1)
    else:
        gap = spacing(
            [
                lists[0][0],
                *(x for s in lists for x in s),
                *(s.lo + s.grid for s in ends if isinstance(s, Span)),
            ]
        )
    error = low.error(q) + low.error(k)
    if error >= float(gap) / 4:
        raise Refused(
            f"{relation!r}: the two sides are known to {error:.2g} only, and values lie "
            f"{float(gap):.3g} apart; length "
            f"{low.length} is not exact: give a smaller length"
        )
    return _apart(low, relation, q, k, gap, square)


def _apart(
    low: Lowering, relation: Relation, q: Line, k: Line, gap: Fraction, square: bool
) -> Rows:
    """-(q - k)^2 / gap^2, of lines whose difference is 0 or at least the gap."""
    shift = min(low.range(q)[0], low.range(k)[0])
    q, k = q - shift, k - shift
    scale = 1 / gap**2
    key_square = _square(low, relation.key, k)
    query_square = _square(low, relation.query, q) if square else Square(Line(), Fraction(0), True)
    # q^2, 2qk and k^2 are made from the same two lanes, so their errors cancel in first order,
    # but for the bend where a square is straight between values
    reach = max(low.size(q), low.size(k))
    apart = low.error(q) + low.error(k)
    bend = float(max(key_square.bend, query_square.bend))
    error = apart**2 + 2 * bend * apart + _square_rounding(low, [q * scale, k], reach)
    level = low.target.stock and key_square.above and query_square.above
    rows = [
        Row(q * (2 * scale), k, float(scale) * error, level),
        Row(ONE, key_square.line * -scale, 0.0, level),
    ]
    return [*rows, Row(query_square.line * -scale, ONE, 0.0, level)] if square else rows


def _square_rounding(low: Lowering, lines: list[Line], reach: float) -> float:
    """The rounding of q^2 - 2qk + k^2: none in a stock class where all numbers are whole."""
    parts = [(weight, low.lanes[name]) for line in lines for name, weight in line.terms]
    numbers = [
        *(n for w, lane in parts for n in [w, *lane.embed.values()]),
        *(line.bias for line in lines),
    ]
    whole = all(n.denominator == 1 for n in numbers) and not any(lane.error for _, lane in parts)
    if low.target.stock and whole and reach**2 < 2.0**-11 / low.target.unit:
        return 0.0
    return 24 * low.target.unit * reach**2


class Square(NamedTuple):
    """The square of a line."""

    line: Line
    bend: Fraction
    """How far its slope can be from that of the square."""
    above: bool
    """Whether it is at least the square, whatever the lanes hold."""


def _square(low: Lowering, node: Seq, line: Line) -> Square:
    """The square of an affine form of the node's code: an affine form for two values, else a column
    of the embedding, a gated unit, or hinges.
    """
    support = low.values.support(node)
    if not isinstance(support, Span) and line.terms:
        form = low.form(node)
        factor = dict(line.terms)[form.terms[0][0]] / form.terms[0][1]
        shift = (line - form * factor).bias
        assert line == form * factor + shift
        points = sorted({low.code(v) * factor + shift for v in support})
        bend = max((b - a for a, b in itertools.pairwise(points)), default=Fraction(0))
        if len(points) == 2 and _kept_in(low, line, points):
            a, b = points
            return Square(line * (a + b) - a * b, bend, True)
        embedded = all(base.op == "tokens" for base in low.values.bases[node])
        if embedded or not low.target.gates:
            squares = low.form(
                _labelled(
                    low, node, lambda v: (low.code(v) * factor + shift) ** 2, "square", flat=False
                )
            )
            if not embedded:
                return Square(squares, bend, False)
            there = [_at_separator(low, found) for found in (line, squares)]
            return Square(squares, Fraction(0), there[1] >= there[0] ** 2)
    if not low.target.gates:
        raise Refused(
            f"the square of {show(node)}, which can be any of {_many(support)}, needs a unit that "
            f"multiplies, and {low.target.about} has none; give a smaller length, or target='llama'"
        )
    text = f"square of {show(node)}"
    units: list[tuple[Line, Line | None, Fraction]] = [(line, line, Fraction(1))]
    if low.range(line)[0] < 0:
        units.append((line * -1, line * -1, Fraction(1)))
    return Square(low.units(text, units, "gated: relu(a) * a"), Fraction(0), True)


def _at_separator(low: Lowering, line: Line) -> Fraction:
    """What a line over lanes of the embedding holds at a separator."""
    parts = (weight * low.lanes[name].separator for name, weight in line.terms)
    return sum(parts, line.bias)


def _kept_in(low: Lowering, line: Line, points: list[Fraction]) -> bool:
    """Whether the line stays between the points in every copy."""
    bottom, top = low.range(line)
    return not low.copies or (points[0] <= bottom and top <= points[-1])


def _labelled(low: Lowering, node: Seq, value_of: Any, name: str, flat: bool = True) -> Seq:
    """A node that gives a number for each value of `node`, level beyond its ends."""
    table = {v: Fraction(value_of(v)) for v in low.values.listed(node)}
    label = (node, tuple(table.items()), flat)
    if label not in low.labels:
        function = Function(table.__getitem__, name, lazy=True)
        function.flat = flat
        low.labels[label] = function
    return Seq("map", (node,), low.labels[label])


def _label(low: Lowering, node: Seq, table: dict[Any, Fraction], name: str) -> Line:
    """The line with these numbers: affine where the node has two values, else a table."""
    points = {low.code(v): y for v, y in table.items()}
    xs = sorted(points)
    if len(set(points.values())) == 1:
        return Line(bias=points[xs[0]])
    line = low.form(node)
    if len(xs) == 2 and _kept_in(low, line, xs):
        slope = (points[xs[1]] - points[xs[0]]) / (xs[1] - xs[0])
        return line * slope + (points[xs[0]] - slope * xs[0])
    return low.form(_labelled(low, node, table.__getitem__, name))


def _table(low: Lowering, relation: Relation) -> Rows:
    """Any relation between listed values, by the cheapest of: one side only, classes, a nested
    chain.
    """
    keys, queries = low.values.listed(relation.key), low.values.listed(relation.query)
    columns = {q: frozenset(k for k in keys if relation.holds(k, q)) for q in queries}
    everything = frozenset(keys)
    if all(column == everything for column in columns.values()):
        return []
    proper = {c for c in columns.values() if c}
    rows: Rows = []
    if any(not c for c in columns.values()):  # some queries select nothing
        rows.append(
            Row(
                _label(
                    low,
                    relation.query,
                    {q: Fraction(0 if c else -1) for q, c in columns.items()},
                    f"{show(relation.query)} selects something",
                ),
                ONE,
            )
        )
    if not proper:
        return [Row(ONE, Line(bias=Fraction(-1)))]
    if len(proper) == 1:
        (chosen,) = proper
        if chosen == everything:
            return rows
        return [
            *rows,
            Row(
                ONE,
                _label(
                    low,
                    relation.key,
                    {k: Fraction(0 if k in chosen else -1) for k in keys},
                    f"{show(relation.key)} is selected",
                ),
            ),
        ]
    shifted = _shifted(low, relation, columns, keys)
    if shifted is not None:
        return shifted
    active = [q for q in queries if columns[q]]
    of_key = {k: frozenset(q for q in active if k in columns[q]) for k in keys}
    key_classes = list(dict.fromkeys(of_key.values()))
    query_classes = list(dict.fromkeys(columns[q] for q in active))
    partner = _matching(query_classes, of_key)
    if partner is not None and len(query_classes) > 2:
        return [*rows, *_matched(low, relation, of_key, columns, partner)]
    nested = sorted(key_classes, key=len, reverse=True)
    chain = all(b < a for a, b in itertools.pairwise(nested))
    if chain and len(nested) > 2:
        rank = {c: r for r, c in enumerate(nested)}
        thresholds = {q: sum(q in c for c in nested) for q in queries}
        return [
            *rows,
            *_nested(low, relation, {k: rank[of_key[k]] for k in keys}, thresholds, len(nested)),
        ]
    if len(query_classes) <= len(key_classes):
        return [
            *rows,
            *_by_class(
                low,
                relation.query,
                relation.key,
                {q: query_classes.index(columns[q]) for q in active},
                [{k: Fraction(0 if k in c else -1) for k in keys} for c in query_classes],
                True,
                queries,
            ),
        ]
    return [
        *rows,
        *_by_class(
            low,
            relation.key,
            relation.query,
            {k: key_classes.index(of_key[k]) for k in keys},
            [
                {q: Fraction(0 if q in c or not columns[q] else -1) for q in queries}
                for c in key_classes
            ],
            False,
            keys,
        ),
    ]


def _shifted(low: Lowering, relation: Relation, columns: dict, keys: Any) -> Rows | None:
    """Rows of a relation that is an equality in disguise: key code = a * query code + b, and only
    there.
    """
    pairs = [(low.code(k), low.code(q)) for q, column in columns.items() for k in column]
    if any(len(column) > 1 for column in columns.values()):
        return None
    fitted = fit_affine(((q,), k) for k, q in pairs)
    if fitted is None or not fitted[0]:
        return None
    a, b = fitted
    codes = {k: low.code(k) for k in keys}
    misses = set()
    for q, column in columns.items():
        aim = a * low.code(q) + b
        for k, code in codes.items():
            if (code == aim) != (k in column):
                return None
            misses.add(abs(code - aim))
    return _apart(
        low,
        relation,
        low.form(relation.query) * a + b,
        low.form(relation.key),
        min(misses - {0}),
        True,
    )


def _matching(query_classes: list[frozenset], of_key: dict) -> dict | None:
    """query class -> key class where each class of queries selects exactly one class of keys and no
    two the same.
    """
    found = {}
    for chosen in query_classes:
        inside = {of_key[k] for k in chosen}
        if len(inside) != 1:
            return None
        found[chosen] = inside.pop()
    return found if len(set(found.values())) == len(found) else None


def _matched(low: Lowering, relation: Relation, of_key: dict, columns: dict, partner: dict) -> Rows:
    """Equality of class numbers: a parabola between two labels. Keys that nobody selects get a
    number of their own.
    """
    numbers = {c: n for n, c in enumerate(partner.values())}
    key_label = {k: Fraction(numbers.get(c, len(numbers))) for k, c in of_key.items()}
    query_label = {q: Fraction(numbers[partner[c]] if c else 0) for q, c in columns.items()}
    k = low.form(
        _labelled(low, relation.key, key_label.__getitem__, f"class of {show(relation.key)}")
    )
    q = low.form(
        _labelled(low, relation.query, query_label.__getitem__, f"class of {show(relation.query)}")
    )
    key_square = low.form(
        _labelled(low, relation.key, lambda v: key_label[v] ** 2, "class squared")
    )
    query_square = low.form(
        _labelled(low, relation.query, lambda v: query_label[v] ** 2, "class squared")
    )
    return [Row(q * 2, k), Row(ONE, key_square * -1), Row(query_square * -1, ONE)]


def _by_class(
    low: Lowering,
    split: Seq,
    other: Seq,
    classes: dict,
    tables: list[dict],
    split_is_query: bool,
    values: Any,
) -> Rows:
    """sum over classes of [v in class] * table(class): the split side has an indicator for each
    class.
    """
    rows: Rows = []
    for number, table in enumerate(tables):
        if not any(table.values()):
            continue
        indicator = _label(
            low,
            split,
            {v: Fraction(classes.get(v) == number) for v in values},
            f"{show(split)} in class {number}",
        )
        label = _label(low, other, table, f"{show(other)} fits class {number}")
        rows.append(Row(indicator, label) if split_is_query else Row(label, indicator))
    return rows


def _nested(low: Lowering, relation: Relation, ranks: dict, thresholds: dict, classes: int) -> Rows:
    """-e^(c (r(k) - t(q))): at most e^-c in size where r < t (selected), at least 1 where r >= t.
    14 classes a row.
    """
    rows: Rows = []
    for start in range(0, classes, low.target.classes):
        stop = min(start + low.target.classes, classes)
        middle = Fraction(stop - start, 2)

        def height(at: int, sign: int, start: int = start, middle: Fraction = middle) -> Fraction:
            return Fraction(exp(sign * low.target.sharp * float(at - start - middle)))

        key_side = {k: height(r, 1) if start <= r < stop else Fraction(0) for k, r in ranks.items()}
        query_side = {
            q: height(max(t, start), -1) if t < stop else Fraction(0) for q, t in thresholds.items()
        }
        k = _sharp(low, relation.key, key_side, "rank")
        q = _sharp(low, relation.query, query_side, "threshold")
        rows.append(Row(q * -1, k, 2 * exp(-low.target.sharp)))  # where r < t
    return rows


def _sharp(low: Lowering, node: Seq, table: dict, name: str) -> Line:
    """A label over many orders of magnitude: level around every value, so that errors of the node
    do not enter.

    It is made from numbers along which it rises or falls all the way, or else from its own order
    first: hinges that go
    up and down again would cancel and leave only rounding.
    """
    bases = low.values.bases[node]
    text = f"{name} of {show(node)}"
    if all(base.op == "tokens" for base in bases):
        label = _labelled(low, node, table.__getitem__, text)
        label.data.steep = True
        return low.form(label)
    if len(set(table.values())) == 1:
        return Line(bias=next(iter(table.values())))
    if len(bases) == 1 and bases[0] is not node:
        below = {low.code(row[0]): table[v] for row, v in low.values.table(node, bases)}
        if _monotone(below):
            return low.hinges(low.form(bases[0]), below, text, clear=True)
    values = {low.code(v): y for v, y in table.items()}
    if _monotone(values):
        return low.hinges(low.form(node), values, text, clear=True)
    order = {y: Fraction(n) for n, y in enumerate(sorted(set(table.values())))}
    line = low.form(_labelled(low, node, lambda v: order[table[v]], f"order of {show(node)}"))
    return low.hinges(line, {n: y for y, n in order.items()}, text, clear=True)


def _monotone(values: dict[Fraction, Fraction]) -> bool:
    heights = [values[x] for x in sorted(values)]
    return heights == sorted(heights) or heights == sorted(heights, reverse=True)


def _ordered(low: Lowering, relation: Relation) -> Rows:
    """An order between many numbers: ranks by sorting."""
    function = relation.function
    if not (low.values.numeric(relation.key) and low.values.numeric(relation.query)):
        raise Refused(f"{relation!r} orders values that are not all numbers")
    keys, queries = low.values.listed(relation.key), low.values.listed(relation.query)
    up = sorted(set(keys))  # type: ignore[type-var]
    if function in (LESS, LESS_EQUAL):
        cut = bisect_left if function is LESS else bisect_right
        ranks = {k: r for r, k in enumerate(up)}
        thresholds = {q: cut(up, q) for q in queries}  # type: ignore[type-var]
    else:
        cut = bisect_right if function is GREATER else bisect_left
        ranks = {k: len(up) - 1 - r for r, k in enumerate(up)}
        thresholds = {q: len(up) - cut(up, q) for q in queries}  # type: ignore[type-var]
    return _nested(low, relation, ranks, thresholds, len(up))
