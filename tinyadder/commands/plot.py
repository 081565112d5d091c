"""Draw a picture of one run, a model, its training, or the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import file_name, short_name, shown_model
from tinyadder.commands._output import echo, echo_json
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, checked
from tinyadder.inspect.plot import KINDS
from tinyadder.io.files import atomic_write
from tinyadder.io.text import read_json
from tinyadder.named import load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELP = """Draw KIND of NAME (a construction or a model folder): tinyadder plot add10 lanes 123 456.

\b
{kinds}

Those of one run take a problem (default: an example of the task). curves is of a model folder with
its log.jsonl; leaderboard takes as NAME a file of what `tinyadder report --json` printed. The
picture is a .png, .svg or .pdf by the name of the file.
""".format(kinds="\n".join(f"{kind:14}{shown.about}" for kind, shown in KINDS.items()))


@click.command("plot", short_help=__doc__, help=HELP)
@opt.model_argument
@click.argument("kind", type=click.Choice([*KINDS]))
@click.argument("problem", nargs=-1)
@click.option(
    "--digit",
    "index",
    type=int,
    help="Answer token of contributions and logits, from 0 [default: one that tells something].",
)
@opt.integer_option(
    "--problems", "count", default=4000, help="About how many problems margins and accuracy ask."
)
@opt.out_option("File to write [default: NAME-KIND.png].")
@opt.force_option
@opt.device_option
@opt.json_option
def command(
    name: str,
    kind: str,
    problem: tuple[str, ...],
    index: int | None,
    count: int,
    out: Path | None,
    force: bool,
    options: dict[str, Any],
    device: str,
    as_json: bool,
) -> None:
    """See `HELP`."""
    if problem and KINDS[kind].of not in ("run", "step"):
        raise TinyadderError(
            f"'{kind}' does not show one run and takes no problem; leave out {' '.join(problem)!r}"
        )
    of_file = KINDS[kind].of in ("log", "report")
    loaded = None if of_file else load_model(name, options, device)
    asked = loaded.task.parse(" ".join(problem)) if loaded is not None and problem else None
    if out is None:
        called = short_name(name).removesuffix(".json").replace("/", "-")
        out = Path(f"{file_name(loaded) if loaded is not None else called}-{kind}.png")
    opt.check_picture(out)
    opt.check_new(out, force)

    from tinyadder.pictures import of_log, picture, write

    if loaded is not None:
        figure = picture(loaded, kind, asked, digit=index, count=count).figure
    else:
        figure = _leaderboard(Path(name)) if kind == "leaderboard" else of_log(kind, Path(name))
    with atomic_write(out) as part:
        write(figure, part, out.suffix)
    if as_json:
        echo_json(
            {"model": shown_model(loaded) if loaded else name, "kind": kind, "file": str(out)}
        )
    else:
        echo(f"wrote {out}")


def _leaderboard(path: Path) -> Figure:
    """The counts of every model of the leaderboard; of several seeds of a recipe the mean."""
    from tinyadder.inspect.plot.leaderboard import leaderboard
    from tinyadder.report.tables import mean_counts

    try:
        report = read_json(path)
        models = [
            (checked(m["name"], str, "name"), m["trained"] is True, _shown_counts(m["counts"]))
            for m in report["models"]
        ]
        if not models:
            raise ValueError("it has no models")
    except (ValueError, KeyError, TypeError) as error:
        raise TinyadderError(
            f"{path} is not what tinyadder report --json prints: {error}"
        ) from error
    return leaderboard(mean_counts(models))


def _shown_counts(counts: Mapping[str, Any]) -> dict[str, int]:
    from tinyadder.report.tables import SHOWN

    return {rung: checked(counts[rung], Annotated[int, Between(1, 10**15)], rung) for rung in SHOWN}
