"""How a stranger's adder writes its sums, recovered from recorded passes.

The format says what stands at each place of each pass (a constant, a function of one digit of an
operand, of a column, or a token chosen before), which logits are read, which token the choice
becomes, how the answer is read off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from tinyadder.tasks.pairs import Pair
from tinyadder.verify.external.recording import DIGITS, NotRecovered, Pairs, TracedSum

SPELLED = 0.6
"""The share of recorded sums whose answer its choices must spell."""


@dataclass(frozen=True)
class Slot:
    """What stands at one place of a pass, as a table of tokens."""

    kind: Literal["constant", "a", "b", "column", "chosen"]
    index: int
    """Of the digit or column, from the least significant; of the pass whose choice it is."""
    table: tuple[int, ...]
    """By digit; by 10 * digit of a + digit of b; by the choice (-1: never seen); one entry of a
    constant."""

    def __str__(self) -> str:
        if self.kind == "constant":
            return f"token {self.table[0]}"
        if self.kind == "chosen":
            return f"choice {self.index + 1}"
        return f"digit {self.index} of {'a and b' if self.kind == 'column' else self.kind}"


@dataclass(frozen=True)
class Format:
    """How a file feeds its model and reads it."""

    passes: tuple[tuple[Slot, ...], ...]
    rows: tuple[int, ...]
    """Which row of logits each pass is read at; -1 the last."""
    outputs: int | None
    """The first so many logits are compared; None: all."""
    smallest: bool
    """Whether the smallest logit is chosen."""
    order: Literal["most", "least"]
    """Which digit of the answer is chosen first."""
    skip: int
    """Choices before the first digit."""
    length: int | None
    """Digits of the answer; None: up to the stop."""
    base: int
    """10, or 100 where a choice is two digits."""
    digits: tuple[int, ...]
    """By choice: the digit it is, -1 none."""
    stops: frozenset[int]
    """Choices that end the answer."""

    def read(self, choices: Sequence[int]) -> int | None:
        """The number that these choices spell; None where one is no digit."""
        spelled = list(choices[self.skip :])
        if self.length is not None:
            spelled = spelled[: self.length]
        else:
            end = next((i for i, c in enumerate(spelled) if c in self.stops), len(spelled))
            spelled = spelled[:end]
        value, known = 0, [self.digits[c] if 0 <= c < len(self.digits) else -1 for c in spelled]
        if not known or min(known) < 0:
            return None
        for digit in known if self.order == "most" else known[::-1]:
            value = value * self.base + digit
        return value

    @property
    def grows(self) -> bool:
        """Each pass has the text of the one before and its choice."""
        return all(
            after[:-1] == before and after[-1].kind == "chosen" and after[-1].index == k
            for k, (before, after) in enumerate(zip(self.passes, self.passes[1:], strict=False))
        )

    def __str__(self) -> str:
        """One line: the prompt, and how the answer is read."""
        first = self.passes[0]
        places: list[str] = []
        for slot in first:
            operand, index = slot.kind, slot.index
            last = places[-1].split() if places else []
            if operand in ("a", "b", "column") and last[:1] == [operand]:
                places[-1] = f"{operand} {last[1].split('..')[0]}..{index}"
            else:
                places.append(
                    f"{operand} {index}" if operand != "constant" else f"'{slot.table[0]}'"
                )
        way = "grows by its choice" if self.grows else "is filled in"
        return (
            f"prompt of {len(first)} tokens ({' '.join(places)}), {way}, {len(self.passes)} passes,"
            f" {self.order} significant digit first"
        )


def digits_of(numbers: Sequence[int], width: int = DIGITS, base: int = 10) -> np.ndarray:
    """(n, width) digits, least significant first."""
    found = np.zeros((len(numbers), width), dtype=np.int64)
    left = np.array(numbers, dtype=np.int64)
    for i in range(width):
        left, found[:, i] = np.divmod(left, base)
    return found


def spread(count: int, seed: int) -> list[Pair]:
    """`count` pairs (a multiple of ten) in which every digit stands equally often in every place.

    >>> sorted({a % 10 for a, _ in spread(10, 0)}) == list(range(10))
    True
    """
    random = Random(seed)
    columns = []
    for _ in range(2 * DIGITS):
        column = list(range(10)) * (count // 10)
        random.shuffle(column)
        columns.append(column)
    numbers = [
        [sum(columns[shift + i][n] * 10**i for i in range(DIGITS)) for shift in (0, DIGITS)]
        for n in range(count)
    ]
    return [(a, b) for a, b in numbers]


Probe = Callable[[Pairs], list[TracedSum]]


def recover(runs: Sequence[TracedSum], probe: Probe) -> Format:
    """The format that explains every one of these runs; `probe` records others.

    Raises `NotRecovered` where there is none.
    """
    if not all(run.calls for run in runs):
        raise NotRecovered("no call that turns integer tokens into logits was seen")
    steps = max(len(run.calls) for run in runs)
    if steps < 2:
        raise NotRecovered("one pass of the model gives the whole answer")
    if any(
        len({len(run.texts[k]) for run in runs if k < len(run.calls)}) > 1 for k in range(steps)
    ):
        raise NotRecovered("its prompts have different lengths")
    shapes = [
        {call.rows.shape for run in runs for call in run.calls[k : k + 1]} for k in range(steps)
    ]
    if any(len(found) > 1 for found in shapes):
        raise NotRecovered("its passes return logits of different shapes")
    reason = "the tokens it is fed are not its largest logits"
    for rows in _candidate_rows(runs, steps):
        for smallest in (False, True):
            for outputs in (None, 10):
                chosen = _choices(runs, steps, rows, outputs, smallest)
                try:
                    table = _fed(runs, chosen, steps)
                except NotRecovered as why:
                    reason = str(why)
                    continue
                order, skip, length, base, digits, stops = _reading(runs, chosen)
                passes = _passes(runs, chosen, steps, table, probe)
                return Format(
                    passes, rows, outputs, smallest, order, skip, length, base, digits, stops
                )
    raise NotRecovered(reason)


def _candidate_rows(runs: Sequence[TracedSum], steps: int) -> Iterator[tuple[int, ...]]:
    """The last row in every pass; where a text of fixed width is filled in, the row before the
    place that is filled next, or that row itself.
    """
    yield (-1,) * steps
    filled = list[int]()
    for k in range(steps - 1):
        both = [run.texts[k : k + 2] for run in runs if len(run.calls) > k + 1]
        if any(len(before) != len(after) for before, after in both):
            return
        places = {
            p
            for before, after in both
            for p, (one, two) in enumerate(zip(before, after, strict=True))
            if one != two
        }
        if len(places) != 1:
            return
        filled += places
    filled.append(2 * filled[-1] - filled[-2] if len(filled) > 1 else filled[-1] + 1)
    count = len(runs[0].calls[0].rows)
    for shift in (-1, 0):
        rows = tuple(place + shift for place in filled)
        if all(0 <= row < count for row in rows):
            yield rows


def _choices(
    runs: Sequence[TracedSum], steps: int, rows: Sequence[int], outputs: int | None, smallest: bool
) -> np.ndarray:
    """(runs, steps) index of the logit that is chosen; -1 past the end of a run."""
    chosen = np.full((len(runs), steps), -1)
    for n, run in enumerate(runs):
        for k, call in enumerate(run.calls):
            row = call.rows[rows[k]][:outputs]
            chosen[n, k] = (-row if smallest else row).argmax()
    return chosen


def _fed(runs: Sequence[TracedSum], chosen: np.ndarray, steps: int) -> dict[int, int]:
    """Choice -> the token it becomes in the next pass. Raises `NotRecovered` where that is no
    function.
    """
    table: dict[int, int] = {}
    for n, run in enumerate(runs):
        for k in range(len(run.calls) - 1):
            before, after = run.texts[k], run.texts[k + 1]
            if len(after) == len(before) + 1:
                token = after[-1]
            elif len(after) == len(before):
                steps_on = [(r.texts[k], r.texts[k + 1]) for r in runs if len(r.calls) > k + 1]
                places = [p for p in range(len(after)) if any(a[p] != b[p] for a, b in steps_on)]
                if len(places) != 1:
                    raise NotRecovered("from pass to pass more than one token changes")
                token = after[places[0]]
            else:
                raise NotRecovered("its text does not grow by one token a pass")
            if table.setdefault(int(chosen[n, k]), token) != token:
                raise NotRecovered("what is fed back is not the largest logit")
    if len(set(table.values())) < len(table):
        raise NotRecovered("different choices are fed back as the same token")
    shifts = {token - choice for choice, token in table.items()}
    if len(shifts) == 1:  # the choices that did not occur, too
        (shift,) = shifts
        count = runs[0].calls[0].rows.shape[-1]
        table |= {c: c + shift for c in range(count) if c + shift >= 0}
    return table


def _reading(
    runs: Sequence[TracedSum], chosen: np.ndarray
) -> tuple[Literal["most", "least"], int, int | None, int, tuple[int, ...], frozenset[int]]:
    """How the number that `add` returned is spelled by the choices. Raises `NotRecovered`."""
    known = [n for n, run in enumerate(runs) if run.answer is not None and 0 <= run.answer < 10**18]
    if len(known) < len(runs) / 2:
        raise NotRecovered("add returns no whole numbers")
    answers = [int(runs[n].answer or 0) for n in known]
    counts = {len(runs[n].calls) for n in known}
    size = int(chosen.max()) + 1
    orders: tuple[Literal["most", "least"], ...] = ("least", "most")
    for base in (10, 100):
        need = len(_spelled(max(answers), base))
        for skip in (0, 1, 2):
            for length in range(min(counts) - skip, need - 1, -1):
                padded = digits_of(answers, length, base)
                for order in orders:
                    spelled = padded if order == "least" else padded[:, ::-1]
                    choices = chosen[known, skip : skip + length].tolist()
                    pairs = [
                        zip(c, d, strict=True)
                        for c, d in zip(choices, spelled.tolist(), strict=True)
                    ]
                    digits = _one_to_one(pairs, size)
                    if digits is not None:
                        return order, skip, length, base, digits, frozenset()
            for order in orders:
                found = _unpadded(chosen[known], answers, skip, base, order, size)
                if found is not None:
                    return order, skip, None, base, *found
    raise NotRecovered("what add returns is not spelled by the choices of its passes")


def _spelled(number: int, base: int) -> list[int]:
    """Digits, least significant first, at least one."""
    digits = [number % base]
    while number := number // base:
        digits.append(number % base)
    return digits


def _one_to_one(runs: Sequence[Iterable[tuple[int, int]]], size: int) -> tuple[int, ...] | None:
    """The table choice -> digit that most runs spell, every digit by one choice.

    None where it spells less than `SPELLED` of the runs: `add` may alter some answers.
    """
    votes = np.zeros((size, 100), dtype=np.int64)
    lists = [list(run) for run in runs]
    for choice, digit in (pair for pairs in lists for pair in pairs):
        if choice < 0:
            return None
        votes[choice, digit] += 1
    table = np.where(votes.any(1), votes.argmax(1), -1)
    known = table[table >= 0]
    good = sum(all(table[choice] == digit for choice, digit in pairs) for pairs in lists)
    if len(set(known.tolist())) < len(known) or good < SPELLED * len(lists):
        return None
    return tuple(table.tolist())


def _unpadded(
    chosen: np.ndarray,
    answers: Sequence[int],
    skip: int,
    base: int,
    order: Literal["most", "least"],
    size: int,
) -> tuple[tuple[int, ...], frozenset[int]] | None:
    """The table and the stops of answers without leading zeros, each ended by a choice."""
    pairs, stops = list[Iterable[tuple[int, int]]](), set[int]()
    for row, answer in zip(chosen.tolist(), answers, strict=True):
        digits = _spelled(answer, base)[:: 1 if order == "least" else -1]
        spelled, rest = row[skip : skip + len(digits)], row[skip + len(digits) :]
        if len(spelled) < len(digits) or not rest or rest[0] < 0:
            return None
        pairs.append(zip(spelled, digits, strict=True))
        stops.add(rest[0])
    table = _one_to_one(pairs, size)
    if table is None or any(table[stop] >= 0 for stop in stops):
        return None
    return table, frozenset(stops)


def _passes(
    runs: Sequence[TracedSum], chosen: np.ndarray, steps: int, fed: dict[int, int], probe: Probe
) -> tuple[tuple[Slot, ...], ...]:
    """The slots of every pass. Raises `NotRecovered`."""
    size = max(fed, default=0) + 1
    choice_table = tuple(fed.get(c, -1) for c in range(size))
    columns: dict[int, list[TracedSum]] = {}

    def probed() -> list[TracedSum]:
        if 0 not in columns:
            ones = (10**DIGITS - 1) // 9
            columns[0] = probe([(x * ones, y * ones) for x in range(10) for y in range(10)])
        return columns[0]

    found: list[tuple[Slot, ...]] = []
    for k in range(steps):
        those = [n for n, run in enumerate(runs) if k < len(run.calls)]
        texts = np.array([runs[n].texts[k] for n in those])
        before = np.array([runs[n].texts[k - 1] for n in those]) if k else texts[:, :0]
        slots: list[Slot] = []
        for p in range(texts.shape[1]):
            if p < before.shape[1] and (texts[:, p] == before[:, p]).all():
                slots.append(found[k - 1][p])
                continue
            slot = _slot(texts[:, p], [runs[n].pair for n in those])
            if slot is None:
                slot = _chosen(texts[:, p], chosen[those, :k], choice_table)
            if slot is None:
                slot = _column(texts[:, p], [runs[n].pair for n in those], k, p, probed)
            if slot is None:
                raise NotRecovered(
                    f"token {p + 1} of pass {k + 1} is no function of a digit of either number, of"
                    " a column, or of a choice before"
                )
            slots.append(slot)
        found.append(tuple(slots))
    return tuple(found)


def _slot(tokens: np.ndarray, pairs: Pairs) -> Slot | None:
    """A constant, or a function of one digit."""
    if (tokens == tokens[0]).all():
        return Slot("constant", 0, (int(tokens[0]),))
    operands: tuple[Literal["a", "b"], ...] = ("a", "b")
    for which, kind in enumerate(operands):
        digits = digits_of([pair[which] for pair in pairs])
        for index in range(DIGITS):
            table = [set(tokens[digits[:, index] == d].tolist()) for d in range(10)]
            if all(len(tokens_of) == 1 for tokens_of in table):
                return Slot(kind, index, tuple(int(t.pop()) for t in table))
    return None


def _chosen(tokens: np.ndarray, before: np.ndarray, table: tuple[int, ...]) -> Slot | None:
    """A choice of a pass before; the latest that fits."""
    known = np.array(table)
    for step in reversed(range(before.shape[1])):
        if (known[before[:, step]] == tokens).all():
            return Slot("chosen", step, table)
    return None


def _column(
    tokens: np.ndarray, pairs: Pairs, k: int, p: int, probed: Callable[[], list[TracedSum]]
) -> Slot | None:
    """A function of the two digits of one column, read off sums of repeated digits."""
    a, b = (digits_of([pair[which] for pair in pairs]) for which in (0, 1))
    for index in range(DIGITS):
        keys = 10 * a[:, index] + b[:, index]
        if all(len(set(tokens[keys == key].tolist())) == 1 for key in set(keys.tolist())):
            runs = probed()
            if any(len(run.calls) <= k or len(run.texts[k]) <= p for run in runs):
                return None
            table = tuple(run.texts[k][p] for run in runs)
            if (np.array(table)[keys] == tokens).all():
                return Slot("column", index, table)
    return None
