"""What a machine with p significant bits makes of an exact result: binary32 (p = 24) or binary64.

Every function takes intervals that hold the operands and gives one that holds what any permitted
execution computes: sums in any order and tree, with or without fused multiply-add.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinyadder.verify.certify.check.curves import exp_point
from tinyadder.verify.certify.check.intervals import ZERO, Interval, add, need, size, wider
from tinyadder.verify.certify.check.units import ONE, F, mul

ULPS = {"exp": 4, "rsqrt": 4, "silu": 12}
"""Errors of these functions in units of 2^-p times the result, as assumed; `python -m
benchmarks.numerics` measures them."""


@dataclass(frozen=True)
class Rounding:
    """Arithmetic with p significant bits; results below `tiny` (in units of 2^-F) may become 0."""

    bits: int
    tiny: int
    largest: int
    """Sizes of sums above it (in units of 2^-F) are refused: nothing overflows."""

    def gamma(self, n: int) -> int:
        """n u / (1 - n u) for u = 2^-p: the relative error of n roundings in a row (Higham 2002,
        lemma 3.1).
        """
        return -(-(n << F) // ((1 << self.bits) - n)) if n else 0

    def spread(self, a: Interval, roundings: int) -> Interval:
        """`a` after so many relative errors of u in a row."""
        return wider(a, (self.gamma(roundings) * size(a) >> F) + 1 + roundings * self.tiny)

    def dot(self, terms: Sequence[tuple[Interval, Interval]]) -> Interval:
        """fl(sum of products): n terms, each rounded in its product and in at most n - 1 sums."""
        total, magnitude = ZERO, 0
        for weight, x in terms:
            product = mul(weight, x)
            total, magnitude = add(total, product), magnitude + size(product)
        need(magnitude < self.largest, "a number may overflow")
        return wider(total, self.sum_error(len(terms), magnitude))

    def sum_error(self, terms: int, magnitude: int) -> int:
        """The error of a sum of `terms` products whose sizes add up to `magnitude`."""
        return (self.gamma(terms) * magnitude >> F) + 1 + terms * self.tiny


ROUNDING = {
    "float32": Rounding(24, ONE >> 126, ONE << 100),
    "float64": Rounding(53, 1, ONE << 900),
}


def weight_of(score: Interval, top: int, rounding: Rounding) -> Interval:
    """SOFTMAX: what the exponential of a score can be, as a multiple of e^(top - M), M the largest
    score and `top` no smaller: e^(s - top), with the rounding of s - M and of exp.
    """
    low, high = score
    # |s - M| <= top - low + (how far the top may lie above M), which only widens
    far = top - low
    error = (rounding.gamma(1) * far >> F) + 1
    ulps = rounding.gamma(ULPS["exp"])
    below, above = exp_point(low - error - top), exp_point(high + error - top)
    smallest = (below[0] * (ONE - ulps) >> F) - rounding.tiny
    return max(0, smallest), -(-above[1] * (ONE + ulps) >> F) + rounding.tiny


def total(parts: Iterable[Interval]) -> Interval:
    """The exact sum."""
    low, high = 0, 0
    for a, b in parts:
        low, high = low + a, high + b
    return low, high
