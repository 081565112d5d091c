"""Counterexamples to models, found anywhere: hard cases of their task for ever.

`tinyadder/data/counterexamples.json` has a list of problems for each task. `python -m tools.renew
counterexamples` adds those that stand in `results/`; nothing is ever taken out.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.tasks.base import Problem, Task

FILE = "counterexamples.json"


@lru_cache(maxsize=1)
def recorded() -> dict[str, list[Any]]:
    """Name of a task -> problems, as lists."""
    text = (files("tinyadder") / "data" / FILE).read_text(encoding="utf-8")
    problems: dict[str, list[Any]] = json.loads(text)
    return problems


def counterexamples(task: Task) -> list[Problem]:
    """The recorded problems of this kind of task that `task`, with its options, accepts."""
    kept = []
    for problem in recorded().get(task.name, []):
        try:
            kept.append(task.check(problem))
        except TinyadderError:
            continue  # of more digits, larger coefficients, another number of operands
    return kept
