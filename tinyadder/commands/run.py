"""Run a model on one problem, or on standard input with one problem per line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from tinyadder.commands import _options as opt
from tinyadder.commands._answering import Answerer
from tinyadder.commands._lines import blocks, standard_input
from tinyadder.commands._models import parse
from tinyadder.commands._output import echo, echo_json, to_json
from tinyadder.commands._sampling import Sampling, completed, drawn, sampling_options
from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal
from tinyadder.io.text import read_text
from tinyadder.tasks.base import Problem, Task


@click.command("run", short_help=__doc__, context_settings={"ignore_unknown_options": True})
@opt.model_argument
@click.argument("problem", nargs=-1, metavar="PROBLEM | -")
@click.option(
    "--answers",
    "answer_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With -: compare with the answers in this file, one per line, in the same order.",
)
@sampling_options
@opt.device_option
@opt.json_option
@click.pass_context
def command(
    context: click.Context,
    name: str,
    problem: tuple[str, ...],
    options: dict[str, Any],
    answer_file: Path | None,
    sampling: Sampling,
    device: str,
    as_json: bool,
) -> int:
    """Run NAME (a construction or a model folder) on a problem: tinyadder run add10 123 456.

    With - it reads one problem per line from standard input and prints one answer per line, in
    order, as the lines come. A bad line gives an error with its line number on standard error, and
    the rest is answered. Exit codes: 1 if an answer was wrong, 2 if a line was bad. With answers in
    a second file: tinyadder run deriv_printed - --answers outputs.txt < inputs.txt
    """
    opt.refuse_options(context, problem)
    if not problem:
        raise click.UsageError(
            "no problem given; write it after NAME, or - to read standard input", context
        )
    if problem == ("-",) and not sampling.plain:
        raise click.UsageError("what is drawn or completed is one problem, not -", context)
    if problem == ("-",):
        stream = standard_input()
        answerer = Answerer(name, options, device)
        if answer_file is not None:
            return _compare(answerer, blocks(stream), answer_file, as_json)
        return run_lines(answerer, blocks(stream), as_json)
    if answer_file is not None:
        raise click.UsageError(
            "--answers goes with - and problems on standard input, one a line", context
        )
    answerer = Answerer(name, options, device)
    if not sampling.plain:
        return _drawn(answerer, " ".join(problem), sampling, as_json)
    (record,) = _answers(answerer, [parse(answerer.task, " ".join(problem))])
    if as_json:
        echo_json(record)
    else:
        echo(record["answer"])
    return _judge([record])


def _drawn(answerer: Answerer, text: str, sampling: Sampling, as_json: bool) -> int:
    """Print one answer, or what a text goes on with, as the options of `_sampling` say."""
    task = answerer.task
    if sampling.complete:
        emitted = completed(answerer, text, sampling)
        record: dict[str, Any] = {"begun": text, "completed": text + "".join(emitted.tokens)}
        shown = record["completed"]
    else:
        problem = parse(task, text)
        (emitted,) = drawn(answerer, [problem], sampling)
        record = _record(task, problem, emitted.tokens)
        shown = record["answer"]
    if emitted.logs:
        record |= {
            "tokens": list(emitted.tokens),
            "log probabilities": list(emitted.logs),
        }
    if as_json:
        echo_json(record)
    else:
        echo("\n".join([shown, *emitted.lines()]))
    return 0 if sampling.complete else _judge([record])


def _record(task: Task, problem: Problem, answer: Sequence[str]) -> dict[str, Any]:
    right = task.expected(problem)
    return {
        "problem": task.show(problem),
        "answer": task.show_answer(answer),
        "expected": None if right is None else task.show_answer(right),
        "correct": None if right is None else list(answer) == list(right),
    }


def _answers(answerer: Answerer, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    emitted = answerer.answers(problems)
    return [
        _record(answerer.task, problem, answer)
        for problem, answer in zip(problems, emitted, strict=True)
    ]


def _judge(records: Sequence[dict[str, Any]]) -> int:
    wrong = [record for record in records if record["correct"] is False]
    for record in wrong[:3]:
        text = f"{record['problem']} = {record['expected']}, not {record['answer']}"
        echo(terminal(f"wrong: {text}"), err=True)
    return 1 if wrong else 0


def run_lines(answerer: Answerer, texts: Iterable[bytes], as_json: bool) -> int:
    asked = bad = code = 0
    for text in texts:
        sums = None if as_json else answerer.sums(text)
        if sums is not None:
            numbers, right, operands = sums
            _print("\n".join(map(str, numbers)))
            asked += len(numbers)
            wrong = [tuple(int(n[i]) for n in operands) for i in np.flatnonzero(~right)[:3]]
            code = max(code, _judge(_answers(answerer, wrong)))
            continue
        lines = text.decode("utf-8", "replace").split("\n")[:-1]
        parsed = list(_parse(answerer.task, lines, asked + 1))
        good = [(number, problem) for number, problem, error in parsed if error is None]
        records = dict(
            zip([n for n, _ in good], _answers(answerer, [p for _, p in good]), strict=True)
        )
        printed = []
        for number, _, error in parsed:
            if error is not None:
                echo(terminal(f"line {number}: {error}"), err=True)
            if as_json:
                record = {"error": error} if error is not None else records[number]
                printed.append(to_json({"line": number, **record}))
            elif error is None:
                printed.append(records[number]["answer"])
        if printed:
            _print("\n".join(printed))
        asked, bad = asked + len(parsed), bad + len(parsed) - len(good)
        code = max(code, _judge(list(records.values())))
    if bad:
        echo(f"{bad:,} of {asked:,} lines could not be read", err=True)
    return 2 if bad else code


def _print(lines: str) -> None:
    """Lines on standard output, at once: somebody may wait for them."""
    echo(lines)
    if sys.stdout is not None:
        sys.stdout.flush()


def _compare(answerer: Answerer, texts: Iterable[bytes], file: Path, as_json: bool) -> int:
    """Say how many answers are those of `file`, which has one for each line, and where they
    differ.
    """
    problems = [
        line.strip() for text in texts for line in text.decode("utf-8", "replace").splitlines()
    ]
    expected = read_text(file).splitlines()
    if len(expected) != len(problems):
        raise TinyadderError(
            f"{file} has {len(expected):,} lines and standard input {len(problems):,}; give one"
            " answer for each problem"
        )
    parsed = list(_parse(answerer.task, problems, 1))
    good = [(number, problem) for number, problem, error in parsed if error is None]
    records = _answers(answerer, [problem for _, problem in good])
    unlike = [
        {
            "line": number,
            "problem": problems[number - 1],
            "answer": record["answer"],
            "file": expected[number - 1].strip(),
        }
        for (number, _), record in zip(good, records, strict=True)
        if record["answer"] != expected[number - 1].strip()
    ]
    bad = [{"line": number, "error": error} for number, _, error in parsed if error is not None]
    agree = len(good) - len(unlike)
    if as_json:
        echo_json({"problems": len(problems), "agree": agree, "unlike": unlike, "bad lines": bad})
    else:
        for one in bad:
            echo(terminal(f"line {one['line']}: {one['error']}"), err=True)
        for one in unlike:
            text = "line {line}: {problem} gives {answer}, the file says {file}".format(**one)
            echo(terminal(text))
        echo(f"{agree:,} of {len(problems):,} answers are those of {file}")
    return 2 if bad else 1 if unlike else 0


def _parse(
    task: Task, lines: Sequence[str], first: int
) -> Iterator[tuple[int, Problem, str | None]]:
    """(line number, problem, None) or (line number, None, what is wrong with the line)."""
    for number, line in enumerate(lines, first):
        try:
            yield number, parse(task, line), None
        except TinyadderError as error:
            yield number, None, str(error)
