"""The counting ladder: a model has no number of parameters, it has one for each convention.

Each rung is one function with its definition as docstring; `RUNGS` is the ladder in order, for any
`nn.Module`. `weights(model)` lists where every counted weight sits, by lane, and how it is tied.
Counts are read from the module's tensors, not from a program. Of our own models it is known which
tensors are positions and which are wiring; of others they are recognised by name (positions) and by
holding only 0 and 1 (wiring).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinyadder.machine.tensors import (
    BUFFERS,
    NONZERO,
    POSITIONAL,
    WIRING,
    kind_of,
    plain_name,
    stored_name,
)
from tinyadder.machine.tensors import place as place_of
from tinyadder.machine.transformer import Transformer
from tinyadder.plain import first_paragraph
from tinyadder.verify.count.literals import Literal, borrowed, literals

POSITIONAL_NAMES = re.compile(
    r"slope|alibi|pos(?!t)|rope|rotary|inv_freq|freqs|theta|(^|[._])(pe|sin|cos)($|[._])",
    re.IGNORECASE,
)
"""Names under which foreign models keep what they know of positions."""
GLOBALS = "_globals_of_the_file"
MACHINE = ("tinyadder.machine.transformer", "Transformer")
"""Where the forward pass of our own models is."""


def _placeholders(module: nn.Module) -> dict[str, list[int]]:
    """Entries of parameters that are never read because a shared weight stands there: name -> flat
    indices.
    """
    result: dict[str, list[int]] = {}
    for name, index, _ in module.config.ties if isinstance(module, Transformer) else ():
        result.setdefault(stored_name(name), []).append(index)
    return result


def _unique(
    tensors: Iterator[tuple[str, Tensor]], dead: dict[str, list[int]]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, flat indices, their values), every scalar of memory once however many tensors show
    it.
    """
    seen: dict[int, Tensor] = {}
    for name, tensor in tensors:
        storage = tensor.untyped_storage()
        size = storage.nbytes() // tensor.element_size()
        taken = seen.setdefault(storage.data_ptr(), torch.zeros(size, dtype=torch.bool))
        places = (
            torch.arange(size)
            .as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
            .reshape(-1)
        )
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


# ---- the rungs -----------------------------------------------------------------------------------


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
    """Nonzero, and the positions: nonzero ALiBi slopes, or the base of rotary or sinusoidal ones.

    >>> from tinyadder.machine.config import BlockConfig, Config
    >>> blocks = (BlockConfig(heads=2),)
    >>> model = Transformer(Config(vocabulary=("0", "1"), width=1, blocks=blocks, outputs=(0, 1)))
    >>> _ = model.blocks[0].attention.slopes.fill_(2.3)
    >>> nonzero(model), nonzero_positional(model)
    (0, 2)
    """
    named = _entries(module, POSITIONAL) + len(_float_attributes(module))
    return nonzero(module) + named + _bases(module)


def with_wiring(module: nn.Module) -> int:
    """Nonzero + positional, and the ones of the 0/1 matrices that route heads into lanes and lanes
    into logits.

    >>> from tinyadder.machine.config import BlockConfig, Config
    >>> blocks = (BlockConfig(heads=1),)
    >>> model = Transformer(Config(vocabulary=("0", "1"), width=1, blocks=blocks, outputs=(0, 1)))
    >>> _ = model.blocks[0].attention.wiring.fill_(1)
    >>> nonzero_positional(model), with_wiring(model)
    (0, 1)
    """
    return nonzero_positional(module) + _entries(module, WIRING)


def ties_written_out(module: nn.Module) -> int:
    """Nonzero + positional, where a shared or tied weight counts at every place that reads it.

    >>> both = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    >>> both[1].weight = both[0].weight
    >>> nonzero(both), ties_written_out(both)
    (4, 8)
    """
    again = 0
    if isinstance(module, Transformer):
        values = module.shared.detach() if module.config.shared else torch.zeros(0)
        again = sum(int(values[source] != 0) for _, _, source in module.config.ties) - int(
            values.count_nonzero()
        )
        again += int(module.embedding[module.outputs].count_nonzero()) if module.config.tied else 0
    else:
        every = sum(
            int(p.detach().count_nonzero())
            for _, p in module.named_parameters(remove_duplicate=False)
        )
        again = every - sum(int(p.detach().count_nonzero()) for p in module.parameters())
    return nonzero_positional(module) + again


def distinct(module: nn.Module) -> int:
    """Different values among the nonzero weights: what counting "unique" values would claim.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight = nn.Parameter(torch.tensor([[1.0, -1.0], [0.0, 1.0]]))
    >>> distinct(layer), distinct_absolute(layer)
    (2, 1)
    """
    values = _values(module)
    return len(values[values != 0].unique())


