"""Derivatives as `derivative`, but a whole number is one token instead of one a digit.

: 12 x ^ 3 - 4 =  ->  36 x ^ 2 $
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tinyadder.tasks.derivative import Derivative, Polynomial


@dataclass(frozen=True)
class DerivativeNumbers(Derivative):
    """The derivative of a polynomial, whole numbers as tokens."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        largest = max(self.coefficients, 2) * self.exponents
        return (*map(str, range(largest + 1)), *"=:$+-x^")

    def prompt(self, problem: Polynomial) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(re.findall("[0-9]+|.", super().prompt(problem)))

    def answer(self, problem: Polynomial) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(re.findall("[0-9]+|.", super().answer(problem)))

    def show_answer(self, answer: Sequence[str]) -> str:
        return "".join(answer).removesuffix("$")


TASK = DerivativeNumbers
