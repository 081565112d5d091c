"""Everything worth knowing about one wrong answer: where it goes wrong, by how much, and whose
fault it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.verify.exact import ExactTransformer
from tinyadder.verify.verdict import Counterexample

NO_NUMBER = "?"
"""Stands for a token whose logits hold NaN or infinity: nothing was computed, whatever `argmax`
makes of it.
"""


@torch.inference_mode()
def forced_logits(
    model: Transformer, task: Task, problems: Sequence[Problem]
) -> Float[Tensor, "b n o"]:
    """Logits at every answer position given the right answer before it, by the plain forward pass.

    All problems must have prompts of one length and answers of one length.
    """
    texts, firsts = zip(*map(task.forced, problems), strict=True)
    tokens = torch.from_numpy(task.encode(texts)).to(model.outputs.device)
    return model(tokens)[:, firsts[0] :][:, : len(task.answer(problems[0]))]


def plain_answers(
    model: Transformer, task: Task, problems: Sequence[Problem]
) -> list[tuple[str, ...]]:
    """Teacher-forced answers by the plain forward pass, `?` where a logit is NaN or infinite.

    The first wrong token of each is what greedy decoding with this forward pass would emit there.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, problem in enumerate(problems):
        groups.setdefault((len(task.prompt(problem)), len(task.answer(problem))), []).append(i)
    found: list[tuple[str, ...]] = [()] * len(problems)
    for group in groups.values():
        logits = forced_logits(model, task, [problems[i] for i in group])
        tokens, numbers = (
            model.outputs[logits.argmax(-1)].tolist(),
            logits.isfinite().all(-1).tolist(),
        )
        for i, row, finite in zip(group, tokens, numbers, strict=True):
            pairs = zip(row, finite, strict=True)
            found[i] = tuple(task.vocabulary[token] if good else NO_NUMBER for token, good in pairs)
    return found


def wrong_answer(model: Transformer, task: Task, problem: Problem) -> Counterexample | None:
    """The problem with the model's wrong answer to it; None where the model is right.

    Decoded greedily from the prompt alone; where that comes out right, teacher-forced by the plain
    forward pass.
    """
    expected = task.answer(problem)
    (got,) = answers(model, task, [problem], batch=1)
    if tuple(got) == tuple(expected):
        (forced,) = plain_answers(model, task, [problem])
        got = "".join(forced) if isinstance(expected, str) else forced
    return (
        None
        if tuple(got) == tuple(expected)
        else Counterexample(problem, task.show(problem), expected, got)
    )


