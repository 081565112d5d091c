"""A binary number (or one of any base below 10) written in decimal. 42 weights, 44 with the slopes.

Two slopes, one for each base: behind '^' the weight of a digit falls by the base of the question,
behind '=' by ten. The decimal digits written so far are subtracted, and the next one is floor(rest
/ place), as in `add10`: a change of base without any division. Positions: '^' at 0, digit p at 1+p,
'=' at digits+1.
"""

from fractions import Fraction

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.lang.gadgets import place_value_head, sum_head
from tinyadder.tasks.conversion import Conversion

LARGEST = 10**12
"""Numbers below this are exact in float64, with room to spare (2^44 still was, where it was
tried).
"""


def construct(*, digits: int = 20, radix: int = 2) -> Construction:
    """Exact while radix^digits <= 10^12: up to 39 bits. Raises `TinyadderError` beyond."""
    task = Conversion(digits=digits, radix=radix)
    if radix**digits > LARGEST:
        raise TinyadderError(
            f"binary_to_decimal with {digits} digits in base {radix}: float64 keeps it exact while"
            " radix^digits <= 1e12"
        )
    g = digits + 1
    # an exact remainder lands above its boundary, by less than one unit
    heavy = 1 + 0.25 / float(radix) ** digits
    # place of s_0, in places of digit 0
    first = radix * 10.0 ** (task.answer_length - 1) / float(radix) ** digits
    x = Stream(
        digit="the digit",
        asked="flag that opens the number in base `radix`, and ends it at '='",
        answered="flag that opens the decimal answer",
        weight=(
            "place of the digit: radix^-p / radix in the question, minus the place of digit p in"
            " the answer"
        ),
        product="digit * weight",
        rest="what is left of the number",
    )
    asked = {"^": heavy, "=": -heavy * float(radix) ** -g}
    answered = {"=": -first * 10 / radix}
    d = np.arange(10)
    place = place_value_head(x.asked, base=radix)
    answer = place_value_head(x.answered, base=10)
    program = Program(
        task.vocabulary,
        x,
        Embed(
            digit={str(i): i for i in d},
            asked=asked,
            answered=answered,
        ),
        Attention(weight=place + answer),
        MLP(product=relu(x.digit) * x.weight),
        Attention(rest=sum_head(x.product)),
        Unembed(argmax=10 * d * x.rest + d * (d + 1) / 2 * x.weight),
    )

    return Construction(program, task, _claims(task, asked, answered, heavy))


def _claims(
    task: Conversion, asked: dict[str, float], answered: dict[str, float], heavy: float
) -> dict[str, LaneClaim]:
    """Place weights everywhere, and what is left from '=' on; the number counts a little more than
    its value.
    """
    radix, g, whole = task.radix, task.digits + 1, task.radix**task.digits
    digit = token_claim(task, DIGIT_VALUES)

    def weight(problem: tuple[int, ...], i: int) -> Fraction:
        behind = 10 ** (task.answer_length - (i - g))  # the place of s_0 at the query behind '='
        return Fraction(heavy) / radix**i if i < g else -Fraction(behind, whole)

    def rest(problem: tuple[int, ...], i: int) -> Fraction | None:
        left = task.left(problem, i)
        return None if left is None else (left + Fraction(problem[0], 4 * whole)) / whole

    return {
        "digit": digit,
        "asked": token_claim(task, asked),
        "answered": token_claim(task, answered),
        "weight": weight,
        "product": lambda problem, i: digit(problem, i) * weight(problem, i),
        "rest": rest,
    }
