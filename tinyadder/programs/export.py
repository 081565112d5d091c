"""A program as a graph of nodes, for the task that carries it: tables are written out over what
can occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tinyadder.programs.columns import SharedColumn
from tinyadder.programs.functions import CHOICE, EQUAL, UNEQUAL, Function, Value
from tinyadder.programs.language import (
    AGGREGATES,
    Both,
    Either,
    Except,
    Relation,
    Selector,
    Seq,
    walk,
)
from tinyadder.programs.values import GONE, Refused, Span, Values
from tinyadder.tasks.sequences import FUNCTIONS, value_to_json

if TYPE_CHECKING:
    from tinyadder.programs.lower import Lowering

NAMED = {*FUNCTIONS, "where"}


def token_names(values: Iterable[Value]) -> dict[Value, str]:
    """The token of each value: as it prints, or as Python writes it where that is taken."""
    found: dict[Value, str] = {}
    for value in values:
        if value in found:
            continue
        name = str(value)
        if name in found.values() or not name:
            name = repr(value)
        while name in found.values() or name == "|":
            name = f"<{name}>"
        found[value] = name
    return found


def to_graph(
    program: Seq, values: Values, inputs: dict[Value, str], outputs: Sequence[tuple[Value, str]]
) -> tuple[dict[str, Any], dict[int, int]]:
    """The graph that `tinyadder.tasks.sequences` evaluates, and each node's place in it, by id."""
    nodes: list[dict[str, Any]] = []
    places: dict[int, int] = {}

    def add(thing: Any, node: dict[str, Any]) -> int:
        places[id(thing)] = len(nodes)
        nodes.append(node)
        return places[id(thing)]

    def selector(given: Selector) -> int:
        if id(given) in places:
            return places[id(given)]
        if isinstance(given, Relation):
            ends = [places[id(given.key)], places[id(given.query)]]
            return add(given, {"op": "relation", "inputs": ends, **_relation(given, values)})
        if isinstance(given, Both | Either):
            ends = [selector(given.left), selector(given.right)]
            return add(
                given, {"op": "both" if isinstance(given, Both) else "either", "inputs": ends}
            )
        if isinstance(given, Except):
            return add(given, {"op": "except", "inputs": [selector(given.inner)]})
        return add(given, {"op": "everywhere", "inputs": []})

    for node in walk(program):
        read = [places[id(arg)] for arg in node.args]
        if node.op in ("tokens", "indices"):
            add(node, {"op": node.op, "inputs": []})
        elif node.op == "constant":
            add(node, {"op": "constant", "inputs": [], "value": value_to_json(node.data)})
        elif node.op == "affine":
            factors = [value_to_json(_short(f)) for f in node.data[0]]
            add(
                node,
                {
                    "op": "affine",
                    "inputs": read,
                    "factors": factors,
                    "offset": value_to_json(_short(node.data[1])),
                },
            )
        elif node.op == "map":
            add(node, {"op": "map", "inputs": read, **_mapped(node, values)})
        else:
            first = selector(node.data[0])
            default = (
                {} if node.op in ("count", "sum") else {"default": value_to_json(node.data[1])}
            )
            add(node, {"op": node.op, "inputs": [first, *read], **default})
    graph = {
        "nodes": nodes,
        "output": places[id(program)],
        "causal": values.causal,
        "inputs": [[value_to_json(v), name] for v, name in inputs.items()],
        "outputs": [[value_to_json(v), name] for v, name in outputs],
    }
    return graph, places


def hints(low: Lowering, places: dict[int, int], columns: Sequence[SharedColumn]) -> dict[str, Any]:
    """Which lane of which layer holds which node, for a prover: places to look at, not claims."""
    heads = []
    at_column = {lane.name: column.name for column in columns for lane in column.lanes}
    for lane in low.lanes.values():
        if lane.head is None:
            continue
        at: Any = "copy" if lane.defines is None else None
        shift, own = Fraction(0), True
        if lane.defines is not None:
            node, line = lane.defines
            at = "index" if node.op == "indices" else places.get(id(node))
            if node.op in AGGREGATES:
                shift, own = line.bias, low.values.looks_back(node.data[0])
        if at is not None:
            heads.append(
                {
                    "lane": at_column.get(lane.name, lane.name),
                    "layer": lane.head[0].layer,
                    "node": at,
                    "shift": Fraction(shift).as_integer_ratio(),
                    "own": own,
                }
            )
    codes = [*low.codes.items(), (None, low.nothing)]
    return {
        "codes": [[value_to_json(v), code.as_integer_ratio()] for v, code in codes],
        "heads": heads,
    }


def _short(number: Fraction | int) -> Fraction | int:
    return int(number) if Fraction(number).denominator == 1 else number


def _mapped(node: Seq, values: Values) -> dict[str, Any]:
    function: Function = node.data
    if (
        function is CHOICE
        or (function.form and function.name in NAMED)
        or function.name in ("minimum", "maximum")
    ):
        return {"function": function.name}
    pairs = dict(values.table(node, node.args))
    return {
        "table": [
            [*map(value_to_json, row), value_to_json(out)]
            for row, out in pairs.items()
            if out is not GONE
        ]
    }


def _relation(relation: Relation, values: Values) -> dict[str, Any]:
    if relation.function in (EQUAL, UNEQUAL) or relation.function.form:
        return {"function": relation.function.name}
    keys, queries = values.support(relation.key), values.support(relation.query)
    if isinstance(keys, Span) or isinstance(queries, Span) or len(keys) * len(queries) > 200_000:
        raise Refused(f"{relation!r} is a table of too many values; compare by ==, <, <=, >, >=")
    pairs = [(k, q) for k in keys for q in queries if relation.holds(k, q)]
    return {"pairs": [[value_to_json(k), value_to_json(q)] for k, q in pairs]}
