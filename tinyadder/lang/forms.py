"""Lanes of the residual stream and affine forms over them; every weight in a form is a
parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.plain import as_real, short


@dataclass(frozen=True, eq=False)
class Shared:
    """One stored weight with many readers; it stays one parameter in the built module."""

    value: float

    def __post_init__(self) -> None:
        finite(self.value, "a shared weight")

    def __repr__(self) -> str:
        return f"shared({format_weight(self.value)})"


def shared(value: float) -> Shared:
    """Store `value` once; every form, embedding or unit that reads it reads the same parameter."""
    return Shared(float(value))


Weight = float | Shared
StreamColumn = tuple[str, int]


def finite(value: float, where: str) -> float:
    """`value` as a float. Raises `TinyadderError`, which begins with `where`, unless it is a finite
    number.
    """
    number = value if type(value) is float else as_real(value)
    if number is None or not isfinite(number):
        raise TinyadderError(f"{where} is {short(value)}; every weight must be a finite number")
    return float(number)


def value_of(weight: Weight) -> float:
    """The float64 that `weight` stores."""
    return weight.value if isinstance(weight, Shared) else weight


def add_weights(left: Weight, right: Weight, where: str) -> Weight:
    """left + right. Raises `TinyadderError` where that would be a second value of a shared weight,
    or is not finite.
    """
    if isinstance(right, float) and right == 0:
        return left
    if isinstance(left, float) and left == 0:
        return right
    if isinstance(left, Shared) or isinstance(right, Shared):
        raise TinyadderError(
            f"{where}: {format_weight(left)} + {format_weight(right)} would be a new weight,"
            " not the shared one; let the shared weight stand alone or write the sum as a plain"
            " float"
        )
    return finite(left + right, where)


def scale_weight(weight: Weight, factor: Weight, where: str) -> Weight:
    """factor * weight. Raises `TinyadderError` where that would be a second value of a shared
    weight, or is not finite.
    """
    if isinstance(weight, float) and weight in (0.0, 1.0):
        return factor if weight else 0.0
    if isinstance(factor, float) and factor in (0.0, 1.0):
        return weight if factor else 0.0
    if isinstance(weight, Shared) or isinstance(factor, Shared):
        raise TinyadderError(
            f"{where}: {format_weight(factor)} * {format_weight(weight)} would be a new"
            " weight, not the shared one; a shared weight is read as it is, so put the factor"
            " elsewhere"
        )
    return finite(weight * factor, where)


@dataclass(frozen=True)
class AffineRow:
    """One affine row: sum of weight * column, plus a bias."""

    weights: tuple[tuple[StreamColumn, Weight], ...] = ()
    bias: Weight = 0.0

    @property
    def parameters(self) -> list[Weight]:
        """The nonzero weights of this row, weights first: its parameters."""
        return [n for n in (*(w for _, w in self.weights), self.bias) if n != 0]

    def plus(self, other: AffineRow) -> AffineRow:
        """The sum of two rows, without columns of weight 0; see `add_weights`."""
        weights = dict(self.weights)
        for column, weight in other.weights:
            weights[column] = add_weights(
                weights.get(column, 0.0), weight, f"the weight on lane '{column[0]}'"
            )
        kept = tuple((c, w) for c, w in weights.items() if w != 0)
        return AffineRow(kept, add_weights(self.bias, other.bias, "the bias"))

    def times(self, factor: Weight) -> AffineRow:
        """factor times this row; see `scale_weight`."""
        scaled = (
            (c, scale_weight(w, factor, f"the weight on lane '{c[0]}'")) for c, w in self.weights
        )
        return AffineRow(
            tuple((c, w) for c, w in scaled if w != 0), scale_weight(self.bias, factor, "the bias")
        )


def weights_in(value: Any) -> list[Weight] | None:
    """A number, a shared weight or a vector of them as a list; None for anything else."""
    if isinstance(value, Shared):
        return [value]
    if isinstance(value, AffineForm | Added | str | Mapping):
        return None
    items = np.asarray(value, dtype=object)
    if items.ndim > 1:
        raise TinyadderError(
            f"a matrix of shape {items.shape} was given; forms take numbers and vectors"
        )
    return [n if isinstance(n, Shared) else finite(float(n), "a weight") for n in items.reshape(-1)]


def fit_widths(left: int, right: int, what: Callable[[], str]) -> int:
    """The width of an operation on forms of these widths, of which 1 fits all. Raises
    `TinyadderError` where they do not fit.
    """
    if left != right and 1 not in (left, right):
        raise TinyadderError(
            f"{what()}: widths {left} and {right} do not fit; they must be equal, or one of them 1"
        )
    return max(left, right)


def spread(items: Sequence[Any], width: int) -> list[Any]:
    """`items`, a single one `width` times."""
    return list(items) * width if len(items) == 1 else list(items)


class Added:
    """What a sublayer adds to a lane: hidden units or head outputs. It is not a form and cannot be
    read.
    """

    __array_ufunc__ = None


class AffineForm:
    """An affine form over the lanes of one stream, `width` rows high. Immutable."""

    __array_ufunc__ = None  # numpy arrays leave `array * form` to the form

    def __init__(self, stream: Stream | None, rows: Sequence[AffineRow]) -> None:
        self.stream, self.rows = stream, tuple(rows)

    @property
    def width(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __add__(self, other: Any) -> AffineForm:
        other = as_form(other)
        width = fit_widths(self.width, other.width, lambda: f"({self}) + ({other})")
        pairs = zip(spread(self.rows, width), spread(other.rows, width), strict=True)
        return AffineForm(common_stream(self, other), [a.plus(b) for a, b in pairs])

    def __mul__(self, other: Any) -> AffineForm:
        factors = weights_in(other)
        if factors is None:
            raise TinyadderError(
                f"({self}) * ({other}): a product of two lanes is not affine; write relu(a) * b in"
                " an MLP"
            )
        width = fit_widths(self.width, len(factors), lambda: f"({self}) * a vector")
        pairs = zip(spread(self.rows, width), spread(factors, width), strict=True)
        return AffineForm(self.stream, [row.times(factor) for row, factor in pairs])

    def __getitem__(self, key: int | slice) -> AffineForm:
        rows = self.rows[key]
        return AffineForm(self.stream, [rows] if isinstance(rows, AffineRow) else rows)

    def __iter__(self) -> Iterator[AffineForm]:
        return (AffineForm(self.stream, [row]) for row in self.rows)

    def __neg__(self) -> AffineForm:
        return self * -1.0

    def __sub__(self, other: Any) -> AffineForm:
        return self + (-as_form(other))

    def __rsub__(self, other: Any) -> AffineForm:
        return -self + other

    def __truediv__(self, other: float) -> AffineForm:
        return self * (1.0 / np.asarray(other, dtype=float))

    __radd__, __rmul__ = __add__, __mul__

    def __repr__(self) -> str:
        return format_rows(self.rows)


class Lane(AffineForm):
    """A named subspace of the residual stream; as a form it reads itself."""

    def __init__(self, stream: Stream, name: str, width: int, meaning: str) -> None:
        super().__init__(stream, [AffineRow((((name, i), 1.0),)) for i in range(width)])
        self.name, self.meaning = name, meaning


def common_stream(*forms: AffineForm) -> Stream | None:
    """The stream that forms are over, None for constants. Raises `TinyadderError` for two."""
    streams = {id(f.stream): f.stream for f in forms if f.stream is not None}
    if len(streams) > 1:
        raise TinyadderError(
            "forms over two different streams were combined; a program has one Stream"
        )
    return next(iter(streams.values()), None)


def as_form(value: Any) -> AffineForm:
    """A form from a form, a number, a shared weight or a vector of numbers."""
    if isinstance(value, AffineForm):
        return value
    weights = weights_in(value)
    if weights is None:
        raise TinyadderError(
            f"({value}) cannot be part of an affine form; hidden units and heads are added to lanes"
        )
    return AffineForm(None, [AffineRow((), n) for n in weights])


def concat(*forms: Any) -> AffineForm:
    """Stack forms: the rows of the first, then of the second, and so on."""
    parts = [as_form(f) for f in forms]
    return AffineForm(common_stream(*parts), [row for form in parts for row in form.rows])


WIDEST = 8192
"""The most columns of a residual stream."""


class Stream:
    """The lanes of the residual stream, in column order: the glossary of a program.

    `Stream(mark="1 on '+'", miss=("distance to each digit", 10))` declares a lane of width 1 and
    one of width 10.
    """

    def __init__(self, /, **lanes: str | tuple[str, int]) -> None:
        if not lanes:
            raise TinyadderError("a Stream needs at least one lane, e.g. Stream(digit='the digit')")
        self.lanes: dict[str, Lane] = {}
        for name, text in lanes.items():
            meaning, width = (text, 1) if isinstance(text, str) else text
            if name == "lanes" or name.startswith("_"):
                raise TinyadderError(
                    f"'{name}' cannot name a lane; choose a name that does not start with '_'"
                )
            if not isinstance(width, int) or not 1 <= width <= WIDEST:
                raise TinyadderError(
                    f"lane '{name}' has width {short(width)}; a width is an integer 1 .. {WIDEST}"
                )
            if self.width + width > WIDEST:
                raise TinyadderError(f"a Stream of more than {WIDEST} columns; take fewer lanes")
            self.lanes[name] = Lane(self, name, width, meaning)

    def __getattr__(self, name: str) -> Lane:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Lane:
        if name not in self.lanes:
            raise TinyadderError(
                f"no lane '{name}' (lanes: {', '.join(self.lanes)}){did_you_mean(name, self.lanes)}"
            )
        return self.lanes[name]

    @property
    def width(self) -> int:
        """Columns of the residual stream."""
        return sum(lane.width for lane in self.lanes.values())

    def columns(self) -> dict[StreamColumn, int]:
        """The column of every (lane, index): lanes stand in the order of their declaration."""
        every = [(lane.name, i) for lane in self.lanes.values() for i in range(lane.width)]
        return {column: position for position, column in enumerate(every)}


# ---- printing forms ------------------------------------------------------------------------------


def format_weight(weight: Weight) -> str:
    """A weight in six digits, or in nine where six would be another number."""
    if isinstance(weight, Shared):
        return repr(weight)
    short = f"{weight:.6g}"
    return short if float(short) == weight else f"{weight:.9g}"


def _join(terms: Sequence[tuple[str, Weight]]) -> str:
    """Terms `(name, weight)` (an empty name is the bias) as a sum: `960*mark - 1000`."""
    text = ""
    for name, weight in terms:
        negative = isinstance(weight, float) and weight < 0
        size = -weight if isinstance(weight, float) and negative else weight
        body = name if name and size == 1 else format_weight(size) + (f"*{name}" if name else "")
        text += (" - " if negative else " + ") + body if text else ("-" if negative else "") + body
    return text or "0"


def _column(column: StreamColumn, wide: bool) -> str:
    return f"{column[0]}[{column[1]}]" if wide else column[0]


def format_rows(rows: Sequence[AffineRow], wide: frozenset[str] = frozenset()) -> str:
    """The text of a form: one row as a sum, several equal in shape as vectors times lanes."""
    if not rows:
        return "[]"
    if len(set(rows)) == 1:
        terms = [(_column(c, c[0] in wide or c[1] > 0), w) for c, w in rows[0].weights]
        return _join([*terms, *([("", rows[0].bias)] if rows[0].bias != 0 else [])])
    vectors = [
        _aligned(rows, lane) for lane in dict.fromkeys(c[0] for row in rows for c, _ in row.weights)
    ]
    if all(vector is not None for vector in vectors):
        biases = [row.bias for row in rows]
        text = " + ".join(
            format_vector(weights, lane)
            for vector in vectors
            if vector
            for weights, lane in [vector]
        )
        if any(bias != 0 for bias in biases):
            text += (" + " if text else "") + format_vector(biases, "")
        return text.replace("+ -", "- ") or "0"
    return "[" + "; ".join(format_rows([row], wide) for row in rows) + "]"


def _aligned(rows: Sequence[AffineRow], lane: str) -> tuple[list[Weight], str] | None:
    """The weights of `lane`, one a row, if every row reads the same column of it, or row i its
    column i.
    """
    reads = [[(i, c[1], w) for c, w in row.weights if c[0] == lane] for i, row in enumerate(rows)]
    if any(len(read) > 1 for read in reads):
        return None
    pairs = [(i, index) for read in reads for i, index, _ in read]
    weights: list[Weight] = [read[0][2] if read else 0.0 for read in reads]
    if len({index for _, index in pairs}) == 1:
        index = pairs[0][1]
        return weights, lane if index == 0 else f"{lane}[{index}]"
    return (weights, lane) if all(i == index for i, index in pairs) else None


def format_vector(weights: Sequence[Weight], name: str) -> str:
    """`[w0, w1, ..]*name`; weights that are all equal come once."""
    if len(set(weights)) == 1:
        return _join([(name, weights[0])])
    body = "[" + ", ".join(format_weight(w) for w in weights) + "]"
    return f"{body}*{name}" if name else body
