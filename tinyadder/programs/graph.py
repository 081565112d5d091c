"""Programs as data: the graph format of `program_cases.json` read into the language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.programs.functions import (
    EQUAL,
    GREATER,
    GREATER_EQUAL,
    LESS,
    LESS_EQUAL,
    UNEQUAL,
    Function,
    rational,
    table_function,
)
from tinyadder.programs.language import (
    Relation,
    Selector,
    Seq,
    combine,
    constant,
    everywhere,
    indices,
    lift,
    tokens,
)

PREDICATES = {
    "==": EQUAL,
    "!=": UNEQUAL,
    "<": LESS,
    "<=": LESS_EQUAL,
    ">": GREATER,
    ">=": GREATER_EQUAL,
}


def from_graph(graph: Mapping[str, Any], vocabulary: Any) -> Seq:
    """The program that a graph {"nodes": [...], "output": id} describes, over the tokens of
    `vocabulary`.

    A table holds what can occur: a combination that it lacks is taken never to occur. Raises
    `TinyadderError` for an
    unknown operation or an input that is not there.
    """
    try:
        return _program(graph, vocabulary)
    except TinyadderError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise TinyadderError(f"the program is not a graph of nodes: {error!r}") from error


def _program(graph: Mapping[str, Any], vocabulary: Any) -> Seq:
    made: dict[str, Any] = {}
    for node in graph["nodes"]:
        missing = [name for name in node["inputs"] if name not in made]
        if missing:
            raise TinyadderError(
                f"node {node['id']!r} reads {missing[0]!r}, which no earlier node gives"
            )
        if node["id"] in made:
            raise TinyadderError(f"two nodes have the id {node['id']!r}")
        try:
            made[node["id"]] = _node(node, [made[name] for name in node["inputs"]], vocabulary)
        except TinyadderError:
            raise
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            said = f"{type(error).__name__}: {error}"
            raise TinyadderError(
                f"node {node['id']!r} ({node['op']}) is not sound: {said}"
            ) from error
    if not isinstance(made.get(graph["output"]), Seq):
        raise TinyadderError(
            f"the output {graph['output']!r} is not a node that gives one value a position"
        )
    return made[graph["output"]]


def _node(node: Mapping[str, Any], inputs: list[Any], vocabulary: Any) -> Seq | Selector:
    op = node["op"]
    if op == "tokens":
        return tokens(vocabulary)
    if op == "indices":
        return indices()
    if op == "full":
        return constant(node["fill"])
    if op in ("map", "sequence_map"):
        odd = [row for row in node["table"] if len(row) != len(inputs) + 1]
        if odd:
            raise ValueError(f"the row {odd[0]} has not {len(inputs)} arguments and a value")
        return lift(
            table_function({tuple(map(rational, r[:-1])): rational(r[-1]) for r in node["table"]}),
            *inputs,
        )
    if op == "linear_sequence_map":
        return combine(zip(map(rational, node["factors"]), inputs, strict=True))
    if op == "select":
        return _select(node, *inputs)
    if op == "selector_width":
        return inputs[0].count()
    if op == "aggregate":
        return inputs[0].mean(inputs[1], default=rational(node["default"]))
    raise TinyadderError(f"node {node['id']!r} has the unknown operation {op!r}")


def _select(node: Mapping[str, Any], keys: Seq, queries: Seq) -> Selector:
    if "pairs" in node:
        pairs = {(rational(there), rational(here)) for there, here in node["pairs"]}
        return Relation(
            keys, queries, Function(lambda there, here: (there, here) in pairs, "pairs", lazy=True)
        )
    predicate = node["predicate"]
    if predicate == "true":
        return everywhere()
    if predicate == "false":
        return ~everywhere()
    if predicate not in PREDICATES:
        raise TinyadderError(f"node {node['id']!r} has the unknown predicate {predicate!r}")
    return Relation(keys, queries, PREDICATES[predicate])
