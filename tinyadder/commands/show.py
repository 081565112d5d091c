"""Show the equations of a model, the price of each line, and the glossary of its lanes."""

from __future__ import annotations

from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import echo, echo_json
from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import value_of
from tinyadder.lang.serialization import program_to_json
from tinyadder.named import Named, find


@click.command("show", short_help=__doc__)
@opt.model_argument
@opt.json_option
def command(name: str, options: dict[str, Any], as_json: bool) -> None:
    """Show the equations of NAME (a construction or a model folder): each line with the parameters
    it costs.
    """
    named = find(name, options)
    if named.program is None:
        raise TinyadderError(
            f"{shown_model(named)} has no equations, because it was trained; tinyadder count"
            f" {name} counts them"
        )
    if as_json:
        _show_json(named)
    else:
        _show(named)


def _show(named: Named) -> None:
    program = named.program
    assert program is not None
    echo(f"{shown_model(named)}   {task_text(named)}\n")
    lanes = program.stream.lanes.values()
    labels = [lane.name if lane.width == 1 else f"{lane.name}[{lane.width}]" for lane in lanes]
    width = max(map(len, labels))
    echo("lanes")
    for label, lane in zip(labels, lanes, strict=True):
        echo(f"       {label:{width}}  {lane.meaning}")
    echo(str(program))


def task_text(named: Named) -> str:
    """The task and its options: `addition (digits=10, base=10, ...)`."""
    described = named.task.to_json()
    options = ", ".join(f"{key}={value}" for key, value in described["options"].items())
    return f"{described['name']} ({options})" if options else described["name"]


def _show_json(named: Named) -> None:
    program = named.program
    assert program is not None
    echo_json(
        {
            "model": shown_model(named),
            "task": named.task.to_json(),
            "lanes": [
                {"lane": lane.name, "width": lane.width, "meaning": lane.meaning}
                for lane in program.stream.lanes.values()
            ],
            "equations": [
                {
                    "section": section,
                    "text": text,
                    "price": len(weights),
                    "weights": [value_of(w) for w in weights],
                }
                for section, text, weights in program.lines()
            ],
            "nonzero": program.nonzero,
            "nonzero + positional": program.nonzero + program.slopes,
            "program": program_to_json(program),
        }
    )
