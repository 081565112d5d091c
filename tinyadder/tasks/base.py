"""What every task offers: vocabulary, prompt, exact answer, input check, distributions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Any, final

import numpy as np

from tinyadder.errors import TinyadderError
from tinyadder.fields import check_fields

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy
    from jaxtyping import Int64

    from tinyadder.tasks.arrays import Arrays

Problem = Any
"""One question of a task, as plain comparable data: a tuple of integers, a string."""
Draw = Callable[[Random], Problem]
"""Draws one problem."""


@dataclass(frozen=True)
class Domain:
    """Problems of a task that can be counted off, each once: what an exhaustive check goes
    through.
    """

    name: str
    """What is counted, in words: 'the pairs of numbers of at most 3 digits'."""
    size: int
    problem: Callable[[int], Problem]
    """The problem with index 0 .. size - 1."""
    texts: Callable[[int, int], Int64[np.ndarray, "b t"]] | None = None
    """Token ids of prompt and right answer of the problems start .. stop - 1, where all have one
    length.
    """


EXAMPLES = 64
"""Problems of each distribution among which `Task.example` chooses."""


@dataclass(frozen=True)
class TaskCore(ABC):
    """What every task must give: these eleven members.

    A task's dataclass fields are its options, so that a task is data; `TASK` in its file names the
    class. A prompt and an answer are sequences of tokens: a string where every token is one
    character, else a tuple.
    """

    # ---- as tokens

    @property
    @abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """The tokens, in the order of their ids."""

    @property
    @abstractmethod
    def answer_length(self) -> int:
        """The most tokens an answer has, the end token included."""

    @abstractmethod
    def prompt(self, problem: Problem) -> Sequence[str]:
        """The tokens the model is given, from the beginning token on."""

    @abstractmethod
    def answer(self, problem: Problem) -> Sequence[str]:
        """The tokens the model must emit: the exact oracle."""

    # ---- to and from people

    @abstractmethod
    def check(self, problem: Any) -> Problem:
        """`problem` as plain data (integers of any library become int, lists tuples), if it is one
        of this task.

        Raises `TinyadderError` with what is accepted. What a model answers elsewhere is not
        defined.
        """

    @abstractmethod
    def parse(self, text: str) -> Problem:
        """The problem that a person wrote as `text`. Raises `TinyadderError` with what is
        accepted.
        """

    @abstractmethod
    def show(self, problem: Problem) -> str:
        """The problem as a person writes it; `parse` reads it back."""

    @abstractmethod
    def show_answer(self, answer: Sequence[str]) -> str:
        """An emitted answer as a person reads it; must not fail on wrong answers."""

    # ---- distributions

    @abstractmethod
    def uniform(self, random: Random, count: int) -> list[Problem]:
        """`count` problems, each digit (coefficient, ...) uniform."""

    @abstractmethod
    def draws(self) -> Sequence[Draw]:
        """The structured distribution, problems beside boundaries: what draws them, in turn."""

    @abstractmethod
    def hard(self) -> list[Problem]:
        """The fixed hard list: edges, boundaries, every counterexample ever found."""


@dataclass(frozen=True)
class Task(TaskCore):
    """A task: `TaskCore`, and what has a default. Options are checked against their annotations
    (`check_fields`).
    """

    def __post_init__(self) -> None:
        check_fields(self, self.name)

    @property
    def name(self) -> str:
        """The file in `tinyadder/tasks` that holds this task."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def end(self) -> str | None:
        """The token that ends an answer (part of the answer), or None where every answer is
        `answer_length` long.
        """
        return None

    # ---- the structured distribution, seeded and searched

    @final
    def structured(self, random: Random, count: int) -> list[Problem]:
        """`count` problems beside boundaries: the distribution that finds needles."""
        draws = self.draws()
        return [draws[i % len(draws)](random) for i in range(count)]

    @final
    def strategy(self) -> SearchStrategy[Problem]:
        """The same problems as a hypothesis strategy: what the draws take from `Random`, hypothesis
        chooses and shrinks.
        """
        from hypothesis import strategies as st

        chosen = st.randoms(use_true_random=False)
        return st.one_of([chosen.map(draw) for draw in self.draws()])

    def example(self) -> Problem:
        """A problem that shows something, for pictures: many different tokens in a short text."""

        def told(problem: Problem) -> float:
            text = [*self.prompt(problem), *(self.expected(problem) or ())]
            return len(set(text)) ** 2 / len(text) ** 1.5

        drawn = [*self.uniform(Random(0), EXAMPLES), *self.structured(Random(0), EXAMPLES)]
        return max(drawn, key=told)

    # ---- what is not generated, what is not known

    @property
    def has_oracle(self) -> bool:
        """Whether `answer` knows every right answer; a task that was saved without its function
        does not.
        """
        return True

    def expected(self, problem: Problem) -> Sequence[str] | None:
        """The right answer, or None where it is not known."""
        try:
            return self.answer(problem)
        except TinyadderError:
            if self.has_oracle:
                raise
            return None

    def format_answer(self, answer: Sequence[str]) -> str:
        """An emitted answer as it was written; where that is not how a person reads it, both.

        A number written from its last digit on is `46 (written 6400)`.
        """
        raw, text = "".join(answer), self.show_answer(answer)
        return raw if raw.removesuffix(self.end or "").endswith(text) else f"{text} (written {raw})"

    def read_at(self, problem: Problem) -> range | None:
        """Of a tagger: the positions of the prompt whose logits are the answer, read in one pass.

        None where the answer is generated after the prompt.
        """
        return None

    def forced(self, problem: Problem) -> tuple[Sequence[str], int]:
        """The tokens that show the model's choice of every answer token, and the position that
        chooses the first.

        The prompt and the right answer but its last token, from the prompt's end on; of a tagger
        the prompt.
        """
        prompt, read = self.prompt(problem), self.read_at(problem)
        if read is not None:
            return prompt, read.start
        return [*prompt, *self.answer(problem)[:-1]], len(prompt) - 1

    # ---- for the verifier

    def edges(self) -> list[Problem]:
        """The fixed problems that a public checker of this task asks besides random ones, if there
        is one.
        """
        return []

    def simpler(self, problem: Problem) -> list[Problem]:
        """Problems that a person would rather look at than `problem`, simplest first: what a
        counterexample shrinks to.

        Each is strictly simpler in one fixed order of the task, so that shrinking ends.
        """
        return []

    def remainder(self, problem: Problem, position: int) -> Fraction | None:
        """How much of the answer is left to write before answer token `position`, in units of that
        token's place.

        Known where an answer is a number written from its most significant digit on: the right
        digit is the floor.
        """
        return None

    def domain(self, **limits: int) -> Domain | None:
        """Every problem within the limits, or None where nobody wrote down how to count them off.

        What limits a task takes is its own affair (`Addition.domain(digits=3)`); it raises
        `TinyadderError` for others.
        """
        if limits:
            raise TinyadderError(
                f"the domain of task '{self.name}' takes no limit '{next(iter(limits))}'"
            )
        return None

    def arrays(self) -> Arrays | None:
        """How problems are written, read and answered many at once; None where nobody wrote it."""
        return None

    # ---- for training

    def show_reasoning(self, answer: Sequence[str]) -> str:
        """What an answer says before its result, where the task has it reason; empty elsewhere."""
        return ""

    def balanced(self, random: Random, count: int) -> list[Problem]:
        """`count` problems, each size (digits, degree) equally often; the uniform ones where a task
        has one size.
        """
        return self.uniform(random, count)

    def focused(self, random: Random, count: int) -> list[Problem]:
        """`count` problems to learn from, rare situations often; the structured ones where a task
        says nothing else.
        """
        return self.structured(random, count)

    def split_key(self, problem: Problem) -> Hashable:
        """What determines the answer: problems with equal keys are on one side of a split into
        training and test.

        Operands that may be exchanged stand in a fixed order, and what never changes the answer is
        left out (the constant of a polynomial to be differentiated). `tests/test_tasks.py` tries
        both on every task.
        """
        return problem

    def distinct_key(self, problem: Problem) -> Hashable:
        """Problems with equal keys are one of a list to be judged by: `split_key`, but where what
        never changes the answer makes the problem another all the same.
        """
        return self.split_key(problem)

    def traits(self, problem: Problem) -> Mapping[str, int]:
        """What accuracies are broken down by: degree, digits, operands, carry chain."""
        return {}

    def error(self, problem: Problem, answer: Sequence[str]) -> float | None:
        """|emitted - exact| / |exact| of an emitted number, infinite where it is none.

        Known where answers are rounded numbers, so that a near miss is worth something; None
        elsewhere.
        """
        return None

    @property
    def outside(self) -> str:
        """What problems are set apart as out of distribution, in words; empty where the task sets
        none apart.
        """
        return ""

    def is_outside(self, problem: Problem) -> bool:
        """Whether `problem` is of the kind `outside`: made of parts that all occur elsewhere, never
        together so.
        """
        return False

    @property
    def wider(self) -> Task | None:
        """The same task with larger numbers in the same tokens, for judging beyond the numbers of
        training; None where nobody wrote it.
        """
        return None

    # ---- token ids and JSON

    def encode(self, texts: Sequence[Sequence[str]]) -> Int64[np.ndarray, "b t"]:
        """Token ids of texts of one length. Raises `TinyadderError` for unequal lengths or unknown
        tokens.
        """
        ids = {token: i for i, token in enumerate(self.vocabulary)}
        try:
            rows = [[ids[token] for token in text] for text in texts]
        except KeyError as error:
            known = " ".join(self.vocabulary)
            raise TinyadderError(
                f"token {error} is not in the vocabulary of task '{self.name}': {known}"
            ) from None
        if len({len(row) for row in rows}) > 1:
            raise TinyadderError(
                "texts of different lengths cannot share a batch; group them by length"
            )
        return np.array(rows, dtype=np.int64).reshape(len(rows), -1)

    def decode(self, row: Sequence[int]) -> tuple[str, ...] | str:
        """The tokens of `row` up to and including the end token; a string where every token is one
        character.
        """
        tokens = tuple(self.vocabulary[i] for i in row)
        if self.end in tokens:
            tokens = tokens[: tokens.index(self.end) + 1]
        return "".join(tokens) if all(len(token) == 1 for token in self.vocabulary) else tokens

    def to_json(self) -> dict[str, Any]:
        """Name and options: what `task_from_json` needs."""
        return {"name": self.name, "options": asdict(self)}
