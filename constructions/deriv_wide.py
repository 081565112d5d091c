"""The derivative for coefficients -99 .. 99 and exponents 0 .. 9, 160 weights (nonzero +
positional).

    :-12x^9+99x-4=  ->  -108x^8+99

Built like `deriv`, whose description comes first: terms are matched by tau, the number of signs,
and the largest logit decides. What is new is that numbers have several digits.

Layer 1 reads them: a head sums over the tokens of its own term so far, with slope -ln 10, so that a
digit weighs ten times more with every token that follows. At 'x' that is 10 times the coefficient,
at a digit of the answer the number written so far. Its own term is that with the same `count`:
signs so far, '=' counting two, so that input and answer have no count in common. MLP 1 keeps the
coefficient at 'x', 1 where none is written.

Layer 2 fetches power n and coefficient c of input term tau, and of the next term its x and its
minus, as in `deriv`.

MLP 3 says which digit is next. After '=' or a sign: n c up to 9, n c / 10 from 10, n c / 100 from
100. After the number q, beginning of n c: the ones digit n c - 10 q where that is 0 .. 9 (it is -9
or less when all digits are written, and 90 or more when two are to come, there the unit is switched
off by two hinges); the tens digit (n c - 100 q) / 10 where that is not negative. After '^': n - 1.
All with a little more, so that the readout rounds down; after a digit the little is 0.04 n - 0.02,
negative only after the answer '0', where n = 0.

Logits: '$' 7; '+' 8 or '-' 9 before a term with an x; 'x' 6 n after a coefficient; '^' 5 n - 4.5
after 'x'; digits 10^5 * next and more; '0' as whole answer 8.

All 199^10 polynomials cannot be tried, and no automaton of moderate size reads input and answer
term by term: they stand at different places in every text. What can be said: an answer token is
chosen from `next`, `n`, `past`, `variable`, `next_x` and `next_minus`, whose claimed values depend
on term tau, on whether term tau + 1 has an x and a minus, and on what of the term is written - some
thousands of situations, however long the text. All of them occur, and come out right, among the
polynomials of at most two terms, each of which was tried (tinyadder exhaust deriv_wide --within
terms=2), as were all of exponents up to 2 and all of coefficients -1 .. 1. That other terms add no
more than rounding to these lanes is argued above (a wrong term weighs e^-40 as much) and measured
by `tinyadder claims deriv_wide` on polynomials of all lengths (the largest errors found could be 50
times as large before a token changed), not proved: the verdict over the whole domain is Sampled.
"""

from fractions import Fraction
from math import exp, log

from tinyadder.construction import DIGIT_VALUES, Construction, LaneClaim, token_at, token_claim
from tinyadder.constructions.deriv import BEFORE, SLOPE, answering, flag_claims, is_exponent
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, concat, relu
from tinyadder.tasks.derivative import Derivative, Polynomial, derivative, is_swapped, terms_of

LANES = {
    "digit": "the digit; from MLP 0 on, 0 on exponents",
    "variable": "1 on 'x'",
    "caret": "1 on '^'",
    "start": "1 on '+', '-', '=': a term starts with the next token",
    "equals": "1 on '='",
    "minus": "1 on '-'",
    "past": ("1 where no coefficient digit stands: on signs, '=', 'x', '^' and the digit after it"),
    "power": "1 on 'x', -1 on '^', e on an exponent e: sums to n over a term",
    "count": "signs so far, '=' counting two: names a term",
    "count_square": "count^2",
    "number": (
        "q: the coefficient digits of this term so far, read as a number; at 'x' ten times that"
    ),
    "tau": "signs since '='",
    "tau_square": "tau^2",
    "size": "on 'x' of the input: the size of the coefficient",
    "n": "the exponent of the term tau of the input, 0 if it has no x",
    "c": "the size of its coefficient, where it has an x",
    "next_x": "1 if the next term of the input has an x",
    "next_minus": "1 if the next term of the input is negative",
    "product": "n * c",
    "next": "the next digit and a bit (-0.025 .. 0.965 more), 0 where no digit is next",
}
SWAPPING = {
    "xs": "how many x so far",
    "input_xs": "the same at '='",
    "second": "1000 + a if term 2 of the input is +ax, else a or less",
    "swapped": "a while a constant a is to be written before a negative term, else 0",
}
"""The lanes that `deriv_printed` has besides."""


