"""Exact affine forms over lanes, and functions of them as hinges: the compiler's arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import pairwise, permutations, product
from math import gcd, lcm
from operator import mul
from typing import Any

Rational = Fraction | int
Points = Mapping[tuple[Rational, ...], Rational]
"""A function given by its values: arguments -> value. Whole numbers may be ints, whose hashes are
quicker; what is computed from them is exact."""


@dataclass(frozen=True)
class Line:
    """sum of weight * lane + bias, in exact numbers."""

    terms: tuple[tuple[str, Fraction], ...] = ()
    bias: Fraction = Fraction(0)

    @classmethod
    def of(cls, weights: Mapping[str, Fraction], bias: Fraction | int = 0) -> Line:
        return cls(
            tuple(sorted((lane, Fraction(w)) for lane, w in weights.items() if w)), Fraction(bias)
        )

    def __add__(self, other: Line | Fraction | int) -> Line:
        if not isinstance(other, Line):
            return Line(self.terms, self.bias + other)
        weights = dict(self.terms)
        for lane, weight in other.terms:
            weights[lane] = weights.get(lane, Fraction(0)) + weight
        return Line.of(weights, self.bias + other.bias)

    def __mul__(self, factor: Fraction | int) -> Line:
        return Line.of({lane: w * factor for lane, w in self.terms}, self.bias * factor)

    def __sub__(self, other: Line | Fraction | int) -> Line:
        return self + other * -1

    @property
    def price(self) -> int:
        """Nonzero weights."""
        return len(self.terms) + (self.bias != 0)


def solve(rows: Iterable[tuple[Sequence[Rational], Rational]], width: int) -> list[Fraction] | None:
    """The x with row . x = value for every row, free unknowns 0; None where the rows contradict
    one another. Elimination is in integers, and stops at the first contradiction.
    """
    kept: list[tuple[int, list[int]]] = []
    found: list[int] = []  # over a common denominator, once every unknown is known
    common = 1
    for coefficients, value in rows:
        row = _integers([*coefficients, value])
        if found:  # the rest is only checked
            if sum(map(mul, row, found)) != row[width] * common:
                return None
            continue
        for pivot, other in kept:
            if row[pivot]:
                here, there = row[pivot], other[pivot]
                row = [a * there - b * here for a, b in zip(row, other, strict=True)]
        first = next((i for i in range(width) if row[i]), None)
        if first is None:
            if row[width]:
                return None
            continue
        shared = gcd(*row)
        kept.append((first, [a // shared for a in row] if shared > 1 else row))
        if len(kept) == width:
            solution = _substituted(kept, width)
            common = lcm(*(x.denominator for x in solution))
            found = [int(x * common) for x in solution]
    return _substituted(kept, width)


def _integers(row: Sequence[Fraction | int]) -> list[int]:
    """The row times the common denominator of its numbers."""
    scale = lcm(*(a.denominator for a in row))
    if scale == 1:
        return [a.numerator for a in row]
    return [a.numerator * (scale // a.denominator) for a in row]


def _substituted(kept: Sequence[tuple[int, list[int]]], width: int) -> list[Fraction]:
    """The solution of eliminated rows: each holds its own pivot, none of those before it."""
    found = [Fraction(0)] * width
    for pivot, row in reversed(kept):
        rest = sum((row[i] * found[i] for i in range(width) if row[i] and i != pivot), Fraction(0))
        found[pivot] = (row[width] - rest) / row[pivot]
    return found


def fit_affine(pairs: Iterable[tuple[tuple[Rational, ...], Rational]]) -> list[Fraction] | None:
    """Weights and bias (last) of the affine function through all (arguments, value), where there
    is one.
    """
    pairs = list(pairs)
    one = Fraction(1)
    return solve((((*x, one), y) for x, y in pairs), len(pairs[0][0]) + 1)


def fit_line(xs: Sequence[Fraction], ys: Sequence[Fraction]) -> tuple[Fraction, Fraction] | None:
    """(slope, offset) of the line through all (x, y), where there is one that is not level."""
    other = next((n for n, x in enumerate(xs) if x != xs[0]), None)
    if other is None or ys[other] == ys[0]:
        return None
    slope = Fraction(ys[other] - ys[0]) / (xs[other] - xs[0])
    offset = ys[0] - slope * xs[0]
    if any(y != slope * x + offset for x, y in zip(xs, ys, strict=True)):
        return None
    return slope, offset


def fit_product(points: Points) -> tuple[int, list[Fraction], list[Fraction]] | None:
    """(which, A, B) with f = A(x) + x[which] * B(x without which), A and B affine with their bias
    last; or None.
    """
    width = len(next(iter(points)))
    for which in range(width):
        rest = [i for i in range(width) if i != which]
        rows = (([*x, Fraction(1), *(x[which] * x[i] for i in rest)], y) for x, y in points.items())
        found = solve(rows, width + 1 + len(rest))
        if found is not None:
            return which, found[: width + 1], [*found[width + 1 :], Fraction(0)]
    return None


@dataclass(frozen=True)
class Hinges:
    """slope * u + offset + sum of down * relu(sign * (u - knot)), as (sign, knot, down)."""

    slope: Fraction
    offset: Fraction
    hinges: tuple[tuple[int, Fraction, Fraction], ...]

    @property
    def steepest(self) -> Fraction:
        """The largest |slope| anywhere."""
        found, total = abs(self.slope), self.slope
        for sign, _, down in sorted(self.hinges, key=lambda h: h[1]):
            total += down if sign > 0 else 0
            found = max(found, abs(total))
        total = self.slope
        for sign, _, down in sorted(self.hinges, key=lambda h: -h[1]):
            total -= down if sign < 0 else 0
            found = max(found, abs(total))
        return found

    def at(self, u: Fraction) -> Fraction:
        return (
            self.slope * u
            + self.offset
            + sum(d * max(Fraction(0), s * (u - k)) for s, k, d in self.hinges)
        )


def interpolate(
    values: Mapping[Any, Rational], *, flat: bool = False, snap: bool = False
) -> Hinges:
    """Straight lines between the points: one hinge wherever the slope changes, none where it does
    not.

    `flat` continues both ends without slope, `snap` keeps the function level around every point
    (two hinges a step),
    so that a small error of the argument does not reach the value. The form is anchored at a level
    piece if there is
    one, so that the linear part costs nothing; at the lowest, so that large heights do not cancel.
    """
    knots = [(Fraction(x), Fraction(values[x])) for x in sorted(values)]
    if snap:
        level = []
        for (a, ya), (b, yb) in pairwise(knots):
            if ya != yb:
                level += [(a + (b - a) / 3, ya), (b - (b - a) / 3, yb)]
        knots = level or knots[:1]
    knots = [
        k
        for n, k in enumerate(knots)
        if n in (0, len(knots) - 1) or k[1] != knots[n - 1][1] or k[1] != knots[n + 1][1]
    ]
    slopes = [(yb - ya) / (b - a) for (a, ya), (b, yb) in pairwise(knots)]
    if not slopes:
        return Hinges(Fraction(0), knots[0][1], ())
    if flat or snap:
        slopes = [Fraction(0), *slopes, Fraction(0)]
        places = knots
    else:
        places = knots[1:-1]
    # piece n lies left of places[n]; the pivot piece is a level one, the one nearest to 0 if there
    # are several
    height = {
        n: (places[n] if n < len(places) else places[-1] if places else knots[0])
        for n in range(len(slopes))
    }
    level_pieces = [n for n, s in enumerate(slopes) if s == 0]
    pivot = min(level_pieces, key=lambda n: (abs(height[n][1]), n)) if level_pieces else 0
    anchor = height[pivot]
    hinges = [
        (1, places[n - 1][0], slopes[n] - slopes[n - 1]) for n in range(pivot + 1, len(slopes))
    ]
    hinges += [(-1, places[n][0], slopes[n + 1] - slopes[n]) for n in range(pivot)]
    kept = tuple((s, k, d) for s, k, d in hinges if d)
    return Hinges(slopes[pivot], anchor[1] - slopes[pivot] * anchor[0], kept)


@dataclass(frozen=True)
class Projection:
    """f(x) = weights . x + g(direction . x): what is left after an affine part is a function of
    one number.
    """

    weights: tuple[Fraction, ...]
    direction: tuple[Fraction, ...]
    rest: dict[Fraction, Fraction]
    hinges: Hinges

    @property
    def price(self) -> int:
        width = sum(d != 0 for d in self.direction)
        return sum(w != 0 for w in self.weights) + sum(
            1 + width + (k != 0) for _, k, _ in self.hinges.hinges
        )


def project(points: Points) -> Projection | None:
    """`projection` of the table; lanes of one kind have the same tables again and again."""
    return projection(tuple(points.items()))


@lru_cache(maxsize=64)
def projection(points: tuple[tuple[tuple, Fraction | int], ...]) -> Projection | None:
    """The cheapest way to write a function of several numbers as an affine part and a function of
    one direction.

    The search runs over integers: every argument in units of its grid from its least value, the
    values likewise.
    """
    rows, heights = zip(*points, strict=True)
    columns = [sorted(set(column)) for column in zip(*rows, strict=True)]
    steps = [spacing(column) or Fraction(1) for column in columns]
    scale = reduce(lcm, (y.denominator for y in heights), 1)
    units = [
        {v: int((v - column[0]) / step) for v in column}
        for column, step in zip(columns, steps, strict=True)
    ]
    xs = [tuple(map(dict.__getitem__, units, x)) for x in rows]
    ys = [int(y * scale) for y in heights]
    spans = [int((c[-1] - c[0]) / s) for c, s in zip(columns, steps, strict=True)]
    choices = [_slopes(xs, ys, i) if len(rows) <= 400 else [0] for i in range(len(columns))]
    best: tuple[int, tuple[int, ...], tuple[int, ...], dict[int, int]] | None = None
    for direction in _directions(spans, len(rows) <= 400):
        at = [sum(map(mul, direction, x)) for x in xs]
        for weights in product(*choices):
            if best is not None and sum(w != 0 for w in weights) >= best[0]:
                continue
            rest = _rest(xs, ys, at, weights)
            if rest is not None:
                price = sum(w != 0 for w in weights) + _bends(rest) * (
                    2 + sum(d != 0 for d in direction)
                )
                if best is None or price < best[0]:
                    best = price, weights, direction, rest
    if best is None:
        return None
    _, weights, direction, rest = best
    shift = sum(
        (Fraction(d) * c[0] / s for d, c, s in zip(direction, columns, steps, strict=True)),
        Fraction(0),
    )
    moved = sum(
        (Fraction(w) * c[0] / s for w, c, s in zip(weights, columns, steps, strict=True)),
        Fraction(0),
    )
    values = {u + shift: Fraction(y - moved) / scale for u, y in rest.items()}
    return Projection(
        tuple(Fraction(w) / s / scale for w, s in zip(weights, steps, strict=True)),
        tuple(Fraction(d) / s for d, s in zip(direction, steps, strict=True)),
        values,
        interpolate(values),
    )


def _directions(spans: Sequence[int], small: bool) -> list[tuple[int, ...]]:
    """Directions in which a table may be a function of one number: signed sums of grid steps,
    then mixed radix.
    """
    width = len(spans)
    found: list[tuple[int, ...]] = []
    if width <= 4 and small:
        found += [(1, *signs) for signs in product((1, -1), repeat=width - 1)]
    if width == 2 and small:
        found += [(1, 2), (2, 1), (1, -2), (2, -1)]
    orders = (
        permutations(range(width))
        if width <= 3 and small
        else [tuple(range(width)), tuple(range(width))[::-1]]
    )
    for order in orders:
        scale, weights = 1, [0] * width
        for i in order:
            weights[i] = scale
            scale *= spans[i] + 1
        found.append(tuple(weights))
    return list(dict.fromkeys(found))


def _bends(rest: Mapping[int, int]) -> int:
    """How often the slope changes."""
    us = sorted(rest)
    found = 0
    for a, b, c in zip(us, us[1:], us[2:], strict=False):
        found += (rest[b] - rest[a]) * (c - b) != (rest[c] - rest[b]) * (b - a)
    return found


def _rest(
    xs: Sequence[tuple[int, ...]], ys: Sequence[int], at: Sequence[int], weights: Sequence[int]
) -> dict[int, int] | None:
    found: dict[int, int] = {}
    plain = not any(weights)
    for x, y, u in zip(xs, ys, at, strict=True):
        left = y if plain else y - sum(map(mul, weights, x))
        if found.setdefault(u, left) != left:
            return None
    return found


def _slopes(xs: Sequence[tuple[int, ...]], ys: Sequence[int], which: int) -> list[int]:
    """0 and the commonest whole slopes of the function along one argument."""
    lines: dict[tuple, list[tuple[int, int]]] = {}
    for x, y in zip(xs, ys, strict=True):
        lines.setdefault((*x[:which], *x[which + 1 :]), []).append((x[which], y))
    counts: dict[int, int] = {}
    for line in lines.values():
        line.sort()
        for (a, ya), (b, yb) in pairwise(line):
            if (yb - ya) % (b - a) == 0:
                slope = (yb - ya) // (b - a)
                counts[slope] = counts.get(slope, 0) + 1
    common = sorted(counts, key=lambda s: -counts[s])[:2]
    return list(dict.fromkeys([0, *common]))


def relevant(points: Points) -> list[int]:
    """The arguments on which the function depends, one after another dropped where it does not
    need them.
    """
    kept = list(range(len(next(iter(points)))))
    for i in list(kept):
        trial = [k for k in kept if k != i]
        seen: dict[tuple, Rational] = {}
        if all(seen.setdefault(tuple(x[k] for k in trial), y) == y for x, y in points.items()):
            kept = trial
    return kept


def spacing(numbers: Sequence[Fraction | int]) -> Fraction:
    """The largest grid on which all differences of these numbers lie; 0 for a single one."""
    first = Fraction(numbers[0])
    steps = [abs(Fraction(n) - first) for n in numbers[1:] if n != first]
    if not steps:
        return Fraction(0)
    scale = reduce(lcm, (s.denominator for s in steps), 1)
    return Fraction(reduce(gcd, (int(s * scale) for s in steps)), scale)
