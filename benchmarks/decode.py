"""Sums per second of true greedy decoding, as ratios to what public checkers do, in one run.

    python -m benchmarks.decode [NAME ...] [--device cpu|cuda] [--threads N]

(a) one pair per call, the whole text run again for every digit: the baseline; (b) batch 1, keys and
values kept; (s) one at a time, written out as scalar Python (`machine.single`), as `tinyadder run`
answers few problems; (c) large batches, kept; (l) lines read, answered, judged and printed as by
`tinyadder run NAME -`, start of the process not counted; (d) teacher-forced scoring of the right
answer in one pass. Rates are medians of several rounds in which all take turns, since shared
machines are noisy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import redirect_stdout
from random import Random
from statistics import median
from time import perf_counter

import click

ROUNDS = 5


def rate(work: Callable[[], object], count: int, seconds: float) -> float:
    """Sums per second of `work`, which does `count` of them, repeated for at least `seconds`."""
    done, start = 0, perf_counter()
    while True:
        work()
        done += count
        if (spent := perf_counter() - start) > seconds:
            return done / spent


@click.command()
@click.argument("names", nargs=-1)
@click.option("--device", default="cpu", show_default=True)
@click.option(
    "--threads",
    default=None,
    type=int,
    help="Threads of (c), (l) and (d); the others run fastest on one.",
)
@click.option("--batch", default=65536, show_default=True, help="Sums per call of (c), (l), (d).")
def main(names: tuple[str, ...], device: str, threads: int | None, batch: int) -> None:
    """Measure decoding of the named adders (default: add10 and add10_95)."""
    import torch

    from tinyadder.commands._answering import Answerer
    from tinyadder.commands.run import run_lines
    from tinyadder.construction import construct
    from tinyadder.machine.compile import build
    from tinyadder.machine.decode import generate, score
    from tinyadder.machine.single import SingleDecoder

    threads = threads or len(os.sched_getaffinity(0))
    headings = ("(a) full, one", "(b) kept, one", "(s) scalar, one", "(c) batches", "(l) lines")
    click.echo(f"{'sums per second':16}" + "".join(f"{h:>20}" for h in (*headings, "(d) forced")))
    for name in names or ("add10", "add10_95"):
        made = construct(name)
        model, task = build(made.program, device=device), made.task
        problems = task.uniform(Random(0), batch)
        prompts = torch.from_numpy(task.encode([task.prompt(p) for p in problems])).to(device)
        texts = torch.from_numpy(
            task.encode([[*task.prompt(p), *task.answer(p)] for p in problems])
        ).to(device)
        start, steps = prompts.shape[1], task.answer_length
        decoder, answerer = SingleDecoder(made.program), Answerer(name, {}, device)
        answerer.model()
        first = prompts[0].tolist()
        lines = "".join(f"{task.show(problem)}\n" for problem in problems).encode()

        def measure(threads_used: int, work: Callable[[], object], count: int) -> float:
            torch.set_num_threads(threads_used)
            return rate(work, count, 0.4)

        def printed(answerer: Answerer, lines: bytes) -> None:
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
                run_lines(answerer, [lines], False)

        works: list[tuple[int, Callable[[], object], int]] = [
            (1, lambda: generate(model, prompts[:1], steps=steps, cache=False).cpu(), 1),  # noqa: B023
            (1, lambda: generate(model, prompts[:1], steps=steps).cpu(), 1),  # noqa: B023
            (1, lambda: decoder.decode(first, steps), 1),  # noqa: B023
            (threads, lambda: generate(model, prompts, steps=steps).cpu(), batch),  # noqa: B023
            (threads, lambda: printed(answerer, lines), batch),  # noqa: B023
            (threads, lambda: score(model, texts, start).cpu(), batch),  # noqa: B023
        ]
        rounds = [[measure(*work) for work in works] for _ in range(ROUNDS)]
        rates = [median(column) for column in zip(*rounds, strict=True)]
        ratios = [median(r[i] / r[0] for r in rounds) for i in range(len(works))]
        cells = [f"{r:,.0f} ({x:,.1f}x)" for r, x in zip(rates, ratios, strict=True)]
        click.echo(f"{name:16}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
