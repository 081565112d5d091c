"""Specifications: an automaton whose accepted paths are exactly the texts (prompt, right answer) of a task.

A specification visits every position of the text once, in an order of its own (addition: column by column from the
least significant); stage t reads the token at one position and moves from state to state. It is deterministic, every
state lies on an accepted path, and it is plain data. A separable function of the text, a sum of one table per
position, is then minimised exactly by a shortest path.

    >>> from tinyadder.tasks.addition import Addition
    >>> spec = specification(Addition(digits=2))
    >>> spec.count(), spec.length, spec.start
    (10000, 10, 7)
    >>> "".join(spec.sample(Random(0)))[:7].count("+")
    1

A new specification is one function that returns `relation(...)`: the order of positions, and for each the moves that
a state allows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from random import Random
from typing import Any

from tinyadder.tasks.base import Problem, Task

State = Hashable
Step = Callable[[Any], Iterable[tuple[str, State]]]
"""The moves out of a state: (token, next state)."""


class NoSpecification(Exception):
    """The task has no specification automaton, or the format does not fit one; the text says why."""


@dataclass(frozen=True)
class Stage:
    """One position of the text and the moves (from state, to state, token) that read it; states are numbers."""

    position: int
    edges: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class Specification:
    """Texts of `length` tokens of which the first `start` are the prompt. Stage 0 begins in state 0."""

    start: int
    length: int
    stages: tuple[Stage, ...]
    problem: Callable[[Sequence[str]], Problem]
    """The problem of the task that a text states."""

    def to_json(self) -> dict[str, Any]:
        """Plain data: what `digest` is the hash of."""
        stages = [{"position": s.position, "edges": [list(edge) for edge in s.edges]} for s in self.stages]
        return {"start": self.start, "length": self.length, "stages": stages}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        """The tokens that some text has at each position."""
        found: list[tuple[str, ...]] = [()] * self.length
        for stage in self.stages:
            found[stage.position] = tuple(sorted({token for _, _, token in stage.edges}))
        return tuple(found)

    @cached_property
    def _completions(self) -> list[dict[int, int]]:
        """For each stage and state, how many ways lead to the end."""
        counts: list[dict[int, int]] = [{dst: 1 for _, dst, _ in self.stages[-1].edges}]
        for stage in reversed(self.stages):
            found: dict[int, int] = {}
            for src, dst, _ in stage.edges:
                found[src] = found.get(src, 0) + counts[0][dst]
            counts.insert(0, found)
        return counts

    def count(self) -> int:
        """The number of texts, which is the number of problems."""
        return self._completions[0][0]

    def sample(self, random: Random) -> tuple[str, ...]:
        """One text, all equally likely."""
        text, state = [""] * self.length, 0
        for stage, after in zip(self.stages, self._completions[1:], strict=True):
            moves = [(dst, token) for src, dst, token in stage.edges if src == state]
            state, text[stage.position] = random.choices(moves, [after[dst] for dst, _ in moves])[0]
        return tuple(text)

    def texts(self) -> Iterable[tuple[str, ...]]:
        """Every text; for small ones."""
        states: list[tuple[int, tuple[tuple[int, str], ...]]] = [(0, ())]
        for stage in self.stages:
            states = [
                (dst, (*read, (stage.position, token)))
                for state, read in states
                for src, dst, token in stage.edges
                if src == state
            ]
        return (tuple(token for _, token in sorted(read)) for _, read in states)


def relation(
    start: int,
    stages: Sequence[tuple[int, Step]],
    first: State,
    accept: Callable[[Any], bool],
    problem: Callable[[Sequence[str]], Problem],
) -> Specification:
    """The specification with these stages: dead states removed, states numbered in the order of their first use."""
    layers: list[list[tuple[State, State, str]]] = []
    reached: set[State] = {first}
    for _, step in stages:
        edges = [(state, after, token) for state in reached for token, after in step(state)]
        layers.append(edges)
        reached = {after for _, after, _ in edges}
    alive = {state for state in reached if accept(state)}
    for t in reversed(range(len(layers))):
        layers[t] = [edge for edge in layers[t] if edge[1] in alive]
        alive = {src for src, _, _ in layers[t]}
    if not alive:
        raise NoSpecification("no text satisfies the specification")
    numbers: dict[State, int] = {first: 0}
    done = []
    for (position, _), edges in zip(stages, layers, strict=True):
        after: dict[State, int] = {}
        rows = []
        for src, dst, token in sorted(edges, key=lambda edge: (numbers[edge[0]], edge[2])):
            rows.append((numbers[src], after.setdefault(dst, len(after)), token))
        if len({(src, token) for src, _, token in rows}) < len(rows):
            raise NoSpecification(f"two moves of one state read the same token at position {position}")
        done.append(Stage(position, tuple(rows)))
        numbers = after
    length = len(stages)
    if sorted(stage.position for stage in done) != list(range(length)):
        raise NoSpecification("the stages do not visit every position once")
    return Specification(start, length, tuple(done), problem)


def read(token: str) -> Step:
    """The move that reads one fixed token and keeps the state."""
    return lambda state: [(token, state)]


def _addition(task: Any) -> Specification:
    """Columns from the least significant; the state is the sum of the column so far, then its carry."""
    from tinyadder.tasks.addition import DIGITS

    base, digits, width = task.base, task.digits, task.digits + task.padding
    answer = task.answer_length
    start = 1 + task.operands * (width + 1)

    def place(first: int, size: int, column: int) -> int:
        """The position of the digit of weight base^column in a number of `size` tokens from `first` on."""
        return first + (size - 1 - column if task.order == "most" else column)

    def operand(column: int, total: int) -> Iterable[tuple[str, State]]:
        return [(DIGITS[d], total + d) for d in range(base if column < digits else 1)]

    def written(total: int) -> Iterable[tuple[str, State]]:
        return [(DIGITS[total % base], total // base)]

    marks = [0, *(1 + k * (width + 1) + width for k in range(task.operands))]
    stages: list[tuple[int, Step]] = [
        (position, read("^" if position == 0 else "=" if position == start - 1 else "+")) for position in marks
    ]
    for column in range(max(width, answer)):
        if column < width:
            for k in range(task.operands):
                stages.append((place(1 + k * (width + 1), width, column), partial(operand, column)))
        if column < answer:
            stages.append((place(start, answer, column), written))

    def problem(text: Sequence[str]) -> Problem:
        numbers = "".join(text[1 : start - 1]).split("+")
        return tuple(int(n if task.order == "most" else n[::-1], base) for n in numbers)

    return relation(start, stages, 0, lambda carry: carry == 0, problem)


_SPECIFICATIONS: dict[str, Callable[[Any], Specification]] = {"addition": _addition}


def specification(task: Task) -> Specification:
    """The specification of `task`. Raises `NoSpecification` where nobody wrote one."""
    if task.name not in _SPECIFICATIONS:
        raise NoSpecification(
            f"task '{task.name}' has no specification automaton (there are: {', '.join(_SPECIFICATIONS)})"
        )
    return _SPECIFICATIONS[task.name](task)
