"""Which problems a run is shown at which step, and by which it is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tinyadder.tasks.base import Problem
from tinyadder.train.data import (
    Examples,
    check_leaks,
    encode,
    held_out_problems,
    order,
    training_problems,
)
from tinyadder.train.recipe import Recipe


class Dealer:
    """Deals the batches of one seed; every pool is checked against the held-out problems."""

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.validation = held_out_problems(recipe, "validation")
        self._test: list[Problem] | None = None
        self._pool: tuple[tuple[int, int], Examples] | None = None
        self._order: tuple[tuple[int, ...], Any] | None = None

    def test_problems(self) -> list[Problem]:
        """The problems of the final evaluation; training only checks that it never shows one."""
        if self._test is None:
            self._test = held_out_problems(self.recipe, "test")
        return self._test

    def batch(self, step: int) -> Examples:
        """The batch that is shown after `step` steps."""
        d, batch = self.recipe.data, self.recipe.train.batch
        limit = next((digits for until, digits in d.curriculum if step < until), 0)
        per_epoch = max(1, d.examples // batch)
        epoch, at = divmod(step, per_epoch)
        examples = self._examples(epoch if d.fresh else 0, limit)
        key = (epoch, limit)
        if self._order is None or self._order[0] != key:
            self._order = (key, order(examples, batch, self.seed, epoch))
        return examples.rows(self._order[1][at])

    def _examples(self, pool: int, limit: int) -> Examples:
        """The encoded problems of pool `pool`, of at most `limit` digits (0: no limit)."""
        if self._pool is None or self._pool[0] != (pool, limit):
            task: Any = self.recipe.task
            problems = training_problems(self.recipe, self.seed, pool, limit)
            held_out = {"validation": self.validation, "test": self.test_problems()}
            check_leaks(task, {"train": problems, **held_out})
            narrow = replace(task, digits=limit) if self.recipe.data.narrow and limit else task
            self._pool = ((pool, limit), encode(narrow, problems))
        return self._pool[1]
