"""The prover of trained models against the truth: `python -m benchmarks.trained_mutants FOLDER...
[--options JSON ...] [--seconds N] [--seed N] [--out FILE] [--save]`.

FOLDER is a saved model of a task so small that every problem can be asked, or of a larger one of
which `--options` makes a smaller one: `{"digits": 2, "padding": 8}` keeps the prompts of a
ten-digit adder as long as they were and leaves 10,000 problems. Mutants of its weights (one of the
kinds of `verify.mutate`, or a random shift of all weights) are put to the prover and to every
problem. Unsound is a mutant that is proved and answers a problem wrongly, or is refuted and answers
all rightly. Prints tried / proved / refuted / unknown / unsound; returns 1 if anything is unsound.

`--save` adds the counts to those in `benchmarks/trained_mutants.json`.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import torch

from tinyadder.io.folder import load
from tinyadder.machine.answers import answers
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks import task_from_json
from tinyadder.tasks.base import Problem, Task
from tinyadder.verify.mutate import judged, mutants, mutated

BATCH = 2048
KEPT = Path(__file__).with_suffix(".json")
ORDER = ("tried", "right", "proved", "refuted", "unknown", "unsound")
SHIFTED = 0.3
"""Part of the mutants of which all weights are shifted."""


def wrong(model: Transformer, task: Task, problems: list[Problem]) -> int:
    """How many of the problems the model answers wrongly, decoding greedily."""
    count = 0
    for start in range(0, len(problems), BATCH):
        asked = problems[start : start + BATCH]
        for problem, got in zip(asked, answers(model, task, asked), strict=True):
            count += tuple(got) != tuple(task.answer(problem))
    return count


def judge(model: Transformer, task: Task, problems: list[Problem], how: str) -> dict[str, Any]:
    """What the prover says of a mutant, and what is true."""
    verdict, misses = judged(model, task), wrong(model, task, problems)
    word = type(verdict).__name__.lower()
    unsound = (word == "proved" and misses > 0) or (word == "refuted" and misses == 0)
    return {"mutant": how, "verdict": word, "wrong": misses, "unsound": unsound}


def shifted(model: Transformer, random: Random) -> tuple[Transformer, str]:
    """A copy with all weights times 1 + step N(0, 1)."""
    step = 10 ** random.uniform(-4, -0.5)
    changed = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(random.getrandbits(32))
    for parameter in changed.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data *= 1 + step * noise
    return changed, f"all weights times 1 + {step:.2g} N(0, 1)"


def main(arguments: list[str]) -> int:
    """One line a mutant in --out, one summary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trained_mutants")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--options", nargs="+", type=json.loads, default=[{}])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    random, began, counts = Random(given.seed), time.monotonic(), Counter[str]()
    loaded = []
    for folder, options in product(given.folders, given.options):
        model, described = load(folder)
        stated = described.task.to_json()
        task = task_from_json({**stated, "options": {**stated["options"], **options}})
        domain = task.domain()
        if domain is None:
            parser.error(f"{task.name}: nobody wrote down how to count off its problems")
        loaded.append((model, task, [domain.problem(n) for n in range(domain.size)]))
    lines = given.out.open("a") if given.out else None
    while time.monotonic() - began < given.seconds:
        model, task, problems = random.choice(loaded)
        if random.random() < SHIFTED:
            changed, how = shifted(model, random)
            found = judge(changed, task, problems, how)
        else:
            mutant = random.choice(list(mutants(model)))
            with mutated(model, mutant) as changed:
                found = judge(changed, task, problems, f"{mutant.place}: {mutant.kind}")
        counts.update({"tried": 1, found["verdict"]: 1})
        counts.update({"unsound": int(found["unsound"]), "right": int(found["wrong"] == 0)})
        if lines:
            print(json.dumps({**found, "problems": len(problems)}), file=lines, flush=True)
        if found["unsound"]:
            print(f"UNSOUND {found}", flush=True)
    print(" · ".join(f"{name} {counts[name]:,}" for name in ORDER))
    if given.save:
        keep(arguments, counts, round(time.monotonic() - began))
    return int(counts["unsound"] > 0)


def keep(arguments: list[str], counts: Counter[str], seconds: int) -> None:
    """Add a run to the file of results."""
    runs = json.loads(KEPT.read_text()) if KEPT.exists() else []
    command = f"python -m benchmarks.trained_mutants {' '.join(arguments)}"
    runs.append(
        {
            "command": command,
            "date": time.strftime("%Y-%m-%d"),
            "torch": torch.__version__,
            "seconds": seconds,
            **{name: counts[name] for name in ORDER},
        }
    )
    KEPT.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
