"""The checker's own reading of a program: a graph of nodes as functions of bases.

A base is what a position is described by: its token, its position, its copy, and the value of every
node that looks at other positions. Every other node is a function of bases, evaluated here from the
graph alone. Standard library only.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import product
from math import gcd, lcm
from typing import Any

from tinyadder.verify.certify.check.intervals import need

MOST = 30_000
"""The most combinations of values of bases that are gone through."""
MOST_PAIRS = 250_000
"""The most pairs of descriptions of positions that are compared to find an order."""
MARK = "|"
"""What stands between the copies of a text."""
TOKEN, INDEX, COPY = "token", "index", "copy"
Base = str | int
"""TOKEN, INDEX, COPY (which copy of the text it is), or the number of a node that reads others."""
READS = ("count", "sum", "mean", "pick", "latest", "earliest")
SELECTORS = ("relation", "both", "either", "except", "everywhere")
FUNCTIONS: dict[str, Any] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "*": operator.mul,
    "%": operator.mod,
    "//": operator.floordiv,
    "minimum": min,
    "maximum": max,
    "&": lambda a, b: bool(a and b),
    "|": lambda a, b: bool(a or b),
    "~": lambda a: not a,
}


def plain(value: Any) -> Any:
    """A value of the graph: lists are tuples, {"ratio": [a, b]} a fraction."""
    if isinstance(value, dict):
        return Fraction(*value["ratio"])
    return tuple(map(plain, value)) if isinstance(value, list) else value


def number(value: Any) -> bool:
    return isinstance(value, int | Fraction)


class Meaning:
    """The graph, the value set of every base, and every node as a function of bases."""

    def __init__(self, graph: dict[str, Any], length: int, copies: int) -> None:
        self.copies = copies
        self.nodes, self.length, self.causal = graph["nodes"], length, graph["causal"] is True
        self.letters = {name: plain(value) for value, name in graph["inputs"]}
        self.answers = {plain(value): name for value, name in graph["outputs"]}
        need(len(self.answers) == len(graph["outputs"]), "two answers have one value")
        letters = len(set(self.letters.values()))
        need(letters == len(self.letters) == len(graph["inputs"]), "two tokens have one value")
        need("start" not in graph and "end" not in graph, "no rule covers programs that write")
        self.output = graph["output"]
        for number_, node in enumerate(self.nodes):
            need(all(0 <= i < number_ for i in node["inputs"]), "a node reads a later one")
        self._tables: dict[int, dict] = {}
        self._supports: dict[Base, list[Any]] = {}
        self._bases: dict[int, tuple[Base, ...]] = {}
        self._memo: dict[tuple, Any] = {}
        self.partial: set[int] = set()
        """The nodes `pick` that have no value on some texts: where two positions are selected."""

    # ---- bases ----

    def bases(self, node: int) -> tuple[Base, ...]:
        """The bases that a node is a function of."""
        if node not in self._bases:
            op, inputs = self.nodes[node]["op"], self.nodes[node]["inputs"]
            if op in READS:
                found: tuple[Base, ...] = (node,)
            elif op in ("tokens", "indices"):
                found = (TOKEN,) if op == "tokens" else (INDEX,)
            else:
                need(op in ("constant", "affine", "map"), f"no rule covers the operation {op!r}")
                found = tuple(dict.fromkeys(b for i in inputs for b in self.bases(i)))
            self._bases[node] = found
        return self._bases[node]

    def support(self, base: Base) -> list[Any]:
        """Every value that a base can have (and perhaps more)."""
        if base not in self._supports:
            if base == TOKEN:
                self._supports[base] = list(self.letters.values())
            elif base == INDEX:
                self._supports[base] = list(range(self.length))
            elif base == COPY:
                self._supports[base] = list(range(self.copies + 1))
            else:
                self._supports[base] = self._read(int(base))
        return self._supports[base]

    def _read(self, node: int) -> list[Any]:
        op, inputs = self.nodes[node]["op"], self.nodes[node]["inputs"]
        most = 1 if op == "pick" or self.single(inputs[0]) else self.length
        least = 1 if self.nonempty(inputs[0], single=op == "pick") else 0
        if op == "count":
            return list(range(least, most + 1))
        values = self.values(inputs[1])
        if op == "sum":
            need(all(map(number, values)), "a sum of values that are not numbers")
            return spread([min(0, *values) * most, max(0, *values) * most], grid([0, *values]))
        found = values
        if op == "pick" and not self.single(inputs[0]):
            self.partial.add(node)
        if op == "mean" and most > 1:
            need(all(map(number, values)), "a mean of values that are not numbers")
            found = means(values, most)
        default = self.default(self.nodes[node])
        return found if least or default in found else [*found, default]

    def values(self, node: int) -> list[Any]:
        """Every value that a node can have."""
        bases = self.bases(node)
        return list(dict.fromkeys(self.at(node, bases, row) for row in self.rows(bases)))

    def rows(self, bases: Sequence[Base]) -> Iterator[tuple]:
        """Every combination of values of these bases that a position can have (rule PLACE: it lies
        before the end of its text).
        """
        size = reduce(operator.mul, (len(self.support(b)) for b in bases), 1)
        need(size <= MOST, f"{size:,} combinations of {len(bases)} bases, more than {MOST:,}")
        found = product(*(self.support(b) for b in bases))
        lengths = [k for k, base in enumerate(bases) if self.is_length(base)]
        if not lengths or (INDEX not in bases and len(lengths) < 2):
            return found
        place = bases.index(INDEX) if INDEX in bases else lengths[0]
        least = int(INDEX in bases)
        first = lengths[0]
        return (
            row
            for row in found
            if all(row[k] == row[first] for k in lengths) and row[place] + least <= row[first]
        )

    @staticmethod
    def default(node: dict[str, Any]) -> Any:
        """What a node that selects nothing is."""
        return plain(node["default"])

    # ---- pointwise nodes ----

    def at(self, node: int, bases: Sequence[Base], row: Sequence[Any]) -> Any:
        """The node's value where these bases have these values."""
        return self.value(node, dict(zip(bases, row, strict=True)))

    def value(self, node: int, row: dict[Base, Any]) -> Any:
        if node in row:
            return row[node]
        data = self.nodes[node]
        op = data["op"]
        if op in ("tokens", "indices"):
            return row[TOKEN if op == "tokens" else INDEX]
        if op == "constant":
            return plain(data["value"])
        values = [self.value(i, row) for i in data["inputs"]]
        if op == "affine":
            if None in values:
                return None
            factors = [plain(f) for f in data["factors"]]
            total = Fraction(plain(data["offset"]))
            return total + sum(f * v for f, v in zip(factors, values, strict=True))
        need(op == "map", f"no rule covers the operation {op!r}")
        name = data.get("function")
        if name == "where":
            return None if values[0] is None else values[1] if values[0] else values[2]
        if name is not None:
            return None if None in values else FUNCTIONS[name](*values)
        if node not in self._tables:
            rows = [[plain(v) for v in entry] for entry in data["table"]]
            self._tables[node] = {tuple(entry[:-1]): entry[-1] for entry in rows}
        need(tuple(values) in self._tables[node], f"the table of node {node} lacks {values}")
        return self._tables[node][tuple(values)]

    # ---- selectors ----

    def relations(self, selector: int) -> list[int]:
        """The comparisons that a selector is made of."""
        data = self.nodes[selector]
        if data["op"] == "relation":
            return [selector]
        need(data["op"] in SELECTORS, "a selector is made of something else")
        return [r for i in data["inputs"] for r in self.relations(i)]

    def key_bases(self, selector: int) -> tuple[Base, ...]:
        keys = [self.nodes[r]["inputs"][0] for r in self.relations(selector)]
        return tuple(dict.fromkeys(b for k in keys for b in self.bases(k)))

    def query_bases(self, selector: int) -> tuple[Base, ...]:
        queries = [self.nodes[r]["inputs"][1] for r in self.relations(selector)]
        return tuple(dict.fromkeys(b for q in queries for b in self.bases(q)))

    def selects(self, selector: int, there: dict[Base, Any], here: dict[Base, Any]) -> bool:
        """Whether a position described by `there` is selected from one described by `here`."""
        data = self.nodes[selector]
        op, inputs = data["op"], data["inputs"]
        if op == "everywhere":
            return True
        if op == "both":
            return all(self.selects(i, there, here) for i in inputs)
        if op == "either":
            return any(self.selects(i, there, here) for i in inputs)
        if op == "except":
            return not self.selects(inputs[0], there, here)
        a, b = self.value(inputs[0], there), self.value(inputs[1], here)
        if "pairs" in data:
            name = ("pairs", selector)
            if name not in self._memo:
                self._memo[name] = {(plain(k), plain(q)) for k, q in data["pairs"]}
            return (a, b) in self._memo[name]
        if data["function"] in ("==", "!="):
            return (a == b) == (data["function"] == "==")
        return a is not None and b is not None and bool(FUNCTIONS[data["function"]](a, b))

    def _sides(self, selector: int) -> tuple[tuple[Base, ...], tuple[Base, ...]]:
        return self.key_bases(selector), self.query_bases(selector)

    def is_length(self, base: Base) -> bool:
        """Whether the base is the length of the text: the count of everything."""
        if not isinstance(base, int) or self.causal or self.nodes[base]["op"] != "count":
            return False
        return self.nodes[self.nodes[base]["inputs"][0]]["op"] == "everywhere"

    def possible(self, here: dict[Base, Any], there: dict[Base, Any]) -> bool:
        """Whether two positions of one text can be so: both lie before its length."""
        lengths = [v for row in (here, there) for b, v in row.items() if self.is_length(b)]
        places = [row[INDEX] for row in (here, there) if INDEX in row]
        return len(set(lengths)) < 2 and all(p < n for p in places for n in lengths)

    def _by_place(self, selector: int) -> list[tuple[dict[Base, Any], list[int]]] | None:
        """(query, selected positions) where positions and the length alone decide, else None."""
        keys, queries = self._sides(selector)
        if INDEX not in keys or not all(b == INDEX or self.is_length(b) for b in keys):
            return None
        lengths = [b for b in keys if b != INDEX]
        bases = tuple(dict.fromkeys([*queries, *lengths]))
        found = []
        for row in self.rows(bases):
            here = dict(zip(bases, row, strict=True))
            if self.possible(here, {}):
                of_text = {b: here[b] for b in lengths}
                places = [{INDEX: k, **of_text} for k in range(self.length)]
                chosen = [
                    there[INDEX]
                    for there in places
                    if self.possible(here, there) and self.selects(selector, there, here)
                ]
                found.append((here, chosen))
        return found

    def single(self, selector: int) -> bool:
        """Whether no position ever selects two: where positions alone decide, or the keys are
        ranks.
        """
        data = self.nodes[selector]
        if data["op"] == "both" and any(self.single(i) for i in data["inputs"]):
            return True
        found = self._by_place(selector)
        if found is not None:
            return all(len(chosen) <= 1 for _, chosen in found)
        return self._equals(selector) and self.rank(data["inputs"][0]).distinct

    def nonempty(self, selector: int, *, single: bool = False) -> bool:
        """Whether every position selects some position: itself, one that is surely there by
        positions alone, or the one of its rank. `single`: two are never selected.
        """
        keys, queries = self._sides(selector)
        both = tuple(dict.fromkeys([*keys, *queries]))
        if all(
            self.selects(selector, here, here)
            for here in (dict(zip(both, row, strict=True)) for row in self.rows(both))
        ):
            return True
        data = self.nodes[selector]
        if self._equals(selector) and self.nodes[data["inputs"][1]]["op"] == "indices":
            rank = self.rank(data["inputs"][0])
            if rank.inside and (single or rank.distinct):
                return True  # n distinct numbers below n are all of them
        found = self._by_place(selector)
        if found is None:
            return False
        if not all(b == INDEX or self.is_length(b) for b in queries):
            return False
        if any(self.is_length(b) for b in both):
            return all(chosen for _, chosen in found)
        return all(
            any(k <= here.get(INDEX, 0) for k in chosen) for here, chosen in found
        )  # without the length, only what lies before is surely there

    def _equals(self, selector: int) -> bool:
        data = self.nodes[selector]
        return data["op"] == "relation" and "pairs" not in data and data["function"] == "=="

    # ---- ranks ----

    def rank(self, node: int) -> Rank:
        """Rule RANK: what is known of the node as a numbering of the positions of a text of n
        tokens.

        The node is a sum of counts of selectors of which at most one holds for any two positions,
        and always or never one for a position and itself, plus an offset that makes up for that. So
        it lies in 0 .. n - 1. Where a number can be given to every description of a position such
        that one position is counted at another exactly if its number is smaller, and no two
        positions have equal numbers, the node is the place in that order.
        """
        if ("rank", node) not in self._memo:
            self._memo["rank", node] = self._rank(node)
        return self._memo["rank", node]

    def _rank(self, node: int) -> Rank:
        data, nothing = self.nodes[node], Rank(False, False)
        counts, offset = [node], 0
        if data["op"] == "affine":
            counts, offset = data["inputs"], plain(data["offset"])
            if any(plain(f) != 1 for f in data["factors"]):
                return nothing
        if self.causal or not counts or any(self.nodes[c]["op"] != "count" for c in counts):
            return nothing
        selectors = [self.nodes[c]["inputs"][0] for c in counts]
        bases = tuple(dict.fromkeys([INDEX, *(b for s in selectors for b in self._both(s))]))
        places = [dict(zip(bases, row, strict=True)) for row in self.rows(bases)]
        places = [place for place in places if self.possible(place, {})]
        need(len(places) ** 2 <= MOST_PAIRS, f"{len(places):,} descriptions are too many to rank")

        def counted(there: dict[Base, Any], here: dict[Base, Any]) -> int:
            return sum(self.selects(s, there, here) for s in selectors)

        alone = {counted(place, place) for place in places}
        pairs = [[counted(there, here) for there in places] for here in places]
        if max(map(max, pairs)) > 1 or alone != {-offset}:
            return nothing
        numbers = [sum(row) for row in pairs]
        distinct = all(
            numbers[k] != numbers[q] and bool(pairs[q][k]) == (numbers[k] < numbers[q])
            for q, here in enumerate(places)
            for k, there in enumerate(places)
            if there[INDEX] != here[INDEX] and self.possible(here, there)
        )
        return Rank(True, distinct)

    def _both(self, selector: int) -> tuple[Base, ...]:
        keys, queries = self._sides(selector)
        return (*keys, *queries)


