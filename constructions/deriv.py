"""The derivative of a polynomial, string to string: 97 weights (nonzero + positional), four layers.

    :-3x^3+4x^2-4=  ->  -9x^2+8x$
    coefficients -5 .. 5, exponents 0 .. 5, terms in falling exponents

The derivative keeps the order of the terms, and its first term has a sign exactly if the input's
has. So tau, the number of signs since the beginning (in the answer: since '='), names the same term
in both. Only the last term can vanish.

Layer 0 counts signs and '=', exactly: at scores near -40 softmax1 is linear. Its second head looks
one token back for '^': with slope 20 the token before has e^-20 of the attention of the token
itself, and the one before that e^-40. MLP 0 moves an exponent from `digit` to `power`. A digit d is
held as d - 1: a coefficient that is not written then counts as 1, and an 'x' alone as power 1.
Layer 1 takes away the count at '=', the only key with a score above 0, so that tau starts at 0 in
the answer. MLP 1 squares it. Layer 2 sums over the input's term tau (its power n, its coefficient
c) and over the term after it (has it an x, a minus). The score -40 (tau_q - tau_k)^2 is spread over
three rows; the query's extra 2 in `square` makes it -80 at a match, and a key's extra 2 keeps the
terms of the answer out. Tilted by 80 (tau_k - tau_q) it is -40 at the next term. MLP 2 multiplies:
n * c. MLP 3 says which digit is next, if any.

The next token is the one with the largest logit, so nothing else needs a gate:
- '$' has 7; '+' 8 or '-' 9 where a next term with an x has that sign. They win where nothing below
  asks for more;
- 'x' has 6 n: less than '$' for n = 1, more than the signs from n = 2. `past` keeps it down after
  'x', '^', exponents;
- '^' has 5 n, and 4.5 less after 'x': there more than the signs from n = 3, elsewhere less than
  what is right;
- digits have 70 * next and more, which beats all of these: the first digit of n * c after '=' or a
  sign; after a digit t the ones digit n * c - 10 t, unless that is negative; n - 1 after '^'. '0'
  as whole answer has 8, between '$' and '-'. No n * c begins or ends with 7, so 7 has no logit.
"""

from collections.abc import Callable
from fractions import Fraction
from math import exp

from tinyadder.construction import Construction, LaneClaim, token_at, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, concat, relu
from tinyadder.tasks.derivative import Derivative, Polynomial

SLOPE = 20
BEFORE = 1 + 1 / (1 - exp(-SLOPE))
"""softmax1's denominator for scores 0, -20, -40, ...: the token before has attention e^-20 /
BEFORE.
"""
SCORE = 40
"""Scores of -SCORE: e^-40 is below the rounding of what they stand beside."""
X = 100
"""`digit` on 'x': so much larger than every digit that the sum over a term tells whether it has an
x.
"""


def construct() -> Construction:
    """Coefficients -5 .. 5, exponents 0 .. 5; no options."""
    x = Stream(
        digit=(
            "d - 1 on digits of the input (2 .. 5), 1 or more on 0 and 6; 99 on 'x'; from MLP 0 on,"
            " 0 on exponents"
        ),
        caret="1 on '^'",
        start="1 on '+', '-', '=': a term starts with the next token",
        equals="1 on '='",
        minus="1 on '-'",
        past="1 / 100 on 'x', 1 on '^' and on the digit after it: the coefficient is past",
        power="1 on 'x', e - 1 on an exponent e: sums to n over a term",
        tau="signs since the beginning, from '=' on since '='",
        square="tau^2, from '=' on 2 more",
        n="the exponent of the term tau of the input, 0 if it has no x",
        c="98 more than the size of its coefficient, where it has an x",
        next_x="99 or a little more if the next term of the input has an x, else below 5",
        next_minus="1 if the next term of the input is negative",
        product="n * c",
        next="the next digit and a bit (0.11 .. 0.71 more), 0 where no digit is next",
    )
    match, match_next = term_heads(x)
    counts = Head(query=1, key=-SCORE, value=exp(SCORE) * concat(x.start, 2 * x.equals))
    exponent = relu(x.digit) * x.past
    program = Program(
        "0123456789=:$+-x^",
        x,
        term_embedding(X),
        Attention(
            tau=counts[0],
            square=counts[1],
            past=Head(value=exp(SLOPE) * BEFORE * x.caret, slope=SLOPE),
        ),
        MLP(power=exponent, digit=-1 * exponent),
        Attention(tau=Head(query=1, key=80 * x.equals - 40, value=-x.tau)),
        MLP(square=relu(x.tau) * x.tau),
        Attention(n=match[0], c=match[1], next_x=match_next[0], next_minus=match_next[1]),
        MLP(product=relu(x.n) * (x.c + (2 - X))),
        MLP(
            next=relu(x.start) * (x.product + 8 / 70)
            + relu(x.product - 10 * x.digit - 9.5) * (1 - x.past - 19 * x.start)
            + 17.1 * relu(x.product - 10) * x.start
            + 0.85 * relu(x.n) * x.caret
        ),
        Unembed(
            argmax={
                # digit d is best between d - 0.15 and d + 0.85
                **{
                    str(d): (70 + 20 * d) * x.next - 20 * (d * (d + 1) / 2 - 0.15 * d)
                    for d in (0, 1, 2, 3, 4, 5, 6, 8, 9)
                },
                "x": 6 * x.n - 1e4 * x.past,
                "^": 5 * x.n - 450 * x.past,
                "+": 8 / 99 * x.next_x,
                "-": 7 / 99 * x.next_x + 2 * x.next_minus,
                "$": 7,
            }
        ),
    )
    return Construction(program, Derivative(), term_claims(Derivative(), X))


