"""Addition with 1 and -1 as the only weights (and the slope ln 10): what counting "unique"
parameters can be made to mean.

`add10`, with every other weight written as a sum of ones. A digit d lights d lanes; the weight -10
of '=' is ten lanes; a score of -40 is a head of 40 dimensions; c times the place is c hidden units.
Two weights, stored once each and read hundreds of times, add ten-digit numbers exactly: a count of
distinct weights says nothing of the size of a model.

- Layer 0, scores -40: weight = e^-40 * 10^-p / 10, as in `add10`; speck = e^-40 everywhere behind
  '^'.
- MLP: product = digit * weight. Layer 1, scores -40: rest = e^-40 * the weighed sum of the
  products.
- MLP: level_c = c * speck * weight, and level_c also gets ten times the rest (ten wires): 10 rest +
  c weight, positive where the next digit is at least c, as `weight` is minus the place there.
- Readout: the logit of d sums level_1 .. level_d, which is the parabola of `add10`.

With no half unit on '+' this lives on shadows: '=' weighs 1e-11 less than it should, so exact
remainders end up above.
"""

from fractions import Fraction
from functools import reduce
from math import exp, log
from operator import add
from typing import Any

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_at, token_claim
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
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

LARGEST = 11
"""With more digits the shadow of a flag comes near the rounding of the sum."""


def construct(*, digits: int = 10, stored: bool = True) -> Construction:
    """Exact for 2 to 11 digits; `stored=False` gives every entry its own weight. Raises
    `TinyadderError` beyond.
    """
    if not 2 <= digits <= LARGEST:
        raise TinyadderError(
            f"add10_unary with {digits} digits: float64 keeps it exact for 2 .. {LARGEST} digits"
        )
    one, minus = (shared(1), shared(-1)) if stored else (1.0, -1.0)
    x = Stream(
        digit=("lane c - 1: 1 if the digit is at least c", 9),
        flag=("1 on '^' and '+' in the first lane, -1 on '=' in all ten", 10),
        begin="1 on '^'",
        weight="e^-40 times the weight of `add10`",
        speck="e^-40",
        product="digit * weight",
        level=("lane c - 1: 10 rest + c weight, times e^-80", 9),
    )

    def ones(form: AffineForm) -> AffineForm:
        """The rows of a form added up, each with the stored weight 1."""
        return reduce(add, (row * one for row in form))

    faint: dict[str, Any] = {"query": [one] * 40, "key": [minus] * 40}
    # Nine equal units, speck * weight; lane c - 1 reads the first c of them.
    units = [
        ([0] * c + [one] * (9 - c)) * (relu(one * x.speck) * (one * x.weight)) for c in range(9)
    ]
    rest = Head(**faint, value=concat(*[one * x.product] * 10))
    tenfold = reduce(add, (rest[i] for i in range(10)))
    program = Program(
        "0123456789=^$+",
        x,
        Embed(
            digit={str(d): [one] * d + [0] * (9 - d) for d in range(1, 10)},
            flag={"^": [one] + [0] * 9, "+": [one] + [0] * 9, "=": [minus] * 10},
            begin={"^": one},
        ),
        Attention(
            weight=Head(**faint, value=ones(x.flag), slope=log(10)),
            speck=Head(**faint, value=one * x.begin),
        ),
        MLP(product=one * (relu(ones(x.digit)) * (one * x.weight))),
        Attention(level=tenfold),
        MLP(level=reduce(add, units)),
        Unembed(argmax={str(d): ones(x.level[:d]) if d else 0 for d in range(10)}),
    )
    return Construction(program, Addition(digits=digits), _claims(digits))


def _claims(digits: int) -> dict[str, LaneClaim]:
    """The lanes of `add10` times e^-40; what flags weigh besides, 10^-g of it, is left out."""
    task, g, faint = Addition(digits=digits), digits + 1, Fraction(exp(-40))
    value = token_claim(task, DIGIT_VALUES)

    def digit(problem: tuple[int, int], i: int) -> list[int]:
        return [int(value(problem, i) >= c) for c in range(1, 10)]

    def flag(problem: tuple[int, int], i: int) -> list[int]:
        read = token_at(task, problem, i)
        return [-1] * 10 if read == "=" else [int(read in "^+")] + [0] * 9

    def weight(problem: tuple[int, int], i: int) -> Fraction:
        return faint * (
            -Fraction(10, 10 ** (i - 2 * g)) if i >= 2 * g else Fraction(1, 10 ** (i % g))
        )

    def level(problem: tuple[int, int], i: int) -> list[Fraction] | None:
        if i < 2 * g:
            return None  # the operands are still being read
        left = Fraction(sum(problem) % 10 ** (g - (i - 2 * g)), 10**digits)
        return [10 * faint**2 * left + c * faint * weight(problem, i) for c in range(1, 10)]

    return {
        "digit": digit,
        "flag": flag,
        "begin": token_claim(task, {"^": 1}),
        "weight": weight,
        "speck": lambda problem, i: faint,
        "product": lambda problem, i: value(problem, i) * weight(problem, i),
        "level": level,
    }
