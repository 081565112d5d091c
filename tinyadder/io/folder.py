"""A model on disk: one folder with `model.safetensors` (every weight, bit for bit) and `model.json`
(everything else).

Both files are data, so a folder from a stranger can be wrong but cannot run anything. A folder is
loaded without the package `constructions`. The weights are tied to their description by a SHA-256,
and the equations to the weights by building them again: what loads is what the description says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError
from tinyadder.fields import Meta, from_json
from tinyadder.io.files import (
    OTHER_OUT,
    SCRATCH,
    cannot_write,
    check_name,
    clean,
    read_bytes,
    recover,
    write_together,
)
from tinyadder.lang.serialization import program_from_json, program_to_json
from tinyadder.plain import short
from tinyadder.tasks import task_from_json
from tinyadder.tasks.base import Task
from tinyadder.tasks.custom import as_data

if TYPE_CHECKING:
    from torch import Tensor

    from tinyadder.machine.config import Config
    from tinyadder.machine.transformer import Transformer

FORMAT = "tinyadder model"
VERSION = 1
WEIGHTS, DESCRIPTION, CERTIFICATE = "model.safetensors", "model.json", "certificate.json"
MOST_DESCRIPTION, MOST_WEIGHTS = 2**25, 2**31
"""The longest files that are read, in bytes."""


@dataclass(frozen=True)
class Description:
    """What `model.json` says, checked; reading it needs no torch."""

    name: str
    """The construction (or the recipe) that the model came from."""
    options: dict[str, Any]
    task: Task
    program: Program | None
    """The equations, where the model was built from some."""
    config: dict[str, Any]
    dtype: str
    sha256: str
    """Of the file of weights."""


# ---- writing -------------------------------------------------------------------------------------


def save(
    model: Transformer,
    task: Task,
    folder: str | Path,
    *,
    name: str,
    options: Mapping[str, Any],
    program: Program | None = None,
    force: bool = False,
) -> None:
    """Write `model` to `folder`, at one commit point; the same model gives the same bytes.

    Replaced are only the files of a model; a certificate, which was of another one, is removed.
    Raises `TinyadderError` where the folder exists and `force` is not given, where it holds
    something else than a model, where it cannot be written, and for weights that are not finite.
    """
    path = Path(folder)
    files = model_files(model, task, name=name, options=options, program=program)
    check_writable(path, force=force)
    write_together(path, files, remove=[CERTIFICATE])


def model_files(
    model: Transformer,
    task: Task,
    *,
    name: str,
    options: Mapping[str, Any],
    program: Program | None = None,
) -> dict[str, bytes]:
    """The files of a model folder, by name. Raises `TinyadderError` for a bad name and weights that
    are not finite.
    """
    from safetensors.torch import save as to_bytes

    from tinyadder.machine.tensors import tensors_of

    check_name(name)
    stored = tensors_of(model).items()
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in stored}
    _finite(tensors, f"the model '{name}'")
    # One metadata key: safetensors writes several in random order, and equal models must give equal
    # files.
    weights = to_bytes(tensors, metadata={"format": "pt"})
    data = {
        "format": FORMAT,
        "version": VERSION,
        "name": name,
        "options": dict(options),
        "task": as_data(task).to_json(),
        "dtype": str(model.embedding.dtype).removeprefix("torch."),
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(weights).hexdigest()},
        "config": model.config.to_json(),
        "program": None if program is None else program_to_json(program),
    }
    return {WEIGHTS: weights, DESCRIPTION: to_text(data).encode()}


def to_text(data: Any) -> str:
    """JSON, one key of the top level a line, floats so that they read back bit for bit."""
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in data.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def check_writable(folder: str | Path, *, force: bool = False) -> None:
    """Raise `TinyadderError` if `save` would refuse `folder` for what is there now."""
    path = Path(folder)
    try:
        recover(path)
        clean(path)
        present = {item.name for item in path.iterdir()} if path.exists() else set()
    except NotADirectoryError:
        raise TinyadderError(f"{path} is a file, not a folder; choose another --out") from None
    except OSError as error:
        raise cannot_write(path, error, OTHER_OUT) from error
    if any(not name.startswith(SCRATCH) for name in present):
        if DESCRIPTION not in present:
            raise TinyadderError(
                f"{path} holds something else than a model and is left as it is; choose another"
                " --out"
            )
        if not force:
            raise TinyadderError(
                f"{path} already holds a model; give --force to replace it, or another --out"
            )


def holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Whether `folder` has these files with just these contents."""
    try:
        recover(folder)
        return all(
            read_bytes(folder / name, most=len(content), folder=folder) == content
            for name, content in files.items()
        )
    except TinyadderError:
        return False


# ---- reading -------------------------------------------------------------------------------------


def is_model_folder(path: str | Path) -> bool:
    """Whether `path` is a folder with a description in it; it may still be damaged."""
    recover(Path(path))
    return (Path(path) / DESCRIPTION).is_file()


@dataclass(frozen=True, kw_only=True)
class _Weights:
    file: Literal["model.safetensors"]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """The fields of `model.json`."""

    format: str
    version: int
    name: str
    options: dict[str, Any]
    task: Any
    dtype: Literal["float64", "float32", "bfloat16"]
    weights: _Weights
    config: dict[str, Any]
    program: dict[str, Any] | None


