"""Decoding by index, where every head is a lookup: the time of a token does not grow with the text.

A head with a slope of 746 or more gives all its weight to one position (e^-746 is 0 in float64), if
no other score comes nearer than that. Positions with equal keys differ in nothing but how far away
they are, so the last of them stands for all: a head keeps one entry for each different key, and
reads the value of the best entry. A score that comes nearer, or is not far from softmax1's own 1,
ends the run with an error; so what is decoded is what the whole softmax gives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from tinyadder.dsl import MLP, Attention, Program
from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import AffineRow, value_of

NOTHING = 746.0
"""exp(-746) is 0 in float64."""

SparseRow = tuple[list[tuple[int, float]], float]
"""(column, weight) of what is read, and the bias."""


class _Index:
    """The different keys of a head so far, the last position of each and its value."""

    def __init__(self, slope: float, rows: int) -> None:
        self.slope, self.count = slope, 0
        self.entries: dict[tuple[float, ...], int] = {}
        self.keys, self.last = np.zeros((16, rows)), np.zeros(16)
        self.values: list[list[float]] = []

    def keep(self, key: list[float], value: list[float], place: int) -> None:
        entry = self.entries.setdefault(tuple(key), self.count)
        if entry == self.count:
            if entry == len(self.last):
                self.keys = np.concatenate([self.keys, np.zeros_like(self.keys)])
                self.last = np.concatenate([self.last, np.zeros_like(self.last)])
            self.keys[entry] = key
            self.values.append(value)
            self.count += 1
        self.last[entry], self.values[entry] = place, value

    def read(self, query: list[float], place: int) -> list[float] | None:
        """The value at the position that has all the weight; None where softmax1's 1 has it."""
        scores = self.keys[: self.count] @ np.array(query)
        scores += self.slope * (self.last[: self.count] - place)
        best = int(scores.argmax())
        top = scores[best]
        scores[best] = -np.inf
        if top <= -NOTHING:
            return None
        if min(top, top - scores.max()) < NOTHING:
            raise TinyadderError(
                f"position {place}: two positions share the weight of a head, so this program is "
                "no chain of lookups; decode it without the index"
            )
        return self.values[best]


