"""Derivatives of polynomials in x with small integer coefficients, written out as strings.

    :-3x^3+4x^2-4=  ->  -9x^2+8x$

A coefficient 1 and an exponent 1 are not written, zero terms are left out, the zero polynomial is
`0`, no leading `+`. Terms stand in falling exponents. With order="printed" they stand as computer
algebra prints them: the same, except that a positive constant stands before a single negative term
(`4-x`, and `-x^2+4x` -> `4-2x`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, combinations, pairwise
from random import Random
from typing import Annotated, Any, Literal

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks.base import Domain, Draw, Task
from tinyadder.tasks.counterexamples import counterexamples
from tinyadder.tasks.problems import short_text, whole_numbers

Polynomial = tuple[int, ...]
"""Entry n is the coefficient of x^n."""

TERM = re.compile(
    r"(?P<sign>[+-]?)(?P<digits>[0-9]*)(?:(?P<x>x)(?:(?P<power>\^)(?P<exponent>[0-9]*))?)?"
)

HINTS = {
    " ": "terms are written without spaces",
    "\t": "terms are written without spaces",
    "/": "coefficients are whole numbers, not fractions",
    ".": "coefficients are whole numbers",
    ",": "coefficients are whole numbers",
    "(": "polynomials are written out, without brackets",
    ")": "polynomials are written out, without brackets",
    "=": "give the polynomial alone, without '='",
    "X": "the variable is a small 'x'",
    "×": "a product is written without a sign, e.g. 3x",
    "·": "a product is written without a sign, e.g. 3x",
    **dict.fromkeys("−–—‐‑‒﹣－", "this is not the minus sign of the keyboard, '-'"),
    **dict.fromkeys("⁰¹²³⁴⁵⁶⁷⁸⁹", "an exponent is written after '^', e.g. x^2"),
}


def derivative(problem: Polynomial) -> Polynomial:
    """The derivative: entry n of the result is (n+1) * problem[n+1].

    >>> derivative((-4, 0, 4, -3))
    (0, 8, -9)
    """
    return tuple(n * c for n, c in enumerate(problem))[1:]


def write(polynomial: Polynomial, *, printed: bool = False) -> str:
    """The polynomial as a string; `printed` puts a positive constant before a single negative term.

    >>> write((4, -1)), write((4, -1), printed=True), write((0, 0))
    ('-x+4', '4-x', '0')
    """
    text = "".join(
        ("-" if c < 0 else "+") + _monomial(n, abs(c))
        for n, c in terms_of(polynomial, printed=printed)
    )
    return text.removeprefix("+") or "0"


def terms_of(polynomial: Polynomial, *, printed: bool = False) -> list[tuple[int, int]]:
    """The (exponent, coefficient) pairs in the order in which `write` writes them; the zero
    polynomial has none.
    """
    terms = [(n, c) for n, c in enumerate(polynomial) if c][::-1]
    return terms[::-1] if printed and is_swapped(terms) else terms


def is_swapped(terms: Sequence[tuple[int, int]]) -> bool:
    """Whether computer algebra prints these (exponent, coefficient) pairs, given falling, the other
    way round.
    """
    return len(terms) == 2 and terms[0][0] > terms[1][0] == 0 and terms[1][1] > 0 > terms[0][1]


def _monomial(exponent: int, size: int) -> str:
    if exponent == 0:
        return str(size)
    return ("" if size == 1 else str(size)) + "x" + ("" if exponent == 1 else f"^{exponent}")


def _exceeds(digits: str, limit: int) -> bool:
    """Whether a number without leading zeros is above `limit`; length first, since int() refuses
    very long ones.
    """
    return len(digits) > len(str(limit)) or int(digits or 0) > limit


@dataclass(frozen=True)
class Derivative(Task):
    """The derivative of a polynomial; a problem is the tuple of its coefficients, that of x^n at
    index n.
    """

    coefficients: Annotated[int, Between(1, 10**6)] = 5
    """The largest coefficient, of either sign."""
    exponents: Annotated[int, Between(1, 100)] = 5
    """The largest exponent."""
    order: Literal["canonical", "printed"] = "canonical"

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789=:$+-x^")

    @property
    def end(self) -> str:
        return "$"

    @property
    def answer_length(self) -> int:
        return len(self.answer((-self.coefficients,) * (self.exponents + 1)))

    def prompt(self, problem: Polynomial) -> str:
        return f":{self.show(problem)}="

    def answer(self, problem: Polynomial) -> str:
        return write(derivative(problem), printed=self.order == "printed") + self.end

    def show(self, problem: Polynomial) -> str:
        return write(problem, printed=self.order == "printed")

    def example(self) -> Polynomial:
        """A cubic, where there is one with four terms."""
        if self.coefficients < 4 or self.exponents < 3:
            return super().example()
        return self.check((-4, 1, -2, 3))

    def term(self, problem: Polynomial, signs: int) -> tuple[int, int]:
        """(exponent, coefficient) of the term behind `signs` signs of the written problem; (0, 0)
        where none is.
        """
        terms = terms_of(problem, printed=self.order == "printed")
        if terms and terms[0][1] < 0:
            terms = [(0, 0), *terms]  # nothing stands before a leading minus
        return terms[signs] if signs < len(terms) else (0, 0)

    def show_answer(self, answer: Sequence[str]) -> str:
        return "".join(answer).removesuffix(self.end)

    def check(self, problem: Any) -> Polynomial:
        """Shorter tuples are polynomials of lower degree."""
        if isinstance(problem, tuple | list) and len(problem) <= self.exponents:
            problem = (*problem, *(0,) * (self.exponents + 1 - len(problem)))
        return whole_numbers(
            problem,
            [(-self.coefficients, self.coefficients)] * (self.exponents + 1),
            self._accepted(),
        )

    # ---- reading what a person wrote ----------------------------------------------------------

    def parse(self, text: str) -> Polynomial:
        text = text.strip()
        if not text:
            raise TinyadderError(f"the polynomial is empty; {self._accepted()}")
        for at, character in enumerate(text):
            if character not in "0123456789+-x^":
                raise self._refused(text, at, self._hint(text, at))
        problem = [0] * (self.exponents + 1)
        if text != "0":
            terms = self._terms(text)
            self._check_order(text, terms)
            for _, exponent, coefficient in terms:
                problem[exponent] = coefficient
        return tuple(problem)

    def _hint(self, text: str, at: int) -> str:
        if text[at] == "*":
            return (
                "a power is written x^2"
                if "**" in text[at : at + 2]
                else "a product is written without '*', e.g. 3x"
            )
        if text[at].isalpha() and text[at] != "X":
            return "the variable is 'x'"
        return HINTS.get(text[at], "only digits, 'x', '^', '+' and '-' occur")

    def _terms(self, text: str) -> list[tuple[int, int, int]]:
        """The terms as (position, exponent, coefficient), each checked alone."""
        terms, at = list[tuple[int, int, int]](), 0
        while at < len(text):
            match = TERM.match(text, at)
            assert match is not None  # every part of TERM may be missing
            self._check_term(text, at, match)
            exponent = int(match["exponent"] or 1) if match["x"] else 0
            coefficient = int(match["digits"] or 1) * (-1 if match["sign"] == "-" else 1)
            terms.append((at, exponent, coefficient))
            at = match.end()
        return terms

    def _check_term(self, text: str, at: int, match: re.Match[str]) -> None:
        digits, x, exponent = match["digits"], match["x"], match["exponent"] or ""
        number, power = match.start("digits"), match.start("exponent")
        largest = f"coefficients go from -{self.coefficients} to {self.coefficients}"
        checks: list[tuple[bool, int, str]] = [
            (at == 0 and match["sign"] == "+", at, "the first term has no '+'"),
            (not match["sign"] and text[at] == "^", at, "an exponent belongs to an 'x'"),
            (at > 0 and not match["sign"], at, "between two terms stands '+' or '-'"),
            (not digits and not x, match.end(), "after a sign comes a number or 'x'"),
            (
                digits[:1] == "0",
                number,
                "zero terms are left out and numbers have no leading zero; '0' stands alone",
            ),
            (bool(x) and digits == "1", number, "a coefficient 1 is not written, e.g. x^2"),
            (_exceeds(digits, self.coefficients), number, largest),
            (
                bool(match["power"]) and not exponent,
                power,
                "after '^' comes the exponent, digits only",
            ),
            (exponent[:1] == "0", power, "x^0 is not written: a constant stands alone"),
            (exponent == "1", power, "an exponent 1 is not written: x"),
            (_exceeds(exponent, self.exponents), power, f"exponents go up to {self.exponents}"),
        ]
        for wrong, place, rule in checks:
            if wrong:
                raise self._refused(text, place, rule)

    def _check_order(self, text: str, terms: list[tuple[int, int, int]]) -> None:
        if self.order == "printed":
            if is_swapped([term[1:] for term in terms[::-1]]):
                return
            if is_swapped([term[1:] for term in terms]):
                raise self._refused(
                    text, 0, "a positive constant stands before a single negative term, e.g. 4-x"
                )
        for (_, before, _), (at, exponent, _) in pairwise(terms):
            if exponent == before:
                raise self._refused(text, at, "each exponent occurs once")
            if exponent > before:
                raise self._refused(text, at, "exponents fall from left to right")

    def _refused(self, text: str, at: int, rule: str) -> TinyadderError:
        place = f"character {at + 1} ({text[at]!r})" if at < len(text) else "the end"
        return TinyadderError(f"'{short_text(text)}', at {place}: {rule}; {self._accepted()}")

    def _accepted(self) -> str:
        top = min(3, self.exponents)
        example = [0] * (self.exponents + 1)
        example[0], example[top - 1], example[top] = (
            -1,
            min(4, self.coefficients),
            -min(3, self.coefficients),
        )
        printed = (
            ", a positive constant before a single negative term" if self.order == "printed" else ""
        )
        return (
            f"accepted: terms in falling exponents {self.exponents} .. 0{printed}, coefficients "
            f"-{self.coefficients} .. {self.coefficients}, e.g. '{self.show(tuple(example))}'"
        )

    # ---- samples ------------------------------------------------------------------------------

    def _edges(self) -> list[int]:
        """Coefficients where something changes: 1, the largest, and where n*c or c gets another
        digit.
        """
        sizes = {1, 2, self.coefficients}
        for top in (10, 100, 1000):
            for n in range(1, self.exponents + 1):
                sizes |= {-(-top // n) + step for step in (-1, 0, 1)}
        return sorted(c for c in sizes if 1 <= c <= self.coefficients)

    def uniform(self, random: Random, count: int) -> list[Polynomial]:
        limit = self.coefficients
        return [
            tuple(random.randint(-limit, limit) for _ in range(self.exponents + 1))
            for _ in range(count)
        ]

    def balanced(self, random: Random, count: int) -> list[Polynomial]:
        """Degree uniform in 1 .. exponents, then every coefficient uniform, the leading one not
        0.
        """
        limit, polynomials = self.coefficients, list[Polynomial]()
        for _ in range(count):
            degree = random.randint(1, self.exponents)
            lead = random.choice((-1, 1)) * random.randint(1, limit)
            lower = [random.randint(-limit, limit) for _ in range(degree)]
            polynomials.append((*lower, lead, *(0,) * (self.exponents - degree)))
        return polynomials

    def focused(self, random: Random, count: int) -> list[Polynomial]:
        """Half of them balanced, a sixth structured, a third where the printed order may change.

        The last are one higher term and a constant (the order of the problem), or one higher term,
        a linear one and any constant (the order of the answer); half of them have the signs for
        which it does change.
        """

        def turned() -> Polynomial:
            polynomial, limit = [0] * (self.exponents + 1), self.coefficients
            lower = random.choice((0, 1, 1, 1))
            polynomial[0] = random.randint(-limit, limit)
            signs = (
                (1, -1)
                if random.random() < 0.5
                else (random.choice((-1, 1)), random.choice((-1, 1)))
            )
            for n, sign in zip((lower, random.randint(1, self.exponents)), signs, strict=True):
                polynomial[n] = sign * random.randint(1, limit)
            return tuple(polynomial)

        balanced, structured = (
            self.balanced(random, count // 2),
            self.structured(random, count // 6),
        )
        return [*balanced, *structured, *(turned() for _ in range(count - count // 2 - count // 6))]

    def split_key(self, problem: Polynomial) -> Polynomial:
        """All coefficients but the constant, which never changes the derivative."""
        return problem[1:]

    def distinct_key(self, problem: Polynomial) -> Polynomial:
        """The polynomial: with another constant it is written otherwise."""
        return problem

    def traits(self, problem: Polynomial) -> Mapping[str, int]:
        return {"degree": max((n for n, c in enumerate(problem) if c), default=0)}

    @property
    def outside(self) -> str:
        return "polynomials of three terms or more, all of one sign"

    def is_outside(self, problem: Polynomial) -> bool:
        """Every term occurs with either sign elsewhere; three or more of one sign never meet."""
        terms = [c for c in problem if c]
        return len(terms) >= 3 and len({c > 0 for c in terms}) == 1

    @property
    def wider(self) -> Derivative:
        """Coefficients larger by 8 / 5, as in the published file of problems out of distribution
        (-8 .. 8 for -5 .. 5).
        """
        return replace(self, coefficients=8 * self.coefficients // 5)

    def draws(self) -> list[Draw]:
        """Sparse and dense polynomials, whose coefficients are at edges more or less often."""
        edges = self._edges()

        def one(random: Random) -> Polynomial:
            filled, at_edge = random.random(), random.random()
            sizes = [
                random.choice(edges)
                if random.random() < at_edge
                else random.randint(1, self.coefficients)
                for _ in range(self.exponents + 1)
            ]
            return tuple(
                random.choice((-1, 1)) * size if random.random() < filled else 0 for size in sizes
            )

        return [one]

    def hard(self) -> list[Polynomial]:
        width, edges = self.exponents + 1, self._edges()
        polynomials: list[Polynomial] = [*counterexamples(self), (0,) * width]
        for n in range(width):
            others: list[dict[int, int]] = [
                {},
                *({m: s} for m in {0, 1, n - 1, n + 1} for s in (-1, 1, 2)),
            ]
            for size in edges:
                for other in others:
                    polynomials += [
                        tuple({**other, n: c}.get(m, 0) for m in range(width))
                        for c in (size, -size)
                    ]
        for size in edges:
            polynomials += [
                (size,) * width,
                (-size,) * width,
                tuple(size * (-1) ** m for m in range(width)),
            ]
        return list(dict.fromkeys(polynomials))

    def simpler(self, problem: Polynomial) -> list[Polynomial]:
        """A term less, a minus less, or a smaller coefficient: fewer terms first."""

        def changed(to: Callable[[int], int]) -> list[Polynomial]:
            polynomials = [(*problem[:n], to(c), *problem[n + 1 :]) for n, c in enumerate(problem)]
            return [polynomial for polynomial in polynomials if polynomial != problem]

        return [
            *changed(lambda c: 0),
            *changed(abs),
            *changed(lambda c: min(c, 1)),
            *changed(lambda c: c - (c > 0)),
        ]

    def domain(self, **limits: int) -> Domain:
        """Every polynomial within these `exponents` and `coefficients` (default: the task's), the
        constant fastest.

        With `terms` only those of at most so many nonzero terms, fewest first.
        """
        exponents = limits.pop("exponents", self.exponents)
        coefficients = limits.pop("coefficients", self.coefficients)
        terms = limits.pop("terms", exponents + 1)
        most = self.exponents + 1
        if limits or not (
            0 <= exponents < most
            and 1 <= coefficients <= self.coefficients
            and 0 <= terms <= exponents + 1
        ):
            given = next(
                iter(limits), f"exponents={exponents}, coefficients={coefficients}, terms={terms}"
            )
            raise TinyadderError(
                f"the domain of this task takes exponents=0 .. {self.exponents}, coefficients=1 .. "
                f"{self.coefficients} and terms=0 .. exponents + 1; {given} was given"
            )
        name = (
            f"the polynomials of exponents 0 .. {exponents} and coefficients -{coefficients} .."
            f" {coefficients}"
        )
        if terms <= exponents:
            return self._sparse(name, exponents, coefficients, terms)
        base = 2 * coefficients + 1

        def problem(index: int) -> Polynomial:
            polynomial = [0] * most
            for n in range(exponents + 1):
                index, place = divmod(index, base)
                polynomial[n] = place - coefficients
            return tuple(polynomial)

        return Domain(name, base ** (exponents + 1), problem)

    def _sparse(self, name: str, exponents: int, coefficients: int, terms: int) -> Domain:
        """Index by index: the exponents that occur, fewest first, and for each choice all nonzero
        coefficients.
        """
        chosen = [
            places for k in range(terms + 1) for places in combinations(range(exponents + 1), k)
        ]
        ends = list(accumulate((2 * coefficients) ** len(places) for places in chosen))

        def problem(index: int) -> Polynomial:
            which = bisect_right(ends, index)
            index -= ends[which - 1] if which else 0
            polynomial = [0] * (self.exponents + 1)
            for n in chosen[which]:
                index, place = divmod(index, 2 * coefficients)
                polynomial[n] = place - coefficients + (place >= coefficients)
            return tuple(polynomial)

        return Domain(f"{name} with at most {terms} term{'s' * (terms != 1)}", ends[-1], problem)


TASK = Derivative
