"""Checks of the options that a task or a construction is made with: one rule for each kind of
annotation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tinyadder.errors import TinyadderError
from tinyadder.plain import as_int, short


@dataclass(frozen=True)
class Between:
    """The integers low .. high, as `Annotated[int, Between(1, 100)]`."""

    low: int
    high: int


def check_option(owner: str, name: str, given: object, low: int, high: int) -> int:
    """The integer that was given as option `name`. Raises `TinyadderError` unless it is one of low
    .. high.
    """
    number = as_int(given)
    if number is None or not low <= number <= high:
        raise TinyadderError(f"{owner}: {name}={short(given)}, expected an integer {low} .. {high}")
    return number


def check_choice(owner: str, name: str, given: object, choices: tuple[object, ...]) -> None:
    """Raises `TinyadderError` unless option `name` is one of `choices`; True is not 1."""
    if not any(type(given) is type(choice) and given == choice for choice in choices):
        expected = " or ".join(map(repr, choices))
        raise TinyadderError(f"{owner}: {name}={short(given)}, expected {expected}")


def check_fields(made: Any, owner: str) -> None:
    """Check every field of a frozen dataclass against its annotation; an integer of another library
    becomes an int.

    `Annotated[int, Between(low, high)]`, `bool` and `Literal[...]` have a rule, other annotations
    none. Raises `TinyadderError` for the first field that does not fit.
    """
    for name, low, high, choices in _rules(type(made)):
        if choices:
            check_choice(owner, name, getattr(made, name), choices)
        else:
            object.__setattr__(
                made, name, check_option(owner, name, getattr(made, name), low, high)
            )


@cache
def _rules(kind: type) -> list[tuple[str, int, int, tuple[object, ...]]]:
    """(field, low, high, choices) of every field that has a rule."""
    found: list[tuple[str, int, int, tuple[object, ...]]] = []
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        if get_origin(hint) is Annotated and isinstance(limits := get_args(hint)[1], Between):
            found.append((field.name, limits.low, limits.high, ()))
        elif get_origin(hint) is Literal:
            found.append((field.name, 0, 0, get_args(hint)))
        elif hint is bool:
            found.append((field.name, 0, 0, (True, False)))
    return found
