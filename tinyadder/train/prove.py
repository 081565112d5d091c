"""Training that ends in a proof: rounds of counterexamples.

A round looks for problems that the model answers wrongly (prove_search.py: cheap), and only where
it finds none asks the prover, whose refutation, or open branches, are the next problems. The model
is then trained on what was found so far and on fresh problems in equal parts:

    loss = mean over answer tokens of  -log softmax(logits)[right]  +  relu(1 - margin / wanted)^2

with margin = right logit less the largest other, and `wanted` half of the median size of the
model's own margins at the start of the round: tokens alone, nothing of how the task is solved.

Only problems of the training split are searched, trained on or counted; validation and test
problems choose nothing. A held-out problem that refutes the model stands in the log; problems like
it are trained on, it is not.

After a round the model, the problems and then one line of `rounds.jsonl` are on disk; nothing
random is carried from round to round, so a run that goes on after a kill is the run that was never
interrupted.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, dataclass
from math import cos, inf, pi
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.io.files import append_line, write_text
from tinyadder.io.folder import load, save
from tinyadder.io.text import parse_json, read_text
from tinyadder.tasks.base import Problem
from tinyadder.train.checkpoint import GO_ON
from tinyadder.train.data import encode, training_source
from tinyadder.train.files import problem_lines, read_problems
from tinyadder.train.loop import Interrupted, Report
from tinyadder.train.prove_search import around, rivals, search, weakest
from tinyadder.train.recipe import Recipe
from tinyadder.train.steps import Batch, answer_loss
from tinyadder.verify.certify.prove import TimedVerdict, certify
from tinyadder.verify.verdict import Proved, Refuted

STEPS = 1000
"""Of one round."""
RATE = 0.3
"""Of the recipe's learning rate: where a round begins; it ends at a hundredth of that."""
MOST = 20_000
"""Problems kept; the oldest go first."""
SAMPLE, LEAST = 2000, 1e-3
"""Fresh problems whose margins give the scale, and the smallest margin that is wanted."""
ROUNDS, PROBLEMS, PROVED = "rounds.jsonl", "problems.jsonl", "proved"
"""Names of files and of the folder of a proved model."""


@dataclass(frozen=True)
class Budget:
    """Where the rounds end if no proof was found: whichever comes first."""

    rounds: int = 30
    seconds: float = 3600.0
    """By the clock, over all rounds."""


@dataclass(frozen=True)
class Round:
    """A line of `rounds.jsonl`: what was found about the model before the round, and what training
    on it gave.
    """

    round: int
    by: str
    """"search" or "prover"."""
    verdict: str
    """"proved", "refuted" or "unknown"."""
    said: str
    """A problem that is answered wrongly, or what the prover lacks."""
    wrong: int
    """Wrong answers among the problems found."""
    smallest: float
    """The smallest margin found, in logits."""
    problems: int
    """Kept for training after this round's were added."""
    loss: float | None
    """Mean over the last hundred steps; None where nothing was trained."""
    seconds: float
    """By the clock, of all rounds so far."""


