"""Count a model's parameters by every convention; --why lists each weight."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.construction import is_submission
from tinyadder.named import load_model

if TYPE_CHECKING:
    from tinyadder.verify.count.literals import Literal


@click.command("count", short_help=__doc__)
@opt.model_argument
@click.option(
    "--why", is_flag=True, help="List every weight: where it is, its value, how it is tied."
)
@opt.seconds_option("Time limit for a submission file.", 120.0)
@opt.json_option
def command(name: str, options: dict[str, Any], why: bool, seconds: float, as_json: bool) -> None:
    """Count the parameters of NAME by every convention of the ladder.

    NAME is a construction (or a Python file that defines construct), a model folder, or a
    submission file (one that defines build_model and add). A submission is a stranger's code: it is
    run, in a process of its own with limits on time and memory.
    """
    from tinyadder.verify.count.claims import matched

    if is_submission(name):
        shown, counts, listed, code = _submission(name, options, why, seconds)
    else:
        shown, counts, listed, code = _own(name, options, why)
    weights = [*listed, *(_placed(literal) for literal in code)] if why else []
    match = matched(counts["claimed"], counts) if "claimed" in counts else None
    if as_json:
        claim = {"claim": {"rungs": match.rungs, "text": str(match)}} if match else {}
        listed_weights = {"weights": weights} if why else {}
        echo_json({"model": shown, "counts": counts, **claim, **listed_weights})
    else:
        _show(shown, counts, weights)
        if match:
            echo(str(match))


CountedModel = tuple[str, dict[str, int], list[dict[str, Any]], "list[Literal]"]


def _own(name: str, options: dict[str, Any], why: bool) -> CountedModel:
    from tinyadder.verify.count import counted_literals, ladder, weights
    from tinyadder.verify.count.code import construction_code, machine_code

    loaded = load_model(name, options)
    code = (
        machine_code(loaded.model) if loaded.folder else construction_code(loaded.name, loaded.file)
    )
    listed = [vars(weight) for weight in weights(loaded.model)] if why else []
    literals = counted_literals(loaded.model, code) if why else []
    return shown_model(loaded), ladder(loaded.model, code), listed, literals


def _submission(name: str, options: dict[str, Any], why: bool, seconds: float) -> CountedModel:
    from tinyadder.verify.count.foreign import count_submission
    from tinyadder.verify.external.submission import Submission

    opt.check_submission_options(name, {"-o": options})
    submission = Submission(name, seconds=seconds)
    warn(submission.place.file)
    with submission.session() as session:
        counted = count_submission(session, submission.place, why=why)
    return name, counted.counts, counted.weights, counted.literals


def warn(path: Path) -> None:
    """Say on standard error that somebody's code is about to run."""
    echo(
        f"running {path}: it is code, by whoever wrote it; it runs in a sandbox, where the system"
        " has one (docs/security.md)",
        err=True,
    )


def _placed(literal: Literal) -> dict[str, Any]:
    file = f"{literal.file}, " if literal.file else ""
    where = f"{file}line {literal.line}, {literal.where}: {literal.text}"
    return {
        "rung": "strict",
        "tensor": "",
        "index": [],
        "value": literal.value,
        "place": where,
        "tie": "",
    }


def _show(shown: str, counts: dict[str, int], weights: list[dict[str, Any]]) -> None:
    from tinyadder.verify.count import definition

    show_table(
        f"parameters of {shown}, by convention",
        {"convention": "left", "count": "right", "what it counts": "left"},
        [(rung, f"{count:,}", definition(rung)) for rung, count in counts.items()],
    )
    if weights:
        echo("")
        show_table(
            "every weight; the first convention that counts it comes first",
            {"convention": "left", "value": "right", "place": "left", "tie": "left"},
            [
                (weight["rung"], f"{weight['value']:.9g}", weight["place"], weight["tie"])
                for weight in weights
            ],
        )
