"""Find a stranger's attention while it runs, and change it; inside the submission's process only.

Attention is seen by what it does, not by names: a normalised exponential of scores with a key axis
as long as the text. That is torch's softmax over such an axis, torch's fused attention, or an
exponential (a sigmoid, a ReLU) of a table of queries and keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tinyadder.verify.external.operations import Forward, source_line

PatternChange = Literal["no", "uniform", "own"]
"""Weights 0; equal weights on every key that is not in the future; the own position only."""
SINKS = 4
"""How many keys beside the text an attention may have: a null key of softmax1, say."""
ATEN = torch.ops.aten
SOFTMAX = (ATEN._softmax.default, ATEN._safe_softmax.default, ATEN._log_softmax.default)
POINTWISE = (
    ATEN.exp.default,
    ATEN.exp_.default,
    ATEN.exp2.default,
    ATEN.sigmoid.default,
    ATEN.relu.default,
)
ALONG = (ATEN.amax.default, ATEN.max.dim, ATEN.logsumexp.default)
"""What an attention written by hand takes of its scores beside the exponential."""
FUSED = ATEN._scaled_dot_product_flash_attention_for_cpu.default


@dataclass(frozen=True)
class _Axes:
    """Where in a table of scores queries and keys are; a query of None: one query, the last."""

    query: int | None
    key: int
    first: int
    """Of the keys, the place of the first token; others are sinks."""


@dataclass
class ObservedAttention:
    """What was seen of attention in one pass."""

    lines: list[str] = field(default_factory=list)
    """The line of each softmax or its like, as often as it ran."""
    uniform: bool = False


class _Mode(TorchDispatchMode):
    def __init__(self, length: int, change: PatternChange | None) -> None:
        super().__init__()
        self.length, self.change, self.seen = length, change, ObservedAttention()
        self.first: dict[tuple[str, int], int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        if function is FUSED:
            return self.fused(*given, **named)
        if function not in SOFTMAX + POINTWISE + ALONG or not given[0].is_floating_point():
            return function(*given, **named)
        scores = given[0]
        axes = self.axes(scores, given[1] if function in SOFTMAX else None)
        if axes is None or (function in ALONG and _along(given, scores) != axes.key):
            return function(*given, **named)
        if function not in ALONG:
            self.seen.lines.append(source_line())
        if self.change is None:
            return function(*given, **named)
        if self.change != "no":
            given = (self.changed(scores, axes), *given[1:])
            return (ATEN.exp.default if function is ATEN.exp_.default else function)(
                *given, **named
            )
        made = function(*given, **named)
        return made if function in ALONG else torch.zeros_like(made)

    def axes(self, scores: Tensor, along: int | None) -> _Axes | None:
        """Which axes are queries and keys, where this is a table of scores."""
        n, shape = self.length, scores.shape
        sizes = range(n, n + SINKS + 1)
        if along is not None:
            key = along % max(scores.ndim, 1)
            if not shape or shape[key] not in sizes:
                return None
            others = [axis for axis in range(scores.ndim) if axis != key and shape[axis] == n]
            return _Axes(others[-1] if others else None, key, self.start(scores, others, key))
        for key in reversed(range(scores.ndim)):
            others = [axis for axis in range(key) if shape[axis] == n]
            if shape[key] in sizes and others:
                return _Axes(others[-1], key, self.start(scores, others, key))
        return None

    def start(self, scores: Tensor, others: list[int], key: int) -> int:
        """The key that is the first token: the first for which no future key has a weight."""
        sinks = scores.shape[key] - self.length
        if not sinks or not others:
            return sinks
        table = scores.movedim((others[-1], key), (-2, -1))
        for first in range(sinks + 1):
            part = table[..., first : first + self.length]
            if not (_weights(part) * _future(part)).any():
                return first
        return 0

    def changed(self, scores: Tensor, axes: _Axes) -> Tensor:
        """Scores that give equal weights over the causal mask, or all weight to the own position.

        Equal means equal over every key that is not in the future, also where the model's own
        weight is 0 by its mask or by underflow. A model that looks ahead keeps looking ahead.
        """
        n, size = self.length, scores.shape[axes.key]
        table = scores.movedim(axes.key, -1)
        if axes.query is None:
            own = torch.zeros(size, dtype=torch.bool)
            own[axes.first + n - 1 if size >= n else size - 1] = True
            past = torch.ones(size, dtype=torch.bool)
        else:
            query = axes.query - (axes.query > axes.key)
            table = table.movedim(query, -2)
            part = table[..., axes.first : axes.first + n]
            own = torch.zeros(n, size, dtype=torch.bool)
            own[:, axes.first : axes.first + n] = torch.eye(n, dtype=torch.bool)
            past = torch.ones(n, size, dtype=torch.bool)
            if not (_weights(part) * _future(part)).any():
                past[:, axes.first : axes.first + n] = ~_future(part)
        seen, keep = (own, table) if self.change == "own" else (past, torch.zeros_like(table))
        if self.change == "own":  # a masked own score would leave no weight at all
            keep = keep.clamp(min=-1e30) if keep.dtype in (torch.float32, torch.float64) else keep
        made = keep.masked_fill(~seen, -math.inf)
        if axes.query is not None:
            made = made.movedim(-2, axes.query - (axes.query > axes.key))
        return made.movedim(-1, axes.key)

    def fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
    ) -> Any:
        """torch's fused attention, by hand: (batch, heads, queries, width)."""
        count = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(count, 1) for x in (key, value))
        scores = query @ key.transpose(-1, -2) * (scale or query.shape[-1] ** -0.5)
        if is_causal:
            scores = scores.masked_fill(_future(scores), -math.inf)
        if attn_mask is not None:
            scores = scores + attn_mask
        axes = self.axes(scores, scores.ndim - 1)
        if axes is not None:
            self.seen.lines.append(source_line())
            if self.change in ("uniform", "own"):
                scores = self.changed(scores, axes)
        pattern = torch.softmax(scores, -1)
        if axes is not None and self.change == "no":
            pattern = torch.zeros_like(pattern)
        return pattern @ value, torch.logsumexp(scores, -1)


def _future(table: Tensor) -> Tensor:
    queries, keys = table.shape[-2:]
    return torch.ones(queries, keys, dtype=torch.bool).triu(1 + keys - queries)


def _weights(scores: Tensor) -> Tensor:
    """Whether a score may have a weight: masked ones are -inf, or some large negative number."""
    return scores > -1e4


def _along(given: Any, scores: Tensor) -> int | None:
    if len(given) < 2:
        return None
    axis = given[1][0] if isinstance(given[1], list | tuple) else given[1]
    return int(axis) % scores.ndim


@contextmanager
def attention(length: int, change: PatternChange | None = None) -> Iterator[ObservedAttention]:
    """Watch the attention of passes over texts of this length, and change it."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it fuses a whole layer into one operation
    try:
        with torch.no_grad(), _Mode(length, change) as mode:
            yield mode.seen
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def changed(
    call: Forward, tokens: Tensor, change: PatternChange | None
) -> tuple[Tensor, ObservedAttention]:
    """The logits of one pass with attention changed, and what was seen of it."""
    with attention(tokens.shape[-1], change) as seen:
        return call(tokens), seen
