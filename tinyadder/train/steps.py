"""Steps: one batch, its loss, the gradient, and the optimizer's move."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from shutil import which
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tinyadder.errors import TinyadderError
from tinyadder.machine.fused import use_fused
from tinyadder.machine.transformer import Transformer
from tinyadder.train.data import Examples
from tinyadder.train.muon import Optimizer
from tinyadder.train.recipe import TrainRecipe

SCALE = 1024.0
"""Of the loss in float16, whose smallest normal number is 6.1e-5."""

COMPILERS = (os.environ.get("CXX", ""), "g++", "clang++")
"""Those that torch.compile calls for a CPU."""


def learning_rate_at(train: TrainRecipe, step: int) -> float:
    """The learning rate of step 1, 2, ...: linear warm-up, then the schedule.

    cosine: rate * (f + (1-f) (1 + cos(pi u))/2), u from 0 to 1 and f = final_fraction;
    inverse-sqrt: rate * sqrt(warmup / step) (Vaswani et al. 2017), at the end in a straight line
    down to f * rate. Each restart is scheduled alike.
    """
    step = (step - 1) % train.steps + 1
    if step <= train.warmup:
        return train.learning_rate * step / train.warmup
    if train.schedule == "inverse-sqrt":
        rate, last = (
            train.learning_rate * math.sqrt(max(1, train.warmup) / step),
            train.learning_rate * train.final_fraction,
        )
        left = (train.steps - step) / train.cooldown if train.cooldown else 1.0
        return rate if left >= 1 else last + (rate - last) * left
    if train.schedule == "constant":
        return train.learning_rate
    u = (step - train.warmup) / max(1, train.steps - train.warmup)
    return train.learning_rate * (
        train.final_fraction
        + (1 - train.final_fraction) * (1 + math.cos(math.pi * min(1.0, u))) / 2
    )


@dataclass(frozen=True)
class Batch:
    """Tensors of one batch: texts, lengths of prompts, and which positions are trained on which
    output.
    """

    tokens: Tensor
    prompt: Tensor
    mask: Tensor
    targets: Tensor
    """Index among the model's outputs of the next token; 0 where the mask is False."""
    first: int = 0
    """No position before it is trained."""

    @staticmethod
    def of(
        examples: Examples, model: Transformer, device: torch.device, *, whole: bool = False
    ) -> Batch:
        """The batch of `examples`; with `whole` the prompts are trained too."""
        tokens = torch.from_numpy(examples.tokens).to(device)
        chosen = examples.text_mask() if whole else examples.answer_mask()
        mask = torch.from_numpy(chosen).to(device)
        targets = tokens[:, 1:] * mask
        if model.config.outputs != tuple(range(len(model.config.vocabulary))):
            index = torch.full((len(model.config.vocabulary),), -1, device=device)
            index[model.outputs] = torch.arange(len(model.outputs), device=device)
            targets = torch.where(mask, index[tokens[:, 1:]], 0)
            if bool((targets < 0).any()):
                missing = model.config.vocabulary[int(tokens[:, 1:][targets < 0][0])]
                raise TinyadderError(
                    f"what is trained contains '{missing}', which is not among [model] outputs; add"
                    " it there"
                )
        first = 0 if whole else int(examples.prompt.min()) - 1
        return Batch(tokens, torch.from_numpy(examples.prompt).to(device), mask, targets, first)

    def rows(self, index: Tensor) -> Batch:
        """Some of its rows."""
        parts = (self.tokens, self.prompt, self.mask, self.targets)
        tokens, prompt, mask, targets = (part[index] for part in parts)
        return Batch(tokens, prompt, mask, targets, self.first)


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by what follows it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def answer_loss(logits: Float[Tensor, "b q o"], batch: Batch) -> Float[Tensor, ""]:
    """Sum of the cross-entropies -log softmax(logits)[target] over the tokens of the answers; the
    logits are those of the last q positions.
    """
    chosen = logits[batch.mask[:, -logits.shape[1] :]]
    chosen = chosen.float() if chosen.dtype in (torch.bfloat16, torch.float16) else chosen
    return nn.functional.cross_entropy(chosen, batch.targets[batch.mask], reduction="sum")


def self_fed_logits(model: nn.Module, batch: Batch, temperature: float) -> Float[Tensor, "b t o"]:
    """Logits when the answer's tokens are the model's own soft choices (Gumbel-softmax), fed back
    one by one.

    Token n of the answer enters as sum_o p_o embedding_o with p = softmax((logits + Gumbel noise) /
    temperature), so the gradient flows through every choice (Jang et al. 2017). One forward pass
    per answer token.
    """
    core: Any = getattr(model, "module", model)
    rows = torch.arange(len(batch.tokens), device=batch.tokens.device)
    table = core.embedding[core.outputs]
    fed: list[tuple[Tensor, Tensor]] = []

    def replaced(name: str, x: Tensor) -> Tensor:
        if name == "hook_embed" and fed:
            x = x.index_put(
                (torch.cat([rows] * len(fed)), torch.cat([at for at, _ in fed])),
                torch.cat([e for _, e in fed]).to(x.dtype),
            )
        return x

    steps = int(batch.mask.sum(1).max())
    logits = model(batch.tokens[:, :-1], hook=replaced)
    for n in range(steps - 1):
        at = (batch.prompt - 1 + n).clamp(max=logits.shape[1] - 2)
        soft = nn.functional.gumbel_softmax(logits[rows, at], tau=temperature)
        fed.append((at + 1, soft @ table))
        logits = model(batch.tokens[:, :-1], hook=replaced)
    return logits


