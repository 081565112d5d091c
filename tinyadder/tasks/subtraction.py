"""Subtraction a - b of numbers of `digits` digits with a >= b.

^ 0123 - 0045 =  ->  0078
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from typing import Annotated

from tinyadder.fields import Between
from tinyadder.tasks.arithmetic import Arithmetic, Numbers
from tinyadder.tasks.arrays import Arrays
from tinyadder.tasks.base import Domain


@dataclass(frozen=True)
class Subtraction(Arithmetic):
    """a - b for 0 <= b <= a < 10^digits."""

    digits: Annotated[int, Between(1, 100)] = 10

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.digits, self.digits)

    @property
    def sign(self) -> str:
        return "-"

    @property
    def greatest(self) -> int:
        return self.tops[0]

    def result(self, problem: Numbers) -> int:
        return problem[0] - problem[1]

    def settle(self, problem: Numbers) -> Numbers:
        return (max(problem), min(problem))

    def _condition(self) -> str:
        return "subtracts the smaller number from the larger (a >= b)"

    def arrays(self) -> Arrays | None:
        arrays = super().arrays()
        return arrays and replace(arrays, accepts=lambda operands: operands[0] >= operands[1])

    def domain(self, **limits: int) -> Domain:
        """Every pair a >= b."""
        super().domain(**limits)
        count = self.tops[0] + 1

        def problem(index: int) -> Numbers:
            a = (isqrt(8 * index + 1) - 1) // 2
            return a, index - a * (a + 1) // 2

        return Domain("the pairs a >= b", count * (count + 1) // 2, problem)


TASK = Subtraction
