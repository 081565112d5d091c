"""Enclosures of smooth functions in units of 2^-F, from the exponential, integer roots and series.

A function of one variable is enclosed on an interval by its values at the ends where it is
monotone, and by its extreme value where that lies inside. No rounding of the model is in here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

from tinyadder.verify.certify.check.intervals import Interval, add, need, neg
from tinyadder.verify.certify.check.units import ONE, F, mul, over

KEEP = 160
"""Arguments of curves are cut to 2^-KEEP, outwards: finer ones make exp slow and nothing sharper.
"""


def inverse_root(a: Interval) -> Interval:
    """1 / sqrt(x) for x > 0, falling."""
    need(a[0] > 0, "a norm may divide by zero")
    # sqrt(x 2^F) in units is sqrt of the value in units
    high, low = isqrt(a[0] << F), isqrt(a[1] << F) + 1
    return (ONE << F) // low, -((-ONE << F) // high)


@lru_cache(1 << 14)
def _exp_down(x: int) -> Interval:
    """exp of x <= 0 units: the series at x / 2^m, squared m times.

    x / 2^m is below 2^-16, so that fewer than 30 terms lose a unit each; each of at most 25
    squarings doubles what was lost and loses one more: below 2^40 units in all.
    """
    need(x <= 0, "an exponent is positive")
    if x < -F << F:
        return 0, 1
    m = max(0, x.bit_length() - F + 16)
    one, r = ONE, x >> m
    term, total, n = one, one, 1
    while term not in (0, -1):
        term = term * r // (n * one)
        total, n = total + term, n + 1
    for _ in range(m):
        total = total * total >> F
    slack = 1 << 40
    return max(0, total - slack), total + slack


def exp_point(x: int) -> Interval:
    """exp of x units, of either sign."""
    if x <= 0:
        return _exp_down(x)
    need(x < ONE << 6, "an exponent is too large")
    low, high = _exp_down(-x)
    return (ONE << F) // high, -((-ONE << F) // low)


def cut(a: Interval) -> Interval:
    """A slightly wider interval with short ends."""
    grid = F - KEEP
    return a[0] >> grid << grid, -(-a[1] >> grid << grid)


def sigmoid_point(x: int) -> Interval:
    """1 / (1 + e^-x)."""
    low, high = exp_point(-x)
    return over((ONE, ONE), (ONE + low, ONE + high))


LEAST_SILU = -12785 * ONE // 10000, -12784 * ONE // 10000
"""silu falls up to a point in here and rises from it on: silu'(x) = s(x) (1 + x (1 - s(x))) changes
its sign once, and is negative at -1.2785 and positive at -1.2784 (a test checks both)."""
SILU_FLOOR = -27847 * ONE // 100000
"""Below the least value of silu, -0.278464..."""


def silu(a: Interval) -> Interval:
    """x / (1 + e^-x) on an interval."""
    low, high = cut(a)
    ends = [silu_point(x) for x in (low, high)]
    below = min(e[0] for e in ends)
    if low < LEAST_SILU[1] and high > LEAST_SILU[0]:
        below = SILU_FLOOR
    return below, max(e[1] for e in ends)


@lru_cache(1 << 14)
def silu_point(x: int) -> Interval:
    low, high = sigmoid_near(x)
    return (low * x >> F, -(-high * x >> F)) if x >= 0 else (high * x >> F, -(-low * x >> F))


def root(value: int, degree: int) -> Interval:
    """The `degree`-th root of a whole number, in units: by bisection on whole numbers."""
    target, low, high = value << (F * degree), 0, (value + 1) << F
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**degree <= target else (low, middle)
    return low, low + 1


@lru_cache(1 << 12)
def turn(position: int, pair: int, pairs: int, base: int) -> tuple[Interval, Interval]:
    """cos and sin of position * base^(-pair / pairs)."""
    return cos_sin(over((position << F, position << F), root(base**pair, pairs)))


def cos_sin(angle: Interval) -> tuple[Interval, Interval]:
    """cos and sin of an angle below 100 in size, by their series around zero."""
    middle, radius = (angle[0] + angle[1]) // 2, angle[1] - angle[0] + 1
    need(abs(middle) < 100 * ONE, "an angle is beyond what this checker turns")
    one, x = 1 << (F + 64), middle << 64
    cos, sin, term, n = 0, 0, one, 0
    while term not in (0, -1):
        if n % 2:
            sin += term if n % 4 == 1 else -term
        else:
            cos += term if n % 4 == 0 else -term
        n += 1
        term = term * x // (n * one)
    # below 2^9 terms for angles below 100; each loses a unit of 2^-(F + 64) times at most e^100
    slack = radius + (1 << 100)
    return ((cos >> 64) - slack, (cos >> 64) + slack), ((sin >> 64) - slack, (sin >> 64) + slack)


# ---- curves with their first and second derivatives ----------------------------------------------


@dataclass(frozen=True)
class Curve:
    """A function of one variable: its values on an interval, its slope at a point, and an interval
    around its second derivative on an interval.
    """

    enclose: Callable[[Interval], Interval]
    slope: Callable[[int], Interval]
    bend: Callable[[Interval], Interval]


def rising(value: Callable[[int], Interval]) -> Callable[[Interval], Interval]:
    """Values on an interval, of a rising function known at points."""

    def enclose(a: Interval) -> Interval:
        low, high = cut(a)
        return value(low)[0], value(high)[1]

    return enclose


def within(bound: float) -> Callable[[Interval], Interval]:
    """|g''| <= bound everywhere."""
    most = int(bound * 10**6) * ONE // 10**6 + 1
    return lambda _: (-most, most)


def square_root(a: Interval) -> Interval:
    """sqrt(x) for x >= 0, rising."""
    need(a[0] >= 0, "a root of a negative number")
    return isqrt(a[0] << F), isqrt(a[1] << F) + 1


def reciprocal(a: Interval) -> Interval:
    return over((ONE, ONE), a)


def times(*factors: Interval) -> Interval:
    found = (ONE, ONE)
    for factor in factors:
        found = mul(found, factor)
    return found


def number(numerator: int, denominator: int = 1) -> Interval:
    """A fraction."""
    return (numerator << F) // denominator, -((-numerator << F) // denominator)


def sigmoid_slope(x: int) -> Interval:
    s = sigmoid_point(x)
    return mul(s, (ONE - s[1], ONE - s[0]))


def silu_slope(x: int) -> Interval:
    """s (1 + x (1 - s))."""
    s = sigmoid_point(x)
    return mul(s, add((ONE, ONE), mul((x, x), (ONE - s[1], ONE - s[0]))))


def tanh_point(x: int) -> Interval:
    """2 / (1 + e^-2x) - 1."""
    s = sigmoid_point(2 * x)
    return 2 * s[0] - ONE, 2 * s[1] - ONE


def tanh_slope(x: int) -> Interval:
    t = tanh_point(x)
    return add((ONE, ONE), neg(mul(t, t)))


@lru_cache(1)
def pi() -> Interval:
    """16 arctan(1/5) - 4 arctan(1/239), by series that alternate."""

    def arctan(n: int) -> Interval:
        low, term, k, sign = 0, (ONE << 64) // n, 0, 1
        while term:
            low += sign * (term // (2 * k + 1))
            term, k, sign = term // (n * n), k + 1, -sign
        return (low >> 64) - 1, (low >> 64) + 2  # below 2^10 terms lose a unit of 2^-(F + 64) each

    a, b = arctan(5), arctan(239)
    return 16 * a[0] - 4 * b[1], 16 * a[1] - 4 * b[0]


FAR = 12 * ONE
"""Below -12 the normal distribution holds less than 2^-100."""


def density(x: int) -> Interval:
    """e^(-x^2 / 2) / sqrt(2 pi)."""
    squared = x * x >> (F + 1)
    e = exp_point(-squared - 1)[0], exp_point(-squared)[1]
    return mul(e, root_of_two_pi())


@lru_cache(1)
def root_of_two_pi() -> Interval:
    """1 / sqrt(2 pi)."""
    return inverse_root((2 * pi()[0], 2 * pi()[1]))


@lru_cache(1 << 14)
def normal(x: int) -> Interval:
    """1/2 + (x - x^3/6 + x^5/40 - ..) / sqrt(2 pi), the share of the normal distribution below x.

    With |x| <= 12 the terms (x^2/2)^n x / (n! (2 n + 1)) stay below 2^108, and below a unit of
    2^-F from the 2^11th on; each is off by less than n units relative to such a size.
    """
    if x > FAR:
        low, high = normal(-x)
        return ONE - high, ONE - low
    if x < -FAR:
        return 0, ONE >> 100
    half, power, total, n = x * x >> (F + 1), x, 0, 0
    while power not in (0, -1):
        total += power // (2 * n + 1)
        n += 1
        power = -(power * half >> F) // n
    slack = 1 << 140
    part = mul((total - slack, total + slack), root_of_two_pi())
    return max(0, (ONE >> 1) + part[0]), min(ONE, (ONE >> 1) + part[1])


def gelu_point(x: int) -> Interval:
    """x times the normal distribution below x."""
    return mul((x, x), normal(x))


def gelu_slope(x: int) -> Interval:
    return add(normal(x), mul((x, x), density(x)))


def inner(x: int) -> Interval:
    """sqrt(8 / pi) (x + 0.044715 x^3): the formula with tanh is x sigmoid(inner)."""
    cube = times((x, x), (x, x), (x, x), number(44715, 10**6))
    root = square_root(over((8 * ONE, 8 * ONE), pi()))
    return mul(root, add((x, x), cube))


@lru_cache(1 << 14)
def gelu_tanh_point(x: int) -> Interval:
    low, high = (end >> (F - KEEP) << (F - KEEP) for end in inner(x))
    step = 1 << (F - KEEP)
    s = sigmoid_near(low)[0], sigmoid_near(high + step)[1]
    return mul((x, x), s)


def sigmoid_near(x: int) -> Interval:
    """sigmoid, also where its exponential is too large."""
    if x < -(63 << F):
        return 0, ONE >> 80
    if x > 63 << F:
        return ONE - (ONE >> 80), ONE
    return sigmoid_point(x)


def gelu_tanh_slope(x: int) -> Interval:
    """s + x s (1 - s) inner'(x)."""
    low, high = inner(x)
    s = sigmoid_near(low)[0], sigmoid_near(high)[1]
    root = square_root(over((8 * ONE, 8 * ONE), pi()))
    rise = mul(root, add((ONE, ONE), times((x, x), (x, x), number(134145, 10**6))))
    return add(s, times((x, x), s, (ONE - s[1], ONE - s[0]), rise))


