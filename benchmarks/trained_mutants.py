"""The prover of trained models against the truth: `python -m benchmarks.trained_mutants FOLDER...
[--seconds N] [--seed N] [--out FILE]`.

FOLDER is a saved model of a task so small that every problem can be asked. Mutants of its weights
(one of the kinds of `verify.mutate`, or a random shift of all weights) are put to the prover and to
every problem. Unsound is a mutant that is proved and answers a problem wrongly, or is refuted by a
problem that it answers rightly. Prints tried / proved / refuted / unknown / unsound; returns 1 if
anything is unsound.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import torch

from tinyadder.io.folder import load
from tinyadder.machine.answers import answers
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.verify.mutate import judged, mutants, mutated

BATCH = 2048


def wrong(model: Transformer, task: Task, problems: list[Problem]) -> int:
    """How many of the problems the model answers wrongly, decoding greedily."""
    count = 0
    for start in range(0, len(problems), BATCH):
        asked = problems[start : start + BATCH]
        for problem, got in zip(asked, answers(model, task, asked), strict=True):
            count += tuple(got) != tuple(task.answer(problem))
    return count


def main(arguments: list[str]) -> int:
    """One line a mutant in --out, one summary."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trained_mutants")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    random, began, counts = Random(given.seed), time.monotonic(), Counter[str]()
    loaded = [load(folder) for folder in given.folders]
    lines = given.out.open("a") if given.out else None
    while time.monotonic() - began < given.seconds:
        model, described = random.choice(loaded)
        task = described.task
        domain = task.domain()
        if domain is None:
            parser.error(f"{task.name}: nobody wrote down how to count off its problems")
        problems = [domain.problem(n) for n in range(domain.size)]
        if random.random() < 0.3:
            step = 10 ** random.uniform(-4, -0.5)
            changed, how = copy.deepcopy(model), f"all weights times 1 + {step:.2g} N(0, 1)"
            generator = torch.Generator().manual_seed(random.getrandbits(32))
            for parameter in changed.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.data *= 1 + step * noise
            verdict, misses = judged(changed, task), wrong(changed, task, problems)
        else:
            mutant = random.choice(list(mutants(model)))
            how = f"{mutant.place}: {mutant.kind}"
            with mutated(model, mutant) as changed:
                verdict, misses = judged(changed, task), wrong(changed, task, problems)
        word = type(verdict).__name__.lower()
        unsound = (word == "proved" and misses > 0) or (word == "refuted" and misses == 0)
        counts.update({"tried": 1, word: 1, "unsound": int(unsound)})
        if lines:
            record = {"mutant": how, "verdict": word, "wrong": misses, "unsound": unsound}
            print(json.dumps(record), file=lines, flush=True)
        if unsound:
            print(f"UNSOUND {how}: {verdict}, {misses} of {len(problems)} wrong", flush=True)
    order = ("tried", "proved", "refuted", "unknown", "unsound")
    print(" · ".join(f"{name} {counts[name]:,}" for name in order))
    return int(counts["unsound"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
