"""Talk to a model: problems in, reasoning and answers out, until quit."""

from __future__ import annotations

import json
from typing import Any

import click

from tinyadder.commands._common import (
    construction_options,
    device_option,
    load_model,
    name_argument,
    shown_model,
)
from tinyadder.errors import TinyadderError

QUIT = ("quit", "exit", "q")


@click.command("chat", short_help=__doc__)
@name_argument
@construction_options
@device_option
@click.option("--check/--no-check", default=True, help="Say whether the answer is right.")
@click.option("--json", "as_json", is_flag=True, help="Print every answer as one line of JSON.")
def command(name: str, options: dict[str, Any], device: str, check: bool, as_json: bool) -> None:
    """Give NAME (a construction or a model folder) one problem after another.

    A problem is written as for `tinyadder run`. quit, exit, Ctrl-C or Ctrl-D ends it.
    """
    from tinyadder.machine.answers import answers

    loaded = load_model(name, options, device=device)
    task = loaded.task
    example = task.show(task.hard()[0])
    click.echo(
        f"{shown_model(loaded)}: task '{task.name}', a problem is e.g. '{example}'; quit ends",
        err=True,
    )
    while True:
        try:
            text = click.prompt(
                "", prompt_suffix="> ", default="", show_default=False, err=True
            ).strip()
        except (EOFError, KeyboardInterrupt, click.Abort):
            click.echo(err=True)
            return
        if text.lower() in QUIT:
            return
        if not text:
            continue
        try:
            problem = task.parse(text)
        except TinyadderError as error:
            click.echo(f"{error}", err=True)
            continue
        emitted = answers(loaded.model, task, [problem])[0]
        reasoning = task.show_reasoning(emitted)
        right = task.expected(problem) if check else None
        wrong = right is not None and list(emitted) != list(right)
        if as_json:
            said = {
                "problem": task.show(problem),
                "reasoning": reasoning,
                "answer": task.show_answer(emitted),
            }
            judged = (
                {} if right is None else {"expected": task.show_answer(right), "correct": not wrong}
            )
            click.echo(json.dumps(said | judged, ensure_ascii=False))
            continue
        if reasoning:
            click.echo(reasoning)
        click.echo(
            task.show_answer(emitted)
            + (f"   (wrong: {task.show_answer(right)})" if right is not None and wrong else "")
        )
