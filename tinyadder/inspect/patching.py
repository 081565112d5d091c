"""Change activations while a model runs: ablate or patch a lane, a head or a hidden unit, of built
and trained models.

    # the head of layer 1 that writes lane `rest` gives 0
    with ablate(model, heads=[(1, "rest")]): ...
    # lane `rest` at position 9 as in another run
    with patch(model, cache, lanes=["rest"], positions=[9]): ...

Inside the block everything that runs the model sees the change: a forward pass, `run_with_cache`,
decoding. A lane is named, or given by its column where nobody named lanes; a head or unit is
(layer, index), or (layer, lane) for all those of that layer that write the lane. Activation
patching: Vig et al. 2020, Wang et al. 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.inspect.trace import lane_columns, stream_names
from tinyadder.machine.transformer import Transformer
from tinyadder.plain import as_int, as_real, short

LaneName = str | int | tuple[str | int, str]
"""A lane everywhere in the residual stream, or (lane, name of one place of it:
"blocks.0.hook_resid_post").
"""
Component = tuple[int, int | str]
"""(layer, index), or (layer, lane that it writes)."""
Change = Callable[[str, Tensor, int], Tensor]
"""Called with the name of an activation, its value and the position of its first token; what it
returns is used.
"""


@contextmanager
def hooked(model: Transformer, change: Change) -> Iterator[Transformer]:
    """While the block runs, every activation of every forward pass of `model` goes through
    `change`.

    In decoding with kept keys and values a pass has only the new tokens; the third argument says
    where they stand.
    """

    def before(
        _: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        first = max((kept.length for kept in named.get("past") or ()), default=0)
        then = named.get("hook")

        def both(name: str, value: Tensor) -> Tensor:
            value = change(name, value, first)
            return then(name, value) if then else value

        return given, {**named, "hook": both}

    handle = model.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield model
    finally:
        handle.remove()


def ablate(
    model: Transformer,
    *,
    lanes: Collection[LaneName] = (),
    heads: Collection[Component] = (),
    units: Collection[Component] = (),
    positions: Iterable[int] | None = None,
) -> Any:
    """`patch` with 0: these lanes hold nothing, these heads and hidden units add nothing."""
    return patch(model, 0.0, lanes=lanes, heads=heads, units=units, positions=positions)


@contextmanager
def patch(
    model: Transformer,
    source: SupportsFloat | Mapping[str, Tensor],
    *,
    lanes: Collection[LaneName] = (),
    heads: Collection[Component] = (),
    units: Collection[Component] = (),
    positions: Iterable[int] | None = None,
) -> Iterator[Transformer]:
    """While the block runs, these parts of `model` have the values of `source`: a number, or the
    cache of another run.

    A lane is replaced in the residual stream, a head in its output (`hook_z`), a unit after its
    activation (`hook_post`). `positions` (default: all) counts from 0, or with negative numbers
    from the end of the text so far: -1 is its last token, while decoding each new one in turn.
    Positions that a text or a cache does not have are left as they are. Raises `TinyadderError` for
    an unknown lane, place, layer, head or unit, for positions that are no integers, for an
    encoder-decoder, and, when the model runs, for a cache of another batch.
    """
    constant = as_real(0.0 if isinstance(source, Mapping) else source)
    if constant is None:
        raise TinyadderError(f"{short(source)} is no number and no cache to patch from")
    constant = float(constant)
    wanted = _positions(positions)
    targets = _targets(model, lanes, heads, units)
    if isinstance(source, Mapping) and (
        missing := [name for name in targets if name not in source]
    ):
        raise TinyadderError(
            f"the cache has no '{missing[0]}'; give one that run_with_cache made of this model"
        )

    def change(name: str, value: Tensor, first: int) -> Tensor:
        if name not in targets:
            return value
        changed = value.clone()
        rows = _positions_first(name, changed)  # [b, t, column or head or unit, ...], a view
        known = length = rows.shape[1] + first
        other = (
            _positions_first(name, source[name]).to(rows) if isinstance(source, Mapping) else None
        )
        if other is not None:
            known = min(known, other.shape[1])
            if other.shape[0] not in (1, rows.shape[0]):
                raise TinyadderError(
                    f"the cache is of {other.shape[0]} texts, the model runs {rows.shape[0]}; give"
                    " one of 1 or as many"
                )
        at = [p for p in range(first, known) if wanted is None or {p, p - length} & wanted]
        here, there, part = (
            torch.tensor(index, dtype=torch.long, device=value.device)
            for index in ([p - first for p in at], at, targets[name])
        )
        if other is None:
            rows[:, here[:, None], part] = rows.new_tensor(constant)
        else:
            rows[:, here[:, None], part] = other[:, there[:, None], part]
        return changed

    with hooked(model, change):
        yield model


def _positions(given: Iterable[int] | None) -> set[int] | None:
    """The integers among `given`, which may be a generator. Raises `TinyadderError` for others."""
    if given is None:
        return None
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TinyadderError(f"positions={short(given)}, expected integers, e.g. positions=[-1]")
    positions_found = set[int]()
    for position in given:
        number = as_int(position)
        if number is None:
            raise TinyadderError(
                f"positions: {short(position)} is no integer; a position counts from 0, or "
                "from the end with -1"
            )
        positions_found.add(number)
    return positions_found


def _positions_first(name: str, value: Tensor) -> Tensor:
    """`value` as [b, t, ...]; of a head's output [b, h, t, v] the view [b, t, h, v]."""
    return value.transpose(1, 2) if name.endswith("hook_z") else value


