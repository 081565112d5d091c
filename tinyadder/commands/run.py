"""Run a model on one problem, or on standard input, one problem a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any

import click

from tinyadder.commands._common import (
    Loaded,
    construction_options,
    device_option,
    echo_json,
    find,
    json_option,
    load_model,
    name_argument,
)
from tinyadder.errors import TinyadderError

LINES_AT_ONCE = 4096


@click.command("run", short_help=__doc__, context_settings={"ignore_unknown_options": True})
@name_argument
@click.argument("problem", nargs=-1, metavar="PROBLEM | -")
@construction_options
@click.option(
    "--answers",
    "answer_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With -: compare with the answers in this file, one a line in the same order.",
)
@device_option
@json_option
@click.pass_context
def command(
    context: click.Context,
    name: str,
    problem: tuple[str, ...],
    options: dict[str, Any],
    answer_file: Path | None,
    device: str,
    as_json: bool,
) -> int:
    """Let NAME (a construction or a model folder) answer a problem: tinyadder run add10 123 456.

    With - it reads one problem a line from standard input, decodes in batches and prints one answer
    a line in order; a bad line gives an error with its number on standard error and the rest goes
    on. Exit codes: 1 if an answer was wrong, 2 if a line was bad. Data in two files, problems and
    answers, is run as it is: tinyadder run deriv_printed - --answers outputs.txt < inputs.txt
    """
    for word in problem:
        if word.startswith("--"):
            raise click.NoSuchOption(word, ctx=context)
    if not problem:
        raise click.UsageError(
            "no problem given; write it after NAME, or - to read standard input", context
        )
    if problem == ("-",):
        lines = TextIOWrapper(sys.stdin.buffer, "utf-8", errors="replace")
        loaded = load_model(name, options, device)
        return (
            _run_lines(loaded, lines, as_json)
            if answer_file is None
            else _compare(loaded, lines, answer_file, as_json)
        )
    if answer_file is not None:
        raise click.UsageError(
            "--answers goes with - and problems on standard input, one a line", context
        )
    asked = find(name, options).task.parse(
        " ".join(problem)
    )  # a mistake is said before torch is imported
    loaded = load_model(name, options, device)
    (record,) = _answers(loaded, [asked])
    if as_json:
        echo_json(record)
    else:
        click.echo(record["answer"])
    return _judge(loaded, [record])


def _answers(loaded: Loaded, problems: Sequence[Any]) -> list[dict[str, Any]]:
    from tinyadder.machine.answers import answers

    task = loaded.task
    return [
        {
            "problem": task.show(problem),
            "answer": task.show_answer(answer),
            "expected": None if right is None else task.show_answer(right),
            "correct": None if right is None else answer == right,
        }
        for problem, answer in zip(problems, answers(loaded.model, task, problems), strict=True)
        for right in (task.expected(problem),)
    ]


def _judge(loaded: Loaded, records: Sequence[dict[str, Any]]) -> int:
    wrong = [record for record in records if record["correct"] is False]
    for record in wrong[:3]:
        click.echo(
            f"wrong: {record['problem']} = {record['expected']}, not {record['answer']}", err=True
        )
    return 1 if wrong else 0


def _run_lines(loaded: Loaded, lines: Iterable[str], as_json: bool) -> int:
    numbered = enumerate(lines, 1)
    asked = bad = code = 0
    while chunk := list(islice(numbered, LINES_AT_ONCE)):
        parsed = list(_parse(loaded, chunk))
        good = [(number, problem) for number, problem, error in parsed if error is None]
        records = dict(
            zip([n for n, _ in good], _answers(loaded, [p for _, p in good]), strict=True)
        )
        for number, _, error in parsed:
            if error is not None:
                click.echo(f"line {number}: {error}", err=True)
            if as_json:
                said = (
                    {"line": number, **records[number]}
                    if error is None
                    else {"line": number, "error": error}
                )
                click.echo(json.dumps(said, ensure_ascii=False))
            elif error is None:
                click.echo(records[number]["answer"])
        asked, bad = asked + len(parsed), bad + len(parsed) - len(good)
        code = max(code, _judge(loaded, list(records.values())))
    if bad:
        click.echo(f"{bad:,} of {asked:,} lines could not be read", err=True)
    return 2 if bad else code


def _compare(loaded: Loaded, lines: Iterable[str], file: Path, as_json: bool) -> int:
    """Say how many answers are those of `file`, which has one for each line, and where they
    differ.
    """
    problems = [line.strip() for line in lines]
    said = file.read_text(encoding="utf-8", errors="replace").splitlines()
    if len(said) != len(problems):
        raise TinyadderError(
            f"{file} has {len(said):,} lines and standard input {len(problems):,}; give one answer"
            " for each problem"
        )
    parsed = list(_parse(loaded, list(enumerate(problems, 1))))
    good = [(number, problem) for number, problem, error in parsed if error is None]
    records = _answers(loaded, [problem for _, problem in good])
    unlike = [
        {
            "line": number,
            "problem": problems[number - 1],
            "answer": record["answer"],
            "file": said[number - 1].strip(),
        }
        for (number, _), record in zip(good, records, strict=True)
        if record["answer"] != said[number - 1].strip()
    ]
    bad = [{"line": number, "error": error} for number, _, error in parsed if error is not None]
    agree = len(good) - len(unlike)
    if as_json:
        echo_json({"problems": len(problems), "agree": agree, "unlike": unlike, "bad lines": bad})
    else:
        for found in bad:
            click.echo(f"line {found['line']}: {found['error']}", err=True)
        for found in unlike:
            click.echo(
                "line {line}: {problem} gives {answer}, the file says {file}".format(**found)
            )
        click.echo(f"{agree:,} of {len(problems):,} answers are those of {file}")
    return 2 if bad else 1 if unlike else 0


def _parse(
    loaded: Loaded, chunk: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, Any, str | None]]:
    """(line number, problem, None) or (line number, None, what is wrong with the line)."""
    for number, line in chunk:
        try:
            yield number, loaded.task.parse(line), None
        except TinyadderError as error:
            yield number, None, str(error)
