"""The counting ladder: a model has no number of parameters, it has one for each convention.

Each rung is one function with its definition as docstring; `RUNGS` is the ladder in order. `numbers(model)` lists where
every counted number sits, by lane, and how it is tied. Counts are read from the module's tensors, not from a program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tinyadder.transformer import Transformer


def _placeholders(module: nn.Module) -> dict[str, list[int]]:
    """Entries of parameters that are never read because a shared number stands there: name -> flat indices."""
    found: dict[str, list[int]] = {}
    for name, index, _ in module.config.ties if isinstance(module, Transformer) else ():
        found.setdefault(_tied(name), []).append(index)
    return found


def _tied(name: str) -> str:
    """The name torch gives to the dense parameter `name` once shared numbers are read in it."""
    path, _, leaf = name.rpartition(".")
    return f"{path}{'.' * bool(path)}parametrizations.{leaf}.original"


def _unique(tensors: Iterator[tuple[str, Tensor]], dead: dict[str, list[int]]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, flat indices, their values), every scalar of memory once however many tensors show it."""
    seen: dict[int, Tensor] = {}
    for name, tensor in tensors:
        storage = tensor.untyped_storage()
        size = storage.nbytes() // tensor.element_size()
        taken = seen.setdefault(storage.data_ptr(), torch.zeros(size, dtype=torch.bool))
        places = torch.arange(size).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).reshape(-1)
        fresh = ~taken[places]
        fresh[dead.get(name, [])] = False
        index = fresh.nonzero()[:, 0]
        _, first = np.unique(places[index].numpy(), return_index=True)
        index = index[np.sort(first)]
        taken[places] = True
        yield name, index, tensor.detach().cpu().reshape(-1)[index]


