"""Addition with the reasoning written out: the columns from the right, each with the carry of the
one before.

    ^658+189=  ->  <8+9=17 5+8+1=14 6+1+1=8>847$

Operands have no leading zeros. A column adds the digits that the operands have there, and the carry
where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated, Any

from tinyadder.fields import Between
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.base import Domain, Draw, Task
from tinyadder.tasks.counterexamples import counterexamples


@dataclass(frozen=True)
class AdditionSteps(Task):
    """Sums of `operands` numbers of up to `digits` digits, with reasoning; a problem is a tuple of
    integers.
    """

    digits: Annotated[int, Between(1, 1000)] = 3
    operands: Annotated[int, Between(2, 100)] = 2

    @property
    def _plain(self) -> Addition:
        return Addition(digits=self.digits, operands=self.operands)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple("0123456789+=^$<> ")

    @property
    def end(self) -> str:
        return "$"

    @property
    def answer_length(self) -> int:
        return len(self.answer((10**self.digits - 1,) * self.operands))

    def prompt(self, problem: tuple[int, ...]) -> str:
        return "^" + "+".join(map(str, problem)) + "="

    def answer(self, problem: tuple[int, ...]) -> str:
        return f"<{reasoning(problem)}>{sum(problem)}{self.end}"

    def check(self, problem: Any) -> tuple[int, ...]:
        return self._plain.check(problem)

    def parse(self, text: str) -> tuple[int, ...]:
        return self._plain.parse(text)

    def show(self, problem: tuple[int, ...]) -> str:
        return self._plain.show(problem)

    def show_answer(self, answer: Sequence[str]) -> str:
        return "".join(answer).rpartition(">")[2].removesuffix(self.end)

    def show_reasoning(self, answer: Sequence[str]) -> str:
        """What stands between '<' and '>'; empty for an answer without."""
        return "".join(answer).partition(">")[0].removeprefix("<") if ">" in answer else ""

    def split_key(self, problem: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(problem))

    def traits(self, problem: tuple[int, ...]) -> Mapping[str, int]:
        return self._plain.traits(problem)

    def uniform(self, random: Random, count: int) -> list[tuple[int, ...]]:
        return self._plain.uniform(random, count)

    def balanced(self, random: Random, count: int) -> list[tuple[int, ...]]:
        return self._plain.balanced(random, count)

    def draws(self) -> Sequence[Draw]:
        return self._plain.draws()

    def hard(self) -> list[tuple[int, ...]]:
        return list(dict.fromkeys([*counterexamples(self), *self._plain.hard()]))

    def domain(self, **limits: int) -> Domain:
        """The domain of `Addition`; texts here have different lengths, so that they are written one
        by one.
        """
        return replace(self._plain.domain(**limits), texts=None)


def reasoning(problem: Sequence[int]) -> str:
    """The columns from the right, as sums.

    >>> reasoning((658, 189))
    '8+9=17 5+8+1=14 6+1+1=8'
    >>> reasoning((99, 1))
    '9+1=10 9+1=10'
    """
    written = [str(number) for number in problem]
    steps, carry = list[str](), 0
    for place in range(max(map(len, written))):
        terms = [int(digits[-1 - place]) for digits in written if len(digits) > place]
        terms += [carry] if carry else []
        steps.append("+".join(map(str, terms)) + f"={sum(terms)}")
        carry = sum(terms) // 10
    return " ".join(steps)


TASK = AdditionSteps
