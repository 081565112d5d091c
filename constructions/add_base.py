"""Addition in any base, of any number of operands: `add10` with an exact weight for each group.

Every '+' restarts the place weight: its flag 1 - B^-g and the shadow B^-g of the operand before it
add up to 1, so each operand counts exactly once; '=' opens the answer with minus the place of its
first digit. The readout is stored apart (`tied=False`, 3 base + 11 weights with the slope) or is
the embedding itself (`tied=True`, 2 base + 12): a second column of the digits' rows holds the
parabola d(d+1)/2, and what is left of the sum is written over the digit.

Positions: '^' at 0, operand i starts behind position i g with g = digits+1, '=' at operands * g.
"""

from fractions import Fraction

import numpy as np

from tinyadder.construction import Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.lang.gadgets import place_value_head, sum_head
from tinyadder.tasks.addition import DIGITS, Addition

LARGEST = 10**13
"""Sums up to this are exact in float64; beyond, rounding reaches the boundary of a digit
(measured).
"""


def construct(
    *, digits: int = 10, base: int = 10, operands: int = 2, tied: bool = False
) -> Construction:
    """Exact while operands * base^digits <= 10^13. Raises `TinyadderError` beyond."""
    task = Addition(digits=digits, base=base, operands=operands)
    if operands * base**digits > LARGEST:
        raise TinyadderError(
            f"add_base with {operands} operands of {digits} digits in base {base}: "
            "float64 keeps it exact while operands * base^digits <= 1e13"
        )
    names, d = DIGITS[:base], np.arange(base)
    shadow = float(base) ** -(digits + 1)  # what a flag still weighs one group later
    # place of the first answer digit, in places of a_0
    lead = float(base) ** (task.answer_length - digits)
    # as digit of each '+': in all half a unit of the last place
    half = 0.5 * float(base) ** -digits / (operands - 1)
    x = Stream(
        digit=(
            "the digit; a share of half a unit on '+'; where tied, at the query also what is left"
            " of the sum"
        ),
        parabola="d(d+1)/2 for a tied readout, and there also the place at the query",
        flag="weight of the group that the token opens",
        weight="place: B^-p / B in the operands, minus the place of digit p in the answer",
        product="digit * weight",
        rest="what is left of the sum, where the readout is not tied",
    )
    values = {**dict(zip(names, d, strict=True)), "+": half}
    flags = {"^": 1, "+": 1 - shadow, "=": -lead - shadow}
    # the tied readout shares its lanes with the query's own digit: lift the sum above it
    lift = 1e40 if tied else 1
    place = place_value_head(lift * x.flag, base=base)
    total = sum_head((base if tied else 1) * x.product)
    parabola = d * (d + 1) / 2
    program = Program(
        task.vocabulary,
        x,
        Embed(
            digit=values,
            parabola=dict(zip(names, parabola, strict=True)) if tied else {},
            flag=flags,
        ),
        Attention(weight=place, **({"parabola": place} if tied else {})),
        MLP(product=relu(x.digit) * x.weight),
        Attention(**{"digit" if tied else "rest": total}),
        Unembed(tied=names) if tied else Unembed(argmax=base * d * x.rest + parabola * x.weight),
    )
    return Construction(program, task, _claims(task, flags, Fraction(lift), tied))


def _claims(
    task: Addition, flags: dict[str, float], lift: Fraction, tied: bool
) -> dict[str, LaneClaim]:
    """What the lanes mean; in the tied form a token's own row, far smaller than place and
    remainder, is left out.
    """
    base, g = task.base, task.digits + 1
    start = task.operands * g  # of the answer
    values = {name: Fraction(n) for n, name in enumerate(DIGITS[:base])}
    values["+"] = Fraction(1, 2 * base**task.digits * (task.operands - 1))
    digit = token_claim(task, values)

    def weight(problem: tuple[int, ...], i: int) -> Fraction:
        if i >= start:
            return -lift * Fraction(base) ** (task.answer_length - task.digits - (i - start))
        return lift / base ** (i % g)

    def left(problem: tuple[int, ...], i: int) -> Fraction | None:
        if i < start:
            return None  # the operands are still being read
        rest = sum(problem) % base ** (task.answer_length - (i - start))
        return (base if tied else 1) * lift * (rest + Fraction(1, 2)) / base**task.digits

    nothing = token_claim(task, {})
    return {
        "digit": left if tied else digit,
        "parabola": weight if tied else nothing,
        "flag": token_claim(task, flags),
        "weight": weight,
        "product": lambda problem, i: digit(problem, i) * weight(problem, i),
        "rest": nothing if tied else left,
    }