class IndexedDecoder:
    """Greedy decoding of one text at a time.

    Raises `TinyadderError` for a program without heads or with one whose slope is below 746, and
    while decoding where two positions share the weight of a head.

    >>> from tinyadder.programs import compile, key, prefix, tokens
    >>> x = tokens([0, 1, 2])
    >>> after = (prefix() & (key(x) == 2 - x)).latest(x + 1, 0)
    >>> made = compile(after % 3, length=100, start=0, steps=8, exact=True)
    >>> IndexedDecoder(made.program).decode([1, 0], 8)
    [0, 0, 0, 0, 0, 0, 0, 0]
    """

    def __init__(self, program: Program) -> None:
        self.program, self.columns = program, program.stream.columns()
        heads = [h for s in program.sublayers if isinstance(s, Attention) for h in s.heads]
        if not heads or any(head.slope < NOTHING for head in heads):
            raise TinyadderError(
                f"the index needs slopes of {NOTHING:g} or more: programs compiled with exact=True"
            )
        ids = {token: i for i, token in enumerate(program.vocabulary)}
        self.outputs = [ids[token] for token in program.output_tokens]
        self.embedding: list[list[tuple[int, float]]] = [[] for _ in ids]
        for lane, table in program.embed.lanes.items():
            for token, weights in table.items():
                for i in range(program.stream.lanes[lane].width):
                    weight = value_of(weights[i if len(weights) > 1 else 0])
                    if weight:
                        self.embedding[ids[token]].append((self.columns[lane, i], weight))
        self.layers = [self._sublayer(sublayer) for sublayer in program.sublayers]
        rows = [self._row(row) for row in program.unembed.form.rows]
        if len(rows) != len(self.outputs) or program.unembed.tied:
            raise TinyadderError("the index takes a readout with a row for each output")
        self.read = sorted({column for entries, _ in rows for column, _ in entries})
        place = {column: n for n, column in enumerate(self.read)}
        self.readout = np.zeros((len(rows), len(self.read)))
        for n, (entries, _) in enumerate(rows):
            for column, weight in entries:
                self.readout[n, place[column]] += weight
        self.bias = np.array([bias for _, bias in rows])
        if program.unembed.argmin:
            self.readout, self.bias = -self.readout, -self.bias

    def decode(self, prompt: Sequence[int], steps: int, end: int | None = None) -> list[int]:
        """At most `steps` token ids after `prompt`, `end` included."""
        return list(islice(self.stream(prompt, end), steps))

    def stream(self, prompt: Sequence[int], end: int | None = None) -> Iterator[int]:
        """The token ids after `prompt`, one after another, until `end`."""
        indices = [
            [_Index(slope, len(query)) for query, _, _, slope in layer[0]] if layer[2] else []
            for layer in self.layers
        ]
        place = -1
        for place, token in enumerate(prompt[:-1]):
            self._position(token, place, indices)
        token = prompt[-1]
        while True:
            place += 1
            x = self._position(token, place, indices)
            logits = self.readout @ np.array([x[column] for column in self.read]) + self.bias
            token = self.outputs[int(logits.argmax())]
            yield token
            if token == end:
                return

    def _position(self, token: int, place: int, indices: list[list[_Index]]) -> list[float]:
        """The stream after the last layer."""
        x = [0.0] * self.program.stream.width
        for column, value in self.embedding[token]:
            x[column] += value
        for (parts, writes, attends), kept in zip(self.layers, indices, strict=True):
            if attends:
                results = []
                for (query, key, value, _), index in zip(parts, kept, strict=True):
                    index.keep(_values(key, x), _values(value, x), place)
                    results.append(index.read(_values(query, x), place) or [0.0] * len(value))
                added = [(c, results[h][row]) for c, h, row in writes]
            else:
                units = [
                    max(g, 0.0) * u for g, u in zip(*(_values(p, x) for p in parts), strict=True)
                ]
                added = [(c, factor * units[n]) for c, n, factor in writes]
            for column, value in added:
                x[column] += value
        return x

    # ---- reading the program ----

    def _sublayer(self, sublayer: Attention | MLP) -> tuple[list, list, bool]:
        """(parts, what is written where, whether it attends)."""
        lanes = [
            (self.columns[lane, i], output.parts[i if len(output.parts) > 1 else 0])
            for lane, output in sublayer.lanes.items()
            for i in range(self.program.stream.lanes[lane].width)
        ]
        if isinstance(sublayer, Attention):
            heads = [
                (self._rows(h.query), self._rows(h.key), self._rows(h.value), h.slope)
                for h in sublayer.heads
            ]
            at = {id(head): n for n, head in enumerate(sublayer.heads)}
            wires = [(c, at[id(head)], row) for c, parts in lanes for head, row in parts]
            return heads, wires, True
        units, number = sublayer.units, {id(u): n for n, u in enumerate(sublayer.units)}
        sides = [[self._row(u.gate) for u in units], [self._row(u.up) for u in units]]
        written = [(c, number[id(u)], value_of(d)) for c, parts in lanes for u, d in parts]
        return sides, written, False

    def _rows(self, form: object) -> list[SparseRow]:
        return [self._row(row) for row in form.rows]  # type: ignore[attr-defined]

    def _row(self, row: AffineRow) -> SparseRow:
        return [(self.columns[c], value_of(w)) for c, w in row.weights], value_of(row.bias)


def _values(rows: list[SparseRow], x: list[float]) -> list[float]:
    values = []
    for weights, bias in rows:
        for column, weight in weights:
            bias += weight * x[column]
        values.append(bias)
    return values
