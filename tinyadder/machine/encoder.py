"""The encoder-decoder of "Attention is all you need" (Vaswani et al. 2017), from the parts of the
decoder.

The encoder reads the prompt, every position seeing all of it; the decoder writes the answer, each
of its layers also attending to what the encoder made of the prompt. It is used like a
`Transformer`: the text is prompt and answer, the prompt ends with the token `Config.separator`, and
that token is the first one the decoder reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tinyadder.errors import TinyadderError
from tinyadder.machine import fused
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.layers import norm, rotate
from tinyadder.machine.transformer import (
    Block,
    FeedForward,
    Hook,
    KVCache,
    MultiHeadAttention,
    Transformer,
)


class OpenAttention(MultiHeadAttention):
    """Attention without a causal mask: every query sees all keys that `mask` allows, of its own
    text or another's.
    """

    def attend(
        self,
        x: Float[Tensor, "b t d"],
        memory: Float[Tensor, "b s d"],
        mask: Bool[Tensor, "b s"],
        hook: Hook | None = None,
        name: str = "",
    ) -> Float[Tensor, "b t d"]:
        """Queries from `x`, keys and values from `memory`."""
        query, key, value = (
            self.project("query", x),
            self.project("key", memory),
            self.project("value", memory),
        )
        if self.options.positions == "rotary" and x is memory:
            query, key = (rotate(rows, 0, self.options.rotary_base) for rows in (query, key))
        if self.options.scaled:
            query = query * query.shape[-1] ** -0.5
        scores = (query @ key.transpose(-1, -2)).masked_fill(~mask[:, None, None, :], -torch.inf)
        return self.mix(scores, value, hook, name)


class EncoderBlock(Block):
    """A layer that sees the whole text: the decoder's layer with open attention."""

    attention: OpenAttention
    mlp: FeedForward

    def __init__(
        self, width: int, config: BlockConfig, dtype: torch.dtype, options: Options
    ) -> None:
        super().__init__(width, config, dtype, options)
        self.attention = OpenAttention(width, config, dtype, options)

    def encode(
        self, x: Float[Tensor, "b s d"], mask: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b s d"]:
        seen = self.before(self.attention_norm, x)
        x = self.add(x, self.attention.attend(seen, seen, mask), self.attention_norm)
        return self.add(x, self.mlp(self.before(self.mlp_norm, x)), self.mlp_norm)


class CrossAttention(nn.Module):
    """Attention from the answer to the encoded prompt, with its norm."""

    def __init__(
        self, width: int, config: BlockConfig, dtype: torch.dtype, options: Options
    ) -> None:
        super().__init__()
        self.attention = OpenAttention(width, config, dtype, options)
        self.norm = norm(options, width, dtype)


@dataclass
class Memory(KVCache):
    """What the encoder made of the prompts, kept beside the first layer's keys and values while
    decoding.
    """

    memory: Tensor | None = field(default=None)
    mask: Tensor | None = field(default=None)


class EncoderDecoder(Transformer):
    """`Transformer` with an encoder of `config.encoder` layers; options are shared by both towers.

    Raises `TinyadderError` for shared layers (`repeat`) and for ALiBi and waves, which need a
    causal text.
    """

    blocks: nn.ModuleList

    def __init__(self, config: Config, dtype: torch.dtype = torch.float64) -> None:
        options = config.options
        for own in map(config.options_of, (*config.blocks, *config.encoder)):
            if own.repeat != 1 or own.positions in ("alibi", "waves") or own.softmax != "softmax":
                raise TinyadderError(
                    f"an encoder-decoder with repeat={own.repeat}, positions='{own.positions}',"
                    f" softmax='{own.softmax}'; expected repeat=1, softmax='softmax' and other"
                    " positions than ALiBi and waves"
                )
        super().__init__(config, dtype)
        width = config.width
        self.encoder = nn.ModuleList(
            EncoderBlock(width, block, dtype, config.options_of(block)) for block in config.encoder
        )
        self.cross = nn.ModuleList(
            CrossAttention(width, block, dtype, replace(config.options_of(block), positions="none"))
            for block in config.blocks
        )
        self.encoder_norm = norm(options, width, dtype) if options.norm_place == "pre" else None

    def embed(self, tokens: Int[Tensor, "b t"], first: int) -> Float[Tensor, "b t d"]:
        """Embeddings with their positions, counted from `first`; each tower counts its own."""
        x = nn.functional.embedding(tokens, self.embedding)
        if self.config.options.positions in ("sinusoidal", "learned"):
            x = x + self.position_rows(first, tokens.shape[1])
        return x

    def encode(
        self, prompts: Int[Tensor, "b s"], mask: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b s d"]:
        """The encoded prompts; `mask` is False on padding."""
        if self.fused:
            return fused.encode(self, prompts, mask)
        x = self.embed(prompts, 0)
        for block in self.encoder:
            assert isinstance(block, EncoderBlock)
            x = block.encode(x, mask)
        return x if self.encoder_norm is None else self.encoder_norm(x)

    def forward(
        self,
        tokens: Int[Tensor, "b t"],
        *,
        past: list[KVCache] | None = None,
        hook: Hook | None = None,
        first: int = 0,
    ) -> Float[Tensor, "b q o"]:
        """Logits after every token from position `first` on; those inside the prompt are 0, since
        nothing is predicted there.

        A row of `tokens` is a prompt up to its first separator, then the answer so far; prompts may
        differ in length.
        """
        kept = past[0] if past else None
        if isinstance(kept, Memory) and kept.memory is not None and kept.mask is not None:
            return self.read(self._decode(tokens, kept.memory, kept.mask, past, hook))[:, first:]
        is_end = tokens == self.config.separator
        if not bool(is_end.any(1).all()):
            raise TinyadderError(
                "a prompt without its last token; the encoder cannot tell prompt from answer"
            )
        length = is_end.int().argmax(1) + 1
        source = int(length.max())
        at = torch.arange(source, device=tokens.device)
        mask = at < length[:, None]
        memory = self.encode(tokens[:, :source].masked_fill(~mask, 0), mask)
        if isinstance(kept, Memory):
            kept.memory, kept.mask = memory, mask
        # The decoder's texts begin with the separator: every row is shifted so that it stands
        # first.
        steps = tokens.shape[1] - int(length.min()) + 1
        index = length[:, None] - 1 + torch.arange(steps, device=tokens.device)
        answer = tokens.gather(1, index.clamp(max=tokens.shape[1] - 1))
        logits = self.read(self._decode(answer, memory, mask, past, hook))
        place = index.clamp(max=tokens.shape[1])[..., None].expand_as(logits)
        spread = logits.new_zeros(len(tokens), tokens.shape[1] + 1, logits.shape[2])
        return spread.scatter(1, place, logits)[:, first:-1]

    def _decode(
        self,
        tokens: Tensor,
        memory: Tensor,
        mask: Tensor,
        past: list[KVCache] | None,
        hook: Hook | None,
    ) -> Float[Tensor, "b t d"]:
        if self.fused and past is None and hook is None:
            return fused.decode(self, tokens, memory, mask)
        x = self.embed(tokens, past[0].length if past else 0)
        for layer, (block, cross) in enumerate(zip(self.blocks, self.cross, strict=True)):
            assert isinstance(block, Block) and isinstance(cross, CrossAttention)
            assert block.attention is not None and block.mlp is not None
            name = f"blocks.{layer}."
            seen = block.before(block.attention_norm, x)
            added = block.attention(
                seen, past[layer] if past is not None else None, hook, f"{name}attn."
            )
            x = block.add(x, added, block.attention_norm)
            x = block.add(
                x,
                cross.attention.attend(
                    block.before(cross.norm, x), memory, mask, hook, f"{name}cross."
                ),
                cross.norm,
            )
            x = block.add(
                x, block.mlp(block.before(block.mlp_norm, x), hook, f"{name}mlp."), block.mlp_norm
            )
        return x

    def new_past(self) -> list[KVCache]:
        """An empty cache; its first entry also keeps the encoded prompts."""
        return [Memory(), *(KVCache() for _ in self.blocks[1:])]


def empty_model(config: Config, dtype: torch.dtype = torch.float64) -> Transformer:
    """A model of that architecture with all its weights zero."""
    return (EncoderDecoder if config.encoder else Transformer)(config, dtype)
