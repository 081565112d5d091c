"""Train a baseline from a recipe: progress, log, checkpoints, resume."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._output import console, echo, echo_json
from tinyadder.commands._rounds import ENDS, prove_rounds, told
from tinyadder.errors import TinyadderError
from tinyadder.io.files import clean, lock, recover, write_text
from tinyadder.io.text import read_json
from tinyadder.named import use_device


@click.command
@click.argument("recipe", required=False)
@opt.out_option("Folder of the results. [default: runs/RECIPE]")
@click.option(
    "--seed",
    "seeds",
    type=opt.SEED,
    multiple=True,
    help="Seed instead of the recipe's; may be repeated.",
)
@click.option("--resume", is_flag=True, help="Resume from the newest valid checkpoint.")
@click.option("--force", is_flag=True, help="Train again even if there is a trained model.")
@opt.path_option(
    "--data", "Write train.jsonl, validation.jsonl and test.jsonl into this folder and stop."
)
@opt.device_option
@opt.path_option("--start", "Continue training from this model folder.")
@click.option(
    "--prove",
    is_flag=True,
    help="Then go on with counterexamples until the model is proved right on every problem.",
)
@opt.integer_option(
    "--rounds", default=30, help="With --prove: the most rounds of counterexamples."
)
@opt.seconds_option("With --prove: no round begins after so many seconds of rounds.", 3600.0)
@opt.path_option("--tensorboard", "Also log to this folder for TensorBoard (extra `tensorboard`).")
@opt.threads_option
@opt.settings_option("A value instead of the recipe's, e.g. train.steps=100, or steps=100.")
@opt.json_option
def command(
    recipe: str | None,
    out: Path | None,
    seeds: tuple[int, ...],
    resume: bool,
    force: bool,
    data: Path | None,
    device: str,
    start: Path | None,
    prove: bool,
    rounds: int,
    seconds: float,
    tensorboard: Path | None,
    threads: int,
    settings: tuple[str, ...],
    as_json: bool,
) -> int:
    """Train RECIPE (a name, or a TOML file) and write OUT/seed-N/model for every seed.

    Without RECIPE: the recipes there are. Several processes: torchrun --nproc-per-node N -m
    tinyadder train RECIPE.

    With --prove the model of every seed is trained on until it is proved, and is then in
    OUT/seed-N/proved; `--start MODEL --prove` without RECIPE goes on from MODEL with the recipe it
    was made with. Exit code 0 proved, 1 still wrong, 4 unknown when rounds or seconds end.
    """
    from tinyadder.train.recipe import read_recipe, recipe_names

    if recipe is None and start is not None and prove:
        if settings:
            raise TinyadderError(f"--set {settings[0]} changes a recipe; name the RECIPE")
        return _prove_from(start, out, seeds, resume, force, (rounds, seconds), as_json)
    if recipe is None:
        _list(as_json, {name: read_recipe(name) for name in recipe_names()})
        return 0
    read = read_recipe(recipe, settings)
    if resume and start is not None:
        raise TinyadderError(
            "--resume goes on from a checkpoint, --start MODEL from a model; give one of the two"
        )
    if data is not None:
        _write(read, (seeds or read.train.seeds)[0], data, force)
        return 0
    import torch

    from tinyadder.train.log import board
    from tinyadder.train.loop import Interrupted, Run
    from tinyadder.train.steps import Processes
    from tinyadder.train.validation import exact_match

    device = use_device(device)
    torch.set_num_threads(threads)
    processes = Processes.join()
    first = processes.rank == 0
    folder = out or Path("runs") / read.name
    results, proofs = list[dict[str, Any]](), list[dict[str, Any]]()
    for seed in seeds or read.train.seeds:
        place = folder / f"seed-{seed}"
        alone = lock(place, f"tinyadder train {recipe}") if first else nullcontext()
        with alone:
            if first:  # what killed runs left, also of a seed that is finished
                for part in (place / "model", place / "checkpoints"):
                    recover(part)
                    clean(part)
            try:
                if not (place / "model").exists() or force:
                    run = Run(read, seed, place, device=device, processes=processes, start=start)
                    _begin(run, resume, force)
                    if tensorboard is not None and first:
                        run.log.also = board(tensorboard / f"{read.name}-seed-{seed}")
                    model = _train(run) if first else run.train()
                    if first:
                        results.append(_result(run, model, exact_match))
                        _note(folder / "results.json", results)
                elif not prove:
                    echo(f"{place / 'model'} is there already; --force trains it again", err=True)
                if prove and first:
                    proofs.append(
                        prove_rounds(
                            read,
                            seed,
                            place,
                            place / "model",
                            resume=resume,
                            force=force,
                            budget=(rounds, seconds),
                        )
                    )
            except Interrupted as stopped:
                echo(f"seed {seed}: {stopped}", err=True)
                return 130
    return _show(results, proofs, as_json)


def _show(results: list[dict[str, Any]], proofs: list[dict[str, Any]], as_json: bool) -> int:
    """What training and the rounds of counterexamples came to; the exit code."""
    if as_json:
        echo_json([*results, *proofs])
    else:
        for line in results:
            echo(
                f"seed {line['seed']}: {line['steps']} steps, {line['cpu seconds']} CPU seconds, "
                f"exact match on held-out problems {line['test exact']:.4f}, {line['model']}"
            )
        for line in proofs:
            echo(told(line))
    return max((ENDS[line["verdict"]] for line in proofs), default=0)


def _begin(run: Any, resume: bool, force: bool) -> None:
    """Go on from a checkpoint, or clear away what an earlier run left.

    Raises `TinyadderError` for an unfinished run without `resume` or `force`.
    """
    place, first = run.folder, run.processes.rank == 0
    unfinished = any((place / "checkpoints").glob("checkpoint-*.safetensors"))
    if unfinished and not (resume or force):
        raise TinyadderError(
            f"{place} holds an unfinished run; give --resume to go on or --force to start again"
        )
    if resume and unfinished:
        for damage in run.resume():
            echo(f"{damage}; the one before is used", err=True)
    elif resume and first:
        echo(f"{place} holds no unfinished run; starting from step 0", err=True)
    elif first:  # what an earlier run left belongs to that run
        (place / "log.jsonl").unlink(missing_ok=True)
        shutil.rmtree(place / "checkpoints", ignore_errors=True)


def _result(run: Any, model: Path, exact_match: Any) -> dict[str, Any]:
    """What a finished run came to."""
    return {
        "seed": run.state.seed,
        "model": str(model),
        "steps": run.state.step,
        "test exact": exact_match(run.model, run.recipe.task, run.dealer.test_problems()),
        "cpu seconds": round(run.state.cpu, 1),
    }


def _prove_from(
    start: Path,
    out: Path | None,
    seeds: tuple[int, ...],
    resume: bool,
    force: bool,
    budget: tuple[int, float],
    as_json: bool,
) -> int:
    """Rounds of counterexamples for a trained model, with the recipe it was made with."""
    from tinyadder.io.folder import describe
    from tinyadder.train.evaluate import recipe_of
    from tinyadder.train.loop import Interrupted

    described = describe(start)
    recipe = recipe_of(described.options, str(start))
    if recipe is None:
        raise TinyadderError(f"the model in {start} was made by no recipe; name one to train with")
    given = seeds or (int(described.options.get("seed", 1)),)
    proofs = []
    for seed in given:
        place = (out or Path("runs") / recipe.name) / f"seed-{seed}"
        with lock(place, f"tinyadder train --start {start} --prove"):
            try:
                result = prove_rounds(
                    recipe, seed, place, start, resume=resume, force=force, budget=budget
                )
            except Interrupted as stopped:
                echo(f"seed {seed}: {stopped}", err=True)
                return 130
        proofs.append(result)
    return _show([], proofs, as_json)


def _note(path: Path, results: list[dict[str, Any]]) -> None:
    """Put `results` into the results file, in the place of older ones of the same seeds."""
    known = read_json(path) if path.exists() else []
    if not isinstance(known, list) or not all(isinstance(line, dict) for line in known):
        raise TinyadderError(f"{path} is no list of results; move it away")
    seeds = {line["seed"] for line in results}
    kept = [line for line in known if line.get("seed") not in seeds] + results
    lines = ",\n ".join(map(json.dumps, sorted(kept, key=lambda line: str(line.get("seed")))))
    write_text(path, f"[\n {lines}\n]\n")


def _write(recipe: Any, seed: int, folder: Path, force: bool) -> None:
    from tinyadder.train.data import check_leaks, held_out_problems, training_problems
    from tinyadder.train.files import write_splits

    opt.check_new(folder, force, "--data")
    splits = {
        "train": training_problems(recipe, seed),
        "validation": held_out_problems(recipe, "validation"),
        "test": held_out_problems(recipe, "test"),
    }
    check_leaks(recipe.task, splits)
    write_splits(recipe.task, splits, folder)
    for (name, problems), key in zip(
        splits.items(), ("file", "validation_file", "test_file"), strict=True
    ):
        path = folder / f"{name}.jsonl"
        echo(f"wrote {path}: {len(problems):,} problems; --set {key}={path} reads them")


def _train(run: Any) -> Path:
    """Train with a progress bar in a terminal, or one line of JSON for every line of the log."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        return run.train(lambda line: echo(json.dumps(line), err=True))
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("seed {task.fields[seed]}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("loss {task.fields[loss]} exact {task.fields[exact]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=shown) as progress:
        bar = progress.add_task(
            "", total=run.recipe.train.steps, seed=run.seed, loss="-", exact="-"
        )

        def report(line: dict[str, Any]) -> None:
            shown: dict[str, Any] = {
                "loss": line.get("loss"),
                "exact": line.get("validation exact"),
            }
            progress.update(
                bar, completed=line["step"], **{k: v for k, v in shown.items() if v is not None}
            )

        return run.train(report)


def _list(as_json: bool, recipes: dict[str, Any]) -> None:
    if as_json:
        echo_json({name: recipe.summary for name, recipe in recipes.items()})
    else:
        width = max(map(len, recipes), default=0)
        for name, recipe in recipes.items():
            echo(f"{name:{width}}  {recipe.summary}")
