"""Watch a stranger's model while its own `add` runs; used inside its process
(`tinyadder.verify.external.worker`) only.

Nothing is assumed but that some module of the model takes integer tokens and returns a tensor of
logits: the outermost such module is watched. What cannot be seen this way is reported as None,
never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyadder.verify.legality import buffers, dtype

Add = Callable[[Any, int, int], Any]
Pairs = Sequence[tuple[int, int]]
Change = Callable[[list[int], Tensor], Tensor]
"""Given the tokens of a pass and its logits, the logits to go on with."""


def _logits(output: Any) -> Tensor | None:
    """The tensor of logits in what a module returned."""
    for found in (
        output,
        getattr(output, "logits", None),
        output[0] if isinstance(output, tuple) and output else None,
    ):
        if isinstance(found, Tensor) and found.is_floating_point() and found.ndim >= 1:
            return found
    return None


def _with_logits(output: Any, logits: Tensor) -> Any:
    if isinstance(output, Tensor):
        return logits
    if isinstance(output, tuple):
        return (logits, *output[1:])
    output.logits = logits
    return output


@contextmanager
def watched(model: nn.Module, change: Change) -> Iterator[None]:
    """Let `change` see (and replace) the logits of every outermost pass over integer tokens of one
    text.
    """
    inside = 0

    def wrap(part: nn.Module) -> Callable[..., Any]:
        forward = part.forward

        def called(*given: Any, **named: Any) -> Any:
            nonlocal inside
            tokens = next((g for g in (*given, *named.values()) if isinstance(g, Tensor)), None)
            outermost = (
                inside == 0
                and tokens is not None
                and not tokens.is_floating_point()
                and tokens.dtype != torch.bool
            )
            inside += outermost
            try:
                output = forward(*given, **named)
            finally:
                inside -= outermost
            logits = _logits(output) if outermost else None
            if tokens is None or logits is None or (tokens.ndim > 1 and len(tokens) > 1):
                return output
            return _with_logits(output, change(tokens.reshape(-1).tolist(), logits))

        return called

    parts = [part for part in model.modules() if not isinstance(part, nn.Embedding)]
    try:
        for part in parts:
            part.forward = wrap(part)
        yield
    finally:
        for part in parts:
            with suppress(AttributeError):
                del part.forward


@contextmanager
def attention(change: Callable[[Tensor], Tensor]) -> Iterator[list[int]]:
    """Replace what every softmax gives by `change` of it; yields a list that grows with each call
    seen.
    """
    seen: list[int] = []
    kept = {
        (place, name): getattr(place, name)
        for place, name in (
            (torch, "softmax"),
            (F, "softmax"),
            (Tensor, "softmax"),
            (F, "scaled_dot_product_attention"),
        )
    }

    def replaced(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def called(scores: Tensor, *given: Any, **named: Any) -> Tensor:
            seen.append(1)
            return change(original(scores, *given, **named))

        return called

    def product(query: Tensor, key: Tensor, value: Tensor, *given: Any, **named: Any) -> Tensor:
        seen.append(1)
        unit = torch.eye(key.shape[-2], dtype=value.dtype, device=value.device).expand(
            *value.shape[:-1], -1
        )
        pattern = kept[F, "scaled_dot_product_attention"](query, key, unit, *given, **named)
        return change(pattern) @ value

    try:
        for (place, name), original in kept.items():
            setattr(place, name, product if name.startswith("scaled") else replaced(original))
        yield seen
    finally:
        for (place, name), original in kept.items():
            setattr(place, name, original)


def _share(model: nn.Module, add: Add, pairs: Pairs) -> float:
    """The share of pairs that `add` gets right; an exception counts as wrong."""
    right = 0
    for a, b in pairs:
        with suppress(Exception):
            right += add(model, a, b) == a + b
    return right / len(pairs)


def _last(logits: Tensor) -> Tensor:
    """The logits after the last token: a view of one row."""
    return logits.reshape(-1, logits.shape[-1])[-1]


def observed(model: nn.Module, add: Add, pairs: Pairs, seed: int) -> dict[str, Any]:
    """Every measurement, as plain numbers; `tinyadder.verify.external.legality` judges them."""
    torch.manual_seed(seed)
    with torch.no_grad():
        runs = [_run(model, add, pair) for pair in pairs]
        share = _share(model, add, pairs)
        found: dict[str, Any] = {"accuracy": share, "passes": None, "rule": None}
        for check in (buffers(model), dtype(model)):
            found[check.check] = vars(check)
        if all(run for run in runs):
            found["passes"] = sum(len(run) for run in runs) / sum(len(str(a + b)) for a, b in pairs)
            found["grows"] = all(_grows(run) for run in runs)
            found["rule"] = _rule(runs)
            found["prefix"] = _prefix(runs)
            found["float64"] = runs[0][0][1].dtype == torch.float64
            found["feedback"] = _feedback(model, add, pairs, runs, found["rule"], seed)
            with watched(model, lambda _, logits: torch.rand_like(logits)):
                found["random logits"] = _share(model, add, pairs)
        for name, change in (("no attention", torch.zeros_like), ("uniform attention", _uniform)):
            with attention(change) as seen:
                ablated = _share(model, add, pairs)
            found[name] = ablated if seen else None
        found["random weights"] = _random_weights(model, add, pairs)
    return found


Run = list[tuple[list[int], Tensor]]


def _run(model: nn.Module, add: Add, pair: tuple[int, int]) -> Run:
    """Tokens and logits of every pass while one pair is added."""
    log: Run = []

    def note(tokens: list[int], logits: Tensor) -> Tensor:
        log.append((tokens, logits.detach().clone()))
        return logits

    with watched(model, note):
        add(model, *pair)
    return log


def _grows(run: Run) -> bool:
    """Every pass has the text of the one before and one token more, or that one token alone (with a
    cache).
    """
    steps = pairwise(run)
    return all(
        (len(after) == len(before) + 1 and after[:-1] == before) or len(after) == 1
        for (before, _), (after, _) in steps
    )


def _rule(runs: list[Run]) -> str | None:
    """Whether the token fed back is always the largest logit ("max") or the smallest ("min") of the
    pass before.
    """
    for rule in ("max", "min"):
        pairs = [
            (getattr(_last(before), f"arg{rule}")(), after[-1])
            for run in runs
            for (_, before), (after, _) in pairwise(run)
        ]
        if pairs and all(int(chosen) == token for chosen, token in pairs):
            return rule
    return None


def _prefix(runs: list[Run]) -> float | None:
    """The largest change of a prefix's logits when tokens follow, in units of the largest; None if
    not one a token.
    """
    worst = 0.0
    for run in runs[:4]:
        tokens, logits = run[-1]
        if logits.reshape(-1, logits.shape[-1]).shape[0] != len(tokens) or len(tokens) < 2:
            return None
        rows = logits.reshape(len(tokens), -1)
        for text, shorter in run[:-1]:
            if tokens[: len(text)] != text:
                return None
            before = shorter.reshape(len(text), -1)
            size = rows[: len(text)].abs().amax(-1, keepdim=True).clamp(min=1e-300)
            worst = max(worst, float(((before - rows[: len(text)]).abs() / size).max()))
    return worst if math.isfinite(worst) else None


def _feedback(
    model: nn.Module, add: Add, pairs: Pairs, runs: list[Run], rule: str | None, seed: int
) -> float | None:
    """The share of steps whose own choice stays as it was although every token before was replaced
    by a random one.
    """
    if rule is None:
        return None
    random = Random(seed)
    spoken = sorted(
        {int(getattr(_last(logits), f"arg{rule}")()) for run in runs for _, logits in run}
    )
    same = count = 0
    for pair, run in zip(pairs, runs, strict=True):
        plain = [int(getattr(_last(logits), f"arg{rule}")()) for _, logits in run]
        said: list[int] = []

        def mislead(
            _: list[int], logits: Tensor, said: list[int] = said, plain: list[int] = plain
        ) -> Tensor:
            row = _last(logits)
            chosen = int(getattr(row, f"arg{rule}")())
            right = plain[len(said)] if len(said) < len(plain) else chosen
            said.append(chosen)
            other = random.choice([token for token in spoken if token != right] or [chosen])
            changed = logits.clone()
            view = _last(changed)
            view[chosen], view[other] = row[other].clone(), row[chosen].clone()
            return changed

        with watched(model, mislead), suppress(Exception):
            add(model, *pair)
        steps = list(zip(said, plain, strict=False))[1:]
        same, count = same + sum(a == b for a, b in steps), count + len(steps)
    return same / count if count else None


def _uniform(pattern: Tensor) -> Tensor:
    """Equal weights wherever there was any weight."""
    seen = (pattern > 0).to(pattern.dtype)
    return seen / seen.sum(-1, keepdim=True).clamp(min=1)


def _random_weights(model: nn.Module, add: Add, pairs: Pairs) -> float | None:
    """The share right with every parameter's entries replaced by random ones of the same size."""
    kept = [(p, p.detach().clone()) for p in model.parameters() if p.is_floating_point()]
    if not kept:
        return None
    try:
        for parameter, values in kept:
            size = values.abs().mean()
            parameter.copy_(torch.randn_like(parameter) * (size if size > 0 else 1))
        return _share(model, add, pairs)
    finally:
        for parameter, values in kept:
            parameter.copy_(values)
