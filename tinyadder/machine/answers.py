"""Ask a model the problems of a task: encode, decode in batches, and read the answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tinyadder.machine.decode import beam_search, generate, score
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.lengths import by_length

BATCH = 4096


def is_right(task: Task, problem: Problem, answer: Sequence[str]) -> bool:
    """Whether `answer` is the task's, token by token, in whatever sequence the tokens come."""
    return tuple(answer) == tuple(task.answer(problem))


def share_right(task: Task, problems: Sequence[Problem], emitted: Sequence[Sequence[str]]) -> float:
    """The share of `problems` whose emitted answer is right."""
    pairs = zip(problems, emitted, strict=True)
    return sum(is_right(task, problem, answer) for problem, answer in pairs) / len(problems)


def answers(
    model: Transformer,
    task: Task,
    problems: Sequence[Problem],
    *,
    batch: int = BATCH,
    cache: bool = True,
    beam: int = 1,
) -> list[Sequence[str]]:
    """What the model emits for each problem by true autoregressive decoding from the prompt alone.

    Greedy, or with `beam` > 1 the most probable answer that a beam search of that width finds.
    Raises `TinyadderError` for a problem that is none of the task (`Task.check`), and for a beam
    search on a program.
    """
    problems = [task.check(problem) for problem in problems]
    if problems and task.read_at(problems[0]) is not None:
        return _tags(model, task, problems, batch=batch, cache=cache)
    prompts = [task.prompt(problem) for problem in problems]
    end = None if task.end is None else task.vocabulary.index(task.end)
    result: list[Sequence[str]] = [()] * len(problems)
    for group in by_length(zip(prompts, prompts, strict=True), batch):
        tokens = torch.from_numpy(task.encode([prompts[i] for i in group])).to(model.outputs.device)
        if beam == 1:
            emitted = generate(
                model, tokens, steps=task.answer_length, end=end, cache=cache
            ).tolist()
        else:
            emitted = beam_search(model, tokens, beam, steps=task.answer_length, end=end)[0][
                :, 0
            ].tolist()
        for i, row in zip(group, emitted, strict=True):
            result[i] = task.decode(row)
    return result


def _tags(
    model: Transformer, task: Task, problems: Sequence[Problem], *, batch: int, cache: bool
) -> list[Sequence[str]]:
    """The tokens that a tagger chooses at the positions that are read, in one pass over the
    prompt.
    """
    prompts = [task.prompt(problem) for problem in problems]
    result: list[Sequence[str]] = [()] * len(problems)
    for group in by_length(zip(prompts, prompts, strict=True), batch):
        tokens = torch.from_numpy(task.encode([prompts[i] for i in group])).to(model.outputs.device)
        if cache:  # score reads no logits after the last token: one more, which nobody reads
            chosen = score(model, torch.cat([tokens, tokens[:, -1:]], 1), 1)
        else:
            with torch.inference_mode():
                chosen = model.outputs[model(tokens).max(-1).indices]
        for i, row in zip(group, chosen.tolist(), strict=True):
            read = task.read_at(problems[i])
            assert read is not None, "a tagger reads every prompt"
            result[i] = task.decode([row[position] for position in read])
    return result


def forced_answers(
    model: Transformer, task: Task, problems: Sequence[Problem], *, batch: int = BATCH
) -> list[Sequence[str]]:
    """What the model would emit at each answer position given the right answer before it
    (teacher-forced).

    Raises `TinyadderError` for a problem that is none of the task.
    """
    problems = [task.check(problem) for problem in problems]
    if problems and task.read_at(problems[0]) is not None:
        return answers(model, task, problems, batch=batch)
    prompts = [task.prompt(problem) for problem in problems]
    texts = [[*prompt, *task.answer(p)] for prompt, p in zip(prompts, problems, strict=True)]
    result: list[Sequence[str]] = [()] * len(problems)
    for group in by_length(zip(prompts, texts, strict=True), batch):
        tokens = torch.from_numpy(task.encode([texts[i] for i in group])).to(model.outputs.device)
        chosen = score(model, tokens, len(prompts[group[0]])).tolist()
        for i, row in zip(group, chosen, strict=True):
            result[i] = [task.vocabulary[token] for token in row]
            if all(len(token) == 1 for token in task.vocabulary):
                result[i] = "".join(result[i])
    return result
