"""What a program means: its value at every position of a text, in plain Python and exact numbers.
The oracle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

from tinyadder.errors import TinyadderError
from tinyadder.programs.functions import Value, is_number, rational


class Expression(Protocol):
    """A sequence of a program (`language.Seq`)."""

    op: str
    args: tuple[Any, ...]
    data: Any


Columns = Mapping[Any, list[Value]]
"""Expression -> its value at every position."""


def evaluate(
    nodes: Sequence[Expression], text: Sequence[Any], *, causal: bool = False
) -> list[Value]:
    """The values of the last of `nodes`, one a position; arguments come before what reads them.
    With `causal` selectors see positions up to their own only.

    Raises `TinyadderError` for an unknown token or a `pick` that selects several positions.
    """
    given = [rational(token) for token in text]
    known = dict.fromkeys(t for node in nodes if node.op == "tokens" for t in node.data)
    for place, token in enumerate(given):
        if known and token not in known:
            raise TinyadderError(
                f"token {token!r} at position {place}; this program reads "
                f"{' '.join(map(str, known))}"
            )
    columns: dict[Any, list[Value]] = {}
    for node in nodes:
        columns[node] = _column(node, columns, given, causal)
    return columns[nodes[-1]]


def _column(node: Expression, columns: Columns, text: list[Value], causal: bool) -> list[Value]:
    places = range(len(text))
    if node.op == "tokens":
        return list(text)
    if node.op == "indices":
        return list(places)
    if node.op == "constant":
        return [node.data] * len(text)
    read = [columns[arg] for arg in node.args]
    rows = list(zip(*read, strict=True)) if read else [()] * len(text)
    if node.op == "affine":
        factors, offset = node.data
        return [None if None in row else rational(_weighted(factors, row) + offset) for row in rows]
    if node.op == "map":
        return [node.data(*row) for row in rows]
    selector, default = node.data
    values = read[0] if read else [1] * len(text)
    found = []
    for here in places:
        seen = range(here + 1) if causal else places
        chosen = [values[there] for there in seen if selector.selects(columns, there, here)]
        found.append(_aggregated(node, chosen, default))
    return found


def _weighted(factors: Sequence[Fraction], row: Sequence[Any]) -> Fraction:
    return sum((factor * value for factor, value in zip(factors, row, strict=True)), Fraction(0))


def _aggregated(node: Expression, chosen: list[Any], default: Value) -> Value:
    """What `node` makes of the selected values, in the order of their positions."""
    if node.op == "count":
        return len(chosen)
    if node.op == "sum":
        return rational(sum(chosen, Fraction(0)))
    if not chosen:
        return default
    if node.op in ("latest", "earliest") or len(chosen) == 1:
        return chosen[-1] if node.op == "latest" else chosen[0]
    if node.op == "pick":
        raise TinyadderError(
            f"{node} selects {len(chosen)} positions; say which by latest or earliest, or mean"
        )
    if not all(is_number(value) for value in chosen):
        raise TinyadderError(
            f"{node} selects {len(chosen)} values that are not all numbers: {chosen[:4]}"
        )
    return rational(sum(chosen, Fraction(0)) / len(chosen))
