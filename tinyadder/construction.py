"""A construction: a Program with its task, one per file of the package `constructions`; this module lists them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.tasks.base import Problem, Task

Claim = Callable[[Problem, int], Fraction | int | Sequence[Fraction | int] | None]
"""The exact value a lane should hold after the last layer at a position of prompt + right answer: a
rational (one a column of a wide lane), or None where nothing is claimed. No parameter:
`tinyadder.verify.claims` compares it with the model."""


DIGIT_VALUES: Mapping[str, int] = {str(d): d for d in range(10)}
"""The table of a lane that holds the decimal digit."""


def token_at(task: Task, problem: Problem, position: int) -> str:
    """The token at `position` of prompt + right answer: what claims are made of."""
    prompt = task.prompt(problem)
    return prompt[position] if position < len(prompt) else task.answer(problem)[position - len(prompt)]


def token_claim(task: Task, table: Mapping[str, float | Fraction]) -> Callable[[Problem, int], Fraction]:
    """The claim that a lane holds `table[token]`, 0 at other tokens: a lane that only the embedding writes.

    >>> from tinyadder.tasks.addition import Addition
    >>> flag = token_claim(Addition(digits=1), {"^": 1, "+": 1, "=": -10})
    >>> [int(flag((4, 5), position)) for position in range(5)]
    [1, 0, 1, 0, -10]
    """
    return lambda problem, position: Fraction(table.get(token_at(task, problem, position), 0))


@dataclass(frozen=True)
class Construction:
    """An exact algorithm: the program, what it must compute, and (where stated) what its lanes mean."""

    program: Program
    task: Task
    claims: Mapping[str, Claim] | None = None
    """Per lane, what it means in exact numbers."""


@cache
def construction_folder() -> Path:
    """The folder of the package `tinyadder.constructions`."""
    return Path(next(iter(import_module("tinyadder.constructions").__path__)))


def construction_names() -> list[str]:
    """The files of `constructions/`, in alphabetical order."""
    return sorted(path.stem for path in construction_folder().glob("*.py") if not path.stem.startswith("_"))


def construction_summary(name: str) -> str:
    """The first line of the file's docstring, read without running the file."""
    docstring = ast.get_docstring(ast.parse((construction_folder() / f"{name}.py").read_text())) or ""
    return docstring.partition("\n")[0]


def construct(name: str, **options: Any) -> Construction:
    """The construction in `constructions/<name>.py`; `options` go to its `construct(*, digits=10, ...)`.

    Raises `TinyadderError` for an unknown name, an option it does not have, or a value where it is not exact.
    """
    if name not in construction_names():
        names = construction_names()
        raise TinyadderError(f"unknown construction '{name}'{did_you_mean(name, names)} (tinyadder list)")
    function = import_module(f"tinyadder.constructions.{name}").construct
    known = signature(function).parameters
    for option in options:
        if option not in known:
            takes = ", ".join(known) or "none"
            raise TinyadderError(f"{name} has no option '{option}'{did_you_mean(option, known)} (options: {takes})")
    return function(**options)
