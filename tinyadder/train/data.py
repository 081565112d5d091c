"""Problems for training: drawn from a seed alone, split strictly, encoded once, dealt in batches.

A problem belongs to a split by the hash of its key, and the key is the same for the same operands
in another order. No list of problems is needed to tell training problems from held-out ones,
however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from random import Random
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

from tinyadder.errors import TinyadderError
from tinyadder.tasks.base import Problem, Task
from tinyadder.train.files import read_problems
from tinyadder.train.recipe import Recipe

Split = Literal["train", "validation", "test"]
Placement = Literal["any", "inside", "outside"]
"""All problems, or those that the task does not, or does, set apart as out of distribution
(`Task.is_outside`).
"""
CHUNK = 1000
"""Problems drawn from one random stream: the unit that workers share out."""


def split_of(task: Task, problem: Problem, held_out: float) -> Split:
    """The split of `problem` by the hash of its key: `held_out` of all keys, three quarters of
    these for the test.
    """
    digest = blake2b(
        repr(task.split_key(problem)).encode(), digest_size=8, person=b"split"
    ).digest()
    u = int.from_bytes(digest) / 2**64
    return "test" if u < 0.75 * held_out else "validation" if u < held_out else "train"


@dataclass(frozen=True)
class Source:
    """A stream of problems of one split: data, so that a worker can be given it."""

    task: Task
    distribution: str
    split: Split | None
    """None takes the problems of every split, as they are drawn."""
    held_out: float
    seed: int
    digits: int = 0
    """At most so many digits an operand; 0 for no limit."""
    kind: Placement = "any"

    def chunk(self, number: int) -> list[Problem]:
        """The problems of chunk `number`: the same whoever draws it. May be empty where the split
        is rare.
        """
        random = Random(f"{self.seed} {self.split} {self.distribution} {number}")
        result = self._draw(random, number)
        return [p for p in result if self._fits(p)]

    def _fits(self, problem: Problem) -> bool:
        if self.kind != "any" and self.task.is_outside(problem) != (self.kind == "outside"):
            return False
        return self.split is None or split_of(self.task, problem, self.held_out) == self.split

    def _draw(self, random: Random, number: int) -> list[Problem]:
        task: Task = replace(self.task, digits=self.digits) if self.digits else self.task  # type: ignore[call-arg]
        if self.distribution == "mixed":
            return (task.uniform, task.balanced, task.structured)[number % 3](random, CHUNK)
        samplers = {
            "uniform": task.uniform,
            "balanced": task.balanced,
            "structured": task.structured,
            "focused": task.focused,
        }
        return samplers[self.distribution](random, CHUNK)

    def take(self, count: int, *, first: int = 0, workers: int = 0) -> list[Problem]:
        """`count` problems from chunk `first` on. Raises `TinyadderError` where this split holds
        none.
        """
        result = list(islice((p for chunk in self._chunks(first, workers) for p in chunk), count))
        if len(result) < count:
            limit = f" of at most {self.digits} digits" if self.digits else ""
            raise TinyadderError(
                f"no {self.split} problems{limit} of task '{self.task.name}' ({self.distribution})"
                f" were found in {EMPTY} chunks: the data set is empty; hold out another part than"
                f" {self.held_out}"
            )
        return result

    def distinct(self, count: int) -> list[Problem]:
        """At most `count` problems, no key twice: a set to be judged by; fewer where the split has
        fewer.
        """
        result: dict[object, Problem] = {}
        for number in range(max(EMPTY, 100 * count // CHUNK)):
            before = len(result)
            for problem in self.chunk(number):
                result.setdefault(self.task.distinct_key(problem), problem)
            if len(result) >= count or (number > EMPTY and len(result) == before):
                break
        if not result:
            raise TinyadderError(
                f"no {self.split} problems of task '{self.task.name}': the data set is empty; hold"
                " out more"
            )
        return list(result.values())[:count]

    def _chunks(self, first: int, workers: int) -> Iterator[list[Problem]]:
        """Chunk after chunk; ends when `EMPTY` of them in a row held nothing."""
        barren, number = 0, first
        with ProcessPoolExecutor(workers) if workers else _Here() as pool:
            while barren < EMPTY:
                for chunk in pool.map(self.chunk, range(number, number + 4 * max(1, workers))):
                    barren = 0 if chunk else barren + 1
                    yield chunk
                number += 4 * max(1, workers)


EMPTY = 50


class _Here:
    """The executor that works in this process."""

    map = staticmethod(map)

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def training_source(recipe: Recipe, seed: int, digits: int = 0) -> Source:
    """What the run of this seed draws its training problems from."""
    d = recipe.data
    return Source(
        recipe.task, d.distribution, "train", d.held_out, 1000 * d.seed + seed, digits, d.kind
    )


def training_problems(recipe: Recipe, seed: int, pool: int = 0, digits: int = 0) -> list[Problem]:
    """The training problems of the run of this seed: those of pool `pool`, or of the recipe's file.

    Raises `TinyadderError` for a file that holds too few.
    """
    d = recipe.data
    if not d.file:
        first = pool * 1_000_000 * (d.examples // CHUNK + 1)
        return training_source(recipe, seed, digits).take(
            d.examples, first=first, workers=d.workers
        )
    problems = read_problems(recipe.task, d.file, d.answers)
    if d.leaks == "drop":
        held_out = {
            recipe.task.split_key(problem)
            for split in ("validation", "test")
            for problem in held_out_problems(recipe, split)
        }
        problems = [p for p in problems if recipe.task.split_key(p) not in held_out]
    if len(problems) < d.examples:
        raise TinyadderError(
            f"{d.file} holds {len(problems):,} problems"
            + " that are not held out" * (d.leaks == "drop")
            + f", [data] examples asks for {d.examples:,}; lower it, or add some"
        )
    return problems[: d.examples]


def held_out_problems(recipe: Recipe, split: Literal["validation", "test"]) -> list[Problem]:
    """What runs of this recipe are judged by: from its file, or drawn from its seed."""
    d = recipe.data
    file = d.validation_file if split == "validation" else d.test_file
    count = d.validation if split == "validation" else d.test
    if file:
        return read_problems(recipe.task, file)[:count]
    return held_out_source(recipe, split, d.seed).distinct(count)


def held_out_source(recipe: Recipe, split: Split, seed: int) -> Source:
    """What held-out problems are drawn from."""
    d = recipe.data
    return Source(recipe.task, d.judged or d.distribution, split, d.held_out, seed, kind=d.kind)


def check_leaks(task: Task, splits: Mapping[str, Sequence[Problem]]) -> None:
    """Raise `TinyadderError` if a prompt, or the same operands in another order, is in two
    splits.
    """
    owner: dict[object, tuple[str, Problem]] = {}
    leaks: dict[tuple[str, str], list[tuple[Problem, Problem]]] = {}
    for name, problems in splits.items():
        for problem in problems:
            where, first = owner.setdefault(task.split_key(problem), (name, problem))
            if where != name:
                leaks.setdefault((where, name), []).append((first, problem))
    for (one, other), pairs in leaks.items():
        count = len({task.split_key(problem) for _, problem in pairs})
        first, again = (task.show(problem) for problem in pairs[0])
        share = 100 * len(pairs) / len(splits[other])
        raise TinyadderError(
            f"leaking data: {count} problems of '{other}' ({share:.1f} % of it) are in '{one}' too,"
            f" e.g. '{again}'"
            + (f" (there '{first}')" if again != first else "")
            + "; split by Task.split_key, or leave them out with [data] leaks = 'drop'"
        )


@dataclass(frozen=True)
class Examples:
    """Encoded problems: prompt and answer in one row, zeros behind."""

    tokens: Int64[np.ndarray, "n t"]
    prompt: Int64[np.ndarray, " n"]
    """Length of the prompt."""
    length: Int64[np.ndarray, " n"]
    """Length of prompt and answer together."""

    def __len__(self) -> int:
        return len(self.tokens)

    def rows(self, index: Int64[np.ndarray, " b"]) -> Examples:
        """Some of the rows, cut to the longest of them."""
        length = self.length[index]
        return Examples(self.tokens[index, : length.max()], self.prompt[index], length)

    def text_mask(self) -> Bool[np.ndarray, "n t-1"]:
        """True where the token after this position belongs to prompt or answer."""
        return np.arange(self.tokens.shape[1] - 1) < self.length[:, None] - 1

    def answer_mask(self) -> Bool[np.ndarray, "n t-1"]:
        """True where the token after this position belongs to the answer: the positions that are
        trained.
        """
        at = np.arange(self.tokens.shape[1] - 1)
        return (at >= self.prompt[:, None] - 1) & (at < self.length[:, None] - 1)


def encode(task: Task, problems: Sequence[Problem]) -> Examples:
    """Rows for `problems`. Raises `TinyadderError` when there are none."""
    if not problems:
        raise TinyadderError(f"an empty data set of task '{task.name}'; draw at least one problem")
    ids = {token: i for i, token in enumerate(task.vocabulary)}
    prompts = [[ids[token] for token in task.prompt(problem)] for problem in problems]
    texts = [
        [*p, *(ids[token] for token in task.answer(q))]
        for p, q in zip(prompts, problems, strict=True)
    ]
    length = np.array([len(text) for text in texts])
    tokens = np.zeros((len(texts), length.max()), dtype=np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = text
    return Examples(tokens, np.array([len(p) for p in prompts]), length)


def order(examples: Examples, batch: int, seed: int, epoch: int) -> Int64[np.ndarray, "batches b"]:
    """The batches of one epoch: shuffled, with rows of like length together (in stretches of 32
    batches).
    """
    random = np.random.default_rng([seed, epoch])
    count = max(1, len(examples) // batch)
    index = random.permutation(max(len(examples), batch))[: count * batch] % len(examples)
    if int(examples.length.min()) != int(examples.length.max()):
        stretch = 32 * batch
        parts = [index[at : at + stretch] for at in range(0, len(index), stretch)]
        index = np.concatenate(
            [part[np.argsort(examples.length[part], kind="stable")] for part in parts]
        )
    return random.permutation(index.reshape(count, batch))