def term_embedding(on_x: int) -> Embed:
    """Of the tokens, with `digit` equal to `on_x` on 'x'."""
    return Embed(
        digit={"0": 2, "2": 1, "3": 2, "4": 3, "5": 4, "6": 5, "x": on_x},
        caret={"^": 1},
        start={"+": 1, "-": 1, "=": 1},
        equals={"=": 1},
        minus={"-": 1},
        past={"x": 1 / on_x, "^": 1 - exp(SLOPE)},
    )


def term_heads(x: Stream) -> tuple[Head, Head]:
    """What is read from the term tau of the input (`power`, `digit` summed over it), and from the
    term behind it (`digit`, `minus`).
    """
    match = Head(
        query=[1, x.tau, x.square],
        key=[-SCORE * x.square, 2 * SCORE * x.tau, -SCORE],
        value=exp(2 * SCORE) * concat(x.power, x.digit),
    )
    match_next = Head(
        query=[1, x.tau, x.square],
        key=[-SCORE * x.square + 2 * SCORE * x.tau, 2 * SCORE * x.tau - 2 * SCORE, -SCORE],
        value=exp(SCORE) * concat(x.digit, x.minus),
    )
    return match, match_next


def answering(
    task: Derivative, meaning: Callable[[Polynomial, int, str], Fraction | int]
) -> LaneClaim:
    """A claim from '=' on: `meaning` of the problem, the signs since '=', and the answer so far,
    '=' first.
    """

    def value(problem: Polynomial, position: int) -> Fraction | int | None:
        start = len(task.prompt(problem)) - 1
        if position < start:
            return None
        text = ("=" + task.answer(problem))[: position - start + 1]
        return meaning(problem, sum(text.count(sign) for sign in "+-"), text)

    return value


def is_exponent(task: Derivative, problem: Polynomial, position: int) -> bool:
    """Whether the token at `position` stands behind '^'."""
    return position > 0 and token_at(task, problem, position - 1) == "^"


def flag_claims(task: Derivative) -> dict[str, LaneClaim]:
    """Of the lanes that are 1 on some tokens and 0 on all others."""
    flags = {"caret": "^", "start": "+-=", "equals": "=", "minus": "-"}
    return {lane: token_claim(task, dict.fromkeys(on, 1)) for lane, on in flags.items()}


def term_claims(task: Derivative, x: int) -> dict[str, LaneClaim]:
    """What the lanes mean, where `digit` is `x` on 'x' in the embedding; `deriv_printed` shares
    them all.
    """
    held = token_claim(task, {"0": 2, "2": 1, "3": 2, "4": 3, "5": 4, "6": 5, "x": x - 1})

    def digit(problem: Polynomial, position: int) -> Fraction | int:
        return 0 if is_exponent(task, problem, position) else held(problem, position)

    def past(problem: Polynomial, position: int) -> Fraction | int:
        read = token_at(task, problem, position)
        return (
            Fraction(1, x)
            if read == "x"
            else int(read == "^" or is_exponent(task, problem, position))
        )

    def power(problem: Polynomial, position: int) -> Fraction | int:
        if is_exponent(task, problem, position):
            return held(problem, position)
        return int(token_at(task, problem, position) == "x")

    def excess(problem: Polynomial, tau: int) -> int:
        """The sum of `digit` over term tau: that of its 'x', and its coefficient less 1."""
        n, c = task.term(problem, tau)
        if not any(problem) and tau == 0:
            return 2  # on '0', the whole of the input
        return (n > 0) * (x - 1) + max(abs(c) - 1, 0)

    def product(problem: Polynomial, tau: int) -> int:
        n, c = task.term(problem, tau)
        return n * abs(c)

    def following(problem: Polynomial, tau: int, text: str) -> Fraction | int:
        """Behind a sign or '=' the first digit of n * c, behind it the second one, behind '^' n -
        1; and a bit.
        """
        whole, last = product(problem, tau), text[-1]
        if last in "+-=":
            return (whole if whole < 10 else Fraction(whole, 10)) + Fraction(8, 70)
        if last == "^":
            return Fraction(85, 100) * task.term(problem, tau)[0]
        if last.isdigit() and text[-2] in "+-=" and whole >= 10:
            return whole - 10 * int(last) + Fraction(1, 2)
        return 0

    def claim(meaning: Callable[[Polynomial, int, str], Fraction | int]) -> LaneClaim:
        return answering(task, meaning)

    return {
        "digit": digit,
        **flag_claims(task),
        "past": past,
        "power": power,
        "tau": claim(lambda problem, tau, text: tau),
        "square": claim(lambda problem, tau, text: tau * tau + 2),
        "n": claim(lambda problem, tau, text: task.term(problem, tau)[0]),
        "c": claim(lambda problem, tau, text: excess(problem, tau)),
        "next_x": claim(lambda problem, tau, text: excess(problem, tau + 1)),
        "next_minus": claim(lambda problem, tau, text: task.term(problem, tau + 1)[1] < 0),
        "product": claim(lambda problem, tau, text: product(problem, tau)),
        "next": claim(following),
    }
