"""Counterexamples in `results/`: problems that some model answers wrongly.

They are hard cases of their task for ever (tinyadder/tasks/counterexamples.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinyadder.io.folder import describe
from tinyadder.report.leaderboard import own_models
from tinyadder.report.results import read_results
from tools.pages import ROOT


def _problems(data: dict[str, Any]) -> Iterator[Any]:
    """The problem of the verdict, and the examples of a sweep."""
    refuted = data.get("verdict", {}).get("counterexample")
    for example in (*([refuted] if refuted else []), *data.get("examples", [])):
        yield example["problem"]


def in_results(root: Path = ROOT) -> dict[str, list[Any]]:
    """Name of a task -> problems, in the order of the results."""
    tasks = {entry.name: entry.task.name for entry in own_models(root / "baselines")}
    for path in (root / "baselines").rglob("model.json"):
        tasks[str(path.parent.parent.relative_to(root / "baselines"))] = describe(
            path.parent
        ).task.name
    problems: dict[str, list[Any]] = {}
    for result in read_results(root / "results"):
        for problem in _problems(result.data):
            problems.setdefault(tasks[result.model], []).append(problem)
    rows = json.loads((root / "results" / "board.json").read_text(encoding="utf-8"))["rows"]
    problems.setdefault("addition", []).extend(row["pair"] for row in rows if row.get("pair"))
    return problems


def text(recorded: dict[str, list[Any]], new: dict[str, list[Any]]) -> str:
    """The file with `new` behind what is recorded, one problem a line."""
    parts = []
    for name in sorted({*recorded, *new}):
        lines = dict.fromkeys(map(json.dumps, [*recorded.get(name, []), *new.get(name, [])]))
        parts.append(f' "{name}": [\n  ' + ",\n  ".join(lines) + "\n ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"
