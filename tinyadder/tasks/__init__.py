"""Tasks: what a model must compute, shared by constructions, trained models and the verifier.

A task is data: `task.to_json()` names its file in this folder and its options, `task_from_json`
makes it again.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.plain import short
from tinyadder.tasks.base import Problem, Task

__all__ = ["Problem", "Task", "task_from_json", "task_names"]

_HELPERS = {
    "base",
    "arithmetic",
    "arrays",
    "counterexamples",
    "lengths",
    "operands",
    "options",
    "pairs",
    "problems",
    "words",
}


def task_names() -> list[str]:
    """The files of this folder that hold a task."""
    return sorted(m.name for m in iter_modules(__path__) if m.name not in _HELPERS)


def task_from_json(data: Any) -> Task:
    """The task that `to_json` described. Raises `TinyadderError` for an unknown name or options
    that do not fit.
    """
    name = data.get("name") if isinstance(data, dict) else data
    if name not in task_names():
        known = ", ".join(task_names())
        raise TinyadderError(
            f"unknown task {short(name)}{did_you_mean(str(name), task_names())} (tasks: {known})"
        )
    if name == "custom":
        from tinyadder.tasks.custom import Custom

        return Custom.from_json(data if isinstance(data, dict) else {})
    options = data.get("options", {}) if isinstance(data, dict) else {}
    try:
        return import_module(f"tinyadder.tasks.{name}").TASK(**options)
    except TypeError as error:
        raise TinyadderError(f"task '{name}' does not take {short(options)}: {error}") from error
