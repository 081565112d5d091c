"""The circuit as JSON: nodes, edges with weights, pairs of clean and corrupted prompts."""

from __future__ import annotations

import json
from pathlib import Path

from tinyadder.inspect.circuit import circuit
from tinyadder.io.export import ExportSource
from tinyadder.io.files import write_text

FILE = "{}-circuit.json"


def write(source: ExportSource, path: Path) -> None:
    """Write `Circuit.to_json`. Raises `TinyadderError` for a model with norms or an encoder."""
    graph = circuit(source.model, source.task, source.name)
    write_text(path, json.dumps(graph.to_json(), indent=1, ensure_ascii=False) + "\n")
