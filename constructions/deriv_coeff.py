"""The derivative coefficient by coefficient, in fixed slots: 66 weights (nonzero + positional),
three layers.

    :+0+0-3+4+0-4=  ->  +00+00-09+08+00     coefficients -9 .. 9, exponents up to 9 (5 unless asked)

Each slot of the input is a sign and a digit, c_N first; each slot of the answer a sign and two
digits of n * c_n.

Layer 0 counts signs (score -40: exact) and looks one token back for a sign (slope 12). `turn` is
the count less one where this token or the one before is a sign. In the input that numbers the slots
0 .. N; at a token of the answer it is N + 1 more than the number of the slot that the next token
belongs to: after '=' and after a ones digit the next slot's sign follows, after a sign and after a
tens digit the same slot goes on. MLP 0 squares it. Layer 1 attends to input slot turn - (N + 1), by
a score -200 (difference)^2 without its part that depends on the query alone: the largest score wins
all attention. Of a slot's two tokens the slope 40 lets the digit win; its sign has weight e^-40,
which the value makes up for. MLP 1 multiplies: n * c with n = 2 N + 1 - turn. MLP 2: after a sign
the tens digit, n * c / 10; after a tens digit t the ones digit, n * c - 10 t, both with a little
more, so that the readout rounds down.

'-' has logit 1 if the slot is negative and '+' 0.5; digits have 100 * next and more, and nothing
where none is next. A sign is marked by `digit` 10^12, which no digit disturbs: the heads of layer 0
read it, and it keeps the ones digit silent.
"""

from fractions import Fraction
from math import exp

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_at, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, concat, relu
from tinyadder.errors import TinyadderError
from tinyadder.tasks.derivative import Polynomial
from tinyadder.tasks.derivative_coefficients import DerivativeCoefficients

SLOPE = 12
BEFORE = 1 + 1 / (1 - exp(-SLOPE))
"""softmax1's denominator for scores 0, -12, -24, ...: the token before has attention e^-12 /
BEFORE.
"""
SIGN = 1e12


def construct(*, exponents: int = 5) -> Construction:
    """Exact for exponents 1 .. 9. Raises `TinyadderError` beyond."""
    if not 1 <= exponents <= 9:
        raise TinyadderError(
            f"deriv_coeff with exponents={exponents}: n * c has two digits for exponents 1 .. 9"
        )
    x = Stream(
        digit="the digit; 10^12 on '+' and '-'",
        minus="1 on '-'",
        after="-1 on the token after a sign, 0 elsewhere (on signs anything)",
        turn=(
            "the slot of the input; in the answer, exponents + 1 more than the slot of the next"
            " token"
        ),
        square="turn^2",
        c="the digit of the slot",
        negative="1 if the slot has a minus",
        product="n * c",
        next="the next digit and a bit (0.02 .. 0.92 more), 0 where no digit is next",
    )
    score, near = 200, 40
    first = exponents + 1
    count = Head(query=1, key=-40, value=exp(40) / SIGN * x.digit)
    before = Head(value=-exp(SLOPE) * BEFORE / SIGN * x.digit, slope=SLOPE)
    slot = Head(
        query=[x.turn - first, 1],
        key=[2 * score * x.turn, 5000 - score * x.square],
        value=concat(x.digit, exp(near) * x.minus),
        slope=near,
    )
    d = range(10)
    program = Program(
        "0123456789=:+-",
        x,
        Embed(
            digit={**{str(i): i for i in d}, "+": SIGN, "-": SIGN},
            minus={"-": 1},
            turn={"+": exp(SLOPE) - 1, "-": exp(SLOPE) - 1},
        ),
        Attention(turn=count + before, after=before),
        MLP(square=relu(x.turn) * x.turn),
        Attention(c=slot[0], negative=slot[1]),
        MLP(product=relu(2 * exponents + 1 - x.turn) * x.c),
        MLP(
            next=0.1 / SIGN * relu(x.digit - SIGN / 2) * (2 * x.product + 0.4)
            - relu(x.product - 10 * x.digit + 0.5) * x.after
        ),
        Unembed(
            argmax={
                # digit i is best between i - 0.03 and i + 0.97
                **{
                    str(i): (100 + 200 * i) * x.next - 200 * (i * (i + 1) / 2 - 0.03 * i) for i in d
                },
                "-": x.negative,
                "+": 0.5,
            }
        ),
    )
    task = DerivativeCoefficients(exponents=exponents)
    return Construction(program, task, _claims(task))


def _claims(task: DerivativeCoefficients) -> dict[str, LaneClaim]:
    """What the lanes mean: those of layer 0 everywhere, the others from '=' on."""
    equals = 2 * task.exponents + 3
    slots = task.exponents + 1

    def behind_sign(problem: Polynomial, i: int) -> bool:
        return i > 0 and token_at(task, problem, i - 1) in "+-"

    def after(problem: Polynomial, i: int) -> int | None:
        return None if token_at(task, problem, i) in "+-" else -int(behind_sign(problem, i))

    def turn(problem: Polynomial, i: int) -> int:
        signs = sum(token_at(task, problem, j) in "+-" for j in range(i + 1))
        return signs - (token_at(task, problem, i) in "+-" or behind_sign(problem, i))

    def coefficient(problem: Polynomial, i: int) -> int | None:
        """Of the slot that the next token belongs to."""
        return problem[::-1][turn(problem, i) - slots] if i >= equals else None

    def c(problem: Polynomial, i: int) -> int | None:
        found = coefficient(problem, i)
        return None if found is None else abs(found)

    def negative(problem: Polynomial, i: int) -> int | None:
        found = coefficient(problem, i)
        return None if found is None else int(found < 0)

    def product(problem: Polynomial, i: int) -> int | None:
        size = c(problem, i)
        return None if size is None else (2 * task.exponents + 1 - turn(problem, i)) * size

    def following(problem: Polynomial, i: int) -> Fraction | int | None:
        """Behind a sign the tens digit of n * c, behind that the ones digit; and a bit. 0 where a
        sign is next.
        """
        whole, read = product(problem, i), token_at(task, problem, i)
        if whole is None:
            return None
        if read in "+-":
            return Fraction(whole, 10) + Fraction(2, 100)
        return whole - 10 * int(read) + Fraction(1, 2) if behind_sign(problem, i) else 0

    return {
        "digit": token_claim(task, {**DIGIT_VALUES, "+": SIGN, "-": SIGN}),
        "minus": token_claim(task, {"-": 1}),
        "after": after,
        "turn": turn,
        "square": lambda problem, i: turn(problem, i) ** 2,
        "c": c,
        "negative": negative,
        "product": product,
        "next": following,
    }
