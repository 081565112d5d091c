"""Change one weight of a model at a time and see which input notices: what each weight is there
for.

A mutant is killed by an input that it answers wrongly; one that survives the tests is undecided,
until a proof says that it is right on all inputs.

The suite (`try_twice`, `run_suite`) holds tests and prover to each other over every mutant: proved
implies that no test fails, refuted implies a problem that comes out wrong when it is asked again
alone.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from tinyadder.errors import TinyadderError
from tinyadder.io.digest import weights_digest
from tinyadder.io.files import append_line, lock, write_text
from tinyadder.io.folder import save
from tinyadder.io.text import parse_json, read_text
from tinyadder.machine.answers import answers, is_right
from tinyadder.machine.tensors import place, plain_name, stored_name
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.verify.certify.prove import certify
from tinyadder.verify.counterexample import fails_alone, wrong_answer
from tinyadder.verify.properties import Grader
from tinyadder.verify.verdict import Counterexample, Proved, Refuted, Unknown

SAMPLES = 3000
"""Structured problems that a mutant is asked besides the hard list."""
FIRST = (16, 256)
"""Sizes of the first batches: most mutants fall at once."""

KINDS: dict[str, Callable[[float], float]] = {
    "zero": lambda value: 0.0,
    "negate": lambda value: -value,
    "scale by 1 + 1e-3": lambda value: value * (1 + 1e-3),
    "scale by 1 + 1e-6": lambda value: value * (1 + 1e-6),
    "scale by 1 + 1e-9": lambda value: value * (1 + 1e-9),
    "scale by 1 + 1e-12": lambda value: value * (1 + 1e-12),
    "float32": lambda value: float(torch.tensor(value, dtype=torch.float32)),
}
GO_ON = "free some space, then run it again: it goes on"
SWAP = "swap with the next"
VERDICTS = ("proved", "refuted", "unknown")


@dataclass(frozen=True)
class Mutant:
    """The model with some entries of one parameter changed."""

    parameter: str
    """Its name in `model.named_parameters()`."""
    place: str
    """The changed weight in words."""
    kind: str
    change: tuple[tuple[int, float], ...]
    """(flat index, new value) of every entry that differs."""


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: the input that killed it, or the verdict of a proof, or neither."""

    mutant: Mutant
    killed: Counterexample | None
    judged: Proved | Refuted | Unknown | None = None

    @property
    def word(self) -> str:
        """`load-bearing`, `redundant` (proved) or `undecided`."""
        return (
            "load-bearing"
            if self.killed
            else "redundant"
            if isinstance(self.judged, Proved)
            else "undecided"
        )


def mutants(model: Transformer, kinds: Sequence[str] = (*KINDS, SWAP)) -> Iterator[Mutant]:
    """Every change of `kinds` to every weight, zeros included, that changes anything.

    A shared weight is changed once, for all its readers. A swap exchanges a weight with the next of
    its parameter.
    """
    unread = {(stored_name(name), flat) for name, flat, _ in model.config.ties}
    for name, parameter in model.named_parameters():
        values = parameter.detach().reshape(-1).tolist()
        read = [flat for flat in range(len(values)) if (name, flat) not in unread]
        following = dict(pairwise(read))
        for flat in read:
            for kind in kinds:
                change: tuple[tuple[int, float], ...]
                if kind == SWAP:
                    other = following.get(flat, flat)
                    change = ((flat, values[other]), (other, values[flat]))
                else:
                    change = ((flat, KINDS[kind](values[flat])),)
                if any(new != values[at] for at, new in change):
                    yield Mutant(name, _place(model, name, flat), kind, change)


def _place(model: Transformer, name: str, flat: int) -> str:
    index = np.unravel_index(flat, model.get_parameter(name).shape)
    return place(model, plain_name(name), tuple(map(int, index)))


@contextmanager
def mutated(model: Transformer, mutant: Mutant) -> Iterator[Transformer]:
    """The model with the change, put back bit for bit afterwards."""
    entries = model.get_parameter(mutant.parameter).data.view(-1)
    before = entries.clone()
    try:
        for flat, value in mutant.change:
            entries[flat] = value
        yield model
    finally:
        entries.copy_(before)


def problems_for(task: Task, seed: int = 0) -> list[Problem]:
    """What every mutant is asked: edges, the hard list, structured samples; in a seeded order, so
    that few suffice.
    """
    random = Random(seed)
    asked = list(dict.fromkeys([*task.edges(), *task.hard(), *task.structured(random, SAMPLES)]))
    random.shuffle(asked)
    return asked


def first_wrong(model: Transformer, task: Task, problems: Sequence[Problem]) -> Problem | None:
    """The first of `problems` that `model` answers wrongly by greedy decoding, asked in batches of
    growing size.
    """
    start = 0
    for size in (*FIRST, len(problems)):
        batch = problems[start : start + size]
        for problem, got in zip(batch, answers(model, task, batch), strict=True):
            if not is_right(task, problem, got):
                return problem
        start += size
    return None


