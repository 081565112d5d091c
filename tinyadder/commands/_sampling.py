"""Options of `run` and `chat` for answers that are drawn, cut short, given with probabilities, or
go on from the beginning of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._answering import Answerer
from tinyadder.tasks.base import Problem, Task


@dataclass(frozen=True)
class Sampling:
    """What the options say; the defaults are greedy decoding."""

    temperature: float = 0.0
    top_k: int | None = None
    most: int | None = None
    """Tokens at most."""
    probabilities: bool = False
    seed: int = 0
    complete: bool = False

    @property
    def plain(self) -> bool:
        """Whether answers are those of greedy decoding and nothing is to be said about them."""
        return self == Sampling(seed=self.seed)


@dataclass(frozen=True)
class Drawn:
    """Tokens that a model emitted, and log p of each; none unless asked for."""

    tokens: Sequence[str]
    logs: Sequence[float] = ()

    def lines(self) -> list[str]:
        """Each token with its probability, and the whole text's log p."""
        if not self.logs:
            return []
        each = "  ".join(f"{t} {exp(p):.4f}" for t, p in zip(self.tokens, self.logs, strict=True))
        return [each, f"log p {sum(self.logs):.4f}"]


def sampling_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the function gets them together as `sampling`."""

    def given(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        sampling = context.params.setdefault("sampling", Sampling())
        context.params["sampling"] = replace(sampling, **{str(parameter.name): value})

    def option(*names: str, **about: Any) -> Any:
        return click.option(*names, expose_value=False, callback=given, **about)

    for decorate in (
        option(
            "--temperature",
            type=click.FloatRange(0, 1e6),
            default=0.0,
            help="Draw each token from softmax(logits / temperature). [default: take the largest]",
        ),
        option("--top-k", type=click.IntRange(1), help="Draw from so many largest logits only."),
        option(
            "--max-new-tokens", "most", type=click.IntRange(1, 100_000), help="Stop after so many."
        ),
        option("--probabilities", is_flag=True, help="Also print the probability of each token."),
        option("--seed", type=opt.SEED, default=0, help="Seed of what is drawn."),
        option("--complete", is_flag=True, help="Go on from the beginning of a text, e.g. '7+'."),
    ):
        function = decorate(function)
    return function


def drawn(answerer: Answerer, problems: Sequence[Problem], sampling: Sampling) -> list[Drawn]:
    """An answer to each problem. Raises `TinyadderError` for a program where probabilities are
    asked for.
    """
    task = answerer.task
    prompts = [task.prompt(task.check(problem)) for problem in problems]
    return [_continued(answerer, prompt, sampling, task.answer_length) for prompt in prompts]


def completed(answerer: Answerer, text: str, sampling: Sampling) -> Drawn:
    """What `text`, the beginning of a prompt, goes on with; the beginning token may be left out.

    Raises `TinyadderError` for tokens that the model does not know.
    """
    task = answerer.task
    whole = task.prompt(task.hard()[0])
    tokens = _tokens(task, text)
    if tokens[:1] != [whole[0]]:
        tokens = [whole[0], *tokens]
    return _continued(answerer, tokens, sampling, len(whole) + task.answer_length)


def _tokens(task: Task, text: str) -> list[str]:
    """Characters, or words between blanks where tokens are longer."""
    single = all(len(token) == 1 for token in task.vocabulary)
    return list(text.replace(" ", "")) if single else text.split()


def _continued(answerer: Answerer, prompt: Sequence[str], sampling: Sampling, length: int) -> Drawn:
    task, model = answerer.task, answerer.model()
    import torch

    from tinyadder.machine.decode import generate, log_probabilities

    tokens = torch.from_numpy(task.encode([prompt])).to(model.outputs.device)
    emitted = generate(
        model,
        tokens,
        steps=sampling.most or length,
        end=None if task.end is None else task.vocabulary.index(task.end),
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        random=torch.Generator(model.outputs.device).manual_seed(sampling.seed),
    )
    written = task.decode(emitted[0].tolist())
    logs: list[float] = []
    if sampling.probabilities:
        whole = torch.cat([tokens, emitted], 1)
        logs = log_probabilities(model, whole, tokens.shape[1])[0, : len(written)].tolist()
    return Drawn(written, logs)
