"""Compare built and trained models of one task: counts, accuracy, verdict, cost, speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import short_name, shown_model
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write
from tinyadder.named import find, load_model


@click.command("compare", short_help=__doc__)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@opt.integer_option(
    "--problems", "count", default=1000, help="Random problems of each model's own task."
)
@opt.integer_option(
    "--samples", default=5000, help="Structured samples of the verifier; 0 skips it.", least=0
)
@opt.seed_option("Seed of the random problems.", default=1)
@opt.path_option("--plot", "Also draw accuracy and cost against size (.png, .svg, .pdf).")
@opt.force_option
@opt.device_option
@opt.json_option
def command(
    names: tuple[str, ...],
    count: int,
    samples: int,
    seed: int,
    plot: Path | None,
    force: bool,
    device: str,
    as_json: bool,
) -> None:
    """Compare NAMEs (constructions or model folders) that do the same task, even in different
    formats.

    Exact match is by greedy decoding, on uniform problems and on the task's hard cases; the verdict
    is the verifier's; speed is answer tokens per second of that decoding, one thread.
    """
    if plot is not None:
        opt.check_picture(plot)
        opt.check_new(plot, force, "--plot")
    kinds = {find(name).task.name.partition("_")[0] for name in names}
    if len(kinds) > 1:
        raise TinyadderError(
            f"these models do different tasks: {', '.join(sorted(kinds))}; compare models of one"
            " task"
        )
    rows = [_row(name, count, samples, seed, device) for name in names]
    if plot is not None:
        _plot(rows, plot)
    if as_json:
        echo_json(rows)
        return
    lines = [
        (f"parameters, {rung}", *(f"{row['counts'][rung]:,}" for row in rows))
        for rung in rows[0]["counts"]
    ]
    lines.append((f"{count:,} uniform problems", *(f"{row['random']:.3%}" for row in rows)))
    lines.append(("hard cases", *(f"{row['hard']:.3%}" for row in rows)))
    costs = [row["training cpu seconds"] for row in rows]
    lines.append(
        ("training, CPU seconds", *("built" if cost is None else f"{cost:,.0f}" for cost in costs))
    )
    lines.append(("answer tokens a second", *(f"{row['tokens per second']:,.0f}" for row in rows)))
    lines.append(("verdict", *(row["verdict"].partition("  ")[0] for row in rows)))
    show_table(
        f"exact match by greedy decoding; uniform problems of seed {seed}",
        {"": "left", **{short_name(row["model"]): "right" for row in rows}},
        lines,
    )
    for row in rows:
        echo(f"{short_name(row['model'])}: {row['verdict']}")


def _row(name: str, count: int, samples: int, seed: int, device: str) -> dict[str, Any]:
    from random import Random

    from tinyadder.machine.answers import answers, share_right
    from tinyadder.verify.count import ladder
    from tinyadder.verify.properties import verify

    loaded = load_model(name, None, device)
    model, task = loaded.model, loaded.task
    problems = task.uniform(Random(seed), count)
    began = time.perf_counter()
    emitted = answers(model, task, problems)
    seconds = time.perf_counter() - began
    hard = task.hard()
    return {
        "model": shown_model(loaded),
        "task": task.to_json(),
        "counts": ladder(model),
        "random": share_right(task, problems, emitted),
        "hard": share_right(task, hard, answers(model, task, hard)),
        "training cpu seconds": (
            loaded.options.get("training cpu seconds") if loaded.folder else None
        ),
        "tokens per second": sum(map(len, emitted)) / seconds,
        "verdict": str(verify(model, task, count=samples).verdict) if samples else "",
    }


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Exact match on hard cases, and training cost, against the number of nonzero parameters."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, 2, figsize=(10, 4 + 0.25 * (len(rows) // 2)), layout="constrained"
    )
    for number, row in enumerate(rows):
        cost = row["training cpu seconds"]
        marker = "s" if cost is None else "o"
        for axes, height in zip(panels, (100 * row["hard"], cost or 0), strict=True):
            axes.scatter(
                row["counts"]["nonzero"],
                height,
                marker=marker,
                color=f"C{number % 10}",
                label=short_name(row["model"]),
            )
    accuracy, cost_axes = panels
    accuracy.set(
        xscale="log",
        xlabel="nonzero parameters",
        ylabel="exact match on hard cases, %",
        ylim=(-5, 105),
    )
    cost_axes.set(
        xscale="log", xlabel="nonzero parameters", ylabel="training, CPU seconds (built: 0)"
    )
    cost_axes.set_yscale("symlog", linthresh=10)
    cost_axes.set_ylim(-2, 3 * max([row["training cpu seconds"] or 0 for row in rows] + [10]))
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle("squares: built from equations; circles: trained")
    with atomic_write(path, way_out="choose another --plot") as part:
        figure.savefig(part, dpi=150)
    plt.close(figure)
