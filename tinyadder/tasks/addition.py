"""Addition of `operands` numbers of `digits` digits in base `base`, most or least significant digit
first.

    ^ 0000000123 + 0000000456 =  ->  00000000579

Operands are padded with zeros to `digits + padding`; the answer has as many digits as the largest
sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from random import Random
from typing import Annotated, Any, Literal

import numpy as np

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.tasks import operands as ops
from tinyadder.tasks.arrays import LARGEST, Arrays
from tinyadder.tasks.base import Domain, Draw, Task
from tinyadder.tasks.counterexamples import counterexamples
from tinyadder.tasks.problems import DIGITS, read_number, refuse_pasted, short_text, whole_numbers


@dataclass(frozen=True)
class Addition(Task):
    """Sums of `operands` non-negative integers; a problem is a tuple of integers."""

    digits: Annotated[int, Between(1, 1000)] = 10
    base: Annotated[int, Between(2, len(DIGITS))] = 10
    order: Literal["most", "least"] = "most"
    """Which digit comes first, in operands and answer alike: the most or the least significant."""
    operands: Annotated[int, Between(2, 100)] = 2
    padding: Annotated[int, Between(0, 1000)] = 0

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*DIGITS[: self.base], "=", "^", "$", "+")

    @property
    def largest(self) -> int:
        """The largest operand."""
        return self.base**self.digits - 1

    @property
    def answer_length(self) -> int:
        length, top = 1, self.operands * self.largest
        while self.base**length <= top:
            length += 1
        return length

    def _written(self, number: int, width: int) -> str:
        digits = [DIGITS[d] for d in ops.digits_of(number, width, self.base)]
        return "".join(digits if self.order == "most" else digits[::-1])

    def prompt(self, problem: tuple[int, ...]) -> str:
        width = self.digits + self.padding
        return "^" + "+".join(self._written(number, width) for number in problem) + "="

    def answer(self, problem: tuple[int, ...]) -> str:
        return self._written(sum(problem), self.answer_length)

    def check(self, problem: Any) -> tuple[int, ...]:
        return whole_numbers(problem, [(0, self.largest)] * self.operands, self._takes())

    def parse(self, text: str) -> tuple[int, ...]:
        refuse_pasted(text, self._takes())
        words = re.split(r"[\s+]+", text.strip())
        if words in ([""], []):
            raise TinyadderError(
                f"the problem is empty; give {self.operands} numbers, e.g. '{self._example()}'"
            )
        numbers = tuple(
            read_number(word, self.base, self._takes(), largest=self.largest) for word in words
        )
        if len(words) != self.operands:
            raise TinyadderError(
                f"'{short_text(text.strip())}' has {len(words)} number{'s' * (len(words) != 1)}; "
                f"this model adds {self.operands}, e.g. '{self._example()}'"
            )
        return numbers

    def _example(self) -> str:
        return " ".join(
            ["12", "34", *["5"] * (self.operands - 2)] if self.base > 4 else ["1"] * self.operands
        )

    def _takes(self) -> str:
        where = "" if self.base == 10 else f" in base {self.base}"
        return f"this model takes 0 .. {self._shown(self.largest)}{where}"

    def _shown(self, number: int) -> str:
        width = 1
        while self.base**width <= number:
            width += 1
        return "".join(DIGITS[d] for d in ops.digits_of(number, width, self.base))

    def show(self, problem: tuple[int, ...]) -> str:
        return " + ".join(self._shown(number) for number in problem)

    def show_answer(self, answer: Sequence[str]) -> str:
        digits = "".join(answer)
        if self.order == "least":
            digits = digits[::-1]
        return digits.lstrip("0") or "0" if set(digits) <= set(DIGITS) and digits else digits

    def uniform(self, random: Random, count: int) -> list[tuple[int, ...]]:
        return [ops.plain(random, self.digits, self.base, self.operands) for _ in range(count)]

    def balanced(self, random: Random, count: int) -> list[tuple[int, ...]]:
        lengths = range(1, self.digits + 1)
        return [
            tuple(
                ops.plain(random, random.choice(lengths), self.base, 1)[0]
                for _ in range(self.operands)
            )
            for _ in range(count)
        ]

    def split_key(self, problem: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(problem))

    def traits(self, problem: tuple[int, ...]) -> Mapping[str, int]:
        """Digits of the largest operand, and the longest run of columns that a carry goes
        through.
        """
        columns = zip(
            *(ops.digits_of(number, self.digits, self.base)[::-1] for number in problem),
            strict=True,
        )
        carry = run = longest = 0
        for column in columns:
            carry = (sum(column) + carry) // self.base
            run = run + 1 if carry else 0
            longest = max(longest, run)
        return {"digits": len(self._shown(max(problem))), "carry chain": longest}

    def draws(self) -> list[Draw]:
        return ops.draws(self.digits, self.base, self.operands)

    def focused(self, random: Random, count: int) -> list[tuple[int, ...]]:
        """Uniform, structured, and runs of equal columns (often zeros) in turn: where a neighbour's
        digit misleads.
        """

        def runs() -> tuple[int, ...]:
            stay, column, columns = random.choice((0.5, 0.8)), (0,) * self.operands, []
            for _ in range(self.digits):
                if random.random() > stay:
                    column = ops.plain(random, 1, self.base, self.operands)
                    column = random.choice((column, (0,) * self.operands))
                columns.append(column)
            return tuple(
                ops.value(list(digits), self.base) for digits in zip(*columns, strict=True)
            )

        third = -(-count // 3)
        kinds = (
            self.uniform(random, third),
            self.structured(random, third),
            [runs() for _ in range(third)],
        )
        return [problem for three in zip(*kinds, strict=True) for problem in three][:count]

    def edges(self) -> list[tuple[int, ...]]:
        return ops.edges(self.digits, self.base, self.operands)

    def hard(self) -> list[tuple[int, ...]]:
        pairs = replace(self, operands=2)
        extra = (0,) * (self.operands - 2)
        problems = [(*pair, *extra) for pair in counterexamples(pairs)]
        return list(dict.fromkeys([*problems, *ops.hard(self.digits, self.base, self.operands)]))

    def simpler(self, problem: tuple[int, ...]) -> list[tuple[int, ...]]:
        return ops.simpler(problem, self.digits, self.base)

    def remainder(self, problem: tuple[int, ...], position: int) -> Fraction | None:
        if self.order == "least":
            return None
        place = self.base ** (self.answer_length - 1 - position)
        return Fraction(sum(problem) % (place * self.base), place)

    def domain(self, **limits: int) -> Domain:
        """Every tuple of operands of at most `digits` digits (default: as many as the task has),
        the last fastest.
        """
        digits = limits.pop("digits", self.digits)
        if limits or not 1 <= digits <= self.digits:
            given = f"digits={digits}" if not limits else f"'{next(iter(limits))}'"
            raise TinyadderError(
                f"the domain of this task takes digits=1 .. {self.digits}; {given} was given"
            )
        count = self.base**digits
        size = count**self.operands
        words = {2: "the pairs", 3: "the triples"}.get(self.operands, f"the {self.operands}-tuples")
        where = f"numbers of at most {digits} digit{'s' * (digits > 1)}"
        where += "" if self.base == 10 else f" in base {self.base}"
        return Domain(
            f"{words} of {where}",
            size,
            lambda index: tuple(ops.digits_of(index, self.operands, count)),
            self._texts(count) if size < LARGEST and self.arrays() is not None else None,
        )

    def _texts(self, count: int) -> Callable[[int, int], np.ndarray]:
        """Token ids of whole texts, for operands below `count`."""

        def texts(start: int, stop: int) -> np.ndarray:
            index, arrays = np.arange(start, stop), self.arrays()
            assert arrays is not None, "checked by the domain"
            places = reversed(range(self.operands))
            return arrays.rows([index // count**place % count for place in places])

        return texts

    def arrays(self) -> Arrays | None:
        arrays = Arrays(
            vocabulary=self.vocabulary,
            widths=(self.digits + self.padding,) * self.operands,
            tops=(self.largest,) * self.operands,
            sign="+",
            base=self.base,
            answer_base=self.base,
            answer_length=self.answer_length,
            least=self.order == "least",
            result=sum,
        )
        return arrays if arrays.fit else None


TASK = Addition
