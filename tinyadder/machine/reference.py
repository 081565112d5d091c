"""The machine in numpy, straight from the equations of a program: slow, short, independent of
torch.

    head = sum_{j<=i} exp(s_ij) v_j / (1 + sum_{j<=i} exp(s_ij)),   s_ij = q_i . k_j + slope (j - i)
    unit = relu(gate) * up,   logits = readout of the lanes

Tests compare the compiled module and `machine.single` with it. Axes: t positions, r rows of a form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tinyadder.dsl import Head, Program
from tinyadder.lang.forms import AffineForm, value_of

Lanes = dict[str, np.ndarray]
"""Lane name -> its components at every position, [t, width]."""


def reference_logits(program: Program, tokens: Sequence[str]) -> Float[np.ndarray, "t o"]:
    """Logits of `program.output_tokens` after every token."""
    lanes = {
        name: np.zeros((len(tokens), lane.width)) for name, lane in program.stream.lanes.items()
    }
    for lane, table in program.embed.lanes.items():
        for i, token in enumerate(tokens):
            lanes[lane][i] += [value_of(n) for n in table.get(token, [0.0])]
    for sublayer in program.sublayers:
        added = {lane: np.zeros_like(lanes[lane]) for lane in sublayer.lanes}
        for lane, output in sublayer.lanes.items():
            for i in range(lanes[lane].shape[1]):
                for term in output.parts[i if output.width > 1 else 0]:
                    added[lane][:, i] += _term(term, lanes)
        lanes = {name: value + added.get(name, 0) for name, value in lanes.items()}
    return _readout(program, lanes)


def _term(term: tuple[Any, Any], lanes: Lanes) -> Float[np.ndarray, " t"]:
    """What one (head, value row) or (hidden unit, down weight) adds to a column."""
    thing, extra = term
    if isinstance(thing, Head):
        return reference_head(thing, lanes)[:, extra]
    gate, up = evaluate(AffineForm(None, [thing.gate, thing.up]), lanes).T
    return value_of(extra) * np.maximum(gate, 0) * up


def reference_head(head: Head, lanes: Lanes) -> Float[np.ndarray, "t r"]:
    """The mixed values of one head at every position."""
    query, key, value = (evaluate(form, lanes) for form in (head.query, head.key, head.value))
    mixed = np.zeros_like(value)
    for i in range(len(value)):
        scores = np.array([query[i] @ key[j] + head.slope * (j - i) for j in range(i + 1)])
        highest = max(0.0, scores.max())  # any shift gives the same; this one cannot overflow
        weights = np.exp(scores - highest)
        mixed[i] = weights @ value[: i + 1] / (np.exp(-highest) + weights.sum())
    return mixed


def evaluate(form: AffineForm, lanes: Lanes) -> Float[np.ndarray, "t r"]:
    """The value of a form at every position."""
    values = np.zeros((len(next(iter(lanes.values()))), form.width))
    for i, row in enumerate(form.rows):
        values[:, i] = value_of(row.bias)
        for (lane, index), weight in row.weights:
            values[:, i] += value_of(weight) * lanes[lane][:, index]
    return values


def _readout(program: Program, lanes: Lanes) -> Float[np.ndarray, "t o"]:
    unembed, tokens = program.unembed, program.output_tokens
    readout = np.zeros((len(next(iter(lanes.values()))), len(tokens)))
    if unembed.form.rows:
        readout += evaluate(unembed.form, lanes)  # one row is read by every token
    if unembed.tied:
        for lane, table in program.embed.lanes.items():
            for n, token in enumerate(tokens):
                row = np.array([value_of(number) for number in table.get(token, [0.0])])
                readout[:, n] += lanes[lane] @ np.broadcast_to(row, lanes[lane].shape[1])
    return -readout if unembed.argmin else readout
