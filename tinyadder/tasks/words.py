"""Tasks whose problem is a word: a string of `letters`, of a length in `lengths`; all but what is
asked about it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.plain import short
from tinyadder.tasks.base import Domain, Draw, Task


@dataclass(frozen=True)
class Words(Task):
    """A task over words. Subclasses say `letters`, `lengths`, the vocabulary and the answer, and
    where it is not one token behind '^word=', its length and the prompt.
    """

    @property
    @abstractmethod
    def letters(self) -> str:
        """The letters a problem is made of, simplest first."""

    @property
    @abstractmethod
    def lengths(self) -> range:
        """The lengths a problem may have."""

    @property
    def answer_length(self) -> int:
        return 1

    def prompt(self, problem: str) -> str:
        return f"^{problem}="

    def check(self, problem: Any) -> str:
        takes = (
            f"this task takes {self._lengths()} of {' '.join(self.letters)}, e.g."
            f" '{self._example()}'"
        )
        if not isinstance(problem, str):
            raise TinyadderError(f"{short(problem)} is not a string; {takes}")
        word, letters = str(problem), self.letters
        for position, letter in enumerate(word, 1):
            if letter not in letters:
                raise TinyadderError(
                    f"{short(word)}, position {position}: {letter!r} is not allowed; {takes}"
                )
        if len(word) not in self.lengths:
            raise TinyadderError(
                f"{short(word)} has {len(word)} letter{'s' * (len(word) != 1)}; {takes}"
            )
        return word

    def parse(self, text: str) -> str:
        return self.check(text.strip())

    def _lengths(self) -> str:
        low, high = self.lengths[0], self.lengths[-1]
        return f"{low} letters" if low == high else f"{low} to {high} letters"

    def _example(self) -> str:
        length = min(max(self.lengths[0], 4), self.lengths[-1])
        return (self.letters * length)[:length]

    def show(self, problem: str) -> str:
        return problem

    def show_answer(self, answer: Sequence[str]) -> str:
        return "".join(token for token in answer if token != self.end)

    def uniform(self, random: Random, count: int) -> list[str]:
        return [self._random(random, random.choice(self.lengths)) for _ in range(count)]

    def _random(self, random: Random, length: int) -> str:
        return "".join(random.choice(self.letters) for _ in range(length))

    def draws(self) -> list[Draw]:
        """In turn: runs of equal letters, a short word repeated, a constant word with one other
        letter, any word.
        """
        return [self._runs, self._repeated, self._spoiled, self._any]

    def _length(self, random: Random) -> int:
        return random.choice(self.lengths) if random.random() < 0.7 else self.lengths[-1]

    def _runs(self, random: Random) -> str:
        length = self._length(random)
        word = ""
        while len(word) < length:
            word += random.choice(self.letters) * random.randint(1, length)
        return word[:length]

    def _repeated(self, random: Random) -> str:
        length = self._length(random)
        return (self._random(random, random.randint(1, min(4, length))) * length)[:length]

    def _spoiled(self, random: Random) -> str:
        length = self._length(random)
        at = random.randrange(length)
        other, most = random.choice(self.letters), random.choice(self.letters)
        return (most * at + other + most * length)[:length]

    def _any(self, random: Random) -> str:
        return self._random(random, self._length(random))

    def hard(self) -> list[str]:
        """Shortest words, constant words of every letter, and those with their first or last letter
        changed.
        """
        low, high = self.lengths[0], self.lengths[-1]
        words = [
            "".join(w)
            for n in range(low, min(high, max(low, 2)) + 1)
            for w in _some(self.letters, n)
        ]
        for length in {low, high, (low + high) // 2}:
            for a in self.letters:
                words += [a * length, *(b + a * (length - 1) for b in self.letters)]
                words += [a * (length - 1) + b for b in self.letters]
        return list(dict.fromkeys(words))

    def simpler(self, problem: str) -> list[str]:
        """One letter less, or one letter nearer to the first of the alphabet."""
        rank = {letter: i for i, letter in enumerate(self.letters)}
        words = {
            problem[:i] + problem[i + 1 :]
            for i in range(len(problem))
            if len(problem) - 1 in self.lengths
        }
        for i, letter in enumerate(problem):
            words |= {
                problem[:i] + other + problem[i + 1 :] for other in self.letters[: rank[letter]]
            }
        return sorted(words, key=lambda word: (len(word), [rank[letter] for letter in word]))

    def domain(self, **limits: int) -> Domain:
        """Every word of at most `length` letters (default: all of them), shorter ones first."""
        length = limits.pop("length", self.lengths[-1])
        if limits or length not in self.lengths:
            given = f"length={length}" if not limits else f"'{next(iter(limits))}'"
            low, high = self.lengths[0], self.lengths[-1]
            raise TinyadderError(
                f"the domain of this task takes length={low} .. {high}; {given} was given"
            )
        base = len(self.letters)
        counts = [base**n for n in range(self.lengths[0], length + 1)]

        def problem(index: int) -> str:
            for n, count in enumerate(counts, self.lengths[0]):
                if index < count:
                    return "".join(
                        self.letters[index // base**i % base] for i in reversed(range(n))
                    )
                index -= count
            raise IndexError(index)

        exactly = len(self.lengths) == 1
        name = (
            f"words of {'' if exactly else 'at most '}{length} letters of {' '.join(self.letters)}"
        )
        return Domain(name, sum(counts), problem)


def _some(letters: str, length: int) -> list[tuple[str, ...]]:
    """All words of `length` if they are few, else none."""
    return list(product(letters, repeat=length)) if len(letters) ** length <= 1000 else []