def _parameters(module: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    return _unique(iter(module.named_parameters()), _placeholders(module))


def _values(module: nn.Module) -> Tensor:
    values = [value.double() for _, _, value in _parameters(module)]
    return torch.cat(values) if values else torch.zeros(0)


# ---- the rungs ------------------------------------------------------------------------------------


def numel(module: nn.Module) -> int:
    """Elements of all parameters, zeros included.

    >>> numel(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters())


def stored(module: nn.Module) -> int:
    """Scalars of the parameters, each place of memory once, tied entries once, zeros included.

    >>> both = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
    >>> both[1].weight = nn.Parameter(both[0].weight.data.T)
    >>> numel(both), stored(both)
    (18, 9)
    """
    return sum(len(index) for _, index, _ in _parameters(module))


def nonzero(module: nn.Module) -> int:
    """Stored scalars that are not zero: the convention of the 95-parameter adder.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight = nn.Parameter(torch.eye(2))
    >>> nonzero(layer)
    2
    """
    return int(_values(module).count_nonzero())


def nonzero_positional(module: nn.Module) -> int:
    """Nonzero, and the positions: non-zero ALiBi slopes, or the base of rotary or sinusoidal ones.

    >>> from tinyadder.transformer import BlockConfig, Config
    >>> model = Transformer(Config(vocabulary=("0", "1"), width=1, blocks=(BlockConfig(heads=2),), outputs=(0, 1)))
    >>> _ = model.blocks[0].attention.slopes.fill_(2.3)
    >>> nonzero(model), nonzero_positional(model)
    (0, 2)
    """
    based = isinstance(module, Transformer) and module.config.options.positions in ("rotary", "sinusoidal")
    return nonzero(module) + sum(int(slopes.count_nonzero()) for _, slopes in _buffers(module, "slopes")) + based


def with_wiring(module: nn.Module) -> int:
    """Nonzero + positional, and the ones of the 0/1 matrices that route heads into lanes and lanes into logits.

    >>> from tinyadder.transformer import BlockConfig, Config
    >>> model = Transformer(Config(vocabulary=("0", "1"), width=1, blocks=(BlockConfig(heads=1),), outputs=(0, 1)))
    >>> _ = model.blocks[0].attention.wiring.fill_(1)
    >>> nonzero_positional(model), with_wiring(model)
    (0, 1)
    """
    return nonzero_positional(module) + sum(int(wires.count_nonzero()) for _, wires in _buffers(module, "wiring"))


def distinct(module: nn.Module) -> int:
    """Different values among the nonzero numbers: what counting "unique" values would claim.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight = nn.Parameter(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
    >>> distinct(layer), distinct_absolute(layer)
    (2, 1)
    """
    values = _values(module)
    return len(values[values != 0].unique())


def distinct_absolute(module: nn.Module) -> int:
    """Different absolute values among the nonzero numbers.

    >>> distinct_absolute(nn.ParameterList([torch.tensor([2.0, -2.0, 0.0])]))
    1
    """
    values = _values(module)
    return len(values[values != 0].abs().unique())


def stored_buffers(module: nn.Module) -> int:
    """Stored, and the scalars of floating-point buffers: slopes, wiring, masks, tables.

    >>> layer = nn.BatchNorm1d(4)
    >>> stored(layer), stored_buffers(layer)
    (8, 16)
    """
    floating = ((name, buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point())
    return stored(module) + sum(len(index) for _, index, _ in _unique(floating, {}))


def _buffers(module: nn.Module, kind: str) -> list[tuple[str, Tensor]]:
    """The buffers of a `Transformer` that hold its slopes or its wiring."""
    if not isinstance(module, Transformer):
        return []
    return [(name, buffer) for name, buffer in module.named_buffers() if name.endswith(kind)]


RUNGS: dict[str, Callable[[nn.Module], int]] = {
    "numel": numel,
    "stored": stored,
    "nonzero": nonzero,
    "nonzero + positional": nonzero_positional,
    "with wiring": with_wiring,
    "distinct": distinct,
    "distinct absolute": distinct_absolute,
    "stored + buffers": stored_buffers,
}
"""Name of the convention -> the function that counts by it."""


def ladder(module: nn.Module) -> dict[str, int]:
    """Every rung of the ladder, by name."""
    return {name: rung(module) for name, rung in RUNGS.items()}


def definition(rung: str) -> str:
    """What a rung counts, in one line."""
    return (RUNGS[rung].__doc__ or "").partition("\n")[0]


# ---- where every number sits ----------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """One non-zero number: the first rung that counts it, its tensor and index, its place in words, its tie."""

    rung: str
    tensor: str
    index: tuple[int, ...]
    value: float
    place: str
    tie: str = ""


def numbers(module: nn.Module) -> list[Placed]:
    """Every non-zero number that `with_wiring` counts (bases of positions aside), in the order of the tensors."""
    ties = _readers(module) if isinstance(module, Transformer) else {}
    found = []
    for name, index, values in _parameters(module):
        shape = module.get_parameter(name).shape
        for flat, value in zip(index.tolist(), values.tolist(), strict=True):
            if value != 0:
                at = _unravel(flat, shape)
                tie = ties.get(flat, "") if name == "shared" else ""
                found.append(Placed("nonzero", _dense(name), at, value, place(module, _dense(name), at), tie))
    for rung, kind in (("nonzero + positional", "slopes"), ("with wiring", "wiring")):
        for name, buffer in _buffers(module, kind):
            for at in buffer.nonzero().tolist():
                found.append(Placed(rung, name, tuple(at), float(buffer[tuple(at)]), place(module, name, tuple(at))))
    return found


def _dense(name: str) -> str:
    return name.replace("parametrizations.", "").removesuffix(".original")


def _unravel(flat: int, shape: torch.Size) -> tuple[int, ...]:
    found = []
    for size in reversed(shape):
        flat, at = divmod(flat, size)
        found.append(at)
    return tuple(reversed(found))


def _readers(model: Transformer) -> dict[int, str]:
    places: dict[int, list[str]] = {}
    for name, flat, source in model.config.ties:
        at = _unravel(flat, model.get_parameter(_tied(name)).shape)
        places.setdefault(source, []).append(place(model, name, at))
    return {source: f"read at {len(read)} places: {'; '.join(read)}" for source, read in places.items()}


def place(module: nn.Module, tensor: str, index: tuple[int, ...]) -> str:
    """Where an entry sits, in words: "layer 0, head 1 (-> rest): value reads product"."""
    if not isinstance(module, Transformer):
        return f"{tensor}{list(index)}"
    vocabulary, config = module.config.vocabulary, module.config
    columns = [name if width == 1 else f"{name}[{i}]" for name, width in config.lanes for i in range(width)]
    lanes = columns or [f"column {i}" for i in range(config.width)]
    if tensor == "embedding":
        return f"embedding of '{vocabulary[index[0]]}': {lanes[index[1]]}"
    if tensor == "shared":
        return f"shared number {index[0]}"
    if tensor in ("unembedding", "unembedding_bias", "readout_wiring"):
        said = "cost" if config.minimum else "logit"
        what = "bias" if len(index) == 1 else f"reads {lanes[index[1]]}"
        return f"{said} of '{vocabulary[config.outputs[index[0]]]}': {what}"
    words = tensor.split(".")
    if words[0] != "blocks" or words[2] not in ("attention", "mlp"):
        return f"{tensor}{list(index)}"
    layer, leaf = int(words[1]), words[3]
    if words[2] == "attention":
        return f"layer {layer}, {_head(module, layer, leaf, index, lanes)}"
    if leaf == "down":
        return f"layer {layer}, unit {index[1]}: down to {lanes[index[0]]}"
    return f"layer {layer}, unit {index[0]}: {_row(leaf, '', index[1:], lanes)}"


def _head(model: Transformer, layer: int, leaf: str, index: tuple[int, ...], lanes: list[str]) -> str:
    wiring = model.get_submodule(f"blocks.{layer}.attention").wiring
    assert isinstance(wiring, Tensor)
    targets = [lanes[i] for i in wiring[index[0]].any(0).nonzero()[:, 0].tolist()]
    head = f"head {index[0]} (-> {', '.join(targets)})" if 0 < len(targets) <= 3 else f"head {index[0]}"
    if leaf == "slopes":
        return f"{head}: ALiBi slope"
    if leaf == "wiring":
        return f"head {index[0]}: value{_number(model, layer, 'value', index[1])} wired to {lanes[index[2]]}"
    return f"{head}: {_row(leaf, _number(model, layer, leaf, index[1]), index[2:], lanes)}"


def _number(model: Transformer, layer: int, leaf: str, row: int) -> str:
    """`[row]` where the queries, keys or values have several rows, nothing where they have one."""
    return f"[{row}]" if getattr(model.get_submodule(f"blocks.{layer}.attention"), leaf).shape[1] > 1 else ""


def _row(leaf: str, row: str, rest: tuple[int, ...], lanes: list[str]) -> str:
    name = leaf.removesuffix("_bias") + row
    return f"{name} reads {lanes[rest[0]]}" if rest else f"{name} bias"
