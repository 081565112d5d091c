"""Talk to a model: enter problems and read its reasoning and answers, until quit."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._answering import Answerer
from tinyadder.commands._lines import blocks, standard_input
from tinyadder.commands._models import parse, shown_model
from tinyadder.commands._output import echo, to_json
from tinyadder.commands._sampling import Drawn, Sampling, completed, drawn, sampling_options
from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal
from tinyadder.tasks.base import Problem, Task

QUIT = ("quit", "exit", "q")


@click.command("chat", short_help=__doc__)
@opt.model_argument
@sampling_options
@opt.device_option
@click.option("--check/--no-check", default=True, help="Say whether the answer is right.")
@click.option("--json", "as_json", is_flag=True, help="Print every answer as one line of JSON.")
def command(
    name: str,
    options: dict[str, Any],
    sampling: Sampling,
    device: str,
    check: bool,
    as_json: bool,
) -> None:
    """Give NAME (a construction or a model folder) one problem after another.

    A problem is written as for `tinyadder run`. quit, exit, Ctrl-C or Ctrl-D ends it.
    """
    answerer = Answerer(name, options, device)
    task = answerer.task
    example = task.show(task.hard()[0])
    echo(
        f"{shown_model(answerer.named)}: task '{task.name}', a problem is e.g. '{example}'; "
        "quit ends",
        err=True,
    )
    for text in _texts():
        if text.lower() in QUIT:
            return
        if not text:
            continue
        try:
            if sampling.complete:
                _show_completed(text, completed(answerer, text, sampling), as_json)
            else:
                _answer(answerer, parse(task, text), sampling, check, as_json)
        except TinyadderError as error:
            echo(terminal(str(error)), err=True)
        sampling = replace(sampling, seed=sampling.seed + 1)  # the next one is drawn anew


def _answer(
    answerer: Answerer, problem: Problem, sampling: Sampling, check: bool, as_json: bool
) -> None:
    task = answerer.task
    if sampling.plain:
        answer = Drawn(answerer.answers([problem])[0])
    else:
        (answer,) = drawn(answerer, [problem], sampling)
    _show(task, problem, answer, task.expected(problem) if check else None, as_json)


def _texts() -> Iterator[str]:
    """What is typed at a prompt, or comes from a pipe or a file."""
    if sys.stdin is None or not sys.stdin.isatty():
        for block in blocks(standard_input()):
            yield from map(str.strip, block.decode("utf-8", "replace").split("\n")[:-1])
        return
    while True:
        try:
            text = click.prompt("", prompt_suffix="> ", default="", show_default=False, err=True)
        except (EOFError, KeyboardInterrupt, click.Abort):
            echo(err=True)
            return
        except UnicodeDecodeError:
            echo("what was typed is not UTF-8; type it again", err=True)
            continue
        yield text.strip()


def _show(
    task: Task,
    problem: Problem,
    answer: Drawn,
    right: Sequence[str] | None,
    as_json: bool,
) -> None:
    """Print one answer, and whether it is right where that is known."""
    emitted = answer.tokens
    reasoning = task.show_reasoning(emitted)
    wrong = right is not None and list(emitted) != list(right)
    if as_json:
        record: dict[str, Any] = {
            "problem": task.show(problem),
            "reasoning": reasoning,
            "answer": task.show_answer(emitted),
        }
        if right is not None:
            record |= {"expected": task.show_answer(right), "correct": not wrong}
        if answer.logs:
            record |= {"tokens": list(emitted), "log probabilities": list(answer.logs)}
        echo(to_json(record))
    else:
        if reasoning:
            echo(reasoning)
        remark = f"   (wrong: {task.show_answer(right)})" if right is not None and wrong else ""
        echo("\n".join([task.show_answer(emitted) + remark, *answer.lines()]))
    if sys.stdout is not None:
        sys.stdout.flush()


def _show_completed(text: str, completion: Drawn, as_json: bool) -> None:
    """Print the text with what it goes on with."""
    whole = text + "".join(completion.tokens)
    if as_json:
        echo(
            to_json({"begun": text, "completed": whole, "log probabilities": list(completion.logs)})
        )
    else:
        echo("\n".join([whole, *completion.lines()]))
    if sys.stdout is not None:
        sys.stdout.flush()
