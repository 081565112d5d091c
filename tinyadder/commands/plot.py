"""Draw a picture of one run, a model, its training, or the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from tinyadder.commands._models import short_name, shown_model
from tinyadder.commands._options import (
    construction_options,
    device_option,
    json_option,
    name_argument,
)
from tinyadder.commands._output import echo, echo_json
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, checked
from tinyadder.io.files import atomic_write
from tinyadder.io.folder import describe
from tinyadder.io.text import read_json
from tinyadder.named import Loaded, is_folder_name, load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = ("contributions", "logits")
RUNS = ("attention", "lanes", *STEPS)
MODELS = ("accuracy", "margins", "weights")
FILES = ("curves", "leaderboard")
"""Drawn from what was written before: a training log, `tinyadder report --json`."""
FORMATS = (".png", ".svg", ".pdf")


@click.command("plot", short_help=__doc__)
@name_argument
@click.argument("kind", type=click.Choice([*RUNS, *MODELS, *FILES]))
@click.argument("problem", nargs=-1)
@click.option(
    "--digit",
    "index",
    default=0,
    show_default=True,
    help="Answer token of contributions and logits, from 0.",
)
@click.option(
    "--problems", "count", default=5000, show_default=True, help="How many problems accuracy asks."
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write [default: NAME-KIND.png].",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@construction_options
@device_option
@json_option
def command(
    name: str,
    kind: str,
    problem: tuple[str, ...],
    index: int,
    count: int,
    out: Path | None,
    force: bool,
    options: dict[str, Any],
    device: str,
    as_json: bool,
) -> None:
    """Draw KIND of NAME (a construction or a model folder): tinyadder plot add10 attention 123 456.

    attention, contributions, lanes and logits show one run and take a problem (default: the first
    of the hard list); margins and weights show the model, accuracy how often it is right, by traits
    such as the longest carry chain or the degree. curves is the training of a model folder (its
    log.jsonl); leaderboard takes as NAME a file of what `tinyadder report --json` printed. The
    picture is a .png, .svg or .pdf by the name of the file.
    """
    if problem and kind not in RUNS:
        raise TinyadderError(
            f"'{kind}' does not show one run and takes no problem; leave out {' '.join(problem)!r}"
        )
    loaded = load_model(name, options, device) if kind not in FILES else None
    asked = None
    if loaded is not None:
        asked = loaded.task.parse(" ".join(problem)) if problem else loaded.task.hard()[0]
    called = loaded.name if loaded is not None else short_name(name).removesuffix(".json")
    out = out or Path(f"{called.replace('/', '-')}-{kind}.png")
    if out.suffix not in FORMATS:
        raise TinyadderError(f"'{out}' does not say a format; end it in {', '.join(FORMATS)}")
    if lexists(out) and not force:
        raise TinyadderError(f"{out} exists; give --force to overwrite it, or another --out")

    from tinyadder.inspect import plot

    if loaded is None:
        figure = _curves(Path(name)) if kind == "curves" else _leaderboard(Path(name))
    elif kind == "weights":
        figure = plot.weights(loaded.model)
    elif kind == "margins":
        figure = plot.margins(loaded.model, loaded.task)
    elif kind == "accuracy":
        figure = _accuracy(loaded, count)
    else:
        extra = (index,) if kind in STEPS else ()
        figure = getattr(plot, kind)(loaded.model, loaded.task, asked, *extra)
    with atomic_write(out) as part:
        figure.savefig(part, dpi=160)
    if as_json:
        echo_json(
            {"model": shown_model(loaded) if loaded else name, "kind": kind, "file": str(out)}
        )
    else:
        echo(f"wrote {out}")


def _accuracy(loaded: Loaded, count: int) -> Figure:
    """Exact match by true decoding, on problems that were never shown in training."""
    from tinyadder.inspect.plot import accuracies
    from tinyadder.train.evaluate import evaluate, recipe_of, test_problems

    recipe = recipe_of(loaded.options, loaded.name) if loaded.folder is not None else None
    score = evaluate(
        loaded.model, loaded.task, test_problems(loaded.task, recipe, count=count, seed=1)
    )
    if not score.by:
        raise TinyadderError(f"task '{loaded.task.name}' has no traits to group its problems by")
    by: Mapping[str, Any] = {
        trait: {
            value: (round(g["exact"] * g["problems"]), int(g["problems"]))
            for value, g in groups.items()
        }
        for trait, groups in score.by.items()
    }
    kind = "problems never shown in training" if recipe else "problems of all kinds"
    wrong = round((1 - score.exact) * score.problems)
    return accuracies(
        by, f"{short_name(shown_model(loaded))}: {wrong:,} of {score.problems:,} {kind} are wrong"
    )


def _curves(folder: Path) -> Figure:
    """The log of the run that made the model in `folder`: beside the model, or in its own
    folder.
    """
    from tinyadder.inspect.plot import curves
    from tinyadder.train.log import read_log

    if not is_folder_name(str(folder)):
        raise TinyadderError(
            f"curves are of a trained model's folder; '{folder}' is none: its weights were written"
        )
    logs = [path for path in (folder / "log.jsonl", folder.parent / "log.jsonl") if path.is_file()]
    if not logs:
        describe(str(folder))  # says what is wrong with a folder that is none
        raise TinyadderError(
            f"{folder} has no log.jsonl beside it; a model that tinyadder train makes has one"
        )
    return curves(read_log(logs[0]), short_name(str(folder)))


def _leaderboard(path: Path) -> Figure:
    """The counts of every model of the leaderboard; of several seeds of a recipe the mean."""
    from tinyadder.inspect.plot import leaderboard
    from tinyadder.report.tables import mean_counts

    try:
        found = read_json(path)
        models = [
            (checked(m["name"], str, "name"), m["trained"] is True, _shown_counts(m["counts"]))
            for m in found["models"]
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
