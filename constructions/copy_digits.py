"""Copy a word of digits: read it as a number and write what is left of it. 25 weights and 2 slopes,
tied readout.

The adder add10_smallest with one operand. '^' reaches the word as place weight (+), '=' by the
copy (-), so the weighed sum is what is left to write; the next digit is its floor, logit_d = d R -
d(d+1)/2 in units of the place.

Positions: '^' at 0, digit p at 1+p, '=' at g = length+1, answer digit p at g+1+p. What layer 0 lets
fall by r0 = 10^-7 a token, layer 1 raises by 1/r1 = 10^6: a place value of 1/10, and one scale at
every query.
"""

from fractions import Fraction
from math import log
from typing import Any

from tinyadder.construction import Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.lang.gadgets import floor_readout
from tinyadder.tasks.base import Task
from tinyadder.tasks.options import check_option
from tinyadder.tasks.rewriting import Rewriting

LARGEST = 12
"""Beyond it the rounding of the sum comes near a quarter of a unit of the last place."""


def construct(*, length: int = 5) -> Construction:
    """Exact for words of 1 to 12 digits. Raises `TinyadderError` beyond."""
    check_option("copy_digits", "length", length, 1, LARGEST)
    x = Stream(
        digit="the digit; then digit * place; at a query, what is left of the word",
        place="d(d+1)/2 of the digit; drowned by the place weight, + in the word and - in the copy",
        mark="where place weights start",
    )
    g, steep, flat = length + 1, 7, 6
    r0, r1 = 10.0**-steep, 10.0**-flat
    z1 = 1 + 1 / (1 - r1)
    above = 1 + 0.25 * 10.0**-length  # puts exact remainders just above the boundary of their digit
    gain = 1e18  # drowns the token's own digit and d(d+1)/2
    copy = 45e14 * gain * 10.0 ** (steep * length)
    start = copy * above * r1**-g
    marks = {"^": start, "=": -copy - start * r0**g}
    digit, place = floor_readout(0.1 * gain / z1)
    program = Program(
        Rewriting(length=length).vocabulary,
        x,
        Embed(digit=digit, place=place, mark=marks),
        Attention(place=Head(value=x.mark, slope=steep * log(10))),
        MLP(digit=relu(x.digit) * x.place),
        Attention(digit=Head(value=gain * x.digit, slope=flat * log(10))),
        Unembed(tied="0123456789"),
    )
    task = Rewriting(length=length, how="copy")
    return Construction(
        program,
        task,
        {
            **readout_claims(task, g, copy, r0, gain / z1, above),
            "mark": token_claim(task, marks),
        },
    )


def readout_claims(
    task: Task, first: int, size: float, r0: float, gain: float, above: float
) -> dict[str, LaneClaim]:
    """What `place` and `digit` hold from position `first` on: the place weight of the answer's next
    digit, and `gain` times what is left of the answer, what the token carries itself left out.

    The place weights start with the mark `size` and fall by `r0` a token.
    """
    z0 = 1 + 1 / (1 - Fraction(r0))

    def weight(i: int) -> Fraction:
        return Fraction(size) * Fraction(r0) ** (i - first) / z0

    def digit(problem: Any, i: int) -> Fraction | None:
        if i < first:
            return None
        place = 10 ** (task.answer_length - 1 + first - i)
        shade = (Fraction(above) - 1) * Fraction("".join(task.answer(problem))) / place
        left = task.remainder(problem, i - first)
        assert left is not None, "the answer is a number"
        return weight(i) * Fraction(gain) / 10 * (left + shade)

    return {"place": lambda problem, i: -weight(i) if i >= first else None, "digit": digit}
