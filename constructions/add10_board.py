"""Two stored weights, by the public board's rule: -10 and -40; the rest is 1, -1, formulas, slopes.

The remainder machine of `add10` without what can be had elsewhere:

- Digit and readout columns are formulas: d, and d(d+1)/2 (`derived`).
- The half unit of '+' goes: '^' still holds 10^-g of its weight in b, so b counts 1 + 10^-g times,
  and in the answer, whose digits count 1 - 10^-g times. What is left is never below its boundary.
- Scores of -40 make attention a plain sum, e^-40 times too small. `add10` has e^40 among its
  weights to undo it; here the query's own weight is fetched by a head of the same key, with a slope
  so steep that it attends to itself alone, and rest and place are too small alike.
- The 10 of the readout and the -10 of '=' are one shared weight: it scales the product, and the
  readout takes -d.
"""

from fractions import Fraction
from math import exp, log

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import (
    MLP,
    Attention,
    Embed,
    Head,
    Program,
    Stream,
    Unembed,
    derived,
    relu,
    shared,
    token_value,
)
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import DIGITS, Addition

LARGEST = 10
"""With 11 digits it is not proved that what '^' lends to b exceeds the rounding of the sum."""


def construct(*, digits: int = 10) -> Construction:
    """Exact for 1 to 10 digits. Raises `TinyadderError` beyond."""
    if not 1 <= digits <= LARGEST:
        raise TinyadderError(
            f"add10_board with {digits} digits: float64 keeps it exact for 1 .. {LARGEST} digits"
        )
    x = Stream(
        digit="the digit",
        flag="1 on '^' and '+', -10 on '='",
        weight="e^-40 times the place value: 10^-p / 10 in both operands, -10 * 10^-k at the query",
        product="-10 * digit * weight",
        rest="e^-80 times -10 * 10^-k times what is left of a + b, in units of digit k",
        place="e^-40 times the query's own weight",
    )
    d, names = token_value, DIGITS[:10]
    ten, low = shared(-10), shared(-40)
    program = Program(
        "0123456789=^$+",
        x,
        Embed(digit=derived(d, names), flag={"^": 1, "+": 1, "=": ten}),
        Attention(weight=Head(query=1, key=low, value=x.flag, slope=log(10))),
        MLP(product=ten * relu(x.digit) * x.weight),
        Attention(
            rest=Head(query=1, key=low, value=x.product),
            place=Head(query=1, key=low, value=x.weight, slope=60),
        ),
        Unembed(argmax=derived(-d, names) * x.rest + derived(d * (d + 1) / 2, names) * x.place),
    )
    return Construction(program, Addition(digits=digits), _claims(digits))


def _claims(digits: int) -> dict[str, LaneClaim]:
    """What the lanes mean, as rationals; what they hold besides (the shadow of '^' in b, 10^-g of
    it) is left out.
    """
    task, g, unit = Addition(digits=digits), digits + 1, Fraction(1, 10**digits)
    faint = Fraction(exp(-40))
    digit = token_claim(task, DIGIT_VALUES)

    def weight(problem: tuple[int, int], i: int) -> Fraction:
        at_query = i >= 2 * g
        power = Fraction(1, 10 ** (i - 2 * g if at_query else i % g))
        return faint * power * (-10 if at_query else 1)

    def rest(problem: tuple[int, int], i: int) -> Fraction | None:
        if i < 2 * g:
            return None  # the operands are still being read
        written = 10 ** (g - (i - 2 * g))  # the unit of the digits written so far
        return -10 * faint**2 * (sum(problem) % written) * unit

    return {
        "digit": digit,
        "flag": token_claim(task, {"^": 1, "+": 1, "=": -10}),
        "weight": weight,
        "product": lambda problem, i: -10 * digit(problem, i) * weight(problem, i),
        "rest": rest,
        "place": lambda problem, i: faint * weight(problem, i),
    }
