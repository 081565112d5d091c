"""Rounds of counterexamples after training, on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tinyadder.commands._output import echo
from tinyadder.errors import TinyadderError

ENDS = {"proved": 0, "refuted": 1, "unknown": 4}
"""Exit codes by how the last round ended."""


def prove_rounds(
    recipe: Any,
    seed: int,
    place: Path,
    start: Path,
    *,
    resume: bool,
    force: bool,
    budget: tuple[int, float],
) -> dict[str, Any]:
    """Rounds for the model in `start`, with their files in `place`, until it is proved or the
    budget (rounds, seconds) ends; what came of it.

    Raises `TinyadderError` for unfinished rounds in `place` without `resume` or `force`, and
    `Interrupted` after Ctrl-C.
    """
    from tinyadder.train.prove import PROVED, ROUNDS, Budget, Proving

    if force:
        for name in ("rounds", PROVED):
            shutil.rmtree(place / name, ignore_errors=True)
        (place / ROUNDS).unlink(missing_ok=True)
    proving = Proving(recipe, seed, place, start)
    if proving.rounds and not (resume or proving.proved):
        raise TinyadderError(
            f"{place} holds {len(proving.rounds)} rounds of counterexamples without a proof; give"
            " --resume to go on or --force to start again"
        )
    proving.run(Budget(*budget), lambda line: echo(json.dumps(line), err=True))
    last = proving.rounds[-1]
    model = place / PROVED if proving.proved else place / "rounds" / str(last["round"])
    return {
        "seed": seed,
        "verdict": last["verdict"],
        "rounds": len(proving.rounds),
        "problems found": last["problems"],
        "seconds": last["seconds"],
        "said": last["said"],
        "model": str(model),
    }


def told(result: dict[str, Any]) -> str:
    """`prove_rounds`' result in one line."""
    count = result["rounds"]
    cost = f"{count} round{'s' * (count != 1)}, {result['seconds']:.0f} seconds"
    if result["verdict"] == "proved":
        return f"seed {result['seed']}: proved after {cost}, {result['model']}"
    return f"seed {result['seed']}: no proof after {cost}: {result['said']}; {result['model']}"
