"""Answers with as little work as they need: few problems without torch, many in batches."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

from tinyadder.errors import TinyadderError
from tinyadder.named import find, load_model
from tinyadder.tasks.base import Problem, Task

FEW = 64
"""Up to so many problems at once, one after another is faster than a batch."""
START = 1.5
"""Seconds that torch takes to be imported: worth it for more work than that."""


class Answerer:
    """The model that NAME stands for, ready to answer.

    Raises `TinyadderError` for an unknown NAME, options or device.
    """

    def __init__(self, name: str, options: dict[str, Any], device: str) -> None:
        self.request, self.device = (name, options), device
        self.single: Any = None
        self.indexed = False
        """Whether `single` looks up instead of comparing: then a batch is not faster."""
        self.loaded: Any = None
        self.task: Task
        self.seconds = 0.0002
        """That one problem took, one after another."""
        self.named = named = find(name, options)
        self.task = named.task
        if named.folder is not None or device != "cpu" or named.program is None:
            # What a folder says is compared with its weights when they are loaded.
            self.model()
            return
        from tinyadder.machine.indexed import IndexedDecoder
        from tinyadder.machine.single import SingleDecoder

        try:
            self.single = SingleDecoder(named.program)
        except TinyadderError:  # too large to be written out
            try:
                self.single, self.indexed = IndexedDecoder(named.program), True
            except TinyadderError:  # not all heads are lookups
                self.model()

    def model(self) -> Any:
        """The torch module, made when it is first needed."""
        if self.loaded is None:
            self.loaded = load_model(*self.request, self.device)
            self.task = self.loaded.task
        return self.loaded.model

    def few(self, count: int) -> bool:
        """Whether `count` problems are answered one after another."""
        if self.single is None or self.indexed:
            return self.indexed
        return count <= FEW if self.loaded is not None else count * self.seconds < START

    def answers(self, problems: Sequence[Problem]) -> list[Sequence[str]]:
        """As `tinyadder.machine.answers.answers` gives them; where logits tie, or positions share
        the weight of an indexed head, torch decides.
        """
        single = self.few(len(problems)) and bool(problems)
        if not single or self.task.read_at(problems[0]) is not None:
            return self._torch(problems)
        begun, task = perf_counter(), self.task
        end = None if task.end is None else task.vocabulary.index(task.end)
        result: list[Any] = []
        for problem in problems:
            (prompt,) = task.encode([task.prompt(task.check(problem))]).tolist()
            try:
                emitted = self.single.decode(prompt, task.answer_length, end)
            except TinyadderError:  # the index met a head that is no lookup here
                emitted = None
            result.append(None if emitted is None else task.decode(emitted))
        self.seconds = (perf_counter() - begun) / len(problems)
        open_ = [i for i, answer in enumerate(result) if answer is None]
        for i, answer in zip(open_, self._torch([problems[i] for i in open_]), strict=True):
            result[i] = answer
        return result

    def _torch(self, problems: Sequence[Problem]) -> list[Sequence[str]]:
        if not problems:
            return []
        model = self.model()
        from tinyadder.machine.answers import answers

        return answers(model, self.task, problems)

    def sums(self, text: bytes) -> tuple[list[int], np.ndarray, list[np.ndarray]] | None:
        """The numbers that answer a text of many lines of whole numbers, which of them are right,
        and the operands; None where the lines are few or have to be looked at one by one.
        """
        arrays = self.task.arrays()
        if arrays is None or self.few(text.count(b"\n")) or self.task.end is not None:
            return None
        operands = arrays.read(text)
        if operands is None:
            return None
        model = self.model()
        import torch

        from tinyadder.machine.decode import generate

        rows, length = arrays.rows(operands), arrays.answer_length
        prompts = torch.from_numpy(np.ascontiguousarray(rows[:, :-length]))
        emitted = generate(model, prompts.to(model.outputs.device), steps=length).cpu().numpy()
        numbers = arrays.numbers(emitted)
        if numbers is None:
            return None
        return numbers.tolist(), (emitted == rows[:, -length:]).all(1), operands
