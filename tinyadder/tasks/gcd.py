"""The greatest common divisor of two integers, written in base `base` with one token a digit, as
Int2Int does.

    ^ + 1 4 , + 2 1 =  ->  + 7 $        (base 10)

Always answering 1 is right for 6/pi^2 = 60.8 % of uniform pairs; knowing the divisors of the base
alone for many more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, ClassVar

from tinyadder.encodings import Integers
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks.base import Draw, Task
from tinyadder.tasks.counterexamples import counterexamples
from tinyadder.tasks.problems import read_number, refuse_pasted, short_text, whole_numbers

SHOWN = 10
"""Accuracies are given for each divisor up to this one."""


@dataclass(frozen=True)
class Gcd(Task):
    """gcd(a, b) for a, b in 1 .. largest; a problem is the pair."""

    largest: Annotated[int, Between(1, 10**15)] = 1000
    base: Annotated[int, Between(2, 1000)] = 10
    separator: ClassVar[str] = ","

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return ("^", self.separator, "=", "$", *Integers(self.base).vocabulary)

    @property
    def end(self) -> str:
        return "$"

    @property
    def answer_length(self) -> int:
        return len(Integers(self.base).encode(self.largest)) + 1

    def prompt(self, problem: tuple[int, int]) -> tuple[str, ...]:
        a, b = (Integers(self.base).encode(number) for number in problem)
        return ("^", *a, self.separator, *b, "=")

    def answer(self, problem: tuple[int, int]) -> tuple[str, ...]:
        return (*Integers(self.base).encode(math.gcd(*problem)), self.end)

    def check(self, problem: Any) -> tuple[int, int]:
        first, second = whole_numbers(problem, [(1, self.largest)] * 2, self._takes())
        return first, second

    def _takes(self) -> str:
        return f"this model takes two numbers 1 .. {self.largest}, e.g. '14 21'"

    def parse(self, text: str) -> tuple[int, int]:
        refuse_pasted(text, self._takes())
        words = re.split(r"[\s,]+", text.strip())
        numbers = [read_number(word, 10, self._takes(), largest=self.largest) for word in words]
        if len(words) != 2:
            given = short_text(text.strip())
            raise TinyadderError(f"'{given}' has {len(words)} number(s); {self._takes()}")
        return self.check(tuple(numbers))

    def show(self, problem: tuple[int, int]) -> str:
        return f"{problem[0]}, {problem[1]}"

    def show_answer(self, answer: Sequence[str]) -> str:
        try:
            return str(Integers(self.base).decode([token for token in answer if token != self.end]))
        except TinyadderError:
            return " ".join(answer)

    def split_key(self, problem: tuple[int, int]) -> tuple[int, int]:
        return min(problem), max(problem)

    def traits(self, problem: tuple[int, int]) -> Mapping[str, int]:
        divisor = math.gcd(*problem)
        return {"gcd": divisor} if divisor <= SHOWN else {}

    def uniform(self, random: Random, count: int) -> list[tuple[int, int]]:
        return [
            (random.randint(1, self.largest), random.randint(1, self.largest)) for _ in range(count)
        ]

    def balanced(self, random: Random, count: int) -> list[tuple[int, int]]:
        """Multiples of a number drawn with probability about 1/n: every size of divisor occurs."""
        return [self._multiples(random) for _ in range(count)]

    def focused(self, random: Random, count: int) -> list[tuple[int, int]]:
        """In turn, log-uniform operands, and log-uniform multiples of a log-uniform number: small
        numbers, whose divisors are easily seen, are frequent, and so are large divisors.
        """
        return [self._small(random, multiples=n % 2 == 1) for n in range(count)]

    def _small(self, random: Random, *, multiples: bool) -> tuple[int, int]:
        divisor = _log_uniform(random, self.largest) if multiples else 1
        most = self.largest // divisor
        return divisor * _log_uniform(random, most), divisor * _log_uniform(random, most)

    def _multiples(self, random: Random) -> tuple[int, int]:
        n = _log_uniform(random, self.largest)
        most = self.largest // n
        return n * random.randint(1, most), n * random.randint(1, most)

    def draws(self) -> list[Draw]:
        """Those of `balanced`."""
        return [self._multiples]

    def hard(self) -> list[tuple[int, int]]:
        """Equal numbers, neighbours, powers of the base, of two and of three, each with its
        multiples.
        """
        top = self.largest
        powers = {p**k for p in (2, 3, 5, 7, self.base) for k in range(60)} | {
            top,
            top - 1,
            top // 2,
        }
        kept = sorted(n for n in powers if 1 <= n <= top)
        pairs = [*counterexamples(self), *((a, b) for a in kept for b in kept)]
        pairs += [(n, n + 1) for n in kept if n < top] + [(n, 1) for n in kept]
        return list(dict.fromkeys(pairs))


def _log_uniform(random: Random, largest: int) -> int:
    """A number of 1 .. largest, n with probability log(1 + 1/n) / log(largest + 1)."""
    return int((largest + 1) ** random.random())


TASK = Gcd
