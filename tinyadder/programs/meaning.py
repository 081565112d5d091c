"""What a program means: its value at every position of a text, in plain Python and exact numbers.
The oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.programs.language import (
    AGGREGATES,
    Both,
    Either,
    Except,
    Relation,
    Selector,
    Seq,
    Value,
    is_number,
    rational,
    show,
    walk,
)


def evaluate(program: Seq, text: Sequence[Any], *, causal: bool = False) -> list[Value]:
    """One value a position. Raises `TinyadderError` for an unknown token or a `pick` that selects
    several positions.
    """
    given, known = [rational(token) for token in text], program.vocabulary
    for place, token in enumerate(given):
        if known and token not in known:
            raise TinyadderError(
                f"token {token!r} at position {place}; this program reads "
                f"{' '.join(map(str, known))}"
            )
    columns: dict[Seq, list[Value]] = {}
    for node in walk(program):
        columns[node] = _column(node, columns, given, causal)
    return columns[program]


def _column(
    node: Seq, columns: dict[Seq, list[Value]], text: list[Value], causal: bool
) -> list[Value]:
    places = range(len(text))
    if node.op == "tokens":
        return list(text)
    if node.op == "indices":
        return list(places)
    if node.op == "constant":
        return [node.data] * len(text)
    rows = (
        list(zip(*(columns[arg] for arg in node.args), strict=True))
        if node.args
        else [()] * len(text)
    )
    if node.op == "affine":
        factors, offset = node.data
        return [None if None in row else rational(_weighted(factors, row) + offset) for row in rows]
    if node.op == "map":
        return [node.data(*row) for row in rows]
    selector, default = node.data
    assert node.op in AGGREGATES, node.op
    values = columns[node.args[0]] if node.args else [1] * len(text)
    found = []
    for here in places:
        seen = range(here + 1) if causal else places
        found.append(
            aggregate(
                node, [values[k] for k in seen if selects(selector, columns, k, here)], default
            )
        )
    return found


def _weighted(factors: Sequence[Fraction], row: Sequence[Any]) -> Fraction:
    return sum((factor * value for factor, value in zip(factors, row, strict=True)), Fraction(0))


def aggregate(node: Seq, chosen: list[Any], default: Value) -> Value:
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
            f"{show(node)} selects {len(chosen)} positions; say which by latest or earliest, or "
            "mean"
        )
    if not all(is_number(value) for value in chosen):
        raise TinyadderError(
            f"{show(node)} selects {len(chosen)} values that are not all numbers: {chosen[:4]}"
        )
    return rational(sum(chosen, Fraction(0)) / len(chosen))


def selects(selector: Selector, columns: dict[Seq, list[Value]], there: int, here: int) -> bool:
    """Whether position `there` is selected from position `here`."""
    if isinstance(selector, Relation):
        return selector.holds(columns[selector.key][there], columns[selector.query][here])
    if isinstance(selector, Both):
        return selects(selector.left, columns, there, here) and selects(
            selector.right, columns, there, here
        )
    if isinstance(selector, Either):
        return selects(selector.left, columns, there, here) or selects(
            selector.right, columns, there, here
        )
    return (
        not selects(selector.inner, columns, there, here) if isinstance(selector, Except) else True
    )
