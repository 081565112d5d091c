"""The product of two real numbers of `digits` significant digits, rounded to as many, as sign,
mantissa, exponent.

    ^ + 314 E-2 * - 271 E0 =  ->  - 851 E0 $        3.14 * -271 = -850.94

Answers are rounded half to even from the exact product. A near miss is worth something here:
`error` measures it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from random import Random
from typing import Annotated, Any

from tinyadder.encodings import Reals
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.plain import short
from tinyadder.tasks.base import Draw, Task
from tinyadder.tasks.counterexamples import counterexamples
from tinyadder.tasks.problems import short_text, whole_numbers

WRITTEN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
Number = tuple[int, int]
"""Mantissa (signed, of exactly `digits` digits) and exponent: (314, -2) is 3.14."""


def value(number: Number) -> Decimal:
    """mantissa * 10^exponent, exactly.

    >>> value((-314, -2))
    Decimal('-3.14')
    """
    return Decimal(number[0]).scaleb(number[1])


@dataclass(frozen=True)
class RealProduct(Task):
    """x * y for x and y other than 0; a problem is two pairs of mantissa and exponent."""

    digits: Annotated[int, Between(1, 6)] = 3
    """Significant digits of the operands and of the answer."""
    exponents: Annotated[int, Between(0, 40)] = 4
    """Exponents of the operands are within -exponents .. exponents."""

    @property
    def encoding(self) -> Reals:
        """The encoding of operands and answers; products have larger exponents."""
        return Reals(self.digits, 2 * self.exponents + self.digits)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return ("^", "*", "=", "$", *self.encoding.vocabulary)

    @property
    def end(self) -> str:
        return "$"

    @property
    def answer_length(self) -> int:
        return len(self.encoding.encode(1.0)) + 1

    def prompt(self, problem: tuple[Number, Number]) -> tuple[str, ...]:
        x, y = (self.encoding.encode(value(number)) for number in problem)
        return ("^", *x, "*", *y, "=")

    def answer(self, problem: tuple[Number, Number]) -> tuple[str, ...]:
        return (*self.encoding.encode(value(problem[0]) * value(problem[1])), self.end)

    def error(self, problem: tuple[Number, Number], answer: Sequence[str]) -> float:
        """|emitted - right| / |right|, the right answer being the rounded one; infinite where no
        number was emitted.
        """
        right = self.encoding.decode(self.answer(problem)[:-1])
        try:
            return abs(
                self.encoding.decode([token for token in answer if token != self.end]) - right
            ) / abs(right)
        except TinyadderError:
            return float("inf")

    def check(self, problem: Any) -> tuple[Number, Number]:
        low, high = self._mantissas()[0], self._mantissas()[-1]
        takes = (
            f"this model takes two pairs (mantissa, exponent): {low} .. {high} of either sign, "
            f"-{self.exponents} .. {self.exponents}"
        )
        if isinstance(problem, str | bytes) or not hasattr(problem, "__len__") or len(problem) != 2:
            raise TinyadderError(f"{short(problem)} is not two numbers; {takes}")
        limits = [(-high, high), (-self.exponents, self.exponents)]
        (x, e), (y, f) = (whole_numbers(number, limits, takes) for number in problem)
        if min(abs(x), abs(y)) < low:
            raise TinyadderError(
                f"{short(problem)} has a mantissa of less than {self.digits} digits; {takes}"
            )
        return (x, e), (y, f)

    def parse(self, text: str) -> tuple[Number, Number]:
        words = [word for word in re.split(r"[\s*]+", text.strip()) if word]
        if len(words) != 2:
            raise TinyadderError(
                f"'{short_text(text.strip())}' has {len(words)} number(s); give two, e.g."
                f" '{self._example()}'"
            )
        return self._number(words[0]), self._number(words[1])

    def _number(self, word: str) -> Number:
        if not WRITTEN.fullmatch(word) or not Decimal(word):
            raise TinyadderError(
                f"'{short_text(word)}' is not a real number other than 0, e.g. '{self._example()}'"
            )
        sign, digits, exponent = Decimal(word).normalize().as_tuple()
        missing = self.digits - len(digits)
        assert isinstance(exponent, int), "the number is finite"
        if missing < 0:
            raise TinyadderError(
                f"'{short_text(word)}' has {len(digits)} significant digits; this model takes"
                f" {self.digits}"
            )
        if abs(exponent - missing) > self.exponents:
            low, high = (
                value((10 ** (self.digits - 1), -self.exponents)),
                value((10**self.digits - 1, self.exponents)),
            )
            raise TinyadderError(
                f"'{short_text(word)}' is too small or too large; this model takes {low} .. {high}"
                " of either sign"
            )
        mantissa = int("".join(map(str, digits))) * 10**missing
        return (-mantissa if sign else mantissa), exponent - missing

    def _example(self) -> str:
        low = 10 ** (self.digits - 1)
        return self.show(((3 * low, 0), (-2 * low, 0)))

    def show(self, problem: tuple[Number, Number]) -> str:
        return " * ".join(str(value(number)) for number in problem)

    def show_answer(self, answer: Sequence[str]) -> str:
        try:
            sign, *groups, exponent = self.encoding.encode(
                self.encoding.decode([t for t in answer if t != self.end])
            )
        except TinyadderError:
            return " ".join(answer)
        return str(value((int(sign + "".join(groups)), int(exponent[1:]))))

    def split_key(self, problem: tuple[Number, Number]) -> tuple[int, int]:
        """The two mantissas: neither another order, nor other signs or exponents, make a problem
        new.
        """
        x, y = sorted(abs(mantissa) for mantissa, _ in problem)
        return x, y

    def traits(self, problem: tuple[Number, Number]) -> Mapping[str, int]:
        return {"leading digit": int(self.answer(problem)[1][0])}

    def _mantissas(self) -> range:
        return range(10 ** (self.digits - 1), 10**self.digits)

    def uniform(self, random: Random, count: int) -> list[tuple[Number, Number]]:
        """Mantissas, exponents and signs uniform."""
        mantissas = self._mantissas()

        def one() -> Number:
            return random.choice((-1, 1)) * random.choice(mantissas), random.randint(
                -self.exponents, self.exponents
            )

        return [(one(), one()) for _ in range(count)]

    def _edges(self) -> list[int]:
        """Smallest and largest mantissas, round ones, and those beside sqrt(10), whose squares get
        another digit.
        """
        low, high = self._mantissas()[0], self._mantissas()[-1]
        root = int((low * 10**self.digits) ** 0.5)
        mantissas = {low, low + 1, high, high - 1, root, root + 1, *(n * low for n in range(1, 10))}
        return sorted(n for n in mantissas if low <= n <= high)

    def draws(self) -> list[Draw]:
        """In turn: a mantissa at an edge; a product about half-way between two answers."""
        edges, largest = self._edges(), self._mantissas()[-1]

        def at_edge(random: Random) -> tuple[Number, Number]:
            ((_, e), y) = self.uniform(random, 1)[0]
            return (random.choice(edges), e), y

        def half_way(random: Random) -> tuple[Number, Number]:
            (x, (y, f)) = self.uniform(random, 1)[0]
            return x, (min((y // 50 + 1) * 50, largest), f)  # many halves: 50 x / 100

        return [at_edge, half_way]

    def hard(self) -> list[tuple[Number, Number]]:
        top, edges = self.exponents, self._edges()
        problems: list[tuple[Number, Number]] = counterexamples(self)
        problems += [((x, 0), (y, 0)) for x, y in product(edges, edges)]
        problems += [
            ((s * edges[0], e), (edges[-1], f))
            for s in (1, -1)
            for e, f in product((-top, top), repeat=2)
        ]
        return list(dict.fromkeys(problems))


TASK = RealProduct
