"""Sums per second of true greedy decoding, as ratios to what public checkers do, in one run.

    python -m benchmarks.decode [NAME ...] [--device cpu|cuda] [--threads N]

(a) one pair per call, the whole text run again for every digit: the baseline; (b) batch 1, keys and
values kept; (c) large batches, kept; (d) teacher-forced scoring of the right answer in one pass.
Rates are medians of several rounds in which (a) to (d) take turns, since shared machines are noisy.
"""

from __future__ import annotations

from collections.abc import Callable
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
    help="Threads of (c) and (d); (a) and (b) run fastest on one.",
)
@click.option("--batch", default=65536, show_default=True, help="Sums per call of (c) and (d).")
def main(names: tuple[str, ...], device: str, threads: int | None, batch: int) -> None:
    """Measure decoding of the named adders (default: add10 and add10_95)."""
    import os

    import torch

    from tinyadder.construction import construct
    from tinyadder.machine.compile import build
    from tinyadder.machine.decode import generate, score

    threads = threads or len(os.sched_getaffinity(0))
    click.echo(
        f"{'sums per second':14} {'(a) full, one':>14} {'(b) kept, one':>16} {'(c) batches':>20}"
        f" {'(d) forced':>20}"
    )
    for name in names or ("add10", "add10_95"):
        made = construct(name)
        model, task = build(made.program, device=device), made.task
        problems = task.uniform(Random(0), batch)
        prompts = torch.from_numpy(task.encode([task.prompt(p) for p in problems])).to(device)
        texts = torch.from_numpy(
            task.encode([[*task.prompt(p), *task.answer(p)] for p in problems])
        ).to(device)
        start, steps = prompts.shape[1], task.answer_length

        def measure(
            threads_used: int, work: Callable[[], torch.Tensor], count: int, seconds: float = 0.4
        ) -> float:
            torch.set_num_threads(threads_used)
            return rate(lambda: work().cpu(), count, seconds)

        rounds = [
            (
                measure(1, lambda: generate(model, prompts[:1], steps=steps, cache=False), 1),  # noqa: B023
                measure(1, lambda: generate(model, prompts[:1], steps=steps), 1),  # noqa: B023
                measure(threads, lambda: generate(model, prompts, steps=steps), batch),  # noqa: B023
                measure(threads, lambda: score(model, texts, start), batch),  # noqa: B023
            )
            for _ in range(ROUNDS)
        ]
        rates = [median(column) for column in zip(*rounds, strict=True)]
        ratios = [median(r[i] / r[0] for r in rounds) for i in range(4)]
        cells = [f"{r:,.0f} ({x:,.1f}x)" for r, x in zip(rates[1:], ratios[1:], strict=True)]
        click.echo(f"{name:14} {rates[0]:>14,.0f} {cells[0]:>16} {cells[1]:>20} {cells[2]:>20}")


if __name__ == "__main__":
    main()
