"""Natural gradient steps for models of few parameters, from several random initialisations at once.

With p = softmax(logits), y the right token and J the derivatives of the logits by the parameters w,
averaged over the answers' tokens of a batch:

    gradient   g = mean J^T (p - y) + decay w
    curvature  H = memory H + (1 - memory) (mean J^T (diag(p) - p p^T) J + decay I)
    step       d = -(H + damping I)^-1 g, shortened so that d^T H d <= LONGEST

The mean of J^T (diag p - p p^T) J is the Fisher information of the answers (Amari 1998), and of
cross-entropy the generalised Gauss-Newton matrix (Schraudolph 2002). J comes by forward mode, from
half of the batch; four dampings are tried, and the loss of the whole batch decides between their
steps and none (Levenberg 1944). Nothing but tokens goes into it.

Of `candidates` initialisations the half with the larger training loss is dropped after every
`halve_every` steps, until one is left. A part `hard` of every batch are the problems with the
smallest margins, as a part of their logits' deviation, among those that it was trained on so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, jvp, vmap

from tinyadder.errors import TinyadderError
from tinyadder.machine.fused import use_fused
from tinyadder.machine.transformer import Transformer
from tinyadder.train.data import Examples
from tinyadder.train.recipe import TrainRecipe
from tinyadder.train.steps import Batch

FACTORS, FAILED = (1 / 30, 1 / 5, 1.0, 6.0), 6.0
"""Of the last damping: those that are tried, and the next where none makes the loss smaller."""
DAMPING, LEAST, MOST = 1e-2, 1e-9, 1e9
"""At the start, and the smallest and largest."""
LONGEST = 1.0
"""Of a step, by the curvature: half of it is how far the answers' probabilities move, in nats."""
CHUNK = 48
"""Directions of J at a time: as many as fit a few hundred megabytes."""


