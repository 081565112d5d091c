"""Columns of a table as a formula of the token's value and of stored scalars.

>>> from tinyadder.lang.forms import shared
>>> table = derived(token_value * (9 - token_value) / shared(-10), "0123456789")
>>> table
d * (9 - d) / shared(-10)
>>> table.values()["3"], len(table.values())
(-1.8, 8)

A formula holds the value d of a token, whole numbers, and shared weights; any other number would
be a weight that nobody counts. It is evaluated in float64, each operation as it is written, so the
column has the same bits wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add, mul, sub, truediv
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import Added, Lane, Shared, Weight, finite, weights_in
from tinyadder.plain import as_int, short

OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "+": add,
    "-": sub,
    "*": mul,
    "/": truediv,
}
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "": 3}
LARGEST = 2**53
"""Whole numbers beyond it are no float64."""
MOST = 200
"""Operations of a formula."""


@dataclass(frozen=True)
class Formula:
    """An expression over a token's value: the value itself (`token_value`), a whole number, a
    shared weight, or an operation on two such.
    """

    operation: str
    """A key of `OPERATIONS`, or "" for a leaf."""
    parts: tuple[Any, ...] = ()
    """Two formulas; or for a leaf an integer or a shared weight, nothing for the value."""

    def __post_init__(self) -> None:
        if self.size > MOST:
            raise TinyadderError(f"a formula of more than {MOST} operations; take a table instead")

    @property
    def size(self) -> int:
        """Operations in it."""
        return 1 + sum(part.size for part in self.parts) if self.operation else 0

    def __add__(self, other: Any) -> Formula:
        return Formula("+", (self, as_formula(other)))

    def __radd__(self, other: Any) -> Formula:
        return as_formula(other) + self

    def __sub__(self, other: Any) -> Formula:
        return Formula("-", (self, as_formula(other)))

    def __rsub__(self, other: Any) -> Formula:
        return as_formula(other) - self

    def __mul__(self, other: Any) -> Formula:
        return Formula("*", (self, as_formula(other)))

    def __rmul__(self, other: Any) -> Formula:
        return as_formula(other) * self

    def __truediv__(self, other: Any) -> Formula:
        return Formula("/", (self, as_formula(other)))

    def __rtruediv__(self, other: Any) -> Formula:
        return as_formula(other) / self

    def __neg__(self) -> Formula:
        return 0 - self

    def at(self, value: int) -> float:
        """The float64 for a token of this value; never -0.

        Raises `TinyadderError` where it is no finite number.
        """
        try:
            return finite(self._at(value) + 0.0, f"the formula {self} at {value}")
        except (ZeroDivisionError, OverflowError) as error:
            raise TinyadderError(f"the formula {self} at {value}: {error}") from error

    def _at(self, value: int) -> float:
        if self.operation:
            left, right = (part._at(value) for part in self.parts)
            return OPERATIONS[self.operation](left, right)
        leaf = self.parts[0] if self.parts else value
        return leaf.value if isinstance(leaf, Shared) else float(leaf)

    def scalars(self) -> Iterator[Shared]:
        """The shared weights in it, in the order in which they stand."""
        for part in self.parts:
            if isinstance(part, Formula):
                yield from part.scalars()
            elif isinstance(part, Shared):
                yield part

    def text(self, name: Callable[[Shared], str]) -> str:
        """The formula in Python's words over `d`; `name` gives those for a shared weight."""
        if not self.operation:
            leaf = self.parts[0] if self.parts else "d"
            return name(leaf) if isinstance(leaf, Shared) else str(leaf)
        left, right = self.parts
        first, second = left.text(name), right.text(name)
        level = PRECEDENCE[self.operation]
        if PRECEDENCE[left.operation] < level:
            first = f"({first})"
        # on the right an equal level needs them, too: the order of operations decides the bits
        if PRECEDENCE[right.operation] <= level or second.startswith("-"):
            second = f"({second})"
        if self.operation == "-" and left == as_formula(0):
            return f"-{second}"
        return f"{first} {self.operation} {second}"

    def __repr__(self) -> str:
        return self.text(repr)


