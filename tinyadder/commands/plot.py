"""Draw a picture of a model or of one run: attention, contributions, lanes, weights, logits, margins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinyadder.commands._common import (
    construction_options,
    device_option,
    echo_json,
    json_option,
    load_model,
    name_argument,
    shown_model,
)
from tinyadder.errors import TinyadderError
from tinyadder.folder import beside

STEPS = ("contributions", "logits")
RUNS = ("attention", "lanes", *STEPS)
KINDS = (*RUNS, "margins", "weights")
FORMATS = (".png", ".svg", ".pdf")


@click.command("plot", short_help=__doc__)
@name_argument
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("problem", nargs=-1)
@click.option(
    "--digit", "index", default=0, show_default=True, help="Answer token of contributions and logits, from 0."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write [default: NAME-KIND.png].")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@construction_options
@device_option
@json_option
def command(
    name: str,
    kind: str,
    problem: tuple[str, ...],
    index: int,
    out: Path | None,
    force: bool,
    options: dict[str, Any],
    device: str,
    as_json: bool,
) -> None:
    """Draw KIND of NAME (a construction or a model folder): tinyadder plot add10 attention 123 456.

    attention, contributions, lanes and logits show one run and take a problem (default: the first of the hard list);
    margins and weights show the whole model. The picture is a .png, .svg or .pdf by the name of the file.
    """
    if problem and kind not in RUNS:
        raise TinyadderError(f"'{kind}' shows the whole model and takes no problem; leave out {' '.join(problem)!r}")
    loaded = load_model(name, options, device)
    out = out or Path(f"{loaded.name}-{kind}.png")
    if out.suffix not in FORMATS:
        raise TinyadderError(f"'{out}' does not say a format; end it in {', '.join(FORMATS)}")
    if out.exists() and not force:
        raise TinyadderError(f"{out} exists; give --force to overwrite it, or another --out")
    asked = loaded.task.parse(" ".join(problem)) if problem else loaded.task.hard()[0]

    from tinyadder import plot

    if kind == "weights":
        figure = plot.weights(loaded.model)
    elif kind == "margins":
        figure = plot.margins(loaded.model, loaded.task)
    else:
        extra = (index,) if kind in STEPS else ()
        figure = getattr(plot, kind)(loaded.model, loaded.task, asked, *extra)
    with beside(out) as part:
        figure.savefig(part, dpi=160)
    if as_json:
        echo_json({"model": shown_model(loaded), "kind": kind, "file": str(out)})
    else:
        click.echo(f"wrote {out}")
