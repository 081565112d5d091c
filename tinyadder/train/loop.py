"""Training: deal batches, follow the gradient, log, checkpoint; resumable bit for bit on the CPU.

Nothing random is carried from step to step: batches come from (seed, epoch), dropout and Gumbel
noise from (seed, step). So a run that goes on from a checkpoint is the run that was never
interrupted.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write
from tinyadder.io.folder import load, save
from tinyadder.machine.answers import answers, share_right
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.train.checkpoint import GO_ON, Checkpoint, latest_checkpoint, write_checkpoint
from tinyadder.train.data import (
    Examples,
    Source,
    Split,
    check_leaks,
    encode,
    order,
    training_problems,
)
from tinyadder.train.models import config_of, make_model, parameters_of
from tinyadder.train.muon import Muon
from tinyadder.train.recipe import Recipe, TrainRecipe, recipe_from_json

Report = Callable[[dict[str, Any]], None]
"""Called with every line of the log."""


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


def optimizer_of(model: nn.Module, train: TrainRecipe) -> Muon:
    """AdamW; where the recipe has a `muon_learning_rate`, all matrices but the tables of tokens and
    positions follow Muon.

    Vectors do not decay.
    """
    inner, outer, vectors = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
    for name, p in model.named_parameters():
        table = name in ("embedding", "positions", "unembedding") or not train.muon_learning_rate
        (vectors if p.ndim == 1 else outer if table else inner).append(p)
    groups: list[dict[str, Any]] = [
        {
            "params": inner,
            "muon": True,
            "scale": train.muon_learning_rate / train.learning_rate,
            "weight_decay": train.weight_decay,
        },
        {"params": outer, "weight_decay": train.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return Muon(
        [group for group in groups if group["params"]], lr=train.learning_rate, betas=train.betas
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

    @staticmethod
    def of(examples: Examples, model: Transformer, device: torch.device) -> Batch:
        tokens = torch.from_numpy(examples.tokens).to(device)
        mask = torch.from_numpy(examples.answer_mask()).to(device)
        index = torch.full((len(model.config.vocabulary),), -1, device=device)
        index[model.outputs] = torch.arange(len(model.outputs), device=device)
        targets = torch.where(mask, index[tokens[:, 1:]], 0)
        if bool((targets < 0).any()):
            missing = model.config.vocabulary[int(tokens[:, 1:][targets < 0][0])]
            raise TinyadderError(
                f"the answers contain '{missing}', which is not among [model] outputs; add it there"
            )
        return Batch(tokens, torch.from_numpy(examples.prompt).to(device), mask, targets)

    def part(self, rows: slice) -> Batch:
        return Batch(self.tokens[rows], self.prompt[rows], self.mask[rows], self.targets[rows])


def answer_loss(logits: Float[Tensor, "b t o"], batch: Batch) -> Float[Tensor, ""]:
    """Sum of the cross-entropies -log softmax(logits)[target] over the tokens of the answers."""
    chosen = logits[batch.mask]
    chosen = chosen.float() if chosen.dtype == torch.bfloat16 else chosen
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


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during training; the text says how to go on."""


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


