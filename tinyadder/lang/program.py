"""Write a transformer as residual equations: lanes, affine forms, heads, hidden units, one Program.

Reading a lane of a `Stream` gives an `AffineForm`; forms add, subtract and scale. The keywords of
a sublayer are the lanes it adds to. Every number in a form is a parameter, and so is the down
weight of a hidden unit; which lane a head or a unit writes to is wiring. Needs numpy only.

>>> x = Stream(digit="the digit", flag="1 on '+'", total="sum of the digits so far")
>>> program = Program(
...     "01+", x,
...     Embed(digit={"1": 1}, flag={"+": 1}),
...     Attention(total=Head(query=1, key=-40, value=5 * x.digit)),
...     MLP(total=-relu(x.digit) * x.flag),
...     Unembed(argmax={"0": 2 * x.total - 3, "1": x.flag}),
... )
>>> print(program)
embed
    1  digit = 1 on '1'
    1  flag  = 1 on '+'
layer 0
    3  total += head 0: query 1, key -40, value 5*digit
    3  total += -relu(digit) * flag
logits
    2  '0' = 2*total - 3
    1  '1' = flag
   11  nonzero
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tinyadder.errors import TinyadderError, did_you_mean
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
    shared,
    spread,
    weights_in,
)

__all__ = [
    "MLP",
    "AffineForm",
    "Attention",
    "Embed",
    "Head",
    "Program",
    "Shared",
    "Stream",
    "Unembed",
    "concat",
    "relu",
    "shared",
    "stack",
]


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
        width = fit_widths(self.width, other.width, "a sum of hidden units")
        pairs = zip(spread(self.parts, width), spread(other.parts, width), strict=True)
        common_stream(AffineForm(self.stream, []), AffineForm(other.stream, []))
        return Units(self.stream or other.stream, [a + b for a, b in pairs])

    def __rmul__(self, factor: Any) -> Units:
        factors = weights_in(factor)
        if factors is None:
            raise TinyadderError(
                f"({factor}) * relu(..): write relu(a) * b, the up projection on the right"
            )
        width = fit_widths(self.width, len(factors), "a vector times hidden units")
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
        width = fit_widths(self.gate.width, up.width, f"relu({self.gate}) * ({up})")
        rows = zip(spread(self.gate.rows, width), spread(up.rows, width), strict=True)
        units = [Hidden(gate, row) for gate, row in rows]
        width = fit_widths(self.width, width, f"{self} * ({up})")
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
        width = fit_widths(self.width, other.width, "a sum of heads")
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


Sums = TypeVar("Sums", Outputs, Units)


def stack(*rows: Sums | None) -> Sums:
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
        text = ", ".join(f"({row})" for row in rows)
        raise TinyadderError(
            f"stack({text}): give sums of heads, or sums of relu(a) * b; None for a row that gets"
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
    """The embedding: per lane a mapping from tokens to numbers (vectors for wider lanes); the rest
    is 0.
    """

    def __init__(
        self, lanes: Mapping[str, Any] | None = None, /, **keywords: Mapping[str, Any]
    ) -> None:
        self.lanes: dict[str, dict[str, list[Weight]]] = {}
        for lane, table in _written("Embed", lanes, keywords).items():
            if not isinstance(table, Mapping):
                raise TinyadderError(
                    f"Embed({lane}={table!r}): give a mapping from tokens to numbers, e.g."
                    " {'+': 1}"
                )
            self.lanes[lane] = {token: _embedded(lane, value) for token, value in table.items()}


def _embedded(lane: str, value: Any) -> list[Weight]:
    numbers = weights_in(value)
    if numbers is None:
        raise TinyadderError(
            f"Embed: lane '{lane}' is given ({value}); an embedding holds numbers, not forms"
        )
    return numbers


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

    `argmax=` / `argmin=` takes a mapping from tokens to forms, or a form whose row n is for token n
    of the vocabulary. A bare lane (or a tuple of lanes) is read as it stands: wiring, without
    parameters. `tied=` names tokens whose embedding rows are their unembedding rows; it may stand
    alone or be added to a form. Tokens without a row are never chosen.
    """

    def __init__(self, *, argmax: Any = None, argmin: Any = None, tied: Sequence[str] = ()) -> None:
        if argmax is not None and argmin is not None:
            raise TinyadderError("Unembed takes argmax or argmin, not both")
        self.argmin, self.tied = argmin is not None, tuple(tied)
        text = argmin if self.argmin else argmax
        if text is None and not self.tied:
            raise TinyadderError("Unembed needs argmax=form, argmin=form or tied=tokens")
        lanes = (text,) if isinstance(text, Lane) else text
        self.wired = isinstance(lanes, tuple) and all(isinstance(lane, Lane) for lane in lanes)
        if self.wired and self.tied:
            raise TinyadderError(
                "a readout wired to lanes cannot also be tied; write the lanes as a form: 1 * lane"
            )
        self.tokens: tuple[str, ...] | None = None
        if isinstance(text, Mapping):
            self.tokens = tuple(text)
            self.form = concat(*text.values())
        elif text is not None:
            self.form = concat(*lanes) if isinstance(lanes, tuple) else as_form(text)
        else:
            self.form = AffineForm(None, [])
        if self.tokens is not None and self.form.width != len(self.tokens):
            raise TinyadderError(
                f"the readout has {self.form.width} rows for {len(self.tokens)} tokens; one row a"
                " token"
            )


Sublayer = Attention | MLP


