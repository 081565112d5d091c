"""Lanes -> a Program of the weight-building language: the last step, where exact numbers become
float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import exp

import numpy as np

from tinyadder.dsl import (
    MLP,
    AffineForm,
    Attention,
    Embed,
    Head,
    Hidden,
    Program,
    Stream,
    Unembed,
    Units,
    concat,
    relu,
)
from tinyadder.lang.forms import AffineRow
from tinyadder.programs.columns import SharedColumn, clearing
from tinyadder.programs.functions import Value
from tinyadder.programs.lines import Line
from tinyadder.programs.lower import Lowering
from tinyadder.tasks.sequences import SEPARATOR

VALUE = "<number>"
"""The one output of a program whose answer is a number and not a token: its logit is the number."""


def emit(
    low: Lowering,
    names: dict[Value, str],
    answers: Sequence[tuple[Value, str]],
    vocabulary: Sequence[str],
    columns: Sequence[SharedColumn],
) -> Program:
    """The Program. `names` gives the token of each input value, `answers` the token of each
    answer (none: a number).
    """
    lanes = [lane for column in columns for lane in column.lanes]
    at = {lane.name: column.name for column in columns for lane in column.lanes}
    x = (
        Stream(**{column.name: column.meaning for column in columns})
        if lanes
        else Stream(nothing="nothing is needed")
    )

    def form(line: Line) -> AffineForm:
        weights = [((at[name], 0), float(weight)) for name, weight in line.terms if float(weight)]
        return AffineForm(x, [AffineRow(tuple(weights), float(line.bias))])

    embed: dict[str, dict[str, float]] = {}
    for lane in lanes:
        table = {names[v]: float(number) for v, number in lane.embed.items() if number}
        if low.copies and lane.separator:
            table[SEPARATOR] = float(lane.separator)
        if table:
            embed[at[lane.name]] = table
    attention: dict[int, dict[str, object]] = {}
    parts: dict[int, dict[str, list[tuple[Hidden, float]]]] = {}
    heads: dict[object, Head] = {}
    hidden: dict[object, Hidden] = {}
    for lane in lanes:
        if lane.head is not None:
            head, row = lane.head
            used = [
                v for v in head.values if any(o.head == (head, head.values.index(v)) for o in lanes)
            ]
            if head not in heads:
                values = [form(v) * (exp(low.target.base) if scaled else 1.0) for v, scaled in used]
                heads[head] = Head(
                    query=[form(q) for q, _ in head.rows],
                    key=[form(k) for _, k in head.rows],
                    value=concat(*values),
                    slope=head.slope,
                )
            attention.setdefault(head.layer, {})[at[lane.name]] = heads[head][
                used.index(head.values[row])
            ]
        if lane.units:
            written = parts.setdefault(lane.time // 2 - 1, {}).setdefault(at[lane.name], [])
            for gate, up, down in lane.units:
                if (gate, up) not in hidden:
                    made = relu(form(gate)) if up is None else relu(form(gate)) * form(up)
                    hidden[gate, up] = made.parts[0][0][0]
                written.append((hidden[gate, up], float(down)))
    for column in columns:
        for layer, lane in clearing(low, column):
            for sign in (1, -1) if lane.low < 0 or lane.error else (1,):
                unit = relu(form(low.line(lane) * sign)).parts[0][0][0]
                parts.setdefault(layer, {}).setdefault(column.name, []).append((unit, -float(sign)))
    mlp = {
        layer: {name: Units(x, [units]) for name, units in written.items()}
        for layer, written in parts.items()
    }
    sublayers: list[Attention | MLP] = []
    for layer in range(max([*attention, *mlp], default=-1) + 1):
        if layer in attention:
            sublayers.append(Attention(attention[layer]))  # type: ignore[arg-type]
        if layer in mlp:
            sublayers.append(MLP(mlp[layer]))
    if not lanes:
        embed["nothing"] = {}
    return Program(
        vocabulary, x, Embed(embed), *sublayers, _readout(low, form(low.answer), answers)
    )


def _readout(low: Lowering, answer: AffineForm, answers: Sequence[tuple[Value, str]]) -> Unembed:
    """The answer whose code is nearest: argmax of 2 c y - c^2, or the number itself."""
    if not answers:
        return Unembed(argmax={VALUE: answer})
    centre = low.code(answers[len(answers) // 2][0]) if len(answers) > 64 else Fraction(0)
    codes = [low.code(value) - centre for value, _ in answers]
    rows = answer - float(centre) if centre else answer
    c = np.array([float(code) for code in codes])
    form = 2 * c * rows - c**2
    return Unembed(argmax={name: form[n] for n, (_, name) in enumerate(answers)})
