"""The product of a number of `digits` digits and one of `second` digits.

^ 0123 * 0045 =  ->  00005535
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tinyadder.fields import Between
from tinyadder.tasks.arithmetic import Arithmetic, Numbers


@dataclass(frozen=True)
class Multiplication(Arithmetic):
    """a * b for a < 10^digits, b < 10^second; `second=0` means as many digits as the first."""

    digits: Annotated[int, Between(1, 100)] = 4
    second: Annotated[int, Between(0, 100)] = 0

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.digits, self.second or self.digits)

    @property
    def sign(self) -> str:
        return "*"

    @property
    def greatest(self) -> int:
        return 10 ** sum(self.widths) - 1

    def split_key(self, problem: Numbers) -> Numbers:
        """The factors in a fixed order: without the zeros before a number either may come first."""
        return tuple(sorted(problem))

    def result(self, problem: Numbers) -> int:
        return problem[0] * problem[1]


TASK = Multiplication