class Run:
    """One training run of one seed: model, optimizer, data and files in `folder`."""

    def __init__(
        self,
        recipe: Recipe,
        seed: int,
        folder: Path,
        *,
        device: str = "cpu",
        processes: Processes | None = None,
        start: Path | None = None,
    ):
        self.recipe, self.seed, self.folder = recipe, seed, folder
        self.device, self.processes = torch.device(device), processes or Processes()
        self.start = start
        first = (
            make_model(recipe.model, recipe.task, seed)
            if start is None
            else model_from(start, recipe)
        )
        self.model = first.to(self.device)
        self.wrapped: nn.Module = self.model
        if self.processes.world > 1:
            self.wrapped = nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = optimizer_of(self.model, recipe.train)
        self.step, self.cpu, self.wall, self.good_checks = 0, 0.0, 0.0, 0
        self.best: tuple[float, int] = (-1.0, 0)
        self.best_tensors: dict[str, Tensor] = {}
        self.slow: dict[str, Tensor] = {}
        self.validation = self._held_out("validation", recipe.data.validation)
        self._pool: tuple[tuple[int, int], Examples] | None = None
        self._order: tuple[tuple[int, ...], Any] | None = None

    # ---- data ---------------------------------------------------------------------------------

    def _held_out(self, split: Split, count: int) -> list[Problem]:
        d = self.recipe.data
        return Source(
            self.recipe.task, d.judged or d.distribution, split, d.held_out, d.seed, kind=d.kind
        ).distinct(count)

    def _limit(self) -> int:
        """Most digits of an operand at this step, 0 for no limit."""
        return next(
            (digits for until, digits in self.recipe.data.curriculum if self.step < until), 0
        )

    def _examples(self, pool: int) -> Examples:
        """The encoded problems of pool `pool`, checked against the held-out ones."""
        key = (pool, self._limit())
        if self._pool is None or self._pool[0] != key:
            d, task = self.recipe.data, self.recipe.task
            problems = training_problems(self.recipe, self.seed, pool, self._limit())
            check_leaks(
                task,
                {"train": problems, "validation": self.validation, "test": self.test_problems()},
            )
            narrow = replace(task, digits=self._limit()) if d.narrow and self._limit() else task  # type: ignore[call-arg]
            self._pool = (key, encode(narrow, problems))
        return self._pool[1]

    def test_problems(self) -> list[Problem]:
        """The problems of the final evaluation; training only checks that it never shows one."""
        if not hasattr(self, "_test"):
            self._test = self._held_out("test", self.recipe.data.test)
        return self._test

    def _batch(self) -> Examples:
        d, batch = self.recipe.data, self.recipe.train.batch
        per_epoch = max(1, d.examples // batch)
        epoch, at = divmod(self.step, per_epoch)
        examples = self._examples(epoch if d.fresh else 0)
        key = (epoch, self._limit())
        if self._order is None or self._order[0] != key:
            self._order = (key, order(examples, batch, self.seed, epoch))
        return examples.rows(self._order[1][at])

    # ---- one step -----------------------------------------------------------------------------

    def advance(self) -> tuple[float, float]:
        """One optimizer step; the mean loss of the answer's tokens and the norm of the gradient."""
        train = self.recipe.train
        batch = Batch.of(self._batch(), self.model, self.device)
        torch.manual_seed(1_000_003 * self.seed + self.step)
        mine = torch.arange(len(batch.tokens))[self.processes.rank :: self.processes.world]
        parts = [
            Batch(*(t[rows] for t in (batch.tokens, batch.prompt, batch.mask, batch.targets)))
            for rows in mine.chunk(train.accumulate)
        ]
        count = batch.mask.sum()
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * learning_rate_at(train, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.model.train()
        self_fed = train.self_fed > 0 and torch.rand(()).item() < train.self_fed
        total = torch.zeros((), device=self.device)
        for n, part in enumerate(parts):
            last = n == len(parts) - 1
            with nullcontext() if last or self.processes.world == 1 else self.wrapped.no_sync():  # type: ignore[operator]
                loss = answer_loss(self._logits(part, self_fed), part) / count
                (loss * self.processes.world).backward()
            total += loss.detach()
        if self.processes.world > 1:
            torch.distributed.all_reduce(total)
        self._filter_gradient()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), train.clip or math.inf)
        if not bool(norm.isfinite()):
            raise TinyadderError(
                f"the gradient became {float(norm)} at step {self.step}; lower [train]"
                f" learning_rate ({train.learning_rate}) or clip"
            )
        self.optimizer.step()
        return float(total), float(norm)

    def _logits(self, part: Batch, self_fed: bool) -> Tensor:
        train = self.recipe.train
        bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=train.precision == "bf16")
        with bf16:
            if self_fed:
                return self_fed_logits(self.wrapped, part, train.temperature)
            return self.wrapped(part.tokens[:, :-1])

    def _filter_gradient(self) -> None:
        train = self.recipe.train
        if not train.grokfast:
            return
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                slow = self.slow.setdefault(name, torch.zeros_like(parameter))
                slow.mul_(train.grokfast_memory).add_(
                    parameter.grad, alpha=1 - train.grokfast_memory
                )
                parameter.grad.add_(slow, alpha=train.grokfast)

    # ---- checks and files ---------------------------------------------------------------------

    def check(self) -> float:
        """Exact match on the validation problems, decoded; remembers the best numbers so far."""
        rate = exact_match(self.model, self.recipe.task, self.validation)
        if rate >= self.best[0]:
            self.best = (rate, self.step)
            self.best_tensors = {
                name: p.detach().clone() for name, p in self.model.named_parameters()
            }
        self.good_checks = self.good_checks + 1 if rate >= self.recipe.train.stop_at else 0
        return rate

    @property
    def done(self) -> bool:
        """All steps made (those of the restarts too), a schedule ended without an error, or
        `patience` good checks in a row.
        """
        train = self.recipe.train
        sound = self.best == (1.0, self.step) and self.step % train.steps == 0
        return (
            sound
            or self.step >= (1 + train.restarts) * train.steps
            or 0 < train.patience <= self.good_checks
        )

    def _names(self) -> dict[int, str]:
        return {id(parameter): name for name, parameter in self.model.named_parameters()}

    def write(self) -> None:
        """A checkpoint of this moment."""
        tensors: dict[str, Tensor] = {
            f"model.{name}": p for name, p in self.model.named_parameters()
        }
        tensors |= {f"buffer.{name}": b for name, b in self.model.named_buffers()}
        tensors |= {f"best.{name}": p for name, p in self.best_tensors.items()}
        tensors |= {f"slow.{name}": p for name, p in self.slow.items()}
        names = self._names()
        for parameter, state in self.optimizer.state.items():
            tensors |= {f"adam.{names[id(parameter)]}.{key}": value for key, value in state.items()}
        facts = {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "best": list(self.best),
            "good_checks": self.good_checks,
            "cpu": self.cpu,
            "wall": self.wall,
        }
        write_checkpoint(self.folder / "checkpoints", self.step, tensors, facts)

    def resume(self) -> list[str]:
        """Go on from the newest sound checkpoint; returns what was wrong with newer ones.

        Raises `TinyadderError` for a checkpoint of another recipe, seed or architecture.
        """
        result, refused = latest_checkpoint(self.folder / "checkpoints")
        self._check_same(result)
        stored = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, parameter in stored.items():
                parameter.copy_(result.tensors[f"model.{name}"])
            for name, buffer in self.model.named_buffers():
                buffer.copy_(result.tensors[f"buffer.{name}"])
        for name, parameter in stored.items():
            prefix = f"adam.{name}."
            state = {
                k.removeprefix(prefix): v for k, v in result.tensors.items() if k.startswith(prefix)
            }
            if state:
                self.optimizer.state[parameter] = {
                    k: v.clone() if k == "step" else v.to(self.device) for k, v in state.items()
                }
        self.best_tensors = {
            k[5:]: v.to(self.device) for k, v in result.tensors.items() if k.startswith("best.")
        }
        self.slow = {
            k[5:]: v.to(self.device) for k, v in result.tensors.items() if k.startswith("slow.")
        }
        self.step, self.best = result.step, (result.facts["best"][0], result.facts["best"][1])
        self.good_checks, self.cpu, self.wall = (
            result.facts[k] for k in ("good_checks", "cpu", "wall")
        )
        self._cut_log()
        return refused

    def _check_same(self, result: Checkpoint) -> None:
        where = self.folder / "checkpoints"
        mine, theirs = (
            self.recipe.to_json(),
            recipe_from_json(result.facts["recipe"], where=str(where)).to_json(),
        )
        for section in ("task", "model", "data", "train"):
            for key in mine[section]:
                if mine[section][key] != theirs[section][key] and key != "seeds":
                    raise TinyadderError(
                        f"the checkpoint in {where} is of another run: [{section}] {key} is "
                        f"{theirs[section][key]!r} there and {mine[section][key]!r} in the recipe; "
                        "take the recipe it was made with, or another --out"
                    )
        if result.facts["seed"] != self.seed:
            raise TinyadderError(
                f"the checkpoint in {where} has seed {result.facts['seed']}, this run has"
                f" {self.seed}"
            )
        for name, parameter in self.model.named_parameters():
            other = result.tensors.get(f"model.{name}")
            if other is None or other.shape != parameter.shape:
                raise TinyadderError(
                    f"the checkpoint in {where} is of another architecture: '{name}' does not fit"
                )

    def _cut_log(self) -> None:
        """Drop the lines of steps after the checkpoint: they will be written again."""
        path = self.folder / "log.jsonl"
        if path.exists():
            lines = [
                line
                for line in path.read_text().splitlines()
                if json.loads(line)["step"] <= self.step
            ]
            with atomic_write(path, way_out=GO_ON) as part:
                part.write_text("".join(f"{line}\n" for line in lines))

    def log(self, line: dict[str, Any]) -> None:
        if self.processes.rank == 0:
            path = self.folder / "log.jsonl"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with open(path, "a") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                raise TinyadderError(f"cannot write {path}: {error.strerror}; {GO_ON}") from error

    def finish(self) -> Path:
        """Save the model with the best validation accuracy as a model folder; drop the
        checkpoints.
        """
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.best_tensors[name])
        facts = {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "steps": self.step,
            "best step": self.best[1],
            "training cpu seconds": round(self.cpu, 1),
            "training wall seconds": round(self.wall, 1),
        }
        if self.start is not None:
            facts["started from"] = str(self.start)
        out = self.folder / "model"
        save(
            self.model.eval(),
            self.recipe.task,
            out,
            name=self.recipe.name,
            options=facts,
            force=True,
        )
        shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
        return out

    # ---- the loop -----------------------------------------------------------------------------

    def train(self, report: Report | None = None) -> Path:
        """Train until done; the folder of the model. Ctrl-C writes a checkpoint and raises
        `Interrupted`.
        """
        train = self.recipe.train
        head = {"step": self.step, "parameters": parameters_of(self.model), "seed": self.seed}
        losses: list[float] = []
        began = (time.process_time() - self.cpu, time.monotonic() - self.wall)
        if report:
            report(head)
        try:
            while not self.done:
                loss, norm = self.advance()
                losses.append(loss)
                self.cpu, self.wall = time.process_time() - began[0], time.monotonic() - began[1]
                check = self.step % train.check_every == 0 or self.step % train.steps == 0
                if self.step % train.log_every == 0 or check:
                    line: dict[str, Any] = {
                        "step": self.step,
                        "loss": round(sum(losses) / len(losses), 6),
                        "learning_rate": learning_rate_at(train, self.step),
                        "gradient": round(norm, 4),
                    }
                    if check:
                        line["validation exact"] = round(self.check(), 6)
                    line |= {"cpu": round(self.cpu, 1), "wall": round(self.wall, 1)}
                    losses = []
                    self.log(line)
                    if report:
                        report(line)
                if (
                    self.processes.rank == 0
                    and self.step % train.checkpoint_every == 0
                    and not self.done
                ):
                    self.write()
        except KeyboardInterrupt:
            if self.processes.rank == 0 and self.step:
                self.write()
            raise Interrupted(f"stopped at step {self.step}; go on with --resume") from None
        return self.finish() if self.processes.rank == 0 else self.folder / "model"


def model_from(folder: Path, recipe: Recipe) -> Transformer:
    """The model in `folder`, to be trained on. Raises `TinyadderError` where it is not of the
    recipe's shape.
    """
    model, _ = load(folder)
    expected = config_of(recipe.model, recipe.task)
    for field in fields(expected):
        given, wanted = getattr(model.config, field.name), getattr(expected, field.name)
        if given != wanted:
            raise TinyadderError(
                f"the model in {folder} has another {field.name} than recipe '{recipe.name}'"
                f" ({given!r}, not {wanted!r}); start from a model of the recipe's [model] and"
                " [task]"
            )
    return model


@torch.no_grad()
def exact_match(model: Transformer, task: Task, problems: Sequence[Problem]) -> float:
    """Part of `problems` answered exactly, by greedy decoding from the prompt alone."""
    model.eval()
    return share_right(task, problems, answers(model, task, problems))


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with `seed` as its only seed."""
    return replace(recipe, train=replace(recipe.train, seeds=(seed,)))
