"""List the constructions: what each is, and how many numbers it takes."""

from __future__ import annotations

from typing import Any

import click

from tinyadder.commands._common import echo_json, json_option, show_table
from tinyadder.construction import construct, construction_names, construction_summary

SHOWN = ("task", "nonzero", "nonzero + positional", "layers")


@click.command("list", short_help=__doc__)
@json_option
def command(as_json: bool) -> None:
    """List the constructions with the counts of their equations (no model is built)."""
    rows = [_row(name) for name in construction_names()]
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
        "every option at its default; counted from the equations",
        columns,
        [[r["name"], *(str(r.get(key, "-")) for key in SHOWN), r.get("error") or r["summary"]] for r in rows],
    )
    click.echo("\nnext      tinyadder show NAME   ·   python -m tinyadder.build NAME", err=True)


def _row(name: str) -> dict[str, Any]:
    summary = construction_summary(name)
    try:
        construction = construct(name)
    except Exception as error:  # somebody's construction in the making must not hide the others
        return {"name": name, "summary": summary, "error": f"{type(error).__name__}: {error}"}
    program, nonzero = construction.program, construction.program.nonzero
    return {
        "name": name,
        "task": construction.task.name,
        "nonzero": nonzero,
        "nonzero + positional": nonzero + program.slopes,
        "layers": len(program.blocks),
        "lanes": len(program.stream.lanes),
        "summary": summary,
    }
