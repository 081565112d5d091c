"""The state of a run: all that it carries from step to step, into a checkpoint and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.train.checkpoint import Checkpoint, latest_checkpoint, write_checkpoint
from tinyadder.train.natural import NaturalStepper
from tinyadder.train.newton import NewtonStepper
from tinyadder.train.recipe import Recipe, recipe_from_json
from tinyadder.train.steps import Stepper, under
from tinyadder.train.validation import Validation


@dataclass
class TrainingState:
    """Where a run of one seed is: after `step` steps, with these weights and moments."""

    recipe: Recipe
    seed: int
    stepper: Stepper | NewtonStepper | NaturalStepper
    validation: Validation
    step: int = 0
    cpu: float = 0.0
    wall: float = 0.0

    def write(self, folder: Path) -> None:
        """A checkpoint of this moment in `folder`."""
        model = self.stepper.model
        tensors: dict[str, Tensor] = {f"model.{name}": p for name, p in model.named_parameters()}
        tensors |= {f"buffer.{name}": b for name, b in model.named_buffers()}
        tensors |= {f"best.{name}": p for name, p in self.validation.weights.items()}
        tensors |= self.stepper.tensors()
        facts = {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "best": [self.validation.best, self.validation.best_step],
            "good_checks": self.validation.good_checks,
            "cpu": self.cpu,
            "wall": self.wall,
        }
        write_checkpoint(folder, self.step, tensors, facts)

    def restore(self, folder: Path) -> list[str]:
        """Go back to the newest sound checkpoint in `folder`; returns what was wrong with newer
        ones.

        Raises `TinyadderError` where there is none, and for a checkpoint of another recipe, seed
        or architecture.
        """
        checkpoint, refused = latest_checkpoint(folder)
        self._check_same(checkpoint, folder)
        model, device = self.stepper.model, self.stepper.device
        tensors, facts = checkpoint.tensors, checkpoint.facts
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(tensors[f"model.{name}"])
            for name, buffer in model.named_buffers():
                buffer.copy_(tensors[f"buffer.{name}"])
        self.stepper.restore(tensors)
        best = under(tensors, "best.")
        self.validation.weights = {name: tensor.to(device) for name, tensor in best.items()}
        self.validation.best, self.validation.best_step = facts["best"]
        self.validation.good_checks = facts["good_checks"]
        self.step, self.cpu, self.wall = checkpoint.step, facts["cpu"], facts["wall"]
        return refused

    def _check_same(self, checkpoint: Checkpoint, where: Path) -> None:
        mine = self.recipe.to_json()
        theirs = recipe_from_json(checkpoint.facts["recipe"], where=str(where)).to_json()
        for section in ("task", "model", "structure", "data", "train"):
            for key, value in mine.get(section, {}).items():
                other = theirs.get(section, {}).get(key)
                if value != other and key != "seeds":
                    raise TinyadderError(
                        f"the checkpoint in {where} is of another run: [{section}] {key} is "
                        f"{other!r} there and {value!r} in the recipe; take the recipe it"
                        " was made with, or another --out"
                    )
        if checkpoint.facts["seed"] != self.seed:
            raise TinyadderError(
                f"the checkpoint in {where} has seed {checkpoint.facts['seed']}, this run has"
                f" {self.seed}"
            )
        for name, parameter in self.stepper.model.named_parameters():
            other = checkpoint.tensors.get(f"model.{name}")
            if other is None or other.shape != parameter.shape:
                raise TinyadderError(
                    f"the checkpoint in {where} is of another architecture: '{name}' does not fit"
                )
