"""The derivative in the order that computer algebra prints: 115 weights (nonzero + positional).

    :4-x=  ->  -1        :-x^2+4x-1=  ->  4-2x        coefficients -5 .. 5, exponents 0 .. 5

With options up to coefficients=99, exponents=9, in 185 weights: `deriv_wide` and what follows.

In this order a positive constant stands before a single negative term (`4-x`, not `-x+4`). `deriv`
reads that as it is: after '=' it finds no x in the first term and an x after a minus in the second,
and writes the minus.

To write it, one lane is needed: `swapped` holds a where the answer is a constant a before a
negative term. That is so for an input -bx^n+ax, with or without a constant. As seen by layer 2:
term 2 has an x, no '^' and no '-', and the input has two x. (With a term 0 in front it would have
three.) A third head sums over term 2, whichever term is being written, and counts '^' and '-' as
very negative; how many x the input has is counted in layer 0 and fetched from '=' in layer 1.

After '=' the digit a is then next; `deriv` writes '-' after it, because term 1 follows tau = 0; and
'+' is kept from following term 1. ('-' has 6 instead of 7 where the next term is positive, so that
'$' wins there.) All else is `deriv`: see there for tau, the heads, the digits and the order of the
logits.

In the wide one a may have two digits. There, while tau is 0, a stands in for n * c, so that it is
written as every coefficient is; what the readout rounds down by is positive for it, too, though n
is 0. While tau is 1, the lane that tells that the next term has an x loses a, so that '$' wins.
Its third head reads term 2 of the input alone: a is `size` on its 'x', where 2000 - 1000 n less
2000 for a minus is 1000 for +ax only, and 200 for each 'x' of the input leave a where there are
two of them.
"""

from fractions import Fraction
from math import exp
from typing import Any

from tinyadder.construction import Construction, LaneClaim, token_at
from tinyadder.constructions.deriv import (
    BEFORE,
    SCORE,
    SLOPE,
    answering,
    term_claims,
    term_embedding,
    term_heads,
)
from tinyadder.constructions.deriv_wide import wide_claims, wide_program
from tinyadder.dsl import MLP, Attention, Head, Program, Stream, Unembed, concat, relu
from tinyadder.tasks.derivative import Derivative, Polynomial, derivative, is_swapped, terms_of
from tinyadder.tasks.options import check_option

X = 10_000
"""`digit` on 'x': so much larger than every digit that sums of it count the x."""


def construct(*, coefficients: int = 5, exponents: int = 5) -> Construction:
    """Coefficients of either sign up to 99, exponents up to 9.

    Up to 5 of both the small program above, else that of `deriv_wide` with the same addition.
    Raises `TinyadderError` beyond.
    """
    check_option("deriv_printed", "coefficients", coefficients, 1, 99)
    check_option("deriv_printed", "exponents", exponents, 1, 9)
    task = Derivative(coefficients=coefficients, exponents=exponents, order="printed")
    if max(coefficients, exponents) > 5:
        return Construction(wide_program(printed=True), task, wide_claims(task))
    return Construction(_small_program(), task, _claims(task))


LANES = {
    "digit": (
        "d - 1 on digits of the input (2 .. 5), 1 or more on 0 and 6; 9999 on 'x'; from MLP 0"
        " on, 0 on exponents"
    ),
    "caret": "1 on '^'",
    "start": "1 on '+', '-', '=': a term starts with the next token",
    "equals": "1 on '='",
    "minus": "1 on '-'",
    "past": "1 / 10000 on 'x', 1 on '^' and on the digit after it: the coefficient is past",
    "power": "1 on 'x', e - 1 on an exponent e: sums to n over a term",
    "tau": "signs since the beginning, from '=' on since '='",
    "square": "tau^2, from '=' on 2 more",
    "n": "the exponent of the term tau of the input, 0 if it has no x",
    "c": "9998 more than the size of its coefficient, where it has an x",
    "next_x": "9999 or a little more if the next term of the input has an x, else below 5",
    "next_minus": "1 if the next term of the input is negative",
    "xs": "the number of x so far, and at most 0.005 more",
    "input_xs": "the same at '='",
    "second": (
        "9998 + a if term 2 of the input is +ax; negative if it has '-' or '^', below 5 if it"
        " has no x"
    ),
    "product": "n * c",
    "swapped": "a if the answer is a constant a before a negative term, else 0",
    "next": "the next digit and a bit (0.11 .. 0.71 more), 0 where no digit is next",
}


