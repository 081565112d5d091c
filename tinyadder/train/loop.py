"""Training: one run of one seed, from its first step to a model folder; resumable bit for bit on
the CPU.

A run is put together of its parts: deal.py (which problems), steps.py (the gradient), validation.py
(the best weights, when to stop), state.py (checkpoints), log.py. Nothing random is carried from
step to step: batches come from (seed, epoch), dropout and Gumbel noise from (seed, step). So a run
that goes on from a checkpoint is the run that was never interrupted.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load, save
from tinyadder.machine.compile import build
from tinyadder.machine.tensors import tensors_of
from tinyadder.machine.transformer import Transformer
from tinyadder.train.deal import Dealer
from tinyadder.train.log import Log
from tinyadder.train.models import config_of, make_model, parameters_of
from tinyadder.train.natural import NaturalStepper
from tinyadder.train.newton import NewtonStepper
from tinyadder.train.recipe import Recipe
from tinyadder.train.skeleton import Skeleton, skeleton_of
from tinyadder.train.state import TrainingState
from tinyadder.train.steps import Processes, Stepper
from tinyadder.train.validation import Validation, exact_match

OTHERS = 1_000_003
"""From the seed of one candidate's initial weights to that of the next."""
Report = Callable[[dict[str, Any]], None]
"""Called with every line of the log."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; the text says how to go on."""


class Run:
    """One training run of one seed, with its files in `folder`."""

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        folder: Path,
        *,
        device: str = "cpu",
        processes: Processes | None = None,
        start: Path | None = None,
    ) -> None:
        self.recipe, self.folder, self.start = recipe, folder, start
        self.processes = processes or Processes()
        self.skeleton = None if recipe.structure is None else skeleton_of(recipe)
        if start is not None:
            made = model_from(start, recipe, self.skeleton)
        elif self.skeleton is not None and recipe.structure is not None:
            made = build(self.skeleton.with_values(self.skeleton.start(recipe.structure, seed)))
        else:
            made = make_model(recipe.model, recipe.task, seed)
        self.model = made.to(torch.device(device))
        self.dealer, self.log = Dealer(recipe, seed), Log(folder)
        stepper: Stepper | NewtonStepper | NaturalStepper
        few = self.skeleton is not None or recipe.train.optimizer == "natural"
        if not few:
            stepper = Stepper(self.model, recipe.train, seed, self.processes)
        elif device != "cpu" or self.processes.world > 1:
            raise TinyadderError(
                f"recipe '{recipe.name}' has a [structure] or optimizer = 'natural': its few"
                " numbers are trained by one process on the CPU; leave out --device and torchrun"
            )
        elif self.skeleton is not None and recipe.structure is not None:
            stepper = NewtonStepper(self.skeleton, self.model, recipe.structure)
        else:
            others = range(1, 1 if start is not None else recipe.train.candidates)
            drawn = [make_model(recipe.model, recipe.task, seed + OTHERS * n) for n in others]
            stepper = NaturalStepper([self.model, *drawn], recipe.train)
        self.state = TrainingState(recipe, seed, stepper, Validation(recipe.train))

    def advance(self) -> tuple[float, float]:
        """One step; the mean loss of the answer's tokens and the norm of the gradient."""
        state = self.state
        loss, norm = state.stepper.advance(self.dealer.batch(state.step), state.step + 1)
        state.step += 1
        return loss, norm

    def resume(self) -> list[str]:
        """Go on from the newest sound checkpoint; see `TrainingState.restore`."""
        refused = self.state.restore(self.folder / "checkpoints")
        self.log.cut(self.state.step)
        return refused

    def write(self) -> None:
        """A checkpoint of this moment."""
        self.state.write(self.folder / "checkpoints")

    @property
    def done(self) -> bool:
        """See `Validation.done`."""
        return self.state.validation.done(self.state.step)

    def train(self, report: Report | None = None) -> Path:
        """Train until done; the folder of the model. Ctrl-C writes a checkpoint and raises
        `Interrupted`.
        """
        state, first = self.state, self.processes.rank == 0
        began = (time.process_time() - state.cpu, time.monotonic() - state.wall)
        losses: list[float] = []
        if report:
            count = parameters_of(self.model)
            report({"step": state.step, "parameters": count, "seed": state.seed})
        try:
            while not self.done:
                loss, norm = self.advance()
                losses.append(loss)
                state.cpu, state.wall = time.process_time() - began[0], time.monotonic() - began[1]
                line = self._line(losses, norm)
                if line:
                    losses = []
                    if first:
                        self.log.write(line)
                    if report:
                        report(line)
                at_checkpoint = state.step % self.recipe.train.checkpoint_every == 0
                if first and at_checkpoint and not self.done:
                    self.write()
        except KeyboardInterrupt:
            if first and state.step:
                self.write()
            raise Interrupted(f"stopped at step {state.step}; go on with --resume") from None
        return self.finish() if first else self.folder / "model"

    def _line(self, losses: list[float], norm: float) -> dict[str, Any]:
        """The line of the log that this step writes, after a check where one is due; or nothing."""
        state, train = self.state, self.recipe.train
        check = state.step % train.check_every == 0 or state.step % train.steps == 0
        if not check and state.step % train.log_every:
            return {}
        line = {
            "step": state.step,
            "loss": round(sum(losses) / len(losses), 6),
            **state.stepper.facts(state.step),
            "gradient": round(norm, 4),
        }
        if check:
            exact = exact_match(self.model, self.recipe.task, self.dealer.validation)
            state.validation.note(self.model, exact, state.step)
            line["validation exact"] = round(exact, 6)
        return line | {"cpu": round(state.cpu, 1), "wall": round(state.wall, 1)}

    def finish(self) -> Path:
        """Save the model with the best validation accuracy as a model folder; drop the
        checkpoints.
        """
        state = self.state
        with torch.no_grad():
            for name, tensor in tensors_of(self.model).items():
                tensor.copy_(state.validation.weights[name])
        facts = {
            "recipe": self.recipe.to_json(),
            "seed": state.seed,
            "steps": state.step,
            "best step": state.validation.best_step,
            "training cpu seconds": round(state.cpu, 1),
            "training wall seconds": round(state.wall, 1),
        }
        if self.start is not None:
            facts["started from"] = str(self.start)
        out, name, program = self.folder / "model", self.recipe.name, None
        if self.skeleton is not None:
            program = self.skeleton.with_values(self.skeleton.values_in(self.model))
        save(
            self.model.eval(),
            self.recipe.task,
            out,
            name=name,
            options=facts,
            program=program,
            force=True,
        )
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        return out


def model_from(folder: Path, recipe: Recipe, skeleton: Skeleton | None = None) -> Transformer:
    """The model in `folder`, to be trained on. Raises `TinyadderError` where it is not of the
    recipe's shape.
    """
    model, _ = load(folder)
    expected = config_of(recipe.model, recipe.task) if skeleton is None else skeleton.model().config
    for field in fields(expected):
        given, wanted = getattr(model.config, field.name), getattr(expected, field.name)
        if given != wanted:
            raise TinyadderError(
                f"the model in {folder} has another {field.name} than recipe '{recipe.name}'"
                f" ({given!r}, not {wanted!r}); start from a model of the recipe's [model] and"
                " [task]"
            )
    return model