def try_mutant(
    model: Transformer,
    task: Task,
    mutant: Mutant,
    problems: Sequence[Problem],
    prove: Callable[[Transformer], Proved | Refuted | Unknown] | None = None,
) -> Fate:
    """Ask the mutant; `prove` judges one that answers all rightly. What kills is shrunk and asked
    again alone.
    """
    with mutated(model, mutant) as changed:
        problem = first_wrong(changed, task, problems)
        if problem is not None:
            smallest = Grader(changed, task).shrink(problem)
            return Fate(
                mutant,
                wrong_answer(changed, task, smallest) or wrong_answer(changed, task, problem),
            )
        judged = prove(changed) if prove else None
        return Fate(mutant, judged.counterexample if isinstance(judged, Refuted) else None, judged)


def judged(model: Transformer, task: Task) -> Proved | Refuted | Unknown:
    """The verdict on a mutant: Proved is the checker's, on the mutant saved to a folder of its
    own.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            save(model, task, folder, name="mutant", options={}, force=True)
        except TinyadderError as reason:  # a weight that float32 cannot hold became infinite
            return Unknown(str(reason))
        return certify(model, task, Path(folder)).verdict


# ---- the suite -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """A mutant put to the tests and to the prover, neither of which knows what the other found."""

    parameter: str
    place: str
    kind: str
    wrong: str | None
    """A problem of the tests that it answers wrongly."""
    verdict: str
    """`proved` (by the checker), `refuted` or `unknown`."""
    because: str
    """The margin of the proof, the refuting problem, or what is missing."""
    violation: str | None
    """How tests and verdict contradict each other."""
    seconds: float
    """Processor time."""


def try_twice(
    model: Transformer,
    task: Task,
    mutant: Mutant,
    problems: Sequence[Problem],
    prove: Callable[[Transformer, Task], Proved | Refuted | Unknown] = judged,
) -> Trial:
    """Ask the mutant `problems` and let `prove` judge it, whatever the answers were."""
    began = time.process_time()
    with mutated(model, mutant) as changed:
        problem = first_wrong(changed, task, problems)
        verdict = prove(changed, task)
        wrong, violation = None if problem is None else task.show(problem), None
        if isinstance(verdict, Proved):
            because = f"smallest margin {verdict.margin:.6g}"
            violation = wrong and f"proved, but a test fails: {wrong}"
        elif isinstance(verdict, Refuted):
            result = verdict.counterexample
            because = result.shown
            if not result.only and not fails_alone(changed, task, result.problem):
                violation = f"refuted by {result.shown}, which comes out right when asked alone"
        else:
            because = verdict.reason
    seconds = time.process_time() - began
    word = type(verdict).__name__.lower()
    return Trial(
        mutant.parameter, mutant.place, mutant.kind, wrong, word, because, violation, seconds
    )


def run_suite(
    model: Transformer,
    task: Task,
    folder: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Trial]:
    """`try_twice` for every mutant of every kind. What was done is kept in `folder`; a run that was
    stopped goes on.

    `progress` is called with the mutants done and all there are.
    """
    problems, every = problems_for(task, seed), list(mutants(model))
    text = [weights_digest(model), task.to_json(), [repr(problem) for problem in problems], *KINDS]
    key = hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{key}.jsonl"
    with lock(folder, "trying mutants"):
        trials = _kept(path, every)
        # without the line that a kill may have cut
        write_text(path, "".join(map(_line, trials)), way_out=GO_ON)
        for mutant in every[len(trials) :]:
            trials.append(try_twice(model, task, mutant, problems))
            append_line(path, _line(trials[-1]), way_out=GO_ON)
            if progress:
                progress(len(trials), len(every))
    return trials


def _line(trial: Trial) -> str:
    return json.dumps(asdict(trial)) + "\n"


def _kept(path: Path, every: Sequence[Mutant]) -> list[Trial]:
    """The trials of an earlier run, as far as they are those of the first mutants of `every`."""
    result: list[Trial] = []
    lines = read_text(path).split("\n") if path.exists() else ()
    for line, mutant in zip(lines, every, strict=False):
        try:
            trial = Trial(**parse_json(line, "a line"))
        except (ValueError, TypeError):
            break
        wanted = (mutant.parameter, mutant.place, mutant.kind)
        if (trial.parameter, trial.place, trial.kind) != wanted:
            break
        result.append(trial)
    return result


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """Counts by kind and verdict, violations, what is redundant (proved with a zero there),
    unknowns no test kills.
    """
    kinds = dict.fromkeys(trial.kind for trial in trials)
    counts = {
        k: {v: sum((t.kind, t.verdict) == (k, v) for t in trials) for v in VERDICTS} for k in kinds
    }
    survivors = [t for t in trials if t.wrong is None]
    return {
        "mutants": len(trials),
        **{verdict: sum(t.verdict == verdict for t in trials) for verdict in VERDICTS},
        "violations": [asdict(t) for t in trials if t.violation],
        "killed by tests": len(trials) - len(survivors),
        "refuted, though no test failed": sum(t.verdict == "refuted" for t in survivors),
        "by kind": counts,
        "redundant": [t.place for t in trials if t.kind == "zero" and t.verdict == "proved"],
        "undecided": [
            f"{t.kind}: {t.place}: {t.because}" for t in survivors if t.verdict == "unknown"
        ],
        "seconds": sum(t.seconds for t in trials),
    }
