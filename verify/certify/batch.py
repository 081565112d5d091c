"""Margins of many boxes at once, in ordinary floating point: the forms of `check.affine` and the
margin of `check.graph` on arrays. Only the search uses it; the checker judges what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import erfc, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinyadder.verify.certify.check.graph import OF_ARGUMENT, ULPS, Reading
from tinyadder.verify.certify.check.intervals import Interval
from tinyadder.verify.certify.check.units import ONE

FloatArray = NDArray[np.float64]
TAKEN_OUT = 2.0**20
"""A factor that all logits share is left out where it lies between this and its inverse."""


class BatchForm(NamedTuple):
    """c + sum slope_s d_s, off by at most e, met with [low, high]; n boxes each."""

    c: FloatArray
    e: FloatArray
    slopes: FloatArray | None
    """(symbols, n); None where the number depends on no symbol."""
    low: FloatArray
    high: FloatArray

    @property
    def size(self) -> FloatArray:
        return np.maximum(-self.low, self.high)


def point(low: FloatArray, high: FloatArray) -> BatchForm:
    return BatchForm((low + high) / 2, (high - low) / 2, None, low, high)


def floats(a: Interval) -> tuple[float, float]:
    return a[0] / ONE, a[1] / ONE


def times(a: BatchForm, b: BatchForm) -> tuple[FloatArray, FloatArray]:
    """The range of a product."""
    ends = (a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)
    return np.minimum.reduce(ends), np.maximum.reduce(ends)


# ---- functions of one variable -------------------------------------------------------------------


def sigmoid(x: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-x))


ERFC = np.frompyfunc(erfc, 1, 1)


def normal(x: FloatArray) -> FloatArray:
    """The share of the normal distribution below x."""
    return np.asarray(ERFC(-x / sqrt(2)), np.float64) / 2


def density(x: FloatArray) -> FloatArray:
    return np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def inner(x: FloatArray) -> FloatArray:
    return np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)


def gelu_tanh_slope(x: FloatArray) -> FloatArray:
    s = sigmoid(inner(x))
    return s + x * s * (1 - s) * np.sqrt(8 / np.pi) * (1 + 0.134145 * x * x)


class BatchCurve(NamedTuple):
    """Value, slope, the largest second derivative anywhere (or the ends of it on a range), and the
    place and size of the least value of a function that falls and rises.
    """

    value: Callable[[FloatArray], FloatArray]
    slope: Callable[[FloatArray], FloatArray]
    bend: float | Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
    least: tuple[float, float] | None = None
    falls: bool = False


CURVES = {
    "sqrt": BatchCurve(
        np.sqrt,
        lambda x: 0.5 / np.sqrt(x),
        lambda low, high: (-0.25 * low**-1.5, -0.25 * high**-1.5),
    ),
    "rsqrt": BatchCurve(
        lambda x: 1 / np.sqrt(x),
        lambda x: -0.5 * x**-1.5,
        lambda low, high: (0.75 * high**-2.5, 0.75 * low**-2.5),
        falls=True,
    ),
    "reciprocal": BatchCurve(
        lambda x: 1 / x,
        lambda x: -1 / (x * x),
        lambda low, high: (2 * high**-3.0, 2 * low**-3.0),
        falls=True,
    ),
    "exp": BatchCurve(np.exp, np.exp, lambda low, high: (np.exp(low), np.exp(high))),
    "sigmoid": BatchCurve(sigmoid, lambda x: sigmoid(x) * sigmoid(-x), 0.0963),
    "tanh": BatchCurve(np.tanh, lambda x: 1 - np.tanh(x) ** 2, 0.7699),
    "silu": BatchCurve(
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
        0.5,
        (-1.2784645, -0.27847),
    ),
    "gelu": BatchCurve(
        lambda x: x * normal(x),
        lambda x: normal(x) + x * density(x),
        0.7979,
        (-0.7517916, -0.16998),
    ),
    "gelu_tanh": BatchCurve(
        lambda x: x * sigmoid(inner(x)), gelu_tanh_slope, 0.81, (-0.7524614, -0.17005)
    ),
}


# ---- forms ---------------------------------------------------------------------------------------


class BatchReading:
    """Forms of the nodes of a pass over n boxes, for one token at the query."""

    def __init__(self, reading: Reading, low: FloatArray, high: FloatArray) -> None:
        """Sides of the boxes: (symbols, n)."""
        self.reading, self.n = reading, low.shape[1]
        bits = reading.rounding.bits
        self.unit = 2.0**-bits
        self.radii = (high - low) / 2
        self.known: dict[int, BatchForm] = {}
        for s, node in enumerate(reading.symbols):
            mean = reading.mean(node)
            assert mean is not None
            slopes = np.zeros_like(low)
            slopes[s] = 1
            error = np.full(self.n, mean.error / ONE)
            self.known[node] = self.made(
                (low[s] + high[s]) / 2, error, slopes, low[s] - error, high[s] + error
            )

    def gamma(self, n: int) -> float:
        return n * self.unit / (1 - n * self.unit)

    def constant(self, a: Interval) -> BatchForm:
        low, high = floats(a)
        return point(np.full(self.n, low), np.full(self.n, high))

    def made(
        self,
        c: FloatArray,
        e: FloatArray,
        slopes: FloatArray | None,
        low: FloatArray,
        high: FloatArray,
    ) -> BatchForm:
        if slopes is None:
            return BatchForm(c, e, None, np.maximum(c - e, low), np.minimum(c + e, high))
        away = (np.abs(slopes) * self.radii).sum(0) + e
        return BatchForm(c, e, slopes, np.maximum(c - away, low), np.minimum(c + away, high))

    def linear(
        self,
        terms: Sequence[tuple[float | FloatArray, BatchForm]],
        error: float | FloatArray,
        natural: tuple[FloatArray, FloatArray] | None = None,
    ) -> BatchForm:
        """sum w f, off by at most `error`."""
        c, e = np.zeros(self.n), np.zeros(self.n) + error
        low, high = -e, +e
        slopes: FloatArray | None = None
        for w, f in terms:
            c, e = c + w * f.c, e + np.abs(w) * f.e
            a, b = w * f.low, w * f.high
            low, high = low + np.minimum(a, b), high + np.maximum(a, b)
            if f.slopes is not None:
                slopes = w * f.slopes if slopes is None else slopes + w * f.slopes
        if natural is not None:
            low, high = np.maximum(low, natural[0]), np.minimum(high, natural[1])
        return self.made(c, e, slopes, low, high)

    def product(self, f: BatchForm, g: BatchForm) -> BatchForm:
        if f.slopes is None and np.array_equal(f.low, f.high):
            return self.linear([(f.c, g)], 0.0)
        if g.slopes is None and np.array_equal(g.low, g.high):
            return self.linear([(g.c, f)], 0.0)
        m, k = (f.low + f.high) / 2, (g.low + g.high) / 2
        rest = (f.high - f.low) * (g.high - g.low) / 4
        return self.linear([(m, g), (k, f), (-1.0, point(m * k, m * k))], rest, times(f, g))

    def square(self, f: BatchForm) -> BatchForm:
        m = (f.low + f.high) / 2
        half = (f.high - f.low) ** 2 / 8
        shift = half - m * m
        least = np.where((f.low <= 0) & (f.high >= 0), 0.0, np.minimum(f.low**2, f.high**2))
        natural = least, np.maximum(f.low**2, f.high**2)
        return self.linear([(2 * m, f), (1.0, point(shift, shift))], half, natural)

    def curve(self, f: BatchForm, name: str) -> BatchForm:
        if name == "relu":
            return self.relu(f)
        curve = CURVES[name]
        low, high = (f.high, f.low) if curve.falls else (f.low, f.high)
        ends = curve.value(low), curve.value(high)
        natural = np.minimum(*ends), np.maximum(*ends)
        if curve.least is not None:
            at, least = curve.least
            natural = np.where((f.low < at) & (f.high > at), least, natural[0]), natural[1]
        if f.slopes is None:
            return point(*natural)
        m, away = (f.low + f.high) / 2, (f.high - f.low) / 2
        value, slope = curve.value(m), curve.slope(m)
        if isinstance(curve.bend, float):
            least_bend, most_bend = np.full(self.n, -curve.bend), np.full(self.n, curve.bend)
        else:
            least_bend, most_bend = curve.bend(f.low, f.high)
        squared = away * away / 2
        a, b = np.minimum(0, least_bend * squared), np.maximum(0, most_bend * squared)
        known = value - slope * m + (a + b) / 2
        return self.linear([(slope, f), (1.0, point(known, known))], (b - a) / 2, natural)

    def relu(self, f: BatchForm) -> BatchForm:
        spans = (f.low < 0) & (f.high > 0)
        chord = np.where(spans, f.high / np.where(spans, f.high - f.low, 1), f.low >= 0)
        gap = np.where(spans, -chord * f.low, 0.0)
        natural = np.maximum(0, f.low), np.maximum(0, f.high)
        return self.linear([(chord, f), (1.0, point(gap / 2, gap / 2))], gap / 2, natural)

    def rounded(self, f: BatchForm, roundings: int, more: float | FloatArray = 0.0) -> BatchForm:
        error = self.gamma(roundings) * f.size + more
        return self.made(f.c, f.e + error, f.slopes, f.low - error, f.high + error)

    def computed(self, op: str, x: list[BatchForm]) -> BatchForm:
        """One operation, rounded."""
        if op in ("add", "sub"):
            return self.rounded(
                self.linear([(1.0, x[0]), (1.0 if op == "add" else -1.0, x[1])], 0.0), 1
            )
        if op == "neg":
            return self.linear([(-1.0, x[0])], 0.0)
        if op == "abs":
            inside = (x[0].low <= 0) & (x[0].high >= 0)
            ends = np.abs(x[0].low), np.abs(x[0].high)
            return point(np.where(inside, 0.0, np.minimum(*ends)), np.maximum(*ends))
        if op == "mul":
            return self.rounded(self.product(*x), 1)
        if op == "div":
            if x[1].slopes is None and np.array_equal(x[1].low, x[1].high):
                return self.rounded(self.linear([(1 / x[1].c, x[0])], 0.0), 1)
            return self.rounded(self.product(x[0], self.curve(x[1], "reciprocal")), 1)
        if op == "square":
            return self.rounded(self.square(x[0]), 1)
        if op in ("sum", "dot"):
            k = len(x) if op == "sum" else len(x) // 2
            terms: list[tuple[float | FloatArray, BatchForm]] = []
            magnitude = np.zeros(self.n)
            for n in range(k):
                f = x[n]
                if op == "sum":
                    terms.append((1.0, f))
                    magnitude = magnitude + f.size
                    continue
                g = x[n + k]
                magnitude = magnitude + f.size * g.size
                terms.append((1.0, self.product(f, g)))
            return self.linear(terms, self.gamma(k) * magnitude)
        found = self.curve(x[0], op)
        if op in OF_ARGUMENT:
            return self.rounded(found, 1, self.gamma(OF_ARGUMENT[op]) * x[0].size)
        return self.rounded(found, ULPS[op])

    def form(self, a: int) -> BatchForm:
        """The form of a node."""
        reading = self.reading
        if a < 0:
            return self.constant(reading.constant(a))
        if a not in self.known:
            if reading.local(a):
                self.known[a] = self.constant(reading.local_value(a))
            else:
                op, given = reading.nodes[a]
                if op == "mul" and given[0] == given[1]:
                    op, given = "square", given[:1]
                self.known[a] = self.computed(op, [self.form(b) for b in given])
        return self.known[a]

    def margins(self, right: str, which: NDArray[np.int64]) -> FloatArray:
        """The least lead of the right logit over each of these boxes, see `Reading.margin`."""
        count = len(which)
        some = BatchReading.__new__(BatchReading)  # the forms of these boxes only
        some.n, some.radii = count, self.radii[:, which]
        least = np.full(count, np.inf)
        forms: dict[int, BatchForm] = {}

        def form(a: int) -> BatchForm:
            if a not in forms:
                f = self.form(a)
                slopes = None if f.slopes is None else f.slopes[:, which]
                forms[a] = BatchForm(f.c[which], f.e[which], slopes, f.low[which], f.high[which])
            return forms[a]

        for other in self.reading.outputs:
            if other == right:
                continue
            weights, sizes, roundings, common, _ = self.reading.difference(right, other)
            known = None if common is None else form(common[1])
            bare = np.zeros(count, dtype=bool)
            if known is not None:
                bare = (known.low >= 1 / TAKEN_OUT) & (known.high <= TAKEN_OUT)
            for taken in (True, False):
                if not (bare == taken).any():
                    continue
                terms: list[tuple[float | FloatArray, BatchForm]] = []
                error = np.zeros(count)
                gamma = self.gamma(roundings + taken)
                for node, w in weights.items():
                    x = form(self.reading.rest(node, common) if taken and common else node)
                    low, high = floats(w)
                    terms.append(((low + high) / 2, x))
                    error = error + ((high - low) / 2 + gamma * sizes[node] / ONE) * x.size
                lead = some.linear(terms, error).low
                least = np.where(bare == taken, np.minimum(least, lead), least)
        return least
