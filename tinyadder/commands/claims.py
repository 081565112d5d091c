"""Compare what a construction claims its lanes hold with what they hold, on hard inputs; print the
largest error of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.named import Loaded, load_model

if TYPE_CHECKING:
    from tinyadder.verify.claims import LaneErrors, Readout


@click.command("claims", short_help=__doc__)
@opt.model_argument
@opt.integer_option("--problems", "count", default=100, help="Hard problems.")
@opt.seed_option("Seed of their choice.")
@opt.device_option
@opt.json_option
def command(
    name: str, options: dict[str, Any], count: int, seed: int, device: str, as_json: bool
) -> None:
    """Compare the claims of NAME with the model, lane by lane, at all positions of hard and
    structured problems.

    Errors are absolute, relative to the claimed value, and scaled: relative to the largest value
    claimed at the same position, which is more telling where a remainder is near zero.
    """
    from tinyadder.verify.claims import check_claims, check_readout

    loaded = load_model(name, options, device)
    random = Random(seed)
    hard = loaded.task.hard()
    problems = [
        *random.sample(hard, min(len(hard), count // 2)),
        *loaded.task.structured(random, count - count // 2),
    ]
    lanes = check_claims(loaded.model, loaded.task, loaded.claims, problems)
    read = check_readout(loaded.model, loaded.task, loaded.claims or {}, problems)
    if as_json:
        echo_json(
            {
                "model": shown_model(loaded),
                "problems": len(problems),
                "seed": seed,
                "lanes": [vars(errors) for errors in lanes],
                "readout": None if read is None else vars(read),
            }
        )
    else:
        about = f"{shown_model(loaded)} on {len(problems)} problems, seed {seed}"
        _show(f"claims of {about}: largest errors", loaded, lanes, read)


def _show(title: str, loaded: Loaded, errors: Sequence[LaneErrors], read: Readout | None) -> None:
    """A line for every lane, what the claims read out, and the lanes nothing is claimed of."""

    def where(worst: tuple[Any, int, float, float] | None) -> str:
        if worst is None:
            return "exact"
        problem, position, claimed, held = worst
        return f"{loaded.task.show(problem)} at {position}: claimed {claimed:.9g}, held {held:.17g}"

    show_table(
        title,
        {
            "lane": "left",
            "compared": "right",
            "absolute": "right",
            "relative": "right",
            "scaled": "right",
            "largest relative": "left",
        },
        [
            (
                e.lane,
                f"{e.compared:,}",
                f"{e.absolute:.2g}",
                f"{e.relative:.2g}",
                f"{e.scaled:.2g}",
                where(e.worst_relative or e.worst_absolute),
            )
            for e in errors
        ],
    )
    if read is not None:
        room = (
            f"; what errors of this size could change at worst, times {read.room:.3g}, is the lead"
        )
        echo(
            f"read from the claims alone: {read.wrong:,} of {read.tokens:,} answer tokens wrong,"
            f" smallest lead {read.margin:.3g}{'' if read.wrong else room}"
        )
    silent = [
        lane for lane in dict(loaded.model.config.lanes) if lane not in {e.lane for e in errors}
    ]
    if silent:
        echo(f"nothing is claimed of {', '.join(silent)}")
