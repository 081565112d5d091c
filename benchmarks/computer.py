"""The computer: tokens per second with and without the index, and the tokens of long runs.

    python -m benchmarks.computer                  computer.json beside
    python -m benchmarks.computer --tokens 1000000     a longer run
    python -m benchmarks.computer --plain 20000        more tokens by the plain decoder

Every token of the index is compared with the interpreter of the task, and the first ones with the
plain decoder (torch, with a cache of keys and values). The file is written after every run, and a
run that it has with the same number of tokens, version and number of weights is not made again.
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
from tinyadder.io.files import atomic_write
from tinyadder.machine.compile import build
from tinyadder.machine.decode import generate
from tinyadder.machine.indexed import IndexedDecoder
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.computer import Computer

FILE = Path(__file__).parents[1] / "constructions" / "programs" / "computer.py"
PLAIN = 400
"""Tokens that the plain decoder writes, unless asked."""
RUNS = ["multiply | 12 21", "gcd | 252 105", "primes | 60", "game | 20 3 1 2 3 2"]
FOREVER = "set 1; store 2; again: load 1; add 2; store 1; get 1; put 1; load 1; sub 2; jump again"
"""A program without an end that changes every cell."""


def by_index(decoder: IndexedDecoder, task: Computer, text: str, tokens: int) -> list[int]:
    """What the indexed decoder writes, at most so many tokens."""
    ids = {token: n for n, token in enumerate(task.vocabulary)}
    prompt = [ids[token] for token in task.prompt(task.parse(text))]
    return list(islice(decoder.stream(prompt, ids["end"]), tokens))


def indexed(decoder: IndexedDecoder, task: Computer, text: str, tokens: int) -> dict[str, Any]:
    """One program by the index, compared with the interpreter token by token."""
    problem = task.parse(text)
    began = time.perf_counter()
    written = by_index(decoder, task, text, tokens)
    seconds = time.perf_counter() - began
    right = task.encode([list(islice(task.trace(problem), tokens))])[0].tolist()
    read = len(written) + len(task.prompt(problem))
    return _row(text, written, right, seconds, read)


def plain(
    model: Transformer, decoder: IndexedDecoder, task: Computer, text: str, tokens: int
) -> dict[str, Any]:
    """One program by the plain decoder, compared with the index token by token."""
    prompt = torch.from_numpy(task.encode([task.prompt(task.parse(text))]))
    began = time.perf_counter()
    written = generate(model, prompt, steps=tokens)[0].tolist()
    seconds = time.perf_counter() - began
    by = by_index(decoder, task, text, tokens)
    return _row(text, written, by, seconds, tokens + prompt.shape[1])


def _row(
    text: str, written: list[int], right: list[int], seconds: float, read: int
) -> dict[str, Any]:
    return {
        "program": text,
        "tokens": len(written),
        "wrong": sum(a != b for a, b in zip(written, right, strict=True)),
        "seconds": round(seconds, 2),
        "tokens_per_second": round(read / seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--plain", type=int, default=PLAIN)
    options = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    made = construct(str(FILE), length=2**21, steps=2**20)
    compiled = time.perf_counter() - began
    decoder, task = IndexedDecoder(made.program), made.task
    assert isinstance(task, Computer)
    file = Path(__file__).with_suffix(".json")
    result: dict[str, Any] = {
        "version": tinyadder.__version__,
        "command": f"python -m benchmarks.computer --tokens {options.tokens} "
        f"--plain {options.plain}",
        "compile_seconds": round(compiled, 2),
        "nonzero": made.program.nonzero,
        "indexed": [],
        "plain": [],
    }
    before = json.loads(file.read_text()) if file.exists() else {}
    usable = all(before.get(k) == result[k] for k in ("version", "command", "nonzero"))
    kept = {kind: before[kind] if usable else [] for kind in ("indexed", "plain")}
    model = build(made.program)
    for kind, programs in (("indexed", [*RUNS, FOREVER]), ("plain", [FOREVER])):
        for text in programs:
            row = next((row for row in kept[kind] if row["program"] == text), None)
            if row is None and kind == "indexed":
                row = indexed(decoder, task, text, options.tokens)
            elif row is None:
                row = plain(model, decoder, task, text, options.plain)
            result[kind].append(row)
            print(kind, json.dumps(row), flush=True)
            with atomic_write(file) as part:
                part.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
