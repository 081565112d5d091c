"""Tasks whose problem is one or two whole numbers and whose answer is a number of fixed length,
leading digit first.

^ 0123 - 0045 =  ->  0078
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyadder.errors import TinyadderError
from tinyadder.tasks import operands as ops
from tinyadder.tasks.arrays import LARGEST, Arrays
from tinyadder.tasks.base import Domain, Draw, Task
from tinyadder.tasks.problems import read_number, refuse_pasted, short_text, whole_numbers

if TYPE_CHECKING:
    from jaxtyping import Int64

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Arithmetic(Task):
    """Subclasses say the digits of each operand, the sign between them, the base, the largest
    answer and the result.
    """

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """The digits of each operand; prompts are padded with zeros to them."""

    @property
    def sign(self) -> str:
        """The token between operands; empty for a task with one operand."""
        return ""

    @property
    def base(self) -> int:
        """The base in which operands are written; answers are decimal."""
        return 10

    @property
    @abstractmethod
    def greatest(self) -> int:
        """The largest answer: it sets the length of all answers."""

    @abstractmethod
    def result(self, problem: Numbers) -> int:
        """The exact answer as an integer."""

    def settle(self, problem: Numbers) -> Numbers:
        """The problem itself where the task takes it, else one close to it that it takes."""
        return problem

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*"0123456789=^$", *self.sign)

    @property
    def answer_length(self) -> int:
        return len(str(self.greatest))

    @property
    def tops(self) -> tuple[int, ...]:
        """The largest value of each operand."""
        return tuple(self.base**width - 1 for width in self.widths)

    def prompt(self, problem: Numbers) -> str:
        pairs = zip(problem, self.widths, strict=True)
        return (
            "^"
            + self.sign.join("".join(map(str, ops.digits_of(n, w, self.base))) for n, w in pairs)
            + "="
        )

    def answer(self, problem: Numbers) -> str:
        return str(self.result(problem)).zfill(self.answer_length)

    def check(self, problem: Any) -> Numbers:
        checked = whole_numbers(problem, [(0, top) for top in self.tops], self._takes())
        if self.settle(checked) != checked:
            raise TinyadderError(f"{checked} is outside the task, which {self._condition()}")
        return checked

    def _takes(self) -> str:
        takes = f" {self.sign} ".join(f"0 .. {self._written(top)}" for top in self.tops)
        return f"this task takes {takes}" + ("" if self.base == 10 else f" in base {self.base}")

    def parse(self, text: str) -> Numbers:
        words = re.split(
            rf"\s*[{re.escape(self.sign)}]\s*|\s+" if self.sign else r"\s+", text.strip()
        )
        takes = self._takes()
        refuse_pasted(text, takes)
        if words == [""]:
            raise TinyadderError(f"the problem is empty; {takes}")
        tops = [*self.tops, *self.tops[-1:] * max(0, len(words) - len(self.tops))]
        pairs = [(word, top) for word, top in zip(words, tops, strict=False) if word]
        numbers = [read_number(word, self.base, takes, largest=top) for word, top in pairs]
        if len(words) != len(self.widths) or not all(words):
            given = short_text(text.strip())
            raise TinyadderError(f"'{given}': {len(self.widths)} number(s) are expected; {takes}")
        return self.check(tuple(numbers))

    def _condition(self) -> str:
        """What `settle` enforces, in words: completes 'the task, which ...'."""
        return "takes all numbers"

    def _written(self, number: int) -> str:
        if self.base == 10:
            return str(number)
        return (
            "".join(map(str, ops.digits_of(number, max(self.widths), self.base))).lstrip("0") or "0"
        )

    def show(self, problem: Numbers) -> str:
        return f" {self.sign} ".join(map(self._written, problem))

    def show_answer(self, answer: Sequence[str]) -> str:
        digits = "".join(answer)
        return (
            (digits.lstrip("0") or "0") if digits and set(digits) <= set("0123456789") else digits
        )

    def uniform(self, random: Random, count: int) -> list[Numbers]:
        return [
            self.settle(tuple(random.randint(0, top) for top in self.tops)) for _ in range(count)
        ]

    def draws(self) -> list[Draw]:
        """In turn: operands that bring the answer beside a boundary of a digit, structured
        operands, uniform ones.
        """
        draws: list[Draw] = []
        for drawn in ops.draws(max(self.widths), self.base, len(self.widths)):
            draws += [self._beside, self._clip_of(drawn), lambda random: self.uniform(random, 1)[0]]
        return draws

    def _clip_of(self, draw: Draw) -> Draw:
        return lambda random: self._clipped(draw(random))

    def _beside(self, random: Random) -> Numbers:
        """A problem whose answer is about q 10^j: answers grow with the first operand, so halving
        finds it.
        """
        unit, step = 10 ** random.randrange(self.answer_length), random.randint(-2, 2)
        problem = list(self.settle(tuple(random.randint(0, top) for top in self.tops)))
        target = self.result(tuple(problem)) // unit * unit
        low, high = 0, self.tops[0]
        while low < high:  # the smallest first operand whose answer reaches the target
            middle = (low + high) // 2
            moved = self.settle((middle, *problem[1:]))
            reached = moved[0] == middle and self.result(moved) >= target
            low, high = (low, middle) if reached else (middle + 1, high)
        return self._clipped((low + step, *problem[1:]))

    def _clipped(self, problem: Numbers) -> Numbers:
        return self.settle(
            tuple(min(max(n, 0), top) for n, top in zip(problem, self.tops, strict=True))
        )

    def hard(self) -> list[Numbers]:
        if len(self.widths) == 1:
            problems: list[Numbers] = [
                (pair[0],) for pair in ops.hard(self.widths[0], self.base, 2)
            ]
            places = [
                (j, d, e)
                for j in range(self.answer_length)
                for d in range(1, 10)
                for e in (-1, 0, 1)
            ]
            problems += [(-(-d * 10**j // self.slope) + e,) for j, d, e in places]
        else:
            problems = ops.hard(max(self.widths), self.base, len(self.widths))
        return list(dict.fromkeys(self._clipped(problem) for problem in problems))

    @property
    def slope(self) -> int:
        """The answer per unit of the first operand, where there is only one operand."""
        return 1

    def simpler(self, problem: Numbers) -> list[Numbers]:
        return [
            p for p in ops.simpler(problem, max(self.widths), self.base) if self._clipped(p) == p
        ]

    def remainder(self, problem: Numbers, position: int) -> Fraction | None:
        place = 10 ** (self.answer_length - 1 - position)
        return Fraction(self.result(problem) % (place * 10), place)

    def left(self, problem: Numbers, position: int) -> int | None:
        """What is left of the answer once its digits up to text position `position` are written;
        None before '='.
        """
        written = position + 1 - len(self.prompt(problem))
        return None if written < 0 else self.result(problem) % 10 ** (self.answer_length - written)

    def domain(self, **limits: int) -> Domain | None:
        """Every problem, where the task takes all numbers; no limits."""
        super().domain(**limits)
        counts = [top + 1 for top in self.tops]

        def problem(index: int) -> Numbers:
            numbers = []
            for count in reversed(counts):
                index, n = divmod(index, count)
                numbers.append(n)
            return tuple(numbers[::-1])

        return Domain(
            f"problems of task '{self.name}'",
            prod(counts),
            problem,
            self._texts(counts) if prod(counts) < LARGEST and self.arrays() is not None else None,
        )

    def _texts(self, counts: Sequence[int]) -> Callable[[int, int], Int64[np.ndarray, "b t"]]:
        """Token ids of whole texts."""

        def texts(start: int, stop: int) -> np.ndarray:
            index, arrays = np.arange(start, stop), self.arrays()
            assert arrays is not None, "checked by the domain"
            places = [prod(counts[i + 1 :]) for i in range(len(counts))]
            return arrays.rows([index // p % n for p, n in zip(places, counts, strict=True)])

        return texts

    def arrays(self) -> Arrays | None:
        arrays = Arrays(
            vocabulary=self.vocabulary,
            widths=self.widths,
            tops=self.tops,
            sign=self.sign,
            base=self.base,
            answer_base=10,
            answer_length=self.answer_length,
            least=False,
            result=self.result,
        )
        return arrays if arrays.fit else None