@dataclass
class Processes:
    """The place of this process among those that torchrun started; alone without it."""

    rank: int = 0
    world: int = 1

    @staticmethod
    def join() -> Processes:
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return Processes()
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return Processes(torch.distributed.get_rank(), world)


class Stepper:
    """Moves the weights of one model, batch by batch.

    Dropout and Gumbel noise come from (seed, step): nothing random is carried from step to step.
    """

    def __init__(
        self, model: Transformer, train: TrainRecipe, seed: int, processes: Processes
    ) -> None:
        self.model, self.recipe, self.seed, self.processes = model, train, seed, processes
        self.device = model.outputs.device
        self.optimizer = Optimizer(model, train)
        self.scale = SCALE if train.precision == "fp16" else 1.0
        self.slow = torch.zeros_like(self.optimizer.weights.vector) if train.grokfast else None
        """The moving average of the gradient (`grokfast`)."""
        self.wrapped: Any = model
        if processes.world > 1:
            self.wrapped = nn.parallel.DistributedDataParallel(model)
        elif train.compile:
            if self.device.type == "cpu" and not any(map(which, COMPILERS)):
                raise TinyadderError(
                    "[train] compile = true needs a C++ compiler, and there is none of"
                    f" {', '.join(filter(None, COMPILERS))} here; install one, or give --set"
                    " compile=false"
                )
            self.wrapped = torch.compile(model)

    def tensors(self) -> dict[str, Tensor]:
        """What is carried from step to step besides the model."""
        slow = {} if self.slow is None else {"slow": self.slow}
        return slow | {f"optimizer.{k}": v for k, v in self.optimizer.tensors().items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with what `tensors` gave."""
        self.optimizer.restore(under(tensors, "optimizer."))
        if self.slow is not None:
            self.slow.copy_(tensors["slow"])

    def facts(self, step: int) -> dict[str, Any]:
        """What a line of the log says of the step."""
        return {"learning_rate": learning_rate_at(self.recipe, step)}

    def advance(self, examples: Examples, step: int) -> tuple[float, float]:
        """Step number `step` (from 1 on): the mean loss of the answer's tokens and the norm of the
        gradient.

        Raises `TinyadderError` for a gradient that is not finite.
        """
        train = self.recipe
        batch = Batch.of(examples, self.model, self.device, whole=train.loss == "text")
        torch.manual_seed(1_000_003 * self.seed + step - 1)
        mine = torch.arange(len(batch.tokens))[self.processes.rank :: self.processes.world]
        parts = [batch.rows(rows) for rows in mine.chunk(train.accumulate)]
        count = batch.mask.sum()
        self.model.train()
        use_fused(self.model, train.arithmetic == "fused")
        self_fed = train.self_fed > 0 and torch.rand(()).item() < train.self_fed
        total = torch.zeros((), device=self.device)
        for n, part in enumerate(parts):
            last = n == len(parts) - 1
            with nullcontext() if last or self.processes.world == 1 else self.wrapped.no_sync():
                loss = answer_loss(self._logits(part, self_fed), part) / count
                (loss * (self.processes.world * self.scale)).backward()
            total += loss.detach()
        if self.processes.world > 1:
            torch.distributed.all_reduce(total)
        gradient = self.optimizer.weights.take_gradient()
        if self.scale != 1:
            gradient.div_(self.scale)
        if self.slow is not None:
            self.slow.lerp_(gradient, 1 - train.grokfast_memory)
            gradient.add_(self.slow, alpha=train.grokfast)
        norm = torch.linalg.vector_norm(gradient)
        if not bool(norm.isfinite()):
            raise TinyadderError(
                f"the gradient became {float(norm)} at step {step}; lower [train] learning_rate"
                f" ({train.learning_rate}) or clip"
            )
        if train.clip and norm > train.clip:
            gradient.mul_(train.clip / norm)
        self.optimizer.step(gradient, learning_rate_at(train, step))
        use_fused(self.model, False)
        return float(total), float(norm)

    def _logits(self, part: Batch, self_fed: bool) -> Tensor:
        train = self.recipe
        kind = torch.float16 if train.precision == "fp16" else torch.bfloat16
        with torch.autocast(self.device.type, kind, enabled=train.precision != "full"):
            if self_fed:
                return self_fed_logits(self.wrapped, part, train.temperature)
            return self.wrapped(part.tokens[:, :-1], first=part.first)
