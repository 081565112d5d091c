"""The log of a run: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, checked
from tinyadder.io.files import append_line, write_text
from tinyadder.io.text import parse_json, read_text
from tinyadder.train.checkpoint import GO_ON

NUMBERS = {"step": Annotated[int, Between(0, 10**12)], "loss": float, "validation exact": float}
"""The entries of a line that are read again."""


LogLine = dict[str, Any]


def board(folder: Path) -> Callable[[LogLine], None]:
    """Writes the numbers of a line for TensorBoard into `folder`. Raises `TinyadderError` where the
    package is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise TinyadderError(
            "TensorBoard is not installed; pip install 'tinyadder[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(folder))  # type: ignore[no-untyped-call]

    def write(line: LogLine) -> None:
        for name, value in line.items():
            if name != "step":
                writer.add_scalar(name, value, line["step"])  # type: ignore[no-untyped-call]
        writer.flush()  # type: ignore[no-untyped-call]

    return write


class Log:
    """`log.jsonl` in the folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"
        self.also: Callable[[LogLine], None] | None = None
        """Is given every line too."""

    def write(self, line: dict[str, Any]) -> None:
        """Append a line, whole or not at all. Raises `TinyadderError` where that cannot be done."""
        append_line(self.path, json.dumps(line, allow_nan=False) + "\n", way_out=GO_ON)
        if self.also is not None:
            self.also(line)

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
    entries = []
    for number, text in enumerate(lines, 1):
        where = f"{path}, line {number}"
        line = parse_json(text, where)
        if not isinstance(line, dict) or "step" not in line:
            raise TinyadderError(f"{where} is no line of a training log: it has no step")
        for name, kind in NUMBERS.items():
            if name in line:
                line[name] = checked(line[name], kind, f"{where}: {name}")
        entries.append(line)
    return entries
