"""The needle corpus: the published adder with another gain, and what is true of each: `python -m
benchmarks.needles`.

The last layer of `add10_gist` compares candidate digits by costs 100 V |miss|, V = 10^4 as
published. Its readout mixes other columns in, which a large enough V outweighs. So right and wrong
lie as close together as one likes.

Three thresholds of V, each by arithmetic that knows nothing of prover and checker:

- `exact_margins`: in real arithmetic, the smallest logit difference over all 10^20 runs, as a line
  in V.
- `rounding`: an a-priori bound of what rounding can add to a logit difference (running error
  analysis, Higham 2002, section 3.3). Where it is below the smallest margin of its position, every
  permitted execution is right.
- `hostile_margin`: an execution the numerics permit, with sums in the worst of many orders and
  every exponential off by 2^-51 to the bad side. Where its margin is negative, Proved would be
  false.
"""

from __future__ import annotations

import functools
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from flint import arb, ctx

from tinyadder.construction import construct
from tinyadder.io.folder import save
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition
from tinyadder.verify.certify.network import read_network
from tinyadder.verify.certify.prove import certify, prove
from tinyadder.verify.certify.spec import Specification, specifications
from tinyadder.verify.exact import ExactTransformer
from tinyadder.verify.verdict import Proved, Refuted, Unknown

NAME, TASK = "add10_gist", Addition(digits=10)
CORPUS: dict[float, str] = {
    1e4: "refuted",
    9e6: "refuted",
    9.5e6: "refuted",
    9.59e6: "refuted",
    9.5968e6: "not proved",
    9.598e6: "not proved",
    9.61e6: "proved",
    1e7: "proved",
    1e10: "proved",
}
"""What must come out at each gain."""
BITS = 256
LOW = 5
"""The first of the ten columns that hold the misses."""
U, EXP = 2.0**-53, 2.0**-51
"""Unit roundoff of binary64, and the relative error of an exponential that the numerics permit."""
SAFETY = 1 + 2.0**-20
ORDERS = 60
"""Random orders of a sum from which a hostile execution chooses."""


def published(gain: float) -> Transformer:
    """The published adder with gain `gain` in place of 10^4."""
    model = build(construct(NAME).program)
    with torch.no_grad():
        gate = model.get_parameter("blocks.1.mlp.gate")
        gate.copy_(gate.sign() * gain)
    return model


def judged(gain: float) -> Proved | Refuted | Unknown:
    """The verdict on that model; Proved is the checker's."""
    with tempfile.TemporaryDirectory() as folder:
        model = published(gain)
        save(model, TASK, folder, name=NAME, options={}, force=True)
        return certify(model, TASK, Path(folder)).verdict


# ---- real arithmetic -----------------------------------------------------------------------------


class Line(NamedTuple):
    """In real arithmetic the logit of the right token exceeds that of `other` by slope * V +
    offset, slope > 0.
    """

    slope: arb
    offset: arb
    text: str
    """The run where it is smallest, up to the right token."""
    right: str
    other: str

    @property
    def threshold(self) -> arb:
        """Right for V above it, wrong below."""
        return -self.offset / self.slope


def exact_margins() -> list[Line]:
    """For every position, token there, right next token and other digit: the run of the smallest
    margin, for any V.

    The decision hangs on z, the output of the last head: candidate c has the readout x_c + z + 100
    V |m_c + z|, where x and m depend on position and token only. The difference of two candidates
    is monotone in z, as |m + z| - |m' + z| is, so it is smallest at the smallest or the largest z
    of the runs that are left: a shortest path over the carries.
    """
    with ctx.workprec(BITS):
        model, (spec,) = published(1.0), specifications(TASK)
        exact = ExactTransformer(model)
        digit = [name for name, width in model.config.lanes for _ in range(width)].index("digit")
        reads = [
            getattr(model.get_submodule("blocks.0.attention"), rows)
            for rows in ("query", "key", "value")
        ]
        assert not any(rows[..., digit].any() for rows in reads), (
            "the first layer attends to the signs only"
        )
        embedded = dict(zip(TASK.vocabulary, exact.embedding, strict=True))
        heads, units = exact.blocks[0]
        assert heads and units
        attended = heads(
            [embedded[t] for t in "^0000000000+0000000000=" + "0" * (spec.length - spec.start)]
        )
        found = []
        streams: list[dict[str, list[arb]]] = []
        for i in range(spec.length - 1):
            middles = {t: _plus(embedded[t], attended[i]) for t in spec.tokens[i]}
            streams.append({t: _plus(middle, units(middle)) for t, middle in middles.items()})
        terms = [{t: 100 * x[-1] + 15 for t, x in row.items()} for row in streams]
        for i in range(spec.start - 1, spec.length - 1):
            for own, right, sign in product(spec.tokens[i], spec.tokens[i + 1], (1, -1)):
                run = _smallest(spec, terms, sign, i, own, right)
                if run is None:
                    continue
                z, text = sign * run[0] / (i + 2), run[1]
                x, m = streams[i][own], streams[i][own][LOW:]
                slopes = [100 * abs(m[c] + z) for c in range(10)]
                for other in "0123456789".replace(right, ""):
                    d, c = int(right), int(other)
                    found.append(
                        Line(slopes[c] - slopes[d], x[c] - x[d], text[: i + 2], right, other)
                    )
        assert all(line.slope > 0 for line in found)
        return found