def _targets(
    model: Transformer,
    lanes: Collection[LaneName],
    heads: Collection[Component],
    units: Collection[Component],
) -> dict[str, list[int]]:
    """Name of an activation -> the columns, heads or units of it that are meant."""
    if model.config.encoder:
        raise TinyadderError(
            "an encoder-decoder cannot be patched by name; expected a decoder (Transformer)"
        )
    if isinstance(lanes, str):
        raise TinyadderError(f"lanes='{lanes}' is one name; give a list: lanes=['{lanes}']")
    result: dict[str, list[int]] = {}
    for lane in lanes:
        named, place = lane if isinstance(lane, tuple) else (lane, None)
        for name in stream_names(model.config, place):
            result.setdefault(name, []).extend(lane_columns(model.config, named))
    for kind, parts, activation in (
        ("head", heads, "attn.hook_z"),
        ("unit", units, "mlp.hook_post"),
    ):
        for part in parts:
            result.setdefault(f"blocks.{part[0]}.{activation}", []).extend(
                _indices(model, kind, part)
            )
    return result


def _indices(model: Transformer, kind: str, part: Component) -> list[int]:
    """The heads or hidden units that (layer, index) or (layer, lane) means."""
    layer, which = as_int(part[0]), part[1]
    blocks = [*model.blocks] * model.config.options.repeat
    if layer is None or not 0 <= layer < len(blocks):
        raise TinyadderError(
            f"no layer {short(part[0])}; this model has layers 0 .. {len(blocks) - 1}"
        )
    block: Any = blocks[layer]
    sublayer = block.attention if kind == "head" else block.mlp
    if sublayer is None:
        raise TinyadderError(f"layer {layer} has no {kind}s")
    writes = (
        sublayer.wiring.ne(0).any(1) if kind == "head" else sublayer.down.T.ne(0)
    ).cpu()  # [part, column]
    index = as_int(which)
    if index is not None:
        if not 0 <= index < len(writes):
            raise TinyadderError(
                f"no {kind} {which} in layer {layer}; it has {kind}s 0 .. {len(writes) - 1}"
            )
        return [index]
    which = str(which)
    result = writes[:, lane_columns(model.config, which)].any(1).nonzero()[:, 0].tolist()
    if not result:
        written = [
            name
            for name, _ in model.config.lanes
            if writes[:, lane_columns(model.config, name)].any()
        ]
        raise TinyadderError(
            f"no {kind} of layer {layer} writes lane '{which}' (written: {', '.join(written)})"
            + did_you_mean(which, written)
        )
    return [int(index) for index in result]
