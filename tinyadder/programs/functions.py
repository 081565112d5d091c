"""Values of programs, and functions of them: exact numbers, operators, tables."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.plain import as_real

Value = Any
"""What a position can hold: a number (int, bool, Fraction), a string, a tuple, or None where
there is nothing.
"""


def rational(value: Any) -> Any:
    """The exact value that is meant: floats become fractions, numbers of numpy and torch numbers,
    lists tuples; everything else stays as it is.

    1/3 written as 0.333.. is the fraction 1/3: of the fractions with a denominator up to 10^6 the
    one within 1e-12.
    Raises `TinyadderError` for a float that is not finite.
    """
    if not isinstance(value, bool) and (number := as_real(value)) is not None:
        value = number
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise TinyadderError(f"{value} is not a value of a program; give finite numbers")
        near = Fraction(value).limit_denominator(10**6)
        exact = (
            near if abs(float(near) - value) <= 1e-12 * max(1.0, abs(value)) else Fraction(value)
        )
        return int(exact) if exact.denominator == 1 else exact
    if isinstance(value, Fraction) and value.denominator == 1:
        return int(value)
    if isinstance(value, list | tuple):
        return tuple(rational(item) for item in value)
    return value


def is_number(value: Any) -> bool:
    """Whether a value is a number; True is 1 and False is 0."""
    kind = type(value)  # isinstance asks the abstract base classes of Fraction, which is slow
    return kind is int or kind is Fraction or kind is bool


# ---- functions of values -------------------------------------------------------------------------


class Function:
    """A Python function on values, with the name it prints as. Operators are kept once each."""

    def __init__(
        self, call: Callable[..., Any], name: str, form: str = "", lazy: bool = False
    ) -> None:
        self.call, self.name, self.form, self.lazy = call, name, form, lazy
        self.table: dict[tuple, Value] | None = None
        """Every argument tuple that can occur, where the function is given as a table."""
        self.flat = False
        """Whether the hinges that stand for it stay level beyond the ends."""
        self.steep = False
        """Whether it spans orders of magnitude: a + b x of another column would lose the small."""

    def __call__(self, *values: Value) -> Value:
        if not self.lazy and None in values:
            return None
        return rational(self.call(*values))

    def show(self, arguments: Sequence[str]) -> str:
        return self.form.format(*arguments) if self.form else f"{self.name}({', '.join(arguments)})"


def _operator(call: Callable[..., Any], sign: str) -> Function:
    return Function(call, sign, f"({{}} {sign} {{}})")


EQUAL, UNEQUAL = _operator(operator.eq, "=="), _operator(operator.ne, "!=")
LESS, LESS_EQUAL = _operator(operator.lt, "<"), _operator(operator.le, "<=")
GREATER, GREATER_EQUAL = _operator(operator.gt, ">"), _operator(operator.ge, ">=")
BOTH = _operator(lambda a, b: bool(a) and bool(b), "&")
EITHER = _operator(lambda a, b: bool(a) or bool(b), "|")
NEITHER = Function(lambda a: not a, "~", "~{}")
TIMES = _operator(lambda a, b: a * b, "*")
CHOICE = Function(lambda c, a, b: None if c is None else a if c else b, "where", lazy=True)
SMALLER = Function(min, "minimum")
LARGER = Function(max, "maximum")
REMAINDER = _operator(operator.mod, "%")
QUOTIENT = _operator(operator.floordiv, "//")
TUPLE = Function(lambda *values: values, "together", lazy=True)
MIRRORED = {
    EQUAL: EQUAL,
    UNEQUAL: UNEQUAL,
    LESS: GREATER,
    GREATER: LESS,
    LESS_EQUAL: GREATER_EQUAL,
    GREATER_EQUAL: LESS_EQUAL,
}
OPPOSITE = {
    EQUAL: UNEQUAL,
    UNEQUAL: EQUAL,
    LESS: GREATER_EQUAL,
    GREATER_EQUAL: LESS,
    GREATER: LESS_EQUAL,
    LESS_EQUAL: GREATER,
}


class Unreachable(Exception):
    """A table has no entry for this combination: it is taken never to occur."""


def table_function(table: dict[tuple, Any]) -> Function:
    """A function from a table of argument tuples; what is not in it cannot occur."""

    def look_up(*values: Any) -> Any:
        try:
            return table[values]
        except KeyError:
            raise Unreachable(f"no entry for {values}") from None

    found = Function(look_up, "table")
    found.table = {**table}
    return found