token_value = Formula("")
"""The value d of a token: its place in the tokens of the column."""


def as_formula(value: Any) -> Formula:
    """A formula, a whole number or a shared weight as a formula.

    Raises `TinyadderError` for anything else, floats included.
    """
    if isinstance(value, Formula):
        return value
    if isinstance(value, Shared):
        return Formula("", (value,))
    whole = as_int(value)
    if whole is None or abs(whole) > LARGEST:
        raise TinyadderError(
            f"a formula holds the token's value, whole numbers and shared weights, not"
            f" {short(value)}; a number that is stored is written shared({short(value)})"
        )
    return Formula("", (whole,))


@dataclass(frozen=True)
class DerivedColumn(Added):
    """A column of a table: token n of `tokens` has the formula's value at n, `others` what they
    are given.
    """

    formula: Formula
    tokens: tuple[str, ...]
    others: Mapping[str, Weight] = field(default_factory=dict)

    def values(self) -> dict[str, float]:
        """The entries that the formula computes, those other than 0."""
        every = {token: self.formula.at(n) for n, token in enumerate(self.tokens)}
        return {token: value for token, value in every.items() if value != 0}

    def __or__(self, others: Mapping[str, Any]) -> DerivedColumn:
        twice = set(others) & {*self.tokens, *self.others}
        if twice:
            raise TinyadderError(f"token '{min(twice)}' has a value by the formula already")
        return DerivedColumn(self.formula, self.tokens, {**self.others, **_single(others)})

    def __mul__(self, lane: Any) -> DerivedReadout:
        if not isinstance(lane, Lane) or lane.width != 1 or self.others:
            raise TinyadderError(
                f"derived(..) * ({lane}): a column of the readout is a formula for all its tokens"
                " times one lane of width 1"
            )
        return DerivedReadout({lane: self})

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return repr(self.formula)


def _single(given: Mapping[str, Any]) -> dict[str, Weight]:
    single = {}
    for token, value in given.items():
        weights = weights_in(value)
        if weights is None or len(weights) != 1:
            raise TinyadderError(f"token '{token}': a derived column holds one number a token")
        single[token] = weights[0]
    return single


@dataclass(frozen=True)
class DerivedReadout(Added):
    """A readout as a sum of columns: the logit of token n is the sum over the lanes of the column's
    value at n times the lane.
    """

    columns: Mapping[Lane, DerivedColumn]

    def __add__(self, other: Any) -> DerivedReadout:
        if not isinstance(other, DerivedReadout):
            raise TinyadderError(f"({other}) is no column; add up derived(..) * lane")
        twice = {lane.name for lane in self.columns} & {lane.name for lane in other.columns}
        if twice:
            raise TinyadderError(f"lane '{min(twice)}' has two columns; write one formula")
        return DerivedReadout({**self.columns, **other.columns})

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens of all columns. Raises `TinyadderError` where they differ."""
        orders = {column.tokens for column in self.columns.values()}
        if len(orders) != 1:
            raise TinyadderError("the columns of a readout are for the same tokens, in one order")
        return next(iter(orders))


def derived(formula: Any, tokens: Sequence[str]) -> DerivedColumn:
    """A column that a formula computes: in `Embed(lane=derived(..))`, or times a lane in
    `Unembed(argmax=derived(..) * lane + ..)`. Token n of `tokens` has the value n.

    Other tokens get numbers of their own by `derived(..) | {"+": 1}`. Raises `TinyadderError` for
    a formula that holds a float, or whose value at a token is no finite number.
    """
    column = DerivedColumn(as_formula(formula), tuple(tokens))
    if len(set(column.tokens)) != len(column.tokens) or not column.tokens:
        raise TinyadderError("derived(..): give the tokens of the column, each once")
    column.values()
    return column
