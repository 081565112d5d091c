"""Gauss-Newton steps for the numbers of a skeleton, damped as by Levenberg and Marquardt.

The loss is the cross-entropy of the answer's tokens: from tokens alone. The logits of token n of
the answers count in the model's own scale for that token, measured once, when training comes to
it: how far the best logit lies above the next two. So a hundred times finer token weighs as much
as a coarse one, and no token's softmax is saturated before it has been learned. With p =
softmax(logits), y the right token, J the derivatives of the logits by the numbers:

    gradient   g = sum J^T (p - y)
    curvature  H = sum J^T (diag(p) - p p^T) J  +  memory * the H of the steps before
    step       (H + damping diag(H) + STILL) d = -g

H is never made: places of ten digits lie 10^10 apart, and in H they would be squared. It is kept as
its triangular factor R, H = R^T R, which an orthogonal decomposition of the new rows below the old
factor gives, and the step is a least-squares problem (Lawson and Hanson 1974).

The curvature is that of Schraudolph 2002 (generalised Gauss-Newton), the damping that of Marquardt
1963. STILL lets a number rest while the logits hardly depend on it (half a unit of the last place,
while the first tokens are trained). The memory averages the noise of small batches, as recursive
least squares does. J comes by forward mode: a program has few numbers and many logits.
scipy.optimize.least_squares and torchmin minimise one function to the end; here every step has
problems of its own.

The first tokens of the answers are trained alone; the next is added when those so far are right on
a batch that was not trained on yet. When all are, the scales sink step by step to the finest of
them: a carry through all columns leaves the first token a margin of half a unit of the last place.
A weight is multiplied by exp(d), so that numbers of any
magnitude move alike and up as easily as down; to what stands in an exponent d is added, and where
signs are drawn d times the number's magnitude, so that it can change its sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, jacfwd

from tinyadder.errors import TinyadderError
from tinyadder.machine.tensors import tensors_of
from tinyadder.machine.transformer import Transformer
from tinyadder.train.data import Examples
from tinyadder.train.margins import centred
from tinyadder.train.skeleton import Skeleton
from tinyadder.train.steps import Batch
from tinyadder.train.structure import StructureRecipe

LONGEST = 0.5
"""The most that a number changes in a step."""
TRIES = 6
"""A step that makes the loss of its own batch no smaller is tried again with more damping."""
LESS, MORE = 0.1, 30.0
"""What damping is multiplied by after a success, after a failure."""
LEAST, MOST = 1e-26, 1e9
UNLIKELY = 1e-8
"""The least probability in the curvature."""
STILL = 1e-3
CALM = 0.1
"""Mean loss below which the scales sink, once all tokens are trained."""
KEPT, FOUND, RIVALS = 150, 60, 2
"""In the end: problems with the smallest margins that are kept, wrong ones of a batch that are
added to them, and rivals of each token.
"""


class NewtonStepper:
    """Moves the free numbers of one model, batch by batch; see `Stepper`."""

    def __init__(self, skeleton: Skeleton, model: Transformer, recipe: StructureRecipe) -> None:
        self.skeleton, self.model, self.recipe = skeleton, model, recipe
        self.device = model.outputs.device
        free = skeleton.free(recipe)
        self.free = torch.tensor(free)
        self.unit = torch.tensor(skeleton.units(recipe), dtype=torch.float64)
        """What a change is added in; 0 for a number that is multiplied by exp(change)."""
        self.damping, self.tokens = 1e-3, recipe.first
        """So many tokens of each answer are trained now."""
        self.scales = torch.zeros(0, dtype=torch.float64)
        """Of the logits, one for each token that was trained."""
        self.factor = torch.zeros(len(free), len(free), dtype=torch.float64)
        """R, upper triangular."""
        self.kept: Examples | None = None
        """In the end (`ends = "margins"`): the problems with the smallest margins so far."""

    def tensors(self) -> dict[str, Tensor]:
        """What is carried from step to step besides the model."""
        return {
            "newton.damping": torch.tensor(self.damping, dtype=torch.float64),
            "newton.tokens": torch.tensor(self.tokens),
            "newton.scales": self.scales,
            "newton.factor": self.factor,
            **(
                {}
                if self.kept is None
                else {
                    "newton.kept.tokens": torch.from_numpy(self.kept.tokens),
                    "newton.kept.prompt": torch.from_numpy(self.kept.prompt),
                    "newton.kept.length": torch.from_numpy(self.kept.length),
                }
            ),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with what `tensors` gave."""
        self.damping = float(tensors["newton.damping"])
        self.tokens = int(tensors["newton.tokens"])
        self.scales = tensors["newton.scales"].clone()
        self.factor = tensors["newton.factor"].clone()
        if "newton.kept.tokens" in tensors:
            self.kept = Examples(
                *(tensors[f"newton.kept.{name}"].numpy() for name in ("tokens", "prompt", "length"))
            )

    def facts(self, step: int) -> dict[str, Any]:
        """What a line of the log says of the step."""
        return {"damping": float(f"{self.damping:.3g}"), "answer tokens": self.tokens}

    def advance(self, examples: Examples, step: int) -> tuple[float, float]:
        """One step: the mean loss of the trained tokens before it, and the norm of the gradient by
        relative changes.

        Raises `TinyadderError` for logits that are not finite.
        """
        if self.kept is not None:
            return self._widen(examples)
        sample = np.arange(min(len(examples), self.recipe.sample))
        batch = Batch.of(examples.rows(sample), self.model, self.device)
        place = torch.arange(batch.mask.shape[1], device=self.device) - (batch.prompt[:, None] - 1)
        longest = int((place * batch.mask).max()) + 1
        self.tokens = min(self.tokens, longest)
        trained = batch.mask & (place < self.tokens)
        last = int(trained.any(0).nonzero().max()) + 1
        tokens, trained, place = batch.tokens[:, :last], trained[:, :last], place[:, :last]
        targets, place = batch.targets[:, :last][trained], place.expand_as(trained)[trained]
        moved, changed = self._changes()

        def logits(change: Tensor) -> tuple[Tensor, Tensor]:
            outputs = functional_call(self.model, changed(change), (tokens,))[trained]
            return outputs, outputs

        jacobian, outputs = jacfwd(logits, has_aux=True)(torch.zeros(len(self.free)).double())
        if not bool(outputs.isfinite().all() and jacobian.isfinite().all()):
            raise TinyadderError(
                f"the logits became infinite at step {step}; lower [structure] spread"
                f" ({self.recipe.spread}) or shift ({self.recipe.shift})"
            )
        new_scales = [_scale(outputs[place == n]) for n in range(len(self.scales), self.tokens)]
        self.scales = torch.cat([self.scales, torch.tensor(new_scales, dtype=torch.float64)])
        unit = (self.scales[place] / self.recipe.gain)[:, None]
        scaled = outputs / unit
        loss = _loss(scaled, targets)
        calm = self.tokens == longest and float(loss) < CALM * len(targets)
        rows, errors = _rows(scaled, jacobian / unit[..., None], targets)
        change = self._solve(rows, errors, loss, lambda d: _loss(logits(d)[0] / unit, targets))
        if change is not None:
            self.skeleton.put(self.model, moved(change))
        right = (scaled.argmax(1) == targets).double()
        shares = [float(right[place == n].mean()) for n in range(self.tokens)]
        if self.tokens < longest and min(shares) >= self.recipe.ready:
            self.tokens += 1
        elif calm and self.recipe.ends == "margins":
            self.kept = examples.rows(sample)
        elif calm:
            finest = float(self.scales.min())
            self.scales = (self.scales * self.recipe.sharpen).clamp(min=finest)
        return float(loss) / len(targets), float((rows.T @ errors).norm())

    def _changes(
        self,
    ) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], dict[str, Tensor]]]:
        """All numbers, and the tensors of the model, as functions of a change of the free ones."""
        values = torch.tensor(self.skeleton.values_in(self.model), dtype=torch.float64)
        stored = {name: tensor.detach() for name, tensor in tensors_of(self.model).items()}

        def moved(change: Tensor) -> Tensor:
            old = values[self.free]
            scaled, shifted = old * change.exp(), old + change * self.unit
            new = torch.where(self.unit == 0, scaled, shifted)
            return values.index_put((self.free,), new)

        def changed(change: Tensor) -> dict[str, Tensor]:
            new, tensors = moved(change), dict(stored)
            for name, (at, numbers) in self.skeleton.entries.items():
                flat = stored[name].reshape(-1).index_put((at,), new[numbers])
                tensors[name] = flat.reshape(stored[name].shape)
            return tensors

        return moved, changed

    def _widen(self, examples: Examples) -> tuple[float, float]:
        """A step of the end: the part of the batch that is answered wrongly, which is the loss, and
        0. Its wrong problems join those that are kept, and the margins of all are widened.
        """
        assert self.kept is not None
        moved, changed = self._changes()
        still = torch.zeros(len(self.free), dtype=torch.float64)
        least, _ = self._least(examples, changed(still))
        wrong = (least <= 0).nonzero()[:, 0].numpy()
        asked = wrong if len(wrong) or len(self.kept) >= KEPT else np.arange(len(examples))
        problems = joined(self.kept, examples.rows(asked[:FOUND])) if len(asked) else self.kept
        _, (batch, place, rivals) = self._least(problems, changed(still))

        def margins(change: Tensor) -> Tensor:
            logits = functional_call(self.model, changed(change), (batch.tokens[:, :-1],))[place]
            right = logits.gather(1, batch.targets[place][:, None])
            return (right - logits.gather(1, rivals)).flatten()

        self.skeleton.put(self.model, moved(centred(margins, len(self.free))))
        least, _ = self._least(problems, self._changes()[1](still))
        self.kept = problems.rows(least.argsort()[:KEPT].numpy())
        return len(wrong) / len(examples), 0.0

    def _least(
        self, examples: Examples, tensors: dict[str, Tensor]
    ) -> tuple[Tensor, tuple[Batch, Tensor, Tensor]]:
        """The least margin of every problem, in the scales of its tokens; the batch, the places of
        its answers, and the next rivals there.
        """
        batch = Batch.of(examples, self.model, self.device)
        logits = functional_call(self.model, tensors, (batch.tokens[:, :-1],))[batch.mask]
        margins = logits.gather(1, batch.targets[batch.mask][:, None]) - logits
        margins.scatter_(1, batch.targets[batch.mask][:, None], torch.inf)
        near = margins.topk(min(RIVALS, margins.shape[1] - 1), dim=1, largest=False)
        all_places = torch.full(batch.mask.shape, torch.inf, dtype=torch.float64)
        all_places[batch.mask] = near.values[:, 0] / logits.abs().amax(1)
        return all_places.amin(1), (batch, batch.mask, near.indices)

    def _solve(
        self, rows: Tensor, errors: Tensor, loss: Tensor, loss_after: Callable[[Tensor], Tensor]
    ) -> Tensor | None:
        """The step, damped until it makes the loss smaller; None where none does."""
        kept = math.sqrt(self.recipe.memory) * self.factor
        right = torch.cat([torch.zeros(len(kept), dtype=torch.float64), -errors])
        joined = torch.cat([torch.cat([kept, rows]), right[:, None]], 1)
        triangle = torch.linalg.qr(joined, mode="r").R
        self.factor, right = triangle[:-1, :-1].contiguous(), triangle[:-1, -1]
        size = self.factor.norm(dim=0).clamp(min=1e-150)
        one, still = torch.eye(len(size), dtype=torch.float64), torch.diag(math.sqrt(STILL) / size)
        right = torch.cat([right, torch.zeros(2 * len(size), dtype=torch.float64)])
        for _ in range(TRIES):
            damped = torch.cat([self.factor / size, math.sqrt(self.damping) * one, still])
            step = torch.linalg.lstsq(damped, right[:, None], driver="gelsd").solution[:, 0]
            change = (step / size).clamp(-LONGEST, LONGEST)
            if bool(loss_after(change) < loss):
                self.damping = max(self.damping * LESS, LEAST)
                return change
            self.damping = min(self.damping * MORE, MOST)
        return None


