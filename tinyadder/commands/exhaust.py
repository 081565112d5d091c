"""Check a model on every problem of a finite domain: in shards, resumable, over processes or a
cluster.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import save_result, shown_model
from tinyadder.commands._output import echo, echo_json
from tinyadder.errors import MissingExtra, TinyadderError
from tinyadder.escape import terminal
from tinyadder.named import load_model


@click.command("exhaust", short_help=__doc__)
@opt.model_argument
@click.option(
    "--within",
    metavar="LIMIT=N",
    multiple=True,
    help="Only a part of the domain, in the full format: digits=4.",
)
@click.option(
    "--workers", type=int, default=1, show_default=True, help="Processes; -1 is one a core."
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help=(
        "Send the shards to a cluster instead: the address of a dask scheduler, ray://HOST:PORT, or"
        " ray (RAY_ADDRESS, or this machine)."
    ),
)
@click.option(
    "--shards",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("out/exhaust"),
    show_default=True,
    help="Where finished shards are kept: a sweep that was stopped goes on from there.",
)
@click.option(
    "--restart", is_flag=True, help="Forget the finished shards of this sweep and begin again."
)
@opt.task_option
@opt.save_option
@opt.force_option
@opt.device_option
@opt.json_option
def command(
    name: str,
    options: dict[str, Any],
    within: tuple[str, ...],
    workers: int,
    scheduler: str | None,
    folder: Path,
    restart: bool,
    save: bool,
    force: bool,
    task: str | None,
    device: str,
    as_json: bool,
) -> int:
    """Check NAME (a construction or a model folder) on every problem of its task.

    --digits 4 builds the model for 4 digits and tries all 10^8 pairs; --within digits=4 keeps the
    model and its format and tries all pairs of at most 4 digits.
    """
    from tinyadder.io.files import lock
    from tinyadder.verify.exhaustive import domain_of, forget, pack, sweep, sweep_to_json

    loaded = load_model(name, options, device, task)
    limits = dict(_limit(text) for text in within)
    domain = domain_of(loaded.task, limits)
    job = pack(loaded.model, loaded.task, limits, device)
    doing = f"tinyadder exhaust {shown_model(loaded)}"
    with (
        lock(folder / job.key, doing, way_out="give another --shards"),
        _cluster(scheduler),
        _Progress(shown_model(loaded), domain.size) as progress,
    ):
        if restart:
            forget(job, folder)
        result = sweep(
            job, folder=folder, workers=-1 if scheduler else workers, progress=progress.show
        )
    data = sweep_to_json(result)
    if as_json:
        echo_json({"model": shown_model(loaded), **data})
    else:
        echo(str(result.verdict))
        if result.wrong:
            echo(f"           {result.wrong:,} of {result.count:,} {result.domain} are wrong")
        echo(f"           {result.method}; {result.seconds:,.0f} s of processor time")
    if save:
        command = ["exhaust", name]
        save_result(loaded, "exhaustive", data, command=command, limits=limits, force=force)
    return 1 if result.wrong else 0


def _limit(text: str) -> tuple[str, int]:
    key, _, value = text.partition("=")
    if not re.fullmatch("[0-9]{1,9}", value):
        raise TinyadderError(f"--within {text:.40}: expected LIMIT=N, e.g. --within digits=4")
    return key, int(value)


def _cluster(scheduler: str | None) -> AbstractContextManager[Any]:
    """The joblib backend that carries the shards: this machine's processes, a dask or a ray
    cluster.
    """
    if scheduler is None:
        return nullcontext()
    from joblib import parallel_config

    backend = "ray" if scheduler == "ray" or scheduler.startswith("ray://") else "dask"
    try:
        if backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            register_ray()
            ray.init(address=None if scheduler == "ray" else scheduler, log_to_driver=False)
        else:
            from distributed import Client

            Client(scheduler)
    except ImportError:
        extra = "cluster-ray" if backend == "ray" else "cluster"
        raise MissingExtra(
            f"--scheduler {scheduler} needs: pip install 'tinyadder[{extra}]'"
        ) from None
    except (OSError, ConnectionError, RuntimeError) as error:
        raise TinyadderError(
            f"--scheduler {scheduler}: no cluster answers there ({error})"
        ) from error
    return parallel_config(backend=backend)


class _Progress:
    """Problems done, on standard error: a bar in a terminal, a line every tenth in a pipe."""

    def __init__(self, model: str, size: int) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        from tinyadder.commands._output import console

        self.console = console(stderr=True)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=self.console) if self.console.is_terminal else None
        self.task = self.bar.add_task(model, total=size) if self.bar else None
        self.model, self.told = model, 0

    def __enter__(self) -> _Progress:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def show(self, done: int, size: int, wrong: int) -> None:
        text = f"{self.model}: {wrong:,} wrong so far" if wrong else self.model
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=done, description=terminal(text))
        elif done * 10 // size > self.told or done == size:
            self.told = done * 10 // size
            from rich.text import Text

            self.console.print(Text(f"{terminal(text)}   {done:,} of {size:,}"))
