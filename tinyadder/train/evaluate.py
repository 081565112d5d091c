"""How good a model is: exact match by true decoding beside teacher-forced token accuracy, by trait,
with chance level.

Token accuracy alone hides failure: 0.9995 of the tokens can go with 0.4 of the answers.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers, forced_answers, is_right
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.train.data import (
    Source,
    Split,
    held_out_problems,
    held_out_source,
    training_problems,
    training_source,
)
from tinyadder.train.files import read_problems
from tinyadder.train.recipe import Recipe, recipe_from_json

TOLERANCES = (0.005, 0.01, 0.05)
"""Relative errors that the near misses of a rounded number are counted by where none are given."""

Right = Callable[[Task, Problem, Sequence[str]], bool]
"""Whether an emitted answer counts as right."""


@dataclass(frozen=True)
class Score:
    """Accuracies over one list of problems; rates are in 0 .. 1."""

    problems: int
    exact: float
    """Answers right from the prompt alone, decoded greedily."""
    tokens: float
    """Answer tokens right, each given the right ones before it."""
    chance: float
    """Exact match of the one answer that is right most often."""
    ceiling: float
    """Exact match of the best function of the prompt: below 1 only where a prompt has several
    answers.
    """
    by: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Per trait and value: problems, exact match and chance."""
    within: Mapping[str, float]
    """Answers within a relative error of 0.5 %, 1 %, 5 % of the exact result, where answers are
    rounded numbers.
    """
    wrong: Sequence[Mapping[str, str]]
    """Up to ten wrong answers."""
    seconds: float
    """Wall time of the decoding."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def chance_of(task: Task, problems: Sequence[Problem]) -> float:
    """Part of `problems` that the most frequent answer among them is right for."""
    return Counter(tuple(task.answer(p)) for p in problems).most_common(1)[0][1] / len(problems)


def ceiling_of(task: Task, problems: Sequence[Problem]) -> float:
    """Part of `problems` right if each prompt got its most frequent answer."""
    by_prompt: dict[tuple[str, ...], Counter[tuple[str, ...]]] = {}
    for p in problems:
        by_prompt.setdefault(tuple(task.prompt(p)), Counter())[tuple(task.answer(p))] += 1
    return sum(result.most_common(1)[0][1] for result in by_prompt.values()) / len(problems)


def within_of(
    task: Task,
    problems: Sequence[Problem],
    emitted: Sequence[Sequence[str]],
    tolerances: Sequence[float] = TOLERANCES,
) -> dict[str, float]:
    """Part of the answers within each relative error; empty for a task whose answers are not
    rounded numbers.
    """
    errors = [task.error(p, a) for p, a in zip(problems, emitted, strict=True)]
    known = [error for error in errors if error is not None]
    return (
        {
            f"{100 * t:g}%" if t not in TOLERANCES else f"{t:.1%}": sum(
                error <= t for error in known
            )
            / len(known)
            for t in tolerances
        }
        if known
        else {}
    )


def evaluate(
    model: Transformer,
    task: Task,
    problems: Sequence[Problem],
    *,
    right: Right = is_right,
    beam: int = 1,
    tolerances: Sequence[float] = TOLERANCES,
) -> Score:
    """Decode (greedily, or by a beam search of width `beam`) and judge `problems`.

    Raises `TinyadderError` when there are none.
    """
    if not problems:
        raise TinyadderError("no problems to evaluate on; give at least one")
    model.eval()
    began = time.monotonic()
    emitted = answers(model, task, problems, beam=beam)
    seconds = time.monotonic() - began
    judged = [right(task, p, a) for p, a in zip(problems, emitted, strict=True)]
    forced = forced_answers(model, task, problems)
    pairs = [
        (a, b)
        for p, f in zip(problems, forced, strict=True)
        for a, b in zip(task.answer(p), f, strict=True)
    ]
    groups: dict[str, dict[int, list[int]]] = {}
    for i, problem in enumerate(problems):
        for trait, value in task.traits(problem).items():
            groups.setdefault(trait, {}).setdefault(value, []).append(i)
    by = {
        trait: {
            str(value): {
                "problems": len(index),
                "exact": sum(judged[i] for i in index) / len(index),
                "chance": chance_of(task, [problems[i] for i in index]),
            }
            for value, index in sorted(values.items())
        }
        for trait, values in groups.items()
    }
    wrong = [
        {"problem": task.show(p), "expected": "".join(task.answer(p)), "got": "".join(a)}
        for p, a, good in zip(problems, emitted, judged, strict=True)
        if not good
    ]
    return Score(
        problems=len(problems),
        exact=sum(judged) / len(problems),
        tokens=sum(a == b for a, b in pairs) / len(pairs),
        chance=chance_of(task, problems),
        ceiling=ceiling_of(task, problems),
        by=by,
        within=within_of(task, problems, emitted, tolerances),
        wrong=wrong[:10],
        seconds=round(seconds, 3),
    )


def recipe_of(options: Mapping[str, Any], where: str) -> Recipe | None:
    """The recipe a trained model was made with, from the options of its folder; None for a built
    model.
    """
    stored = options.get("recipe")
    if not isinstance(stored, Mapping):
        return None
    return recipe_from_json(stored, where=where)


def test_problems(
    task: Task, recipe: Recipe | None, *, count: int, seed: int | None
) -> list[Problem]:
    """Problems never shown in training: the first `count` of the recipe's test split, or with
    `seed` others of it, drawn afresh. For a model without a recipe: balanced ones.

    Raises `TinyadderError` where a recipe read its training problems from a file that cannot be
    read any more: it is not known then what was shown.
    """
    if recipe is None:
        return Source(task, "balanced", "test", 1.0, 1 if seed is None else seed).distinct(count)
    d = recipe.data
    if d.test_file and seed is None:
        return held_out_problems(recipe, "test")[:count]
    fresh = replace(held_out_source(recipe, "test", d.seed if seed is None else seed), task=task)
    if not d.file or seed is None:
        return fresh.distinct(count)
    shown = {task.split_key(p) for p in read_problems(task, d.file, d.answers)}
    return [p for p in fresh.distinct(count) if task.split_key(p) not in shown]


def lines_as_published(recipe: Recipe, seed: int, count: int) -> tuple[list[Problem], float]:
    """Problems drawn as those of training are, without a split, and the part of them that training
    showed.

    This is the split of published baselines, whose validation lines come from the list of the
    training lines, duplicates and all. Of a recipe that draws fresh problems only the first pool
    counts as shown.
    """
    shown = {recipe.task.split_key(p) for p in training_problems(recipe, seed)}
    lines = replace(training_source(recipe, seed), split=None, seed=recipe.data.seed).take(count)
    return lines, sum(recipe.task.split_key(p) in shown for p in lines) / count


def problems_outside(recipe: Recipe, count: int) -> list[Problem]:
    """Problems of the kind that the task sets apart as out of distribution, never shown in
    training.

    Raises `TinyadderError` for a task that sets none apart.
    """
    d, task = recipe.data, recipe.task
    if not task.outside:
        raise TinyadderError(
            f"task '{task.name}' sets no problems apart as out of distribution; leave out --splits"
        )
    split: Split | None = (
        None if d.kind == "inside" else "test"
    )  # left out altogether, no split shows one
    return Source(
        task, d.judged or d.distribution, split, d.held_out, d.seed, kind="outside"
    ).distinct(count)


def problems_beyond(task: Task, wider: Task, count: int) -> list[Problem]:
    """Balanced problems of `wider` that are none of `task`: some number is larger than any of
    training.
    """

    def beyond(problem: Problem) -> bool:
        try:
            task.check(problem)
        except TinyadderError:
            return True
        return False

    drawn = Source(wider, "balanced", None, 1.0, 1).distinct(2 * count)
    return [problem for problem in drawn if beyond(problem)][:count]


def circumstances() -> dict[str, str]:
    """Versions, machine and date, for results that are kept."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "tinyadder": version("tinyadder"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
    }
