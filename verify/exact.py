"""The same network in real arithmetic: every weight exact, every operation an enclosure of 256
bits and more.

Tells a wrong algorithm from a rounding error, and is a second, independent way to every logit (no
torch in the arithmetic). Arb balls (python-flint) contain the real value; where two logits overlap
the precision is doubled. Axes: t position, d residual column, o output token.
"""

from __future__ import annotations

from collections.abc import Sequence

from flint import arb, ctx
from torch import Tensor, nn

from tinyadder.errors import TinyadderError
from tinyadder.machine.transformer import Block, FeedForward, MultiHeadAttention, Transformer

BITS = 256
MOST_BITS = 4096

Ball = arb
Balls = list[Ball]
"""One residual vector, or one row of results."""


class ExactMap:
    """Affine rows over a residual vector; zero weights are left out, others are held exactly."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.rows = [[(c, arb(w)) for c, w in enumerate(row) if w != 0] for row in weight.tolist()]
        self.bias = [arb(0)] * len(self.rows) if bias is None else [arb(b) for b in bias.tolist()]

    def __call__(self, x: Balls) -> Balls:
        return [
            sum((w * x[c] for c, w in row), start=bias)
            for row, bias in zip(self.rows, self.bias, strict=True)
        ]


class ExactTransformer:
    """A `Transformer` whose logits are enclosed, not rounded.

    Raises `TinyadderError` for a model that uses options of trained decoders (norms, softmax,
    rotary positions).
    """

    def __init__(self, model: Transformer) -> None:
        if not model.config.plain:
            raise TinyadderError(
                "exact arithmetic covers the machine of written programs; this model has other"
                " options"
            )
        self.vocabulary, self.outputs = model.config.vocabulary, model.config.outputs
        self.argmin = model.config.argmin
        self.embedding = [[arb(w) for w in row] for row in model.embedding.tolist()]
        self.blocks = [_layer(block) for block in model.blocks]
        self.readout = ExactMap(
            model.unembed_matrix(),
            model.unembedding_bias if model.config.unembedding_bias else None,
        )

    def logits(self, tokens: Sequence[int], first: int = 0, *, bits: int = BITS) -> list[Balls]:
        """Enclosures of the logits after each token from position `first` on, [t, o], with `bits`
        of precision.
        """
        with ctx.workprec(bits):
            stream = [list(self.embedding[token]) for token in tokens]
            for heads, units in self.blocks:
                if heads:
                    stream = _plus(stream, heads(stream))
                if units:
                    stream = _plus(stream, [units(x) for x in stream])
            read = [self.readout(x) for x in stream[first:]]
            return [[-logit for logit in row] for row in read] if self.argmin else read

    def choices(self, tokens: Sequence[int], first: int = 0) -> list[tuple[str | None, Balls]]:
        """After each token from `first` on: the token real arithmetic chooses, and the logits.

        The choice is None where no precision up to 4096 bits tells the largest logit from the next:
        a tie, or NaN.
        """
        bits = BITS
        while True:
            rows = self.logits(tokens, first, bits=bits)
            best = [largest(row) for row in rows]
            if bits >= MOST_BITS or all(i is not None for i in best):
                names = [None if i is None else self.vocabulary[self.outputs[i]] for i in best]
                return list(zip(names, rows, strict=True))
            bits *= 2


def largest(row: Balls) -> int | None:
    """The index of the ball that lies above all others; None where balls overlap or hold no
    number.
    """
    best = max(
        range(len(row)), key=lambda i: float(row[i].mid()) if row[i].is_finite() else -float("inf")
    )
    return best if all(row[best] > other for i, other in enumerate(row) if i != best) else None


def _plus(stream: list[Balls], added: list[Balls]) -> list[Balls]:
    return [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(stream, added, strict=True)]


def _layer(block: nn.Module) -> tuple[_Heads | None, _Units | None]:
    assert isinstance(block, Block)
    heads = None if block.attention is None else _Heads(block.attention)
    return heads, None if block.mlp is None else _Units(block.mlp)


class _Heads:
    def __init__(self, attention: MultiHeadAttention) -> None:
        self.heads = []
        for h, slope in enumerate(attention.slopes.tolist()):
            query, key, value = (
                ExactMap(getattr(attention, rows)[h], getattr(attention, f"{rows}_bias")[h])
                for rows in ("query", "key", "value")
            )
            self.heads.append(
                (query, key, value, arb(slope), ExactMap(attention.wiring[h].T, None))
            )

    def __call__(self, stream: list[Balls]) -> list[Balls]:
        added = [[arb(0)] * len(x) for x in stream]
        for query, key, value, slope, wiring in self.heads:
            keys, values = [key(x) for x in stream], [value(x) for x in stream]
            for i, x in enumerate(stream):
                row = query(x)
                scores = (_dot(row, keys[j]) + slope * (j - i) for j in range(i + 1))
                weights = [score.exp() for score in scores]
                total = sum(weights, start=arb(1))
                mixed = [
                    _dot(weights, column) / total for column in zip(*values[: i + 1], strict=True)
                ]
                added[i] = [a + b for a, b in zip(added[i], wiring(mixed), strict=True)]
        return added


def _dot(left: Sequence[Ball], right: Sequence[Ball]) -> Ball:
    return sum((a * b for a, b in zip(left, right, strict=True)), start=arb(0))


class _Units:
    def __init__(self, mlp: FeedForward) -> None:
        self.gate, self.up = (
            ExactMap(getattr(mlp, rows), getattr(mlp, f"{rows}_bias")) for rows in ("gate", "up")
        )
        self.down = ExactMap(mlp.down, None)

    def __call__(self, x: Balls) -> Balls:
        return self.down(
            [g.nonnegative_part() * u for g, u in zip(self.gate(x), self.up(x), strict=True)]
        )
