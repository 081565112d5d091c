"""Compare two numbers: one weighed sum gives a - b, and three wired lanes read its sign. 18 weights
and 2 slopes.

The marks '^' and '?' reach the digits behind them as place weights, + in a and - in b; '?'
also takes the weight of '^' away. Layer 1 sums digit * weight at ':', where a token of its own
stands half a unit high for '='.

Positions: '^' at 0, digit p of a at 1+p, '?' at g = digits+1, digit p of b at g+1+p, ':' at 2g.
Both heads have equal scores, so a steep slope makes softmax1 linear: the denominators are Z0 and
Z1, up to 10^-14. What layer 0 lets fall by 10^-7 a token, layer 1 raises by 10^6: a place value of
1/10.
"""

from fractions import Fraction
from math import log

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, concat, relu
from tinyadder.tasks.comparison import Comparison
from tinyadder.tasks.options import check_option
from tinyadder.tasks.pairs import Pair

LARGEST = 12
"""With more digits the rounding of the steep scores reaches half a unit of the last place."""


def construct(*, digits: int = 10) -> Construction:
    """Exact for 1 to 12 digits. Raises `TinyadderError` beyond."""
    check_option("compare", "digits", digits, 1, LARGEST)
    x = Stream(
        digit="the digit",
        mark="place weight that starts at '^' and '?'",
        weight="place weight of the digit, + in a and - in b",
        term="digit * weight",
        less="b - a at ':'",
        equal="1/2 at ':'",
        greater="a - b at ':'",
    )
    g, steep, flat = digits + 1, 7, 6
    r0, r1 = 10.0**-steep, 10.0**-flat
    z0, z1 = 1 + 1 / (1 - r0), 1 + 1 / (1 - r1)
    unit = z0 * z1 / (r0**digits * r1 ** (g + 1))  # the last digit of a comes to ':' with weight 1
    marks = {"^": unit, "?": -unit * (r1**g + r0**g)}
    difference = Head(value=concat(-x.term, x.term), slope=flat * log(10))
    program = Program(
        Comparison(digits=digits).vocabulary,
        x,
        Embed(
            digit={str(d): d for d in range(1, 10)},
            mark=marks,
            equal={":": 0.5},
        ),
        Attention(weight=Head(value=x.mark, slope=steep * log(10))),
        MLP(term=relu(x.digit) * x.weight),
        Attention(less=difference[0], greater=difference[1]),
        Unembed(argmax=(x.less, x.equal, x.greater)),
    )
    return Construction(program, Comparison(digits=digits), _claims(digits, marks, r0, r1))


def _claims(digits: int, marks: dict[str, float], r0: float, r1: float) -> dict[str, LaneClaim]:
    """What the lanes mean; the answer is read at ':', nothing is claimed of the sums before it."""
    task, last, g = Comparison(digits=digits), 2 * digits + 2, digits + 1
    digit = token_claim(task, DIGIT_VALUES)

    def weight(problem: Pair, i: int) -> Fraction:
        start = Fraction(marks["^"]) / (1 + 1 / (1 - Fraction(r0)))
        return (
            start * Fraction(r0) ** i
            if i < g
            else -start * Fraction(r1) ** g * Fraction(r0) ** (i - g)
        )

    return {
        "digit": digit,
        "mark": token_claim(task, marks),
        "weight": weight,
        "term": lambda problem, i: digit(problem, i) * weight(problem, i),
        "less": lambda problem, i: problem[1] - problem[0] if i == last else None,
        "equal": lambda problem, i: Fraction(i == last, 2),
        "greater": lambda problem, i: problem[0] - problem[1] if i == last else None,
    }
