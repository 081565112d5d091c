"""Checks of the options that a task or a construction is made with."""

from __future__ import annotations

from tinyadder.errors import TinyadderError


def check_option(task: str, name: str, given: object, low: int, high: int) -> None:
    """Raises `TinyadderError` unless the option `name` of `task` is an integer low .. high."""
    if not isinstance(given, int) or isinstance(given, bool) or not low <= given <= high:
        raise TinyadderError(f"{task}: {name}={given!r}, expected an integer {low} .. {high}")
