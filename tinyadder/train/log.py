"""The log of a run: one JSON object a line."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.io.files import append_line, write_text
from tinyadder.io.text import parse_json, read_text
from tinyadder.plain import as_real
from tinyadder.train.checkpoint import GO_ON


class Log:
    """`log.jsonl` in the folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"

    def write(self, line: dict[str, Any]) -> None:
        """Append a line, whole or not at all. Raises `TinyadderError` where that cannot be done."""
        append_line(self.path, json.dumps(line, allow_nan=False) + "\n", way_out=GO_ON)

    def cut(self, step: int) -> None:
        """Drop the lines of steps after `step`: they will be written again."""
        if self.path.exists():
            kept = [line for line in read_log(self.path) if line["step"] <= step]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_text(self.path, text, way_out=GO_ON)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last one that a kill cut short is left out.

    Raises `TinyadderError` for a file that cannot be read and for a line that is none of a log.
    """
    *lines, _ = read_text(path).split("\n")
    found = []
    for number, text in enumerate(lines, 1):
        where = f"{path}, line {number}"
        line = parse_json(text, where)
        if not isinstance(line, dict) or type(line.get("step")) is not int:
            raise TinyadderError(f"{where} is no line of a training log: it has no whole 'step'")
        for name in ("step", "loss", "validation exact"):
            value = as_real(line.get(name, 0))
            if value is None or not isfinite(value) or abs(value) > 1e300:
                raise TinyadderError(f"{where} is no line of a training log: '{name}' is no number")
        found.append(line)
    return found
