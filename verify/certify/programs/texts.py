"""Rule TEXT for compiled programs: every text by itself, where there are few.

The program is evaluated on each text, from the graph alone, and the model is read over the prompt
with every number as an interval (`check/texts.py`). Nothing of the certificate is used. Standard
library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

from tinyadder.verify.certify.check.intervals import ONE, need
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.check.texts import LinearRow, Reader
from tinyadder.verify.certify.programs.meaning import (
    INDEX,
    MARK,
    READS,
    SELECTORS,
    TOKEN,
    Meaning,
    number,
)

MOST_TEXTS = 20_000
"""The most texts that are gone through; a token costs milliseconds."""


class NoValue(Exception):
    """A `pick` selects two positions: the program has no value on this text."""


def evaluate(meaning: Meaning, text: Sequence[Any]) -> list[Any]:
    """The value of the program at every position of a text. Raises `NoValue`."""
    columns: list[dict[Any, Any]] = [{TOKEN: t, INDEX: i} for i, t in enumerate(text)]
    for node, data in enumerate(meaning.nodes[: meaning.output + 1]):
        if data["op"] in SELECTORS:
            continue
        if data["op"] in READS:
            values = [_read(meaning, data, columns, here) for here in range(len(text))]
        else:
            values = [meaning.value(node, row) for row in columns]
        for row, value in zip(columns, values, strict=True):
            row[node] = value
    return [row[meaning.output] for row in columns]


def _read(meaning: Meaning, data: dict[str, Any], columns: list[dict], here: int) -> Any:
    """What a node reads from the positions that its selector selects at `here`."""
    seen = columns[: here + 1] if meaning.causal else columns
    selector = data["inputs"][0]
    chosen = [row for row in seen if meaning.selects(selector, row, columns[here])]
    if data["op"] == "count":
        return len(chosen)
    values = [row[data["inputs"][1]] for row in chosen]
    if data["op"] in ("sum", "mean"):
        numbers = (data["op"] == "mean" and len(values) < 2) or all(map(number, values))
        need(numbers, f"a {data['op']} of values that are not numbers")
    if data["op"] == "sum":
        return sum(values, Fraction(0))
    if not values:
        return meaning.default(data)
    if data["op"] == "pick" and len(values) > 1:
        raise NoValue
    if data["op"] == "mean" and len(values) > 1:
        return sum(values, Fraction(0)) / len(values)
    return values[-1] if data["op"] == "latest" else values[0]


def every_text(model: ProgramModel, meaning: Meaning) -> dict[str, Any]:
    """Every text of at most `meaning.length` tokens. Raises `Rejected` where an answer may be
    another than the program's; of the result `margin`, `combinations` (tokens read), `partial`.
    """
    letters = len(meaning.letters)
    many = sum(letters**n for n in range(1, meaning.length + 1))
    need(many <= MOST_TEXTS, f"{many:,} texts to go through, more than {MOST_TEXTS:,}")
    known = {text: _values(meaning, text) for text in _texts(meaning)}
    checker = _TextChecker(model, meaning, [v for v in known.values() if v is not None])
    for text, values in known.items():
        if values is not None:
            checker.text(text, values)
    return {
        "margin": checker.margin / ONE,
        "combinations": checker.read,
        "partial": None in known.values(),
    }


def _texts(meaning: Meaning) -> Iterator[tuple[Any, ...]]:
    """Every text; those that begin alike follow each other."""
    letters = list(meaning.letters.values())
    if meaning.copies:
        for n in range(1, meaning.length + 1):
            yield from product(letters, repeat=n)
    else:
        yield from _extended((), letters, meaning.length)


def _extended(text: tuple[Any, ...], letters: list[Any], left: int) -> Iterator[tuple[Any, ...]]:
    for letter in letters if left else ():
        yield (*text, letter)
        yield from _extended((*text, letter), letters, left - 1)


def _values(meaning: Meaning, text: Sequence[Any]) -> list[Any] | None:
    try:
        return evaluate(meaning, text)
    except NoValue:
        return None


class _TextChecker:
    """One model against the values of one program."""

    def __init__(self, model: ProgramModel, meaning: Meaning, values: list[list[Any]]) -> None:
        self.reader, self.meaning = Reader(model), meaning
        self.names = {value: name for name, value in meaning.letters.items()}
        self.before: list[str] = []
        self.read, self.margin = 0, ONE << 100
        if not meaning.answers:
            need(len(model.outputs) == 1, "a number is read from one logit, and there are several")
            steps = sorted({value for row in values for value in row})
            need(all(map(number, steps)), "the answer is not always a number")
            least = min((b - a for a, b in pairwise(steps)), default=Fraction(1))
            self.quarter = int(least / 4 * ONE)
            self.row = LinearRow(*model.logit(model.outputs[0]))

    def text(self, text: Sequence[Any], values: Sequence[Any]) -> None:
        """The answers at all positions of the last copy, or of a text read once at its end."""
        once = [self.names[value] for value in text]
        prompt = [*[*once, MARK] * self.meaning.copies, *once]
        first = len(prompt) - len(once) if self.meaning.copies else len(prompt) - 1
        shared = 0
        while shared < min(len(self.before), first) and self.before[shared] == prompt[shared]:
            shared += 1
        self.reader.forget(shared)
        self.before = prompt
        for place in range(shared, len(prompt)):
            stream = self.reader.next(prompt[place])
            self.read += 1
            if place >= first:
                self.margin = min(self.margin, self._lead(stream, values[place - len(prompt)]))
        need(self.margin > 0, f"{' '.join(prompt)}: another answer may be given")

    def _lead(self, stream: Sequence[Any], value: Any) -> int:
        """By how much the answer is right, at least."""
        if not self.meaning.answers:
            low, high = self.row.of(stream)
            exact = Fraction(value) * ONE
            away = max(exact - low, high - exact)
            return self.quarter - int(away) - 1
        need(value in self.meaning.answers, f"no token stands for the answer {value!r}")
        right = self.meaning.answers[value]
        need(right in self.reader.logits, f"the answer {right!r} has no logit")
        return self.reader.margin(stream, right)
