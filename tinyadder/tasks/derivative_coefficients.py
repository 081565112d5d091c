"""Derivatives in fixed slots: sign and digit of every coefficient, from the highest exponent down.

    :+0+0-3+4+0-4=  ->  +00+00-09+08+00        (-3x^3 + 4x^2 - 4  ->  -9x^2 + 8x)

The answer has a sign, a tens and a ones digit for each n * c_n, n = exponents .. 1; zero is written
`+`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from tinyadder.fields import Between
from tinyadder.tasks.base import Domain, Draw, Task
from tinyadder.tasks.derivative import Derivative, Polynomial, derivative, write


def _sign(number: int) -> str:
    return "-" if number < 0 else "+"


@dataclass(frozen=True)
class DerivativeCoefficients(Task):
    """n * c_n for coefficients -9 .. 9; a problem is the tuple of coefficients, that of x^n at
    index n.
    """

    exponents: Annotated[int, Between(1, 9)] = 5

    @property
    def _polynomials(self) -> Derivative:
        return Derivative(coefficients=9, exponents=self.exponents)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789=:+-")

    @property
    def answer_length(self) -> int:
        return 3 * self.exponents

    def prompt(self, problem: Polynomial) -> str:
        return ":" + "".join(f"{_sign(c)}{abs(c)}" for c in problem[::-1]) + "="

    def answer(self, problem: Polynomial) -> str:
        return "".join(f"{_sign(c)}{abs(c):02}" for c in derivative(problem)[::-1])

    def check(self, problem: Any) -> Polynomial:
        return self._polynomials.check(problem)

    def parse(self, text: str) -> Polynomial:
        return self._polynomials.parse(text)

    def show(self, problem: Polynomial) -> str:
        return write(problem)

    def show_answer(self, answer: Sequence[str]) -> str:
        text = "".join(answer)
        slots = [text[at : at + 3] for at in range(0, len(text), 3)]
        if len(text) != self.answer_length or not all(
            s[0] in "+-" and s[1:].isdecimal() for s in slots
        ):
            return text
        return write(tuple(int(slot) for slot in slots[::-1]))

    def split_key(self, problem: Polynomial) -> Polynomial:
        return self._polynomials.split_key(problem)

    def distinct_key(self, problem: Polynomial) -> Polynomial:
        return self._polynomials.distinct_key(problem)

    def uniform(self, random: Random, count: int) -> list[Polynomial]:
        return self._polynomials.uniform(random, count)

    def draws(self) -> Sequence[Draw]:
        return self._polynomials.draws()

    def hard(self) -> list[Polynomial]:
        return self._polynomials.hard()

    def simpler(self, problem: Polynomial) -> list[Polynomial]:
        return self._polynomials.simpler(problem)

    def domain(self, **limits: int) -> Domain:
        """As the domain of the task `derivative`, for coefficients up to 9."""
        return self._polynomials.domain(**limits)


TASK = DerivativeCoefficients
