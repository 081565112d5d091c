"""Exact match on the validation problems during training: the best weights, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tinyadder.machine.answers import answers, share_right
from tinyadder.machine.tensors import tensors_of
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.train.recipe import TrainRecipe


@torch.no_grad()
def exact_match(model: Transformer, task: Task, problems: Sequence[Problem]) -> float:
    """Part of `problems` answered exactly, by greedy decoding from the prompt alone."""
    model.eval()
    return share_right(task, problems, answers(model, task, problems))


@dataclass
class Validation:
    """What the checks so far found."""

    train: TrainRecipe
    best: float = -1.0
    best_step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    """Of the best check, the latest of equal ones."""
    good_checks: int = 0
    """In a row: at `stop_at` or above."""

    def note(self, model: Transformer, exact: float, step: int) -> None:
        """Take note of a check; keep the weights if they are the best."""
        if exact >= self.best:
            self.best, self.best_step = exact, step
            self.weights = {name: p.detach().clone() for name, p in tensors_of(model).items()}
        self.good_checks = self.good_checks + 1 if exact >= self.train.stop_at else 0

    def done(self, step: int) -> bool:
        """All steps made (those of the restarts too), a schedule ended without an error, or
        `patience` good checks in a row.
        """
        train = self.train
        sound = (self.best, self.best_step) == (1.0, step) and step % train.steps == 0
        return (
            sound
            or step >= (1 + train.restarts) * train.steps
            or 0 < train.patience <= self.good_checks
        )
