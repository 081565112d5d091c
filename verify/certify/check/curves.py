"""Enclosures of smooth functions in units of 2^-F, from the exponential, integer roots and series.

A function of one variable is enclosed on an interval by its values at the ends where it is
monotone, and by its extreme value where that lies inside. No rounding of the model is in here.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from tinyadder.verify.certify.check.intervals import ONE, F, Interval, need, over

FINE = 320
"""Bits of the exponential: ample for e^-64 beside roundings of 2^-53."""
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
    """exp of x <= 0 units: the series at x / 2^m, squared m times, with FINE bits.

    x / 2^m is below 2^-16, so that fewer than 30 terms lose a unit each; each of at most 25
    squarings doubles what was lost and loses one more: below 2^40 units in all.
    """
    need(x <= 0, "an exponent is positive")
    if x < -FINE << F:
        return 0, ONE >> FINE
    m = max(0, x.bit_length() - F + 16)
    one, r = 1 << FINE, x >> (F - FINE + m)
    term, total, n = one, one, 1
    while term not in (0, -1):
        term = term * r // (n * one)
        total, n = total + term, n + 1
    for _ in range(m):
        total = total * total >> FINE
    slack = 1 << 40
    return max(0, total - slack) << (F - FINE), (total + slack) << (F - FINE)


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
    low, high = sigmoid_point(x)
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
    """cos and sin of position * base^(-pair / pairs), by their series around zero."""
    angle = over((position << F, position << F), root(base**pair, pairs))
    middle, radius = (angle[0] + angle[1]) // 2, angle[1] - angle[0] + 1
    one, x = 1 << (F + 64), middle << 64
    cos, sin, term, n = 0, 0, one, 0
    while term not in (0, -1):
        if n % 2:
            sin += term if n % 4 == 1 else -term
        else:
            cos += term if n % 4 == 0 else -term
        n += 1
        term = term * x // (n * one)
    # below 2^9 terms for positions below 100; each loses a unit of 2^-(F + 64) times at most e^100
    need(position < 100, "a position is beyond what this checker turns")
    slack = radius + (1 << 100)
    return ((cos >> 64) - slack, (cos >> 64) + slack), ((sin >> 64) - slack, (sin >> 64) + slack)
