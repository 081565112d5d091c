"""A number of `digits` digits in base `radix`, written in base 10.

^ 00101010 =  ->  042      (base 2, 8 digits)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tinyadder.fields import Between
from tinyadder.tasks.arithmetic import Arithmetic, Numbers


@dataclass(frozen=True)
class Conversion(Arithmetic):
    """The decimal digits of a number given in base 2 .. 9."""

    digits: Annotated[int, Between(1, 400)] = 20
    radix: Annotated[int, Between(2, 9)] = 2

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.digits,)

    @property
    def base(self) -> int:
        return self.radix

    @property
    def greatest(self) -> int:
        return self.tops[0]

    def result(self, problem: Numbers) -> int:
        return problem[0]


TASK = Conversion
