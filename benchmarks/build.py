"""Time from a construction to its program and from the program to its module, for every
construction.

python -m benchmarks.build
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import click

REPEATS = 5


def milliseconds(work: Callable[[], object]) -> float:
    """Median time of `work`."""
    times = []
    for _ in range(REPEATS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return 1000 * median(times)


@click.command()
def main() -> None:
    """Print milliseconds per construction, the weights it stores beside them."""
    import torch

    from tinyadder.construction import construct, construction_names
    from tinyadder.machine.compile import build

    torch.set_num_threads(1)
    click.echo(f"{'construction':24} {'program ms':>12} {'module ms':>12} {'numel':>10}")
    for name in construction_names():
        program = construct(name).program
        numel = sum(p.numel() for p in build(program).parameters())
        made, built = milliseconds(lambda: construct(name)), milliseconds(lambda: build(program))  # noqa: B023
        click.echo(f"{name:24} {made:12.2f} {built:12.2f} {numel:10,d}")


if __name__ == "__main__":
    main()
