"""Models, their problems and results, as a person names them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyadder.commands._output import echo
from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.named import Loaded, Named
from tinyadder.tasks.base import Problem, Task

if TYPE_CHECKING:
    from tinyadder.report.results import Result

LONGEST = 80
"""Characters of a file name that is made of a model's name and options."""


def parse(task: Task, text: str) -> Problem:
    """The problem that a person wrote. Raises `TinyadderError`, which names a construction that
    takes the text where this task does not.
    """
    try:
        return task.parse(text)
    except TinyadderError as error:
        asked = text.rstrip()
        if asked.endswith("=") and _takes(task, asked[:-1]):  # 99+21=
            return task.parse(asked[:-1])
        best = _who_takes(task, text)
        if best is None:
            raise
        raise TinyadderError(f"{error}; {best} takes it") from None


def _who_takes(task: Task, text: str) -> str | None:
    """A construction that takes `text`, with options if it needs some; of several the one that
    writes answers in the order of `task`.
    """
    longest = max((len(n.lstrip("0")) for n in re.findall("[0-9]+", text)), default=0)
    wider = ((), (("digits", longest),), (("coefficients", 99), ("exponents", 9)))
    taken = [
        (getattr(other, "order", None), [name, *(f"-o {key}={value}" for key, value in options)])
        for options in wider
        for name, other in _kin(type(task), options)
        if _takes(other, text)
    ]
    alike = [words for order, words in taken if order == getattr(task, "order", None)]
    best = alike or [words for _, words in taken]
    return " ".join(best[0]) if best else None


@cache
def _kin(kind: type, options: tuple[tuple[str, int], ...]) -> list[tuple[str, Task]]:
    """The constructions whose task is of this kind, with these options, others at their default."""
    kin = []
    for name in construction_names():
        with suppress(TinyadderError):
            made = construct(name, **dict(options))
            kin += [(name, made.task)] if type(made.task) is kind else []
    return kin


def _takes(task: Task, text: str) -> bool:
    try:
        task.parse(text)
    except TinyadderError:
        return False
    return True


def shown_model(named: Named) -> str:
    """The model in words: `add10`, `add10 (digits=4)` or `out/add10`."""
    if named.folder is not None:
        return str(named.folder)
    options = ", ".join(f"{key}={value}" for key, value in named.options.items())
    name = str(named.file) if named.file is not None else named.name
    return f"{name} ({options})" if options else name


def short_name(shown: str) -> str:
    """`addition3-reversed/seed-1` for the folder .../addition3-reversed/seed-1/model: the name in
    results/ and tables.

    Constructions keep their name, other folders the last part of it.

    >>> short_name("baselines/gcd/seed-1/model"), short_name("./model"), short_name("out/mine")
    ('gcd/seed-1', 'model', 'mine')
    """
    parts = Path(shown).parts
    return "/".join(parts[-3:-1] if parts[-1] == "model" and len(parts) > 1 else parts[-1:])


def file_name(named: Named) -> str:
    """The beginning of the name of a file about a model, which tells it from others:
    `addition3-reversed-seed-1`, `add10-digits4`.
    """
    if named.folder is not None:
        return short_name(str(named.folder)).replace("/", "-")
    options = "".join(f"-{key}{value}" for key, value in named.options.items())
    return f"{named.name}{re.sub('[^A-Za-z0-9_.-]', '_', options)}"[:LONGEST]


def save_result(
    loaded: Loaded,
    kind: str,
    data: Mapping[str, Any],
    *,
    command: Sequence[str],
    limits: Mapping[str, int] | None = None,
    force: bool,
) -> Result:
    """Write what a command found about a model to results/, for the leaderboard.

    `command` is its name and the NAME it was given; the options that decide the model and the part
    of the domain are added. Raises `TinyadderError` where there is such a result already.
    """
    from tinyadder.report.results import write_result

    made = _result(loaded, kind, data, command=command, limits=limits)
    echo(f"wrote {write_result(made, force=force)}", err=True)
    return made


def check_no_result(loaded: Loaded, kind: str, *, command: Sequence[str]) -> None:
    """Raises `TinyadderError` where `save_result` would without `force`: to be asked before work
    that takes long.
    """
    from tinyadder.report.results import check_new

    check_new(_result(loaded, kind, {}, command=command))


def _result(
    loaded: Loaded,
    kind: str,
    data: Mapping[str, Any],
    *,
    command: Sequence[str],
    limits: Mapping[str, int] | None = None,
) -> Result:
    from tinyadder.report.results import result

    options = {} if loaded.folder else loaded.options
    words = ["tinyadder", *command]
    words += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    words += [word for k, v in (limits or {}).items() for word in ("--within", f"{k}={v}")]
    return result(
        loaded.model,
        loaded.task,
        short_name(str(loaded.folder)) if loaded.folder else loaded.name,
        kind,
        data,
        command=shlex.join(words),
        options=options,
        limits=limits,
    )
