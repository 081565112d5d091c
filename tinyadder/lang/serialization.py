"""A program as JSON data and back; floats survive bit for bit, shared weights stay shared."""

from __future__ import annotations

from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import AffineForm, AffineRow, Shared, Stream, Weight
from tinyadder.lang.formulas import (
    MOST,
    OPERATIONS,
    DerivedColumn,
    DerivedReadout,
    Formula,
    as_formula,
    derived,
    token_value,
)
from tinyadder.lang.program import Program
from tinyadder.lang.sublayers import MLP, Attention, Embed, Head, Hidden, Outputs, Unembed, Units
from tinyadder.plain import short

PROGRAM_VERSION = 1


class _ProgramWriter:
    def __init__(self) -> None:
        self.shared: list[Shared] = []

    def weight(self, weight: Weight) -> Any:
        if not isinstance(weight, Shared):
            return weight
        if weight not in self.shared:
            self.shared.append(weight)
        return {"shared": self.shared.index(weight)}

    def row(self, row: AffineRow) -> dict[str, Any]:
        return {
            "weights": [[*column, self.weight(w)] for column, w in row.weights],
            "bias": self.weight(row.bias),
        }

    def form(self, form: AffineForm) -> list[Any]:
        return [self.row(row) for row in form.rows]

    def formula(self, formula: Formula) -> Any:
        if formula.operation:
            return [formula.operation, *(self.formula(part) for part in formula.parts)]
        leaf = formula.parts[0] if formula.parts else "d"
        return self.weight(leaf) if isinstance(leaf, Shared) else leaf

    def columns(self, columns: dict[str, DerivedColumn]) -> dict[str, Any]:
        return {
            lane: {"formula": self.formula(column.formula), "tokens": list(column.tokens)}
            for lane, column in columns.items()
        }

    def head(self, head: Head) -> dict[str, Any]:
        forms = {rows: self.form(getattr(head, rows)) for rows in ("query", "key", "value")}
        return {**forms, "slope": head.slope}

    def attention(self, attention: Attention) -> dict[str, Any]:
        heads = attention.heads
        lanes = {
            lane: [[[heads.index(h), row] for h, row in part] for part in output.parts]
            for lane, output in attention.lanes.items()
        }
        return {"heads": [self.head(h) for h in heads], "lanes": lanes}

    def mlp(self, mlp: MLP) -> dict[str, Any]:
        units = mlp.units
        lanes = {
            lane: [[[units.index(h), self.weight(d)] for h, d in part] for part in written.parts]
            for lane, written in mlp.lanes.items()
        }
        return {
            "units": [{"gate": self.row(u.gate), "up": self.row(u.up)} for u in units],
            "lanes": lanes,
        }


def program_to_json(program: Program) -> dict[str, Any]:
    """The program as JSON data; floats survive bit for bit, shared weights stay shared."""
    write, unembed = _ProgramWriter(), program.unembed
    sublayers = [
        write.attention(part) if isinstance(part, Attention) else write.mlp(part)
        for part in program.sublayers
    ]
    data = {
        "version": PROGRAM_VERSION,
        "vocabulary": list(program.vocabulary),
        "stream": {lane.name: [lane.meaning, lane.width] for lane in program.stream.lanes.values()},
        "embed": {
            lane: {
                token: [write.weight(n) for n in weights]
                for token, weights in table.items()
                if lane not in program.embed.derived or token in program.embed.derived[lane].others
            }
            for lane, table in program.embed.lanes.items()
        },
        "sublayers": sublayers,
        "unembed": {
            "argmin": unembed.argmin,
            "wired": unembed.wired,
            "tied": list(unembed.tied),
            "tokens": None if unembed.tokens is None else list(unembed.tokens),
            "form": [] if unembed.derived else write.form(unembed.form),
        },
    }
    if program.embed.derived or unembed.derived:
        data["derived"] = {
            "embed": write.columns(program.embed.derived),
            "unembed": write.columns(unembed.derived),
        }
    return {**data, "shared": [weight.value for weight in write.shared]}


class _ProgramReader:
    def __init__(self, data: dict[str, Any]) -> None:
        self.shared = [Shared(float(value)) for value in data["shared"]]
        self.stream = Stream(
            **{name: (str(text), width) for name, (text, width) in data["stream"].items()}
        )

    def weight(self, data: Any) -> Weight:
        return self.shared[data["shared"]] if isinstance(data, dict) else float(data)

    def row(self, data: dict[str, Any]) -> AffineRow:
        weights = tuple(
            ((self.stream[lane].name, int(i)), self.weight(w)) for lane, i, w in data["weights"]
        )
        return AffineRow(weights, self.weight(data["bias"]))

    def form(self, data: list[Any]) -> AffineForm:
        return AffineForm(self.stream, [self.row(row) for row in data])

    def formula(self, data: Any, depth: int = 0) -> Formula:
        if depth > MOST:
            raise TinyadderError(f"a formula deeper than {MOST}")
        if isinstance(data, list):
            operation, left, right = data
            if operation not in OPERATIONS:
                raise TinyadderError(f"a formula knows no operation {short(operation)}")
            parts = self.formula(left, depth + 1), self.formula(right, depth + 1)
            return Formula(operation, parts)
        if data == "d":
            return token_value
        return as_formula(self.shared[data["shared"]] if isinstance(data, dict) else data)

    def columns(self, data: dict[str, Any]) -> dict[str, DerivedColumn]:
        return {
            lane: derived(self.formula(column["formula"]), tuple(map(str, column["tokens"])))
            for lane, column in data.items()
        }

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
                    self.stream, [[(units[h], self.weight(d)) for h, d in part] for part in parts]
                )
                for lane, parts in lanes
            }
        )

    def unembed(self, data: dict[str, Any], columns: dict[str, DerivedColumn]) -> Unembed:
        form: Any = self.form(data["form"])
        if columns:
            if form.rows:
                raise TinyadderError("a readout by formula has no rows of its own")
            form = DerivedReadout({self.stream[lane]: c for lane, c in columns.items()})
        elif data["wired"]:
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
        version = data.get("version") if isinstance(data, dict) else type(data).__name__
        raise TinyadderError(
            f"a program of version {PROGRAM_VERSION} is expected, this is version {version!s:.40}"
        )
    try:
        read = _ProgramReader(data)
        tables: dict[str, Any] = {
            lane: {token: [read.weight(n) for n in weights] for token, weights in table.items()}
            for lane, table in data["embed"].items()
        }
        formulas = data.get("derived", {"embed": {}, "unembed": {}})
        for lane, column in read.columns(formulas["embed"]).items():
            tables[lane] = column | {token: w for token, (w,) in tables[lane].items()}
        embed = Embed(tables)
        readout = read.unembed(data["unembed"], read.columns(formulas["unembed"]))
        sublayers = [read.sublayer(s) for s in data["sublayers"]]
        return Program(data["vocabulary"], read.stream, embed, *sublayers, readout)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, TinyadderError):
            raise
        raise TinyadderError(
            f"the program data is damaged: {type(error).__name__} {error}; build it again"
        ) from error
