"""Reverse a word of digits: ALiBi weighs the last digit most, so the nearest is read first. 28
weights and 2 slopes.

The slope ln 10 reads the word before '=' as a number whose leading digit is the last one. What has
been written must be taken away: answer digit m has its twin 2m - 1 tokens before it, so it carries
the weight -100^-m, what arrives from '=' under the slope ln 100. The same weight closes the gate by
which digits before '=' enter the sum as they are.

Positions: '^' at 0, digit p at p, '=' at g = length+1, answer digit m at g+m; the query at g+k
reads the word as 10^(-1-2k) times (the digit to write, and a fraction). Scores are equal, the
denominators of softmax1 are Z0 and Z1 up to 10^-g of their size. Readout by the embedding: logit_d
= d R - d(d+1)/2 in units of 100^-k.
"""

from fractions import Fraction
from math import log

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_claim
from tinyadder.constructions.copy_digits import readout_claims
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.lang.gadgets import floor_readout
from tinyadder.tasks.options import check_option
from tinyadder.tasks.rewriting import Rewriting

LARGEST = 12
"""Beyond it the rounding of the sum comes near a quarter of a unit of the last place."""


def construct(*, length: int = 5) -> Construction:
    """Exact for words of 1 to 12 digits. Raises `TinyadderError` beyond."""
    check_option("reverse", "length", length, 1, LARGEST)
    x = Stream(
        digit="the digit; at a query, what is left of the reversed word",
        place="d(d+1)/2 of the digit; from '=' on drowned by the weight -100^-m",
        mark="where the weight starts",
        weight="-100^-m at answer digit m, 0 before '='",
        term="the digit before '='; digit * weight after it",
    )
    z0, z1 = 1 + 1 / (1 - 0.01), 1 + 1 / (1 - 0.1)
    above = 1 + 0.25 * 10.0**-length  # puts exact remainders just above the boundary of their digit
    gain = 1e18  # drowns the token's own digit and d(d+1)/2
    one = 45e14 * gain * 100.0**length  # the weight of a digit in the word
    marks = {"=": -one * z0}
    digit, place = floor_readout(0.1 * gain / z1)
    weight = Head(value=x.mark, slope=log(100))
    program = Program(
        Rewriting(length=length).vocabulary,
        x,
        Embed(digit=digit, place=place, mark=marks),
        Attention(place=weight, weight=weight),
        MLP(term=one * above * relu(x.digit + x.weight) + relu(x.digit) * x.weight),
        Attention(digit=Head(value=gain * x.term, slope=log(10))),
        Unembed(tied="0123456789"),
    )
    task = Rewriting(length=length, how="reverse")
    return Construction(
        program,
        task,
        {
            **readout_claims(task, length + 1, one * z0, 0.01, gain / z1, above),
            **_word_claims(task, one, above),
            "mark": token_claim(task, marks),
        },
    )


def _word_claims(task: Rewriting, one: float, above: float) -> dict[str, LaneClaim]:
    """The weight of each digit, and the digit times what it enters the sum with."""
    first, read = task.length + 1, token_claim(task, DIGIT_VALUES)

    def weight(problem: str, i: int) -> Fraction:
        return -Fraction(one) / 100 ** (i - first) if i >= first else Fraction(0)

    def term(problem: str, i: int) -> Fraction:
        entered = Fraction(one) * Fraction(above) if i < first else weight(problem, i)
        return read(problem, i) * entered

    return {"weight": weight, "term": term}
