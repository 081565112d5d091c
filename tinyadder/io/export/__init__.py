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
from typing import TYPE_CHECKING, Any

from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError
from tinyadder.escape import Markdown
from tinyadder.tasks.base import Problem, Task

if TYPE_CHECKING:
    from tinyadder.machine.transformer import Transformer

FORMATS = {
    "onnx": "onnx",
    "torch": "torch_export",
    "submission": "submission",
    "json": "operations",
    "hub": "hub",
    "circuit": "circuit",
    "llama": "stock",
    "gpt2": "stock",
}
"""Name of a format -> its module in this folder."""
FOLDERS = ("hub", "llama", "gpt2")
"""The formats that are a folder."""


@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """What is exported: a model, its task, and what a reader of the export should know."""

    model: Transformer
    task: Task
    name: str
    about: str = ""
    program: Program | None = None
    options: dict[str, Any] = field(default_factory=dict)
    ladder: Sequence[tuple[str, int, str]] = ()
    """Counting rungs: (name, count, definition), the community's rung first."""
    verdict: Markdown | None = None
    """What is known of exactly these weights, this config and this task."""
    certificate: bytes | None = None
    """The content of a certificate that proves these weights right."""
    intermediate: bool = False
    """Whether lanes and attention patterns are outputs too (ONNX)."""
    rotate: int | None = None
    """The seed of a random basis of the residual stream (llama, gpt2)."""
    columns: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """What each column of a compiled program holds, one lane after another (llama, gpt2)."""
    noise: float = 0.0
    """The relative size of noise on every weight (llama, gpt2)."""

    def examples(self, count: int) -> list[tuple[Problem, str | None]]:
        """Some hard problems, with right answers, where known, as a person reads them."""
        return [(problem, _answer(self.task, problem)) for problem in self.task.hard()[:count]]


def _answer(task: Task, problem: Problem) -> str | None:
    try:
        return task.show_answer(task.answer(problem))
    except TinyadderError:  # a task that was saved without its oracle
        return None


def module_of(kind: str) -> Any:
    """The module of a format, or the family in it, imported when it is asked for."""
    module = import_module(f"tinyadder.io.export.{FORMATS[kind]}")
    return getattr(module, "FAMILIES", {}).get(kind, module)


def write(kind: str, source: ExportSource, path: Path) -> None:
    """Write `source` to `path` as `kind`, a key of `FORMATS`; its module says what is refused."""
    module_of(kind).write(source, path)
