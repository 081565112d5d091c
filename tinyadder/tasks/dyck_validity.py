"""Is a word of at most `length` parentheses balanced?

^ (()) =  ->  y
^ ())( =  ->  n
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Annotated

from tinyadder.fields import Between
from tinyadder.tasks.base import Draw
from tinyadder.tasks.words import Words


def balanced(random: Random, pairs: int) -> str:
    """A balanced word of `pairs` pairs of parentheses; the depth goes up as often as it can with
    probability 1/2.
    """
    word, depth, left = "", 0, pairs
    while depth or left:
        up = left > 0 and (depth == 0 or random.random() < 0.5)
        word += "(" if up else ")"
        depth += 1 if up else -1
        left -= up
    return word


@dataclass(frozen=True)
class DyckValidity(Words):
    """'y' for a balanced word (never more ')' than '(' so far, equally many in the end), else
    'n'.
    """

    length: Annotated[int, Between(1, 1000)] = 15

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("yn()=^")

    @property
    def letters(self) -> str:
        return "()"

    @property
    def lengths(self) -> range:
        return range(1, self.length + 1)

    def answer(self, problem: str) -> str:
        depth = 0
        for letter in problem:
            depth += 1 if letter == "(" else -1
            if depth < 0:
                return "n"
        return "n" if depth else "y"

    def draws(self) -> list[Draw]:
        """Balanced words, balanced words with two letters swapped or one dropped, and those of
        `Words`.
        """
        return [self._balanced, self._swapped, self._dropped, *super().draws()]

    def _balanced(self, random: Random) -> str:
        return balanced(random, random.randint(1, max(1, self.length // 2)))[: self.length]

    def _swapped(self, random: Random) -> str:
        word = self._balanced(random)
        at = random.randrange(len(word))
        return word[:at] + word[at + 1 : at + 2] + word[at : at + 1] + word[at + 2 :]

    def _dropped(self, random: Random) -> str:
        word = self._balanced(random)
        at = random.randrange(len(word))
        return word[:at] + word[at + 1 :] or "("

    def hard(self) -> list[str]:
        """The extremes: one mistake at either end of the longest deep and flat words."""
        half = self.length // 2
        deep, flat = "(" * half + ")" * half, "()" * half
        words = [
            w[a:b]
            for w in (deep, flat, ")" + deep, ")" + flat, flat + ")", deep + ")(")
            for a in (0, 1)
            for b in (None, -1)
        ]
        words += [flat[:i] + ")(" + flat[i + 2 :] for i in range(0, len(flat), 2)]
        return list(dict.fromkeys([*super().hard(), *(w for w in words if len(w) in self.lengths)]))


TASK = DyckValidity
