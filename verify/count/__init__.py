"""The counting ladder: a parameter count means nothing without its convention.

Each rung is one function with its definition as docstring; `RUNGS` is the ladder in order, for any
`nn.Module` (`as_module` makes one of any other object). `weights(model)` lists where every counted
weight sits, by lane, and how it is tied. Counts are read from the module's tensors, not from a
program. Of our own models it is known which tensors are positions, which are wiring, and which
entries a formula computes; of others positions are recognised by their names, wiring by holding
only 0 and 1, and a table that `forward` computes is not stored at all: its scalars are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from tinyadder.machine.tensors import (
    BUFFERS,
    NONZERO,
    POSITIONAL,
    WIRING,
    plain_name,
    stored_name,
    stored_scalars,
)
from tinyadder.machine.tensors import place as place_of
from tinyadder.machine.transformer import Transformer
from tinyadder.plain import first_paragraph
from tinyadder.verify.count.beside import (
    Known,
    as_module,
    bases,
    computed_tables,
    hang_on,
    kept_beside,
    loose_numbers,
    other_tensors,
    placeholders,
    unique,
)
from tinyadder.verify.count.literals import Literal

__all__ = [
    "RUNGS",
    "as_module",
    "definition",
    "hang_on",
    "kept_beside",
    "ladder",
    "other_tensors",
    "weights",
]


def _parameters(module: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    return unique(module.named_parameters(), placeholders(module))


def _values(module: nn.Module) -> Tensor:
    values = [value.double() for _, _, value in _parameters(module)]
    return torch.cat(values) if values else torch.zeros(0)


def _fresh(module: nn.Module) -> list[tuple[str, float]]:
    """Numbers beside the tensors that are not the model's own written once more: names, values."""
    loose = list(loose_numbers(module))
    if not loose:
        return []
    tensors = [*module.named_parameters(), *other_tensors(module), *loose]
    split = len(tensors) - len(loose)
    known, found = Known(), list[tuple[str, float]]()
    for k, (name, _, values) in enumerate(unique(tensors, {})):
        listed = values.double().tolist()
        if k < split:
            known.add(listed)
        else:
            pairs = zip(known.new(listed), listed, strict=True)
            found += [(name, value) for new, value in pairs if new]
    return found


# ---- the rungs -----------------------------------------------------------------------------------


def numel(module: nn.Module) -> int:
    """Elements of all parameters, zeros included; a table by formula is written out.

    >>> numel(nn.Linear(3, 2))
    8
    """
    return sum(parameter.numel() for parameter in module.parameters())


def stored(module: nn.Module) -> int:
    """Scalars of the parameters, each place of memory once, tied entries once, zeros included; of a
    table by formula the scalars in it.

    >>> both = nn.ModuleList([nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)])
    >>> both[1].weight = nn.Parameter(both[0].weight.data.T)
    >>> numel(both), stored(both)
    (18, 9)
    """
    return sum(len(index) for _, index, _ in _parameters(module)) - _saved(module)


def _saved(module: nn.Module) -> int:
    """How many entries of tables formulas save, their scalars taken off."""
    if not isinstance(module, Transformer):
        return 0
    columns = module.derived.columns
    return sum(len(indices) for _, indices, _ in columns) - len(module.derived.scalars)


def board(module: nn.Module) -> int:
    """The public board's rule: unique parameters after tying; fixed positions are free, and of a
    table by formula the scalars count. Of our own models: what the exported file stores.

    >>> layer = nn.Linear(3, 3, bias=False)
    >>> board(nn.ModuleList([layer, layer]))
    9
    """
    if not isinstance(module, Transformer) or not module.config.plain:
        return stored(module)
    if module.embedding.dtype != torch.float64:
        return stored(module)
    return len(stored_scalars(module))


def nonzero(module: nn.Module) -> int:
    """Stored scalars that are not zero, a table by formula entry by entry: the convention of the
    95-parameter adder.

    >>> layer = nn.Linear(2, 2, bias=False)
    >>> layer.weight = nn.Parameter(torch.eye(2))
    >>> nonzero(layer)
    2
    """
    return int(_values(module).count_nonzero())


