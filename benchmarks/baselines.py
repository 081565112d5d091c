"""The table of the trained baselines, from the results in `baselines/`: writes baselines/README.md.

python -m benchmarks.baselines
"""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

import click

from tinyadder.escape import markdown
from tinyadder.io.files import write_text
from tinyadder.io.folder import describe

FOLDER = Path(__file__).parents[1] / "baselines"
HEAD = """# Trained baselines

`python -m benchmarks.baselines` writes this page from the `evaluation.json` of each run. To repeat
a run:

    tinyadder train RECIPE --seed N --out runs/RECIPE
    tinyadder evaluate runs/RECIPE/seed-N/model

Exact match is by greedy decoding from the prompt alone, on problems whose operands did not occur in
training in any order; token accuracy is teacher-forced. Chance is the exact match of the best
constant answer; the ceiling is always 100 %. Hard cases are the task's fixed list, parts of which
may have occurred in training. Parameters are counted as stored entries. Seed 2 of
addition10-small-tuned was trained on from its seed 1, that from addition10-small: one row, the
last. `wider` is exact match on numbers larger than any of training. A split is by what determines
the answer; derivative-small was trained when it was by polynomial, so that most of its held-out
problems have an answer that training saw.

"""
COLUMNS = (
    "recipe",
    "seed",
    "parameters",
    "held out",
    "exact",
    "worst group",
    "wider",
    "tokens",
    "chance",
    "hard cases",
    "verdict",
    "CPU s",
)


def row(folder: Path) -> list[str]:
    """One run's line."""
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    score, hard = found["score"], found["hard cases"]
    groups = [
        (group["exact"], f"{trait} {value}")
        for trait, values in score["by"].items()
        for value, group in values.items()
        if group["problems"] >= 10
    ]
    worst = min(groups, default=(score["exact"], "all"))
    facts = describe(folder / "model").options
    return [
        folder.parent.name,
        folder.name.removeprefix("seed-"),
        f"{found['counts']['stored']:,}",
        f"{score['problems']:,}",
        f"{score['exact']:.2%}",
        f"{worst[0]:.2%} ({worst[1]})" if worst[0] < 1 else "100.00%",
        f"{wider['exact']:.2%}" if (wider := found.get("splits", {}).get("wider")) else "",
        f"{score['tokens']:.2%}",
        f"{score['chance']:.2%}",
        f"{hard['exact']:.2%} of {hard['problems']:,}",
        found["verdict"]["text"],
        f"{facts['training cpu seconds']:,.0f}",
    ]


def page() -> str:
    """The whole of baselines/README.md."""
    folders = [path.parent for path in sorted(FOLDER.glob("*/seed-*/evaluation.json"))]
    stages = {  # that another one of the same recipe goes on from
        (folder.parent.name, PurePath(str(start)).parts[-2])
        for folder in folders
        if (start := describe(folder / "model").options.get("started from"))
        and PurePath(str(start)).parts[-3] == folder.parent.name
    }
    rows = [row(folder) for folder in folders if (folder.parent.name, folder.name) not in stages]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    table = ["| " + " | ".join(map(markdown, cells)) + " |" for cells in lines]
    return HEAD + "\n".join(table) + "\n"


@click.command
def main() -> None:
    """Write baselines/README.md."""
    write_text(FOLDER / "README.md", page())


if __name__ == "__main__":
    main()
