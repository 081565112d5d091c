"""A model in the formats of others: one file of this folder a format.

Every export states the weights bit for bit; what the model does is the same function in each. A
format is a module with `FILE`, the name of what is written (with {} for the model's name), and
`write(source, path)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tinyadder.dsl import Program
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Task

FORMATS = {
    "onnx": "onnx",
    "torch": "torch_export",
    "submission": "submission",
    "json": "operations",
    "hub": "hub",
}
"""Name of a format -> its module in this folder."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is exported: a model, its task, and what a reader of the export should know."""

    model: Transformer
    task: Task
    name: str
    about: str = ""
    program: Program | None = None
    options: dict[str, Any] = field(default_factory=dict)
    ladder: Sequence[tuple[str, int, str]] = ()
    """Counting rungs: (name, count, definition), the community's rung first."""
    verdicts: Sequence[str] = ()
    """What is known of these weights, in Markdown, strongest first."""
    certificate: bytes | None = None
    """The content of a certificate that proves these weights right."""
    intermediate: bool = False
    """Whether lanes and attention patterns are outputs too (ONNX)."""


def module_of(kind: str) -> Any:
    """The module of a format, imported when it is asked for."""
    return import_module(f"tinyadder.io.export.{FORMATS[kind]}")


def write(kind: str, source: Source, path: Path) -> None:
    """Write `source` to `path` as `kind`, a key of `FORMATS`; its module says what is refused."""
    module_of(kind).write(source, path)