class Proving:
    """The rounds of one trained model, with their files in `folder`: `rounds.jsonl`, the model and
    the problems of the last round in `rounds/N`, and in the end `proved`.
    """

    def __init__(self, recipe: Recipe, seed: int, folder: Path, start: Path) -> None:
        self.recipe, self.seed, self.folder, self.start = recipe, seed, folder, start
        self.rounds = read_rounds(folder / ROUNDS)
        if self.rounds:  # a line that a kill cut short goes
            lines = "".join(json.dumps(line) + "\n" for line in self.rounds)
            write_text(folder / ROUNDS, lines, way_out=GO_ON)
        where = self._of(len(self.rounds)) if self.rounds else start
        if self.proved:
            where = folder / PROVED
        self.model, self.described = load(where)
        if self.described.task.to_json() != recipe.task.to_json():
            raise TinyadderError(f"the model in {where} is of another task than the recipe")
        kept = where / PROBLEMS
        self.problems = (
            read_problems(recipe.task, str(kept)) if self.rounds and kept.exists() else []
        )

    def _of(self, number: int) -> Path:
        return self.folder / "rounds" / str(number)

    @property
    def seconds(self) -> float:
        """By the clock, of all rounds so far."""
        return self.rounds[-1]["seconds"] if self.rounds else 0.0

    @property
    def proved(self) -> bool:
        """Whether the last round ended in a proof."""
        return bool(self.rounds) and self.rounds[-1]["verdict"] == "proved"

    def run(self, budget: Budget, report: Report | None = None) -> bool:
        """Rounds, each told to `report`, until the model is proved (True: it lies in `proved`, with
        its certificate) or the budget ends.

        Ctrl-C raises `Interrupted`; the round it falls in is lost.
        """
        try:
            while not (
                self.proved or len(self.rounds) >= budget.rounds or self.seconds >= budget.seconds
            ):
                self.advance()
                if report:
                    report(self.rounds[-1])
        except KeyboardInterrupt:
            message = f"stopped after round {len(self.rounds)}; go on with --resume"
            raise Interrupted(message) from None
        return self.proved

    def advance(self) -> None:
        """One round."""
        began, number = time.monotonic() - self.seconds, len(self.rounds) + 1
        recipe, model = self.recipe, self.model.eval()
        weakest = search(model, recipe, f"{self.seed} {number}", self.problems)
        first, weak = next(iter(weakest.items()))
        if weak.margin <= 0:
            by, verdict, reason = "search", "refuted", recipe.task.show(first)
        else:
            judged = self._prove()
            by, reason = "prover", told(judged)
            verdict = type(judged.verdict).__name__.lower()
            weakest |= around(model, recipe, problems_of(judged), f"{self.seed} {number}")
        loss = None
        if verdict != "proved":
            self.problems = [*dict.fromkeys([*self.problems, *weakest])][-MOST:]
            loss = self._train(number)
            self._keep(number)
        margins = [weak.margin for weak in weakest.values()]
        this = Round(
            round=number,
            by=by,
            verdict=verdict,
            said=reason,
            wrong=sum(margin <= 0 for margin in margins),
            smallest=min(margins),
            problems=len(self.problems),
            loss=loss,
            seconds=round(time.monotonic() - began, 1),
        )
        line = asdict(this)
        append_line(self.folder / ROUNDS, json.dumps(line) + "\n", way_out=GO_ON)
        self.rounds.append(line)
        shutil.rmtree(self._of(number - 1), ignore_errors=True)

    def _prove(self) -> TimedVerdict:
        """Ask the prover; a model that is proved lies in `proved`."""
        folder = self.folder / "asked"
        self._save(folder)
        judged = certify(self.model, self.recipe.task, folder)
        if isinstance(judged.verdict, Proved):
            shutil.rmtree(self.folder / PROVED, ignore_errors=True)
            folder.rename(self.folder / PROVED)
        else:
            shutil.rmtree(folder)
        return judged

    def _save(self, folder: Path) -> None:
        facts = {
            **self.described.options,
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "rounds of counterexamples": len(self.rounds),
            "problems found": len(self.problems),
            "seconds of the rounds": self.seconds,
        }
        name = self.described.name
        save(self.model, self.recipe.task, folder, name=name, options=facts, force=True)

    def _keep(self, number: int) -> None:
        """The model and the problems after a round."""
        folder = self._of(number)
        self._save(folder)
        text = problem_lines(self.recipe.task, self.problems)
        write_text(folder / PROBLEMS, text, way_out=GO_ON)

    def _train(self, number: int) -> float:
        """Train on found and fresh problems in equal parts; the mean loss at the end."""
        recipe, model, train = self.recipe, self.model, self.recipe.train
        source, half = training_source(recipe, self.seed), max(1, train.batch // 2)
        fresh = source.take(STEPS * half, first=10**9 * number, workers=recipe.data.workers)
        sizes = [abs(weak.margin) for weak in weakest(model, recipe.task, fresh[:SAMPLE])]
        wanted = max(median(sizes) / 2, LEAST)
        examples = encode(recipe.task, [*fresh, *self.problems])
        random = np.random.default_rng([self.seed, number])
        optimizer = torch.optim.Adam(model.parameters(), betas=train.betas)
        model.train()
        torch.manual_seed(1_000_003 * self.seed + number)
        losses: list[float] = []
        for step in range(STEPS):
            places = len(fresh) + random.integers(len(self.problems), size=half)
            rows = np.concatenate([np.arange(step * half, (step + 1) * half), places])
            batch = Batch.of(examples.rows(rows), model, model.outputs.device)
            u = step / STEPS
            for group in optimizer.param_groups:
                group["lr"] = train.learning_rate * RATE * (0.01 + 0.99 * (1 + cos(pi * u)) / 2)
            optimizer.zero_grad(set_to_none=True)
            logits = model(batch.tokens[:, :-1])
            loss = margin_loss(logits, batch, wanted)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip or inf)
            optimizer.step()
            losses.append(float(loss.detach()))
        model.eval()
        last = losses[-100:]
        return round(sum(last) / len(last), 6)


def told(judged: TimedVerdict) -> str:
    """The verdict of the prover without the place of a certificate, which moves."""
    if isinstance(judged.verdict, Proved):
        return f"{judged.verdict.domain}, margin {judged.verdict.margin:.6g} in {judged.unit}"
    return str(judged.verdict)


def problems_of(judged: TimedVerdict) -> list[Problem]:
    """What the prover could not decide, and the problem that refutes the model."""
    if isinstance(judged.verdict, Refuted):
        return [judged.verdict.counterexample.problem, *judged.open]
    return list(judged.open)


def margin_loss(logits: Tensor, batch: Batch, wanted: float) -> Tensor:
    """Cross-entropy and relu(1 - margin / wanted)^2, each as the mean over the answers' tokens."""
    margins = rivals(logits[batch.mask], batch.targets[batch.mask])
    short = (1 - margins / wanted).relu().square().mean()
    return answer_loss(logits, batch) / batch.mask.sum() + short


def read_rounds(path: Path) -> list[dict[str, Any]]:
    """The lines of `rounds.jsonl`, none where there is no such file; a last one that a kill cut
    short is left out. Raises `TinyadderError` for a line that is none.
    """
    if not path.exists():
        return []
    *lines, _ = read_text(path).split("\n")
    rounds = []
    for number, text in enumerate(lines, 1):
        where = f"{path}, line {number}"
        line = parse_json(text, where)
        fits = isinstance(line, dict) and line.get("round") == number
        if not fits or not isinstance(line.get("seconds"), float) or "verdict" not in line:
            raise TinyadderError(f"{where} is not round {number} of counterexamples")
        rounds.append(line)
    return rounds
