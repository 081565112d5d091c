"""The value of a polynomial with digits as coefficients, the highest first, at a digit x.

^ 3 : 205 =  ->  023      (2 x^2 + 0 x + 5 at x = 3)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks.problems import short_text
from tinyadder.tasks.words import Words


@dataclass(frozen=True)
class PolynomialValue(Words):
    """A problem is a word of degree + 2 digits: x, then the coefficients. The answer is padded with
    zeros.
    """

    degree: Annotated[int, Between(1, 100)] = 2

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789:=^")

    @property
    def letters(self) -> str:
        return "0123456789"

    @property
    def lengths(self) -> range:
        return range(self.degree + 2, self.degree + 3)

    @property
    def answer_length(self) -> int:
        return len(str(sum(9 * 9**power for power in range(self.degree + 1))))

    def _value(self, problem: str) -> int:
        x, total = int(problem[0]), 0
        for coefficient in problem[1:]:
            total = total * x + int(coefficient)
        return total

    def prompt(self, problem: str) -> str:
        return f"^{problem[0]}:{problem[1:]}="

    def answer(self, problem: str) -> str:
        return f"{self._value(problem):0{self.answer_length}}"

    def parse(self, text: str) -> str:
        x, colon, coefficients = text.strip().partition(":")
        if not colon or len(x) != 1 or len(coefficients) != self.degree + 1:
            example = "3:" + "2" * (self.degree + 1)
            raise TinyadderError(
                f"'{short_text(text.strip())}' is not x:coefficients; this task takes a digit, ':'"
                f" and {self.degree + 1} digits, the highest power first, e.g. '{example}'"
            )
        return super().parse(x + coefficients)

    def show(self, problem: str) -> str:
        return f"{problem[0]}:{problem[1:]}"

    def show_answer(self, answer: Sequence[str]) -> str:
        digits = "".join(answer)
        return digits.lstrip("0") or "0" if digits.isdigit() else digits

    def remainder(self, problem: str, position: int) -> Fraction:
        place = 10 ** (self.answer_length - 1 - position)
        return Fraction(self._value(problem) % (place * 10), place)

    def hard(self) -> list[str]:
        """Every x with one coefficient alone, with all equal, and around values that end in
        zeros.
        """
        n = self.degree + 1
        words = ["0" * i + c + "0" * (n - i - 1) for i in range(n) for c in "159"] + [
            c * n for c in "0123456789"
        ]
        words += ["9" * i + "0" * (n - i) for i in range(n)] + [
            "0" * i + "9" * (n - i) for i in range(n)
        ]
        return list(
            dict.fromkeys([*super().hard(), *(x + word for x in self.letters for word in words)])
        )


TASK = PolynomialValue
