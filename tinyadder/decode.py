"""Generate tokens with any `Transformer`: cached, batched, greedy or sampled. Knows no task and no model by name."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.transformer import Transformer


def choose(
    logits: Tensor, *, temperature: float = 0.0, top_k: int | None = None, random: torch.Generator | None = None
) -> Tensor:
    """The index of the chosen logit along the last axis: the first largest, or a sample of softmax(logits / temperature).

    `top_k` keeps the k largest logits. Raises `TinyadderError` for a negative temperature or top_k < 1.
    """
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise TinyadderError(f"temperature={temperature}, top_k={top_k}; expected temperature >= 0 and top_k >= 1")
    if temperature == 0:
        return logits.argmax(-1)
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    weights = torch.softmax(logits / temperature, -1)
    return torch.multinomial(weights.reshape(-1, weights.shape[-1]), 1, generator=random).reshape(logits.shape[:-1])


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
    again for every token. Greedy unless `temperature` is positive (`random` seeds it).
    """
    past = model.new_past() if cache else None
    text, feed, done = prompts, prompts, torch.zeros(len(prompts), dtype=torch.bool, device=prompts.device)
    for _ in range(steps):
        logits = model(feed if cache else text, past=past)[:, -1]
        token = model.outputs[choose(logits, temperature=temperature, top_k=top_k, random=random)]
        if end is not None:
            token = torch.where(done, end, token)
            done = done | (token == end)
        feed = token[:, None]
        text = torch.cat([text, feed], 1)
        if end is not None and bool(done.all()):
            break
    return text[:, prompts.shape[1] :]


@torch.inference_mode()
def score(model: Transformer, texts: Int[Tensor, "b t"], start: int) -> Int[Tensor, "b n"]:
    """Teacher-forced: the token the model would choose at every position from `start` on, given the text before it.

    Equal to `texts[:, start:]` exactly when greedy decoding of `texts[:, :start]` gives the rest (by induction).
    """
    logits = model(texts[:, :-1])[:, start - 1 :]
    return model.outputs[choose(logits)]
