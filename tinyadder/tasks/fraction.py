"""A fraction in lowest terms, its numbers in base `base` with one token a digit.

^ + 1 4 / + 2 1 =  ->  + 2 / + 3 $        (base 10)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tinyadder.encodings import Integers
from tinyadder.errors import TinyadderError
from tinyadder.tasks.gcd import Gcd


@dataclass(frozen=True)
class LowestTerms(Gcd):
    """a / b in lowest terms for a, b in 1 .. largest; a problem is the pair."""

    separator: ClassVar[str] = "/"

    @property
    def answer_length(self) -> int:
        return 2 * super().answer_length

    def reduced(self, problem: tuple[int, int]) -> tuple[int, int]:
        """Both numbers divided by their greatest common divisor."""
        divisor = math.gcd(*problem)
        return problem[0] // divisor, problem[1] // divisor

    def answer(self, problem: tuple[int, int]) -> tuple[str, ...]:
        a, b = map(Integers(self.base).encode, self.reduced(problem))
        return (*a, self.separator, *b, self.end)

    def split_key(self, problem: tuple[int, int]) -> tuple[int, int]:
        """The fraction in lowest terms: all its multiples have one answer."""
        return self.reduced(problem)

    def distinct_key(self, problem: tuple[int, int]) -> tuple[int, int]:
        return problem

    def show(self, problem: tuple[int, int]) -> str:
        return f"{problem[0]}/{problem[1]}"

    def parse(self, text: str) -> tuple[int, int]:
        return super().parse(text.replace("/", " ", 1))

    def show_answer(self, answer: Sequence[str]) -> str:
        tokens = [token for token in answer if token != self.end]
        try:
            at = tokens.index(self.separator)
            a, b = map(Integers(self.base).decode, (tokens[:at], tokens[at + 1 :]))
        except (ValueError, TinyadderError):
            return " ".join(answer)
        return f"{a}/{b}"


TASK = LowestTerms
