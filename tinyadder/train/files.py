"""Problems in files: JSON lines, or a text with one problem a line and the answers in a second
file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.io.files import write_together
from tinyadder.io.text import parse_json, read_lines
from tinyadder.tasks.base import Problem, Task


def read_problems(task: Task, path: str, answers: str = "") -> list[Problem]:
    """The problems in a file, one a line.

    A `.jsonl` file has an object with a "problem" in each line: as a person writes it, or as the
    task has it (`[12, 34]`). Every other file has the problems as a person writes them, and
    `answers` may name a second file with the answer to each. Raises `TinyadderError` for a file
    that cannot be read or holds no problem, for a line that is none, and for an answer that is not
    the task's.
    """
    reading = _json_lines(path) if path.endswith(".jsonl") else enumerate(read_lines(Path(path)), 1)
    result = []
    for number, problem in reading:
        try:
            result.append(task.parse(problem) if isinstance(problem, str) else task.check(problem))
        except TinyadderError as error:
            raise TinyadderError(f"{path}, line {number}: {error}") from error
    if not result:
        raise TinyadderError(f"{path} is empty: the data set has no problems")
    if answers:
        _check_answers(task, result, path, answers)
    return result


def _json_lines(path: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(read_lines(Path(path)), 1):
        where = f"{path}, line {number}"
        data = parse_json(line, where)
        if not isinstance(data, dict) or "problem" not in data:
            raise TinyadderError(f'{where} is {line:.40}, expected an object with a "problem"')
        yield number, data["problem"]


def _check_answers(task: Task, problems: Sequence[Problem], path: str, answers: str) -> None:
    given = [line.strip() for line in read_lines(Path(answers))]
    if len(given) != len(problems):
        raise TinyadderError(
            f"{answers} has {len(given):,} lines and {path} {len(problems):,}; give one answer for"
            " each problem"
        )
    for number, (problem, answer) in enumerate(zip(problems, given, strict=True), 1):
        right = task.show_answer(task.answer(problem))
        if answer != right:
            raise TinyadderError(
                f"{answers}, line {number}: {answer:.60} is not the answer to {task.show(problem)}"
                f" in task '{task.name}', which is {right}; correct it, or set the task's options"
            )


def problem_lines(task: Task, problems: Sequence[Problem]) -> str:
    """One JSON object a line: what a person writes, the prompt and the answer."""
    facts = (
        {"problem": task.show(p), "prompt": list(task.prompt(p)), "answer": list(task.answer(p))}
        for p in problems
    )
    return "".join(json.dumps(line) + "\n" for line in facts)


def write_splits(task: Task, splits: Mapping[str, Sequence[Problem]], folder: Path) -> None:
    """`<split>.jsonl` in `folder` for every split, all of them or none."""
    write_together(
        folder,
        {f"{split}.jsonl": problem_lines(task, given).encode() for split, given in splits.items()},
        way_out="choose another folder",
    )
