"""The readable adder: 40 weights and a slope, two layers; the next digit is the floor of what is
left of the sum.

Every digit is weighed by its place value, with a plus sign in the operands and a minus sign in the
answer written so far, so the weighed sum is the remainder R of a + b; the next digit is floor(R /
place). Carries never propagate.

Positions: '^' at 0, digit p of a at 1+p, '+' at g = digits+1, digit p of b at g+1+p, '=' at 2g. The
ALiBi slope ln 10 makes the attention to a flag fall by 10 with every token, so in layer 0 digit p
of a reads '^' as 10^-p * flag / 10. Scores near -40 keep the denominator of softmax1 at 1 +
1e-17: attention is then a plain weighted sum.
"""

from fractions import Fraction
from math import exp, log

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

LARGEST = 13
"""With 14 digits half a unit of the last place is below the rounding of the sum in float64."""


def construct(*, digits: int = 10) -> Construction:
    """Exact for 1 to 13 digits. Raises `TinyadderError` beyond."""
    if not 1 <= digits <= LARGEST:
        raise TinyadderError(
            f"add10 with {digits} digits: float64 keeps it exact for 1 .. {LARGEST} digits"
        )
    x = Stream(
        digit="the digit; half a unit of the last place on '+'",
        flag="1 on '^' and '+', -10 on '='",
        weight=(
            "place value: 10^-p / 10 in both operands, -10 * 10^-k at the query for answer digit k"
        ),
        product="digit * weight",
        rest="10^-k times what is left of a + b, in units of digit k",
    )
    d = np.arange(10)
    gain = exp(40)
    program = Program(
        "0123456789=^$+",
        x,
        Embed(
            digit={**{str(i): i for i in d}, "+": 0.5 * 10.0**-digits},
            flag={"^": 1, "+": 1, "=": -10},
        ),
        Attention(weight=Head(query=1, key=-40, value=gain * x.flag, slope=log(10))),
        MLP(product=relu(x.digit) * x.weight),
        Attention(rest=Head(query=1, key=-40, value=gain * x.product)),
        Unembed(argmax=10 * d * x.rest + d * (d + 1) / 2 * x.weight),
    )
    return Construction(program, Addition(digits=digits), _claims(digits))


def _claims(digits: int) -> dict[str, LaneClaim]:
    """What the lanes mean, as rationals; what they hold besides (the shadow of '^' in b, 10^-g of
    it) is left out.
    """
    task, g, unit = Addition(digits=digits), digits + 1, Fraction(1, 10**digits)

    digit = token_claim(task, {**DIGIT_VALUES, "+": unit / 2})

    def weight(problem: tuple[int, int], i: int) -> Fraction:
        return (
            -Fraction(10, 10 ** (i - 2 * g))
            if i >= 2 * g
            else Fraction(1, 10 ** (i if i < g else i - g))
        )

    def rest(problem: tuple[int, int], i: int) -> Fraction | None:
        if i < 2 * g:
            return None  # the operands are still being read
        k = i - 2 * g
        place = 10 ** (g - k)  # the unit of the digits written so far
        return (sum(problem) - sum(problem) // place * place + Fraction(1, 2)) * unit

    return {
        "digit": digit,
        "flag": token_claim(task, {"^": 1, "+": 1, "=": -10}),
        "weight": weight,
        "product": lambda problem, i: digit(problem, i) * weight(problem, i),
        "rest": rest,
    }
