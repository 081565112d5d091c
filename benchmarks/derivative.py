"""Derivatives per second of `deriv`, truly autoregressive to the end token: large batches against
one at a time.

    python -m benchmarks.derivative

(a) one polynomial per call, the whole text run again for every token: the loop that evaluation
scripts write; (b) batches of equal prompt length, keys and values kept. Both answer from text to
text, encoding included. The rates are medians of rounds in which (a) and (b) take turns, since
shared machines are noisy; their ratio is the result.
"""

from __future__ import annotations

from random import Random
from statistics import median
from time import perf_counter

import click

ROUNDS = 5
ONE, MANY = 40, 20_000


@click.command()
@click.option(
    "--name", default="deriv", show_default=True, help="A construction with a derivative task."
)
@click.option("--threads", default=1, show_default=True)
def main(name: str, threads: int) -> None:
    """Measure both ways on uniformly random polynomials and print the ratio."""
    import torch

    from tinyadder.construction import construct
    from tinyadder.machine.answers import answers
    from tinyadder.machine.compile import build

    torch.set_num_threads(threads)
    made = construct(name)
    model, task = build(made.program), made.task
    problems = task.uniform(Random(0), MANY)
    right = [task.answer(problem) for problem in problems]

    def rate(count: int, batch: int, cache: bool) -> float:
        start = perf_counter()
        found = answers(model, task, problems[:count], batch=batch, cache=cache)
        spent = perf_counter() - start
        assert found == right[:count], "a wrong answer: the rates would be of another task"
        return count / spent

    rounds = [(rate(ONE, 1, False), rate(MANY, 1000, True)) for _ in range(ROUNDS)]
    one, many = (median(column) for column in zip(*rounds, strict=True))
    click.echo(f"{name}, {threads} thread{'s' * (threads > 1)}, median of {ROUNDS} rounds")
    click.echo(f"(a) one at a time, full forward  {one:10.1f} derivatives a second")
    click.echo(f"(b) batches, keys and values kept {many:9.1f}")
    click.echo(f"ratio {median(b / a for a, b in rounds):.0f}")


if __name__ == "__main__":
    main()
