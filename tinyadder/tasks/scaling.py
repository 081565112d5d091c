"""A number of `digits` digits times the constant `factor`.

^ 0123 =  ->  00861      (factor 7)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tinyadder.fields import Between
from tinyadder.tasks.arithmetic import Arithmetic, Numbers


@dataclass(frozen=True)
class Scaling(Arithmetic):
    """factor * a."""

    digits: Annotated[int, Between(1, 100)] = 10
    factor: Annotated[int, Between(1, 10**6)] = 7

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
