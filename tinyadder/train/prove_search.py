"""Problems that a model answers wrongly, or rightly by the smallest margin: what it is trained on
next. Cheap, and no proof.

Problems of the task's own samplers and its hard list come first; then those with the smallest
margins are varied, again and again: a stretch of the text is drawn anew, along the specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.lengths import by_length
from tinyadder.train.data import split_of
from tinyadder.train.recipe import Recipe
from tinyadder.verify.certify.spec import NoSpecification, Specification, specifications
from tinyadder.verify.counterexample import forced_logits

DRAWN = 4000
"""Problems of each sampler."""
PARENTS, CHILDREN, GENERATIONS = 400, 5, 12
VARIETY, KEPT = 20, 1000
"""Problems that one search hands over at most."""


@dataclass(frozen=True)
class Weak:
    """Where an answer has its smallest margin; a margin of at most 0 is a wrong answer."""

    margin: float
    position: int
    """Of the answer token, from 0 on."""
    token: str
    """The right one."""

    @property
    def kind(self) -> tuple[int, str]:
        """Problems that are weak at the same token of the same position are much alike."""
        return self.position, self.token


def rivals(
    logits: Float[Tensor, "*lead o"], targets: Float[Tensor, "*lead"]
) -> Float[Tensor, "*lead"]:
    """Margins: the logit of the right token less the largest other one."""
    right = logits.gather(-1, targets[..., None])
    others = logits.scatter(-1, targets[..., None], -torch.inf).amax(-1)
    return right[..., 0] - others


def weakest(model: Transformer, task: Task, problems: Sequence[Problem]) -> list[Weak]:
    """The smallest margin over the answer of each problem, given the right tokens before: above 0
    exactly where greedy decoding is right.
    """
    index = {task.vocabulary[token]: n for n, token in enumerate(model.config.outputs)}
    result = [Weak(-inf, 0, "")] * len(problems)
    for group in by_length(((task.prompt(p), task.answer(p)) for p in problems), 2048):
        chosen = [problems[i] for i in group]
        answers = [task.answer(p) for p in chosen]
        targets = torch.tensor([[index[token] for token in answer] for answer in answers])
        margins = rivals(forced_logits(model, task, chosen), targets).nan_to_num(-inf, neginf=-inf)
        for i, answer, row in zip(group, answers, margins.tolist(), strict=True):
            at = row.index(min(row))
            result[i] = Weak(row[at], at, answer[at])
    return result


class Variations:
    """Texts of a task, varied along its specifications; problems stay as they are where it has
    none.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        try:
            known = specifications(task)
        except NoSpecification:
            known = []
        self.known = [(spec, moves_of(spec)) for spec in known]

    def of(self, problem: Problem, random: Random) -> Problem:
        """`problem` with a stretch of its text drawn anew; behind it the old tokens stay wherever
        the specification allows them.
        """
        old = [*self.task.prompt(problem), *self.task.answer(problem)]
        having = [(spec, moves) for spec, moves in self.known if spec.has(old)]
        if not having:
            return problem
        spec, moves = having[0]
        states = [0]
        for stage, ways in zip(spec.stages, moves, strict=True):
            states.append(ways[states[-1]][old[stage.position]])
        first = random.randrange(spec.length)
        last = min(spec.length, first + 1 + int(random.expovariate(0.3)))
        text, state = list(old), states[first]
        for n in range(first, spec.length):
            if n >= last and state == states[n]:
                break
            onward, position = moves[n][state], spec.stages[n].position
            token = old[position]
            if n < last or token not in onward:
                token = random.choice(list(onward))
            text[position], state = token, onward[token]
        return spec.problem(text)


def moves_of(spec: Specification) -> list[dict[int, dict[str, int]]]:
    """For every stage: state -> token -> next state."""
    moves: list[dict[int, dict[str, int]]] = []
    for stage in spec.stages:
        ways: dict[int, dict[str, int]] = {}
        for state, after, token in stage.edges:
            ways.setdefault(state, {})[token] = after
        moves.append(ways)
    return moves


Margins = dict[Problem, Weak]


def search(model: Transformer, recipe: Recipe, seed: str, known: Sequence[Problem] = ()) -> Margins:
    """The hardest problems of the training split, the smallest margin first: of those drawn, the
    hard list and `known` ones, and of what varying the hardest gives.

    Held-out problems are neither asked nor returned.
    """
    task, random = recipe.task, Random(seed)
    samplers = (task.uniform, task.balanced, task.structured, task.focused)
    drawn = [p for sampler in samplers for p in sampler(random, DRAWN)]
    asked: Margins = {}

    def ask(problems: Sequence[Problem]) -> None:
        new = [p for p in trainable(recipe, problems) if p not in asked]
        asked.update(zip(new, weakest(model, task, new), strict=True))

    ask([*task.hard(), *known, *drawn])
    variations = Variations(task)
    for _ in range(GENERATIONS if variations.known else 0):
        parents = hardest(asked, PARENTS)
        ask([variations.of(p, random) for p in parents for _ in range(CHILDREN)])
    return hardest(asked, KEPT)


def around(model: Transformer, recipe: Recipe, problems: Sequence[Problem], seed: str) -> Margins:
    """Margins of `problems` and of variations of them, as far as they are of the training split."""
    varied, random = Variations(recipe.task), Random(seed)
    more = [varied.of(p, random) for p in problems for _ in range(CHILDREN)]
    asked = trainable(recipe, [*problems, *more])
    return dict(zip(asked, weakest(model, recipe.task, asked), strict=True))


def trainable(recipe: Recipe, problems: Sequence[Problem]) -> list[Problem]:
    """Those of the training split, each once."""
    held_out = recipe.data.held_out
    return [p for p in dict.fromkeys(problems) if split_of(recipe.task, p, held_out) == "train"]


def hardest(margins: Margins, count: int) -> Margins:
    """`count` of them, the smallest margin first, and of one kind at most a `VARIETY`-th."""
    taken, kinds = Margins(), dict[tuple[int, str], int]()
    for problem, weak in sorted(margins.items(), key=lambda pair: pair[1].margin):
        kinds[weak.kind] = kinds.get(weak.kind, 0) + 1
        if kinds[weak.kind] * VARIETY <= count:
            taken[problem] = weak
        if len(taken) == count:
            break
    return taken
