"""Addition modulo `modulus`; every residue is one token.

^ 57 + 91 =  ->  35      (modulus 113)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks.base import Domain, Draw, Task
from tinyadder.tasks.problems import read_number, refuse_pasted, short_text, whole_numbers

Residues = tuple[int, int]


@dataclass(frozen=True)
class ModularAddition(Task):
    """(a + b) mod `modulus` for residues a, b."""

    modulus: Annotated[int, Between(2, 1000)] = 113

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*map(str, range(self.modulus)), "+", "=", "^")

    @property
    def answer_length(self) -> int:
        return 1

    def prompt(self, problem: Residues) -> tuple[str, ...]:
        return ("^", str(problem[0]), "+", str(problem[1]), "=")

    def answer(self, problem: Residues) -> tuple[str, ...]:
        return (str(sum(problem) % self.modulus),)

    def split_key(self, problem: Residues) -> Residues:
        """Either number may come first."""
        return min(problem), max(problem)

    def check(self, problem: Any) -> Residues:
        first, second = whole_numbers(problem, [(0, self.modulus - 1)] * 2, self._takes())
        return first, second

    def _takes(self) -> str:
        return f"this task takes two residues 0 .. {self.modulus - 1}, e.g. '1 {self.modulus - 1}'"

    def parse(self, text: str) -> Residues:
        refuse_pasted(text, self._takes())
        words = re.split(r"[\s+]+", text.strip())
        numbers = [
            read_number(word, 10, self._takes(), largest=self.modulus - 1) for word in words if word
        ]
        if len(words) != 2 or len(numbers) != 2:
            raise TinyadderError(f"'{short_text(text.strip())}' is not a pair; {self._takes()}")
        return numbers[0], numbers[1]

    def show(self, problem: Residues) -> str:
        return f"{problem[0]} + {problem[1]}"

    def show_answer(self, answer: Sequence[str]) -> str:
        return " ".join(answer)

    def uniform(self, random: Random, count: int) -> list[Residues]:
        return [
            (random.randrange(self.modulus), random.randrange(self.modulus)) for _ in range(count)
        ]

    def draws(self) -> list[Draw]:
        """In turn: sums beside the modulus, any pair."""
        return [self._near, lambda random: self.uniform(random, 1)[0]]

    def _near(self, random: Random) -> Residues:
        a = random.randrange(self.modulus)
        return a, (random.randint(-2, 2) - a) % self.modulus

    def hard(self) -> list[Residues]:
        """Every a with the b that brings the sum to 0, modulus - 1, modulus, modulus + 1 and 2
        modulus - 2.
        """
        p = self.modulus
        return list(
            dict.fromkeys(
                (a, b % p) for a in range(p) for b in (0, p - 1 - a, p - a, p + 1 - a, p - 1)
            )
        )

    def simpler(self, problem: Residues) -> list[Residues]:
        a, b = problem
        smaller = {(a - 1, b), (a, b - 1), (a // 2, b), (a, b // 2), (0, b), (a, 0)} - {problem}
        return sorted(
            (pair for pair in smaller if min(pair) >= 0), key=lambda pair: (sum(pair), pair)
        )

    def domain(self, **limits: int) -> Domain:
        """Every pair of residues."""
        super().domain(**limits)
        p = self.modulus
        return Domain(f"pairs of residues mod {p}", p * p, lambda index: divmod(index, p))


TASK = ModularAddition
