"""Addition modulo `modulus`; every residue is one token.

^ 57 + 91 =  ->  35      (modulus 113)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from tinyadder.errors import TinyadderError
from tinyadder.tasks.base import Domain, Task
from tinyadder.tasks.options import check_option

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Residues = tuple[int, int]


@dataclass(frozen=True)
class ModularAddition(Task):
    """(a + b) mod `modulus` for residues a, b."""

    modulus: int = 113

    def __post_init__(self) -> None:
        check_option("modular_addition", "modulus", self.modulus, 2, 1000)

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

    def parse(self, text: str) -> Residues:
        words = re.split(r"[\s+]+", text.strip())
        takes = f"this task takes two residues 0 .. {self.modulus - 1}, e.g. '1 {self.modulus - 1}'"
        for word in filter(None, words):
            if not (word.isascii() and word.isdigit()):
                raise TinyadderError(f"'{word}' is not a whole number; {takes}")
            if int(word) >= self.modulus:
                raise TinyadderError(f"'{word}' is not below the modulus {self.modulus}; {takes}")
        if len(words) != 2 or not all(words):
            raise TinyadderError(f"{text.strip()!r} is not a pair; {takes}")
        return int(words[0]), int(words[1])

    def show(self, problem: Residues) -> str:
        return f"{problem[0]} + {problem[1]}"

    def show_answer(self, answer: Sequence[str]) -> str:
        return " ".join(answer)

    def uniform(self, random: Random, count: int) -> list[Residues]:
        return [(random.randrange(self.modulus), random.randrange(self.modulus)) for _ in range(count)]

    def sample(self, random: Random, count: int) -> list[Residues]:
        """In turn: sums beside the modulus, any pair."""
        found = []
        for i, (a, b) in enumerate(self.uniform(random, count)):
            near = (self.modulus + random.randint(-2, 2) - a) % self.modulus
            found.append((a, near if i % 2 == 0 else b))
        return found

    def hard(self) -> list[Residues]:
        """Every a with the b that brings the sum to 0, modulus - 1, modulus, modulus + 1 and 2 modulus - 2."""
        p = self.modulus
        return list(dict.fromkeys((a, b % p) for a in range(p) for b in (0, p - 1 - a, p - a, p + 1 - a, p - 1)))

    def strategy(self) -> SearchStrategy[Residues]:
        from hypothesis import strategies as st

        residue = st.integers(0, self.modulus - 1)
        near = st.builds(lambda a, e: (a, (e - a) % self.modulus), residue, st.sampled_from((0, -1, 1)))
        return st.one_of(near, st.tuples(residue, residue))

    def simpler(self, problem: Residues) -> list[Residues]:
        a, b = problem
        smaller = {(a - 1, b), (a, b - 1), (a // 2, b), (a, b // 2), (0, b), (a, 0)} - {problem}
        return sorted((pair for pair in smaller if min(pair) >= 0), key=lambda pair: (sum(pair), pair))

    def domain(self, **limits: int) -> Domain:
        """Every pair of residues."""
        super().domain(**limits)
        p = self.modulus
        return Domain(f"pairs of residues mod {p}", p * p, lambda index: divmod(index, p))


TASK = ModularAddition