def dipping(
    value: Callable[[int], Interval], least: tuple[int, int], floor: int
) -> Callable[[Interval], Interval]:
    """Values of a function that falls up to a point between `least` (in units of 10^-4), rises
    from it on, and is nowhere below `floor` (in units of 10^-5).
    """
    left, right = (end * ONE // 10**4 for end in least)

    def enclose(a: Interval) -> Interval:
        low, high = cut(a)
        ends = [value(low), value(high)]
        below = min(end[0] for end in ends)
        if low < right and high > left:
            below = floor * ONE // 10**5
        return below, max(end[1] for end in ends)

    return enclose


def root_bend(a: Interval) -> Interval:
    """-1/4 x^(-3/2), rising to 0."""
    r = inverse_root(a)
    return neg(times(number(1, 4), r, r, r))


def inverse_root_bend(a: Interval) -> Interval:
    """3/4 x^(-5/2)."""
    r = inverse_root(a)
    return times(number(3, 4), r, r, r, r, r)


def reciprocal_bend(a: Interval) -> Interval:
    """2 / x^3."""
    r = reciprocal(a)
    return times(number(2), r, r, r)


CURVES = {
    "sqrt": Curve(square_root, lambda x: mul(number(1, 2), inverse_root((x, x))), root_bend),
    "rsqrt": Curve(
        inverse_root,
        lambda x: neg(mul(number(1, 2), times(*[inverse_root((x, x))] * 3))),
        inverse_root_bend,
    ),
    "reciprocal": Curve(
        reciprocal, lambda x: neg(times(*[reciprocal((x, x))] * 2)), reciprocal_bend
    ),
    "exp": Curve(rising(exp_point), exp_point, rising(exp_point)),
    "sigmoid": Curve(rising(sigmoid_near), sigmoid_slope, within(0.0963)),
    "tanh": Curve(rising(tanh_point), tanh_slope, within(0.7699)),
    "silu": Curve(silu, silu_slope, within(0.5)),
    "gelu": Curve(dipping(gelu_point, (-7518, -7517), -16998), gelu_slope, within(0.7979)),
    "gelu_tanh": Curve(
        dipping(gelu_tanh_point, (-7525, -7524), -17005), gelu_tanh_slope, within(0.81)
    ),
    "relu": Curve(lambda a: (max(0, a[0]), max(0, a[1])), lambda x: (0, ONE), within(0.0)),
}
"""Each is used only with two derivatives, but for relu, which has a chord instead. The bounds of
second derivatives, the turning points and the least values are tested on fine grids."""
