"""The computer: tokens per second with and without the index, and the tokens of long runs.

    python -m benchmarks.computer                  computer.json beside
    python -m benchmarks.computer --tokens 1000000     a longer run

Every token of the index is compared with the interpreter of the task, and the first ones with the
plain decoder (torch, with a cache of keys and values).
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch

import tinyadder
from tinyadder.construction import construct
from tinyadder.machine.compile import build
from tinyadder.machine.decode import generate
from tinyadder.machine.indexed import IndexedDecoder
from tinyadder.tasks.computer import Computer

FILE = Path(__file__).parents[1] / "constructions" / "programs" / "computer.py"
PLAIN = 400
"""Tokens that the plain decoder writes."""
RUNS = ["multiply | 12 21", "gcd | 252 105", "primes | 60", "game | 20 3 1 2 3 2"]
FOREVER = "set 1; store 2; again: load 1; add 2; store 1; get 1; put 1; load 1; sub 2; jump again"
"""A program without an end that changes every cell."""


def run(decoder: IndexedDecoder, task: Any, text: str, tokens: int) -> dict[str, Any]:
    """One program by the index, compared with the interpreter token by token."""
    problem = task.parse(text)
    ids = {token: n for n, token in enumerate(task.vocabulary)}
    prompt = [ids[token] for token in task.prompt(problem)]
    began = time.perf_counter()
    written = list(islice(decoder.stream(prompt, ids["end"]), tokens))
    seconds = time.perf_counter() - began
    right = [ids[token] for token in islice(task.trace(problem), tokens)]
    return {
        "program": text,
        "tokens": len(written),
        "wrong": sum(a != b for a, b in zip(written, right, strict=True)),
        "seconds": round(seconds, 2),
        "tokens_per_second": round((len(written) + len(prompt)) / seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=100_000)
    tokens = parser.parse_args().tokens
    torch.set_num_threads(1)
    began = time.perf_counter()
    made = construct(str(FILE), length=2**21, steps=2**20)
    compiled = time.perf_counter() - began
    decoder, task = IndexedDecoder(made.program), made.task
    assert isinstance(task, Computer)
    rows = [run(decoder, task, text, tokens) for text in [*RUNS, FOREVER]]
    problem = task.parse(FOREVER)
    text = torch.from_numpy(task.encode([task.prompt(problem)]))
    began = time.perf_counter()
    plain = generate(build(made.program), text, steps=PLAIN)[0].tolist()
    seconds = time.perf_counter() - began
    right = list(task.decode([int(n) for n in plain]))
    result = {
        "version": tinyadder.__version__,
        "command": f"python -m benchmarks.computer --tokens {tokens}",
        "compile_seconds": round(compiled, 2),
        "nonzero": made.program.nonzero,
        "indexed": rows,
        "plain": {
            "tokens": PLAIN,
            "wrong": sum(a != b for a, b in zip(right, task.trace(problem), strict=False)),
            "tokens_per_second": round((PLAIN + text.shape[1]) / seconds),
        },
    }
    print(json.dumps(result, indent=2))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
