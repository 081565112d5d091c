"""The larger of two numbers, a + relu(b - a), written digit by digit: 35 weights and 2 slopes, tied
readout.

Two place weights come from one head: one weighs a with + and the answer so far with -, so its sum
is what is left of a; the other weighs a with - and b with +. Layer 1 takes both sums, its MLP adds
relu(b - a) to the first: what is left of the larger number. The next digit is its floor, read by
the embedding itself: logit_d = d R - d(d+1)/2 in units of the place.

Positions: '^' at 0, digit p of a at 1+p, ',' at g = digits+1, digit p of b at g+1+p, ':' at 2g,
answer digit p at 2g+1+p. What layer 0 lets fall by r0 = 10^-7 a token, layer 1 raises by 1/r1 =
10^6: a place value of 1/10, and at every query the sums and its own weight have one scale. The
weight of '^' goes on behind ',', 10^-g times smaller: in the first sum it adds less than 0.1 units
of the last place, in the second it takes the same away again.
"""

from fractions import Fraction
from math import log

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.constructions.copy_digits import readout_claims
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, concat, relu
from tinyadder.lang.gadgets import floor_readout
from tinyadder.tasks.maximum import Maximum
from tinyadder.tasks.options import check_option
from tinyadder.tasks.pairs import Pair

LARGEST = 11
"""Beyond it the rounding of the steep scores comes near a quarter of a unit of the last place."""


def construct(*, digits: int = 6) -> Construction:
    """Exact for 1 to 11 digits; `tinyadder prove` certifies 2, 4 and 6 and gives up at 8.

    Raises `TinyadderError` beyond 11.
    """
    check_option("maximum", "digits", digits, 1, LARGEST)
    x = Stream(
        digit="the digit; then digit * place; at a query, what is left of the larger number",
        place="d(d+1)/2 of the digit; drowned by the place weight of a and of the answer (-)",
        first="marks of a and of the answer",
        second="marks of a and b",
        side="place weight of a (-) and b (+)",
        term="digit * side",
        ahead="b - a",
    )
    g, steep, flat = digits + 1, 7, 6
    r0, r1 = 10.0**-steep, 10.0**-flat
    z1 = 1 + 1 / (1 - r1)
    above = 1 + 0.25 * 10.0**-digits  # puts exact remainders just above the boundary of their digit
    gain = 1e18  # drowns the token's own digit and d(d+1)/2
    answer = 45e14 * gain * 10.0 ** (steep * digits)
    start = answer * above * r1 ** (-2 * g)
    first = {"^": start, ":": -answer - start * r0 ** (2 * g)}
    second = {"^": -start, ",": start * r1**g}
    digit, place = floor_readout(0.1 * gain / z1)
    sums = Head(value=gain * concat(x.digit, x.term), slope=flat * log(10))
    places = Head(value=concat(x.first, x.second), slope=steep * log(10))
    program = Program(
        Maximum(digits=digits).vocabulary,
        x,
        Embed(digit=digit, place=place, first=first, second=second),
        Attention(place=places[0], side=places[1]),
        MLP(digit=relu(x.digit) * x.place, term=relu(x.digit) * x.side),
        Attention(digit=sums[0], ahead=sums[1]),
        MLP(digit=relu(x.ahead)),
        Unembed(tied="0123456789"),
    )
    task = Maximum(digits=digits)
    return Construction(
        program,
        task,
        {  # what '^' weighs in b is left out, too
            **readout_claims(task, 2 * g, answer, r0, gain / z1, above),
            **_side_claims(task, second, r0, r1, gain / z1),
            "first": token_claim(task, first),
        },
    )


def _side_claims(
    task: Maximum, marks: dict[str, float], r0: float, r1: float, gain: float
) -> dict[str, LaneClaim]:
    """The second weight and its sum at the queries; digits of the answer count in it as if they
    stood behind b.
    """
    g = task.digits + 1
    digit = token_claim(task, DIGIT_VALUES)
    start = Fraction(-marks["^"]) / (1 + 1 / (1 - Fraction(r0)))
    lost = 1 - Fraction(1, 10**g)  # of the weight of b, to that of '^'

    def side(problem: Pair, i: int) -> Fraction:
        return (
            -start * Fraction(r0) ** i
            if i < g
            else start * lost * Fraction(r1) ** g * Fraction(r0) ** (i - g)
        )

    def ahead(problem: Pair, i: int) -> Fraction | None:
        k = i - 2 * g
        if k < 0:
            return None  # the operands are still being read
        written = Fraction(max(problem) // 10 ** (task.digits - k), 10 ** (k + g))
        difference = (lost * problem[1] - problem[0]) / 10**task.digits
        return Fraction(gain) * start * Fraction(r1) ** i * (difference + lost * written)

    return {
        "second": token_claim(task, marks),
        "side": side,
        "term": lambda problem, i: digit(problem, i) * side(problem, i),
        "ahead": ahead,
    }
