"""What a NAME stands for, in the commands and in `tinyadder.load`: a construction, a Python file, a
model folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyadder.construction import (
    Construction,
    LaneClaim,
    construct,
    construction_names,
    construction_summary,
    is_file_name,
    is_submission,
    model_name,
)
from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import Description, describe, load, save
from tinyadder.tasks import task_from_json, task_names
from tinyadder.tasks.base import Task

if TYPE_CHECKING:
    from tinyadder.machine.transformer import Transformer


@dataclass(frozen=True)
class Named:
    """What a NAME stands for, before anything heavy is imported."""

    task: Task
    program: Program | None
    """The equations; None for a trained model."""
    name: str
    options: dict[str, Any]
    folder: Path | None
    """Where the model was read from; None for a construction."""
    claims: Mapping[str, LaneClaim] | None = None
    file: Path | None = None
    """The Python file that defines the construction, where that is the user's own."""
    made: Construction | None = None
    """The construction, where it is one."""


@dataclass(frozen=True, kw_only=True)
class Loaded(Named):
    """The same, with its model ready to run."""

    model: Transformer

    def save(self, folder: Path, *, force: bool = False) -> None:
        """Write the model folder `folder`. Raises `TinyadderError` where there is one already,
        unless `force`.
        """
        name, options, program = self.name, self.options, self.program
        save(
            self.model, self.task, folder, name=name, options=options, program=program, force=force
        )


def is_folder_name(name: str) -> bool:
    """Whether NAME means a folder: it has a separator, or no construction has this name and a
    folder has.
    """
    if is_file_name(name):
        return os.path.isdir(name)
    return "/" in name or "\\" in name or (name not in construction_names() and os.path.isdir(name))


def find(name: str, options: dict[str, Any] | None = None) -> Named:
    """The program and task that NAME stands for, without torch. Raises `TinyadderError` for an
    unknown NAME.
    """
    options = options or {}
    if is_folder_name(name):
        if not is_file_name(name) and os.path.isdir(name) and is_submission(name):
            raise TinyadderError(
                f"{name} holds a submission (build_model and add), which this verb does not take"
            )
        described = describe(name)
        _no_options(name, options)
        return _folder(described, name)
    made = construct(name, **options)
    file = Path(name) if is_file_name(name) else None
    return Named(made.task, made.program, model_name(name), options, None, made.claims, file, made)


def _folder(described: Description, path: str) -> Named:
    return Named(described.task, described.program, described.name, described.options, Path(path))


def load_model(
    name: str, options: dict[str, Any] | None = None, device: str = "cpu", task: str | None = None
) -> Loaded:
    """The model that NAME stands for, on `device`, to be judged by the task of NAME or of the
    Python file `task`.

    Raises `TinyadderError` for an unknown NAME or device, and for a task of another vocabulary.
    """
    if is_folder_name(name):
        _no_options(name, options)
        device = use_device(device)
        model, described = load(name, device=device)
        loaded = Loaded(**vars(_folder(described, name)), model=model)
    else:
        named = find(name, options)
        assert named.program is not None, "a construction has a program"
        device = use_device(device)
        from tinyadder.machine.compile import build

        loaded = Loaded(**vars(named), model=build(named.program, device=device))
    return loaded if task is None else replace(loaded, task=_task_of(task, loaded))


def _task_of(file: str, loaded: Loaded) -> Task:
    task = find(file).task
    if task.vocabulary != loaded.task.vocabulary:
        raise TinyadderError(
            f"--task {file}: its vocabulary is {' '.join(task.vocabulary)}, the model's is "
            f"{' '.join(loaded.task.vocabulary)}; give the file that the model was built from"
        )
    return task


def task_of(name: str, options: dict[str, Any] | None = None) -> Task:
    """The task that NAME stands for: a task of this package, or that of a construction or a Python
    file. Raises `TinyadderError` for an unknown NAME or options.
    """
    if name not in task_names() and (is_file_name(name) or name in construction_names()):
        return find(name, options).task
    return task_from_json({"name": name, "options": options or {}})


def _no_options(name: str, options: dict[str, Any] | None) -> None:
    if options:
        given = ", ".join(options)
        raise TinyadderError(
            f"{name} is a model folder, built already; options ({given}) belong to a construction"
        )


def use_device(device: str) -> str:
    """Check that torch has `device`, and use one thread: these models are too small to share.

    "auto" is a CUDA device where there is one. Raises `TinyadderError` where there is none.
    """
    import torch

    torch.set_num_threads(1)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TinyadderError(
            f"torch {torch.__version__} finds no CUDA device here; give --device cpu, or auto"
        )
    return device


def summary(named: Named) -> str:
    """One line about the model: the first of its file's docstring, or of a folder the task and
    where it came from.
    """
    if named.file is not None:
        return construction_summary(str(named.file)) or f"{named.file}."
    if named.folder is None and named.name in construction_names():
        return construction_summary(named.name)
    made = "A trained model" if named.program is None else f"Built from {named.name}"
    return f"{made}, task {named.task.name}."
