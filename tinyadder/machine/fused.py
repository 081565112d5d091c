"""The layers in fewer and larger operations, for training: the same functions up to rounding.

One product for query, key and value, one for gate and up; torch's fused attention; rotary positions
by halves. `use_fused` switches a model over. Decoding, verdicts and proofs use the plain layers
(transformer.py), whose operations are those that the proofs assume; tests/test_fused.py compares
values and gradients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from tinyadder.machine import layers

if TYPE_CHECKING:
    from tinyadder.machine.transformer import FeedForward, MultiHeadAttention


def use_fused(model: nn.Module, fused: bool) -> None:
    """Let every layer of `model` that has a fused form take it, or not."""
    for module in model.modules():
        if hasattr(module, "fused"):
            setattr(module, "fused", fused)  # noqa: B010


def _rows(module: nn.Module, names: tuple[str, ...], x: Float[Tensor, "b t d"]) -> Tensor:
    """The projections of these names, one after another along the last axis."""
    weights = [getattr(module, name).flatten(0, -2) for name in names]
    biases = [getattr(module, f"{name}_bias") for name in names]
    bias = None if biases[0] is None else torch.cat([b.flatten() for b in biases])
    return functional.linear(x, torch.cat(weights), bias)


@lru_cache(maxsize=256)
def _turns(count: int, half: int, base: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """exp(i angle) of every angle, as [t, 1, k]."""
    places = torch.arange(count, dtype=torch.float64)
    angles = places[:, None] * base ** (-torch.arange(half, dtype=torch.float64) / max(half, 1))
    kind = torch.complex128 if dtype == torch.float64 else torch.complex64
    return torch.polar(torch.ones_like(angles), angles)[:, None].to(device, kind)


def rotated(x: Float[Tensor, "b t h k"], base: float) -> Float[Tensor, "b t h k"]:
    """`tinyadder.machine.layers.rotate` from position 0 on, for axes in this order, its rows k and
    k + half side by side: one complex product, whose order scores do not see.
    """
    half = x.shape[-1] // 2
    if torch.compiler.is_compiling():  # which knows no complex numbers
        return layers.rotate(x.transpose(1, 2), 0, base).transpose(1, 2)
    turns = _turns(x.shape[1], half, base, x.dtype, x.device)
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()  # no complex bfloat16
    pairs = wide[..., : 2 * half].unflatten(-1, (2, half)).transpose(-1, -2).contiguous()
    turned = torch.view_as_real(torch.view_as_complex(pairs) * turns).flatten(-2).to(x.dtype)
    return turned if 2 * half == x.shape[-1] else torch.cat([turned, x[..., 2 * half :]], -1)


def attention(
    module: MultiHeadAttention,
    x: Float[Tensor, "b t d"],
    memory: Float[Tensor, "b s d"] | None = None,
    mask: Bool[Tensor, "b s"] | None = None,
) -> Float[Tensor, "b t d"]:
    """Causal attention of `x` to itself; with `memory` open attention to the positions of it that
    `mask` allows.
    """
    options = module.options
    (heads, d_head, _), d_value = (
        cast(Tensor, module.query).shape,
        cast(Tensor, module.value).shape[1],
    )
    sizes, causal = [heads * d_head, heads * d_head, heads * d_value], memory is None
    if memory is None or memory is x:
        query, key, value = _rows(module, ("query", "key", "value"), x).split(sizes, -1)
    else:
        query = _rows(module, ("query",), x)
        key, value = _rows(module, ("key", "value"), memory).split(sizes[1:], -1)
    query, key, value = (rows.unflatten(-1, (heads, -1)) for rows in (query, key, value))
    if options.positions == "rotary" and (memory is None or memory is x):
        query, key = (rotated(rows, options.rotary_base) for rows in (query, key))
    query, key, value = (rows.transpose(1, 2) for rows in (query, key, value))
    bias: Tensor | None = None if mask is None else mask[:, None, None, :]
    if causal and (options.positions == "alibi" or options.softmax == "softmax1"):
        bias = module.position_scores(query.shape[2], key.shape[2])
    if options.softmax == "softmax1":  # a key 0 with value 0: exp(0) more in the denominator
        assert bias is not None, "softmax1 is causal here"
        key, value = (functional.pad(rows, (0, 0, 1, 0)) for rows in (key, value))
        bias = functional.pad(bias, (1, 0))
    mixed = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias,
        is_causal=causal and bias is None,
        scale=None if options.scaled else 1.0,
    )
    return mixed.transpose(1, 2).flatten(2) @ module.wiring.flatten(0, 1)


def gated(module: FeedForward, x: Float[Tensor, "b t d"]) -> tuple[Tensor, Tensor]:
    """The pre-activations of gate and up, by one product."""
    gate, up = _rows(module, ("gate", "up"), x).chunk(2, -1)
    return gate, up