class NaturalStepper:
    """Moves all candidates, batch by batch, and puts the best one into `model`; see `Stepper`."""

    def __init__(self, candidates: Sequence[Transformer], train: TrainRecipe) -> None:
        self.model, self.recipe = candidates[0], train
        self.device = self.model.outputs.device
        self.shapes = {name: p.shape for name, p in self.model.named_parameters()}
        self.weights = torch.stack([flat_of(model) for model in candidates])
        """Of each candidate, one vector."""
        size = self.weights.shape[1]
        self.curvature = torch.zeros(len(candidates), size, size, dtype=torch.float64)
        self.damping = torch.full((len(candidates),), DAMPING, dtype=torch.float64)
        self.losses = torch.zeros(len(candidates), dtype=torch.float64)
        """Sums since candidates were dropped last."""
        self.hardest = torch.zeros(0, 0, dtype=torch.int64)
        """Texts with the smallest margins; all problems of such a recipe have one length."""

    def tensors(self) -> dict[str, Tensor]:
        """What is carried from step to step besides the model."""
        names = ("weights", "curvature", "damping", "losses", "hardest")
        return {f"natural.{name}": getattr(self, name) for name in names}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with what `tensors` gave."""
        for name in self.tensors():
            setattr(self, name.removeprefix("natural."), tensors[name].clone())

    def facts(self, step: int) -> dict[str, Any]:
        """What a line of the log says of the step."""
        since = (step - 1) % self.recipe.halve_every + 1 if len(self.weights) > 1 else step
        mean = (self.losses / max(1, since)).tolist()
        return {
            "damping": float(f"{self.damping.min():.3g}"),
            **({"candidates": [round(x, 4) for x in mean]} if len(mean) > 1 else {}),
        }

    def logits(self, weights: Tensor, batch: Batch) -> Tensor:
        """Of the answers' tokens, [tokens, outputs], with these weights of the model."""
        parts, at = {}, 0
        for name, shape in self.shapes.items():
            parts[name] = weights[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        first = int(batch.prompt.min()) - 1
        found = functional_call(self.model, parts, (batch.tokens[:, :-1],), {"first": first})
        rows, columns = batch.mask[:, first:].nonzero(as_tuple=True)
        return found[rows, columns]

    def advance(self, examples: Examples, step: int) -> tuple[float, float]:
        """One step: the mean loss of the best candidate's tokens before it, and the norm of its
        gradient.

        Raises `TinyadderError` where the logits of every candidate are infinite.
        """
        use_fused(self.model, self.recipe.arithmetic == "fused")
        whole = self._with_hard(Batch.of(examples, self.model, self.device))
        half = whole.rows(torch.arange(0, len(whole.tokens), 2))
        targets = whole.targets[whole.mask]
        loss, gradient = self._curve(half)
        steps = self._steps(gradient)
        tried = torch.cat([self.weights[:, None], self.weights[:, None] + steps], 1)

        def cost(weights: Tensor) -> Tensor:
            found = torch.nn.functional.cross_entropy(self.logits(weights, whole), targets)
            return found + self.recipe.weight_decay / 2 * weights.square().sum()

        costs = vmap(vmap(cost))(tried).nan_to_num(torch.inf, torch.inf)
        best = costs.argmin(1)
        every = torch.arange(len(tried))
        self.weights = tried[every, best]
        factors = torch.tensor([FAILED, *FACTORS], dtype=torch.float64)
        self.damping = (self.damping * factors[best]).clamp(LEAST, MOST)
        reached = costs[every, best]
        if not bool(reached.isfinite().any()):
            raise TinyadderError(f"the logits became infinite at step {step}")
        self.losses = self.losses + reached
        leader = int(self.losses.argmin())
        self._put(leader)
        use_fused(self.model, False)
        found = float(loss[leader]), float(gradient[leader].norm())
        if len(self.weights) > 1 and step % self.recipe.halve_every == 0:
            self._halve()
        return found

    def _curve(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses and gradients of all candidates on a batch; their curvature is brought up to
        date.
        """
        targets, size = batch.targets[batch.mask], self.weights.shape[1]
        one = torch.eye(size, dtype=torch.float64)
        decay, memory = self.recipe.weight_decay, self.recipe.memory
        losses, gradients, curvatures = [], [], []
        for weights in self.weights:

            def along(direction: Tensor, weights: Tensor = weights) -> Tensor:
                return jvp(lambda w: self.logits(w, batch), (weights,), (direction,))[1]

            jacobian = vmap(along, chunk_size=CHUNK)(one)
            p = self.logits(weights, batch).softmax(-1)
            error = p - torch.nn.functional.one_hot(targets, p.shape[1])
            losses.append(-p.gather(1, targets[:, None]).clamp(min=1e-300).log().mean())
            gradients.append(torch.einsum("kno,no->k", jacobian, error) / len(p) + decay * weights)
            centred = jacobian - (jacobian * p).sum(-1, keepdim=True)
            rows = (centred * p.sqrt()).flatten(1)
            curvatures.append(rows @ rows.T / len(p) + decay * one)
        new = torch.stack(curvatures).nan_to_num()
        kept = memory if bool(self.curvature.any()) else 0.0
        self.curvature = kept * self.curvature + (1 - kept) * new
        return torch.stack(losses), torch.stack(gradients).nan_to_num()

    def _steps(self, gradient: Tensor) -> Tensor:
        """A step of each candidate for each damping, [candidates, dampings, parameters]."""
        dampings = self.damping[:, None] * torch.tensor(FACTORS, dtype=torch.float64)
        one = torch.eye(gradient.shape[1], dtype=torch.float64)
        matrix = self.curvature[:, None] + (dampings[..., None, None] + LEAST) * one
        right = gradient[:, None, :, None].expand(-1, len(FACTORS), -1, -1)
        steps = -torch.linalg.solve(matrix, right)[..., 0]
        length = torch.einsum("kfp,kpq,kfq->kf", steps, self.curvature, steps).clamp(min=0).sqrt()
        return steps * (math.sqrt(LONGEST) / length.clamp(min=1e-12)).clamp(max=1)[..., None]

    def _with_hard(self, batch: Batch) -> Batch:
        """The batch with the hardest problems so far in the place of some, which are chosen anew
        from them and the batch.
        """
        count = int(self.recipe.hard * len(batch.tokens))
        if not count:
            return batch
        both = batch
        if len(self.hardest):
            kept = self.hardest
            both = Batch(
                torch.cat([kept, batch.tokens]),
                torch.cat([batch.prompt[:1].expand(len(kept)), batch.prompt]),
                torch.cat([batch.mask[:1].expand(len(kept), -1), batch.mask]),
                torch.cat([self._targets(kept, batch), batch.targets]),
            )
        with torch.no_grad():
            logits = self.logits(flat_of(self.model), both)
        right = logits.gather(1, both.targets[both.mask][:, None])
        others = logits.scatter(1, both.targets[both.mask][:, None], -torch.inf).amax(1)
        margins = (right[:, 0] - others) / logits.std(1)
        each = margins.reshape(len(both.tokens), -1).amin(1)
        chosen = each.argsort(stable=True)[:count]
        self.hardest = both.tokens[chosen].clone()
        fresh = torch.arange(len(both.tokens) - len(batch.tokens), len(both.tokens) - count)
        mixed = torch.stack([chosen, fresh[:count]], 1).flatten()  # both halves have some of each
        return both.rows(torch.cat([mixed, fresh[count:]]))

    def _targets(self, tokens: Tensor, batch: Batch) -> Tensor:
        index = torch.zeros(len(self.model.config.vocabulary), dtype=torch.int64)
        index[self.model.outputs] = torch.arange(len(self.model.outputs))
        return torch.where(batch.mask[:1], index[tokens[:, 1:]], 0)

    def _put(self, leader: int) -> None:
        """The candidate's weights into the model."""
        at = 0
        with torch.no_grad():
            for parameter in self.model.parameters():
                part = self.weights[leader, at : at + parameter.numel()]
                parameter.copy_(part.reshape(parameter.shape))
                at += parameter.numel()

    def _halve(self) -> None:
        """Drop the half with the larger losses."""
        kept = self.losses.argsort()[: -(-len(self.losses) // 2)]
        self.weights, self.damping = self.weights[kept], self.damping[kept]
        self.curvature = self.curvature[kept]
        self.losses = torch.zeros(len(kept), dtype=torch.float64)


def flat_of(model: Transformer) -> Tensor:
    """All parameters as one vector of doubles."""
    return torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])
