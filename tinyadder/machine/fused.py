"""The layers in fewer and larger operations, for training: the same functions up to rounding.

One product for query, key and value, one for gate and up; torch's fused attention; rotary positions
as complex products. What the first layer's attention reads depends on token and position alone: it
is computed once for every pair of them and looked up. The last layer is computed where logits are
wanted. `use_fused` switches a model over. Decoding, verdicts and proofs use the plain layers
(transformer.py), whose operations are those that the proofs assume; tests/test_fused.py compares
values and gradients.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from tinyadder.machine.layers import ACTIVATIONS, softmax, softmax1

if TYPE_CHECKING:
    from tinyadder.machine.encoder import EncoderDecoder
    from tinyadder.machine.transformer import Block, FeedForward, MultiHeadAttention, Transformer


def use_fused(model: Transformer, fused: bool) -> None:
    """Let `model` compute this way, where it is given neither a cache nor a hook, or not."""
    model.fused = fused


def _rows(
    module: nn.Module, names: tuple[str, ...], x: Float[Tensor, "b t d"], paired: int = 0
) -> Tensor:
    """The projections of these names, one after another along the last axis; of the first `paired`
    of them the rows k and k + half of a head side by side.
    """
    weights = [getattr(module, name) for name in names]
    biases = [getattr(module, f"{name}_bias") for name in names]
    weights[:paired] = map(_in_pairs, weights[:paired])
    matrix = torch.cat([weight.flatten(0, -2) for weight in weights])
    if biases[0] is None:
        return functional.linear(x, matrix)
    biases[:paired] = (_in_pairs(bias[..., None]) for bias in biases[:paired])
    return functional.linear(x, matrix, torch.cat([bias.flatten() for bias in biases]))


def _in_pairs(weight: Float[Tensor, "h k d"]) -> Float[Tensor, "h k d"]:
    """Its rows in the order 0, half, 1, half + 1, ..., an odd last one where it is."""
    half = weight.shape[1] // 2
    pairs = weight[:, : 2 * half].unflatten(1, (2, half)).transpose(1, 2).flatten(1, 2)
    return pairs if 2 * half == weight.shape[1] else torch.cat([pairs, weight[:, 2 * half :]], 1)


@lru_cache(maxsize=256)
def _turns(
    first: int, count: int, rows: int, base: float, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "t 1 k 2"]:
    """cos and sin of every angle of `tinyadder.machine.layers.rotate`."""
    half = rows // 2
    places = torch.arange(first, first + count, dtype=torch.float64)
    angles = places[:, None] * base ** (-torch.arange(half, dtype=torch.float64) / max(half, 1))
    return torch.stack([angles.cos(), angles.sin()], -1)[:, None].to(device, dtype)


def rotated(x: Float[Tensor, "b t h k"], base: float, first: int = 0) -> Float[Tensor, "b t h k"]:
    """`tinyadder.machine.layers.rotate` from position `first` on, for axes in this order and rows
    that `_in_pairs` put side by side: one complex product. Scores do not see the rows' order.
    """
    rows = x.shape[-1]
    even = rows - rows % 2
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()  # no complex bfloat16
    pairs = wide[..., :even].unflatten(-1, (-1, 2))
    where = (first, x.shape[1], rows, base, wide.dtype, x.device)
    if torch.compiler.is_compiling():  # which knows neither complex numbers nor kept results
        cos, sin = _turns.__wrapped__(*where).unbind(-1)
        one, other = pairs.unbind(-1)
        turned = torch.stack([one * cos - other * sin, other * cos + one * sin], -1)
    else:
        pairs = pairs.contiguous() if any(n % 2 for n in pairs.stride()[:-1]) else pairs
        product = torch.view_as_complex(pairs) * torch.view_as_complex(_turns(*where))
        turned = torch.view_as_real(product)
    turned = turned.flatten(-2).to(x.dtype)
    return turned if even == rows else torch.cat([turned, x[..., even:]], -1)


@lru_cache(maxsize=256)
def _past(queries: int, keys: int, device: torch.device) -> Bool[Tensor, "q s"]:
    """True where a key at s is not after the query; the queries are at the last positions."""
    return torch.ones(keys, keys, dtype=torch.bool, device=device).tril()[keys - queries :]


def project(
    module: MultiHeadAttention,
    x: Float[Tensor, "b t d"],
    memory: Float[Tensor, "b s d"] | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of `x` from position `first` on; keys and values of it, or of `memory`."""
    options = module.options
    if options.positions == "waves":
        value = module.project("value", x).transpose(1, 2)
        return value[:, first:, :, :0], value[..., :0], value
    (heads, d_head, _), d_value = (
        cast(Tensor, module.query).shape,
        cast(Tensor, module.value).shape[1],
    )
    inner, names = heads * d_head, ("query", "key", "value")
    turn = options.positions == "rotary" and memory is None
    if memory is None and not first:
        both, value = _rows(module, names, x, 2 * turn).split((2 * inner, heads * d_value), -1)
        both = both.unflatten(-1, (2 * heads, d_head))
        both = rotated(both, options.rotary_base) if turn else both
        query, key = both.split(heads, 2)
    else:
        query = _rows(module, names[:1], x[:, first:], turn).unflatten(-1, (heads, d_head))
        rows = _rows(module, names[1:], x if memory is None else memory, turn)
        key, value = rows.split((inner, heads * d_value), -1)
        key = key.unflatten(-1, (heads, d_head))
        if turn:
            query = rotated(query, options.rotary_base, first)
            key = rotated(key, options.rotary_base)
    return query, key, value.unflatten(-1, (heads, d_value))