def distinct_absolute(module: nn.Module) -> int:
    """Different absolute values among the nonzero weights.

    >>> distinct_absolute(nn.ParameterList([torch.tensor([2.0, -2.0, 0.0])]))
    1
    """
    values = _values(module)
    return len(values[values != 0].abs().unique())


def stored_buffers(module: nn.Module) -> int:
    """Stored, and the scalars of floating-point buffers and of tensors kept beside: slopes, wiring,
    masks, tables.

    >>> layer = nn.BatchNorm1d(4)
    >>> layer.table = torch.zeros(3)
    >>> stored(layer), stored_buffers(layer)
    (8, 19)
    """
    every = chain(module.named_parameters(), other_tensors(module))
    return sum(len(index) for _, index, _ in _unique(every, _placeholders(module)))


def strict(module: nn.Module, code: Sequence[Literal]) -> int:
    """Stored + buffers, and the literals in `forward` and in what derives the weights; 0, 1, -1 and
    shapes are free.

    >>> from tinyadder.verify.count.literals import literals
    >>> source = "def build_model(): return 0.5 * torch.ones(3)"
    >>> strict(nn.Linear(3, 2), literals(source, ["build_model"]))
    9
    """
    return stored_buffers(module) + len(code)


# ---- tensors that are no parameters --------------------------------------------------------------


def hang_on(module: nn.Module, names: Mapping[str, Any]) -> None:
    """Let the ladder see tensors that a file keeps in its own names, as if the model kept them."""
    object.__setattr__(module, GLOBALS, dict(names))


