"""The product of two numbers modulo `modulus`, in base `base` with one token a digit.

^ + 1 4 , + 2 1 =  ->  + 2 4 $        (base 10, modulus 45)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from tinyadder.encodings import Integers
from tinyadder.fields import Between
from tinyadder.tasks.gcd import Gcd


@dataclass(frozen=True)
class ModularMultiplication(Gcd):
    """a * b mod `modulus` for a, b in 1 .. largest; a problem is the pair."""

    modulus: Annotated[int, Between(2, 10**9)] = 45

    @property
    def answer_length(self) -> int:
        return len(Integers(self.base).encode(self.modulus - 1)) + 1

    def answer(self, problem: tuple[int, int]) -> tuple[str, ...]:
        left = problem[0] * problem[1] % self.modulus
        return (*Integers(self.base).encode(left), self.end)

    def split_key(self, problem: tuple[int, int]) -> tuple[int, int]:
        """The residues of both numbers, the smaller first."""
        a, b = (number % self.modulus for number in problem)
        return min(a, b), max(a, b)

    def distinct_key(self, problem: tuple[int, int]) -> tuple[int, int]:
        return min(problem), max(problem)

    def traits(self, problem: tuple[int, int]) -> Mapping[str, int]:
        return {}


TASK = ModularMultiplication
