"""Checkpoints: one safetensors file each, written beside and renamed, the last two kept, data only.

A file carries the SHA-256 of its tensors, so one that is cut short or altered is noticed and the
one before is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write, check_regular

KEPT = 2
MOST = 2**33
"""Bytes of a checkpoint; a larger file is none."""
GO_ON = "free some space, then go on with --resume"
"""The way out when a file of a run cannot be written."""


@dataclass(frozen=True)
class Checkpoint:
    """What was stored: the step, tensors by name, and facts as JSON."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    result = hashlib.sha256()
    for name in sorted(tensors):
        result.update(name.encode())
        result.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return result.hexdigest()


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> Path:
    """Write `checkpoint-<step>.safetensors` in `folder` and drop all but the last two.

    Raises `TinyadderError` when the disk is full or the folder cannot be written; the earlier files
    stay.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = json.dumps({"step": step, "sha256": _digest(stored), **facts})
    path = folder / f"checkpoint-{step:08}.safetensors"
    with atomic_write(path, way_out=GO_ON) as part:
        part.write_bytes(save(stored, metadata={"tinyadder": described}))
    for old in sorted(folder.glob("checkpoint-*.safetensors"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> Checkpoint:
    """Raises `TinyadderError` for a file that is cut short, altered or no checkpoint."""
    check_regular(path, most=MOST)
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["tinyadder"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        digest, step = facts.pop("sha256"), facts.pop("step")
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise TinyadderError(f"{path} is damaged: {error}") from error
    if _digest(tensors) != digest or type(step) is not int:
        raise TinyadderError(f"{path} is damaged: its weights are not those that were written")
    return Checkpoint(step, tensors, facts)


def latest_checkpoint(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest sound checkpoint in `folder`, and what was found wrong with newer ones.

    Raises `TinyadderError` where there is none.
    """
    refused = list[str]()
    for path in sorted(folder.glob("checkpoint-*.safetensors"), reverse=True):
        try:
            return read_checkpoint(path), refused
        except TinyadderError as error:
            refused.append(str(error))
    text = f" ({'; '.join(refused)})" if refused else ""
    raise TinyadderError(f"{folder} holds no sound checkpoint{text}; start without --resume")
