"""A number of `digits` digits in base `radix`, written in base 10.

^ 00101010 =  ->  042      (base 2, 8 digits)
"""

from __future__ import annotations

from dataclasses import dataclass

from tinyadder.tasks.arithmetic import Arithmetic, Numbers
from tinyadder.tasks.options import check_option


@dataclass(frozen=True)
class Conversion(Arithmetic):
    """The decimal digits of a number given in base 2 .. 9."""

    digits: int = 20
    radix: int = 2

    def __post_init__(self) -> None:
        check_option("conversion", "digits", self.digits, 1, 400)
        check_option("conversion", "radix", self.radix, 2, 9)

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
