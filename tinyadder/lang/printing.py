"""A program as equations with the price of each line, and as JSON data and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import (
    AffineForm,
    AffineRow,
    Shared,
    Stream,
    Weight,
    format_rows,
    format_weight,
)
from tinyadder.lang.program import (
    MLP,
    Attention,
    Embed,
    Head,
    Hidden,
    Outputs,
    Program,
    Unembed,
    Units,
    format_units,
)

PROGRAM_VERSION = 1

Line = tuple[str, str, list[Weight]]


class _Bill:
    """Hands out each shared number and each hidden unit once."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def first(self, thing: object) -> bool:
        new = id(thing) not in self.seen
        self.seen.add(id(thing))
        return new

    def numbers(self, numbers: Sequence[Weight]) -> list[Weight]:
        return [n for n in numbers if n != 0 and (not isinstance(n, Shared) or self.first(n))]


def program_lines(program: Program) -> list[Line]:
    """Every equation of `program`: (section, text, the non-zero numbers that the line
    introduces).
    """
    bill, lines = _Bill(), list[Line]()
    for lane, table in program.embed.lanes.items():
        spent = bill.numbers([n for numbers in table.values() for n in numbers])
        lines.append(("embed", f"{lane} = {_show_table(table)}", spent))
    for layer, (attention, mlp) in enumerate(program.blocks):
        if attention:
            lines += [
                (f"layer {layer}", text, spent) for text, spent in _attention_lines(attention, bill)
            ]
        if mlp:
            lines += [(f"layer {layer}", text, spent) for text, spent in _mlp_lines(mlp, bill)]
    return lines + [("logits", text, spent) for text, spent in _unembed_lines(program, bill)]


def _show_table(table: dict[str, list[Weight]]) -> str:
    groups: dict[str, list[str]] = {}
    for token, numbers in table.items():
        text = (
            format_weight(numbers[0])
            if len(numbers) == 1
            else format_rows([AffineRow((), n) for n in numbers])
        )
        groups.setdefault(text, []).append(token)
    return ", ".join(
        f"{value} on {' '.join(repr(t) for t in tokens)}" for value, tokens in groups.items()
    )


def _attention_lines(attention: Attention, bill: _Bill) -> list[tuple[str, list[Weight]]]:
    lines: list[tuple[str, list[Weight]]] = []
    for index, head in enumerate(attention.heads):
        rows = [r for form in (head.query, head.key, head.value) for r in form.rows]
        spent = bill.numbers([n for row in rows for n in row.numbers])
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
        numbers: list[Weight] = []
        again = False
        for part in units.parts:
            for hidden, down in part:
                new = bill.first(hidden)
                again |= not new
                numbers += [*hidden.gate.numbers, *hidden.up.numbers, down] if new else [down]
        note = "   (same units as above)" if again else ""
        lines.append((f"{lane} += {format_units(units.parts)}{note}", bill.numbers(numbers)))
    return lines


def _unembed_lines(program: Program, bill: _Bill) -> list[tuple[str, list[Weight]]]:
    unembed, lines = program.unembed, list[tuple[str, list[Weight]]]()
    name = "cost" if unembed.argmin else "logit"
    if unembed.tied:
        lines.append((f"{name} of {' '.join(unembed.tied)} = their embeddings . stream (tied)", []))
    if unembed.wired:
        lines.append((f"{name} of {' '.join(program.output_tokens)} = {unembed.form} (wired)", []))
    elif unembed.tokens is not None:
        for token, row in zip(unembed.tokens, unembed.form.rows, strict=True):
            lines.append((f"'{token}' = {format_rows([row])}", bill.numbers(row.numbers)))
    elif unembed.form.width:
        sign = "+=" if unembed.tied else "="
        numbers = bill.numbers([n for row in unembed.form.rows for n in row.numbers])
        lines.append(
            (f"{name} of {' '.join(program.output_tokens)} {sign} {unembed.form}", numbers)
        )
    return lines


def format_program(program: Program) -> str:
    """The equations, grouped by section, the price of each line (its parameters) before it and the
    sum below.
    """
    text: list[str] = []
    section = None
    lanes = max((len(lane) for lane in program.embed.lanes), default=0)
    for name, line, numbers in program.lines():
        if name != section:
            text.append(name)
            section = name
        if name == "embed":
            lane, _, rest = line.partition(" = ")
            line = f"{lane:{lanes}} = {rest}"
        text.append(f"{len(numbers) or '':>5}  {line}")
    slopes = program.slopes
    return "\n".join(
        [
            *text,
            f"{program.nonzero:>5}  nonzero" + (f", and ALiBi slopes: {slopes}" if slopes else ""),
        ]
    )


# ---- JSON ----------------------------------------------------------------------------------------


class _Writer:
    def __init__(self) -> None:
        self.shared: list[Shared] = []

    def number(self, number: Weight) -> Any:
        if not isinstance(number, Shared):
            return number
        if number not in self.shared:
            self.shared.append(number)
        return {"shared": self.shared.index(number)}

    def row(self, row: AffineRow) -> dict[str, Any]:
        return {
            "weights": [[*column, self.number(w)] for column, w in row.weights],
            "bias": self.number(row.bias),
        }

    def form(self, form: AffineForm) -> list[Any]:
        return [self.row(row) for row in form.rows]


