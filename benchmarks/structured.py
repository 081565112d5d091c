"""The ladder of what was given: structured recipes with other and other things given.

    python -m benchmarks.structured [--rung NAME ...] [--seed N ...] [--digits N] [--out FILE]

One line a run: trained, then given to the prover, whose verdict is the checker's or a replayed
problem. FILE (benchmarks/structured.json) is written after every run; runs that it has already are
kept, unless --force is given. A rung that fails is a row like any other.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.io.files import atomic_write
from tinyadder.io.folder import load
from tinyadder.train.evaluate import circumstances
from tinyadder.train.loop import Run
from tinyadder.train.recipe import Recipe, read_recipe, recipe_from_json
from tinyadder.train.validation import exact_match
from tinyadder.verify.certify.prove import certify

RECIPE = "addition2-structured"
LONG = "addition10-structured"
"""The recipe of ten digits, which ends with linear programmes over the margins."""
FILE = Path(__file__).parent / "structured.json"
Changes = dict[str, Any]
SCORES = ["query", "key", "slope"]
BASE = {"name": "add_base", "options": {"tied": True}, "fixed": SCORES}
RUNGS: dict[str, tuple[str, Changes]] = {
    "readout": ("embedding, scores, signs, one magnitude a kind of the rest (add10)", {}),
    "all": ("scores, signs, one magnitude a kind (add10)", {"fixed": SCORES}),
    "tied": ("scores, signs, one magnitude a kind (add_base, tied)", BASE),
    "wide": ("the same, numbers spread by exp(2 N(0, 1))", {**BASE, "spread": 2.0}),
    "sites": ("the same, the half unit on '+' begins as a digit", {**BASE, "alike": "site"}),
    "scores": (
        "signs, one magnitude a kind; queries, keys and slopes within 0.1 N(0, 1)",
        {**BASE, "fixed": [], "shift": 0.1},
    ),
    "signs": ("scores, one magnitude a kind; signs drawn", {**BASE, "signs": "random"}),
}
"""What was given, and the keys of [structure] that say so."""


def rung(name: str, digits: int) -> Recipe:
    """The recipe of a rung, for so many digits. Raises `TinyadderError` for an unknown name."""
    if name not in RUNGS:
        raise TinyadderError(
            f"no rung '{name}'{did_you_mean(name, RUNGS)} (rungs: {', '.join(RUNGS)})"
        )
    stored = read_recipe(LONG if digits == 10 else RECIPE).to_json()
    stored["structure"] |= RUNGS[name][1]
    stored["structure"]["options"] = {**stored["structure"]["options"], "digits": digits}
    stored["task"]["options"]["digits"] = digits
    return recipe_from_json(stored, where=name)


def measure(name: str, digits: int, seed: int) -> dict[str, Any]:
    """Train one seed of a rung and ask the prover."""
    recipe = rung(name, digits)
    assert recipe.structure is not None
    with tempfile.TemporaryDirectory() as place:
        run = Run(recipe, seed, Path(place))
        assert run.skeleton is not None
        free, all_numbers = run.skeleton.free(recipe.structure), len(run.skeleton.numbers)
        found: dict[str, Any] = {"rung": name, "digits": digits, "seed": seed}
        found |= {"given": RUNGS[name][0], "trained": len(free), "numbers": all_numbers}
        try:
            folder = run.train()
        except TinyadderError as error:  # a start from which nothing can be learned
            return {**found, "verdict": "unknown", "text": str(error), "proved": False}
        model, described = load(folder)
        began = time.process_time()
        judged = certify(model, described.task, folder)
        return {
            **found,
            "steps": run.state.step,
            "cpu seconds": round(run.state.cpu, 1),
            "proof cpu seconds": round(time.process_time() - began, 1),
            "exact": exact_match(model, described.task, run.dealer.test_problems()),
            "verdict": type(judged.verdict).__name__.lower(),
            "text": str(judged.verdict).partition("; certificate")[0],
            "proved": type(judged.verdict).__name__ == "Proved",
        }


def _others(out: Path, *key: object) -> list[dict[str, Any]]:
    """The runs in the file but the one with this rung, digits and seed."""
    runs = json.loads(out.read_text())["runs"] if out.exists() else []
    return [run for run in runs if (run["rung"], run["digits"], run["seed"]) != key]


@click.command
@click.option("--rung", "names", multiple=True, help="Only these rungs; may be repeated.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2, 3, 4, 5))
@click.option("--digits", type=click.IntRange(1, 13), default=2, show_default=True)
@click.option("--force", is_flag=True, help="Make runs again that FILE has.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), default=FILE, show_default=True
)
def main(
    names: tuple[str, ...], seeds: tuple[int, ...], digits: int, force: bool, out: Path
) -> None:
    """Train every rung with every seed, and print one line a run."""
    torch.set_num_threads(1)
    for name in names or RUNGS:
        for seed in seeds:
            if not force and len(_others(out, name, digits, seed)) < len(_others(out)):
                continue
            found = measure(name, digits, seed)
            click.echo(
                f"{digits:2} digits  {name:12} seed {seed}  {found['trained']:3} trained  exact"
                f" {found.get('exact', 0):8.2%}  {found.get('cpu seconds', 0):6.1f} CPU s "
                f" {found['text']}"
            )
            order = list(RUNGS)
            every = sorted(
                [*_others(out, name, digits, seed), found | circumstances()],
                key=lambda run: (-run["digits"], order.index(run["rung"]), run["seed"]),
            )
            command = "python -m benchmarks.structured"
            data = {"command": command, "recipe": RECIPE, "runs": every}
            with atomic_write(out, way_out="give another --out") as part:
                part.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