def describe(folder: str | Path) -> Description:
    """Read and check `model.json`. Raises `TinyadderError` for whatever is no sound description."""
    path = Path(folder)
    if not path.is_dir():
        raise TinyadderError(
            f"{path} is not a folder; a model folder holds {DESCRIPTION} and {WEIGHTS}"
        )
    if not is_model_folder(path):
        raise TinyadderError(
            f"{path} is not a model folder: it has no {DESCRIPTION} (tinyadder build writes one)"
        )
    file = path / DESCRIPTION
    content = read_bytes(file, most=MOST_DESCRIPTION, folder=path)
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TinyadderError(f"{file} is damaged: {error}; build the model again") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise TinyadderError(
            f"{file} is not the description of a tinyadder model; build the model again"
        )
    if data.get("version") != VERSION:
        raise TinyadderError(
            f"{file} has version {short(data.get('version'))}, this tinyadder reads version"
            f" {VERSION}"
        )
    stored = from_json(_Stored, data, str(file))
    try:
        described = Description(
            name=check_name(stored.name),
            options=stored.options,
            task=task_from_json(stored.task),
            program=None if stored.program is None else program_from_json(stored.program),
            config=stored.config,
            dtype=stored.dtype,
            sha256=stored.weights.sha256,
        )
        vocabulary = tuple(described.config["vocabulary"])
    except TinyadderError as error:
        raise TinyadderError(f"{file}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise TinyadderError(f"{file} is damaged: {error!r}; build the model again") from error
    if vocabulary != described.task.vocabulary:
        raise TinyadderError(
            f"{file}: the model's vocabulary is not that of its task '{described.task.name}'"
        )
    return described


def load(folder: str | Path, *, device: str = "cpu") -> tuple[Transformer, Description]:
    """The model in `folder`, every bit as it was saved, and its description.

    Raises `TinyadderError` for a damaged or foreign folder: truncated file, tensors that are
    missing, surplus, of another shape or dtype or not finite, weights that are not those of the
    description, or not those of its equations.
    """
    described = describe(folder)
    file = Path(folder) / WEIGHTS
    tensors = _read_weights(file, described)
    model = _empty(described, file.parent / DESCRIPTION, tensors, file)
    _fill(model, tensors)
    if described.program is not None:
        from tinyadder.machine.compile import build

        rebuilt = build(described.program)
        if wrong := first_difference(rebuilt, model.config, tensors):
            raise TinyadderError(
                f"{folder}: {wrong} is not what the equations in {DESCRIPTION} give; build the"
                " model again"
            )
        model.derived = rebuilt.derived
    return model.to(device).eval(), described


def first_difference(
    model: Transformer, config: Config, tensors: Mapping[str, Tensor]
) -> str | None:
    """The first part of `model` that `config` and `tensors` have otherwise, in words; None if they
    are the same.
    """
    from tinyadder.machine.tensors import tensors_of

    if model.config != config:
        return "the config"
    for name, tensor in tensors_of(model).items():
        if name not in tensors or not tensor.equal(tensors[name]):
            return f"tensor '{name}'"
    return None


def _read_weights(file: Path, described: Description) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    content = read_bytes(file, most=MOST_WEIGHTS, folder=file.parent)
    try:
        tensors = from_bytes(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise TinyadderError(
            f"{file} is not a sound safetensors file: {error}; build the model again"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != described.sha256:
        raise TinyadderError(
            f"{file} is not the file that {DESCRIPTION} describes: sha256 {digest[:8]}.., expected "
            f"{described.sha256[:8]}..; build the model again"
        )
    _finite(tensors, str(file))
    return tensors


def _finite(tensors: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise TinyadderError(
                f"{where}: tensor '{name}' holds NaN or infinity; every weight must be a finite"
                " number"
            )


def _empty(
    described: Description, source: Path, tensors: Mapping[str, Tensor], file: Path
) -> Transformer:
    """A model of the described sizes, made only after the tensors were found to have those
    sizes.
    """
    import torch

    from tinyadder.machine.config import Config
    from tinyadder.machine.encoder import empty_model
    from tinyadder.machine.tensors import tensors_of

    dtype = getattr(torch, described.dtype)
    try:
        config = Config.from_json(described.config)
        if not all(0 <= token < len(config.vocabulary) for token in config.outputs):
            raise ValueError("an output token outside the vocabulary")
        with torch.device("meta"):
            expected = {
                name: tuple(t.shape) for name, t in tensors_of(empty_model(config, dtype)).items()
            }
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise TinyadderError(
            f"{source} is damaged: config: {_short(error)}; build the model again"
        ) from error
    for name in sorted({*expected} | {*tensors}):
        if name not in tensors:
            raise TinyadderError(f"{file} lacks tensor '{name}'; build the model again")
        if name not in expected:
            raise TinyadderError(
                f"{file} has a tensor '{name}' that this model does not have; build the model again"
            )
        shape = tuple(tensors[name].shape)
        if shape != expected[name]:
            raise TinyadderError(
                f"{file}: tensor '{name}' has shape {shape}, expected {expected[name]}"
            )
        if tensors[name].dtype != dtype:
            given = str(tensors[name].dtype).removeprefix("torch.")
            raise TinyadderError(f"{file}: tensor '{name}' is {given}, expected {described.dtype}")
    model = empty_model(config, dtype)
    try:
        for path, _, leaf in {name.rpartition(".") for name, _, _ in config.ties}:
            getattr(
                model.get_submodule(path), leaf
            )  # reads the shared weights: the indices are checked here
    except (IndexError, RuntimeError) as error:
        raise TinyadderError(
            f"{source} is damaged: ties: {_short(error)}; build the model again"
        ) from error
    return model


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _fill(model: Transformer, tensors: Mapping[str, Tensor]) -> None:
    import torch

    from tinyadder.machine.tensors import tensors_of

    with torch.no_grad():
        for name, stored in tensors_of(model).items():
            stored.copy_(tensors[name])