def construct() -> Construction:
    """Coefficients -99 .. 99, exponents 0 .. 9; no options."""
    task = Derivative(coefficients=99, exponents=9)
    return Construction(wide_program(printed=False), task, wide_claims(task))


def wide_program(*, printed: bool) -> Program:
    """The program of `deriv_wide`, or with `printed` that of `deriv_printed` for as many digits."""
    x = Stream(**LANES, **(SWAPPING if printed else {}))
    return Program(
        "0123456789=:$+-x^",
        x,
        Embed(
            digit={str(d): d for d in range(1, 10)},
            variable={"x": 1},
            caret={"^": 1},
            start={"+": 1, "-": 1, "=": 1},
            equals={"=": 1},
            minus={"-": 1},
            past={"+": 1, "-": 1, "=": 1, "x": 1, "^": 1 - exp(SLOPE)},
            power={"x": 1, "^": -1},
        ),
        *_terms(x, printed),
        *_numbers(x, printed),
        *_matched(x, printed),
        _next_digit(x, printed),
        _readout(x),
    )


def _terms(x: Stream, printed: bool) -> tuple[Attention, MLP]:
    """Layer 0 names every term by its signs, and moves exponents from `digit` to `power`."""
    signs = x.start + x.equals
    counts = Head(
        query=1, key=-40, value=exp(40) * (concat(signs, x.variable) if printed else signs)
    )
    count, before = counts[0], Head(value=exp(SLOPE) * BEFORE * x.caret, slope=SLOPE)
    xs = {"xs": counts[1]} if printed else {}
    exponent = relu(x.digit) * x.past
    return (
        Attention(count=count, tau=count, **xs, past=before),
        MLP(power=exponent, digit=-1 * exponent, count_square=relu(x.count) * x.count),
    )


def _numbers(x: Stream, printed: bool) -> tuple[Attention, MLP]:
    """Layer 1 reads the number of the own term, and takes the count at '=' away from tau."""
    own = 100
    number = Head(  # -100 (count_q - count_k)^2 - 40
        query=[1, x.count, x.count_square],
        key=[-own * x.count_square - 40, 2 * own * x.count, -own],
        value=exp(40) * x.digit,
        slope=-log(10),
    )
    at_equals = Head(
        query=1, key=80 * x.equals - 40, value=concat(-x.count, x.xs) if printed else -x.count
    )
    input_xs = {"input_xs": at_equals[1]} if printed else {}
    return (
        Attention(number=number, tau=at_equals[0], **input_xs),
        MLP(
            tau_square=relu(x.tau) * x.tau,
            size=0.1 * relu(x.number) * x.variable + relu(x.variable - x.number),
        ),
    )


def _matched(x: Stream, printed: bool) -> tuple[Attention, MLP]:
    """Layer 2 fetches the term tau of the input, its successor (printed: and term 2), and
    multiplies.
    """
    score = 40
    match = Head(  # -40 (tau_q - count_k)^2 - 40
        query=[1, x.tau, x.tau_square],
        key=[-score * x.count_square - score, 2 * score * x.count, -score],
        value=exp(score) * concat(x.power, x.size),
    )
    match_next = Head(  # -40 (tau_q + 1 - count_k)^2 - 40
        query=[1, x.tau, x.tau_square],
        key=[
            -score * x.count_square + 2 * score * (x.count - 1),
            2 * score * (x.count - 1),
            -score,
        ],
        value=exp(score) * concat(x.variable, x.minus),
    )
    fetched = {"n": match[0], "c": match[1], "next_x": match_next[0], "next_minus": match_next[1]}
    product = {"product": relu(x.n) * x.c}
    if printed:
        fetched["second"] = Head(  # -40 (2 - count_k)^2 - 40, of the answer's terms 200 less
            query=1,
            key=-score * x.count_square + 4 * score * x.count - 5 * score - 100 * (x.count - x.tau),
            value=exp(score) * (x.size + 2000 * x.variable - 1000 * x.power - 2000 * x.minus),
        )
        constant = x.second - 200 * x.input_xs - 600
        first = relu(constant) * (1 - x.tau)
        product["product"] = product["product"] + first
        product["swapped"] = first
        product["next_x"] = -(relu(constant) * x.tau)
    return Attention(fetched), MLP(product)


