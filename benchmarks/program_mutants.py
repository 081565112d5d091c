"""Mutants of compiled programs: one weight off, and never proved where a text is answered wrongly.

    python -m benchmarks.program_mutants               program_mutants.json beside
    python -m benchmarks.program_mutants --count 500   fewer

The truth is every problem of the program, decoded by the model. A mutant is the compiled model with
one entry of its weights changed, entries that are 0 included. Each mutant is drawn by its number
alone, and what is judged stands in a log that the next call goes on from.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import torch

import tinyadder
from tinyadder.io.folder import save
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.programs import Compiled, compile, everywhere, indices, key, prefix, tokens, where
from tinyadder.tasks.sequences import Sequences
from tinyadder.verify.certify.programs.prove import certify_program
from tinyadder.verify.verdict import Proved

FILE = Path(__file__).with_suffix(".json")
CHANGES = {
    "zero": lambda w, other: 0.0,
    "negated": lambda w, other: -w,
    "another's": lambda w, other: other,
    "one more": lambda w, other: w + 1,
    "half more": lambda w, other: 1.5 * w,
    "a thousandth more": lambda w, other: w * 1.001 + (w == 0) * 0.001,
    "a millionth less": lambda w, other: w * (1 - 1e-6) - (w == 0) * 1e-6,
    "float32 of a third more": lambda w, other: float(torch.tensor(w * 4 / 3).float()),
    "last bits": lambda w, other: w * (1 + 2.0**-45),
}


def programs() -> dict[str, Compiled]:
    """Programs of every kind of head, selector and readout, small enough to try every text."""
    x, i, n = tokens("abc"), indices(), everywhere().count()
    digits = tokens([1, 2, 3])
    hist = (key(x) == x).count()
    rank = (key(x) < x).count() + (prefix() & (key(x) == x)).count() - 1
    smaller = (key(digits) < digits).count()
    return {
        "hist": compile(hist, length=3),
        "sort": compile((key(rank) == i).pick(x), length=3),
        "sort unique": compile((key(smaller) == i).mean(digits, default=1), length=3),
        "less frequent": compile((key(hist) <= hist).count(), length=3),
        "reverse": compile((key(i) == n - 1 - i).pick(x), length=3),
        "share": compile(prefix().mean(x == "a"), length=4, causal=True),
        "previous": compile((key(i) == i - 1).pick(x, default="c"), length=4, causal=True),
        "nearest": compile(
            (prefix() & (key(x) != "b")).latest(x, default="b"), length=4, causal=True
        ),
        "first": compile((key(x) != "b").earliest(x, default="b"), length=3),
        "positive": compile(
            where(prefix().sum(x.map({"a": 1, "b": -1, "c": 0})) > 0, x, "b"),
            length=4,
            causal=True,
        ),
    }


def judge(made: Compiled, number: int) -> dict[str, Any]:
    """The mutant with this number: what is proved of it, and how many problems are wrong."""
    assert isinstance(made.task, Sequences)
    random, model = Random(number), build(made.program)
    weights = [p.data.view(-1) for p in model.parameters() if p.numel()]
    flat = random.choice(weights)
    filled = flat.nonzero()[:, 0].tolist()
    # three of four changes are of weights that are not 0
    at = random.choice(filled) if filled and random.random() < 0.75 else random.randrange(len(flat))
    change = random.choice(list(CHANGES))
    before = flat[at].item()
    flat[at] = CHANGES[change](before, flat[random.randrange(len(flat))].item())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        save(model, made.task, folder, name="mutant", options={})
        proved = isinstance(certify_program(model, made.task, folder, 0)["verdict"], Proved)
    domain = made.task.domain()
    assert domain is not None, "the texts of a program are counted"
    problems = [domain.problem(k) for k in range(domain.size)]
    given = answers(model, made.task, problems)
    wrong = sum(tuple(g) != made.task.answer(p) for g, p in zip(given, problems, strict=True))
    same = flat[at].item() == before
    return {"change": change, "same": same, "proved": proved, "wrong": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, default=Path("program_mutants.jsonl"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    made = programs()
    rows = (
        list(map(json.loads, options.log.read_text().splitlines())) if options.log.exists() else []
    )
    with options.log.open("a") as log:
        for number in range(len(rows), options.count):
            name = list(made)[number % len(made)]
            row = {"program": name, **judge(made[name], options.seed * 10**6 + number)}
            rows.append(row)
            log.write(json.dumps(row) + "\n")
            log.flush()
            if row["proved"] and row["wrong"]:
                print("UNSOUND", number, row, flush=True)
    result: dict[str, Any] = {
        "version": tinyadder.__version__,
        "command": f"python -m benchmarks.program_mutants --count {options.count}"
        f" --seed {options.seed}",
        "mutants": len(rows),
        "of another weight": sum(not row["same"] for row in rows),
        "proved and wrong": sum(row["proved"] and row["wrong"] > 0 for row in rows),
        "programs": {},
    }
    for name in made:
        own = [row for row in rows if row["program"] == name]
        verdicts = Counter(
            "wrong" if row["wrong"] else "proved" if row["proved"] else "right, not proved"
            for row in own
        )
        result["programs"][name] = {"mutants": len(own), **verdicts}
    print(json.dumps(result, indent=1))
    FILE.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
