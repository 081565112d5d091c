"""What the options of training do: one recipe, one switch each, exact match and CPU seconds.

    python -m benchmarks.options [--steps N] [--seed N ...] [--only NAME ...] [--out FILE]

Every run makes the same number of steps and is judged once, at the end, on the recipe's 10,000
held-out problems; the weights kept are those of the best validation accuracy, as `tinyadder train`
keeps them.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.io.files import atomic_write
from tinyadder.io.folder import load
from tinyadder.train.evaluate import circumstances
from tinyadder.train.loop import Run
from tinyadder.train.recipe import Recipe, read_recipe
from tinyadder.train.validation import exact_match

RECIPE = "addition3-reversed"
SWITCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("train", {}),
    "self-fed, temperature 1": ("train", {"self_fed": 0.5, "temperature": 1.0}),
    "self-fed, temperature 0.3": ("train", {"self_fed": 0.5, "temperature": 0.3}),
    "slow gradient": ("train", {"grokfast": 2.0, "grokfast_memory": 0.98}),
    "bf16": ("train", {"precision": "bf16"}),
    "dropout": ("model", {"dropout": 0.1}),
    "weight decay": ("train", {"weight_decay": 0.1}),
    "softmax1": ("model", {"softmax": "softmax1"}),
}
"""Section of the recipe and what is changed there."""


def switched(name: str, steps: int) -> Recipe:
    """The recipe with one switch, `steps` steps and no early end. Raises `TinyadderError` for an
    unknown name.
    """
    if name not in SWITCHES:
        raise TinyadderError(
            f"no option '{name}'{did_you_mean(name, SWITCHES)} (options: {', '.join(SWITCHES)})"
        )
    section, change = SWITCHES[name]
    recipe = read_recipe(RECIPE)
    train = replace(recipe.train, steps=steps, patience=0, compile=False)
    recipe = replace(recipe, train=train)
    if section == "model":  # what a switch changes there is an option of the machine
        options = replace(recipe.model.options, **change)
        return replace(recipe, model=replace(recipe.model, options=options))
    return replace(recipe, **{section: replace(getattr(recipe, section), **change)})


def measure(name: str, steps: int, seed: int) -> dict[str, Any]:
    """Train and judge one run."""
    recipe = switched(name, steps)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, seed, Path(folder))
        model, _ = load(run.train())
        exact = exact_match(model, recipe.task, run.dealer.test_problems())
    section, change = SWITCHES[name]
    return {
        "option": name,
        "changed": {section: change} if change else {},
        "seed": seed,
        "steps": steps,
        "problems": len(run.dealer.test_problems()),
        "exact": exact,
        "cpu seconds": round(run.state.cpu, 1),
    }


@click.command
@click.option("--steps", default=3000, show_default=True)
@click.option("--seed", "seeds", type=int, multiple=True, default=(1, 2), show_default=True)
@click.option("--only", multiple=True, help="Only these options; may be repeated.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Also write the runs as JSON."
)
def main(steps: int, seeds: tuple[int, ...], only: tuple[str, ...], out: Path | None) -> None:
    """Train RECIPE once for each option and seed, and print one line a run."""
    torch.set_num_threads(1)
    runs = []
    for name in only or SWITCHES:
        for seed in seeds:
            found = measure(name, steps, seed)
            runs.append(found)
            click.echo(
                f"{name:26} seed {seed}  exact {found['exact']:8.2%}  {found['cpu seconds']:6.1f}"
                " CPU s"
            )
            if out:
                data = {"recipe": RECIPE, "runs": runs, **circumstances()}
                with atomic_write(out, way_out="give another --out") as part:
                    part.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