def attend(
    module: MultiHeadAttention,
    rows: tuple[Tensor, Tensor, Tensor],
    mask: Bool[Tensor, "b s"] | None = None,
) -> Float[Tensor, "b q d"]:
    """Attention of queries at the last positions, causal; or open, to the positions that `mask`
    allows.
    """
    options, (query, key, value) = module.options, (part.transpose(1, 2) for part in rows)
    queries, keys = query.shape[2], key.shape[2]
    if options.positions == "waves":  # the same weights for all texts
        scores = module.position_scores(queries, keys)
        pattern = softmax1(scores) if options.softmax == "softmax1" else softmax(scores)
        return torch.einsum("hqs,bhsv,hvd->bqd", pattern, value, module.wiring)
    bias: Tensor | None = None if mask is None else mask[:, None, None, :]
    if mask is None and (options.positions == "alibi" or options.softmax == "softmax1"):
        bias = module.position_scores(queries, keys)[None]
    elif mask is None and queries < keys:
        past = _past.__wrapped__ if torch.compiler.is_compiling() else _past
        bias = past(queries, keys, query.device)
    if options.softmax == "softmax1":  # a key 0 with value 0: exp(0) more in the denominator
        assert bias is not None, "softmax1 is causal here"
        key, value = (functional.pad(part, (0, 0, 1, 0)) for part in (key, value))
        bias = functional.pad(bias, (1, 0))
    mixed = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias,
        is_causal=bias is None,
        scale=None if options.scaled else 1.0,
    )
    return mixed.transpose(1, 2).flatten(2) @ module.wiring.flatten(0, 1)