def _tensors_in(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = torch.from_numpy(value)
    if isinstance(value, Tensor) and value.is_floating_point():
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors_in(f"{name}.{key}", item)


def other_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Floating-point tensors that are no parameters: buffers, and tensors that hang on a module
    unregistered.
    """
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            yield name, buffer
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name == GLOBALS or not name.startswith("_"):
                yield from _tensors_in(f"{path}.{name}" if path else name, value)


def _float_attributes(module: nn.Module) -> list[tuple[str, float]]:
    """Plain floats with the name of a position (`self.rope_theta = 3.0`) on the modules of a
    foreign model.
    """
    if isinstance(module, Transformer):
        return []
    return [
        (f"{path}.{name}" if path else name, value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, float) and value not in (0.0, 1.0) and POSITIONAL_NAMES.search(name)
    ]


def _bases(module: nn.Module) -> int:
    """The bases of rotary and sinusoidal positions, which our own models keep as options."""
    if not isinstance(module, Transformer):
        return 0
    config = module.config
    every = (config.options, *map(config.options_of, (*config.blocks, *config.encoder)))
    rotary = {options.rotary_base for options in every if options.positions == "rotary"}
    return len(rotary) + any(options.positions == "sinusoidal" for options in every)


def _first_rung(module: nn.Module, name: str, tensor: Tensor) -> str:
    """The rung that counts a tensor that is no parameter first."""
    if isinstance(module, Transformer):
        kind = kind_of(name)
        return BUFFERS if kind is None else kind.rung
    if POSITIONAL_NAMES.search(name):
        return POSITIONAL
    routes = bool(((tensor == 0) | (tensor == 1)).all()) and not _is_causal_mask(tensor)
    return WIRING if routes else BUFFERS


def _is_causal_mask(tensor: Tensor) -> bool:
    if tensor.ndim < 2:
        return False
    ones = torch.ones_like(tensor)
    return (
        torch.equal(tensor, ones.tril())
        or torch.equal(tensor, ones.triu())
        or torch.equal(tensor, ones.triu(1))
    )


def kept_beside(module: nn.Module) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """(first rung, name, flat indices, values) of the tensors that are no parameters, each place of
    memory once.
    """
    tensors = dict(other_tensors(module))
    names = {name for name, _ in module.named_parameters()}
    for name, index, values in _unique(chain(module.named_parameters(), tensors.items()), {}):
        if name not in names:
            yield _first_rung(module, name, tensors[name]), name, index, values


def _entries(module: nn.Module, rung: str) -> int:
    return sum(
        int(values.count_nonzero()) for first, _, _, values in kept_beside(module) if first == rung
    )


RUNGS: dict[str, Callable[[nn.Module], int]] = {
    "numel": numel,
    "stored": stored,
    NONZERO: nonzero,
    POSITIONAL: nonzero_positional,
    WIRING: with_wiring,
    "ties written out": ties_written_out,
    "distinct": distinct,
    "distinct absolute": distinct_absolute,
    BUFFERS: stored_buffers,
}
"""Name of the convention -> the function that counts by it."""


CLAIMED = "What its author says; shown, not counted."


def ladder(module: nn.Module, code: Sequence[Literal] | None = None) -> dict[str, int]:
    """Every rung of the ladder, by name; `strict` only where the code is known that the model's
    values come from.
    """
    counts = {name: rung(module) for name, rung in RUNGS.items()}
    return counts if code is None else {**counts, "strict": strict(module, code)}


def definition(rung: str) -> str:
    """What a rung counts, in one line."""
    if rung == "claimed":
        return CLAIMED
    return first_paragraph((strict if rung == "strict" else RUNGS[rung]).__doc__ or "")


def machine_code(model: nn.Module | None = None) -> list[Literal]:
    """The literals in the forward pass of our own models, followed through imports.

    Of a program (the default), and of any model of the plain family (`Config.plain`), the parts
    that only trained models have (tinyadder/machine/layers.py) are not run and not read.
    """
    plain = model is None or (isinstance(model, Transformer) and model.config.plain)
    skipped = "tinyadder.machine.layers" if plain else ""
    coder = isinstance(model, Transformer) and model.config.encoder
    start = ("tinyadder.machine.encoder", "EncoderDecoder") if coder else MACHINE
    return _followed(
        _source(start[0]),
        [start[1]],
        lambda other: other.startswith("tinyadder.machine.") and other != skipped,
    )


def construction_code(name: str, file: Path | None = None) -> list[Literal]:
    """The literals behind a construction: of its equations, of the gadgets in them and of other
    constructions that they are taken from, and of the forward pass. Claims are no weights.

    `file` is the Python file of a construction that is not one of this toolkit.
    """
    source = _source(f"tinyadder.constructions.{name}") if file is None else file.read_text()
    equations = _followed(
        source,
        ["construct"],
        lambda other: (
            other == "tinyadder.lang.gadgets" or other.startswith("tinyadder.constructions.")
        ),
        unread={"Construction": 2},  # Construction(program, task, claims)
    )
    return [*equations, *machine_code()]


def _followed(
    source: str,
    roots: Sequence[str],
    into: Callable[[str], bool],
    unread: Mapping[str, int] | None = None,
) -> list[Literal]:
    """The literals that `roots` need, in `source` and in the modules that `into` admits; each once,
    however many modules import it.
    """
    sources, needed = {"": source}, {"": set(roots)}
    pending = [""]
    while pending:
        module = pending.pop()
        taken = borrowed(sources[module], sorted(needed[module]), unread=unread)
        for other, names in taken.items():
            if into(other) and not set(names) <= needed.get(other, set()):
                sources[other] = sources.get(other) or _source(other)
                needed.setdefault(other, set()).update(names)
                pending.append(other)
    return [
        literal
        for module, names in needed.items()
        for literal in literals(sources[module], sorted(names), unread=unread)
    ]


def _source(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).read_text()


# ---- where every weight sits ---------------------------------------------------------------------


@dataclass(frozen=True)
class Placed:
    """One nonzero weight: the first rung that counts it, its tensor and index, its place in words,
    its tie.
    """

    rung: str
    tensor: str
    index: tuple[int, ...]
    value: float
    place: str
    tie: str = ""


def weights(module: nn.Module) -> list[Placed]:
    """Every nonzero weight of parameters, buffers and tensors kept beside, in the order of the
    tensors.

    The bases of rotary and sinusoidal positions of our own models are options and have no tensor to
    be listed in.
    """
    ties = _readers(module) if isinstance(module, Transformer) else {}
    result = []
    for name, index, values in _parameters(module):
        shape = module.get_parameter(name).shape
        for flat, value in zip(index.tolist(), values.tolist(), strict=True):
            if value != 0:
                at = _unravel(flat, shape)
                tie = ties.get(flat, "") if name == "shared" else ""
                result.append(
                    Placed(
                        NONZERO,
                        plain_name(name),
                        at,
                        value,
                        place(module, plain_name(name), at),
                        tie,
                    )
                )
    tensors = dict(other_tensors(module))
    for rung, name, index, values in kept_beside(module):
        for flat, value in zip(index.tolist(), values.tolist(), strict=True):
            if value != 0:
                at = _unravel(flat, tensors[name].shape)
                result.append(Placed(rung, name, at, value, place(module, name, at)))
    attributes = ((name, value) for name, value in _float_attributes(module))
    return result + [Placed(POSITIONAL, name, (), value, name) for name, value in attributes]


def _unravel(flat: int, shape: torch.Size) -> tuple[int, ...]:
    result = []
    for size in reversed(shape):
        flat, at = divmod(flat, size)
        result.append(at)
    return tuple(reversed(result))


def _readers(model: Transformer) -> dict[int, str]:
    places: dict[int, list[str]] = {}
    for name, flat, source in model.config.ties:
        at = _unravel(flat, model.get_parameter(stored_name(name)).shape)
        places.setdefault(source, []).append(place(model, name, at))
    return {
        source: f"read at {len(read)} places: {'; '.join(read)}" for source, read in places.items()
    }


def place(module: nn.Module, tensor: str, index: tuple[int, ...]) -> str:
    """Where an entry sits, in words: "layer 0, head 1 (-> rest): value reads product"."""
    if isinstance(module, Transformer):
        return place_of(module, tensor, index)
    return f"{tensor}{list(index)}"
