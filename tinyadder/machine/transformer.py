"""The machine: a causal decoder with softmax1, ALiBi and gated-ReLU MLPs over a residual stream in
float64.

    softmax1(s)_j = exp(s_j) / (1 + sum_k exp(s_k))           Miller 2023, "Attention is off by one"
    head_i    = sum_{j<=i} softmax1_j( q_i . k_j + slope * (j - i) ) v_j    Press et al. 2022, ALiBi
    MLP           = down( relu(gate x + b_g) * (up x + b_u) )                    Shazeer 2020, ReGLU
    logits        = U x + b

One class serves programs and trained decoders; they differ by where the weights come from, and
trained ones may set `Options` (tinyadder/machine/config.py), for all layers or one by one, whose
defaults are the formulas above. What tensors there are stands in tinyadder/machine/tensors.py.
Axes: b batch, t query position, s key position, d residual column, h head, k key row, v value row,
n hidden unit, o output token, c vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tinyadder.errors import TinyadderError
from tinyadder.machine import fused
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.layers import (
    ACTIVATIONS,
    circle,
    norm,
    rotate,
    sinusoids,
    softmax,
    softmax1,
    waves,
)

Hook = Callable[[str, Tensor], Tensor]
"""Called with the name of an activation and its value; what it returns is used instead."""


@dataclass
class KVCache:
    """Keys and values of the positions one attention has seen, for decoding token by token."""

    keys: Float[Tensor, "b h s k"] | None = None
    values: Float[Tensor, "b h s v"] | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)
        self.keys, self.values = keys, values
        return keys, values

    @property
    def length(self) -> int:
        """Positions seen so far."""
        return 0 if self.keys is None else self.keys.shape[2]


class MultiHeadAttention(nn.Module):
    """Causal softmax1 attention with one ALiBi slope per head; value rows are routed into columns
    by `wiring`.
    """

    slopes: Float[Tensor, " h"]
    wiring: Float[Tensor, "h v d"]

    def __init__(
        self, width: int, config: BlockConfig, dtype: torch.dtype, options: Options
    ) -> None:
        super().__init__()
        self.options = options
        heads, keys, values = config.heads, config.d_head, config.d_value
        if options.positions == "waves":
            self.waves = nn.Parameter(torch.zeros(heads, keys, dtype=dtype))
            keys = 0
        for name, rows in (("query", keys), ("key", keys), ("value", values)):
            setattr(self, name, nn.Parameter(torch.zeros(heads, rows, width, dtype=dtype)))
            bias = nn.Parameter(torch.zeros(heads, rows, dtype=dtype)) if options.biases else None
            setattr(self, f"{name}_bias", bias)
        self.register_buffer("slopes", torch.zeros(heads, dtype=dtype))
        wiring = torch.zeros(heads, values, width, dtype=dtype)
        if options.projected:
            self.wiring = nn.Parameter(wiring)
        else:
            self.register_buffer("wiring", wiring)

    def project(self, name: str, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b h t r"]:
        """The rows of `name` ("query", "key" or "value") of every head at every position."""
        weight, bias = getattr(self, name), getattr(self, f"{name}_bias")
        rows = torch.einsum("btd,hrd->bhtr", x, weight)
        return rows if bias is None else rows + bias[:, None, :]

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        past: KVCache | None = None,
        hook: Hook | None = None,
        name: str = "",
    ) -> Float[Tensor, "b t d"]:
        waves = self.options.positions == "waves"
        query, key, value = (self.project(rows, x) for rows in ("query", "key", "value"))
        if hook:
            query, key, value = (
                hook(f"{name}hook_{r}", v) for r, v in (("q", query), ("k", key), ("v", value))
            )
        if self.options.positions == "rotary":
            first = 0 if past is None else past.length
            query, key = (rotate(rows, first, self.options.rotary_base) for rows in (query, key))
        if past is not None:
            key, value = past.extend(key, value)
        scores = self.position_scores(query.shape[2], key.shape[2])
        if waves:  # alike for all texts
            scores = scores.expand(len(x) if hook else 1, -1, -1, -1)
        else:
            if self.options.scaled:
                query = query * query.shape[-1] ** -0.5
            scores = query @ key.transpose(-1, -2) + scores
        return self.mix(scores, value, hook, name)

    def mix(
        self,
        scores: Float[Tensor, "#b h t s"],
        value: Float[Tensor, "b h s v"],
        hook: Hook | None,
        name: str,
    ) -> Float[Tensor, "b t d"]:
        """Scores -> attention pattern -> mixed values, routed into columns."""
        scores = hook(f"{name}hook_attn_scores", scores) if hook else scores
        pattern = softmax1(scores) if self.options.softmax == "softmax1" else softmax(scores)
        pattern = hook(f"{name}hook_pattern", pattern) if hook else pattern
        mixed = pattern @ value
        mixed = hook(f"{name}hook_z", mixed) if hook else mixed
        return torch.einsum("bhtv,hvd->btd", mixed, self.wiring)

    def position_scores(self, queries: int, keys: int) -> Float[Tensor, "h t s"]:
        """slope * (j - i), or what the waves say of i - j, for the last `queries` of `keys`
        positions; -inf where j lies in the future of i.
        """
        i = torch.arange(keys - queries, keys, device=self.slopes.device)[:, None]
        j = torch.arange(keys, device=self.slopes.device)
        if self.options.positions == "waves":
            scores = waves(self.waves, keys, self.options.rotary_base)[:, (i - j).clamp(min=0)]
        else:
            scores = self.slopes[:, None, None] * (j - i)
        return scores.masked_fill(j > i, -torch.inf)


class FeedForward(nn.Module):
    """Gated-ReLU units: down( relu(gate x + gate_bias) * (up x + up_bias) )."""

    def __init__(self, width: int, hidden: int, dtype: torch.dtype, options: Options) -> None:
        super().__init__()
        self.options = options
        for name in ("gate", "up") if options.gated else ("gate",):
            setattr(self, name, nn.Parameter(torch.zeros(hidden, width, dtype=dtype)))
            bias = nn.Parameter(torch.zeros(hidden, dtype=dtype)) if options.biases else None
            setattr(self, f"{name}_bias", bias)
        self.down = nn.Parameter(torch.zeros(width, hidden, dtype=dtype))

    def forward(
        self, x: Float[Tensor, "b t d"], hook: Hook | None = None, name: str = ""
    ) -> Float[Tensor, "b t d"]:
        gate = self.project("gate", x)
        gate = hook(f"{name}hook_pre", gate) if hook else gate
        units = ACTIVATIONS[self.options.activation](gate)
        if self.options.gated:
            units = units * self.project("up", x)
        units = hook(f"{name}hook_post", units) if hook else units
        return units @ self.down.T

    def project(self, name: str, x: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead n"]:
        """The pre-activations of `name` ("gate" or "up")."""
        rows, bias = x @ getattr(self, name).T, getattr(self, f"{name}_bias")
        return rows if bias is None else rows + bias


class Block(nn.Module):
    """x + attention(x), then x + MLP(x); either may be absent. Norms: x + f(norm(x)) (pre), norm(x
    + f(x)) (post).
    """

    def __init__(
        self, width: int, config: BlockConfig, dtype: torch.dtype, options: Options
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, config, dtype, options) if config.heads else None
        self.mlp = FeedForward(width, config.hidden, dtype, options) if config.hidden else None
        self.attention_norm = norm(options, width, dtype) if config.heads else None
        self.mlp_norm = norm(options, width, dtype) if config.hidden else None
        self.post = options.norm_place == "post"
        self.dropout = nn.Dropout(options.dropout) if options.dropout else None

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        past: KVCache | None = None,
        hook: Hook | None = None,
        name: str = "",
    ) -> Float[Tensor, "b t d"]:
        x = hook(f"{name}hook_resid_pre", x) if hook else x
        if self.attention is not None:
            added = self.attention(self.before(self.attention_norm, x), past, hook, f"{name}attn.")
            x = self.add(
                x, hook(f"{name}hook_attn_out", added) if hook else added, self.attention_norm
            )
        x = hook(f"{name}hook_resid_mid", x) if hook else x
        if self.mlp is not None:
            added = self.mlp(self.before(self.mlp_norm, x), hook, f"{name}mlp.")
            x = self.add(x, hook(f"{name}hook_mlp_out", added) if hook else added, self.mlp_norm)
        return hook(f"{name}hook_resid_post", x) if hook else x

    def before(self, norm: nn.Module | None, x: Tensor) -> Tensor:
        """What a sublayer reads: the stream, normed first if norms come before."""
        return x if norm is None or self.post else norm(x)

    def add(self, x: Tensor, added: Tensor, norm: nn.Module | None) -> Tensor:
        """The stream after a sublayer: the sum, normed if norms come after."""
        x = x + (self.dropout(added) if self.dropout is not None else added)
        return norm(x) if norm is not None and self.post else x


class Tie(nn.Module):
    """A parametrization: some entries of a dense parameter are read from the vector of shared
    weights.
    """

    index: Int[Tensor, " n"]
    source: Int[Tensor, " n"]

    def __init__(self, shared: nn.Parameter, index: list[int], source: list[int]) -> None:
        super().__init__()
        self.shared = shared
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.register_buffer("source", torch.tensor(source), persistent=False)

    def forward(self, dense: Tensor) -> Tensor:
        return (
            dense.reshape(-1)
            .index_put((self.index,), self.shared[self.source])
            .reshape(dense.shape)
        )


@dataclass(frozen=True)
class Derived:
    """Which entries of the tensors the formulas of a program computed, and from which scalars.

    It says how weights came about and is no part of the model: what is computed with them, and the
    model's identity, do not depend on it.
    """

    columns: tuple[tuple[str, tuple[int, ...], str], ...] = ()
    """(plain name of a tensor, flat indices for d = 0, 1, .., the formula as an expression over
    `d`, `shared[k]` and `scalars[k]`)."""
    scalars: tuple[float, ...] = ()
    """Those that are not among the model's shared weights."""

    def entries(self, name: str) -> set[int]:
        """The flat indices of a tensor that are computed."""
        return {index for tensor, indices, _ in self.columns if tensor == name for index in indices}


