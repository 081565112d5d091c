"""List the constructions: what each is, and how many weights it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.construction import (
    construct,
    construction_names,
    construction_summary,
    defined,
    is_file_name,
    read_source,
)
from tinyadder.errors import TinyadderError

SHOWN = ("task", "nonzero", "nonzero + positional", "layers")


@click.command("list", short_help=__doc__)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=opt.complete_names)
@opt.json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List constructions with the weight counts of their equations (no model is built): tinyadder
    list ./mine.py.

    Without a NAME: every construction of the toolkit, and the Python files in this folder that
    define construct. Those files are not run, so their counts are not known; name a file to run and
    count it.
    """
    rows = [_row(name) for name in names or construction_names()]
    if not names:
        rows += [row for path in sorted(Path().glob("*.py")) if (row := _unread(path))]
    if as_json:
        echo_json(rows)
        return
    columns = {
        "construction": "left",
        "task": "left",
        "nonzero": "right",
        "+ positional": "right",
        "layers": "right",
        "what": "left",
    }
    show_table(
        "options at their defaults; counted from the equations",
        columns,
        [
            [r["name"], *(str(r.get(key, "-")) for key in SHOWN), r.get("error") or r["summary"]]
            for r in rows
        ],
    )
    echo("\nnext      tinyadder show NAME   ·   tinyadder build NAME", err=True)


def _row(name: str) -> dict[str, Any]:
    try:
        summary = construction_summary(name)
        made = construct(name)
    except Exception as error:  # somebody's construction in the making must not hide the others
        message = (
            str(error) if isinstance(error, TinyadderError) else f"{type(error).__name__}: {error}"
        )
        return {"name": name, "summary": "", "error": message}
    program, nonzero = made.program, made.program.nonzero
    return {
        "name": name,
        "task": made.task.name,
        "nonzero": nonzero,
        "nonzero + positional": nonzero + program.slopes,
        "layers": len(program.blocks),
        "lanes": len(program.stream.lanes),
        "summary": summary if not is_file_name(name) or summary else name,
    }


def _unread(path: Path) -> dict[str, Any] | None:
    """A file of this folder that defines `construct`, or would if it could be read; None for any
    other.
    """
    try:
        if "construct" not in defined(path):
            return None
        return {
            "name": f"./{path}",
            "summary": construction_summary(str(path)) or "not run; name it to count it",
        }
    except TinyadderError as error:
        row = {"name": f"./{path}", "summary": "", "error": str(error)}
        return row if _mentions_construct(path) else None


def _mentions_construct(path: Path) -> bool:
    try:
        return b"def construct(" in read_source(path)
    except TinyadderError:
        return False
