"""The published 95-parameter adder, repaired: the readout gets lanes of its own. Exactly 95 nonzero
weights.

After "An adder in 95 parameters" (add10_gist holds it as published). Every candidate digit c gets a
lane that measures how far c + 1/2 is from what is left of the sum, in units of the place; the
nearest candidate is the digit.
"""

from fractions import Fraction
from math import exp

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.constructions.add10_gist import EMBED, flag_head
from tinyadder.dsl import MLP, Attention, Head, Program, Stream, Unembed, relu, shared
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

LARGEST = 13


def construct(*, digits: int = 10) -> Construction:
    """Exact for 1 to 13 digits. Raises `TinyadderError` beyond."""
    if not 1 <= digits <= LARGEST:
        raise TinyadderError(
            f"add10_95 with {digits} digits: float64 keeps it exact for 1 .. {LARGEST} digits"
        )
    x = Stream(
        eq="1 on '='",
        mark="1 on '^', '+', '=': a number starts with the next token",
        digit="10 * the digit",
        place=(
            "10^-i in a, 10^(g-i) in b, -10^(2g+1-i) from '=' on, at position i, with g ="
            " digits + 1"
        ),
        turn="1/(i+2) from '=' on, 0 before",
        term="10 * the digit's signed part of the remainder R",
        miss=("how far R lies from (c + 1/2) places, for each candidate digit c", 10),
        cost=("10^6 * |miss|", 10),
    )
    c = np.arange(10)
    unit = 10.0**digits
    gain = shared(100)
    program = Program(
        "0123456789=^$+",
        x,
        EMBED,
        Attention(
            place=flag_head(x, exp(40) * (x.mark - 11 * x.eq)),
            turn=Head(value=x.eq),
        ),
        MLP(
            term=relu(x.digit) * (unit * x.place),
            miss=relu(x.turn) * (100 * unit * (c + 0.5) * x.place),
        ),
        Attention(miss=Head(value=100 * x.term + 15)),
        MLP(cost=relu(1e4 * x.miss) * gain + relu(-1e4 * x.miss) * gain),
        Unembed(argmin=x.cost),
    )
    return Construction(program, Addition(digits=digits), _claims(digits))


def _claims(digits: int) -> dict[str, LaneClaim]:
    """What the lanes mean, as rationals; the flags that `place` still attends to from further back
    are left out.
    """
    task, g, unit = Addition(digits=digits), digits + 1, 10**digits
    candidates = [c + Fraction(1, 2) for c in range(10)]

    digit = token_claim(task, {token: 10 * d for token, d in DIGIT_VALUES.items()})

    def place(problem: tuple[int, int], i: int) -> Fraction:
        return (
            -Fraction(10, 10 ** (i - 2 * g))
            if i >= 2 * g
            else Fraction(1, 10 ** (i if i < g else i - g))
        )

    def miss(problem: tuple[int, int], i: int) -> list[Fraction] | None:
        if i < 2 * g:
            return None  # the operands are still being read
        written = 10 ** (g - (i - 2 * g))  # the unit of the digits written so far
        left = sum(problem) % written if i > 2 * g else sum(problem)
        return [
            (1000 * (left - c * Fraction(written, 10)) + 15 * (i + 1)) / (i + 2) for c in candidates
        ]

    def cost(problem: tuple[int, int], i: int) -> list[Fraction] | None:
        missed = miss(problem, i)
        return None if missed is None else [10**6 * abs(m) for m in missed]

    return {
        "eq": token_claim(task, {"=": 1}),
        "mark": token_claim(task, {"^": 1, "+": 1, "=": 1}),
        "digit": digit,
        "place": place,
        "turn": lambda problem, i: Fraction(1, i + 2) if i >= 2 * g else 0,
        "term": lambda problem, i: digit(problem, i) * unit * place(problem, i),
        "miss": miss,
        "cost": cost,
    }
