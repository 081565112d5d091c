"""Set each weight of a model to zero: which are needed, and an input that shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import console, echo, echo_json
from tinyadder.escape import terminal
from tinyadder.named import load_model

if TYPE_CHECKING:
    from tinyadder.verify.mutate import Fate


@click.command("ablate", short_help=__doc__)
@opt.model_argument
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    help="Another change than 'zero', e.g. 'scale by 1 + 1e-6'; repeatable.",
)
@click.option(
    "--no-proof", is_flag=True, help="Leave what survives the tests undecided; much faster."
)
@opt.seed_option("Seed of the structured problems.")
@opt.device_option
@opt.json_option
def command(
    name: str,
    options: dict[str, Any],
    kinds: tuple[str, ...],
    no_proof: bool,
    seed: int,
    device: str,
    as_json: bool,
) -> int:
    """Change the weights of NAME (a construction or a model folder) one at a time, and see what
    breaks.

    load-bearing: the changed model gets the problem shown wrong. redundant: the independent checker
    accepts a proof that the changed model is right on all inputs. undecided: no test failed and no
    proof was found; the reason is given.
    """
    from tinyadder.errors import TinyadderError, did_you_mean
    from tinyadder.verify.mutate import KINDS, SWAP, judged, mutants, problems_for, try_mutant

    for kind in kinds:
        if kind not in (*KINDS, SWAP):
            known = ", ".join(f"'{known}'" for known in (*KINDS, SWAP))
            raise TinyadderError(
                f"no change '{kind}'{did_you_mean(kind, (*KINDS, SWAP))} (changes: {known})"
            )
    loaded = load_model(name, options, device)
    model, task = loaded.model, loaded.task
    problems = problems_for(task, seed)
    every = list(mutants(model, kinds or ("zero",)))
    fates = []
    from rich.text import Text

    with console(stderr=True).status("asking") as status:
        for done, mutant in enumerate(every):
            status.update(Text(terminal(f"{done} of {len(every)}: {mutant.kind}, {mutant.place}")))
            fate = try_mutant(
                model, task, mutant, problems, None if no_proof else lambda m: judged(m, task)
            )
            fates.append(fate)
            if not as_json:
                echo(_line(fate))
    counts = Counter(fate.word for fate in fates)
    if as_json:
        echo_json(
            {
                "model": shown_model(loaded),
                "counts": counts,
                "weights": [_record(fate) for fate in fates],
            }
        )
    else:
        summary = ", ".join(
            f"{counts[word]} {word}" for word in ("load-bearing", "redundant", "undecided")
        )
        echo(f"{len(fates)} changes: {summary}")
    return 0


def _why(fate: Fate) -> str:
    from tinyadder.verify.verdict import Proved, Unknown

    if fate.killed:
        return str(fate.killed)
    if isinstance(fate.judged, Proved):
        return f"proved without it, smallest margin {fate.judged.margin:.6g}"
    return fate.judged.reason if isinstance(fate.judged, Unknown) else "no test failed; not proved"


def _line(fate: Fate) -> str:
    return f"{fate.word:13} {fate.mutant.kind:18} {fate.mutant.place:60} {_why(fate)}"


def _record(fate: Fate) -> dict[str, Any]:
    killed = fate.killed and asdict(fate.killed)
    return {
        "place": fate.mutant.place,
        "kind": fate.mutant.kind,
        "fate": fate.word,
        "killed": killed,
        "why": _why(fate),
    }