def _next_digit(x: Stream, printed: bool) -> MLP:
    """MLP 3: the first digit of n c, what follows the digits written of it, or n - 1."""
    coefficient_digit = 1 - x.past
    ones = x.product - 10 * x.number
    tens = x.product - 100 * x.number
    little = 0.04 * x.n - 0.02 + (0.003 * x.swapped if printed else 0)
    return MLP(
        next=relu(x.start) * (x.product + 8e-5)
        - 8.97 * relu(x.product - 9) * x.start
        + 8.07 * relu(x.product - 10) * x.start
        - 9.055 * relu(x.product - 99) * x.start
        + 8.965 * relu(x.product - 100) * x.start
        + relu(ones + little) * coefficient_digit
        - 2 * relu(ones - 9.5) * coefficient_digit
        + relu(ones - 0.04 * x.n - 18.98) * coefficient_digit
        + 0.1 * relu(tens + little) * coefficient_digit
        + 0.9 * relu(x.n) * x.caret
    )


def _readout(x: Stream) -> Unembed:
    """Digit d is best between d - 0.03 and d + 0.97."""
    digits = {
        str(d): (1e5 + 400 * d) * x.next - 400 * (d * (d + 1) / 2 - 0.03 * d) for d in range(10)
    }
    return Unembed(
        argmax={
            **digits,
            "x": 6 * x.n - 1e6 * x.past,
            "^": 5 * x.n + 100 * x.variable - 104.5,
            "+": 8 * x.next_x,
            "-": 6 * x.next_x + 3 * x.next_minus,
            "$": 7,
        }
    )


# ---- what the lanes mean -------------------------------------------------------------------------


def wide_claims(task: Derivative) -> dict[str, LaneClaim]:
    """What the lanes mean: those that layers 0 and 1 write everywhere, the others from '=' on."""
    swapping = _swapping_claims(task) if task.order == "printed" else {}
    return {**swapping, **_read_claims(task), **_fetched_claims(task)}


def _read_claims(task: Derivative) -> dict[str, LaneClaim]:
    """Tokens, terms and numbers as layers 0 and 1 read them."""
    read, sign_of_power = token_claim(task, DIGIT_VALUES), token_claim(task, {"x": 1, "^": -1})
    variable = token_claim(task, {"x": 1})

    def digit(problem: Polynomial, i: int) -> Fraction:
        return Fraction(0) if is_exponent(task, problem, i) else read(problem, i)

    def power(problem: Polynomial, i: int) -> Fraction:
        return read(problem, i) if is_exponent(task, problem, i) else sign_of_power(problem, i)

    def past(problem: Polynomial, i: int) -> int:
        return int(token_at(task, problem, i) in "+-=x^" or is_exponent(task, problem, i))

    def count(problem: Polynomial, i: int) -> int:
        text = "".join(token_at(task, problem, j) for j in range(i + 1))
        return sum(text.count(sign) for sign in "+-==")

    def number(problem: Polynomial, i: int) -> Fraction:
        """The coefficient digits of the own term so far, ten times larger with every token behind
        them.
        """
        found, j = Fraction(0), i
        while j >= 0 and token_at(task, problem, j) not in ":+-=":
            found += digit(problem, j) * 10 ** (i - j)
            j -= 1
        return found

    def tau(problem: Polynomial, i: int) -> int:
        equals = len(task.prompt(problem)) - 1
        return count(problem, i) - (count(problem, equals) if i >= equals else 0)

    def size(problem: Polynomial, i: int) -> Fraction | int:
        return (number(problem, i) / 10 or 1) if variable(problem, i) else 0

    return {
        "digit": digit,
        "variable": variable,
        **flag_claims(task),
        "past": past,
        "power": power,
        "count": count,
        "count_square": lambda problem, i: count(problem, i) ** 2,
        "number": number,
        "tau": tau,
        "tau_square": lambda problem, i: tau(problem, i) ** 2,
        "size": size,
    }


