"""How often the letter 'a' occurs in a word of at most `length` letters.

^ abcab =  ->  2
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyadder.tasks.options import check_option
from tinyadder.tasks.words import Words


@dataclass(frozen=True)
class Counting(Words):
    """The number of 'a', one digit; `letters_used` letters of the alphabet may occur."""

    length: int = 9
    letters_used: int = 3

    def __post_init__(self) -> None:
        check_option("counting", "length", self.length, 1, 9)
        check_option("counting", "letters_used", self.letters_used, 2, 26)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789" + self.letters + "=^")

    @property
    def letters(self) -> str:
        return "abcdefghijklmnopqrstuvwxyz"[: self.letters_used]

    @property
    def lengths(self) -> range:
        return range(1, self.length + 1)

    @property
    def answer_length(self) -> int:
        return 1

    def prompt(self, problem: str) -> str:
        return f"^{problem}="

    def answer(self, problem: str) -> str:
        return str(problem.count("a"))


TASK = Counting
