"""Evaluate a model: exact match by decoding, token accuracy, by trait, hard cases, counts, verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    show_table,
    shown_model,
)
from tinyadder.errors import TinyadderError
from tinyadder.folder import beside


@click.command("evaluate", short_help=__doc__)
@name_argument
@construction_options
@click.option("--problems", "count", default=10_000, show_default=True, help="Held-out problems to decode.")
@click.option("--seed", default=1, show_default=True, help="Of the problems, for a model without a recipe.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False), help="JSONL of problems instead.")
@click.option("--samples", default=20_000, show_default=True, help="Structured samples of the verifier; 0 skips it.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the results as JSON to this file.")
@click.option("--force", is_flag=True, help="Replace OUT.")
@click.option("--threads", type=int, default=1, show_default=True, help="CPU threads of torch.")
@device_option
@json_option
def command(
    name: str,
    options: dict[str, Any],
    count: int,
    seed: int,
    file: str | None,
    samples: int,
    out: Path | None,
    force: bool,
    threads: int,
    device: str,
    as_json: bool,
) -> None:
    """Evaluate NAME (a construction or a model folder) on problems it was never shown.

    Exact match is by greedy decoding from the prompt alone; token accuracy is given beside it. A trained model is
    judged on the test split of its recipe. Then come the task's hard cases, the verifier's verdict and the counts.
    """
    if out is not None and out.exists() and not force:
        raise TinyadderError(f"{out} exists; give --force to replace it, or another --out")
    import torch

    from tinyadder.train.data import read_jsonl
    from tinyadder.train.evaluate import circumstances, evaluate, recipe_of, test_problems
    from verify.count import ladder
    from verify.properties import verify
    from verify.verdict import verdict_to_json

    torch.set_num_threads(threads)
    loaded = load_model(name, options, device=device)
    task, model = loaded.task, loaded.model
    recipe = recipe_of(loaded.options, name) if loaded.folder is not None else None
    problems = read_jsonl(task, file) if file else test_problems(task, recipe, count=count, seed=seed)
    score = evaluate(model, task, problems)
    hard = evaluate(model, task, task.hard())
    found: dict[str, Any] = {
        "model": shown_model(loaded),
        "task": task.to_json(),
        "problems": file or ("test split of its recipe" if recipe else f"balanced, seed {seed}"),
        "score": score.to_json(),
        "hard cases": {"problems": hard.problems, "exact": hard.exact, "wrong": list(hard.wrong)},
        "counts": ladder(model),
        "training": {k: v for k, v in loaded.options.items() if k != "recipe"} if recipe else None,
        "command": f"tinyadder evaluate {name} --problems {count}",
        **circumstances(),
    }
    if samples:
        verdict = verify(model, task, count=samples).verdict
        found["verdict"] = verdict_to_json(verdict) | {"text": str(verdict)}
    if out is not None:
        with beside(out) as part:
            part.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if as_json:
        echo_json(found)
    else:
        _show(found)


def _show(found: Mapping[str, Any]) -> None:
    score, hard = found["score"], found["hard cases"]
    rows = [("all", "", score["problems"], score["exact"], score["chance"])]
    rows += [
        (trait, value, group["problems"], group["exact"], group["chance"])
        for trait, values in score["by"].items()
        for value, group in values.items()
    ]
    show_table(
        f"{found['model']} on {found['problems']}",
        {"trait": "left", "value": "right", "problems": "right", "exact match": "right", "chance": "right"},
        [(trait, value, f"{n:,}", f"{exact:.4%}", f"{chance:.4%}") for trait, value, n, exact, chance in rows],
    )
    click.echo(f"token accuracy (teacher-forced) {score['tokens']:.4%}, ceiling of exact match {score['ceiling']:.2%}")
    click.echo(f"hard cases: {hard['exact']:.4%} of {hard['problems']:,} (some may have been in training)")
    click.echo("parameters: " + ", ".join(f"{rung} {count:,}" for rung, count in found["counts"].items()))
    for wrong in score["wrong"][:3]:
        click.echo(f"  wrong: {wrong['problem']}   expected {wrong['expected']}, model {wrong['got']}")
    if "verdict" in found:
        click.echo(found["verdict"]["text"])
