"""Checking problems that a program gives, and reading numbers that a person wrote or pasted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.plain import as_int, short

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

SEPARATED = re.compile(r"[0-9]{1,3}([,_'’.\u00a0\u202f][0-9]{3})+")
INT2INT = re.compile(r"V[0-9]+(\s+[+-](\s+[0-9]+)+)+")


def whole_numbers(problem: Any, limits: Sequence[tuple[int, int]], takes: str) -> tuple[int, ...]:
    """`problem` as a tuple of integers, one within each of `limits`.

    Raises `TinyadderError`, which ends in `takes`, for anything else: another length, a number
    outside, a string.
    """
    if type(problem) is tuple and len(problem) == len(limits):
        for number, (low, high) in zip(problem, limits, strict=True):
            if type(number) is not int or not low <= number <= high:
                break
        else:
            return problem
    if (
        isinstance(problem, str | bytes)
        or not hasattr(problem, "__len__")
        or not hasattr(problem, "__iter__")
    ):
        raise TinyadderError(
            f"{short(problem)} is not a tuple of {len(limits)} whole number(s); {takes}"
        )
    if len(problem) != len(limits):
        raise TinyadderError(
            f"{short(problem)} has {len(problem)} number(s), expected {len(limits)}; {takes}"
        )
    numbers = []
    for given, (low, high) in zip(problem, limits, strict=True):
        number = as_int(given)
        if number is None:
            raise TinyadderError(f"{short(problem)}: {short(given)} is not a whole number; {takes}")
        if not low <= number <= high:
            raise TinyadderError(
                f"{short(problem)}: {short(number)} is outside {low} .. {high}; {takes}"
            )
        numbers.append(number)
    return tuple(numbers)


def read_number(word: str, base: int, takes: str, *, largest: int) -> int:
    """The number that `word` writes in `base`; leading zeros are free.

    Raises `TinyadderError`, which ends in `takes`, for what is no number in this base, or one above
    `largest`.
    """
    if word.startswith("-") and len(word) > 1:
        raise TinyadderError(f"'{short_text(word)}' is negative; {takes}")
    if not word or any(c not in DIGITS[:base] for c in word.lower()):
        raise TinyadderError(
            f"'{short_text(word)}' is not a whole number in base {base}{_hint(word)}; {takes}"
        )
    significant = word.lstrip("0")
    # Length first: int() refuses more than 4,300 digits.
    if base ** (len(significant) - 1) > largest if len(significant) <= 4000 else True:
        raise TinyadderError(f"'{short_text(word)}' has {len(significant):,} digits; {takes}")
    number = int(significant or "0", base)
    if number > largest:
        raise TinyadderError(f"'{word}' is too large; {takes}")
    return number


def _hint(word: str) -> str:
    """What to do about a word that was pasted with something around the number."""
    bare = word.rstrip("=")
    if bare != word and (not bare or bare.isalnum()):
        return ": leave out '='"
    if SEPARATED.fullmatch(word):
        return ": write it without separators, " + re.sub("[^0-9]", "", word)
    return ""


def refuse_pasted(text: str, takes: str) -> None:
    """Raises `TinyadderError` for lines of other programs that no task takes as they are, with how
    to write them.
    """
    line = text.strip()
    if INT2INT.fullmatch(line):
        numbers = [part.split() for part in re.findall(r"[+-](?:\s+[0-9]+)+", line)]
        if all(len(tokens) == 2 for tokens in numbers):
            written = (
                "'"
                + " ".join(tokens[1] if tokens[0] == "+" else "-" + tokens[1] for tokens in numbers)
                + "'"
            )
        else:
            written = "the numbers themselves"
        raise TinyadderError(f"'{short_text(line)}' is a line of Int2Int; write {written}; {takes}")


def short_text(text: str) -> str:
    """The text on one line, control characters escaped; its beginning where it is long."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:81])
    return shown if len(text) <= 80 else f"{shown[:60]}..."
