"""Intervals (low, high) of integers in units of 2^-F, for trained models: their weights span fewer
sizes than those that are built, so that F is smaller than in `intervals`.

Exponentials below 2^-F and what underflow takes count as a unit.
"""

from __future__ import annotations

from functools import lru_cache

from tinyadder.verify.certify.check.intervals import Interval, need

F = 320
"""Ample for e^-64 beside roundings of 2^-53."""
ONE = 1 << F


@lru_cache(1 << 16)
def exact(value: float) -> Interval:
    """A float64 as a point; between two units where it has digits below 2^-F."""
    n, d = value.as_integer_ratio()
    return (n << F) // d, -((-n << F) // d)


def mul(a: Interval, b: Interval) -> Interval:
    """The extreme products, by the signs of the factors."""
    (low, high), (least, most) = a, b
    if low >= 0:
        x, y = (low if least >= 0 else high) * least, (high if most >= 0 else low) * most
    elif high <= 0:
        x, y = (low if most >= 0 else high) * most, (high if least >= 0 else low) * least
    elif least >= 0:
        x, y = low * most, high * most
    elif most <= 0:
        x, y = high * least, low * least
    else:
        x, y = min(low * most, high * least), max(low * least, high * most)
    return x >> F, -(-y >> F)


def over(a: Interval, b: Interval) -> Interval:
    """a / b for b > 0."""
    need(b[0] > 0, "a divisor may be zero")
    return (a[0] << F) // b[1 if a[0] >= 0 else 0], -((-a[1] << F) // b[0 if a[1] >= 0 else 1])
