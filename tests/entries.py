"""Submission files in many styles: honest adders, and cheats with one trick each.

All are variations (`data/entries.toml`) of one file, `data/adder.py.txt`: digits come least
significant first, four heads fetch the digits of this column and of the one before, the carry is
what the column before left over its written digit, and the readout is a parabola.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"
TEMPLATE = (DATA / "adder.py.txt").read_text()
_VARIATIONS = tomllib.loads((DATA / "entries.toml").read_text())


@dataclass(frozen=True)
class Cheat:
    """A file, the check that must fail, and what it must say."""

    text: str
    fails: str
    said: str


def _changed(changes: list[list[str]]) -> str:
    text = TEMPLATE
    for part, new in changes:
        old = _VARIATIONS["parts"].get(part, part)
        assert text.count(old) == 1, (text.count(old), old)
        text = text.replace(old, new)
    return text


HONEST = {name: _changed(found["changes"]) for name, found in _VARIATIONS["honest"].items()}
CHEATS = {
    name: Cheat(_changed(found["changes"]), found["fails"], found["said"])
    for name, found in _VARIATIONS["cheat"].items()
}
