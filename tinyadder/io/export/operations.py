"""JSON: every operation of the model with its weights, as the explorer page reads them."""

from __future__ import annotations

import json
from pathlib import Path

from tinyadder.inspect.explorer import model_to_json
from tinyadder.io.export import ExportSource
from tinyadder.io.files import write_text

FILE = "{}.json"


def write(source: ExportSource, path: Path) -> None:
    """Write `model_to_json`; see there for what is refused."""
    data = model_to_json(source.model)
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
