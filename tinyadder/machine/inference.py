"""The forward pass laid out for speed: batch last, only the columns and positions that matter, keys
and values kept.

`Inference(model)` reads the structure of a `Transformer` from its weights, whatever program or
training wrote them:

- a column that nothing has written yet is zero and is left out of every product;
- rows that read one column each become a scaled copy, other rows a product over the columns they
  use;
- a head whose queries and keys read no column has one attention pattern for the whole batch:
  attention is then a matrix product along the sequence;
- the last layer is evaluated only at the positions whose logits are asked for.

It computes the same function as `Transformer.forward` with sums in another order. Axes: t positions
of one call, s positions seen so far, b batch, r rows, o output tokens; a plane is one column at t
positions, [t, b].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tinyadder.machine.transformer import (
    Block,
    FeedForward,
    MultiHeadAttention,
    Transformer,
    softmax1,
)


class AffineMap:
    """Affine rows over the columns in `known`; evaluates to [r, t, b], or to [r, 1, 1] where no row
    reads a column.
    """

    def __init__(
        self, weight: Float[Tensor, "r d"], bias: Float[Tensor, " r"] | None, known: set[int]
    ) -> None:
        used = [c for c in sorted(known) if bool((weight[:, c] != 0).any())]
        self.columns = used
        self.weight = weight[:, used].contiguous()
        self.bias = None if bias is None or not bool((bias != 0).any()) else bias[:, None, None]
        self.rows = len(weight)
        reads = self.weight != 0
        single = bool(used) and bool((reads.sum(1) == 1).all())
        self.gather = [used[int(i)] for i in reads.int().argmax(1)] if single else None
        self.scale = self.weight[reads][:, None, None] if single else None
        if self.scale is not None and bool((self.scale == 1).all()):
            self.scale = None

    @property
    def constant(self) -> bool:
        """No row reads a column."""
        return not self.columns

    def __call__(self, x: Float[Tensor, "d t b"]) -> Tensor:
        if self.constant:
            return self.weight.new_zeros(self.rows, 1, 1) if self.bias is None else self.bias
        if self.gather is not None:
            value = pick(x, self.gather)
            value = value if self.scale is None else value * self.scale
        else:
            planes = pick(x, self.columns)
            value = (self.weight @ planes.reshape(len(self.columns), -1)).view(
                self.rows, *x.shape[1:]
            )
        return value if self.bias is None else value + self.bias


def pick(x: Float[Tensor, "d t b"], columns: list[int]) -> Tensor:
    """The planes of `columns`: a view where they are consecutive."""
    first = columns[0]
    if columns == list(range(first, first + len(columns))):
        return x[first : first + len(columns)]
    return x[columns]


class Writes:
    """Adds rows to columns through a matrix [d, r]; a column written for the first time is
    assigned.
    """

    def __init__(self, matrix: Float[Tensor, "d r"], known: set[int]) -> None:
        self.columns = [c for c in range(len(matrix)) if bool((matrix[c] != 0).any())]
        self.rows = AffineMap(matrix[self.columns], None, set(range(matrix.shape[1])))
        self.fresh = not known & set(self.columns)
        self.old = sorted(known & set(self.columns))

    def __call__(self, x: Float[Tensor, "d t b"], values: Float[Tensor, "r _ _"]) -> None:
        added = self.rows(values)
        if self.fresh:
            x[self.columns] = added
        else:
            for row, column in enumerate(self.columns):
                if column in self.old:
                    x[column] += added[row]
                else:
                    x[column] = added[row]


class Heads:
    """One attention with what it remembers of the texts so far."""

    def __init__(self, attention: MultiHeadAttention, known: set[int]) -> None:
        self.attention = attention
        self.heads: list[tuple[AffineMap, AffineMap, AffineMap]] = []
        for h in range(len(attention.slopes)):
            query, key, value = (
                AffineMap(getattr(attention, name)[h], getattr(attention, f"{name}_bias")[h], known)
                for name in ("query", "key", "value")
            )
            self.heads.append((query, key, value))
        self.writes = Writes(attention.wiring.flatten(0, 1).T, known)
        self.alibi = torch.empty(0)
        self.patterns: dict[int, Tensor] = {}
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def restart(self, total: int, batch: int) -> None:
        """Forget the texts; make room for `batch` of `total` tokens. What depends on positions
        alone is kept.
        """
        if self.alibi.shape[-1] != total:
            self.alibi = self.attention.position_scores(total, total)
            for h, (query, key, _) in enumerate(self.heads):
                if query.constant and key.constant:
                    score = (query(self.alibi) * key(self.alibi)).sum(0)
                    self.patterns[h] = softmax1(score + self.alibi[h])
        for h, (_, key, value) in enumerate(self.heads):
            self.values[h] = self.alibi.new_empty(value.rows, total, batch)
            if h not in self.patterns:
                self.keys[h] = self.alibi.new_empty(key.rows, total, batch)

    def __call__(
        self, x: Float[Tensor, "d t b"], seen: int, queries: int
    ) -> Float[Tensor, "r q b"]:
        """Values of the heads at the last `queries` positions; all positions of `x` are
        remembered.
        """
        now = seen + x.shape[1]
        mixed = []
        for h, (query, key, value) in enumerate(self.heads):
            self.values[h][:, seen:now] = value(x)
            values = self.values[h][:, :now]
            if h in self.patterns:
                mixed.append(self.patterns[h][now - queries : now, :now] @ values)
            else:
                self.keys[h][:, seen:now] = key(x)
                alibi = self.alibi[h][now - queries : now, :, None]
                mixed.append(attend(query(x[:, -queries:]), self.keys[h][:, :now], alibi, values))
        return torch.cat(mixed) if len(mixed) > 1 else mixed[0]


def attend(
    query: Float[Tensor, "k _ _"],
    key: Float[Tensor, "k s b"],
    alibi: Float[Tensor, "t total 1"],
    values: Float[Tensor, "r s b"],
) -> Float[Tensor, "r t b"]:
    """sum_s softmax1_s(query . key + alibi) values_s for the last t of s positions.

    One query position at a time: no work on the future, and arrays small enough for the cache of a
    processor.
    """
    queries, seen = alibi.shape[0], key.shape[1]
    mixed = values.new_empty(len(values), queries, values.shape[2])
    for t in range(queries):
        past = seen - queries + 1 + t
        weights = key[0, :past] * query[0, min(t, query.shape[1] - 1)]
        for row in range(1, len(key)):
            weights += key[row, :past] * query[row, min(t, query.shape[1] - 1)]
        weights += alibi[t, :past]
        highest = weights.amax(0).clamp_(min=0)
        weights.sub_(highest).exp_()
        weights /= weights.sum(0).add_(highest.neg_().exp_())
        for r in range(len(values)):
            torch.sum(weights * values[r, :past], 0, out=mixed[r, t])
    return mixed


@dataclass
class PreparedBlock:
    """One block with its structure."""

    heads: Heads | None
    gate: AffineMap | None
    up: AffineMap | None
    down: Writes | None

    @classmethod
    def of(cls, block: Block, known: set[int]) -> PreparedBlock:
        """The structure of `block` when the columns in `known` are written; adds those it
        writes.
        """
        heads, gate, up, down = None, None, None, None
        if isinstance(block.attention, MultiHeadAttention):
            heads = Heads(block.attention, known)
            known |= set(heads.writes.columns)
        if isinstance(block.mlp, FeedForward):
            gate, up = (
                AffineMap(getattr(block.mlp, name), getattr(block.mlp, f"{name}_bias"), known)
                for name in ("gate", "up")
            )
            down = Writes(block.mlp.down, known)
            known |= set(down.columns)
        return cls(heads, gate, up, down)

    def __call__(
        self, x: Float[Tensor, "d t b"], seen: int, queries: int
    ) -> Float[Tensor, "d q b"]:
        if self.heads:
            added = self.heads(x, seen, queries)
            x = x[:, -queries:]
            self.heads.writes(x, added)
        else:
            x = x[:, -queries:]
        if self.gate and self.up and self.down:
            self.down(x, self.gate(x).relu() * self.up(x))
        return x


class Inference:
    """A `Transformer` prepared for decoding; holds the keys and values of one batch of texts at a
    time.

    The weights are read when it is made: make a new one after changing them.
    """

    def __init__(self, model: Transformer) -> None:
        self.model, self.seen, self.width = model, 0, model.config.width
        embedding = model.embedding
        written = (embedding != 0).any(0).tolist()
        known = {column for column, nonzero in enumerate(written) if nonzero} or {0}
        self.embedded = [(column, embedding[:, column].contiguous()) for column in sorted(known)]
        self.layers = [
            PreparedBlock.of(block, known) for block in model.blocks if isinstance(block, Block)
        ]
        bias = model.unembedding_bias if model.config.unembedding_bias else None
        sign = -1 if model.config.argmin else 1
        self.readout = AffineMap(
            sign * model.unembed_matrix(), None if bias is None else sign * bias, known
        )

    def restart(self, total: int, batch: int) -> None:
        """Forget the texts; make room for `batch` texts of `total` tokens."""
        self.seen = 0
        for layer in self.layers:
            if layer.heads:
                layer.heads.restart(total, batch)

    def extend(self, tokens: Int[Tensor, "t b"], wanted: int = 1) -> Float[Tensor, "o q b"]:
        """Logits at the last `wanted` positions after appending `tokens` to the texts."""
        steps, batch = tokens.shape
        x = self.embedded[0][1].new_empty(self.width, steps, batch)
        for column, table in self.embedded:
            torch.index_select(table, 0, tokens.reshape(-1), out=x[column].view(-1))
        for layer in self.layers[:-1]:
            x = layer(x, self.seen, steps)
        if self.layers:
            x = self.layers[-1](x, self.seen, wanted)
        self.seen += steps
        return self.readout(x[:, -wanted:]).expand(-1, wanted, batch)

    def chunk(self, total: int) -> int:
        """Texts of `total` tokens to run at once: few enough that the arrays stay in the cache of a
        processor.
        """
        return max(1, 2**18 // total) if self.model.embedding.device.type == "cpu" else 65536


def prepare(model: Transformer) -> Inference | None:
    """An `Inference` for a model of the plain family, None where options or hooks need its own
    forward.
    """
    hooked = model._forward_pre_hooks or model._forward_hooks
    return Inference(model) if model.config.plain and not hooked else None
