"""The derivative models on the files of derivax, a public baseline: its validation lines, and its
lines with coefficients of -8 .. 8, out of distribution for models of -5 .. 5.

    python -m benchmarks.derivax DATA [--out FILE]

DATA is the folder `data` of github.com/ojayballer/derivax, which is not part of this repository.
benchmarks/derivax.json and the table in docs/training.md were written so.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tinyadder.commands._options import json_option, out_option
from tinyadder.io.files import write_text
from tinyadder.io.text import read_text
from tinyadder.machine.answers import answers, share_right
from tinyadder.named import load_model
from tinyadder.tasks.derivative import Derivative
from tinyadder.train.evaluate import circumstances
from tinyadder.train.files import read_problems

BASELINES = Path(__file__).parents[1] / "baselines"
BUILT = {
    "deriv_printed": {},
    "deriv_printed (coefficients=9)": {"coefficients": 9},
}
"""Constructions, by how they are shown, with their options."""


def overlap(data: Path) -> float:
    """Part of the validation lines that are training lines too."""
    shown = set(read_text(data / "train" / "inputs.txt").splitlines())
    lines = read_text(data / "val" / "inputs.txt").splitlines()
    return sum(line in shown for line in lines) / len(lines)


def measured(name: str, options: dict[str, Any], data: Path) -> dict[str, Any]:
    """Exact match of a model on both files, its task widened to -9 .. 9 where the lines ask for
    it.
    """
    loaded = load_model(name, options)
    task = loaded.task
    assert isinstance(task, Derivative)
    wide = replace(task, coefficients=max(9, task.coefficients))
    found: dict[str, Any] = {"coefficients": task.coefficients}
    for split in ("val", "ood"):
        files = [str(data / split / name) for name in ("inputs.txt", "outputs.txt")]
        order = replace(wide, order="printed")
        problems = read_problems(order, *files)
        # a program for another order of terms, or for smaller numbers, is asked all the same
        emitted = answers(loaded.model.eval(), wide, problems)
        found[split] = share_right(wide, problems, emitted)
    return found


@click.command
@click.argument("data", type=click.Path(exists=True, file_okay=False, path_type=Path))
@out_option("Also write the rows as JSON to this file.")
@json_option
def main(data: Path, out: Path | None, as_json: bool) -> None:
    """Judge every derivative model on derivax's own files."""
    rows = []
    for shown, options in BUILT.items():
        rows.append({"model": shown, **measured("deriv_printed", dict(options), data)})
    for folder in sorted(BASELINES.glob("derivative*/seed-*/model")):
        name = str(folder.parent.relative_to(BASELINES))
        rows.append({"model": name, **measured(str(folder), {}, data)})
    digests = {
        f"{split}/{name}": hashlib.sha256((data / split / name).read_bytes()).hexdigest()
        for split in ("train", "val", "ood")
        for name in ("inputs.txt", "outputs.txt")
    }
    found = {
        "command": "python -m benchmarks.derivax DATA",
        "validation lines that are training lines": overlap(data),
        "sha256": digests,
        **circumstances(),
        "rows": rows,
    }
    if as_json:
        click.echo(json.dumps(found, indent=1))
    for row in [] if as_json else rows:
        click.echo(f"{row['model']:40} val {row['val']:.1%}  ood {row['ood']:.1%}")
    if out is not None:
        write_text(out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
