"""The larger of two numbers of `digits` digits, most significant digit first.

^ 0123 , 0456 :  ->  0456
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tinyadder.tasks.pairs import Pair, PairTask


@dataclass(frozen=True)
class Maximum(PairTask):
    """max(a, b), written with as many digits as the operands."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789,:^")

    @property
    def answer_length(self) -> int:
        return self.digits

    def prompt(self, problem: Pair) -> str:
        a, b = problem
        return f"^{a:0{self.digits}},{b:0{self.digits}}:"

    def answer(self, problem: Pair) -> str:
        return f"{max(problem):0{self.digits}}"

    def split_key(self, problem: Pair) -> Pair:
        """Either number may come first."""
        return min(problem), max(problem)

    def show_answer(self, answer: Sequence[str]) -> str:
        digits = "".join(answer)
        return digits.lstrip("0") or "0" if digits.isdigit() else digits

    def remainder(self, problem: Pair, position: int) -> Fraction:
        place = 10 ** (self.digits - 1 - position)
        return Fraction(max(problem) % (place * 10), place)


TASK = Maximum