def joined(one: Examples, other: Examples) -> Examples:
    """The problems of both."""
    width = max(one.tokens.shape[1], other.tokens.shape[1])
    tokens = [np.pad(e.tokens, ((0, 0), (0, width - e.tokens.shape[1]))) for e in (one, other)]
    return Examples(
        np.concatenate(tokens),
        np.concatenate([one.prompt, other.prompt]),
        np.concatenate([one.length, other.length]),
    )


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="sum")


def _rows(logits: Tensor, jacobian: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """A and e with A^T A the curvature and A^T e the gradient of the loss, from `jacobian` [logit
    rows, outputs, numbers]: rows sqrt(p) (J - mean of J by p), errors (p - y) / sqrt(p), and p no
    less than `UNLIKELY` in both roots.
    """
    p = logits.softmax(1)
    error = p - torch.nn.functional.one_hot(targets, logits.shape[1])
    root = p.clamp(min=UNLIKELY).sqrt()
    centred = jacobian - (p[..., None] * jacobian).sum(1, keepdim=True)
    return (root[..., None] * centred).flatten(0, 1), (error / root).flatten()


def _scale(logits: Tensor) -> float:
    """The model's own scale: how far the best logit lies above the second and the third together,
    on average (above the second alone where there are only two).
    """
    best = logits.detach().topk(min(3, logits.shape[1]), dim=1).values
    gap = (best[:, :1] - best[:, 1:]).sum(1).mean().item()
    return gap if gap > 0 else 1.0
