"""Ask a model hard problems, look for a wrong answer, and say what is known: a verdict."""

from __future__ import annotations

from contextlib import contextmanager
from shlex import join
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands._models import shown_model
from tinyadder.commands._options import (
    SEED,
    construction_options,
    device_option,
    json_option,
    name_argument,
    task_option,
)
from tinyadder.commands._output import console, echo, echo_json
from tinyadder.named import Loaded, load_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinyadder.verify.properties import Progress, Verification


@click.command("verify", short_help=__doc__)
@name_argument
@construction_options
@click.option(
    "--count", type=int, default=200_000, show_default=True, help="Structured problems to decode."
)
@click.option(
    "--examples",
    type=int,
    default=500,
    show_default=True,
    help="Problems of the hypothesis search.",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of the samples and the search."
)
@task_option
@device_option
@json_option
def command(
    name: str,
    options: dict[str, Any],
    count: int,
    examples: int,
    seed: int,
    task: str | None,
    device: str,
    as_json: bool,
) -> int:
    """Ask NAME (a construction or a model folder) the public suite, hard cases, structured samples
    and a search.

    Small tasks are asked every problem. Every answer is decoded greedily from the prompt alone. A
    wrong answer is shrunk and explained. Exit code 1 if the model is wrong.
    """
    from tinyadder.verify.properties import verify
    from tinyadder.verify.verdict import verdict_to_json

    loaded = load_model(name, options, device, task)
    with _progress() as progress:
        found = verify(
            loaded.model, loaded.task, count=count, seed=seed, examples=examples, progress=progress
        )
    if as_json:
        echo_json(
            {
                "model": shown_model(loaded),
                **verdict_to_json(found.verdict),
                "parts": [vars(part) for part in found.parts],
                "report": found.report and found.report.to_json(),
                "replay": replay(loaded, found),
            }
        )
    else:
        echo("\n".join(found.lines(replay(loaded, found))))
    return 1 if found.report else 0


def replay(loaded: Loaded, found: Verification) -> str | None:
    """The command line that asks the counterexample again."""
    if found.report is None:
        return None
    name = str(loaded.folder or loaded.file or loaded.name)
    options = [word for key, value in loaded.options.items() for word in ("-o", f"{key}={value}")]
    given = [] if loaded.folder is not None else options
    return join(["tinyadder", "run", name, *given, found.report.counterexample.shown])


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on standard error in a terminal; nothing in a pipe, where the parts are printed when all
    is done.
    """
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda name, done, total: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as bars:
        known: dict[str, Any] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in known:
                known[name] = bars.add_task(name, total=total)
            bars.update(known[name], completed=done)

        yield show
