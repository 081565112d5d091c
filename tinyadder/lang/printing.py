"""A program as equations with the price of each line: the weights that it introduces."""

from __future__ import annotations

from collections.abc import Sequence

from tinyadder.lang.forms import AffineRow, Shared, Weight, format_rows, format_weight
from tinyadder.lang.formulas import DerivedColumn
from tinyadder.lang.sublayers import MLP, Attention, Embed, Head, Unembed, format_units

PrintedLine = tuple[str, str, list[Weight]]
"""(section, text, the nonzero weights that the line introduces); a shared weight comes once."""


class _Bill:
    """Hands out each shared weight and each hidden unit once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def first(self, thing: object) -> bool:
        new = id(thing) not in self.seen
        self.seen.add(id(thing))
        return new

    def new(self, weights: Sequence[Weight]) -> list[Weight]:
        return [w for w in weights if w != 0 and (not isinstance(w, Shared) or self.first(w))]


def equations(
    embed: Embed,
    blocks: Sequence[tuple[Attention | None, MLP | None]],
    unembed: Unembed,
    outputs: Sequence[str],
) -> list[PrintedLine]:
    """Every equation of a program, in the order in which it is used; `outputs` have a logit."""
    bill, lines = _Bill(), list[PrintedLine]()
    for lane, table in embed.lanes.items():
        weights = bill.new([w for listed in table.values() for w in listed])
        column = embed.derived.get(lane)
        text = _format_table(table) if column is None else _format_column(column)
        lines.append(("embed", f"{lane} = {text}", weights))
    for layer, (attention, mlp) in enumerate(blocks):
        written = _attention_lines(attention, bill) if attention else []
        written += _mlp_lines(mlp, bill) if mlp else []
        lines += [(f"layer {layer}", text, weights) for text, weights in written]
    readout = _unembed_lines(unembed, outputs, bill)
    return lines + [("logits", text, weights) for text, weights in readout]


def _format_table(table: dict[str, list[Weight]]) -> str:
    groups: dict[str, list[str]] = {}
    for token, weights in table.items():
        text = (
            format_weight(weights[0])
            if len(weights) == 1
            else format_rows([AffineRow((), n) for n in weights])
        )
        groups.setdefault(text, []).append(token)
    return ", ".join(
        f"{value} on {' '.join(repr(t) for t in tokens)}" for value, tokens in groups.items()
    )


def _format_column(column: DerivedColumn) -> str:
    """`d * (9 - d) / shared(-10) on '0' .. '9'`, then the tokens with numbers of their own."""
    span = f"'{column.tokens[0]}' .. '{column.tokens[-1]}'"
    others = _format_table({token: [weight] for token, weight in column.others.items()})
    return f"{column.formula} on {span}" + (f", {others}" if others else "")


def _attention_lines(attention: Attention, bill: _Bill) -> list[tuple[str, list[Weight]]]:
    lines: list[tuple[str, list[Weight]]] = []
    for index, head in enumerate(attention.heads):
        rows = [r for form in (head.query, head.key, head.value) for r in form.rows]
        spent = bill.new([n for row in rows for n in row.parameters])
        writes = _destinations(attention, head)
        if len(writes) == 1 and head.value.width == 1:
            lines.append((f"{writes[0][0]} += head {index}: {head}", spent))
        else:
            lines.append((f"head {index}: {head}", spent))
            lines += [(f"{place} += head {index}[{row}]", []) for place, row in writes]
    return lines


def _destinations(attention: Attention, head: Head) -> list[tuple[str, int]]:
    """(lane or lane[i], value row) for every place where `head` is added; a whole lane fed by one
    row comes once.
    """
    result = []
    for lane, output in attention.lanes.items():
        rows = [[row for h, row in part if h is head] for part in output.parts]
        if len({tuple(r) for r in rows}) == 1:
            result += [(lane, row) for row in rows[0]]
        else:
            result += [(f"{lane}[{i}]", row) for i, part in enumerate(rows) for row in part]
    return result


def _mlp_lines(mlp: MLP, bill: _Bill) -> list[tuple[str, list[Weight]]]:
    lines = []
    for lane, units in mlp.lanes.items():
        weights: list[Weight] = []
        again = False
        for part in units.parts:
            for hidden, down in part:
                new = bill.first(hidden)
                again |= not new
                weights += [*hidden.gate.parameters, *hidden.up.parameters, down] if new else [down]
        note = "   (same units as above)" if again else ""
        lines.append((f"{lane} += {format_units(units.parts)}{note}", bill.new(weights)))
    return lines


def _unembed_lines(
    unembed: Unembed, outputs: Sequence[str], bill: _Bill
) -> list[tuple[str, list[Weight]]]:
    lines, tokens = list[tuple[str, list[Weight]]](), " ".join(outputs)
    name = "cost" if unembed.argmin else "logit"
    if unembed.tied:
        lines.append((f"{name} of {' '.join(unembed.tied)} = their embeddings . stream (tied)", []))
    if unembed.wired:
        lines.append((f"{name} of {tokens} = {unembed.form} (wired)", []))
    elif unembed.derived:
        for lane, column in unembed.derived.items():
            rows = unembed.form.rows
            weights = bill.new([w for row in rows for (at, _), w in row.weights if at == lane])
            factor = f"({column.formula})" if column.formula.operation else str(column.formula)
            lines.append((f"{name} of {tokens} += {factor} * {lane}", weights))
    elif unembed.tokens is not None:
        for token, row in zip(unembed.tokens, unembed.form.rows, strict=True):
            lines.append((f"'{token}' = {format_rows([row])}", bill.new(row.parameters)))
    elif unembed.form.width:
        sign = "+=" if unembed.tied else "="
        weights = bill.new([n for row in unembed.form.rows for n in row.parameters])
        lines.append((f"{name} of {tokens} {sign} {unembed.form}", weights))
    return lines


def format_equations(lines: Sequence[PrintedLine], slopes: int) -> str:
    """The equations, grouped by section, the price of each (its parameters) before it and the sum
    below, where `slopes` nonzero ALiBi slopes are named.
    """
    text: list[str] = []
    section = None
    embedded = [line.partition(" = ")[0] for name, line, _ in lines if name == "embed"]
    lanes = max(map(len, embedded), default=0)
    for name, line, weights in lines:
        if name != section:
            text.append(name)
            section = name
        if name == "embed":
            lane, _, rest = line.partition(" = ")
            line = f"{lane:{lanes}} = {rest}"
        text.append(f"{len(weights) or '':>5}  {line}")
    total = sum(len(weights) for _, _, weights in lines)
    text.append(f"{total:>5}  nonzero" + (f", and ALiBi slopes: {slopes}" if slopes else ""))
    return "\n".join(text)
