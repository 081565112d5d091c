"""What followed this letter last time? A word of different letters, then one of them again.

^ dbca b  ->  c
"""

from __future__ import annotations

from dataclasses import dataclass
from math import perm
from random import Random
from typing import Annotated, Any

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks.base import Domain, Draw
from tinyadder.tasks.words import Words


@dataclass(frozen=True)
class Recall(Words):
    """The letter behind the first occurrence of the last letter; the task that induction heads
    solve.
    """

    alphabet: Annotated[int, Between(2, 26)] = 6

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(self.letters + "^")

    @property
    def letters(self) -> str:
        return "abcdefghijklmnopqrstuvwxyz"[: self.alphabet]

    @property
    def lengths(self) -> range:
        return range(2, self.alphabet + 2)

    def prompt(self, problem: str) -> str:
        return f"^{problem}"

    def answer(self, problem: str) -> str:
        return problem[problem.index(problem[-1]) + 1]

    def _fits(self, word: str) -> bool:
        return (
            len(word) in self.lengths and len(set(word)) == len(word) - 1 and word[-1] in word[:-1]
        )

    def check(self, problem: Any) -> str:
        word = super().check(problem)
        if not self._fits(word):
            raise TinyadderError(
                f"{word!r} is not a word of different letters and then one of them again, e.g."
                " 'dbcab'"
            )
        return word

    def _example(self) -> str:
        return self.letters + self.letters[0]

    def uniform(self, random: Random, count: int) -> list[str]:
        words = []
        for _ in range(count):
            word = random.sample(self.letters, random.randint(1, self.alphabet))
            words.append("".join(word) + random.choice(word))
        return words

    def draws(self) -> list[Draw]:
        """The whole alphabet, or fewer letters that are neighbours in it: those are easiest to
        confuse.
        """
        return [
            lambda random: self._drawn(random, random.randint(1, self.alphabet)),
            lambda random: self._drawn(random, self.alphabet),
        ]

    def _drawn(self, random: Random, size: int) -> str:
        start = random.randint(0, self.alphabet - size)
        word = random.sample(self.letters[start : start + size], size)
        return "".join(word) + random.choice(word)

    def hard(self) -> list[str]:
        """The alphabet forwards and backwards with each letter again, every pair of letters, every
        doubled letter.
        """
        words = [a + a for a in self.letters]
        words += [a + b + c for a in self.letters for b in self.letters if a != b for c in (a, b)]
        words += [word + a for word in (self.letters, self.letters[::-1]) for a in word]
        return list(dict.fromkeys(words))

    def simpler(self, problem: str) -> list[str]:
        return [word for word in super().simpler(problem) if self._fits(word)]

    def domain(self, **limits: int) -> Domain:
        """Every problem of at most `length` letters (default: all of them), shorter ones first."""
        length = limits.pop("length", self.lengths[-1])
        if limits or length not in self.lengths:
            given = f"length={length}" if not limits else f"'{next(iter(limits))}'"
            raise TinyadderError(
                f"the domain of this task takes length=2 .. {self.lengths[-1]}; {given} was given"
            )
        counts = {size: perm(self.alphabet, size) * size for size in range(1, length)}

        def problem(index: int) -> str:
            size = 1
            while index >= counts[size]:
                index -= counts[size]
                size += 1
            index, again = divmod(index, size)
            left, word = list(self.letters), ""
            for _ in range(size):
                index, at = divmod(index, len(left))
                word += left.pop(at)
            return word + word[again]

        return Domain(
            f"words of at most {length - 1} different letters and one again",
            sum(counts.values()),
            problem,
        )


TASK = Recall
