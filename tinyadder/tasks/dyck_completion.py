"""Completing brackets of `kinds` kinds: all closers that a beginning of at most `length` brackets
still needs.

^ ( [ ] [  ->  ] ) $
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Annotated, Any

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks.base import Domain, Draw
from tinyadder.tasks.options import check_option
from tinyadder.tasks.words import Words

OPENERS, CLOSERS = "([{<", ")]}>"


@dataclass(frozen=True)
class DyckCompletion(Words):
    """The closers of the open brackets, innermost first, then '$'. The beginning must have no wrong
    closer.
    """

    kinds: Annotated[int, Between(1, len(OPENERS))] = 2
    length: Annotated[int, Between(1, 1000)] = 10
    depth: Annotated[int, Between(1, 1000)] = 6
    """The most brackets open at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_option("dyck_completion", "depth", self.depth, 1, self.length)

    @property
    def openers(self) -> str:
        """The brackets that open, one a kind."""
        return OPENERS[: self.kinds]

    @property
    def closers(self) -> str:
        """The brackets that close, in the order of the openers."""
        return CLOSERS[: self.kinds]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(self.closers + "$" + self.openers + "^")

    @property
    def end(self) -> str:
        return "$"

    @property
    def letters(self) -> str:
        return self.openers + self.closers

    @property
    def lengths(self) -> range:
        return range(1, self.length + 1)

    @property
    def answer_length(self) -> int:
        return self.depth + 1

    def _open(self, word: str) -> list[str]:
        """The closers still needed, outermost first. Raises `TinyadderError` with the position of a
        wrong bracket.
        """
        needed: list[str] = []
        for position, letter in enumerate(word, 1):
            if letter in self.openers:
                needed.append(self.closers[self.openers.index(letter)])
                if len(needed) > self.depth:
                    raise TinyadderError(
                        f"{word!r}, position {position}: more than {self.depth} brackets are open"
                    )
            elif not needed or needed.pop() != letter:
                raise TinyadderError(
                    f"{word!r}, position {position}: {letter!r} closes nothing; "
                    "a beginning of a balanced word is expected"
                )
        return needed

    def prompt(self, problem: str) -> str:
        return f"^{problem}"

    def answer(self, problem: str) -> str:
        return "".join(reversed(self._open(problem))) + "$"

    def check(self, problem: Any) -> str:
        word = super().check(problem)
        self._open(word)
        return word

    def _fits(self, word: str) -> bool:
        try:
            self._open(word)
        except TinyadderError:
            return False
        return len(word) in self.lengths

    def _walk(self, random: Random, length: int, up: float) -> str:
        """A beginning of `length` brackets that opens with probability `up` where it may do
        both.
        """
        word, needed = "", list[str]()
        for _ in range(length):
            if not needed or (len(needed) < self.depth and random.random() < up):
                kind = random.randrange(self.kinds)
                word += self.openers[kind]
                needed.append(self.closers[kind])
            else:
                word += needed.pop()
        return word

    def uniform(self, random: Random, count: int) -> list[str]:
        return [self._walk(random, random.choice(self.lengths), 0.5) for _ in range(count)]

    def draws(self) -> list[Draw]:
        """Walks that hover at the top, in the middle and at the ground, most of them long."""
        return [self._hovering]

    def _hovering(self, random: Random) -> str:
        length = self.length if random.random() < 0.5 else random.choice(self.lengths)
        return self._walk(random, length, random.choice((0.2, 0.5, 0.8, 0.95)))

    def hard(self) -> list[str]:
        """Deepest nests and what is left of them, many pairs of one kind before or inside another,
        equal neighbours.
        """
        words = []
        for a, z in zip(self.openers, self.closers, strict=True):
            for b, y in zip(self.openers, self.closers, strict=True):
                rest = max(0, self.length - 2) // 2
                nest = (a + b) * (self.depth // 2)
                words += [
                    a,
                    a + z,
                    a + b + y,
                    (a + z) * rest + b,
                    b + (a + z) * rest,
                    nest,
                    nest + (b + y) * rest,
                ]
                down = a * self.depth + z * self.depth
                words += [down[:n] for n in range(1, len(down) + 1)]
                words += [
                    b + (a * (self.depth - 1) + z * (self.depth - 1)),
                    a * (self.depth - 1) + b,
                ]
        return list(dict.fromkeys(word for word in words if self._fits(word)))

    def simpler(self, problem: str) -> list[str]:
        shorter = {
            problem[:i] + problem[j:] for i in range(len(problem)) for j in range(i + 1, i + 3)
        }
        return sorted(filter(self._fits, shorter), key=lambda word: (len(word), word))

    def domain(self, **limits: int) -> Domain:
        """Every beginning of at most `length` brackets (default: all of them), shorter ones
        first.
        """
        length = limits.pop("length", self.length)
        if limits or length not in self.lengths:
            given = f"length={length}" if not limits else f"'{next(iter(limits))}'"
            raise TinyadderError(
                f"the domain of this task takes length=1 .. {self.length}; {given} was given"
            )
        ways = self._ways(length)
        name = (
            f"beginnings of at most {length} brackets of {self.kinds} kinds, at most {self.depth}"
            " open"
        )
        return Domain(
            name, sum(row[0] for row in ways[1:]), lambda index: self._unrank(ways, index)
        )

    def _ways(self, length: int) -> list[list[int]]:
        """[n][d]: how many words of n more brackets go on from d open ones."""
        ways = [[1] * (self.depth + 1)]
        for _ in range(length):
            last = [*ways[-1], 0]
            ways.append(
                [
                    self.kinds * last[d + 1] + (last[d - 1] if d else 0)
                    for d in range(self.depth + 1)
                ]
            )
        return ways

    def _unrank(self, ways: list[list[int]], index: int) -> str:
        left = 1
        while index >= ways[left][0]:
            index -= ways[left][0]
            left += 1
        word, needed = "", ""
        while left:
            left -= 1
            each = ways[left][len(needed) + 1] if len(needed) < self.depth else 0
            kind, rest = divmod(index, each) if each else (self.kinds, index)
            if kind < self.kinds:
                word, needed, index = word + self.openers[kind], needed + self.closers[kind], rest
            else:
                word, needed, index = word + needed[-1], needed[:-1], index - self.kinds * each
        return word


TASK = DyckCompletion
