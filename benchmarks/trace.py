"""What hooks cost a forward pass: nothing while none is there, and how much when all activations
are looked at.

    python -m benchmarks.trace [NAME ...]

One full text, batch 1, one thread: (a) no hook; (b) after a block of `ablate` has ended; (c) a hook
that returns what it gets, an upper bound of what asking for one can cost; (d) `run_with_cache`; (e)
a head ablated. Medians of rounds in which they take turns; ratios are to (a).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import click

ROUNDS, CALLS = 30, 20


def milliseconds(work: Callable[[], object]) -> float:
    """Wall time of one call of `work`, in milliseconds, over `CALLS` of them."""
    began = perf_counter()
    for _ in range(CALLS):
        work()
    return (perf_counter() - began) / CALLS * 1000


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Measure hooks on the named constructions (default: add10 and add10_95)."""
    import torch

    from tinyadder.construction import construct
    from tinyadder.inspect.patching import ablate
    from tinyadder.inspect.trace import run_with_cache
    from tinyadder.machine.compile import build

    torch.set_num_threads(1)
    for name in names or ("add10", "add10_95"):
        made = construct(name)
        model, used, task = build(made.program), build(made.program), made.task
        (problem,) = task.hard()[:1]
        tokens = torch.from_numpy(task.encode([[*task.prompt(problem), *task.answer(problem)]]))
        layer = next(i for i, block in enumerate(model.config.blocks) if block.heads)
        with ablate(used, heads=[(layer, 0)]):
            used(tokens)

        def ablated() -> None:
            with ablate(used, heads=[(layer, 0)]):  # noqa: B023
                used(tokens)  # noqa: B023

        ways: dict[str, Callable[[], object]] = {
            "(a) no hook": lambda: model(tokens),  # noqa: B023
            "(b) hooked before": lambda: used(tokens),  # noqa: B023
            "(c) idle hook": lambda: model(tokens, hook=lambda _, value: value),  # noqa: B023
            "(d) run_with_cache": lambda: run_with_cache(model, tokens),  # noqa: B023
            "(e) head ablated": ablated,
        }
        with torch.inference_mode():
            rounds = [[milliseconds(work) for work in ways.values()] for _ in range(ROUNDS)]
        click.echo(f"{name}: one text of {tokens.shape[1]} tokens, milliseconds a forward pass")
        for i, way in enumerate(ways):
            found = median(row[i] for row in rounds)
            ratio = median(row[i] / row[0] for row in rounds)
            extra = median(row[i] - row[0] for row in rounds)
            click.echo(f"  {way:20} {found:7.3f}   {ratio:5.2f} x   {extra:+7.3f} ms")


if __name__ == "__main__":
    main()
