"""Parts that trained decoders may choose and written programs do not need: positions, norms,
activations.

sinusoid(i)_{2k}, sinusoid(i)_{2k+1} = sin, cos( i / 10000^(2k/d) )              Vaswani et al. 2017
rotate(x, i)_k = (x_k cos a - x_{k+h} sin a, x_{k+h} cos a + x_k sin a)               Su et al. 2021
    with a = i / base^(k/h)
RMSNorm(x) = g x / sqrt(mean x^2)                                            Zhang and Sennrich 2019
waves(distance) = sum_k w_k cos(distance b_k) + w_{k+h} sin(distance b_k),  b_k = base^(-k/h): the
    score of rotary attention whose queries and keys are constants
circle(d) = r (cos(a + d s), sin(a + d s)), 0, 0, ..: the row of output d; other tokens as output 0
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tinyadder.machine.config import Options

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}


def norm(options: Options, width: int, dtype: torch.dtype) -> nn.Module | None:
    """The norm over `width` columns that the options ask for, or None."""
    if options.norm == "none":
        return None
    kind = nn.LayerNorm if options.norm == "layer" else nn.RMSNorm
    return kind(width, eps=1e-6, dtype=dtype, elementwise_affine=options.gains)


def softmax1(scores: Float[Tensor, "*lead s"]) -> Float[Tensor, "*lead s"]:
    """exp(s_j) / (1 + sum_k exp(s_k)) along the last axis: a softmax that may attend to nothing.

    Evaluated as exp(s_j - m) / (exp(-m) + sum_k exp(s_k - m)) with m = max(0, max_k s_k), so that
    nothing overflows. The value is the same for every m, so no gradient needs to go through it.
    """
    highest = scores.detach().amax(-1, keepdim=True).clamp(min=0)
    weights = torch.exp(scores - highest)
    return weights / (torch.exp(-highest) + weights.sum(-1, keepdim=True))


def softmax(scores: Float[Tensor, "*lead s"]) -> Float[Tensor, "*lead s"]:
    """exp(s_j) / sum_k exp(s_k) along the last axis; on short rows three times as fast as
    torch.softmax on a CPU.
    """
    weights = torch.exp(scores - scores.detach().amax(-1, keepdim=True))
    return weights / weights.sum(-1, keepdim=True)


def sinusoids(positions: Int[Tensor, " t"], width: int, dtype: torch.dtype) -> Float[Tensor, "t d"]:
    """sin and cos of position / 10000^(2k/d), in turn; every row differs (see
    tests/test_train_guards.py).
    """
    columns = torch.arange(0, width, 2, device=positions.device, dtype=torch.float64)
    angles = positions[:, None].double() / 10000.0 ** (columns / width)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width].to(dtype)


@lru_cache(maxsize=256)
def _turns(
    first: int, count: int, rows: int, base: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """cos and sin of every angle as [t, k], and the matrix that puts (-x_{k+h}, x_k) in the place
    of (x_k, x_{k+h}).
    """
    half = rows // 2
    # float64 throughout, written out: so it holds where torch traces these lines for an export, too
    places, pairs = (
        np.arange(first, first + count, dtype=np.float64),
        np.arange(half, dtype=np.float64),
    )
    angles = places[:, None] * np.full(half, base, dtype=np.float64) ** (-pairs / max(half, 1))
    cos, sin = np.ones((count, rows), dtype=np.float64), np.zeros((count, rows), dtype=np.float64)
    swap = np.zeros((rows, rows))
    cos[:, : 2 * half], sin[:, : 2 * half] = np.tile(np.cos(angles), 2), np.tile(np.sin(angles), 2)
    k = np.arange(half)
    swap[k + half, k], swap[k, k + half] = -1, 1
    return cos, sin, swap


def rotate(x: Float[Tensor, "b h t k"], first: int, base: float) -> Float[Tensor, "b h t k"]:
    """Rotary positions: pairs (k, k + half) of the rows turned by position * base^(-k/half), from
    position `first` on.

    An odd last row stays as it is.
    """
    heads, count, rows = x.shape[1:]
    cos, sin, swap = (torch.from_numpy(a).to(x) for a in _turns(first, count, rows, base))
    by_position = x.transpose(
        1, 2
    )  # [b t h k], as the projections lie in memory: products over long rows are fast
    cos, sin = (a[:, None, :].repeat(1, heads, 1) for a in (cos, sin))
    return (by_position * cos + (by_position @ swap) * sin).transpose(1, 2)


def waves(weights: Float[Tensor, "h k"], count: int, base: float) -> Float[Tensor, "h n"]:
    """Scores at the distances 0 .. count - 1, each one sum of products with cos and sin."""
    half = weights.shape[1] // 2
    cos, sin, _ = _turns(0, count, 2 * half, base)
    turns = np.concatenate([cos[:, :half], sin[:, :half]], 1)
    return weights @ torch.from_numpy(turns).to(weights).T


def circle(
    numbers: Float[Tensor, " 3"], places: Int[Tensor, " c"], width: int
) -> Float[Tensor, "c d"]:
    """The embedding of tokens at these `places` of the circle; `numbers` are radius, first angle,
    step.
    """
    radius, first, step = numbers
    angles = first + places * step
    rows = torch.stack([radius * angles.cos(), radius * angles.sin()], -1)
    return nn.functional.pad(rows, (0, width - 2))
