"""The identity of a model: one digest over all that decides whether its answers are right."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch

from tinyadder.machine.tensors import items
from tinyadder.tasks.base import Task

if TYPE_CHECKING:
    from tinyadder.machine.transformer import Transformer


def model_digest(model: Transformer, task: Task) -> str:
    """SHA-256 (hexadecimal) over weights, config and task of `model`.

    Whatever is known of a model is kept and looked up under it: the same weights with other
    outputs, another readout rule, other ties, another order of the vocabulary, or asked another
    task are another model. Certificates name it too, and the checker has its own copy of this.

    Of the config the fields go in that differ from their default, so that a new field leaves the
    digest of older models as it was.
    """
    config, asked = changed(model.config), task.to_json()
    whole = {"weights": weights_digest(model), "config": config, "task": asked}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def weights_digest(model: Transformer) -> str:
    """SHA-256 (hexadecimal) over name, type, shape and bytes of every stored tensor.

    Names are plain (tinyadder/machine/tensors.py) and sorted; it does not depend on the file they
    are kept in.
    """
    digest = hashlib.sha256()
    tensors = {item.name: item.tensor for item in items(model)}
    for name, tensor in sorted(tensors.items()):
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def changed(config: Any) -> Any:
    """A config as plain data, without the fields that have their default.

    >>> from tinyadder.machine.config import Options
    >>> changed(Options(norm="rms", repeat=2))
    {'norm': 'rms', 'repeat': 2}
    """
    if isinstance(config, list | tuple):
        return [changed(item) for item in config]
    if not is_dataclass(config):
        return config
    differences = {}
    for one in fields(config):
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        value = getattr(config, one.name)
        if value != default:
            differences[one.name] = changed(value)
    return differences
