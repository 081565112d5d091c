"""Tasks whose problem is a pair of whole numbers of `digits` digits, zero-padded: all but what is
asked of the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Annotated, Any

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks import operands as ops
from tinyadder.tasks.base import Domain, Draw, Task
from tinyadder.tasks.problems import read_number, refuse_pasted, short_text, whole_numbers

Pair = tuple[int, int]


@dataclass(frozen=True)
class PairTask(Task):
    """A task over pairs of numbers 0 .. 10^digits - 1. Subclasses say the vocabulary, prompt and
    answer.
    """

    digits: Annotated[int, Between(1, 100)] = 10

    @property
    def largest(self) -> int:
        """The largest number of a pair."""
        return 10**self.digits - 1

    def check(self, problem: Any) -> Pair:
        first, second = whole_numbers(problem, [(0, self.largest)] * 2, self._takes())
        return first, second

    def _takes(self) -> str:
        return f"this model takes two numbers 0 .. {self.largest}, e.g. '3 14'"

    def parse(self, text: str) -> Pair:
        refuse_pasted(text, self._takes())
        words = re.split(r"[\s,]+", text.strip())
        numbers = [
            read_number(word, 10, self._takes(), largest=self.largest) for word in words if word
        ]
        if len(words) != 2 or len(numbers) != 2:
            hint = (
                ": write numbers without separators" if re.search(r"[0-9],[0-9]{3}", text) else ""
            )
            raise TinyadderError(
                f"'{short_text(text.strip())}' is not a pair{hint}; {self._takes()}"
            )
        return numbers[0], numbers[1]

    def show(self, problem: Pair) -> str:
        return f"{problem[0]} {problem[1]}"

    def show_answer(self, answer: Sequence[str]) -> str:
        return "".join(answer)

    def uniform(self, random: Random, count: int) -> list[Pair]:
        return [
            (random.randrange(self.largest + 1), random.randrange(self.largest + 1))
            for _ in range(count)
        ]

    def draws(self) -> list[Draw]:
        """In turn: neighbours (one unit of one place apart), equal beginnings, equal numbers, any
        pair.
        """
        beside: tuple[Callable[[Random, int, int], int], ...] = (
            lambda random, a, place: a + random.choice((-1, 1)) * place,
            lambda random, a, place: a - a % place + random.randrange(place),
            lambda random, a, place: a,
            lambda random, a, place: random.randrange(self.largest + 1),
        )
        return [partial(self._drawn, beside=second) for second in beside]

    def _drawn(self, random: Random, beside: Callable[[Random, int, int], int]) -> Pair:
        """A number and, before or behind it, the one that `beside` gives for it and a place."""
        a = random.choice((ops.repdigit, ops.plain))(random, self.digits, 10, 1)[0]
        b = beside(random, a, 10 ** random.randrange(self.digits))
        b = min(max(b, 0), self.largest)
        return (a, b) if random.random() < 0.5 else (b, a)

    def hard(self) -> list[Pair]:
        """Every d 10^k + (-1, 0, 1) and run of nines with itself, its neighbours, its first digits
        and the edges.
        """
        top = self.largest
        numbers = {
            d * 10**k + e for d in range(1, 10) for k in range(self.digits) for e in (-1, 0, 1)
        } | {0, top}
        numbers |= {top - top // 10**k for k in range(self.digits + 1)}
        pairs = [
            (a, b)
            for a in sorted(numbers)
            for b in (a, a + 1, a - 1, 0, top, top - a, a // 10 * 10)
        ]
        kept = [
            pair for a, b in pairs for pair in ((a, b), (b, a)) if 0 <= a <= top and 0 <= b <= top
        ]
        return list(dict.fromkeys(kept))

    def simpler(self, problem: Pair) -> list[Pair]:
        return [(a, b) for a, b in ops.simpler(problem, self.digits, 10)]

    def domain(self, **limits: int) -> Domain:
        """Every pair of numbers of at most `digits` digits (default: as many as the task has), the
        second fastest.
        """
        digits = limits.pop("digits", self.digits)
        if limits or not 1 <= digits <= self.digits:
            given = f"digits={digits}" if not limits else f"'{next(iter(limits))}'"
            raise TinyadderError(
                f"the domain of this task takes digits=1 .. {self.digits}; {given} was given"
            )
        return Domain(
            f"pairs of {digits}-digit numbers", 100**digits, lambda index: divmod(index, 10**digits)
        )
