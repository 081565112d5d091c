"""How often the letter 'a' occurs in a word of at most `length` letters.

^ abcab =  ->  2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tinyadder.fields import Between
from tinyadder.tasks.words import Words


@dataclass(frozen=True)
class Counting(Words):
    """The number of 'a', one digit; `letters_used` letters of the alphabet may occur."""

    length: Annotated[int, Between(1, 9)] = 9
    letters_used: Annotated[int, Between(2, 26)] = 3

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789" + self.letters + "=^")

    @property
    def letters(self) -> str:
        return "abcdefghijklmnopqrstuvwxyz"[: self.letters_used]

    @property
    def lengths(self) -> range:
        return range(1, self.length + 1)

    def split_key(self, problem: str) -> str:
        """The letters in alphabetical order."""
        return "".join(sorted(problem))

    def answer(self, problem: str) -> str:
        return str(problem.count("a"))


TASK = Counting