def _term(task: Derivative, problem: Polynomial, tau: int) -> tuple[int, int]:
    """Exponent and size of the coefficient; (0, 0) without x."""
    n, c = task.term(problem, tau)
    return (n, abs(c)) if n else (0, 0)


def _constant(task: Derivative, problem: Polynomial) -> int:
    """a where the answer is a constant a before a negative term, else 0."""
    terms = terms_of(derivative(problem))
    return terms[1][1] if task.order == "printed" and is_swapped(terms) else 0


def _fetched_claims(task: Derivative) -> dict[str, LaneClaim]:
    """The term tau, what layers 2 and 3 make of it, and the term behind it."""

    def product(problem: Polynomial, tau: int, text: str) -> int:
        n, c = _term(task, problem, tau)
        return n * c + _constant(task, problem) * (1 - tau)

    def following(problem: Polynomial, tau: int, text: str) -> Fraction | int:
        """What is left of n * c in units of its next digit, or n - 1 after '^'; and a bit. 0 where
        no digit is next.
        """
        (n, _), whole = _term(task, problem, tau), product(problem, tau, text)
        if text[-1] == "^":
            return Fraction(9, 10) * n
        written = text[max(text.rfind(sign) for sign in "+-=") + 1 :]
        if not written:
            bit = {1: Fraction(0), 2: Fraction(3, 100), 3: Fraction(-25, 1000)}[len(str(whole))]
            return Fraction(whole, 10 ** (len(str(whole)) - 1)) + bit + Fraction(8, 100_000)
        if not written.isdigit() or len(written) == len(str(whole)):
            return 0
        unit = 10 ** (len(str(whole)) - len(written) - 1)
        little = Fraction(4 * n - 2, 100) + Fraction(3, 1000) * _constant(task, problem) * (1 - tau)
        return (whole % (10 * unit) + little) / unit

    def next_x(problem: Polynomial, tau: int, text: str) -> int:
        return int(_term(task, problem, tau + 1)[0] > 0) - _constant(task, problem) * tau

    return {
        "n": answering(task, lambda problem, tau, text: _term(task, problem, tau)[0]),
        "c": answering(task, lambda problem, tau, text: _term(task, problem, tau)[1]),
        "next_x": answering(task, next_x),
        "next_minus": answering(
            task, lambda problem, tau, text: int(task.term(problem, tau + 1)[1] < 0)
        ),
        "product": answering(task, product),
        "next": answering(task, following),
    }


def _swapping_claims(task: Derivative) -> dict[str, LaneClaim]:
    """What tells that the answer is swapped."""

    def xs(problem: Polynomial, i: int) -> int:
        return sum(token_at(task, problem, j) == "x" for j in range(i + 1))

    def second(problem: Polynomial, tau: int, text: str) -> int:
        n, c = task.term(problem, 2)
        return (abs(c) + 2000 - 1000 * n if n else 0) - 2000 * (c < 0)

    return {
        "xs": xs,
        "input_xs": answering(
            task, lambda problem, tau, text: xs(problem, len(task.prompt(problem)) - 1)
        ),
        "second": answering(task, second),
        "swapped": answering(task, lambda problem, tau, text: _constant(task, problem) * (1 - tau)),
    }
