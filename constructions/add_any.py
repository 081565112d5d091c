"""Addition of any width, least significant digit first: 55 weights at every width, 57 with the
slopes.

Here nothing is weighed by place value, so nothing limits the number of digits: every answer digit
looks up its own column. Positions: '^' at 0, digit k of a at 1+k, '+' at g, digit k of b at g+1+k,
'=' at 2g, answer digit k at 2g+1+k; operands are padded to width+1, g = width+2. So the query for
answer digit k stands k tokens behind '='.

- Layer 0: u = r^p for the p-th token behind '^', '+' or '=', with r = e^(-2/g) (u stays above
  e^-2); MLP: u^2.
- Layer 1 matches columns: the score L (2 r^D u_q u_k - u_k^2) is largest where u_k = r^D u_q, D
  tokens further on than the query. D = 1: the mean of a_k and b_k. D = 0: the mean of a_(k-1),
  b_(k-1), and the last answer digit s_(k-1). A third head, all slope, sees only the query's own
  token, s_(k-1).
- x = a_k + b_k + (a_(k-1) + b_(k-1) - s_(k-1)) / 10. The bracket is ten times the carry out of
  column k-1, less the carry into it. So x lies in [t - 1/10, t] for the right t = a_k + b_k +
  carry.
- MLP: two hinges make a step of -10 between 9.2 and 9.7; the nearest digit to x + 0.05 is the
  answer.
"""

from fractions import Fraction
from math import exp

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

LARGEST = 1000
"""Widest numbers tried; the text of a problem has three times as many tokens."""


def construct(*, digits: int = 10) -> Construction:
    """Exact for 1 to 1000 digits; the number of parameters is the same for each. Raises
    `TinyadderError` beyond.
    """
    if not 1 <= digits <= LARGEST:
        raise TinyadderError(
            f"add_any with {digits} digits: tried and exact for 1 .. {LARGEST} digits"
        )
    g = digits + 2
    r = exp(-2 / g)
    # neighbouring columns differ by u (1-r) >= e^-2 (1-r): 60 lower in score
    sharp = 60 * exp(4) / (1 - r) ** 2
    x = Stream(
        digit="the digit",
        flag="size of '^', '+', '='",
        place="u = r^p for the p-th token behind a flag",
        square="u^2",
        column="the digit to write, up to 0.1 too small",
    )
    d = np.arange(10)
    flags = {"^": 1, "+": 1 - r**g, "=": 1 - r**g}
    key = (x.place, x.square)
    # mean of two, times 2
    ahead = Head(query=(2 * sharp * r * x.place, -sharp), key=key, value=2 * x.digit)
    # mean of three, times 0.3
    level = Head(query=(2 * sharp * x.place, -sharp), key=key, value=0.3 * x.digit)
    itself = Head(value=-0.4 * x.digit, slope=60)  # softmax1 of one score 0 is a half
    program = Program(
        "0123456789=^$+",
        x,
        Embed(digit={str(i): i for i in d}, flag=flags),
        Attention(place=Head(query=1, key=-45, value=exp(45) * x.flag, slope=2 / g)),
        MLP(square=relu(x.place) * x.place),
        Attention(column=ahead + level + itself),
        MLP(column=-20 * relu(x.column - 9.2) + 20 * relu(x.column - 9.7)),
        Unembed(argmax=d * x.column + 0.05 * d - d**2 / 2),
    )
    task = Addition(digits=digits, order="least", padding=1)
    return Construction(program, task, _claims(task, flags))


def _claims(task: Addition, flags: dict[str, float]) -> dict[str, LaneClaim]:
    """The logarithmic places of every token, and at the queries the column as the two hinges leave
    it.
    """
    g = task.digits + 2
    digit = token_claim(task, DIGIT_VALUES)

    def place(problem: tuple[int, int], i: int) -> Fraction:
        return Fraction(exp(-2 / g * (i % g if i < 2 * g else i - 2 * g)))

    def column(problem: tuple[int, int], i: int) -> Fraction | None:
        k = i - 2 * g
        if k < 0:
            return None  # the operands are still being read
        total = digit(problem, 1 + k) + digit(problem, g + 1 + k)
        # a, b and answer one column earlier
        before = [digit(problem, start + k) for start in (0, g, 2 * g)]
        x = total + (before[0] + before[1] - before[2]) / 10
        return (
            x
            - 20 * max(Fraction(0), x - Fraction("9.2"))
            + 20 * max(Fraction(0), x - Fraction("9.7"))
        )

    return {
        "digit": digit,
        "flag": token_claim(task, flags),
        "place": place,
        "square": lambda problem, i: place(problem, i) ** 2,
        "column": column,
    }