def _plus(a: Sequence[arb], b: Sequence[arb]) -> list[arb]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _smallest(
    spec: Specification, terms: Sequence[dict[str, arb]], sign: int, i: int, own: str, right: str
) -> tuple[arb, str] | None:
    """The least sign * (sum of terms up to i) over the runs with these tokens at i and i + 1, and a
    run that has it.
    """
    reached: dict[int, tuple[arb, dict[int, str]]] = {0: (arb(0), {})}
    fixed = {i: own, i + 1: right}
    for stage in spec.stages:
        p, after = stage.position, dict[int, tuple[arb, dict[int, str]]]()
        for src, dst, token in stage.edges:
            if src in reached and fixed.get(p, token) == token:
                cost = reached[src][0] + (sign * terms[p][token] if p <= i else 0)
                if dst not in after or cost < after[dst][0]:
                    after[dst] = cost, {**reached[src][1], p: token}
        reached = after
    if not reached:
        return None
    cost, read = min(reached.values(), key=lambda found: float(found[0].mid()))
    return cost, "".join(token for _, token in sorted(read.items()))


def smallest_margins(lines: Sequence[Line], gain: float) -> dict[int, float]:
    """Of every position, the smallest exact margin at this gain over all runs."""
    found: dict[int, float] = {}
    for line in lines:
        i = len(line.text) - 2
        found[i] = min(found.get(i, math.inf), float((line.slope * gain + line.offset).mid()))
    return found


# ---- what rounding can add -----------------------------------------------------------------------


class Rounded(NamedTuple):
    """A number of the floating-point program: |x| <= size, and at most `error` from its value in
    real arithmetic.
    """

    size: float
    error: float = 0.0

    def __mul__(self, other: Rounded) -> Rounded:  # type: ignore[override]
        size = self.size * other.size
        return Rounded(size, self.error * other.size + self.size * other.error + U * size)


def summed(terms: Sequence[Rounded]) -> Rounded:
    """A sum in any order: n - 1 roundings of at most the sum of the sizes."""
    size = sum(term.size for term in terms)
    return Rounded(size, sum(term.error for term in terms) + (len(terms) - 1) * U * size)


def attention(
    scores: Sequence[float], doubts: Sequence[float], values: Sequence[Rounded]
) -> Rounded:
    """sum_j e^s_j v_j / (1 + sum_j e^s_j) for scores <= 0 that are off by at most `doubts`."""
    relative = [math.expm1(doubt) + EXP for doubt in doubts]
    weights = [math.exp(s) for s in scores]
    bottom = 1 + sum(weights)
    doubt = (EXP + sum(r * w for r, w in zip(relative, weights, strict=True))) / bottom + len(
        scores
    ) * U
    shares = [
        Rounded(w / bottom, (r + doubt + U) * w / bottom)
        for w, r in zip(weights, relative, strict=True)
    ]
    terms = [share * value for share, value in zip(shares, values, strict=True) if value.size]
    return summed(terms)


def rounding(gain: float) -> dict[int, float]:
    """Of every position that decides: how far rounding can move the difference of two logits, for
    any run.

    First-order running error analysis in floats; `SAFETY` covers its second-order terms and its own
    rounding.
    """
    model, (spec,) = published(gain), specifications(TASK)
    net = read_network(model)
    slope, exp40 = float(net.layers[0].slopes[0]), float(net.layers[0].value[0, 0, 1])
    ten = Rounded(abs(float(net.layers[0].value[0, 0, 0])))
    # at '^', '+' and '='
    sign = {0: Rounded(exp40), 11: Rounded(exp40), 22: summed([Rounded(exp40), ten])}
    places, terms = [], []
    for j in range(spec.length - 1):
        far = [slope * (j - k) for k in range(j + 1)]
        base = [40.0 if k in sign else 1000.0 for k in range(j + 1)]
        scores = [-b - f for b, f in zip(base, far, strict=True)]
        doubts = [U * f + U * (b + f) for b, f in zip(base, far, strict=True)]
        places.append(attention(scores, doubts, [sign.get(k, Rounded(0)) for k in range(j + 1)]))
        largest = max((int(t) for t in spec.tokens[j] if t.isdigit()), default=0)
        term = Rounded(10.0 * largest) * (Rounded(1e10) * places[j])
        terms.append(summed([Rounded(100) * term, Rounded(15)]))
    found = {}
    for i in range(spec.start - 1, spec.length - 1):
        even = [0.0] * (i + 1)
        turn = attention(even, even, [Rounded(float(k == 22)) for k in range(i + 1)])
        z = attention(even, even, terms[: i + 1])
        miss = summed([turn * (Rounded(9.5e12) * places[i]), z])
        cost = Rounded(100) * (Rounded(gain) * miss)
        column = summed([Rounded(90), z])  # eq, mark, digit, place or turn, and z
        logits = [summed([kept, cost]) for kept in (miss, column)]
        found[i] = 2 * max(logit.error for logit in logits) * SAFETY
    return found


