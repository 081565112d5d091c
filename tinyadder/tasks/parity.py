"""The parity of a word of `length` bits: in one token, or bit by bit.

^ 1011 =  ->  1          (steps=False)
^ 1011 =  ->  1101       (steps=True: parity of the first 1, 2, 3, .. bits, the answer last)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import xor
from typing import Annotated

from tinyadder.fields import Between
from tinyadder.tasks.words import Words


@dataclass(frozen=True)
class Parity(Words):
    """1 if the number of ones is odd; with `steps`, of every beginning of the word."""

    length: Annotated[int, Between(1, 10_000)] = 16
    steps: bool = True

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("01=^")

    @property
    def letters(self) -> str:
        return "01"

    @property
    def lengths(self) -> range:
        return range(self.length, self.length + 1)

    @property
    def answer_length(self) -> int:
        return self.length if self.steps else 1

    def answer(self, problem: str) -> str:
        parities = "".join(map(str, accumulate(map(int, problem), xor)))
        return parities if self.steps else parities[-1]

    def show_answer(self, answer: Sequence[str]) -> str:
        return answer[-1] if answer else ""


TASK = Parity
