"""The smallest adder known before `add10_smallest`: 26 nonzero weights, 28 with its two slopes;
tied readout.

The remainder machine of `add10` without queries, keys or biases. Two slopes share the work: behind
a flag the weight of digit p falls by r0 = 10^-6.5 with every token (layer 0), and layer 1
multiplies by r1 = 10^-5.5 per token of distance, so that digit p weighs (r0/r1)^p = 10^-p. Decays
as steep as these keep the denominators of softmax1 constant: 2 + r0 in layer 0 (up to r0^i at
position i) and Z = 1 + 1/(1 - r1) in layer 1.

Positions: '^' at 0, digit p of a at 1+p, '+' at g = digits+1, digit p of b at g+1+p, '=' at 2g. The
query's own place lane falls like r0^k, as does what layer 1 gathers, so the tied rows (d, T_d) with
T_d = d(d+1)/2 weigh digit against place: argmax_d (d R - T_d place) = floor(R / place).
"""

from fractions import Fraction
from math import log

from tinyadder.construction import Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.lang.gadgets import floor_readout
from tinyadder.tasks.addition import Addition

LARGEST = 12
"""With 13 digits the last place is below the rounding of the sum (measured)."""


def construct(*, digits: int = 10) -> Construction:
    """Exact for 1 to 12 digits. Raises `TinyadderError` beyond."""
    if not 1 <= digits <= LARGEST:
        raise TinyadderError(
            f"add10_28 with {digits} digits: float64 keeps it exact for 1 .. {LARGEST} digits"
        )
    # decades per token in layer 0 and layer 1; their difference is one decimal place
    fall, hold = 6.5, 5.5
    g = digits + 1
    r0, r1 = 10.0**-fall, 10.0**-hold
    # a and b a little heavy: an exact remainder lands above its boundary, not on it
    nudge = 0.25 * 10.0**-digits
    # lifts what layer 1 gathers above the digits and products the query's own token leaves in the
    # lane
    gain = 1e18
    # '=' weighs the answer; so large that the last place outweighs T_d
    answer = 45e14 * gain * 10.0 ** (fall * digits)
    # '^', 2g tokens before '='; a_0 is worth a tenth of s_0
    first = answer * (1 + nudge) * 10.0 ** (2 * g * hold) / 10
    # '+', g tokens later; the rest of b's weight is the tail of a
    second = first * 10.0 ** (-g * hold) * (1 - 10.0**-g)
    x = Stream(
        digit=(
            "the digit; after the MLP the digit times its place; at the query what is left of a + b"
        ),
        place="d(d+1)/2 for the readout; after layer 0 the place weight",
        flag="size of '^', '+', '='",
    )
    flags = {"^": first, "+": second, "=": -(answer + second * r0**g + first * r0 ** (2 * g))}
    digit, place = floor_readout(0.1 * gain / (1 + 1 / (1 - r1)))
    program = Program(
        "0123456789=^$+",
        x,
        Embed(
            digit=digit,
            place=place,
            flag=flags,
        ),
        Attention(place=Head(value=x.flag, slope=fall * log(10))),
        MLP(digit=relu(x.digit) * x.place),
        Attention(digit=Head(value=gain * x.digit, slope=hold * log(10))),
        Unembed(tied="0123456789"),
    )
    sizes = [Fraction(size) for size in (r0, r1, first, answer, gain, nudge)]
    return Construction(program, Addition(digits=digits), _claims(digits, flags, *sizes))


def _claims(
    digits: int,
    flags: dict[str, float],
    r0: Fraction,
    r1: Fraction,
    first: Fraction,
    answer: Fraction,
    gain: Fraction,
    nudge: Fraction,
) -> dict[str, LaneClaim]:
    """Place weights everywhere, and what is left of a + b at the queries; what a token carries
    itself is left out.
    """
    task, g = Addition(digits=digits), digits + 1
    z0, z1 = 1 + 1 / (1 - r0), 1 + 1 / (1 - r1)

    def place(problem: tuple[int, int], i: int) -> Fraction:
        if i >= 2 * g:
            return -answer * r0 ** (i - 2 * g) / z0
        return first * r0**i / z0 if i < g else first * r1**g * r0 ** (i - g) / z0

    def digit(problem: tuple[int, int], i: int) -> Fraction | None:
        k = i - 2 * g
        if k < 0:
            return None  # the operands are still being read
        left = sum(problem) % 10 ** (g - k) + nudge * sum(problem)
        return gain / z1 * answer / z0 * r1**k * left / 10**g

    return {"digit": digit, "place": place, "flag": token_claim(task, flags)}
