"""Multiplication, n by m digits: gather each factor as one number, multiply once. 54 weights, 55
with the slope.

Layer 0 gives every digit its place value, in a lane of its own for each number; layer 1 gathers a,
b and the answer so far; one hidden unit multiplies a by b. What is left of the product decides the
next digit, as in `add10`. Long multiplication with its columns and carries does not occur. Second
operand of one digit: `second=1`. Unless asked, 4 by 4 digits: the largest square whose problems can
all be tried (10^8); no automaton reads a product of two long numbers, whose columns are sums of up
to n terms, so that no larger one can be proved. Positions: '^' at 0, '*' at g = digits+1, '=' at g
+ second + 1.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, concat, relu
from tinyadder.errors import TinyadderError
from tinyadder.lang.gadgets import place_value_head, sum_head
from tinyadder.tasks.multiplication import Multiplication

LARGEST = 12
"""Digits of the product; with 14 the rounding of a * b reaches the boundary of a digit
(measured).
"""


def construct(*, digits: int = 4, second: int = 0) -> Construction:
    """Exact while the product has at most 12 digits. Raises `TinyadderError` beyond.

    `second` is the number of digits of b; 0 means as many as a has.
    """
    task = Multiplication(digits=digits, second=second)
    n, m = task.widths
    if n + m > LARGEST:
        raise TinyadderError(
            f"multiply with {n} by {m} digits: float64 keeps products of up to {LARGEST} digits"
            " exact"
        )
    # a counts a little more, so that an exact remainder is above its boundary
    heavy = 1 + 0.25 * 10.0 ** -(n + m)
    x = Stream(
        digit="the digit",
        opens_a="flag: a begins; minus its shadow where b begins",
        opens_b="flag: b begins; minus its shadow where the answer begins",
        opens_answer="flag: the answer begins",
        place_a="10^-p / 10 in a, 0 after it",
        place_b="10^-p / 10 in b, 0 elsewhere",
        place="-10^-p / 10 in the answer; -10^-k at the query for answer digit k",
        in_a="digit * place_a",
        in_b="digit * place_b",
        in_answer="digit * place",
        a="a / 10^n",
        b="b / 10^m",
        rest=(
            "minus the answer so far, then also a * b, in units of 10 places of the first answer"
            " digit"
        ),
    )
    opens: dict[str, dict[str, float]] = {
        "opens_a": {"^": heavy, "*": -heavy * 10.0 ** -(n + 1)},
        "opens_b": {"*": 1, "=": -(10.0 ** -(m + 1))},
        "opens_answer": {"=": -1},
    }
    d = np.arange(10)
    flags = concat(x.opens_a, x.opens_b, x.opens_answer)
    places = place_value_head(flags, base=10)
    sums = sum_head(concat(x.in_a, x.in_b, x.in_answer))
    program = Program(
        task.vocabulary,
        x,
        Embed(digit={str(i): i for i in d}, **opens),
        Attention(place_a=places[0], place_b=places[1], place=places[2]),
        MLP(
            in_a=relu(x.digit) * x.place_a,
            in_b=relu(x.digit) * x.place_b,
            in_answer=relu(x.digit) * x.place,
        ),
        Attention(a=sums[0], b=sums[1], rest=sums[2]),
        MLP(rest=relu(x.a) * x.b),
        Unembed(argmax=10 * d * x.rest + d * (d + 1) / 2 * x.place),
    )

    flagged = {lane: token_claim(task, table) for lane, table in opens.items()}
    return Construction(program, task, {**flagged, **_claims(task, Fraction(heavy))})


def _claims(task: Multiplication, heavy: Fraction) -> dict[str, LaneClaim]:
    """Place values and what they make of the digits everywhere; the gathered numbers from '='
    on.
    """
    n, m = task.widths
    starts = (0, n + 1, n + m + 2)  # of a, b and the answer
    digit = token_claim(task, DIGIT_VALUES)

    def place(group: int, weight: Fraction | int) -> Callable[[tuple[int, ...], int], Fraction]:
        end = starts[group + 1] if group < 2 else n + m + 2 + task.answer_length

        def claim(problem: tuple[int, ...], i: int) -> Fraction:
            return (
                Fraction(weight) / 10 ** (i - starts[group])
                if starts[group] <= i < end
                else Fraction(0)
            )

        return claim

    places = [place(0, heavy), place(1, 1), place(2, -1)]

    def term(group: int) -> LaneClaim:
        return lambda problem, i: digit(problem, i) * places[group](problem, i)

    def gathered(value: Callable[[tuple[int, ...]], Fraction]) -> LaneClaim:
        return lambda problem, i: value(problem) if i >= starts[2] else None

    def rest(problem: tuple[int, ...], i: int) -> Fraction | None:
        left = task.left(problem, i)
        return (
            None if left is None else (left + (heavy - 1) * problem[0] * problem[1]) / 10 ** (n + m)
        )

    return {
        "digit": digit,
        **dict(zip(("place_a", "place_b", "place"), places, strict=True)),
        **{lane: term(group) for group, lane in enumerate(("in_a", "in_b", "in_answer"))},
        "a": gathered(lambda problem: heavy * Fraction(problem[0], 10**n)),
        "b": gathered(lambda problem: Fraction(problem[1], 10**m)),
        "rest": rest,
    }