class Program:
    """An exact algorithm as the weights of a transformer: vocabulary, stream, embedding, sublayers,
    readout.

    An immutable value: `print(program)` shows its equations with the price of each line. Raises
    `TinyadderError` for a lane that is unknown, read before anything writes it, or of another
    width.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        stream: Stream,
        embed: Embed,
        *rest: Attention | MLP | Unembed,
    ) -> None:
        if (
            not rest
            or not isinstance(rest[-1], Unembed)
            or any(isinstance(s, Unembed) for s in rest[:-1])
        ):
            raise TinyadderError(
                "a Program is: vocabulary, Stream, Embed, sublayers (Attention, MLP), one Unembed"
                " last"
            )
        if not isinstance(embed, Embed) or not all(
            isinstance(s, Attention | MLP) for s in rest[:-1]
        ):
            raise TinyadderError(
                "a Program is: vocabulary, Stream, Embed, sublayers (Attention, MLP), one Unembed"
                " last"
            )
        self.vocabulary = tuple(vocabulary)
        if len(set(self.vocabulary)) != len(self.vocabulary):
            raise TinyadderError(f"the vocabulary {''.join(self.vocabulary)!r} names a token twice")
        self.stream, self.embed, self.unembed = stream, embed, rest[-1]
        self.sublayers: tuple[Sublayer, ...] = tuple(
            s for s in rest[:-1] if isinstance(s, Attention | MLP)
        )
        self._check()

    @property
    def blocks(self) -> list[tuple[Attention | None, MLP | None]]:
        """The layers: an attention opens one, an MLP closes it; either may be absent."""
        result: list[tuple[Attention | None, MLP | None]] = []
        for sublayer in self.sublayers:
            if isinstance(sublayer, Attention):
                result.append((sublayer, None))
            elif result and result[-1][1] is None:
                result[-1] = (result[-1][0], sublayer)
            else:
                result.append((None, sublayer))
        return result

    @property
    def output_tokens(self) -> tuple[str, ...]:
        """The tokens that have a logit, in the order of the readout's rows."""
        if self.unembed.tokens is not None:
            return self.unembed.tokens
        return self.unembed.tied or self.vocabulary[: self.unembed.form.width]

    # ---- checks -------------------------------------------------------------------------------

    def _check(self) -> None:
        known: set[str] = set()
        for lane, table in self.embed.lanes.items():
            width = self._lane(lane, "Embed")
            for token, numbers in table.items():
                self._token(token, f"Embed, lane '{lane}'")
                self._fits(f"Embed, lane '{lane}', token '{token}'", len(numbers), width)
        known |= set(self.embed.lanes)
        for position, sublayer in enumerate(self.sublayers):
            where = f"sublayer {position} ({type(sublayer).__name__})"
            for lane, output in sublayer.lanes.items():
                self._fits(f"{where}, lane '{lane}'", output.width, self._lane(lane, where))
            for form_stream, rows in _reads(sublayer):
                self._readable(where, form_stream, rows, known)
            known |= set(sublayer.lanes)
        self._readable("Unembed", self.unembed.form.stream, self.unembed.form.rows, known)
        outputs = (*self.output_tokens, *self.unembed.tied)
        for token in outputs:
            self._token(token, "Unembed")
        if self.unembed.form.width > len(self.vocabulary):
            raise TinyadderError(
                f"the readout has {self.unembed.form.width} rows for a vocabulary of"
                f" {len(self.vocabulary)} tokens"
            )
        tied, height = self.unembed.tied, self.unembed.form.width
        if tied and height and (self.output_tokens != tied or height not in (1, len(tied))):
            raise TinyadderError(
                "a form beside tied= must have one row for each tied token, in the same order"
            )

    def _lane(self, lane: str, where: str) -> int:
        if lane not in self.stream.lanes:
            names = self.stream.lanes
            raise TinyadderError(
                f"{where} writes lane '{lane}', which the Stream does not declare "
                f"(lanes: {', '.join(names)}){did_you_mean(lane, names)}"
            )
        return self.stream.lanes[lane].width

    def _token(self, token: str, where: str) -> None:
        if token not in self.vocabulary:
            raise TinyadderError(
                f"{where}: no token '{token}' in the vocabulary {' '.join(self.vocabulary)}"
            )

    def _fits(self, where: str, given: int, width: int) -> None:
        if given not in (1, width):
            raise TinyadderError(
                f"{where} has width {width}, but {given} values are added; give {width}, or 1"
                " for all"
            )

    def _readable(
        self, where: str, stream: Stream | None, rows: Sequence[AffineRow], known: set[str]
    ) -> None:
        if stream is not None and stream is not self.stream:
            raise TinyadderError(
                f"{where} reads a lane of another Stream; a program has one Stream"
            )
        for row in rows:
            for (lane, _), _ in row.weights:
                if lane not in known:
                    raise TinyadderError(
                        f"lane '{lane}' is read but nobody writes it ({where}); "
                        "write it in Embed or in an earlier sublayer"
                    )

    # ---- the bill -----------------------------------------------------------------------------

    def lines(self) -> list[tuple[str, str, list[Weight]]]:
        """The equations: (section, text, the non-zero numbers the line introduces); shared numbers
        come once.
        """
        from tinyadder.lang.printing import program_lines

        return program_lines(self)

    @property
    def nonzero(self) -> int:
        """Non-zero numbers, counted from the equations; a shared number counts once, slopes not at
        all.
        """
        return sum(len(numbers) for _, _, numbers in self.lines())

    @property
    def slopes(self) -> int:
        """Non-zero ALiBi slopes, which `nonzero + positional` counts too."""
        return sum(
            head.slope != 0 for s in self.sublayers if isinstance(s, Attention) for head in s.heads
        )

    def __str__(self) -> str:
        from tinyadder.lang.printing import format_program

        return format_program(self)


def _reads(sublayer: Sublayer) -> Iterator[tuple[Stream | None, Sequence[AffineRow]]]:
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
