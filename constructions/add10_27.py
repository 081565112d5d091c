"""27 weights another way: `add10_28` with one weight less in the readout; no convention counts
more.

As in `add10_28`, the weight of digit p falls by r0 = 10^-6.5 a token in layer 0, and layer 1
multiplies by r1 = 10^-5.5 a token of distance, which leaves 10^-p. New is the lane `part`: it holds
the flags, receives the place weight w from layer 0, and from the MLP -w d / 4.5. So a digit counts
as w (1 - d/4.5): digits balanced about 4.5. Summed over a group whose answer is still being
written, the 1 is a geometric series that leaves the shift -5 places behind:

    X = R - 5 place
    argmax of d X + d(9-d)/2 place is floor(R / place), and d(9-d)/2 vanishes for 0 and for 9.

What the series leaves besides is constant, and is cancelled by the flags, which stand in the same
lane: their size against what they spread is free, and is set by the value weight `spread` of layer
0.

`wired=True` is contested, and shows what free wiring can hide: 22 weights, 24 with the slopes, but
65 with the wiring. Ten lanes are the logits. Layer 1 sends X, 2X, 4X and 8X into them, layer 0
sends 3w, 4w and 6w, each to the lanes where the binary digits of d, or 4 = 4, 7 = 3+4, 9 = 3+6, 10
= 4+6, want them: the table of the readout is in the wires.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from math import log
from operator import add

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import (
    MLP,
    Attention,
    Embed,
    Head,
    Outputs,
    Program,
    Stream,
    Unembed,
    concat,
    relu,
    stack,
)
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

FALL, HOLD = 6.5, 5.5
"""Decades per token in layer 0 and layer 1; their difference is one decimal place."""
MIDDLE = 4.5
"""About which digits are balanced; the shift is 10/9 of it."""
LARGEST = 12
"""With 13 digits the last place is below the rounding of the sum (measured)."""
SUMS = {0: (), 4: (1,), 7: (0, 1), 9: (0, 2), 10: (1, 2)}
"""d(9-d)/2 as a sum of numbers out of (3, 4, 6): which of them."""


def group_flags(digits: int, last: float) -> tuple[list[float], float]:
    """The flags of '^', '+', '=' and `spread`, for a place weight of -`last`/10 at the first answer
    digit.

    Layer 0 makes w_i = spread * sum of flag r0^(i - p) / Z_i over the flags at p <= i, with Z_i = 2
    + r0 + .. + r0^i; with Z = Z_infinity the flags are Z / spread times the sizes below. Layer 1
    sums w_j + flag_j with weight r1^-j: the first to a constant and a falling tail, which is the
    shift; the constant must be minus that of the flags, but for half a unit of the last place.
    """
    g = digits + 1
    r0, r1 = 10.0**-FALL, 10.0**-HOLD
    first = last * 10.0 ** (2 * g * HOLD) / 10
    second = first * 10.0 ** (-g * HOLD) * (1 - 10.0**-g)
    sizes = [first, second, -(last + second * r0**g + first * r0 ** (2 * g))]
    whole = 1 + 1 / (1 - r0)

    def weight(i: int) -> float:
        flags = sum(
            size * r0 ** (i - p) for size, p in zip(sizes, (0, g, 2 * g), strict=True) if p <= i
        )
        return flags * whole / (1 + sum(r0**j for j in range(i + 1)))

    # relative to position 2g; behind it w falls by r0/r1 = 1/10 a token, which sums to 10/9 of w at
    # '='
    spread_part = sum(r1 ** (2 * g - j) * weight(j) for j in range(2 * g)) + weight(2 * g) * 10 / 9
    flag_part = whole * sum(
        r1 ** (2 * g - p) * size for size, p in zip(sizes, (0, g, 2 * g), strict=True)
    )
    # weight of the last digit of a; a_0 has last/100, s_0 has last/10
    unit = last * 10.0**-digits / 10
    spread = flag_part / (-0.5 * unit / MIDDLE - spread_part)
    return [whole * size / spread for size in sizes], spread


def _wires(head: Head, rows: Sequence[int]) -> Outputs | None:
    """The sum of these value rows of a head."""
    return reduce(add, (head[row] for row in rows)) if rows else None


def construct(*, digits: int = 10, wired: bool = False) -> Construction:
    """Exact for 1 to 12 digits. Raises `TinyadderError` beyond."""
    if not 1 <= digits <= LARGEST:
        raise TinyadderError(
            f"add10_27 with {digits} digits: float64 keeps it exact for 1 .. {LARGEST} digits"
        )
    # lifts what layer 1 gathers above the digit that the query's own token leaves in the lane
    gain = 1e18
    # '=' so heavy that at the last digit the place still outweighs the parabola of the query's own
    # digit
    last = 45e14 * gain * 10.0 ** (FALL * digits)
    (first, second, answer), spread = group_flags(digits, last)
    flags = {"^": first, "+": second, "=": answer}
    x = Stream(
        digit="the digit; at the query what is left of a + b, less 5 places",
        place="d(d-9)/2 for the tied readout; after layer 0 the place weight w",
        part="flag; after layer 0 also w; after the MLP also -w d / 4.5",
        **({"logit": ("the wired readout", 10)} if wired else {}),
    )
    d = np.arange(10)
    denominator = 1 + 1 / (1 - 10.0**-HOLD)  # of softmax1 in layer 1
    parabola = 0.1 * gain / denominator * d * (d - 9) / 2
    if wired:
        place = Head(
            value=concat(*(k / 3 * spread * x.part for k in (3, 4, 6))), slope=FALL * log(10)
        )
        rest = Head(
            value=concat(*(15 * denominator * k * x.part for k in (1, 2, 4, 8))),
            slope=HOLD * log(10),
        )
        sums = [SUMS[i * (9 - i) // 2] for i in range(10)]
        readout = {"logit": stack(*(_wires(place, rows) for rows in sums))}
        gathered = {
            "logit": stack(*(_wires(rest, [bit for bit in range(4) if i >> bit & 1]) for i in d))
        }
    else:
        place = Head(value=spread * x.part, slope=FALL * log(10))
        readout = {}
        gathered = {"digit": Head(value=-MIDDLE * gain * x.part, slope=HOLD * log(10))}
    program = Program(
        "0123456789=^$+",
        x,
        Embed(
            digit={str(i): i for i in d[1:]},
            place={} if wired else {str(i): parabola[i] for i in d[1:-1]},
            part=flags,
        ),
        Attention(place=place[0], part=place[0], **readout),
        MLP(part=-1 / MIDDLE * relu(x.digit) * x.place),
        Attention(**gathered),
        Unembed(argmin=x.logit) if wired else Unembed(tied="0123456789"),
    )
    return Construction(program, Addition(digits=digits), _claims(digits, flags, last, gain, wired))


def _claims(
    digits: int, flags: dict[str, float], last: float, gain: float, wired: bool
) -> dict[str, LaneClaim]:
    """Place weights everywhere, and what is left of a + b at the queries; what a token carries
    itself is left out.
    """
    task, g = Addition(digits=digits), digits + 1
    r0, r1 = Fraction(10.0**-FALL), Fraction(10.0**-HOLD)
    z1 = 1 + 1 / (1 - r1)
    digit, flag = token_claim(task, DIGIT_VALUES), token_claim(task, flags)

    def place(problem: tuple[int, int], i: int) -> Fraction:
        if i >= 2 * g:
            return -Fraction(last) * r0 ** (i - 2 * g)
        first = Fraction(last) * r1 ** (-2 * g) / 10
        return first * r0**i if i < g else first * r1**g * r0 ** (i - g)

    def part(problem: tuple[int, int], i: int) -> Fraction:
        return flag(problem, i) + place(problem, i) * (1 - digit(problem, i) / Fraction(MIDDLE))

    def rest(problem: tuple[int, int], i: int) -> Fraction | None:
        """R - 5 places and half a unit, in places of the digit before the first one, times `last`
        and r1^k.
        """
        k = i - 2 * g
        if k < 0:
            return None  # the operands are still being read
        left = sum(problem) % 10 ** (g - k) - 5 * 10 ** (digits - k)
        return Fraction(last) * r1**k * (left + Fraction(1, 2)) / 10**g

    def gathered(problem: tuple[int, int], i: int) -> Fraction | None:
        found = rest(problem, i)
        return None if found is None else Fraction(gain) / z1 * found

    def logit(problem: tuple[int, int], i: int) -> list[Fraction] | None:
        found = rest(problem, i)
        if found is None:
            return None
        weight = place(problem, i) / 3
        return [d * (9 - d) // 2 * weight - 15 * d * found / Fraction(MIDDLE) for d in range(10)]

    if wired:
        return {"digit": digit, "place": place, "part": part, "logit": logit}
    return {"digit": gathered, "place": place, "part": part}
