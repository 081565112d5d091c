"""Change one stored number of a model at a time and see which input notices: what each number is there for.

A mutant is killed by an input that it answers wrongly; one that survives the tests is undecided, until a proof says
that it is right on all inputs. The invariant "proved implies that no test fails" holds prover and tests to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import torch

from tinyadder.answers import answers
from tinyadder.tasks.base import Problem, Task
from tinyadder.transformer import Transformer
from verify.count import place
from verify.counterexample import wrong_answer
from verify.properties import Judge
from verify.verdict import Counterexample, Proved, Refuted, Unknown

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
}
SWAP = "swap with the next"


@dataclass(frozen=True)
class Mutant:
    """The model with some entries of one parameter changed."""

    parameter: str
    """Its name in `model.named_parameters()`."""
    place: str
    """The changed number in words."""
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
        return "load-bearing" if self.killed else "redundant" if isinstance(self.judged, Proved) else "undecided"


def mutants(model: Transformer, kinds: Sequence[str] = (*KINDS, SWAP)) -> Iterator[Mutant]:
    """Every change of `kinds` to every stored number, zeros included, that changes anything.

    A shared number is changed once, for all its readers. A swap exchanges a number with the next of its parameter.
    """
    unread = {(_original(name), flat) for name, flat, _ in model.config.ties}
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


def _original(name: str) -> str:
    path, _, leaf = name.rpartition(".")
    return f"{path}.parametrizations.{leaf}.original" if path else f"parametrizations.{leaf}.original"


def _place(model: Transformer, name: str, flat: int) -> str:
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), model.get_parameter(name).shape))
    return place(model, name.replace("parametrizations.", "").removesuffix(".original"), index)


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
    """What every mutant is asked: edges, the hard list, structured samples; in a seeded order, so that few suffice."""
    random = Random(seed)
    asked = list(dict.fromkeys([*task.edges(), *task.hard(), *task.sample(random, SAMPLES)]))
    random.shuffle(asked)
    return asked


def first_wrong(model: Transformer, task: Task, problems: Sequence[Problem]) -> Problem | None:
    """The first of `problems` that `model` answers wrongly by greedy decoding, asked in batches of growing size."""
    start = 0
    for size in (*FIRST, len(problems)):
        batch = problems[start : start + size]
        for problem, got in zip(batch, answers(model, task, batch), strict=True):
            if tuple(got) != tuple(task.answer(problem)):
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
    """Ask the mutant; `prove` judges one that answers all rightly. What kills is shrunk and asked again alone."""
    with mutated(model, mutant) as changed:
        problem = first_wrong(changed, task, problems)
        if problem is not None:
            smallest = Judge(changed, task).shrink(problem)
            return Fate(mutant, wrong_answer(changed, task, smallest) or wrong_answer(changed, task, problem))
        judged = prove(changed) if prove else None
        return Fate(mutant, judged.counterexample if isinstance(judged, Refuted) else None, judged)