def program_to_json(program: Program) -> dict[str, Any]:
    """The program as JSON data; floats survive bit for bit, shared numbers stay shared."""
    write = _Writer()
    sublayers: list[dict[str, Any]] = []
    for sublayer in program.sublayers:
        if isinstance(sublayer, Attention):
            heads = sublayer.heads
            sublayers.append(
                {
                    "heads": [
                        {
                            **{
                                rows: write.form(getattr(h, rows))
                                for rows in ("query", "key", "value")
                            },
                            "slope": h.slope,
                        }
                        for h in heads
                    ],
                    "lanes": {
                        lane: [[[heads.index(h), row] for h, row in part] for part in output.parts]
                        for lane, output in sublayer.lanes.items()
                    },
                }
            )
        else:
            units = sublayer.units
            sublayers.append(
                {
                    "units": [{"gate": write.row(u.gate), "up": write.row(u.up)} for u in units],
                    "lanes": {
                        lane: [
                            [[units.index(h), write.number(d)] for h, d in part]
                            for part in written.parts
                        ]
                        for lane, written in sublayer.lanes.items()
                    },
                }
            )
    unembed = program.unembed
    data = {
        "version": PROGRAM_VERSION,
        "vocabulary": list(program.vocabulary),
        "stream": {lane.name: [lane.meaning, lane.width] for lane in program.stream.lanes.values()},
        "embed": {
            lane: {token: [write.number(n) for n in numbers] for token, numbers in table.items()}
            for lane, table in program.embed.lanes.items()
        },
        "sublayers": sublayers,
        "unembed": {
            "argmin": unembed.argmin,
            "wired": unembed.wired,
            "tied": list(unembed.tied),
            "tokens": None if unembed.tokens is None else list(unembed.tokens),
            "form": write.form(unembed.form),
        },
    }
    return {**data, "shared": [number.value for number in write.shared]}


class _Reader:
    def __init__(self, data: dict[str, Any]) -> None:
        self.shared = [Shared(float(value)) for value in data["shared"]]
        self.stream = Stream(
            **{name: (str(text), width) for name, (text, width) in data["stream"].items()}
        )

    def number(self, data: Any) -> Weight:
        return self.shared[data["shared"]] if isinstance(data, dict) else float(data)

    def row(self, data: dict[str, Any]) -> AffineRow:
        weights = tuple(
            ((self.stream[lane].name, int(i)), self.number(w)) for lane, i, w in data["weights"]
        )
        return AffineRow(weights, self.number(data["bias"]))

    def form(self, data: list[Any]) -> AffineForm:
        return AffineForm(self.stream, [self.row(row) for row in data])

    def sublayer(self, data: dict[str, Any]) -> Attention | MLP:
        if "heads" in data:
            heads = [
                Head(
                    query=self.form(h["query"]),
                    key=self.form(h["key"]),
                    value=self.form(h["value"]),
                    slope=h["slope"],
                )
                for h in data["heads"]
            ]
            lanes = data["lanes"].items()
            return Attention(
                {
                    lane: Outputs([[(heads[h], row) for h, row in p] for p in parts])
                    for lane, parts in lanes
                }
            )
        units = [Hidden(self.row(u["gate"]), self.row(u["up"])) for u in data["units"]]
        lanes = data["lanes"].items()
        return MLP(
            {
                lane: Units(
                    self.stream, [[(units[h], self.number(d)) for h, d in part] for part in parts]
                )
                for lane, parts in lanes
            }
        )

    def unembed(self, data: dict[str, Any]) -> Unembed:
        form: Any = self.form(data["form"])
        if data["wired"]:
            form = tuple(
                self.stream[row.weights[0][0][0]] for row in form.rows if row.weights[0][0][1] == 0
            )
        elif data["tokens"] is not None:
            form = dict(zip(data["tokens"], form, strict=True))
        elif not form.rows:
            form = None
        return Unembed(**{"argmin" if data["argmin"] else "argmax": form}, tied=data["tied"])


def program_from_json(data: dict[str, Any]) -> Program:
    """The program that `program_to_json` wrote. Raises `TinyadderError` for anything else."""
    if not isinstance(data, dict) or data.get("version") != PROGRAM_VERSION:
        result = data.get("version") if isinstance(data, dict) else type(data).__name__
        raise TinyadderError(
            f"a program of version {PROGRAM_VERSION} is expected, this is version {result}"
        )
    try:
        read = _Reader(data)
        embed = Embed(
            {
                lane: {token: [read.number(n) for n in numbers] for token, numbers in table.items()}
                for lane, table in data["embed"].items()
            }
        )
        sublayers = [read.sublayer(s) for s in data["sublayers"]]
        return Program(
            data["vocabulary"], read.stream, embed, *sublayers, read.unembed(data["unembed"])
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, TinyadderError):
            raise
        raise TinyadderError(
            f"the program data is damaged: {type(error).__name__} {error}; build it again"
        ) from error
