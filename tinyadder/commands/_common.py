"""What the commands share: finding a model by NAME, construction options, the device, JSON and
tables.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyadder.construction import construct, construction_names, construction_summary
from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal
from tinyadder.named import Loaded, Named, find, is_folder_name, load_model, summary, use_device
from tinyadder.tasks.base import Problem, Task

if TYPE_CHECKING:
    from rich.console import Console

    from tinyadder.report.results import Result

__all__ = ["Loaded", "Named", "find", "is_folder_name", "load_model", "summary", "use_device"]

# ---- options of the command line -----------------------------------------------------------------

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def complete_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[Any]:
    """Completions of a partial NAME for the shell: constructions, files, folders."""
    from click.shell_completion import CompletionItem

    names = [name for name in construction_names() if name.startswith(begun)]
    found = [CompletionItem(name, help=construction_summary(name)) for name in names]
    return [*found, *([] if names else [CompletionItem(begun, type="file")])]


SEED = click.IntRange(0, 2**31 - 1)
"""Seeds that every generator of random numbers takes."""

name_argument: Decorator = click.argument("name", metavar="NAME", shell_complete=complete_names)
json_option: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output."
)
device_option: Decorator = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where the model runs.",
)

task_option: Decorator = click.option(
    "--task",
    metavar="FILE.py",
    help="Judge the model by the task in this file; needed for a folder without right answers.",
)


def construction_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --digits, --base and -o key=value; the function gets them together as `options`."""

    def given(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        options = context.params.setdefault("options", {})
        if parameter.name == "option":
            options.update(_key_value(text) for text in value)
        elif value is not None:
            options[parameter.name] = value

    for decorate in (
        click.option(
            "--digits", type=int, expose_value=False, callback=given, help="Digits of an operand."
        ),
        click.option(
            "--base", type=int, expose_value=False, callback=given, help="Base of the numbers."
        ),
        click.option(
            "-o",
            "--option",
            metavar="KEY=VALUE",
            multiple=True,
            expose_value=False,
            callback=given,
            help="Any other option of the construction.",
        ),
    ):
        function = decorate(function)
    return function


def _key_value(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise TinyadderError(f"'-o {text}' is not KEY=VALUE, e.g. -o digits=4")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


# ---- problems ------------------------------------------------------------------------------------


def parse(task: Task, text: str) -> Problem:
    """The problem that a person wrote. Raises `TinyadderError`, which names a construction that
    takes the text where this task does not.
    """
    try:
        return task.parse(text)
    except TinyadderError as error:
        best = _who_takes(task, text)
        if best is None:
            raise
        raise TinyadderError(f"{error}; {best} takes it") from None


def _who_takes(task: Task, text: str) -> str | None:
    """A construction that takes `text`, with options if it needs some; of several the one that
    writes answers in the order of `task`.
    """
    longest = max((len(n.lstrip("0")) for n in re.findall("[0-9]+", text)), default=0)
    wider = ((), (("digits", longest),), (("coefficients", 99), ("exponents", 9)))
    taken = [
        (getattr(other, "order", None), [name, *(f"-o {key}={value}" for key, value in options)])
        for options in wider
        for name, other in _kin(type(task), options)
        if _takes(other, text)
    ]
    alike = [words for order, words in taken if order == getattr(task, "order", None)]
    found = alike or [words for _, words in taken]
    return " ".join(found[0]) if found else None


@cache
def _kin(kind: type, options: tuple[tuple[str, int], ...]) -> list[tuple[str, Task]]:
    """The constructions whose task is of this kind, with these options, others at their default."""
    found = []
    for name in construction_names():
        with suppress(TinyadderError):
            made = construct(name, **dict(options))
            found += [(name, made.task)] if type(made.task) is kind else []
    return found


def _takes(task: Task, text: str) -> bool:
    try:
        task.parse(text)
    except TinyadderError:
        return False
    return True


# ---- output --------------------------------------------------------------------------------------


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print `text`, in which strings from files may stand: nothing in it commands a terminal.

    Every command prints with this, with `echo_json` or with `show_table`.
    """
    click.echo(terminal(text, keep="\n\t"), err=err, nl=nl)


def echo_json(data: Any) -> None:
    """Print `data` as JSON on standard output; see `to_json`."""
    click.echo(to_json(data, indent=2))


def to_json(data: Any, indent: int | None = None) -> str:
    """`data` as JSON. It has no infinity and no NaN, so they come as strings; what commands a
    terminal is escaped as JSON does it.
    """
    text = json.dumps(_finite(data), indent=indent, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data


def console(*, stderr: bool = False) -> Console:
    """A rich console: as wide as the terminal, or 200 columns of plain text in a pipe."""
    from rich.console import Console

    found = Console(stderr=stderr, highlight=False)
    return found if found.is_terminal else Console(stderr=stderr, highlight=False, width=200)


def show_table(title: str, columns: dict[str, str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output; `columns` maps each heading to its alignment ("left" or
    "right").
    """
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for number, (heading, align) in enumerate(columns.items()):
        last = number == len(columns) - 1
        table.add_column(
            heading,
            justify="right" if align == "right" else "left",
            no_wrap=not last,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*[Text(terminal(cell)) for cell in row])
    with out.capture() as captured:
        out.print(table)
    lines = [line.rstrip() for line in captured.get().split("\n")]
    click.echo("\n".join([terminal(title), *lines[:-1]]))  # a heading may be in bold


def shown_model(found: Named) -> str:
    """The model in words: `add10`, `add10 (digits=4)` or `out/add10`."""
    if found.folder is not None:
        return str(found.folder)
    said = ", ".join(f"{key}={value}" for key, value in found.options.items())
    name = str(found.file) if found.file is not None else found.name
    return f"{name} ({said})" if said else name


def short_name(shown: str) -> str:
    """`addition3-reversed/seed-1` for the folder .../addition3-reversed/seed-1/model: the name in
    results/ and tables.

    Constructions keep their name, other folders the last part of it.
    """
    parts = Path(shown).parts
    return "/".join(parts[-3:-1] if parts[-1] == "model" else parts[-1:])


def save_result(
    loaded: Loaded,
    kind: str,
    data: Mapping[str, Any],
    *,
    command: Sequence[str],
    limits: Mapping[str, int] | None = None,
    force: bool,
) -> Result:
    """Write what a command found about a model to results/, for the leaderboard.

    `command` is its name and the NAME it was given; the options that decide the model and the part
    of the domain are added. Raises `TinyadderError` where there is such a result already.
    """
    from tinyadder.report.results import result, write_result

    options = {} if loaded.folder else loaded.options
    words = ["tinyadder", *command]
    words += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    words += [word for k, v in (limits or {}).items() for word in ("--within", f"{k}={v}")]
    made = result(
        loaded.model,
        loaded.task,
        short_name(str(loaded.folder)) if loaded.folder else loaded.name,
        kind,
        data,
        command=shlex.join(words),
        options=options,
        limits=limits,
    )
    echo(f"wrote {write_result(made, force=force)}", err=True)
    return made
