"""Options whose bounds depend on other options; all others have theirs in annotations
(tinyadder/fields.py).
"""

from __future__ import annotations

from tinyadder.errors import TinyadderError
from tinyadder.plain import as_int, short


def check_option(owner: str, name: str, given: object, low: int, high: int) -> int:
    """The integer that was given as option `name`. Raises `TinyadderError` unless it is one of low
    .. high.
    """
    number = as_int(given)
    if number is None or not low <= number <= high:
        raise TinyadderError(f"{owner}: {name}={short(given)}, expected an integer {low} .. {high}")
    return number
