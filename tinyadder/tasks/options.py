"""Options whose bounds depend on other options; all others have theirs in annotations
(tinyadder/fields.py).
"""

from __future__ import annotations

from typing import Annotated

from tinyadder.fields import Between, checked


def check_option(owner: str, name: str, given: object, low: int, high: int) -> int:
    """The integer that was given as option `name`. Raises `TinyadderError` unless it is one of low
    .. high.
    """
    number: int = checked(given, Annotated[int, Between(low, high)], f"{owner}: {name}")
    return number