@dataclass(frozen=True)
class Report:
    """A counterexample explained; positions count answer tokens from 0, logits stand after the
    right tokens before.
    """

    counterexample: Counterexample
    forced: Sequence[str]
    """The teacher-forced answer: each token given the right ones before it."""
    batches: Mapping[int, str]
    """The greedy answer in batches of this many copies of the problem: rounding may depend on
    it.
    """
    position: int
    right: str
    chosen: str
    right_logit: float | None
    """None where the right or the chosen token has no logit, or it is no number."""
    chosen_logit: float | None
    exact: str | None
    """The token that real arithmetic chooses there, with the same weights; None where it was not
    evaluated or ties.
    """
    exact_margin: float | None
    """In real arithmetic: the right token's logit less the largest other one."""
    cause: str
    """'algorithm' where real arithmetic is wrong as well, 'rounding' where it is right, else why
    nobody knows.
    """
    remainder: Fraction | None
    """What the task can say: how much was left to write, in units of this token's place."""

    @property
    def margin(self) -> float | None:
        """Logit of the right token less that of the chosen one: negative, the distance to a right
        answer.
        """
        if self.right_logit is None or self.chosen_logit is None:
            return None
        return self.right_logit - self.chosen_logit

    def lines(self, replay: str | None = None) -> list[str]:
        """The report in sentences, to stand below the verdict; `replay` is the command that shows
        it again.
        """
        found = [
            f"where      answer token {self.position + 1} of {len(self.counterexample.expected)}: "
            f"'{self.chosen}' for '{self.right}'; {self._forced()}"
        ]
        if self.margin is None:
            found.append("logits     not numbers (NaN or infinity), or none for one of the two")
        else:
            found.append(
                f"logits     '{self.right}' {self.right_logit:.17g}, '{self.chosen}'"
                f" {self.chosen_logit:.17g}: margin {self.margin:.6g}"
            )
        if self.remainder is not None:
            gap = min(self.remainder % 1, 1 - self.remainder % 1)
            found.append(
                f"remainder  {float(self.remainder):.12g} places of this digit are left to write, "
                f"{float(gap):.3g} from the nearest whole number"
            )
        found.append(f"cause      {self._cause()}")
        sizes = "; ".join(f"{answer} in a batch of {size}" for size, answer in self.batches.items())
        found.append(f"batches    {sizes}")
        if replay:
            found.append(f"replay     {replay}")
        return found

    def _forced(self) -> str:
        agrees = self.position < len(self.forced) and self.forced[self.position] == self.chosen
        return f"teacher-forced {'agrees' if agrees else 'differs'} ({''.join(self.forced)})"

    def _cause(self) -> str:
        if self.cause == "algorithm":
            said = f"the algorithm: in real arithmetic the same weights also choose '{self.exact}'"
        elif self.cause == "rounding":
            said = f"rounding: in real arithmetic the same weights choose '{self.exact}'"
        else:
            return f"unknown: {self.cause}"
        return f"{said} (margin {self.exact_margin:.6g})"

    def to_json(self) -> dict[str, object]:
        """Plain data; the counterexample itself stands in the verdict."""
        known = {
            name: value
            for name, value in vars(self).items()
            if name not in ("counterexample", "batches")
        }
        left = None if self.remainder is None else str(self.remainder)
        batches = {str(size): answer for size, answer in self.batches.items()}
        forced = "".join(self.forced)
        return {
            **known,
            "forced": forced,
            "margin": self.margin,
            "remainder": left,
            "batches": batches,
        }


def explain(model: Transformer, task: Task, problem: Problem) -> Report:
    """The report on a problem that `model` answers wrongly. Raises `TinyadderError` where it is
    right.
    """
    counterexample = wrong_answer(model, task, problem)
    if counterexample is None:
        raise TinyadderError(
            f"{task.show(problem)} is answered rightly; there is nothing to explain"
        )
    expected, got = counterexample.expected, counterexample.got
    together = zip(expected, got, strict=False)
    shorter = min(len(expected), len(got))
    position = next((i for i, (right, token) in enumerate(together) if right != token), shorter)
    position = min(position, len(expected) - 1)
    right, chosen = expected[position], got[position] if position < len(got) else "(nothing)"
    (forced,) = plain_answers(model, task, [problem])
    row = forced_logits(model, task, [problem])[0, position]
    names = [task.vocabulary[i] for i in model.config.outputs]

    def logit(token: str) -> float | None:
        value = float(row[names.index(token)]) if token in names else float("nan")
        return value if abs(value) < float("inf") else None

    exact, exact_margin, cause = _exactly(model, task, problem, position)
    return Report(
        counterexample=counterexample,
        forced=forced,
        batches={
            size: "".join(answers(model, task, [problem] * size, batch=size)[0]) for size in (1, 64)
        },
        position=position,
        right=right,
        chosen=chosen,
        right_logit=logit(right),
        chosen_logit=logit(chosen),
        exact=exact,
        exact_margin=exact_margin,
        cause=cause,
        remainder=task.remainder(problem, position),
    )


def _exactly(
    model: Transformer, task: Task, problem: Problem, position: int
) -> tuple[str | None, float | None, str]:
    """Token and margin of real arithmetic at an answer position, and what that says about the
    cause.
    """
    try:
        network = ExactTransformer(model)
    except TinyadderError as error:
        return None, None, str(error)
    answer, (text, first) = task.answer(problem), task.forced(problem)
    (tokens,) = task.encode([text[: first + position + 1]]).tolist()
    ((token, row),) = network.choices(tokens, len(tokens) - 1)
    names = [task.vocabulary[i] for i in model.config.outputs]
    if token is None or answer[position] not in names:
        return token, None, "real arithmetic finds no single largest logit"
    at = names.index(answer[position])
    margin = float(
        (
            row[at] - max((r for i, r in enumerate(row) if i != at), key=lambda r: float(r.mid()))
        ).mid()
    )
    return token, margin, "rounding" if token == answer[position] else "algorithm"