def nonzero_positional(module: nn.Module) -> int:
    """Nonzero, and the positions: nonzero ALiBi slopes, or the base of rotary or sinusoidal ones,
    not the entries of their tables.

    >>> from tinyadder.machine.config import BlockConfig, Config
    >>> blocks = (BlockConfig(heads=2),)
    >>> model = Transformer(Config(vocabulary=("0", "1"), width=1, blocks=blocks, outputs=(0, 1)))
    >>> _ = model.blocks[0].attention.slopes.fill_(2.3)
    >>> nonzero(model), nonzero_positional(model)
    (0, 2)
    """
    named = _entries(module, POSITIONAL) + len(bases(module))
    return nonzero(module) + named + _own_bases(module)


def _entries(module: nn.Module, rung: str) -> int:
    return sum(
        int(values.count_nonzero()) for first, _, _, values in kept_beside(module) if first == rung
    )


def _own_bases(module: nn.Module) -> int:
    """The bases of rotary positions, waves and sinusoids, which our own models keep as options."""
    if not isinstance(module, Transformer):
        return 0
    config = module.config
    every = (config.options, *map(config.options_of, (*config.blocks, *config.encoder)))
    turned = [options for options in every if options.positions in ("rotary", "waves")]
    return len({options.rotary_base for options in turned}) + any(
        options.positions == "sinusoidal" for options in every
    )


def with_wiring(module: nn.Module) -> int:
    """Nonzero + positional, plus the ones in the 0/1 matrices that route heads into lanes and lanes
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
    """Nonzero + positional, with a shared or tied weight counted wherever it is read.

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
    """Different values among the nonzero weights, a table by formula entry by entry: what counting
    "unique" values would claim.

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
    """Stored, and the numbers kept beside, each once: buffers, attributes, names of the file; no
    masks of 0 and -inf, and of tables of positions the base.

    >>> layer = nn.BatchNorm1d(4)
    >>> layer.table = torch.zeros(3)
    >>> stored(layer), stored_buffers(layer)
    (8, 19)
    """
    beside = sum(len(index) for _, _, index, _ in kept_beside(module))
    return stored(module) + beside + len(bases(module)) + len(_fresh(module))


def strict(module: nn.Module, code: Sequence[Literal]) -> int:
    """Stored + buffers, and the literals in `forward` and in what derives the weights, formulas
    included; a weight that the code writes down counts once; 0, 1, -1 and shapes are free.

    >>> from tinyadder.verify.count.literals import literals
    >>> source = "def build_model(): return 0.5 * torch.ones(3)"
    >>> strict(nn.Linear(3, 2), literals(source, ["build_model"]))
    9
    """
    return stored_buffers(module) - computed_tables(module) + len(counted_literals(module, code))


def counted_literals(module: nn.Module, code: Sequence[Literal]) -> list[Literal]:
    """Those literals that are not a weight of the model as it was written down."""
    if not any(literal.written for literal in code):
        return list(code)
    known = Known()
    tensors = chain(module.named_parameters(), other_tensors(module))
    for _, _, values in unique(tensors, placeholders(module)):
        known.add(values.double().tolist())
    known.add(value for _, value in (*bases(module), *_fresh(module)))
    if isinstance(module, Transformer):
        known.add(module.derived.scalars)
    written = [literal.value for literal in code if literal.written]
    fresh = iter(known.new(written))
    return [literal for literal in code if not literal.written or next(fresh)]


RUNGS: dict[str, Callable[[nn.Module], int]] = {
    "numel": numel,
    "stored": stored,
    "board": board,
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
    shapes = {name: parameter.shape for name, parameter in module.named_parameters()}
    for name, index, values in _parameters(module):
        shape = shapes[name]
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
    result += [Placed(POSITIONAL, name, (), value, name) for name, value in bases(module)]
    return result + [Placed(BUFFERS, name, (), value, name) for name, value in _fresh(module)]


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