def _small_program() -> Program:
    """Coefficients -5 .. 5, exponents 0 .. 5."""
    x = Stream(**LANES)
    match, match_next = term_heads(x)
    term_2 = Head(  # -40 (2 - tau_k)^2 - 40
        query=1,
        key=-SCORE * x.square + 4 * SCORE * x.tau - 5 * SCORE,
        value=exp(SCORE) * (x.digit - 100 * X * (x.caret + x.minus)),
    )
    counts = Head(
        query=1, key=-SCORE, value=exp(SCORE) * concat(x.start, 2 * x.equals, x.digit / X)
    )
    at_equals = Head(query=1, key=80 * x.equals - 40, value=concat(-x.tau, x.xs))
    exponent = relu(x.digit) * x.past
    return Program(
        "0123456789=:$+-x^",
        x,
        term_embedding(X),
        Attention(
            tau=counts[0],
            square=counts[1],
            xs=counts[2],
            past=Head(value=exp(SLOPE) * BEFORE * x.caret, slope=SLOPE),
        ),
        MLP(power=exponent, digit=-1 * exponent),
        Attention(tau=at_equals[0], input_xs=at_equals[1]),
        MLP(square=relu(x.tau) * x.tau),
        Attention(
            n=match[0], c=match[1], next_x=match_next[0], next_minus=match_next[1], second=term_2
        ),
        MLP(
            product=relu(x.n) * (x.c + (2 - X)),
            swapped=relu(x.second - (X - 2) - 10 * (x.input_xs - 2)),
        ),
        MLP(
            next=relu(x.start) * (x.product + 8 / 70)
            + relu(x.product - 10 * x.digit - 9.5) * (1 - x.past - 19 * x.start)
            + 17.1 * relu(x.product - 10) * x.start
            + 0.85 * relu(x.n) * x.caret
            + relu(x.swapped) * x.equals
        ),
        _readout(x),
    )


def _readout(x: Stream) -> Unembed:
    """As in `deriv`: digit d is best between d - 0.15 and d + 0.85."""
    return Unembed(
        argmax={
            **{
                str(d): (70 + 20 * d) * x.next - 20 * (d * (d + 1) / 2 - 0.15 * d)
                for d in (0, 1, 2, 3, 4, 5, 6, 8, 9)
            },
            "x": 6 * x.n - 1e6 * x.past,
            "^": 5 * x.n - 4.5 * X * x.past,
            "+": 8 / (X - 1) * x.next_x - 100 * x.swapped,
            "-": 6 / (X - 1) * x.next_x + 3 * x.next_minus,
            "$": 7,
        }
    )


def _claims(task: Derivative) -> dict[str, LaneClaim]:
    """What the lanes mean: those of `deriv`, and what tells that the answer is swapped."""
    shared: dict[str, Any] = dict(term_claims(task, X))

    def xs(problem: Polynomial, position: int) -> Fraction:
        """The sum of `digit`, as layer 0 reads it: before exponents are moved away."""
        held = {"0": 2, "2": 1, "3": 2, "4": 3, "5": 4, "6": 5, "x": X}
        return Fraction(
            sum(held.get(token_at(task, problem, i), 0) for i in range(position + 1)), X
        )

    def second(problem: Polynomial, tau: int, text: str) -> int:
        n, c = task.term(problem, 2)
        signed = 100 * X * ((n > 1) + (c < 0))
        return (n > 0) * (X - 1) + max(abs(c) - 1, 0) - signed

    def input_xs(problem: Polynomial) -> Fraction:
        return xs(problem, len(task.prompt(problem)) - 1)

    def swapped(problem: Polynomial, tau: int, text: str) -> Fraction | int:
        """The constant, less ten times what digits add to the number of x."""
        terms = terms_of(derivative(problem))
        return terms[1][1] - 10 * (input_xs(problem) - 2) if is_swapped(terms) else 0

    def following(problem: Polynomial, position: int) -> Any:
        found, constant = shared["next"](problem, position), swapped(problem, 0, "=")
        return found + constant if token_at(task, problem, position) == "=" else found

    return {
        **shared,
        "xs": xs,
        "input_xs": answering(task, lambda problem, tau, text: input_xs(problem)),
        "second": answering(task, second),
        "swapped": answering(task, swapped),
        "next": following,
    }
