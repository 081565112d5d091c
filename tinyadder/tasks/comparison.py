"""Comparison of two numbers of `digits` digits, most significant digit first.

^ 0123 ? 0456 :  ->  <
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyadder.tasks.pairs import Pair, PairTask


@dataclass(frozen=True)
class Comparison(PairTask):
    """Which of '<', '=', '>' stands between the two numbers."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("<=>0123456789?:^")

    @property
    def answer_length(self) -> int:
        return 1

    def prompt(self, problem: Pair) -> str:
        a, b = problem
        return f"^{a:0{self.digits}}?{b:0{self.digits}}:"

    def answer(self, problem: Pair) -> str:
        a, b = problem
        return "<" if a < b else ">" if a > b else "="


TASK = Comparison
