"""Subtraction a - b with a >= b: `add10` with a minus sign on the second flag. 39 weights, 40 with
the slope.

The weighed sum of a with +, b with - and the answer so far with - is what is left of a - b; the
next digit is floor(rest / place). Positions as in addition: '^' at 0, '-' at g = digits+1, '=' at
2g.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.lang.gadgets import place_value_head, sum_head
from tinyadder.tasks.scaling import Scaling
from tinyadder.tasks.subtraction import Subtraction

LARGEST = 12
"""With 14 digits the rounding of the sum reaches the boundary of a digit (measured)."""


def construct(*, digits: int = 10) -> Construction:
    """Exact for 1 to 12 digits. Raises `TinyadderError` beyond."""
    if not 1 <= digits <= LARGEST:
        raise TinyadderError(
            f"subtract with {digits} digits: float64 keeps it exact for 1 .. {LARGEST} digits"
        )
    task = Subtraction(digits=digits)
    shadow = 10.0 ** -(digits + 1)  # what a flag still weighs one group later
    # a counts a little more, so that an exact remainder is above its boundary
    heavy = 1 + 0.5 * 10.0**-digits
    x = Stream(
        digit="the digit",
        flag="weight of the group that the token opens",
        weight=(
            "10^-p / 10 in a, -10^-p / 10 in b and in the answer; -10^-k at the query for answer"
            " digit k"
        ),
        product="digit * weight",
        rest="what is left of a - b, tenths of the first digit's place",
    )
    flags = {"^": heavy, "-": -1 - heavy * shadow, "=": -1 + shadow}
    d = np.arange(10)
    program = Program(
        "0123456789=^$-",
        x,
        Embed(
            digit={str(i): i for i in d},
            flag=flags,
        ),
        Attention(weight=place_value_head(x.flag, base=10)),
        MLP(product=relu(x.digit) * x.weight),
        Attention(rest=sum_head(x.product)),
        Unembed(argmax=10 * d * x.rest + d * (d + 1) / 2 * x.weight),
    )

    return Construction(program, task, _claims(task, flags, heavy))


def _claims(task: Subtraction, flags: dict[str, float], heavy: float) -> dict[str, LaneClaim]:
    """Place weights: plus in a, minus in b and in the answer; a counts a little more than its
    value.
    """
    g = task.digits + 1

    def weight(problem: tuple[int, ...], i: int) -> Fraction:
        return (
            Fraction(heavy) / 10**i
            if i < g
            else -Fraction(1, 10 ** (i - g if i < 2 * g else i - 2 * g))
        )

    return remainder_claims(task, flags, weight)


def remainder_claims(
    task: Subtraction | Scaling,
    flags: dict[str, float],
    weight: Callable[[tuple[int, ...], int], Fraction],
) -> dict[str, LaneClaim]:
    """What is left from '=' on, and a / 2 in units of 10^-digits for the first number a: what
    `heavy` adds to it.
    """
    n, digit = task.digits, token_claim(task, DIGIT_VALUES)

    def rest(problem: tuple[int, ...], i: int) -> Fraction | None:
        left = task.left(problem, i)
        return None if left is None else (left + Fraction(problem[0], 2 * 10**n)) / 10**n

    return {
        "digit": digit,
        "flag": token_claim(task, flags),
        "weight": weight,
        "product": lambda problem, i: digit(problem, i) * weight(problem, i),
        "rest": rest,
    }
