"""The published 95-parameter adder exactly as published, including its error: 4999999999 + 0 gives
5000000000.

Source: the public gist "An adder in 95 parameters" (two layers, residual width 5, then 16, then
10). Its last residual is cut to the first ten columns, so the costs of candidates 0..4 are added to
the columns of eq, mark, digit, place and turn, and those of 5..9 to the columns that still hold the
misses of 0..4; the one head of its second layer is added to every column. `add10_95` gives the
costs lanes of their own.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import log

import numpy as np

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import (
    MLP,
    AffineForm,
    Attention,
    Embed,
    Head,
    Program,
    Stream,
    Unembed,
    concat,
    relu,
    shared,
)
from tinyadder.tasks.addition import Addition

EXP40 = 2.3538526683701942e17
"""e^40 as the published file stores it: 18 units in the last place below `math.exp(40)`."""


EMBED = Embed(
    eq={"=": 1}, mark={"^": 1, "+": 1, "=": 1}, digit={str(d): 10 * d for d in range(1, 10)}
)


def flag_head(x: Stream, value: AffineForm) -> Head:
    """Attends to flags only, ten times less with every token further back."""
    return Head(query=1, key=960 * x.mark - 1000, value=value, slope=log(10))


def construct() -> Construction:
    """The published model: 10 digits, no options."""
    x = Stream(
        eq="1 on '='; then also the cost of candidate 0",
        mark="1 on '^', '+', '='; then also the cost of candidate 1",
        digit="10 * the digit; then also the cost of candidate 2",
        place=(
            "10^-i in a, 10^(11-i) in b, -10^(23-i) from '=' on; then also the cost of candidate 3"
        ),
        turn="1/(i+2) from '=' on, 0 before; then also the cost of candidate 4",
        low=(
            (
                "how far R lies from (c + 1/2) places, candidates c = 0..4; then also the costs of"
                " 5..9"
            ),
            5,
        ),
        high=("the same for candidates 5..9", 5),
        term="10 * the digit's signed part of the remainder R",
    )
    c = np.arange(10)
    gain = shared(100)
    sum_of_terms = Head(value=100 * x.term + 15)
    miss = concat(x.low, x.high)
    cost = relu(1e4 * miss) * gain + relu(-1e4 * miss) * gain
    program = Program(
        "0123456789=^$+",
        x,
        EMBED,
        Attention(
            place=flag_head(x, EXP40 * (x.mark - x.eq) - 10 * EXP40 * x.eq),
            turn=Head(value=x.eq),
        ),
        MLP(
            low=relu(x.turn) * (1e12 * (c[:5] + 0.5) * x.place),
            high=relu(x.turn) * (1e12 * (c[5:] + 0.5) * x.place),
            term=relu(x.digit) * (1e10 * x.place),
        ),
        Attention(dict.fromkeys(x.lanes, sum_of_terms)),
        MLP(eq=cost[0], mark=cost[1], digit=cost[2], place=cost[3], turn=cost[4], low=cost[5:]),
        Unembed(argmin=(x.eq, x.mark, x.digit, x.place, x.turn, x.low)),
    )
    return Construction(program, Addition(), _claims())


def _claims() -> dict[str, LaneClaim]:
    """What the lanes hold at the queries, mistake included: each has the mean of the terms, most a
    cost besides.
    """
    task, g = Addition(), 11
    digit = token_claim(task, {token: 10 * d for token, d in DIGIT_VALUES.items()})

    def place(problem: tuple[int, int], i: int) -> Fraction:
        return -Fraction(10, 10 ** (i - 2 * g))

    def mean(problem: tuple[int, int], i: int) -> Fraction:
        left = sum(problem) % 10 ** (g - (i - 2 * g))
        return Fraction(1000 * left + 15 * (i + 1), i + 2)

    def miss(problem: tuple[int, int], i: int, candidate: int) -> Fraction:
        unit = 10**12 * (candidate + Fraction(1, 2)) * place(problem, i)
        return mean(problem, i) + unit / (i + 2)

    def claim(
        *own: Callable[[tuple[int, int], int], Fraction], costs: Sequence[int] = ()
    ) -> LaneClaim:
        """The sum of `own` or the misses they give, with the costs of these candidates, from '='
        on.
        """

        def value(problem: tuple[int, int], i: int) -> Fraction | list[Fraction] | None:
            if i < 2 * g:
                return None  # the operands are still being read
            added = [10**6 * abs(miss(problem, i, c)) for c in costs] or [Fraction(0)] * len(own)
            found = [lane(problem, i) + cost for lane, cost in zip(own, added, strict=True)]
            return found if len(found) > 1 else found[0]

        return value

    def with_mean(
        lane: Callable[[tuple[int, int], int], Fraction],
    ) -> Callable[[tuple[int, int], int], Fraction]:
        return lambda problem, i: lane(problem, i) + mean(problem, i)

    misses = [partial(miss, candidate=c) for c in range(10)]
    return {
        "eq": claim(with_mean(token_claim(task, {"=": 1})), costs=[0]),
        "mark": claim(with_mean(token_claim(task, {"^": 1, "+": 1, "=": 1})), costs=[1]),
        "digit": claim(with_mean(digit), costs=[2]),
        "place": claim(with_mean(place), costs=[3]),
        "turn": claim(with_mean(lambda problem, i: Fraction(1, i + 2)), costs=[4]),
        "low": claim(*misses[:5], costs=range(5, 10)),
        "high": claim(*misses[5:]),
        "term": claim(with_mean(lambda problem, i: digit(problem, i) * 10**10 * place(problem, i))),
    }