def feed_forward(module: FeedForward, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
    """The MLP, with one product for gate and up."""
    activation = ACTIVATIONS[module.options.activation]
    if not module.options.gated:
        return activation(_rows(module, ("gate",), x)) @ module.down.T
    gate, up = _rows(module, ("gate", "up"), x).chunk(2, -1)
    return (activation(gate) * up) @ module.down.T


def looked_up(
    block: Block, table: Float[Tensor, "v t d"], tokens: Int[Tensor, "b t"]
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
    """The stream, and what the first layer's attention makes of it, for `tokens`.

    `table` is the stream of texts of one token each; it is used as that of a batch where it has
    fewer rows than this one.
    """
    count = table.shape[1]
    index = tokens * count + torch.arange(count, device=tokens.device)
    waves = block.attention is not None and block.attention.options.positions == "waves"
    if block.attention is None or waves or 2 * len(table) > len(tokens):
        return functional.embedding(index, table.flatten(0, 1)), None
    rows = project(block.attention, block.before(block.attention_norm, table))
    wide = torch.cat([table, *(part.flatten(2) for part in rows)], -1).flatten(0, 1)
    sizes = [table.shape[2], *(part.shape[2] * part.shape[3] for part in rows)]
    x, query, key, value = functional.embedding(index, wide).split(sizes, -1)
    heads = rows[0].shape[2]
    return x, tuple(part.unflatten(-1, (heads, -1)) for part in (query, key, value))  # type: ignore[return-value]


def through(
    block: Block,
    x: Float[Tensor, "b t d"],
    *,
    rows: tuple[Tensor, Tensor, Tensor] | None = None,
    mask: Bool[Tensor, "b s"] | None = None,
    first: int = 0,
    cross: tuple[MultiHeadAttention, nn.Module | None, Tensor, Tensor] | None = None,
) -> Float[Tensor, "b q d"]:
    """The stream after a layer, from position `first` on. `rows` are its queries, keys and values
    where they are known; `cross` is the attention to an encoded text, its norm, that text and its
    mask.
    """
    attention, last = block.attention, slice(first, None)
    if attention is not None:
        if rows is None:
            rows = project(attention, block.before(block.attention_norm, x), first=first)
        elif first:
            rows = (rows[0][:, last], *rows[1:])
        x = block.add(x[:, last], attend(attention, rows, mask), block.attention_norm)
    else:
        x = x[:, last]
    if cross is not None:
        module, norm, memory, seen = cross
        rows = project(module, block.before(norm, x), memory)
        x = block.add(x, attend(module, rows, seen), norm)
    if block.mlp is not None:
        x = block.add(x, feed_forward(block.mlp, block.before(block.mlp_norm, x)), block.mlp_norm)
    return x


def _table(model: Transformer, count: int) -> Float[Tensor, "v t d"]:
    """The stream before the first layer of the texts that repeat one token `count` times."""
    rows = model.embedding[:, None].expand(-1, count, -1)
    if model.config.options.positions in ("sinusoidal", "learned"):
        rows = rows + model.position_rows(0, count)
    return rows


def logits(model: Transformer, tokens: Int[Tensor, "b t"], first: int) -> Float[Tensor, "b q o"]:
    """Logits after every token from position `first` on."""
    layers = [*model.blocks] * model.config.options.repeat
    x, rows = looked_up(cast("Block", layers[0]), _table(model, tokens.shape[1]), tokens)
    for n, block in enumerate(layers):
        begin = first if n == len(layers) - 1 else 0
        x = through(cast("Block", block), x, rows=None if n else rows, first=begin)
    return model.read(x)


def encode(
    model: EncoderDecoder, prompts: Int[Tensor, "b s"], mask: Bool[Tensor, "b s"]
) -> Float[Tensor, "b s d"]:
    """The encoded prompts."""
    blocks = cast("list[Block]", [*model.encoder])
    x, rows = looked_up(blocks[0], _table(model, prompts.shape[1]), prompts)
    for n, block in enumerate(blocks):
        x = through(block, x, rows=None if n else rows, mask=mask)
    return x if model.encoder_norm is None else model.encoder_norm(x)


def decode(
    model: EncoderDecoder,
    tokens: Int[Tensor, "b t"],
    memory: Float[Tensor, "b s d"],
    mask: Bool[Tensor, "b s"],
) -> Float[Tensor, "b t d"]:
    """The stream after the decoder's layers."""
    blocks = cast("list[Block]", [*model.blocks])
    x, rows = looked_up(blocks[0], _table(model, tokens.shape[1]), tokens)
    for n, (block, cross) in enumerate(zip(blocks, model.cross, strict=True)):
        seen = (cross.attention, cross.norm, memory, mask)
        x = through(block, x, rows=None if n else rows, cross=seen)  # type: ignore[arg-type]
    return x
