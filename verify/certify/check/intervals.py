"""Arithmetic the checker trusts: intervals (low, high) of integers in units of 2^-F; every
operation rounds outward.

What is said of the model's own arithmetic is IEEE binary64 under `NUMERICS`; u = 2^-53.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import gcd, inf
from typing import Any

Interval = tuple[int, int]
Range = tuple[float, float]
"""What is claimed of a number: ends are integers, or infinite."""
EVERYTHING: Range = (-inf, inf)
F = 900
"""Below 1000: a nonzero point is a normal float64, and no operation loses a whole unit to
underflow.
"""
ONE = 1 << F
ZERO = (0, 0)
NUMERICS = {
    "arithmetic": "IEEE binary64, round to nearest; products, sums, quotients correctly rounded",
    "sums": (
        "in any order and tree, with or without fused multiply-add: inner products with bias,"
        " and the residual stream with all head values or all hidden units added to it"
    ),
    "readout": (
        "unembedding, then tied embedding rows, then wiring are added up first, in this order"
    ),
    "exp": "|fl(exp x) - exp x| <= 2^-51 exp x; exp(-inf) = 0",
    "underflow": "gradual or flushed to zero",
    "overflow": "none, checked by magnitudes",
    "programs": (
        "torch eager (whole texts, cached, batched), torch.compile, ONNX, explorer page,"
        " submission, hub class"
    ),
    "outside": (
        "float32, TF32, float64 products emulated from narrower ones, Strassen-like products"
    ),
}


class Rejected(Exception):
    """The certificate does not prove the claim; the text says where."""


def need(fact: bool, otherwise: str) -> None:
    """Every condition of a proof goes through here."""
    if not fact:
        raise Rejected(otherwise)


@lru_cache(1 << 16)
def exact(value: float) -> Interval:
    """A float64 as a point; between two units where it has digits below 2^-F."""
    n, d = value.as_integer_ratio()
    return (n << F) // d, -((-n << F) // d)


def add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def neg(a: Interval) -> Interval:
    return -a[1], -a[0]


def mul(a: Interval, b: Interval) -> Interval:
    """The extreme products are products of ends; two of them where `a` is a point, or no factor is
    negative.
    """
    if b[0] == b[1]:
        a, b = b, a
    if a == ZERO or b == ZERO:
        return ZERO
    if a[0] >= 0 <= b[0]:
        low, high = a[0] * b[0], a[1] * b[1]
    elif a[0] == a[1]:
        low, high = (a[0] * b[0], a[0] * b[1]) if a[0] > 0 else (a[0] * b[1], a[0] * b[0])
    else:
        ends = [x * y for x in a for y in b]
        low, high = min(ends), max(ends)
    return low >> F, -(-high >> F)


def over(a: Interval, b: Interval) -> Interval:
    """a / b for b > 0."""
    need(b[0] > 0, "a divisor may be zero")
    return (a[0] << F) // b[1 if a[0] >= 0 else 0], -((-a[1] << F) // b[0 if a[1] >= 0 else 1])


def size(a: Interval) -> int:
    """The largest absolute value."""
    return max(-a[0], a[1])


def wider(a: Interval, radius: int) -> Interval:
    return a[0] - radius, a[1] + radius


def join(intervals: Iterable[Interval]) -> Interval:
    """The smallest interval around all of them."""
    lows, highs = zip(*intervals, strict=True)
    return min(lows), max(highs)


def meet(a: Range, b: Range) -> Any:
    """What lies in both."""
    return max(a[0], b[0]), min(a[1], b[1])


# ---- what binary64 makes of an exact result ------------------------------------------------------

UNIT = ONE >> 53
"""Relative error of one correctly rounded operation."""
EXP = ONE >> 51
"""Relative error of one exp."""


def spread(a: Interval, relative: int) -> Interval:
    """a (1 + t) for |t| <= relative."""
    return mul(a, (ONE - relative, ONE + relative))


def gamma(n: int) -> int:
    """n u / (1 - n u), rounded up: the relative error of n roundings in a row (Higham 2002, lemma
    3.1).
    """
    return -(-(n << F) // ((1 << 53) - n)) if n else 0


def once(a: Interval) -> Interval:
    """One correctly rounded operation; the unit more is what underflow can take away."""
    return wider(spread(a, UNIT), 1)


def nearest(a: Interval) -> Interval:
    """One correctly rounded operation: the nearest float64 where the exact result is known."""
    return exact(a[0] / ONE) if a[0] == a[1] else once(a)


def rounding(terms: int, unrounded: bool, magnitude: int) -> int:
    """Error of a sum of products whose absolute values sum up to `magnitude`; `unrounded`: products
    with powers of two.

    Each term passes at most terms - 1 additions and its product (Higham 2002, section 3.1), in any
    order, FMA or not.
    """
    return -(-gamma(terms - unrounded) * magnitude >> F) + terms if terms else 0


def rounded_sum(products: Sequence[Interval], unrounded: bool) -> Interval:
    """fl of a sum of products. Where all are known it is exact if they lie on one grid and need
    less than 2^53 steps; a single product, or the sum of two float64, is the nearest.
    """
    products = [p for p in products if p != ZERO]
    total = sum(low for low, _ in products), sum(high for _, high in products)
    magnitude = sum(map(size, products))
    if all(low == high for low, high in products):
        grid = gcd(*(low for low, _ in products))
        if magnitude < (grid & -grid) << 53 or not products:
            return total
        if len(products) == 1 or (len(products) == 2 and all(nearest(p) == p for p in products)):
            return nearest(total)
    return wider(total, rounding(len(products), unrounded, magnitude))


def exp_of(x: int) -> Interval:
    """exp of x <= 0 units, to within two of them: the series at x / 2^m, |x / 2^m| < 2^-16, squared
    m times.

    In units of 2^-(F + 64) the < 100 operations of the series lose a unit each, and each squaring
    (m < 32) doubles what was lost and loses one: below 2^40 altogether.
    """
    need(x <= 0, "an exponent is positive")
    if x < -F << F:
        return 0, 1  # e^-F < 2^-F
    m = max(0, x.bit_length() - F + 16)
    one, r = 1 << (F + 64), (x << 64) >> m
    term, total, n = one, one, 1
    while term not in (0, -1):
        term = term * r // (n * one)
        total, n = total + term, n + 1
    for _ in range(m):
        total = total * total >> (F + 64)
    return (total >> 64) - 1, (total >> 64) + 2


@lru_cache(1 << 16)
def exp(a: Interval) -> Interval:
    """What the model computes as exp of a number in `a`."""
    return wider(spread((exp_of(a[0])[0], exp_of(a[1])[1]), EXP), 1)
