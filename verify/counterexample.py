"""Everything worth knowing about one wrong answer: by which decoding and where it goes wrong, by
how much, and whose fault it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers, is_right
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.lengths import by_length
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
    found: list[tuple[str, ...]] = [()] * len(problems)
    for group in by_length((task.prompt(p), task.answer(p)) for p in problems):
        logits = forced_logits(model, task, [problems[i] for i in group])
        tokens = model.outputs[logits.argmax(-1)].tolist()
        numbers = logits.isfinite().all(-1).tolist()
        for i, row, finite in zip(group, tokens, numbers, strict=True):
            pairs = zip(row, finite, strict=True)
            found[i] = tuple(task.vocabulary[token] if good else NO_NUMBER for token, good in pairs)
    return found


Way = tuple[str, Callable[[], Sequence[str]]]
"""A way of asking one problem: in words, and what the model answers."""
TRIED = 300
"""Wrong problems of which one that fails alone is looked for."""


def fails_alone(model: Transformer, task: Task, problem: Problem) -> bool:
    """Whether greedy decoding of this problem alone is wrong with a KV cache and without one."""
    return all(
        not is_right(task, problem, answers(model, task, [problem], batch=1, cache=cache)[0])
        for cache in (True, False)
    )


def _counterexample(
    task: Task, problem: Problem, expected: Sequence[str], got: Sequence[str], only: str = ""
) -> Counterexample:
    texts = (task.format_answer(expected), task.format_answer(got))
    return Counterexample(problem, task.show(problem), expected, got, only, texts)


def wrong_answer(
    model: Transformer, task: Task, problem: Problem, ways: Iterable[Way] = ()
) -> Counterexample | None:
    """The problem with the model's wrong answer; None where every way gives the right one.

    A token that rounding decides may come out otherwise with a cache, or in company: `only` of the
    counterexample says by which decoding, in which batch and at which answer token it is wrong. It
    is empty where greedy decoding of the problem alone is wrong, cached and in full. Tried in this
    order: alone, in the plain forward pass, in batches of copies of itself, in `ways`.
    """
    expected = task.answer(problem)

    def ask(size: int, cache: bool) -> Callable[[], Sequence[str]]:
        return lambda: answers(model, task, [problem] * size, batch=size, cache=cache)[-1]

    def forced() -> Sequence[str]:
        (tokens,) = plain_answers(model, task, [problem])
        return "".join(tokens) if isinstance(expected, str) else tokens

    cached, full = ask(1, True)(), ask(1, False)()
    if not is_right(task, problem, cached) and not is_right(task, problem, full):
        return _counterexample(task, problem, expected, cached)
    decodings = {"cached decoding": True, "full decoding": False}
    every: list[Way] = [
        ("in the plain forward pass after the right tokens, alone", forced),
        ("in cached decoding, alone", lambda: cached),
        ("in full decoding, alone", lambda: full),
        *(
            (f"in {name}, in a batch of {size} copies of itself", ask(size, cache))
            for size in (2, 4, 8, 16, 32, 64)
            for name, cache in decodings.items()
        ),
        *ways,
    ]
    for name, given in every:
        got = given()
        if not is_right(task, problem, got):
            token = first_difference(expected, got) + 1
            only = f"{name}: answer token {token}"
            return _counterexample(task, problem, expected, got, only)
    return None


def first_difference(expected: Sequence[str], got: Sequence[str]) -> int:
    """Index of the first answer token that is not the right one."""
    pairs = enumerate(zip(expected, got, strict=False))
    shorter = min(len(expected), len(got))
    return next((i for i, (right, token) in pairs if right != token), shorter)


def in_company(
    model: Transformer, task: Task, problem: Problem, company: Sequence[Problem], batch: int
) -> list[Way]:
    """The ways of asking `problem` among `company`, in batches of at most `batch` of one length."""
    alike = [p for p in company if len(task.prompt(p)) == len(task.prompt(problem))]
    at = alike.index(problem)
    start = at - at % batch
    alike = alike[start : start + batch]
    where = f"as problem {at - start + 1:,} of a batch of {len(alike):,}"
    shown = f"{task.show(alike[0])} .. {task.show(alike[-1])}"

    def ask(cache: bool) -> Callable[[], Sequence[str]]:
        return lambda: answers(model, task, alike, batch=batch, cache=cache)[at - start]

    def forced() -> Sequence[str]:
        tokens = plain_answers(model, task, alike)[at - start]
        return "".join(tokens) if isinstance(task.answer(problem), str) else tokens

    return [
        (f"in cached decoding, {where} ({shown})", ask(True)),
        (f"in full decoding, {where} ({shown})", ask(False)),
        (f"in the plain forward pass after the right tokens, {where} ({shown})", forced),
    ]


def refutation(
    model: Transformer,
    task: Task,
    wrong: Sequence[Problem],
    ways: Callable[[Problem], Iterable[Way]] = lambda problem: (),
) -> Counterexample | None:
    """Of problems that came out wrong in a batch, the first that fails alone; else the first that
    fails in any way, `ways` (of asking it as it was asked) included. None where none does.
    """
    for problem in wrong[:TRIED]:
        if fails_alone(model, task, problem):
            return wrong_answer(model, task, problem)
    found = (wrong_answer(model, task, problem, ways(problem)) for problem in wrong[:TRIED])
    return next((counterexample for counterexample in found if counterexample), None)


def fails_as_stated(model: Transformer, task: Task, stated: Counterexample) -> bool:
    """Whether the problem of a counterexample that was read from a file is answered wrongly today.

    A problem that is none of the task's is not: a stranger may have written the file.
    """

    def plain(data: Any) -> Problem:
        return tuple(map(plain, data)) if isinstance(data, list) else data

    try:
        return wrong_answer(model, task, plain(stated.problem)) is not None
    except (TinyadderError, TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return False


@dataclass(frozen=True)
class FailureReport:
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


def explain(
    model: Transformer, task: Task, problem: Problem, ways: Iterable[Way] = ()
) -> FailureReport:
    """The report on a problem that `model` answers wrongly, if need be by one of `ways`.

    Raises `TinyadderError` where it is right.
    """
    counterexample = wrong_answer(model, task, problem, ways)
    if counterexample is None:
        raise TinyadderError(
            f"{task.show(problem)} is answered rightly; there is nothing to explain"
        )
    expected, got = counterexample.expected, counterexample.got
    position = min(first_difference(expected, got), len(expected) - 1)
    right, chosen = expected[position], got[position] if position < len(got) else "(nothing)"
    (forced,) = plain_answers(model, task, [problem])
    row = forced_logits(model, task, [problem])[0, position]
    names = [task.vocabulary[i] for i in model.config.outputs]

    def logit(token: str) -> float | None:
        value = float(row[names.index(token)]) if token in names else float("nan")
        return value if abs(value) < float("inf") else None

    exact, exact_margin, cause = _exactly(model, task, problem, position)
    return FailureReport(
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
