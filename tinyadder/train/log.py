"""The log of a run: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write
from tinyadder.train.checkpoint import GO_ON


class Log:
    """`log.jsonl` in the folder of a run."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"

    def write(self, line: dict[str, Any]) -> None:
        """Append a line. Raises `TinyadderError` where that cannot be done."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise TinyadderError(f"cannot write {self.path}: {error.strerror}; {GO_ON}") from error

    def cut(self, step: int) -> None:
        """Drop the lines of steps after `step`: they will be written again."""
        if self.path.exists():
            lines = self.path.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= step]
            with atomic_write(self.path, way_out=GO_ON) as part:
                part.write_text("".join(f"{line}\n" for line in kept))
