"""Problems of whole numbers as arrays: many are written, read and answered at once, in int64."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int64

LARGEST = 2**62
"""Numbers and indices below it, and their sums, fit int64."""


@dataclass(frozen=True)
class Arrays:
    """Prompts `^ first sign second = ` and answers of fixed lengths, as token ids.

    The first `base` (of answers `answer_base`) tokens of `vocabulary` are the digits.
    """

    vocabulary: tuple[str, ...]
    widths: tuple[int, ...]
    """Digits of each operand as it is written in a prompt."""
    tops: tuple[int, ...]
    """The largest value of each operand."""
    sign: str
    base: int
    answer_base: int
    answer_length: int
    least: bool
    """Whether the least significant digit comes first."""
    result: Callable[[tuple[Any, ...]], Any]
    """The right answer, of integers or of arrays of them."""
    accepts: Callable[[Sequence[Any]], Any] = lambda operands: operands[0] >= 0
    """Which problems the task takes, of those within `tops`."""

    @property
    def fit(self) -> bool:
        """Whether all that is computed here fits int64."""
        return max(self.base ** max(self.widths), self.answer_base**self.answer_length) < LARGEST

    def rows(self, operands: Sequence[Int64[np.ndarray, " n"]]) -> Int64[np.ndarray, "n t"]:
        """Token ids of prompt and right answer of every problem."""
        parts = [self._token("^", operands)]
        for i, (operand, width) in enumerate(zip(operands, self.widths, strict=True)):
            parts += [self._token(self.sign, operands)] if i else []
            parts.append(self._digits(operand, width, self.base))
        answers = np.asarray(self.result(tuple(operands)))
        written = self._digits(answers, self.answer_length, self.answer_base)
        return np.concatenate([*parts, self._token("=", operands), written], axis=1)

    def _token(self, token: str, operands: Sequence[np.ndarray]) -> np.ndarray:
        return np.full((len(operands[0]), 1), self.vocabulary.index(token))

    def _digits(self, numbers: np.ndarray, places: int, base: int) -> np.ndarray:
        powers = base ** np.arange(places, dtype=np.int64)
        return numbers[:, None] // (powers if self.least else powers[::-1]) % base

    def read(self, text: bytes) -> list[Int64[np.ndarray, " n"]] | None:
        r"""The operands of a text of lines such as b"12 34\n5+6\n".

        None where some line is written in another way, or holds no problem of the task: then they
        are to be read one by one, each mistake with its message.
        """
        if self.base != 10:
            return None
        between = rb" *[ %s] *" % re.escape(self.sign.encode())
        line = between.join([rb"[0-9]{1,18}"] * len(self.widths))
        if not re.fullmatch(rb"(?:%s\r?\n)+" % line, text):
            return None
        plain = text.replace(self.sign.encode(), b" ") if self.sign else text
        numbers = np.fromstring(plain.decode("ascii"), dtype=np.int64, sep=" ")
        operands = list(numbers.reshape(-1, len(self.widths)).T)
        small = [(n <= top).all() for n, top in zip(operands, self.tops, strict=True)]
        return operands if all(small) and self.accepts(operands).all() else None

    def numbers(self, answers: Int64[np.ndarray, "n a"]) -> Int64[np.ndarray, " n"] | None:
        """The numbers that decimal answers write; None where a token is no digit."""
        if self.answer_base != 10 or (answers >= 10).any():
            return None
        powers = 10 ** np.arange(answers.shape[1], dtype=np.int64)
        return answers @ (powers if self.least else powers[::-1])
