"""The tensors of a model, one by one, and the one table of their kinds: which counting rung an
entry is counted by first, what role it has at the start of training, and where it sits, in words.

A tensor goes by its plain name (`blocks.0.mlp.gate`). Where shared weights are read in it, torch
stores it under another one; `stored_name` and `plain_name` go from one to the other. A new kind of
layer gets its lines in `KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from tinyadder.machine.transformer import Transformer

NONZERO, POSITIONAL, WIRING, BUFFERS = (
    "nonzero",
    "nonzero + positional",
    "with wiring",
    "stored + buffers",
)
"""Rungs of the counting ladder (verify/count)."""

Role = Literal["table", "readout", "reads", "writes", "bias", "gain", "fixed"]
"""What a tensor does: look up a token or a position, make logits, read the stream, write to it,
shift, scale; or it is not trained.
"""


@dataclass(frozen=True)
class Kind:
    """One kind of tensor: `axes` names its axes, `words` says in their terms where an entry is."""

    axes: tuple[str, ...]
    words: str
    role: Role
    rung: str = NONZERO
    """The first rung that counts an entry of a tensor that is no parameter; parameters are counted
    from `nonzero` on.
    """


def _attention(name: str) -> dict[str, Kind]:
    rows = ("head", "row", "column")
    projections = {
        leaf: (
            Kind(rows, f"{{head}}: {leaf}{{row}} reads {{column}}", "reads"),
            Kind(rows[:2], f"{{head}}: {leaf}{{row}} bias", "bias"),
        )
        for leaf in ("query", "key", "value")
    }
    return {
        **{f"{name}.{leaf}": kind for leaf, (kind, _) in projections.items()},
        **{f"{name}.{leaf}_bias": kind for leaf, (_, kind) in projections.items()},
        f"{name}.waves": Kind(rows[:2], "{head}: wave{row}", "reads"),
        f"{name}.slopes": Kind(("head",), "{head}: ALiBi slope", "fixed", POSITIONAL),
        f"{name}.wiring": Kind(
            rows, "{head number}: value{row} wired to {column}", "writes", WIRING
        ),
    }


def _norm(name: str, words: str) -> dict[str, Kind]:
    return {
        f"{name}.weight": Kind(("column",), f"{words}: gain of {{column}}", "gain"),
        f"{name}.bias": Kind(("column",), f"{words}: bias of {{column}}", "bias"),
    }


KINDS: dict[str, Kind] = {
    "embedding": Kind(("token", "column"), "embedding of '{token}': {column}", "table"),
    "circle": Kind(("number",), "circle of the outputs: number {number}", "table"),
    "positions": Kind(("position", "column"), "position {position}: {column}", "table"),
    "shared": Kind(("index",), "shared weight {index}", "reads"),
    "unembedding": Kind(("output", "column"), "{output}: reads {column}", "readout"),
    "unembedding_bias": Kind(("output",), "{output}: bias", "bias"),
    "readout_wiring": Kind(("output", "column"), "{output}: reads {column}", "fixed", WIRING),
    **_attention("attention"),
    **_norm("attention_norm", "attention norm"),
    "mlp.gate": Kind(("unit", "column"), "unit {unit}: gate reads {column}", "reads"),
    "mlp.gate_bias": Kind(("unit",), "unit {unit}: gate bias", "bias"),
    "mlp.up": Kind(("unit", "column"), "unit {unit}: up reads {column}", "reads"),
    "mlp.up_bias": Kind(("unit",), "unit {unit}: up bias", "bias"),
    "mlp.down": Kind(("column", "unit"), "unit {unit}: down to {column}", "writes"),
    **_norm("mlp_norm", "MLP norm"),
    **_norm("final_norm", "final norm"),
    **_norm("encoder_norm", "encoder norm"),
}
"""Plain name without the number of the layer -> the kind; `cross.N.attention` is an attention."""

LAYER = re.compile(r"(blocks|encoder|cross)\.(\d+)\.(?:norm\b)?")
LAYERS = {"blocks": "layer", "encoder": "encoder layer", "cross": "cross-attention of layer"}


class Item(NamedTuple):
    """One tensor of a model."""

    name: str
    """Plain."""
    stored: str
    """As in the state dict and in files."""
    tensor: Tensor
    kind: Kind | None
    """None for a tensor that some subclass or hook has added."""


def items(model: Transformer) -> Iterator[Item]:
    """Every parameter once (a shared weight too) and every stored buffer (slopes, wiring), the
    parameters first; as they are stored, without what is read from shared weights.
    """
    stored = model.state_dict(keep_vars=True)
    for name in [*dict(model.named_parameters()), *dict(model.named_buffers())]:
        if name in stored:
            plain = plain_name(name)
            yield Item(plain, name, stored[name], kind_of(plain))


def tensors_of(model: Transformer) -> dict[str, Tensor]:
    """The tensors of `items` by the names under which they are stored."""
    return {item.stored: item.tensor for item in items(model)}


UNITS = (0.0, 1.0, -1.0)
"""Weights that only route."""


def stored_scalars(model: Transformer) -> list[float]:
    """What a sparse form of a built model stores: every shared weight, the scalars of its formulas,
    then each other value once, but not 0, 1 and -1, nor what a formula computes.
    """
    shared = model.shared.detach().tolist() if model.config.shared else []
    scalars, values = model.derived.scalars, dict[float, None]()
    placed = {(name, index) for name, index, _ in model.config.ties}
    for item in items(model):
        if isinstance(item.tensor, nn.Parameter) and item.name != "shared":
            flat = enumerate(item.tensor.detach().cpu().reshape(-1).tolist())
            computed = model.derived.entries(item.name)
            values |= dict.fromkeys(
                v for i, v in flat if i not in computed and (item.name, i) not in placed
            )
    return [*shared, *scalars, *(v for v in values if v not in (*UNITS, *scalars))]


def plain_name(stored: str) -> str:
    """The name of a tensor without torch's parametrization.

    >>> plain_name("blocks.0.mlp.parametrizations.gate.original")
    'blocks.0.mlp.gate'
    """
    return stored.replace("parametrizations.", "").removesuffix(".original")


def stored_name(plain: str) -> str:
    """The name under which torch stores a tensor that shared weights are read in.

    >>> stored_name("blocks.0.mlp.gate"), stored_name("embedding")
    ('blocks.0.mlp.parametrizations.gate.original', 'parametrizations.embedding.original')
    """
    path, dot, leaf = plain.rpartition(".")
    return f"{path}{dot}parametrizations.{leaf}.original"


def kind_of(name: str) -> Kind | None:
    """The kind of the tensor with that plain name; None where no model of ours has such a one."""
    match = LAYER.match(name)
    if match is None:
        return KINDS.get(name)
    rest = name[match.end() :]
    return KINDS.get(f"attention_norm{rest}" if match.group().endswith("norm") else rest)


def place(model: Transformer, name: str, index: tuple[int, ...]) -> str:
    """Where an entry sits, in words: "layer 0, head 1 (-> rest): value reads product"."""
    kind, match, config = kind_of(name), LAYER.match(name), model.config
    if kind is None:
        return f"{name}{list(index)}"
    at = dict(zip(kind.axes, index, strict=True))
    words: dict[str, str] = {axis: str(i) for axis, i in at.items()}
    if "column" in at:
        words["column"] = columns(model)[at["column"]]
    if "token" in at:
        words["token"] = config.vocabulary[at["token"]]
    if "output" in at:
        token = config.vocabulary[config.outputs[at["output"]]]
        words["output"] = f"{'cost' if config.argmin else 'logit'} of '{token}'"
    if "head" in at:
        path, _, leaf = name.rpartition(".")
        attention = model.get_submodule(path)
        words |= _head_words(attention, at, "value" if leaf == "wiring" else leaf, columns(model))
    where = f"{LAYERS[match[1]]} {match[2]}, " if match else ""
    return where + kind.words.format_map(words)


def _head_words(
    attention: nn.Module, at: Mapping[str, int], leaf: str, lanes: list[str]
) -> dict[str, str]:
    """A head with the lanes it writes to, if they are few; its row only where it has several."""
    wiring = attention.wiring
    assert isinstance(wiring, Tensor)
    targets = [lanes[i] for i in wiring[at["head"]].any(0).nonzero()[:, 0].tolist()]
    number = f"head {at['head']}"
    head = f"{number} (-> {', '.join(targets)})" if 0 < len(targets) <= 3 else number
    several = "row" in at and getattr(attention, leaf).shape[1] > 1
    return {"head number": number, "head": head, "row": f"[{at['row']}]" if several else ""}


def columns(model: Transformer) -> list[str]:
    """The names of the columns of the residual stream: their lanes, where it has named lanes."""
    named = [
        lane if width == 1 else f"{lane}[{i}]"
        for lane, width in model.config.lanes
        for i in range(width)
    ]
    return named or [f"column {i}" for i in range(model.config.width)]
