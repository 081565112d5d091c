"""Rewriting a word of `length` digits: copied, reversed, or sorted.

^ 3141 =  ->  3141 / 1413 / 1134
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

from tinyadder.fields import Between
from tinyadder.tasks.words import Words

How = Literal["copy", "reverse", "sort"]


@dataclass(frozen=True)
class Rewriting(Words):
    """The same digits in the order that `how` says."""

    length: Annotated[int, Between(1, 100)] = 5
    how: How = "copy"

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789=^")

    @property
    def letters(self) -> str:
        return "0123456789"

    @property
    def lengths(self) -> range:
        return range(self.length, self.length + 1)

    @property
    def answer_length(self) -> int:
        return self.length

    def answer(self, problem: str) -> str:
        return {"copy": problem, "reverse": problem[::-1], "sort": "".join(sorted(problem))}[
            self.how
        ]

    def remainder(self, problem: str, position: int) -> Fraction:
        left = self.answer(problem)[position:]
        return Fraction(int(left), 10 ** (len(left) - 1))

    def hard(self) -> list[str]:
        """Words with one or two other digits at every place, ascending, descending and with a
        dominant neighbour.
        """
        n = self.length
        words = [
            (word * n)[:n]
            for word in ("0123456789", "9876543210", "90", "09", "89", "98", "10", "01", "19")
        ]
        for a in "059":
            for b in "0189":
                words += [a * i + b + a * (n - i - 1) for i in range(n)]
                words += [a * i + b * (n - i) for i in range(n)]
        return list(dict.fromkeys([*super().hard(), *words]))


TASK = Rewriting
