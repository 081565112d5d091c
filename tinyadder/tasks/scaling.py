"""A number of `digits` digits times the constant `factor`.

^ 0123 =  ->  00861      (factor 7)
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyadder.tasks.arithmetic import Arithmetic, Numbers
from tinyadder.tasks.options import check_option


@dataclass(frozen=True)
class Scaling(Arithmetic):
    """factor * a."""

    digits: int = 10
    factor: int = 7

    def __post_init__(self) -> None:
        check_option("scaling", "digits", self.digits, 1, 100)
        check_option("scaling", "factor", self.factor, 1, 10**6)

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.digits,)

    @property
    def greatest(self) -> int:
        return self.factor * self.tops[0]

    @property
    def slope(self) -> int:
        return self.factor

    def result(self, problem: Numbers) -> int:
        return self.factor * problem[0]


TASK = Scaling
