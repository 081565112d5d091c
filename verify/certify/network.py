"""The numbers of a `Transformer`, read from the compiled module, and what the proof does not cover
refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.utils import parametrize

from tinyadder.machine.config import BlockConfig, Config
from tinyadder.machine.tensors import plain_name, tensors_of
from tinyadder.machine.transformer import Block, Tie, Transformer


class Unsupported(Exception):
    """A part of the model that no rule covers; the text names it."""


class TooWide(Unsupported):
    """The rules cover the model, and not how far apart its scores are over all texts at once."""


KNOWN = {
    "vocabulary",
    "width",
    "blocks",
    "outputs",
    "lanes",
    "unembedding",
    "unembedding_bias",
    "tied",
    "readout_wiring",
    "argmin",
    "shared",
    "ties",
}
"""The fields of `Config` that the rules read; any other must have its default value."""
KNOWN_BLOCK = {"heads", "d_head", "d_value", "hidden"}


@dataclass(frozen=True)
class Layer:
    """Dense float64 arrays of one block, by the names of `Attention` and `MLP`; no heads or no
    units: empty arrays.
    """

    arrays: Mapping[str, np.ndarray]
    heads: int
    hidden: int

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.arrays[name]


@dataclass(frozen=True)
class Network:
    """Everything the rules read. `readout` [o, d] and `readout_bias` [o] give the logits of
    `outputs`.
    """

    vocabulary: tuple[str, ...]
    width: int
    embedding: np.ndarray
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    readout: np.ndarray
    readout_bias: np.ndarray
    argmin: bool
    tensors: Mapping[str, np.ndarray]
    """The weights by their plain names."""


def _refuse_options(found: Any, default: Any, known: set[str], where: str) -> None:
    for item in fields(found):
        value, usual = getattr(found, item.name), getattr(default, item.name)
        if item.name in known or value == usual:
            continue
        if is_dataclass(value) and is_dataclass(usual):
            _refuse_options(value, usual, set(), f"{where}.{item.name}")
        raise Unsupported(
            f"{where}.{item.name} = {value!r}: the proof has no rule for it, only for {usual!r}"
        )


def read_network(model: torch.nn.Module) -> Network:
    """The weights of `model`. Raises `Unsupported` for another class, dtype, option, module or a
    weight that is not finite.
    """
    # parametrize.register_parametrization gives the module it is called on a class of its own
    kind = type(model).__bases__[0] if parametrize.is_parametrized(model) else type(model)
    if kind is not Transformer:
        raise Unsupported(
            f"its class is {type(model).__name__}: the proof reads the class Transformer only"
        )
    assert isinstance(model, Transformer)
    for part in model.modules():
        if isinstance(part, parametrize.ParametrizationList) and [type(p) for p in part] != [Tie]:
            raise Unsupported("a parametrization other than shared weights")
    config = model.config
    usual = Config(vocabulary=(), width=1, blocks=(), outputs=())
    _refuse_options(config, usual, KNOWN, "config")
    for layer, block in enumerate(config.blocks):
        _refuse_options(block, BlockConfig(), KNOWN_BLOCK, f"config.blocks[{layer}]")
    tensors = {name: tensor.detach().cpu() for name, tensor in tensors_of(model).items()}
    _refuse_tensors(tensors, tensors_of(Transformer(config)))
    blocks = zip(model.blocks, config.blocks, strict=True)
    return Network(
        vocabulary=config.vocabulary,
        width=config.width,
        embedding=_array(model.embedding),
        layers=tuple(_layer(block, sizes) for block, sizes in blocks),
        outputs=tuple(config.vocabulary[token] for token in config.outputs),
        readout=_array(model.unembed_matrix()),
        readout_bias=(
            _array(model.unembedding_bias)
            if config.unembedding_bias
            else np.zeros(len(config.outputs))
        ),
        argmin=config.argmin,
        tensors={plain_name(name): tensor.numpy() for name, tensor in tensors.items()},
    )


def _refuse_tensors(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    """Raise `Unsupported` for tensors other than those of the machine, or weights of a size that
    the rules do not cover.
    """
    if surplus := set(tensors) ^ set(expected):
        raise Unsupported(f"tensor '{min(surplus)}' is not part of the machine the rules describe")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float64 or tensor.shape != expected[name].shape:
            raise Unsupported(
                f"tensor '{name}' is {tensor.dtype} {tuple(tensor.shape)}; the proof covers float64"
                " only"
            )
        if not bool(tensor.isfinite().all()):
            raise Unsupported(f"tensor '{name}' holds NaN or infinity")
        size = tensor.abs()
        if bool((strange := (size > 0) & ((size <= 2.0**-1000) | (size >= 2.0**1000))).any()):
            found = float(tensor[strange][0])
            raise Unsupported(
                f"tensor '{name}' holds {found}; the rules take sizes between 2^-1000 and 2^1000"
            )


def _layer(block: torch.nn.Module, sizes: BlockConfig) -> Layer:
    assert isinstance(block, Block)
    arrays = {}
    for sublayer in (block.attention, block.mlp):
        for name in ("query", "key", "value", "gate", "up"):
            for leaf in (name, f"{name}_bias"):
                if sublayer is not None and hasattr(sublayer, leaf):
                    arrays[leaf] = _array(getattr(sublayer, leaf))
    if block.attention is not None:
        arrays["slopes"] = _array(block.attention.slopes)
        arrays["wiring"] = _array(block.attention.wiring)
    if block.mlp is not None:
        arrays["down"] = _array(block.mlp.down)
    return Layer(arrays, sizes.heads, sizes.hidden)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


SLACK = 1 + 2.0**-20


def overflow(network: Network, length: int) -> str | None:
    """Where a number of the forward pass might reach 2^1023, by magnitudes alone; None where
    nothing can.

    The bound of a column holds at every position and for every text: every intermediate is at most
    a sum of magnitudes.
    """
    largest = 2.0**1023
    column = np.abs(network.embedding).max(0)
    with np.errstate(over="ignore", invalid="ignore"):
        for depth, layer in enumerate(network.layers):
            if layer.heads:
                rows = {
                    name: (
                        (np.abs(layer.arrays[name]) @ column + np.abs(layer.arrays[f"{name}_bias"]))
                        * SLACK
                    )
                    for name in ("query", "key", "value")
                }
                scores = (
                    (rows["query"] * rows["key"]).sum(-1) + np.abs(layer.slopes) * length
                ) * SLACK
                added = np.einsum("hv,hvd->d", rows["value"], np.abs(layer.wiring)) * SLACK
                column = (column + added) * SLACK
                if not (
                    np.concatenate([*(r.ravel() for r in rows.values()), scores, column]) < largest
                ).all():
                    return f"the attention of layer {depth}"
            if layer.hidden:
                gate, up = (
                    (np.abs(layer.arrays[name]) @ column + np.abs(layer.arrays[f"{name}_bias"]))
                    * SLACK
                    for name in ("gate", "up")
                )
                units = gate * up * SLACK
                column = (column + np.abs(layer.down) @ units) * SLACK
                if not (np.concatenate([gate, up, units, column]) < largest).all():
                    return f"the MLP of layer {depth}"
        logits = (np.abs(network.readout) @ column + np.abs(network.readout_bias)) * SLACK
    return None if (logits < largest).all() else "the logits"
