"""Values checked against annotations: the fields of a dataclass, the options of a construction,
data from files.

A bound is part of the annotation, `digits: Annotated[int, Between(1, 1000)]`, so that types, sets
of values and bounds are stated once, where the field is, and are checked before anything is made of
the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, ValidationError, convert

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.plain import as_real, short


def Between(low: float, high: float) -> Meta:
    """The numbers low .. high, as `Annotated[int, Between(1, 100)]`."""
    return Meta(ge=low, le=high)


INTEGER = Annotated[int, Between(-1_000_000, 1_000_000)]
NUMBER = Annotated[float, Between(-1e300, 1e300)]
"""What a plain `int` and a plain `float` mean in an annotation; NaN is outside of all bounds."""

T = TypeVar("T")


def checked(value: Any, hint: Any, where: str) -> Any:
    """`value` as the annotation `hint` wants it: lists become tuples, whole numbers (numpy's too)
    may stand for floats.

    Raises `TinyadderError`, which begins with `where=value`, for another type, another value, NaN,
    or out of bounds.

    >>> checked([1, 2], tuple[float, ...], "betas")
    (1.0, 2.0)
    >>> checked("yess", Literal["yes", "no"], "answer")
    Traceback (most recent call last):
    tinyadder.errors.TinyadderError: answer='yess', expected 'yes' or 'no'; did you mean 'yes'?
    """
    try:
        number = as_real(value)
        plain = value if number is None else number if isinstance(number, int) else float(number)
        return convert(plain, _bounded(hint))
    except (ValidationError, OverflowError) as error:
        raise TinyadderError(
            f"{where}={short(value)}, expected {_expected(hint, value, error)}"
        ) from None


def check_fields(data: Any, where: str) -> None:
    """Check every field of the dataclass `data` against its annotation, for its `__post_init__`;
    see `checked`.
    """
    for name, hint in _hints(type(data)).items():  # type: ignore[arg-type]
        value = getattr(data, name)
        plain = checked(value, hint, f"{where}: {name}")
        if plain is not value:
            object.__setattr__(data, name, plain)  # a frozen one too: 1 for 1.0, a tuple for a list


def from_json(kind: type[T], data: Any, where: str) -> T:
    """The dataclass `kind` that JSON `data` describes, nested ones too. Raises `TinyadderError` for
    what does not fit.

    Unknown keys are refused; missing ones have their defaults.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    if not isinstance(data, Mapping):
        raise TinyadderError(
            f"{where} is {short(data)}, expected an object with {', '.join(hints)}"
        )
    for key in data:
        if key not in hints:
            raise TinyadderError(f"{where} has no {short(key)}{did_you_mean(str(key), hints)}")
    values = {key: _read(value, hints[key], f"{where}: {key}") for key, value in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        missing = [f.name for f in fields(kind) if f.name not in values]  # type: ignore[arg-type]
        raise TinyadderError(f"{where} lacks one of {', '.join(missing)}: {error}") from None


def _read(value: Any, hint: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    inner = get_args(hint)
    nested = [part for part in inner if is_dataclass(part)]
    if get_origin(hint) in (Union, UnionType) and nested and value is not None:
        return from_json(nested[0], value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and is_dataclass(inner[0]) and isinstance(value, list | tuple):
        return tuple(from_json(inner[0], item, f"{where}[{i}]") for i, item in enumerate(value))  # type: ignore[arg-type]
    return checked(value, hint, where)


@cache
def _bounded(hint: Any) -> Any:
    """The annotation with bounds for its plain numbers, inside of tuples and unions too; a function
    and an object of a class of ours may be anything.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return tuple[tuple(part if part is ... else _bounded(part) for part in inner)]  # type: ignore[misc]
    if origin in (Union, UnionType):
        return Union[tuple(map(_bounded, inner))]  # noqa: UP007 (made, not written)
    if origin is Callable or (isinstance(hint, type) and hint.__module__ != "builtins"):
        return Any
    return {int: INTEGER, float: NUMBER}.get(hint, hint)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _expected(hint: Any, value: Any, error: Exception) -> str:
    """What the annotation takes, in words."""
    hint = _bounded(hint)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        *others, last = (repr(choice) for choice in inner)
        guess = did_you_mean(value, inner) if isinstance(value, str) else ""
        return (f"{', '.join(others)} or {last}" if others else last) + guess
    if hint is bool:
        return "True or False"
    kind, limits = (inner[0], inner[1]) if origin is Annotated else (hint, Meta())
    if kind in (int, float):
        return f"{'an integer' if kind is int else 'a number'}{_bounds(limits)}"
    if kind is str:
        return "text" + (f" of at most {limits.max_length} characters" if limits.max_length else "")
    if origin in (Union, UnionType) and NoneType in inner:
        some = (_expected(part, value, error) for part in inner if part is not NoneType)
        return f"{', '.join(some)}, or None"
    if hint is list:
        return "a list"
    return str(error).replace("`array`", "a list").replace("`", "'").removeprefix("Expected ")


def _bounds(limits: Meta) -> str:
    low, high = (
        (limits.ge if limits.gt is None else limits.gt),
        (limits.le if limits.lt is None else limits.lt),
    )
    if low is None and high is None:
        return ""
    ends = "".join(f", {end} excluded" for end in (limits.gt, limits.lt) if end is not None)
    return f" >= {low}" if high is None else f" {low} .. {high}{ends}"
