"""The value of a polynomial at a digit: the exp of attention takes x to every power. 47 weights and
3 slopes.

A score ln(x/10) * e gives the weight (x/10)^e; a coefficient that stands e places before the last
carries 10^e, the place weight that starts at ':', so that a digit c of the prompt counts c x^e.
Digits of the answer count, negative, in their place (e = 0 behind '='), so the sum is what is left
to write; the next digit is its floor, read by the embedding: logit_d = d R - d(d+1)/2 in units of
the place. ln(0/10) is -60 here: 0^0 is 1, and other powers of 0 are below e^-60.

Positions: '^' at 0, x at 1, ':' at 2, coefficients from 3, '=' at g = degree+4. The slope -20
attends to the oldest tokens only: '^' by 1, x by e^-20, and to no other token that has a logarithm
by enough to matter. What layer 0 lets fall by r0 = 10^-7 a token, layer 1 raises by 1/r1 = 10^6: a
place value of 1/10, and one scale at every query.
"""

from math import exp, log

from tinyadder.construction import Construction, LaneClaim, token_claim
from tinyadder.constructions.copy_digits import readout_claims
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.lang.gadgets import floor_readout, hinge, sum_head
from tinyadder.tasks.options import check_option
from tinyadder.tasks.polynomial_value import PolynomialValue

LARGEST = 9
"""The value then has 10 digits; the rounding of the sum is 10^5 times smaller than what parts two
values.
"""


def construct(*, degree: int = 2) -> Construction:
    """Exact for polynomials of degree 1 to 9. Raises `TinyadderError` beyond."""
    check_option("poly_eval", "degree", degree, 1, LARGEST)
    task = PolynomialValue(degree=degree)
    x = Stream(
        digit="the digit; then digit * place; at a query, what is left of the value",
        place=(
            "d(d+1)/2 of the digit; drowned by the place weight, + for coefficients, - for the"
            " answer"
        ),
        mark="where place weights start",
        log="ln(d/10) of the digit",
        base="ln(x/10)",
        index="tokens so far",
        power="e for the coefficient of x^e, 0 from '=' on",
    )
    g, places, steep, flat = degree + 4, task.answer_length, 7, 6
    r0, r1 = 10.0**-steep, 10.0**-flat
    above = 1 + 0.5 * 10.0**-places  # puts exact remainders just above the boundary of their digit
    gain = 1e18  # drowns what the query's own digit carries
    answer = 45e14 * gain * 10.0 ** (steep * places)  # ten times the place of its first digit
    # the last coefficient comes to '=' as a 1
    start = answer * above * 10.0**-places / (r0 ** (degree + 1) * r1)
    marks = {":": start, "=": -answer - start * r0 ** (g - 2)}
    logarithms = {"0": -60, **{str(i): log(i / 10) for i in range(1, 10)}}
    digit, place = floor_readout(0.1 * gain)
    program = Program(
        task.vocabulary,
        x,
        Embed(digit=digit, place=place, mark=marks, log=logarithms),
        Attention(
            place=Head(value=x.mark, slope=steep * log(10)),
            base=Head(value=exp(20) / (1 - exp(-20)) * x.log, slope=-20),
            index=sum_head(1),
        ),
        MLP(digit=relu(x.digit) * x.place, power=hinge(degree + 4 - x.index, at=0)),
        Attention(
            digit=Head(
                query=[x.base, 1],
                key=[x.power, -40],
                value=gain * exp(40) * x.digit,
                slope=flat * log(10),
            )
        ),
        Unembed(tied="0123456789"),
    )
    flagged = {"mark": token_claim(task, marks), "log": token_claim(task, logarithms)}
    return Construction(program, task, {**flagged, **_claims(task, gain, answer, r0, above)})


def _claims(
    task: PolynomialValue, gain: float, answer: float, r0: float, above: float
) -> dict[str, LaneClaim]:
    """Counts and powers everywhere; weight and remainder at the queries, what the token carries
    itself left out.
    """
    x = token_claim(task, {"0": -60, **{str(i): log(i / 10) for i in range(1, 10)}})
    return {
        "base": lambda problem, i: x(problem, min(i, 1)),
        **readout_claims(task, task.degree + 4, answer, r0, gain, above),
        "index": lambda problem, i: i + 1,
        "power": lambda problem, i: max(0, task.degree + 3 - i),
    }