@dataclass(frozen=True)
class Rank:
    """Of a node: whether it is always one of 0 .. n - 1, and never the same at two positions."""

    inside: bool
    distinct: bool


def grid(numbers: Sequence[Any]) -> Fraction:
    """The largest step on which all these numbers lie, from the first on."""
    steps = [abs(Fraction(n) - numbers[0]) for n in numbers if n != numbers[0]]
    if not steps:
        return Fraction(1)
    scale = reduce(lcm, (s.denominator for s in steps), 1)
    return Fraction(reduce(gcd, (int(s * scale) for s in steps)), scale)


def spread(ends: Sequence[Any], step: Fraction) -> list[Any]:
    """Every number of the grid between the ends."""
    many = (Fraction(ends[1]) - ends[0]) / step
    need(many <= MOST, f"a node can have {many} values, more than {MOST:,}")
    return [ends[0] + step * k for k in range(int(many) + 1)]


def means(values: Sequence[Any], most: int) -> list[Any]:
    """Every mean of 1 to `most` of these numbers."""
    found: set[Fraction] = set()
    sums = {Fraction(0)}
    for many in range(1, most + 1):
        sums = {s + v for s in sums for v in values}
        found |= {s / many for s in sums}
        need(len(found) <= MOST, f"a mean can have more than {MOST:,} values")
    return sorted(found)
