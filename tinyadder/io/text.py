"""Text and JSON from files and people: bounded before it is read, strict afterwards.

Every text that somebody else may have written is read with these functions, so that a byte order
mark is no part of it, and a device, an endless line, deep nesting or a number of thousands of
digits is one clear error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.io.files import opened, read_bytes, too_long

MOST_TEXT, MOST_LINES = 2**26, 2**32
"""Bytes of a text that is read whole, and of one that is read line by line."""
LONGEST_LINE = 2**20
"""Bytes of a line."""
MOST_DIGITS = 1000
"""Of a number in JSON."""


def read_text(path: Path, *, most: int = MOST_TEXT) -> str:
    """The UTF-8 text in a file, without a byte order mark. Raises `TinyadderError` where it is
    none, or is longer than `most` bytes.
    """
    return _decoded(read_bytes(path, most=most), str(path), first=True)


def read_lines(path: Path, *, most: int = MOST_LINES) -> Iterator[str]:
    """The lines of a text, without their ends, one in memory at a time. Raises `TinyadderError`
    where it is no text, or where it or a line is too long.
    """
    with opened(path, most=most) as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise TinyadderError(f"{path}, line {number} is longer than {LONGEST_LINE:,} bytes")
            if file.tell() > most:  # it grew
                raise too_long(path, most)
            yield _decoded(line, f"{path}, line {number}", first=number == 1).rstrip("\r\n")


def _decoded(content: bytes, where: str, *, first: bool) -> str:
    try:
        return content.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise TinyadderError(
            f"{where} is no UTF-8 text: byte {content[error.start]:#04x} at {error.start}"
        ) from error


def read_json(path: Path, *, most: int = MOST_TEXT) -> Any:
    """The JSON in a file; see `parse_json`."""
    return parse_json(read_text(path, most=most), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """The value that JSON `text` stands for. Raises `TinyadderError`, which begins with `where`,
    for what is no JSON, is nested too deeply, or holds a number that is not finite or has more
    than 1,000 digits.

    >>> parse_json('{"a": 1e999}', "x.json")
    Traceback (most recent call last):
    tinyadder.errors.TinyadderError: x.json is not sound JSON: 1e999 is too large a number
    """
    try:
        return json.loads(text, parse_int=_whole, parse_float=_real, parse_constant=_real)
    except RecursionError as error:
        raise TinyadderError(f"{where} is not sound JSON: it is nested too deeply") from error
    except ValueError as error:
        raise TinyadderError(f"{where} is not sound JSON: {error}") from error


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of more than {MOST_DIGITS:,} digits")
    return int(digits)


def _real(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        large = "e" in digits.lower()
        raise ValueError(f"{digits:.20} is {'too large a' if large else 'no'} number")
    return number
