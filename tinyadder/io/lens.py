"""A model as a `HookedTransformer` of TransformerLens (Nanda and Bloom 2022), the same function.

What that class has is used as it is; the rest is folded into weights:

- softmax1: an attention sink of logit 0, which adds 1 = exp 0 to every denominator;
- ALiBi, slope * (j - i): two more rows of queries and keys, (slope, -slope i) . (j, 1), which read
  the position from a learned table of positions;
- biases of gates and up projections, which the class does not have: a column that holds 1.

So the residual stream has two more columns after ours, `position` and `one`; names of activations
are the same, and so are their values in our columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tinyadder.errors import MissingExtra, TinyadderError
from tinyadder.machine.transformer import Block, Transformer

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

POSITION, ONE = -2, -1
"""The columns after ours."""


def missing_part(model: Transformer) -> str | None:
    """The part of a model that `HookedTransformer` cannot hold, in words; None where it can."""
    options = model.config.options
    if model.config.encoder:
        return "an encoder"
    if options.norm != "none":
        return f"{options.norm} norms (they would average over the two columns more)"
    if options.positions == "rotary":
        return "rotary positions beside other rows of queries and keys"
    return None


def hooked_transformer(model: Transformer, *, length: int) -> HookedTransformer:
    """`model` as a `HookedTransformer` for texts of at most `length` tokens, on the CPU.

    Its logits are those of the vocabulary: tokens that `model` has no logit for get the lowest
    number there is. Raises `TinyadderError` with the part that it cannot hold, and `MissingExtra`
    where TransformerLens is not installed or has no `HookedTransformer` with sinks (3.9 has).
    """
    if part := missing_part(model):
        raise TinyadderError(f"TransformerLens's HookedTransformer cannot hold {part}")
    try:
        from transformer_lens import HookedTransformer, HookedTransformerConfig

        config = HookedTransformerConfig(**_config(model, length))
    except (ImportError, TypeError):
        raise MissingExtra(
            "the bridge to TransformerLens needs: pip install 'tinyadder[lens]' (3.9 or later, "
            "below 4)"
        ) from None
    hooked = HookedTransformer(config, move_to_device=False)
    with torch.no_grad():
        for parameter in hooked.parameters():
            parameter.zero_()
        _fill(hooked, model, length)
    return hooked.eval()


def _config(model: Transformer, length: int) -> dict[str, Any]:
    config, options = model.config, model.config.options
    blocks = config.blocks
    return {
        "n_layers": len(blocks) * options.repeat,
        "d_model": config.width + 2,
        "n_ctx": length,
        "n_heads": max([block.heads for block in blocks] + [1]),
        "d_head": max([max(b.d_head + 2, b.d_value) for b in blocks if b.heads] + [1]),
        "d_mlp": max([block.hidden for block in blocks] + [1]),
        "d_vocab": len(config.vocabulary),
        "d_vocab_out": len(config.vocabulary),
        "act_fn": options.activation,
        "gated_mlp": True,
        "normalization_type": None,
        "positional_embedding_type": "standard",
        "use_attn_scale": False,
        "use_attention_sinks": options.softmax == "softmax1",
        "init_weights": False,
        "dtype": model.embedding.dtype,
        "device": "cpu",
        "default_prepend_bos": False,
    }


def _fill(hooked: Any, model: Transformer, length: int) -> None:
    config, width = model.config, model.config.width
    hooked.embed.W_E[:, :width] = model.embedding
    positions = hooked.pos_embed.W_pos
    positions[:, POSITION] = torch.arange(length)
    positions[:, ONE] = 1
    if config.options.positions in ("sinusoidal", "learned"):
        positions[:, :width] = model.position_rows(0, length)
    for target, block in zip(hooked.blocks, [*model.blocks] * config.options.repeat, strict=True):
        _fill_block(target, block, width)
    outputs = model.outputs
    sign = -1 if config.argmin else 1
    hooked.unembed.W_U[:width, outputs] = sign * model.unembed_matrix().T
    hooked.unembed.b_U[:] = torch.finfo(model.embedding.dtype).min / 4
    hooked.unembed.b_U[outputs] = (
        sign * model.unembedding_bias if config.unembedding_bias else torch.zeros(len(outputs))
    ).to(hooked.unembed.b_U)


def _fill_block(target: Any, block: Block, width: int) -> None:
    if block.attention is not None:
        attention: Any = block.attention
        into = target.attn
        heads, keys, values = (
            len(attention.slopes),
            attention.query.shape[1],
            attention.value.shape[1],
        )
        scale = keys**-0.5 if attention.options.scaled else 1.0
        for name, rows, factor in (("Q", "query", scale), ("K", "key", 1.0), ("V", "value", 1.0)):
            weight, bias = getattr(attention, rows), getattr(attention, f"{rows}_bias")
            count = weight.shape[1]
            getattr(into, f"W_{name}")[:heads, :width, :count] = factor * weight.transpose(1, 2)
            if bias is not None:
                getattr(into, f"b_{name}")[:heads, :count] = factor * bias
        into.W_O[:heads, :values, :width] = attention.wiring
        slopes: Tensor = attention.slopes
        into.b_Q[:heads, keys] = slopes  # slope * j
        into.W_K[:heads, POSITION, keys] = 1
        into.W_Q[:heads, POSITION, keys + 1] = -slopes  # - slope * i
        into.b_K[:heads, keys + 1] = 1
    if block.mlp is not None:
        mlp: Any = block.mlp
        into = target.mlp
        units = mlp.gate.shape[0]
        into.W_gate[:width, :units] = mlp.gate.T
        if mlp.gate_bias is not None:
            into.W_gate[ONE, :units] = mlp.gate_bias
        if mlp.options.gated:
            into.W_in[:width, :units] = mlp.up.T
            if mlp.up_bias is not None:
                into.W_in[ONE, :units] = mlp.up_bias
        else:
            into.W_in[ONE, :units] = 1
        into.W_out[:units, :width] = mlp.down.T
