"""Parts that trained decoders may choose and written programs do not need: positions, norms, activations.

sinusoid(i)_{2k}, sinusoid(i)_{2k+1} = sin, cos( i / 10000^(2k/d) )               Vaswani et al. 2017
rotate(x, i)_k = (x_k cos a - x_{k+h} sin a, x_{k+h} cos a + x_k sin a), a = i / base^(k/h)   Su et al. 2021, RoPE
RMSNorm(x) = g x / sqrt(mean x^2)                                                 Zhang and Sennrich 2019
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a trained decoder may change about the machine; the defaults are the machine that runs programs."""

    softmax: Literal["softmax1", "softmax"] = "softmax1"
    positions: Literal["alibi", "none", "sinusoidal", "learned", "rotary"] = "alibi"
    context: int = 0
    """Rows of the learned table of positions."""
    rotary_base: float = 10000.0
    scaled: bool = False
    """Divide scores by sqrt(key rows)."""
    projected: bool = False
    """The attention's output projection is learned, not a 0/1 wiring."""
    biases: bool = True
    norm: Literal["none", "layer", "rms"] = "none"
    norm_place: Literal["pre", "post"] = "pre"
    activation: Literal["relu", "gelu", "silu"] = "relu"
    gated: bool = True
    dropout: float = 0.0
    repeat: int = 1
    """How often the list of blocks is run, with the same numbers: shared layers."""


def norm(options: Options, width: int, dtype: torch.dtype) -> nn.Module | None:
    """The norm over `width` columns that the options ask for, or None."""
    if options.norm == "none":
        return None
    return (nn.LayerNorm if options.norm == "layer" else nn.RMSNorm)(width, eps=1e-6, dtype=dtype)


def softmax(scores: Float[Tensor, "*lead s"]) -> Float[Tensor, "*lead s"]:
    """exp(s_j) / sum_k exp(s_k) along the last axis; on short rows three times as fast as torch.softmax on a CPU."""
    weights = torch.exp(scores - scores.detach().amax(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True)


def sinusoids(positions: Int[Tensor, " t"], width: int, dtype: torch.dtype) -> Float[Tensor, "t d"]:
    """sin and cos of position / 10000^(2k/d), in turn; every row differs (see tests/test_train_guards.py)."""
    columns = torch.arange(0, width, 2, device=positions.device, dtype=torch.float64)
    angles = positions[:, None].double() / 10000.0 ** (columns / width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width].to(dtype)


def rotate(x: Float[Tensor, "b h t k"], first: int, base: float) -> Float[Tensor, "b h t k"]:
    """Rotary positions: pairs (k, k + half) of the rows turned by position * base^(-k/half), from position `first` on.

    An odd last row stays as it is.
    """
    half = x.shape[-1] // 2
    positions = torch.arange(first, first + x.shape[-2], device=x.device, dtype=torch.float64)
    frequency = base ** (-torch.arange(half, device=x.device, dtype=torch.float64) / max(half, 1))
    angles = positions[:, None] * frequency
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)
