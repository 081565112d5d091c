"""A number times a constant: `add10` with one operand that weighs `factor`. 38 weights, 39 with the
slope.

The flag of '^' is the factor, so the weighed sum of the digits is factor * a less the answer so
far; no token is multiplied by any other. Positions: '^' at 0, digit p of a at 1+p, '=' at digits+1.
"""

from fractions import Fraction

import numpy as np

from tinyadder.construction import Construction, LaneClaim
from tinyadder.constructions.subtract import remainder_claims
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed, relu
from tinyadder.errors import TinyadderError
from tinyadder.lang.gadgets import place_value_head, sum_head
from tinyadder.tasks.scaling import Scaling

LARGEST = 10**13
"""Products up to this are exact in float64; beyond, rounding reaches the boundary of a digit
(measured).
"""


def construct(*, digits: int = 10, factor: int = 7) -> Construction:
    """Exact for a positive whole `factor` while factor * 10^digits <= 10^13. Raises
    `TinyadderError` beyond.
    """
    task = Scaling(digits=digits, factor=factor)
    if factor * 10**digits > LARGEST:
        raise TinyadderError(
            f"times_constant with {digits} digits times {factor}: float64 keeps products up to 1e13"
            " exact"
        )
    # an exact remainder lands above its boundary, by at most half a unit
    heavy = factor + 0.5 * 10.0**-digits
    # place of the first answer digit, in places of the first digit of a
    lead = 10.0 ** (task.answer_length - digits)
    x = Stream(
        digit="the digit",
        flag="weight of the group that the token opens",
        weight="factor * 10^-p / 10 in a, minus the place of digit p in the answer",
        product="digit * weight",
        rest="what is left of factor * a",
    )
    flags = {"^": heavy, "=": -lead - heavy * 10.0 ** -(digits + 1)}
    d = np.arange(10)
    program = Program(
        task.vocabulary,
        x,
        Embed(digit={str(i): i for i in d}, flag=flags),
        Attention(weight=place_value_head(x.flag, base=10)),
        MLP(product=relu(x.digit) * x.weight),
        Attention(rest=sum_head(x.product)),
        Unembed(argmax=10 * d * x.rest + d * (d + 1) / 2 * x.weight),
    )

    return Construction(program, task, _claims(task, flags, heavy, lead))


def _claims(
    task: Scaling, flags: dict[str, float], heavy: float, lead: float
) -> dict[str, LaneClaim]:
    """Place weights: plus in a, minus in the answer; a counts a little more than its value."""
    g = task.digits + 1

    def weight(problem: tuple[int, ...], i: int) -> Fraction:
        return Fraction(heavy) / 10**i if i < g else -Fraction(lead) / 10 ** (i - g)

    return remainder_claims(task, flags, weight)
