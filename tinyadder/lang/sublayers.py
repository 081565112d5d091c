"""What a program is made of: heads and hidden units, the sublayers that add them to lanes, the
embedding and the readout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import (
    Added,
    AffineForm,
    AffineRow,
    Lane,
    Shared,
    Stream,
    Weight,
    as_form,
    common_stream,
    concat,
    finite,
    fit_widths,
    format_rows,
    format_vector,
    format_weight,
    scale_weight,
    spread,
    weights_in,
)
from tinyadder.lang.formulas import DerivedColumn, DerivedReadout


@dataclass(frozen=True, eq=False)
class Hidden:
    """One hidden unit: relu(gate) * up. The same unit written to several lanes is one unit."""

    gate: AffineRow
    up: AffineRow


class Units(Added):
    """Hidden units with their down weights, one list of (unit, down) per component of a lane."""

    def __init__(
        self, stream: Stream | None, parts: Sequence[Sequence[tuple[Hidden, Weight]]]
    ) -> None:
        self.stream = stream
        self.parts = tuple(tuple(part) for part in parts)

    @property
    def width(self) -> int:
        """Number of components."""
        return len(self.parts)

    def __add__(self, other: Any) -> Units:
        if not isinstance(other, Units):
            raise TinyadderError(
                f"({other}) is not a hidden unit; an MLP adds sums of relu(a) * b to its lanes"
            )
        width = fit_widths(self.width, other.width, lambda: "a sum of hidden units")
        pairs = zip(spread(self.parts, width), spread(other.parts, width), strict=True)
        common_stream(AffineForm(self.stream, []), AffineForm(other.stream, []))
        return Units(self.stream or other.stream, [a + b for a, b in pairs])

    def __rmul__(self, factor: Any) -> Units:
        factors = weights_in(factor)
        if factors is None:
            raise TinyadderError(
                f"({factor}) * relu(..): write relu(a) * b, the up projection on the right"
            )
        width = fit_widths(self.width, len(factors), lambda: "a vector times hidden units")
        pairs = zip(spread(self.parts, width), spread(factors, width), strict=True)
        return Units(
            self.stream,
            [[(h, scale_weight(d, f, "a down weight")) for h, d in part] for part, f in pairs],
        )

    def __mul__(self, factor: Any) -> Units:
        if weights_in(factor) is None:
            raise TinyadderError(
                f"({self}) * ({factor}): a hidden unit is a product of two, relu(a) * b, no more"
            )
        return self.__rmul__(factor)

    def __getitem__(self, key: int | slice) -> Units:
        return Units(self.stream, [self.parts[key]] if isinstance(key, int) else self.parts[key])

    def __neg__(self) -> Units:
        return self.__rmul__(-1.0)

    def __sub__(self, other: Any) -> Units:
        return self + (-other)

    def __repr__(self) -> str:
        return format_units(self.parts)


class Relu(Units):
    """`relu(gate)` or `c * relu(gate)`, waiting for an up projection on its right; alone that is
    the bias 1.
    """

    def __init__(self, gate: AffineForm, alone: Units | None = None) -> None:
        self.gate = gate
        units = (
            [[(Hidden(row, AffineRow((), 1.0)), 1.0)] for row in gate.rows]
            if alone is None
            else alone.parts
        )
        super().__init__(gate.stream, units)

    def __mul__(self, up: Any) -> Units:
        up = as_form(up)
        width = fit_widths(self.gate.width, up.width, lambda: f"relu({self.gate}) * ({up})")
        rows = zip(spread(self.gate.rows, width), spread(up.rows, width), strict=True)
        units = [Hidden(gate, row) for gate, row in rows]
        width = fit_widths(self.width, width, lambda: f"{self} * ({up})")
        pairs = zip(spread(units, width), spread(self.parts, width), strict=True)
        return Units(common_stream(self.gate, up), [[(unit, part[0][1])] for unit, part in pairs])

    def __rmul__(self, factor: Any) -> Relu:
        return Relu(self.gate, super().__rmul__(factor))

    def __neg__(self) -> Relu:
        return self.__rmul__(-1.0)


def relu(gate: Any) -> Relu:
    """The gate of a hidden unit. `c * relu(a) * b` has gate a, up projection b and down weight
    c.
    """
    return Relu(as_form(gate))


class Outputs(Added):
    """What heads add to a lane: one list of (head, value row) per component."""

    def __init__(self, parts: Sequence[Sequence[tuple[Head, int]]]) -> None:
        self.parts = tuple(tuple(part) for part in parts)

    @property
    def width(self) -> int:
        """Number of components."""
        return len(self.parts)

    def __add__(self, other: Any) -> Outputs:
        if not isinstance(other, Outputs):
            raise TinyadderError(
                f"({other}) is not a head; an Attention adds sums of heads to its lanes"
            )
        width = fit_widths(self.width, other.width, lambda: "a sum of heads")
        pairs = zip(spread(self.parts, width), spread(other.parts, width), strict=True)
        return Outputs([a + b for a, b in pairs])

    def __getitem__(self, key: int | slice) -> Outputs:
        return Outputs([self.parts[key]] if isinstance(key, int) else self.parts[key])


class Head(Outputs):
    """One attention head: softmax1_j(query_i . key_j + slope * (j - i)) applied to value_j.

    `query` and `key` are forms of equal width (the head dimension) or sequences of width-1 forms;
    `value` is a form whose rows are written to lanes: `Attention(a=head)`, or `a=head[0],
    b=head[1]`. `slope` is the ALiBi slope: positive slopes favour the near past.
    """

    def __init__(self, *, value: Any, query: Any = 0.0, key: Any = 0.0, slope: float = 0.0) -> None:
        if isinstance(slope, Shared):
            raise TinyadderError("an ALiBi slope is a plain number, not a shared one")
        self.query, self.key = (
            concat(*r) if isinstance(r, list | tuple) else as_form(r) for r in (query, key)
        )
        self.value, self.slope = as_form(value), finite(slope, "an ALiBi slope")
        if self.query.width != self.key.width:
            raise TinyadderError(
                f"the query has {self.query.width} rows and the key {self.key.width}: {self.query}"
                f" / {self.key}; a head needs as many of one as of the other"
            )
        self.stream = common_stream(self.query, self.key, self.value)
        super().__init__([[(self, i)] for i in range(self.value.width)])

    def __repr__(self) -> str:
        text = f"query {self.query}, key {self.key}, value {self.value}"
        return text + (f", slope {format_weight(self.slope)}" if self.slope else "")


Summed = TypeVar("Summed", Outputs, Units)


def stack(*rows: Summed | None) -> Summed:
    """Sums of heads, or of hidden units, one below another: what the rows of a wide lane get, None
    for nothing.

    `concat` does the same for forms. Rows may be sums of different lengths: `stack(a, a + b,
    None)`. A head or unit that stands in several rows is one. Raises `TinyadderError` for heads
    among units, or where no row gets anything.
    """
    given: list[Any] = [row for row in rows if row is not None]
    heads, units = (
        bool(given) and all(isinstance(row, kind) for row in given) for kind in (Outputs, Units)
    )
    if not heads and not units:
        shown = ", ".join(f"({row})" for row in rows)
        raise TinyadderError(
            f"stack({shown}): give sums of heads, or sums of relu(a) * b; None for a row that gets"
            " nothing"
        )
    parts: list[Any] = [part for row in rows for part in ([()] if row is None else row.parts)]
    stacked: Any = (
        Outputs(parts)
        if heads
        else Units(common_stream(*(AffineForm(u.stream, []) for u in given)), parts)
    )
    return stacked


def _written(
    kind: str, lanes: Mapping[str, Any] | None, keywords: Mapping[str, Any]
) -> dict[str, Any]:
    twice = set(lanes or ()) & set(keywords)
    if twice:
        raise TinyadderError(
            f"{kind} writes lane '{min(twice)}' twice; add the two: {min(twice)}=first + second"
        )
    return {**(lanes or {}), **keywords}


class Embed:
    """The embedding: per lane a mapping from tokens to numbers (vectors for wider lanes), or a
    column by formula (`derived`); the rest is 0.
    """

    def __init__(
        self,
        lanes: Mapping[str, Any] | None = None,
        /,
        **keywords: Mapping[str, Any] | DerivedColumn,
    ) -> None:
        self.lanes: dict[str, dict[str, list[Weight]]] = {}
        self.derived: dict[str, DerivedColumn] = {}
        for lane, table in _written("Embed", lanes, keywords).items():
            if isinstance(table, DerivedColumn):
                self.derived[lane] = table
                entries = {**table.values(), **table.others}
                self.lanes[lane] = {token: [weight] for token, weight in entries.items()}
                continue
            if not isinstance(table, Mapping):
                raise TinyadderError(
                    f"Embed({lane}={table!r}): give a mapping from tokens to numbers, e.g."
                    " {'+': 1}"
                )
            self.lanes[lane] = {token: _embedded(lane, value) for token, value in table.items()}


def _embedded(lane: str, value: Any) -> list[Weight]:
    weights = weights_in(value)
    if weights is None:
        raise TinyadderError(
            f"Embed: lane '{lane}' is given ({value}); an embedding holds numbers, not forms"
        )
    return weights


class Attention:
    """Heads in parallel; each keyword is a lane and the head (or sum of heads) added to it."""

    def __init__(self, lanes: Mapping[str, Outputs] | None = None, /, **keywords: Outputs) -> None:
        self.lanes: dict[str, Outputs] = {}
        for lane, output in _written("Attention", lanes, keywords).items():
            if not isinstance(output, Outputs):
                raise TinyadderError(
                    f"Attention({lane}=...) was given ({output}); expected a Head or a sum of heads"
                )
            self.lanes[lane] = output

    @property
    def heads(self) -> list[Head]:
        """Every head once, in the order in which lanes read them."""
        return list(
            dict.fromkeys(h for o in self.lanes.values() for part in o.parts for h, _ in part)
        )


class MLP:
    """Gated-ReLU units in parallel; each keyword is a lane and the units added to it."""

    def __init__(self, lanes: Mapping[str, Units] | None = None, /, **keywords: Units) -> None:
        self.lanes: dict[str, Units] = {}
        for lane, units in _written("MLP", lanes, keywords).items():
            if not isinstance(units, Units):
                raise TinyadderError(
                    f"MLP({lane}=...) was given ({units}); expected sums of relu(a) * b: every"
                    " hidden unit has a gate"
                )
            self.lanes[lane] = units

    @property
    def units(self) -> list[Hidden]:
        """Every hidden unit once, in the order in which lanes read them."""
        return list(
            dict.fromkeys(h for u in self.lanes.values() for part in u.parts for h, _ in part)
        )


class Unembed:
    """The readout: the next token is the one with the largest (argmax) or smallest (argmin) value.

    `argmax=` / `argmin=` takes a mapping from tokens to forms, a form whose row n is for token n of
    the vocabulary, or a sum of columns by formula, `derived(..) * lane`. A bare lane (or a tuple of
    lanes) is read as it stands: wiring, without parameters. `tied=` names tokens whose embedding
    rows are their unembedding rows; it may stand alone or be added to a form. Tokens without a row
    are never chosen.
    """

    def __init__(self, *, argmax: Any = None, argmin: Any = None, tied: Sequence[str] = ()) -> None:
        if argmax is not None and argmin is not None:
            raise TinyadderError("Unembed takes argmax or argmin, not both")
        self.argmin, self.tied = argmin is not None, tuple(tied)
        given = argmin if self.argmin else argmax
        if given is None and not self.tied:
            raise TinyadderError("Unembed needs argmax=form, argmin=form or tied=tokens")
        lanes = (given,) if isinstance(given, Lane) else given
        self.wired = isinstance(lanes, tuple) and all(isinstance(lane, Lane) for lane in lanes)
        if self.wired and self.tied:
            raise TinyadderError(
                "a readout wired to lanes cannot also be tied; write the lanes as a form: 1 * lane"
            )
        self.tokens: tuple[str, ...] | None = None
        self.derived: dict[str, DerivedColumn] = {}
        if isinstance(given, DerivedReadout):
            self.tokens = given.tokens
            self.form = _rows_of(given)
            self.derived = {lane.name: column for lane, column in given.columns.items()}
        elif isinstance(given, Mapping):
            self.tokens = tuple(given)
            self.form = concat(*given.values())
        elif given is not None:
            self.form = concat(*lanes) if isinstance(lanes, tuple) else as_form(given)
        else:
            self.form = AffineForm(None, [])
        if self.tokens is not None and self.form.width != len(self.tokens):
            raise TinyadderError(
                f"the readout has {self.form.width} rows for {len(self.tokens)} tokens; one row a"
                " token"
            )


def _rows_of(readout: DerivedReadout) -> AffineForm:
    """The readout as a form, one row a token."""
    values = {lane: column.values() for lane, column in readout.columns.items()}
    rows = [
        AffineRow(
            tuple(
                ((lane.name, 0), table[token]) for lane, table in values.items() if token in table
            )
        )
        for token in readout.tokens
    ]
    return AffineForm(common_stream(*readout.columns), rows)


Sublayer = Attention | MLP


def rows_read(sublayer: Sublayer) -> Iterator[tuple[Stream | None, Sequence[AffineRow]]]:
    """Every group of rows that a sublayer reads, with the stream they are over."""
    if isinstance(sublayer, Attention):
        for head in sublayer.heads:
            for form in (head.query, head.key, head.value):
                yield form.stream, form.rows
    else:
        for units in sublayer.lanes.values():
            for part in units.parts:
                for hidden, _ in part:
                    yield units.stream, (hidden.gate, hidden.up)


def format_units(parts: Sequence[Sequence[tuple[Hidden, Weight]]]) -> str:
    """The text of the units added to a lane."""
    if len({len(part) for part in parts}) != 1:
        return "[" + "; ".join(format_units([part]) if part else "0" for part in parts) + "]"
    texts = []
    for units in zip(*parts, strict=True):
        gate = f"relu({format_rows([h.gate for h, _ in units])})"
        ups = [h.up for h, _ in units]
        up = "" if set(ups) == {AffineRow((), 1.0)} else format_rows(ups)
        up = f"({up})" if " + " in up or " - " in up else up
        downs = [d for _, d in units]
        down = (
            ""
            if set(downs) == {1.0}
            else "-"
            if set(downs) == {-1.0}
            else format_vector(downs, "") + " * "
        )
        texts.append(f"{down}{gate}" + (f" * {up}" if up else ""))
    return " + ".join(texts).replace("+ -", "- ")
