"""Faults for the tests of the second checker, addressed in its JavaScript by function and by call,
condition or operator; see planting.py. A fault that finds no such place, or too many, is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Fault = Callable[[str], str]
"""Source -> source."""
CLOSING = {"(": ")", "[": "]", "{": "}"}


def closing(source: str, start: int) -> int:
    """The place of the bracket that closes the one at `start`. No brackets in strings, please."""
    depth = 0
    for i in range(start, len(source)):
        depth += (source[i] in CLOSING) - (source[i] in CLOSING.values())
        if not depth:
            return i
    raise AssertionError("a bracket stays open")


def arguments(source: str, start: int) -> tuple[list[str], int]:
    """The arguments of the call whose bracket opens at `start`, and the place behind it."""
    end, found, last = closing(source, start), [], start + 1
    i = last
    while i < end:
        if source[i] in CLOSING:
            i = closing(source, i)
        elif source[i] == ",":
            found.append(source[last:i].strip())
            last = i + 1
        i += 1
    return [*found, source[last:end].strip()], end + 1


def within(function: str, change: Callable[[str], str]) -> Fault:
    """Apply `change` to the body of a function or method."""

    def fault(source: str) -> str:
        heads = [*re.finditer(rf"(?:^ *|function ){function}(?=\([^()]*\) \{{)", source, re.M)]
        assert len(heads) == 1, f"{len(heads)} functions {function}"
        start = source.index("{", closing(source, heads[0].end()))
        end = closing(source, start)
        changed = change(source[start:end])
        assert changed != source[start:end], f"{function}: no change"
        return source[:start] + changed + source[end:]

    return fault


def _only(pattern: str, body: str, nth: int | None) -> re.Match[str]:
    found = [*re.finditer(pattern, body)]
    assert found if nth is not None else len(found) == 1, f"{len(found)} places of {pattern}"
    return found[nth or 0]


def instead(function: str, call: str, other: str, nth: int | None = None) -> Fault:
    """`other`, in which {0}, {1} .. are the arguments, instead of a call."""

    def change(body: str) -> str:
        place = _only(rf"(?<![\w.]){call}(?=\()", body, nth)
        given, end = arguments(body, place.end())
        return body[: place.start()] + other.format(*given) + body[end:]

    return within(function, change)


def dropped(function: str, method: str) -> Fault:
    """x instead of x.method(..)."""

    def change(body: str) -> str:
        place = _only(rf"\.{method}(?=\()", body, None)
        return body[: place.start()] + body[closing(body, place.end()) + 1 :]

    return within(function, change)


def never(function: str, nth: int) -> Fault:
    """The condition of an `if` is false."""

    def change(body: str) -> str:
        place = _only(r"\bif (?=\()", body, nth)
        return body[: place.end()] + "(false)" + body[closing(body, place.end()) + 1 :]

    return within(function, change)


def swapped(function: str, pattern: str, other: str, nth: int | None = None) -> Fault:
    """Another operator (a regular expression finds it) or name."""

    def change(body: str) -> str:
        place = _only(pattern, body, nth)
        return body[: place.start()] + other + body[place.end() :]

    return within(function, change)
