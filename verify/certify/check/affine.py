"""What is known of a number that depends on a few symbols: an interval and a slope for each.

A symbol is a number of which an interval is known; d is how far it lies from the middle of it. A
form says: the number lies in c + sum slope_s d_s, and in r. All in units of 2^-F, outward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinyadder.verify.certify.check.curves import CURVES
from tinyadder.verify.certify.check.intervals import ZERO, Interval, add, need, size, wider
from tinyadder.verify.certify.check.units import ONE, F, mul, over

SHORT = 100
"""Bits of the point around which a curve is developed."""


class SymbolForm(NamedTuple):
    """c + sum slope_s d_s, met with r."""

    c: Interval
    slopes: dict[int, int]
    r: Interval


def point(value: Interval) -> SymbolForm:
    """A number that depends on no symbol."""
    return SymbolForm(value, {}, value)


class Symbols:
    """The radius of each symbol, and arithmetic on forms of them; nothing here rounds as a model
    does.
    """

    def __init__(self, radii: Sequence[int]) -> None:
        self.radii = radii

    def symbol(self, s: int, middle: int) -> SymbolForm:
        """The symbol itself."""
        return SymbolForm((middle, middle), {s: ONE}, wider((middle, middle), self.radii[s]))

    def made(self, c: Interval, slopes: dict[int, int], natural: Interval) -> SymbolForm:
        """LINEAR: both enclosures hold, so their meet does."""
        away = sum((abs(a) * self.radii[s] >> F) + 1 for s, a in slopes.items())
        r = max(c[0] - away, natural[0]), min(c[1] + away, natural[1])
        need(r[0] <= r[1], "two enclosures of one number do not meet")
        return SymbolForm(c, slopes, r)

    def linear(
        self,
        terms: Sequence[tuple[Interval, SymbolForm]],
        error: int,
        natural: Interval | None = None,
    ) -> SymbolForm:
        """sum w f, off by at most `error`: the middle of a weight scales the form, its radius and
        every cut-off unit count as error.
        """
        low, high, slopes, n = 0, 0, dict[int, int](), 0
        least, most = 0, 0
        for w, f in terms:
            if w == ZERO:
                continue
            m = (w[0] + w[1]) >> 1
            off = max(w[1] - m, m - w[0])
            error += (off * size(f.r) >> F) + 1 if off else 0
            a, b = mul((m, m), f.c)
            low, high = low + a, high + b
            a, b = mul(w, f.r)
            least, most = least + a, most + b
            for s, slope in f.slopes.items():
                slopes[s] = slopes.get(s, 0) + (m * slope >> F)
                n += 1 + (self.radii[s] >> F)
        c = low - error - n, high + error + n
        whole = least - error, most + error
        if natural is not None:
            whole = max(whole[0], natural[0]), min(whole[1], natural[1])
        return self.made(c, slopes, whole)

    def product(self, f: SymbolForm, g: SymbolForm) -> SymbolForm:
        """MUL: f g = m g + k f - m k + (f - m)(g - k), m and k in the middle of the ranges."""
        m, k = (sum(f.r) >> 1), (sum(g.r) >> 1)
        rest = (max(f.r[1] - m, m - f.r[0]) * max(g.r[1] - k, k - g.r[0]) >> F) + 1
        both = mul((m, m), (k, k))
        terms = [((m, m), g), ((k, k), f), ((-ONE, -ONE), point(both))]
        return self.linear(terms, rest, mul(f.r, g.r))

    def square(self, f: SymbolForm) -> SymbolForm:
        """MUL of a number with itself: m^2 + 2 m (f - m) + (f - m)^2, the last at least 0."""
        m = sum(f.r) >> 1
        away = max(f.r[1] - m, m - f.r[0])
        most = (away * away >> F) + 1
        half = (most + 1) >> 1
        own = mul((m, m), (m, m))
        terms = [((2 * m, 2 * m), f), ((ONE, ONE), point((half - own[1], half - own[0])))]
        ends = [abs(f.r[0]), abs(f.r[1])]
        least = 0 if f.r[0] <= 0 <= f.r[1] else min(ends)
        natural = (least * least >> F), -(-(max(ends) ** 2) >> F)
        return self.linear(terms, half, natural)

    def curve(self, f: SymbolForm, name: str) -> SymbolForm:
        """TAYLOR: g(x) = g(m) + g'(m) (x - m) + g''(y) (x - m)^2 / 2 for some y between them."""
        curve = CURVES[name]
        natural = curve.enclose(f.r)
        if not f.slopes:
            return point(natural)
        if name == "relu":
            return self.relu(f)
        m = sum(f.r) >> 1 >> (F - SHORT) << (F - SHORT)
        away = max(f.r[1] - m, m - f.r[0])
        value, slope = curve.enclose((m, m)), curve.slope(m)
        bend = curve.bend(f.r)
        squared = (away * away >> F) + 1
        rest = mul(bend, (0, squared))
        rest = (rest[0] >> 1) - 1, (rest[1] >> 1) + 1
        middle = (rest[0] + rest[1]) >> 1
        known = add(value, (middle, middle))
        known = add(known, mul(slope, (-m, -m)))
        error = max(rest[1] - middle, middle - rest[0])
        # the radius of g'(m) counts against x - m, not against x
        s = (slope[0] + slope[1]) >> 1
        error += (max(slope[1] - s, s - slope[0]) * (away + abs(m)) >> F) + 1
        terms = [((s, s), f), ((ONE, ONE), point(known))]
        return self.linear(terms, error, natural)

    def relu(self, f: SymbolForm) -> SymbolForm:
        """RELU: between 0 and a chord where the sign is open."""
        low, high = f.r
        if low >= 0:
            return f
        if high <= 0:
            return point(ZERO)
        chord = (high << F) // (high - low)
        gap = -(chord * low >> F) + 1
        terms = [((chord, chord), f), ((ONE, ONE), point((0, gap)))]
        return self.linear(terms, 1, (0, high))

    def quotient(self, f: SymbolForm, g: SymbolForm) -> SymbolForm:
        """f / g for g > 0."""
        need(g.r[0] > 0, "a divisor may be zero")
        if not g.slopes and g.r[0] == g.r[1]:
            return self.linear([(over((ONE, ONE), g.r), f)], 1, over(f.r, g.r))
        return self.product(f, self.curve(g, "reciprocal"))
