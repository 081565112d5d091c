"""Generate tokens with any `Transformer`: cached, batched, greedy or sampled. Knows no task and no
model by name.

Models of the plain family are run by `tinyadder.machine.inference`, others (a trained model with
norms, say) by their own forward pass with a key-value cache; both keep the keys and values of the
text so far.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import SupportsIndex

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.machine.inference import Inference, prepare
from tinyadder.machine.transformer import Transformer
from tinyadder.plain import whole


def choose(
    logits: Tensor,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    random: torch.Generator | None = None,
) -> Tensor:
    """The index of the chosen logit along the last axis: the first largest, or a sample.

    Samples come from softmax(logits / temperature); `top_k` keeps the k largest logits.
    Raises `TinyadderError` for a negative temperature or top_k < 1.
    """
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise TinyadderError(
            f"temperature={temperature}, top_k={top_k}; expected temperature >= 0 and top_k >= 1"
        )
    if temperature == 0:
        return logits.max(
            -1
        ).indices  # the first of equal ones, as argmax, and ten times faster when strided
    if top_k is not None and top_k < logits.shape[-1]:
        logits = logits.masked_fill(logits < logits.topk(top_k).values[..., -1:], -torch.inf)
    weights = torch.softmax(logits / temperature, -1)
    return torch.multinomial(weights.reshape(-1, weights.shape[-1]), 1, generator=random).reshape(
        logits.shape[:-1]
    )


def check_tokens(model: Transformer, tokens: Tensor) -> None:
    """Raises `TinyadderError` unless `tokens` are token ids of the model, at least one a text, as
    integers [b, t].
    """
    count = len(model.config.vocabulary)
    if tokens.dtype not in (torch.int64, torch.int32) or tokens.ndim != 2 or not tokens.shape[1]:
        kind = str(tokens.dtype).removeprefix("torch.")
        raise TinyadderError(
            f"tokens of type {kind} and shape {tuple(tokens.shape)}; expected integers [batch,"
            " length]"
        )
    if tokens.numel() and not bool(((tokens >= 0) & (tokens < count)).all()):
        wrong = int(tokens[(tokens < 0) | (tokens >= count)][0])
        raise TinyadderError(
            f"token id {wrong} is outside the vocabulary; expected 0 .. {count - 1}"
        )


class _Feed:
    """Logits after the last token of growing texts: prepared inference, cached forward, or the
    whole text again.
    """

    def __init__(
        self, model: Transformer, inference: Inference | None, total: int, batch: int, cache: bool
    ) -> None:
        self.model, self.inference, self.cache = model, inference, cache
        self.past = model.new_past() if cache and not inference else None
        if inference:
            inference.restart(total, batch)

    def __call__(self, text: Int[Tensor, "b t"], new: int) -> Float[Tensor, "b o"]:
        if self.inference:
            return self.inference.extend(text[:, -new:].T.contiguous())[:, 0].T
        return self.model(text[:, -new:] if self.cache else text, past=self.past)[:, -1]


Work = Callable[[Inference | None, Int[Tensor, "b t"]], Tensor]


def _in_chunks(
    inference: Inference | None, texts: Int[Tensor, "b t"], total: int, work: Work, *, threads: int
) -> list[Tensor]:
    """`work` on `texts`, in chunks that fit the processor's cache and on `threads` threads where
    prepared for it.
    """
    if inference is None:
        return [work(None, texts)]
    parts = texts.split(inference.chunk(total)) if len(texts) else [texts]
    spare: SimpleQueue[Inference] = SimpleQueue()
    threads = min(threads, len(parts)) if texts.device.type == "cpu" else 1
    for prepared in (inference, *(Inference(inference.model) for _ in range(threads - 1))):
        spare.put(prepared)

    @torch.inference_mode()
    def one(part: Tensor) -> Tensor:
        prepared = spare.get()
        try:
            return work(prepared, part)
        finally:
            spare.put(prepared)

    if threads == 1:
        return [one(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, parts))


@torch.inference_mode()
def generate(
    model: Transformer,
    prompts: Int[Tensor, "b t"],
    *,
    steps: SupportsIndex,
    end: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    random: torch.Generator | None = None,
    cache: bool = True,
) -> Int[Tensor, "b n"]:
    """Decode up to `steps` tokens after each prompt, one forward pass a token, each fed back.

    Rows that emitted `end` are filled with it, and decoding stops once all have. `cache=False` runs
    the whole text again for every token through `Transformer.forward`. Greedy unless `temperature`
    is positive (`random` seeds it). Raises `TinyadderError` for what are no token ids of the model.
    """
    check_tokens(model, prompts)
    length, steps = prompts.shape[1], whole(steps, "steps")

    def decode(inference: Inference | None, part: Tensor) -> Tensor:
        feed = _Feed(model, inference, length + steps, len(part), cache)
        text, new, done = part, length, torch.zeros(len(part), dtype=torch.bool, device=part.device)
        for _ in range(steps):
            chosen = choose(feed(text, new), temperature=temperature, top_k=top_k, random=random)
            token = model.outputs[chosen]
            if end is not None:
                token = torch.where(done, end, token)
                done |= token == end
            text, new = torch.cat([text, token[:, None]], 1), 1
            if end is not None and bool(done.all()):
                break
        return text[:, length:]

    threads = 1 if temperature else torch.get_num_threads()  # samples come in the order of the rows
    result = _in_chunks(
        prepare(model) if cache else None, prompts, length + steps, decode, threads=threads
    )
    longest = max(part.shape[1] for part in result)
    fill = 0 if end is None else end
    return torch.cat(
        [torch.nn.functional.pad(part, (0, longest - part.shape[1]), value=fill) for part in result]
    )


WIDEST = 100


def check_beam(model: Transformer, width: int) -> None:
    """Raises `TinyadderError` for a width outside 1 .. 100, and for a beam on a program, which has
    named lanes.
    """
    if not 1 <= width <= WIDEST:
        raise TinyadderError(
            f"a beam of width {width}; expected 1 .. {WIDEST} (1 is greedy decoding)"
        )
    if width > 1 and model.config.lanes:
        raise TinyadderError(
            "a beam search compares the probabilities of whole answers, and the logits of a program"
            " are no log-probabilities: only which is largest means something; decode greedily (a"
            " beam of width 1)"
        )


@torch.inference_mode()
def beam_search(
    model: Transformer,
    prompts: Int[Tensor, "b t"],
    width: int,
    *,
    steps: int,
    end: int | None = None,
) -> tuple[Int[Tensor, "b w n"], Float[Tensor, "b w"]]:
    """The `width` most probable continuations of each prompt that the search found, best first, and
    log p of each.

    log p(y) = sum_k log softmax(logits after y_1 .. y_{k-1})[y_k], without a correction for length;
    a continuation that has emitted `end` stays as it is, filled with `end`. Each step extends every
    kept continuation by every token and keeps the best; width 1 is greedy decoding. The text is run
    whole for every token. Where there are fewer continuations than `width`, the rest have log p =
    -infinity. Raises `TinyadderError` as `check_beam` does, and for what are no token ids of the
    model.
    """
    check_beam(model, width)
    check_tokens(model, prompts)
    batch, length = prompts.shape
    texts = prompts[:, None].expand(batch, width, length)
    best = torch.full((batch, width), -torch.inf, dtype=torch.float64, device=prompts.device)
    best[:, 0] = 0.0  # one continuation of nothing; the other places are empty
    done = torch.zeros(batch, width, dtype=torch.bool, device=prompts.device)
    rows = torch.arange(batch, device=prompts.device)[:, None]
    for _ in range(steps):
        logits = model(texts.flatten(0, 1))[:, -1].double()
        gain = torch.log_softmax(logits, -1).view(batch, width, -1)
        if end is not None:
            stay = torch.where(model.outputs == end, 0.0, -torch.inf)
            gain = torch.where(done[..., None], stay, gain)
        total, order = (
            (best[..., None] + gain).flatten(1).sort(descending=True, stable=True)
        )  # ties: the first, as argmax
        kept, chosen = order[:, :width] // gain.shape[-1], order[:, :width] % gain.shape[-1]
        token = model.outputs[chosen]
        texts, best = torch.cat([texts[rows, kept], token[..., None]], -1), total[:, :width]
        if end is not None:
            done = done[rows, kept] | (token == end)
            if bool(done.all()):
                break
    return texts[..., length:], best


@torch.inference_mode()
def forced_logits(
    model: Transformer, texts: Int[Tensor, "b t"], start: int
) -> Float[Tensor, "b n o"]:
    """Teacher-forced logits for the tokens at positions start .. t-1, each given the text before
    it, in one pass.
    """
    check_tokens(model, texts)

    def run(inference: Inference | None, part: Tensor) -> Tensor:
        if inference is None:
            return model(part[:, :-1])[:, start - 1 :]
        inference.restart(part.shape[1], len(part))
        return inference.extend(part[:, :-1].T.contiguous(), part.shape[1] - start).permute(2, 1, 0)

    return torch.cat(
        _in_chunks(prepare(model), texts, texts.shape[1], run, threads=torch.get_num_threads())
    )


@torch.inference_mode()
def score(model: Transformer, texts: Int[Tensor, "b t"], start: int) -> Int[Tensor, "b n"]:
    """Teacher-forced: the token the model would choose at every position from `start` on, given the
    text before it.

    Equal to `texts[:, start:]` exactly when greedy decoding of `texts[:, :start]` gives the rest
    (by induction).
    """
    check_tokens(model, texts)

    def run(inference: Inference | None, part: Tensor) -> Tensor:
        if inference is None:
            return model.outputs[choose(model(part[:, :-1])[:, start - 1 :])]
        inference.restart(part.shape[1], len(part))
        logits = inference.extend(part[:, :-1].T.contiguous(), part.shape[1] - start)
        return model.outputs[choose(logits.permute(2, 1, 0))]

    return torch.cat(
        _in_chunks(prepare(model), texts, texts.shape[1], run, threads=torch.get_num_threads())
    )


def log_probabilities(
    model: Transformer, texts: Int[Tensor, "b t"], start: int
) -> Float[Tensor, "b n"]:
    """log softmax(logits)[token] of the tokens at positions start .. t-1, each given the text
    before it.

    Raises `TinyadderError` for a program, whose logits are no log-probabilities, and for what are
    no token ids of the model.
    """
    if model.config.lanes:
        raise TinyadderError(
            "the logits of a program are no log-probabilities: only which is largest means"
            " something; ask a trained model for probabilities"
        )
    places = torch.full((len(model.config.vocabulary),), -1, device=texts.device)
    places[model.outputs] = torch.arange(len(model.outputs), device=texts.device)
    index = places[texts[:, start:]]
    logs = torch.log_softmax(forced_logits(model, texts, start).double(), -1)
    chosen = logs.gather(-1, index.clamp(min=0)[..., None])[..., 0]
    return chosen.masked_fill(index < 0, -torch.inf)
