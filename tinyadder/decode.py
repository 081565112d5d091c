"""Generate tokens with any `Transformer`: cached, batched, greedy or sampled. Knows no task and no model by name.

Models of the plain family are run by `tinyadder.inference`, others (a trained model with norms, say) by their own
forward pass with a key-value cache; both keep the keys and values of the text so far.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.inference import Inference, chunks, prepare
from tinyadder.transformer import Transformer


def choose(
    logits: Tensor, *, temperature: float = 0.0, top_k: int | None = None, random: torch.Generator | None = None
) -> Tensor:
    """The index of the chosen logit along the last axis: the first largest, or a sample.

    Samples come from softmax(logits / temperature); `top_k` keeps the k largest logits.
    Raises `TinyadderError` for a negative temperature or top_k < 1.
    """
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise TinyadderError(f"temperature={temperature}, top_k={top_k}; expected temperature >= 0 and top_k >= 1")
    if temperature == 0:
        return logits.max(-1).indices  # the first of equal ones, as argmax, and ten times faster when strided
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    weights = torch.softmax(logits / temperature, -1)
    return torch.multinomial(weights.reshape(-1, weights.shape[-1]), 1, generator=random).reshape(logits.shape[:-1])


class _Feed:
    """Logits after the last token of growing texts: prepared inference, cached forward, or the whole text again."""

    def __init__(self, model: Transformer, inference: Inference | None, total: int, batch: int, cache: bool) -> None:
        self.model, self.inference, self.cache = model, inference, cache
        self.past = model.new_past() if cache and not inference else None
        if inference:
            inference.restart(total, batch)

    def __call__(self, text: Int[Tensor, "b t"], new: int) -> Float[Tensor, "b o"]:
        if self.inference:
            return self.inference.extend(text[:, -new:].T.contiguous())[:, 0].T
        return self.model(text[:, -new:] if self.cache else text, past=self.past)[:, -1]


@torch.inference_mode()
def generate(
    model: Transformer,
    prompts: Int[Tensor, "b t"],
    *,
    steps: int,
    end: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    random: torch.Generator | None = None,
    cache: bool = True,
) -> Int[Tensor, "b n"]:
    """Decode up to `steps` tokens after each prompt, one forward pass a token, each fed back.

    Rows that emitted `end` are filled with it, and decoding stops once all have. `cache=False` runs the whole text
    again for every token through `Transformer.forward`. Greedy unless `temperature` is positive (`random` seeds it).
    """
    inference = prepare(model) if cache else None
    total, found = prompts.shape[1] + steps, []
    for part in chunks(inference, prompts, total):
        feed = _Feed(model, inference, total, len(part), cache)
        text, new, done = part, part.shape[1], torch.zeros(len(part), dtype=torch.bool, device=part.device)
        for _ in range(steps):
            logits = feed(text, new)
            token = model.outputs[choose(logits, temperature=temperature, top_k=top_k, random=random)]
            if end is not None:
                token = torch.where(done, end, token)
                done |= token == end
            text, new = torch.cat([text, token[:, None]], 1), 1
            if end is not None and bool(done.all()):
                break
        found.append(text[:, prompts.shape[1] :])
    longest = max((part.shape[1] for part in found), default=0)
    fill = 0 if end is None else end
    return torch.cat([torch.nn.functional.pad(part, (0, longest - part.shape[1]), value=fill) for part in found])


@torch.inference_mode()
def forced_logits(model: Transformer, texts: Int[Tensor, "b t"], start: int) -> Iterator[Float[Tensor, "b n o"]]:
    """Teacher-forced logits for the tokens at positions start..t-1, each given the text before it; chunk by chunk."""
    inference = prepare(model)
    for part in chunks(inference, texts, texts.shape[1]):
        if inference:
            inference.restart(texts.shape[1], len(part))
            yield inference.extend(part[:, :-1].T.contiguous(), texts.shape[1] - start).permute(2, 1, 0)
        else:
            yield model(part[:, :-1])[:, start - 1 :]


@torch.inference_mode()
def score(model: Transformer, texts: Int[Tensor, "b t"], start: int) -> Int[Tensor, "b n"]:
    """Teacher-forced: the token the model would choose at every position from `start` on, given the text before it.

    Equal to `texts[:, start:]` exactly when greedy decoding of `texts[:, :start]` gives the rest (by induction).
    """
    return torch.cat([model.outputs[choose(logits)] for logits in forced_logits(model, texts, start)])