# ---- an execution as bad as the numerics permit --------------------------------------------------


def hostile_margin(gain: float, text: str, right: str, other: str, seed: int = 0) -> float:
    """The margin of `right`, the smaller digit, over `other` after `text`, in an execution leaned
    against it.

    Leaned: z and m are wanted large. Exponentials are off by 2^-51 to that side; of many orders of
    a sum the one that ends farthest on that side is taken.
    """
    network, random, i = read_network(published(gain)), Random(seed), len(text) - 1
    first = network.layers[0].arrays
    slope = float(first["slopes"][0])
    marks = [k for k, t in enumerate(text) if t in "^+="]
    eq = text.index("=")

    def total(terms: Sequence[float], lean: float) -> float:
        """Any order is permitted."""
        orders = [
            sorted(terms),
            sorted(terms, key=abs),
            *(random.sample(terms, len(terms)) for _ in range(ORDERS)),
        ]
        return max(
            (functools.reduce(float.__add__, order) for order in orders),
            key=lambda found: lean * found,
        )

    def e(x: float, lean: float) -> float:
        found = math.exp(x)
        return found * (1 + math.copysign(EXP * 0.9, lean))

    values = {
        k: float(first["value"][0, 0, 1]) + (float(first["value"][0, 0, 0]) if k == eq else 0)
        for k in marks
    }

    def place(j: int) -> float:
        """Of digit j: as large as can be."""
        near = [k for k in marks if k <= j]
        weights = {k: e(slope * (k - j) - 40, values[k]) for k in near}
        lean = -1.0 if j < eq else 1.0
        bottom = total([e(0.0, lean), *weights.values()], lean)
        return total([weights[k] / bottom * values[k] for k in near], 1)

    term = [10.0 * int(t) * (1e10 * place(j)) if t.isdigit() else 0.0 for j, t in enumerate(text)]
    value = [100 * x + 15 for x in term]
    mean = sum(value) / (i + 2)
    weights = [e(0.0, v - mean) for v in value]
    bottom = total([e(0.0, -1), *weights], -1)
    z = total([w / bottom * v for w, v in zip(weights, value, strict=True)], 1)
    turn = e(0.0, -1) / total([e(0.0, 1)] * (i + 2), 1)
    wide = {c: turn * ((c + 0.5) * 1e12 * place(i)) + z for c in range(10)}
    # 5 and above: their columns still hold the misses of candidates five below
    d, c = int(right), int(other)
    logit = {k: -(wide[k - 5] + gain * abs(wide[k]) * 100) for k in (d, c)}
    return logit[d] - logit[c]


# ---- the command ---------------------------------------------------------------------------------


def highest(holds: Callable[[float], bool], low: float, high: float, width: float = 10.0) -> float:
    """By bisection: a gain where `holds`, less than `width` below one where it does not; at `low`
    it must hold.
    """
    while high - low >= width:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def main() -> int:
    """The thresholds, then the verdict at every gain of the corpus; 1 where one differs from its
    truth.
    """
    torch.set_num_threads(1)
    lines = exact_margins()
    worst = max(lines, key=lambda line: float(line.threshold.mid()))
    exact = float(worst.threshold.mid())
    print(
        f"real arithmetic: right on all runs for V > {exact:.3f}; the last wrong run:"
        f" {worst.text[:-1]}({worst.right})"
    )

    def fails(gain: float) -> bool:
        return (
            min(
                hostile_margin(gain, worst.text[:-1], worst.right, worst.other, seed)
                for seed in range(4)
            )
            < 0
        )

    def drowned(gain: float) -> bool:
        margins, error = smallest_margins(lines, gain), rounding(gain)
        return any(margins[i] <= error[i] for i in margins)

    def unproved(gain: float) -> bool:
        return prove(published(gain), TASK).certificate is None

    print(f"a permitted execution is wrong at V = {highest(fails, exact - 5000, 1e7):.0f}")
    print(
        "rounding can not outweigh the exact margins from V ="
        f" {highest(drowned, exact, 1e7) + 10:.0f} on"
    )
    print(f"the prover has a certificate from V = {highest(unproved, exact, 1e7) + 10:.0f} on")
    wrong = 0
    for gain, truth in CORPUS.items():
        verdict = judged(gain)
        good = (
            not isinstance(verdict, Proved)
            if truth == "not proved"
            else type(verdict).__name__.lower() == truth
        )
        wrong += not good
        print(
            f"{gain:<10g} {'ok   ' if good else 'WRONG'} expected {truth:10}  {verdict}", flush=True
        )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