class Transformer(nn.Module):
    """A causal decoder: embedding, blocks, unembedding. `Transformer(config)` has all its weights
    zero.
    """

    outputs: Int[Tensor, " o"]
    places: Int[Tensor, " c"]
    """Where on the circle each token lies."""
    readout_wiring: Float[Tensor, "o d"]

    def __init__(self, config: Config, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.config, self.fused = config, False
        self.derived = Derived()
        width, outputs = config.width, len(config.outputs)
        options = config.options
        if options.embedding == "circle":
            self.circle = nn.Parameter(torch.zeros(3, dtype=dtype))
            places = [0] * len(config.vocabulary)
            for d, token in enumerate(config.outputs):
                places[token] = d
            self.register_buffer("places", torch.tensor(places), persistent=False)
        else:
            self.embedding = nn.Parameter(torch.zeros(len(config.vocabulary), width, dtype=dtype))
        if options.positions == "learned":
            self.positions = nn.Parameter(torch.zeros(options.context, width, dtype=dtype))
        self.blocks = nn.ModuleList(
            Block(width, block, dtype, config.options_of(block)) for block in config.blocks
        )
        self.final_norm = norm(options, width, dtype) if options.norm_place == "pre" else None
        if config.unembedding:
            self.unembedding = nn.Parameter(torch.zeros(outputs, width, dtype=dtype))
        if config.unembedding_bias:
            self.unembedding_bias = nn.Parameter(torch.zeros(outputs, dtype=dtype))
        if config.readout_wiring:
            self.register_buffer("readout_wiring", torch.zeros(outputs, width, dtype=dtype))
        self.register_buffer("outputs", torch.tensor(config.outputs), persistent=False)
        if config.shared:
            self.shared = nn.Parameter(torch.zeros(config.shared, dtype=dtype))
            self._tie()

    def __getattr__(self, name: str) -> Any:
        if name == "embedding" and "circle" in self._parameters:
            return circle(self.circle, self.places, self.config.width)
        return super().__getattr__(name)

    def _tie(self) -> None:
        for name in dict.fromkeys(name for name, _, _ in self.config.ties):
            index = [i for n, i, _ in self.config.ties if n == name]
            source = [s for n, _, s in self.config.ties if n == name]
            path, _, leaf = name.rpartition(".")
            module = self.get_submodule(path)
            parametrize.register_parametrization(
                module, leaf, Tie(self.shared, index, source), unsafe=True
            )

    def unembed_matrix(self) -> Float[Tensor, "o d"]:
        """The readout as one matrix: stored rows, tied embedding rows and wiring, whichever the
        model has.
        """
        parts: list[Tensor] = [self.unembedding] if self.config.unembedding else []
        parts += [self.embedding[self.outputs]] if self.config.tied else []
        parts += [self.readout_wiring] if self.config.readout_wiring else []
        matrix = parts[0]
        for part in parts[1:]:
            matrix = matrix + part
        return matrix

    def read(self, x: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead o"]:
        """Logits of the output tokens from the residual stream; the next token is the argmax."""
        x = x if self.final_norm is None else self.final_norm(x)
        readout = x @ self.unembed_matrix().T
        if self.config.unembedding_bias:
            readout = readout + self.unembedding_bias
        return -readout if self.config.argmin else readout

    def forward(
        self,
        tokens: Int[Tensor, "b t"],
        *,
        past: list[KVCache] | None = None,
        hook: Hook | None = None,
        first: int = 0,
    ) -> Float[Tensor, "b q o"]:
        """Logits after every token from position `first` on. `past` (one entry a layer,
        `new_past()`) continues an earlier call in place.

        `hook(name, value)` sees every activation under its TransformerLens name
        (`blocks.0.attn.hook_pattern`) and returns the value to go on with.
        """
        if self.fused and past is None and hook is None:
            return fused.logits(self, tokens, first)
        x = nn.functional.embedding(
            tokens, self.embedding
        )  # unlike an index, refuses a negative token
        x = hook("hook_embed", x) if hook else x
        if self.config.options.positions in ("sinusoidal", "learned"):
            x = x + self.position_rows(past[0].length if past else 0, tokens.shape[1])
        for layer, block in enumerate([*self.blocks] * self.config.options.repeat):
            x = block(x, past[layer] if past is not None else None, hook, f"blocks.{layer}.")
        return self.read(x[:, first:] if first else x)

    def position_rows(self, first: int, count: int) -> Float[Tensor, "t d"]:
        """What the table of positions adds to the stream at `count` positions from `first` on."""
        if self.config.options.positions == "learned":
            if first + count > len(self.positions):
                raise TinyadderError(
                    f"a text of {first + count} tokens; this model learned {len(self.positions)}"
                    " positions"
                )
            return self.positions[first : first + count]
        places = torch.arange(first, first + count, device=self.outputs.device)
        return sinusoids(places, self.config.width, self.embedding.dtype)

    def new_past(self) -> list[KVCache]:
        """An empty key-value cache, one entry per layer."""
        return [KVCache() for _ in range(len(self.blocks) * self.config.options.repeat)]
