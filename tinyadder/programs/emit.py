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
) -> Program:
    """The Program. `names` gives the token of each input value, `answers` the token of each
    answer (none: a number).
    """
    live = _live(low)
    lanes = [lane for lane in low.lanes.values() if lane.name in live]
    x = (
        Stream(**{lane.name: lane.meaning for lane in lanes})
        if lanes
        else Stream(nothing="nothing is needed")
    )

    def form(line: Line) -> AffineForm:
        weights = [((name, 0), float(weight)) for name, weight in line.terms if float(weight)]
        return AffineForm(x, [AffineRow(tuple(weights), float(line.bias))])

    embed: dict[str, dict[str, float]] = {}
    for lane in lanes:
        table = {names[v]: float(number) for v, number in lane.embed.items() if number}
        if low.copies and lane.separator:
            table[SEPARATOR] = float(lane.separator)
        if table:
            embed[lane.name] = table
    attention: dict[int, dict[str, object]] = {}
    mlp: dict[int, dict[str, Units]] = {}
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
            attention.setdefault(head.layer, {})[lane.name] = heads[head][
                used.index(head.values[row])
            ]
        if lane.units:
            parts = []
            for gate, up, down in lane.units:
                if (gate, up) not in hidden:
                    made = relu(form(gate)) if up is None else relu(form(gate)) * form(up)
                    hidden[gate, up] = made.parts[0][0][0]
                parts.append((hidden[gate, up], float(down)))
            mlp.setdefault(lane.time // 2 - 1, {})[lane.name] = Units(x, [parts])
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


def _live(low: Lowering) -> set[str]:
    """The lanes that the answer needs, directly or through others."""
    found: set[str] = set()
    stack = [name for name, _ in low.answer.terms]
    while stack:
        name = stack.pop()
        if name in found:
            continue
        found.add(name)
        lane = low.lanes[name]
        lines = [line for gate, up, _ in lane.units for line in (gate, up) if line is not None]
        if lane.head is not None:
            head, row = lane.head
            lines += [line for pair in head.rows for line in pair] + [head.values[row][0]]
        stack += [n for line in lines for n, _ in line.terms]
    return found
