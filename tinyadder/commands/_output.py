"""What commands print: text, JSON and tables in which strings from files do no harm."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tinyadder.escape import terminal

if TYPE_CHECKING:
    from rich.console import Console

    from tinyadder.verify.properties import Progress as Progressed


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

    screen = Console(stderr=stderr, highlight=False)
    return screen if screen.is_terminal else Console(stderr=stderr, highlight=False, width=200)


@contextmanager
def progress_bars() -> Iterator[Progressed]:
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
