"""A model as a graph of numbers: what `torch.export` gives of a stranger's module, taken apart.

A pass of the decoding is a list of nodes. Node j < length is the token at position j; every other
node is one operation on earlier nodes and constants. Nodes are enclosed in three ways:

- those that depend on one position, or on one and the token at the query, at every token;
- attention: softmax of scores of that kind, and sums of its weights times values of that kind.
  These are weighted means; some of them are called symbols, and a box around them is proved;
- everything after the symbols, as forms of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import Any, NamedTuple

from tinyadder.verify.certify.check.affine import SymbolForm, Symbols, point
from tinyadder.verify.certify.check.curves import CURVES
from tinyadder.verify.certify.check.files import integer
from tinyadder.verify.certify.check.intervals import ZERO, Interval, add, need, neg, size, wider
from tinyadder.verify.certify.check.rounding import ROUNDING, Rounding, weight_of
from tinyadder.verify.certify.check.units import ONE, F, exact, mul, over

NODES = 1 << 20
"""The most nodes of a pass."""
ULPS = {
    "exp": 4,
    "rsqrt": 4,
    "silu": 12,
    "sigmoid": 8,
    "tanh": 8,
    "sqrt": 1,
    "reciprocal": 1,
    "relu": 0,
    "square": 1,
}
"""Errors in units of 2^-p of the result, as assumed; `python -m benchmarks.numerics32` measures
them."""
OF_ARGUMENT = {"gelu": 12, "gelu_tanh": 12}
"""Errors in units of 2^-p of the argument: these functions cancel far left."""
BINARY = ("add", "sub", "mul", "div")
SOFTMAX_ROUNDINGS = 2
"""Of a weight, besides those of exp and of sums: a quotient, or an inverse and a product."""
MINUS_INFINITY = "-inf"

RULES = {
    "NODE": "what depends on one token, or on one and that at the query, is enclosed at every"
    " token; an operation is its exact result and its rounding",
    "LINEAR": "fl(sum of n products) lies within gamma(n) times the sum of their sizes",
    "SOFTMAX": "a weighted mean of values: sum p v / sum p, p = exp(score - largest), with the"
    " rounding of the difference and of exp in p, and 2 n + 2 roundings in all that follows",
    "MEAN": "a sum of constants times means of one softmax, and a constant, is a mean again: of the"
    " same sum of values",
    "BOX": "a mean is at least b if sum p (v - b) >= 0 on every text of the branch: near positions"
    " by a shortest path, far ones at most their weight times the spread of values",
    "FORM": "c + sum slope d for the distance d of each symbol from the middle of its box, met with"
    " an interval",
    "MUL": "f g = m g + k f - m k + (f - m)(g - k)",
    "TAYLOR": "g(x) = g(m) + g'(m)(x - m) + g''(y)(x - m)^2 / 2, met with the values on the range",
    "RELU": "itself, 0, or between 0 and a chord",
    "CUT": "a box is decided by one enclosure, or by those of its halves",
    "READ": "the difference of two logits as one sum of nodes; a positive factor that all share is"
    " left out",
}
"""The rules of a proof about a graph; docs/proofs.md has them in full."""


class Mean(NamedTuple):
    """A weighted mean: its softmax, what it has at each position, and how far what is computed
    may lie from the exact mean.
    """

    softmax: int
    nodes: tuple[tuple[int, Interval], ...]
    """Which nodes make up the mean, each with its factor: means of values, see `values`."""
    shift: Interval
    error: int


def runs(data: Any, least: int, most: int, count: int | None = None) -> list[int]:
    """Integers that are written as [first, step, how many, ..]."""
    found: list[int] = []
    need(type(data) is list and len(data) % 3 == 0, "indices are not written as runs")
    for k in range(0, len(data), 3):
        first, step, times = data[k], data[k + 1], integer(data[k + 2], 1, NODES)
        integer(step, -NODES, NODES)
        for value in (first, first + step * (times - 1)):
            integer(value, least, most)
        found += range(first, first + step * times, step) if step else [first] * times
        need(len(found) <= 8 * NODES, "too many indices")
    need(count is None or len(found) == count, "another number of indices")
    return found


class Graph:
    """The passes of a model, and its constants."""

    def __init__(self, data: Any) -> None:
        need(set(data) == {"dtype", "constants", "passes"}, "a graph has other parts")
        need(data["dtype"] in ROUNDING, "no rules for numbers of this type")
        self.dtype, self.rounding = data["dtype"], ROUNDING[data["dtype"]]
        self.constants: list[Interval | None] = []
        for text in data["constants"]:
            need(type(text) is str, "a constant is not a number")
            value = -inf if text == MINUS_INFINITY else float.fromhex(text)
            need(value == -inf or isfinite(value), "a constant is not finite")
            need(text == MINUS_INFINITY or value.hex() == text, "a constant is not as float.hex")
            self.constants.append(None if value == -inf else exact(value))
        self.passes = [self.one(part) for part in data["passes"]]

    def one(self, data: Any) -> list[Any]:
        """Nodes, logits, number of tokens, position of the query, softmaxes of a pass."""
        need(set(data) == {"length", "row", "steps", "logits"}, "a pass has other parts")
        length = integer(data["length"], 1, 4096)
        row = integer(data["row"], 0, length - 1)
        nodes: list[tuple] = [("token", j) for j in range(length)]
        groups: list[tuple[int, ...]] = []
        least = -len(self.constants)
        for op, k, *operands in data["steps"]:
            integer(k, 1, NODES)
            last = len(nodes) - 1
            lists = [runs(o, least, last) for o in operands]
            if op in BINARY:
                need(len(lists) == 2 and len(lists[0]) == len(lists[1]) and k == 1, f"{op}: sizes")
                nodes += [(op, (a, b)) for a, b in zip(*lists, strict=True)]
            elif op in CURVES or op in ("neg", "square", "abs"):
                need(len(lists) == 1 and k == 1, f"{op}: sizes")
                nodes += [(op, (a,)) for a in lists[0]]
            elif op in ("sum", "max"):
                need(len(lists) == 1 and len(lists[0]) % k == 0, f"{op}: sizes")
                (a,) = lists
                nodes += [(op, tuple(a[n : n + k])) for n in range(0, len(a), k)]
            elif op == "dot":
                need(len(lists) == 2 and len(lists[0]) == len(lists[1]), "dot: sizes")
                a, b = lists
                need(len(a) % k == 0, "dot: sizes")
                nodes += [
                    (op, tuple(a[n : n + k]) + tuple(b[n : n + k])) for n in range(0, len(a), k)
                ]
            elif op == "softmax":
                need(len(lists) == 1 and len(lists[0]) % k == 0, "softmax: sizes")
                for n in range(0, len(lists[0]), k):
                    group = tuple(lists[0][n : n + k])
                    groups.append(group)
                    nodes += [("softmax", group, j, len(groups) - 1) for j in range(k)]
            else:
                need(op == "look", f"no rule covers the operation {op!r:.40}")
                need(len(lists) == 2 and len(lists[0]) == k * len(lists[1]), "look: sizes")
                table, tokens = lists
                need(all(c < 0 for c in table), "a table that depends on tokens")
                need(all(0 <= t < length for t in tokens), "a table that no token looks up")
                nodes += [
                    ("look", t, tuple(table[n * k : n * k + k])) for n, t in enumerate(tokens)
                ]
            need(len(nodes) <= NODES, "a pass has too many nodes")
        logits = runs(data["logits"], 0, len(nodes) - 1)
        return [nodes, logits, length, row, groups]


class Reading:
    """What is known of the numbers of one pass."""

    def __init__(
        self, graph: Graph, which: int, *, smallest: bool, outputs: list[str] | None = None
    ) -> None:
        self.graph, self.rounding = graph, graph.rounding
        self.nodes, self.logits, self.length, self.row, self.groups = graph.passes[which]
        self.outputs = outputs or [str(c) for c in range(len(self.logits))]
        need(len(self.outputs) == len(self.logits), "the pass has another number of logits")
        self.smallest = smallest
        self.positions = self.depends()
        self.at: dict[tuple, Interval] = {}
        self.sums: dict[tuple[str, str], Any] = {}
        self.own = ""
        self.means: dict[int, Mean | None] = {}
        self.known: dict[str, dict[int, Mean | None]] = {}
        self.symbols: tuple[int, ...] = ()

    def depends(self) -> list[frozenset[int]]:
        """The positions whose tokens a node depends on."""
        found: list[frozenset[int]] = []
        kept: dict[frozenset[int], frozenset[int]] = {}
        for node in self.nodes:
            if node[0] == "token":
                mine = frozenset([node[1]])
            elif node[0] == "look":
                mine = found[node[1]]
            else:
                mine = frozenset().union(*(found[a] for a in node[1] if a >= 0))
            found.append(kept.setdefault(mine, mine))
        return found

    # ---- NODE ------------------------------------------------------------------------------------

    def constant(self, a: int) -> Interval:
        value = self.graph.constants[-1 - a]
        need(value is not None, "minus infinity outside of a softmax")
        assert value is not None
        return value

    def value(self, a: int, tokens: Mapping[int, str]) -> Interval:
        """A node where the tokens that it depends on are known."""
        if a < 0:
            return self.constant(a)
        need(
            self.positions[a] <= tokens.keys(),
            "a number depends on more tokens than a score or a value may",
        )
        key = (a, *(tokens[p] for p in sorted(self.positions[a])))
        if key not in self.at:
            node = self.nodes[a]
            op = node[0]
            if op == "look":
                which = int(tokens[self.nodes[node[1]][1]])
                need(0 <= which < len(node[2]), "a token beyond a table")
                self.at[key] = self.constant(node[2][which])
            else:
                need(op not in ("token", "softmax"), "a token or a softmax taken for a number")
                given = [self.value(b, tokens) for b in node[1]]
                self.at[key] = self.computed(op, [point(x) for x in given], Symbols(())).r
        return self.at[key]

    def rounded(self, form: SymbolForm, roundings: int, more: int, symbols: Symbols) -> SymbolForm:
        """The form and so many roundings, and an error."""
        r = self.rounding
        error = (r.gamma(roundings) * size(form.r) >> F) + 1 + (roundings + 1) * r.tiny + more
        need(size(form.r) < r.largest, "a number may overflow")
        if not form.slopes:
            return point(wider(form.r, error))
        return symbols.made(wider(form.c, error), form.slopes, wider(form.r, error))

    def computed(self, op: str, x: list[SymbolForm], symbols: Symbols) -> SymbolForm:
        """LINEAR, MUL, TAYLOR, RELU: one operation, rounded."""
        one = (ONE, ONE)
        if op in ("add", "sub"):
            sign = one if op == "add" else (-ONE, -ONE)
            return self.rounded(symbols.linear([(one, x[0]), (sign, x[1])], 0), 1, 0, symbols)
        if op == "neg":
            return symbols.linear([((-ONE, -ONE), x[0])], 0)
        if op == "abs":
            low, high = x[0].r
            least = 0 if low <= 0 <= high else min(abs(low), abs(high))
            return point((least, max(abs(low), abs(high))))
        if op == "mul":
            return self.rounded(self.times(x[0], x[1], symbols), 1, 0, symbols)
        if op == "div":
            return self.rounded(symbols.quotient(*x), 1, 0, symbols)
        if op == "square":
            return self.rounded(symbols.square(x[0]), 1, 0, symbols)
        need(op != "max", "a largest number that is not that of a softmax")
        if op in ("sum", "dot"):
            k = len(x) if op == "sum" else len(x) // 2
            pairs = [(point(one), y) for y in x] if op == "sum" else [*zip(x, x[k:])]  # noqa: B905
            terms: list[tuple[Interval, SymbolForm]] = []
            magnitude = 0
            for f, g in pairs:
                magnitude += (size(f.r) * size(g.r) >> F) + 1
                if not f.slopes:
                    terms.append((f.r, g))
                elif not g.slopes:
                    terms.append((g.r, f))
                else:
                    terms.append((one, symbols.product(f, g)))
            need(magnitude < self.rounding.largest, "a number may overflow")
            return symbols.linear(terms, self.rounding.sum_error(k, magnitude))
        found = symbols.curve(x[0], op)
        if op in OF_ARGUMENT:
            error = self.rounding.gamma(OF_ARGUMENT[op]) * size(x[0].r) >> F
            return self.rounded(found, 1, error + (ONE >> 80), symbols)
        # far left, where exp overflows, sigmoid and silu may be 0
        more = ONE >> 80 if op in ("silu", "sigmoid", "tanh") else 0
        return self.rounded(found, ULPS[op], more, symbols)

    @staticmethod
    def times(f: SymbolForm, g: SymbolForm, symbols: Symbols) -> SymbolForm:
        if not f.slopes:
            return symbols.linear([(f.r, g)], 0)
        if not g.slopes:
            return symbols.linear([(g.r, f)], 0)
        return symbols.square(f) if f is g else symbols.product(f, g)

    # ---- SOFTMAX and MEAN ------------------------------------------------------------------------

    def enter(self, own: str) -> None:
        """From here on the token at the query is this one."""
        if own != self.own:
            self.own, self.means = own, self.known.setdefault(own, {})

    def local(self, a: int) -> bool:
        """Whether a node depends on no other token than that at the query."""
        return a < 0 or (self.nodes[a][0] != "softmax" and self.positions[a] <= {self.row})

    def local_value(self, a: int) -> Interval:
        return self.value(a, {self.row: self.own})

    def keys(self, softmax: int, values: list[dict[int, int]]) -> dict[int, tuple[int, int]]:
        """Position -> (index in the softmax, node of the score), of what is not masked: the one
        token besides that at the query which its score and its values depend on.
        """
        found: dict[int, tuple[int, int]] = {}
        for index, a in enumerate(self.groups[softmax]):
            if self.masked(a):
                continue
            read = [a, *(v[index] for v in values if index in v)]
            others = frozenset().union(*(self.positions[n] for n in read if n >= 0)) - {self.row}
            need(
                len(others) <= 1,
                "a score or a value depends on more than one token besides that at the query:"
                " a second block, or attention over attention",
            )
            position = min(others) if others else self.row
            need(position not in found, "two scores of one token")
            found[position] = index, a
        need(len(found) > 0, "a softmax of nothing")
        return found

    def masked(self, a: int) -> bool:
        """SOFTMAX: whether a score is minus infinity: itself, or by a mask that is added to it."""
        if a < 0:
            return self.graph.constants[-1 - a] is None
        op, given = self.nodes[a][:2]
        return op == "add" and any(b < 0 and self.graph.constants[-1 - b] is None for b in given)

    def mean(self, a: int) -> Mean | None:
        """MEAN: a node as a weighted mean; None where it is none."""
        if a not in self.means:
            self.means[a] = self.found_mean(a)
        return self.means[a]

    def found_mean(self, a: int) -> Mean | None:
        if self.local(a) or self.nodes[a][0] in ("softmax", "token", "look"):
            return None
        op, given = self.nodes[a]
        terms: list[tuple[Interval, int]] = []
        one = (ONE, ONE)
        if op == "dot":
            k = len(given) // 2
            pairs = list(zip(given[:k], given[k:], strict=True))
            if any(x >= 0 and self.nodes[x][0] == "softmax" for pair in pairs for x in pair):
                return self.mixed(a, pairs)
            for x, y in pairs:
                if self.local(x):
                    terms.append((self.local_value(x), y))
                elif self.local(y):
                    terms.append((self.local_value(y), x))
                else:
                    return None
        elif op in ("add", "sub"):
            terms = [(one, given[0]), (one if op == "add" else neg(one), given[1])]
        elif op == "sum":
            terms = [(one, x) for x in given]
        elif op == "neg":
            terms = [(neg(one), given[0])]
        elif op == "mul" and (self.local(given[0]) or self.local(given[1])):
            x, y = given if self.local(given[0]) else given[::-1]
            terms = [(self.local_value(x), y)]
        elif op == "div" and self.local(given[1]):
            divisor = self.local_value(given[1])
            if divisor[0] <= 0:
                return None
            terms = [(over(one, divisor), given[0])]
        else:
            return None
        return self.combined(terms)

    def combined(self, terms: list[tuple[Interval, int]]) -> Mean | None:
        """The sum of constants times means of one softmax, and of constants."""
        softmax: int | None = None
        nodes: dict[int, Interval] = {}
        shift, error, magnitude, r = ZERO, 0, 0, self.rounding
        for w, x in terms:
            if w == ZERO:
                continue
            if self.local(x):
                product = mul(w, self.local_value(x))
                shift, magnitude = add(shift, product), magnitude + size(product)
                continue
            inner = self.mean(x)
            if inner is None or softmax not in (None, inner.softmax):
                return None
            softmax = inner.softmax
            for node, factor in inner.nodes:
                nodes[node] = add(nodes.get(node, ZERO), mul(w, factor))
            shift = add(shift, mul(w, inner.shift))
            error += (size(w) * inner.error >> F) + 1
            most = sum((size(f) * self.largest(n) >> F) + 1 for n, f in inner.nodes)
            most += size(inner.shift) + inner.error
            magnitude += (size(w) * most >> F) + 1
        if softmax is None:
            return None
        # a product and a quotient round as a sum of one term does, a quotient once more
        error += r.sum_error(len(terms) + 1, magnitude)
        return Mean(softmax, tuple(nodes.items()), shift, error)

    def mixed(self, a: int, pairs: list[tuple[int, int]]) -> Mean | None:
        """SOFTMAX: weights times values. Masked ones are 0, and what has no weight here counts as
        a value 0.
        """
        softmax: int | None = None
        seen = set()
        for x, y in pairs:
            first = x >= 0 and self.nodes[x][0] == "softmax"
            weight, value = (x, y) if first else (y, x)
            if weight < 0 or self.nodes[weight][0] != "softmax":
                return None
            _, _, index, group = self.nodes[weight]
            fits = softmax in (None, group) and index not in seen
            if not fits or (value >= 0 and self.nodes[value][0] == "softmax"):
                return None
            softmax = group
            seen.add(index)
        assert softmax is not None
        r, n = self.rounding, len(pairs)
        most = self.largest(a)
        # an underflow of a weight costs at most a value, that of a product itself
        error = (r.gamma(2 * n + SOFTMAX_ROUNDINGS) * most >> F) + 1
        error += (n + 1) * r.tiny * (2 + (most >> F))
        return Mean(softmax, ((a, (ONE, ONE)),), ZERO, error)

    def values(self, a: int) -> dict[int, int]:
        """Index in the softmax -> node of the value, of a node that `mixed` covers."""
        _, given = self.nodes[a]
        k, found = len(given) // 2, {}
        for x, y in zip(given[:k], given[k:], strict=True):
            first = x >= 0 and self.nodes[x][0] == "softmax"
            weight, value = (x, y) if first else (y, x)
            found[self.nodes[weight][2]] = value
        return found

    def text_tokens(self, position: int) -> list[str]:
        return [self.own] if position == self.row else self.texts[position]

    texts: list[list[str]]
    """The tokens that may stand at each position; set by the tree."""

    def largest(self, a: int) -> int:
        """The largest size of a value of `mixed`."""
        _, given = self.nodes[a]
        (group,) = {self.nodes[x][3] for x in given if x >= 0 and self.nodes[x][0] == "softmax"}
        values = self.values(a)
        return max(
            size(self.value_at(values.get(index), position, token))
            for position, (index, _) in self.keys(group, [values]).items()
            for token in self.text_tokens(position)
        )

    def value_at(self, value: int | None, position: int, token: str) -> Interval:
        if value is None:
            return ZERO
        if value < 0:
            return self.constant(value)
        need(
            self.positions[value] <= {position, self.row},
            "a value depends on another token than its score",
        )
        return self.value(value, {self.row: self.own, position: token})

    def table(self, a: int) -> dict[int, dict[str, tuple[Interval, Interval]]]:
        """Of a mean: position -> token -> (weight, value)."""
        mean = self.mean(a)
        need(mean is not None, "a symbol is no weighted mean of values")
        assert mean is not None
        parts = [(factor, self.values(node)) for node, factor in mean.nodes]
        keys = self.keys(mean.softmax, [values for _, values in parts])
        scores = {
            position: {
                token: self.value(node, {self.row: self.own, position: token})
                for token in self.text_tokens(position)
            }
            for position, (_, node) in keys.items()
        }
        for a in self.groups[mean.softmax]:
            if a >= 0 and self.masked(a):
                self.is_finite(*(b for b in self.nodes[a][1] if b >= 0))
        every = [score for table in scores.values() for score in table.values()]
        need(max(map(size, every)) < self.rounding.largest, "a number may overflow")
        top = max(high for _, high in every)
        found: dict[int, dict[str, tuple[Interval, Interval]]] = {}
        for position, (index, _) in keys.items():
            found[position] = {}
            for token, score in scores[position].items():
                low, high = mean.shift
                for factor, values in parts:
                    v = mul(factor, self.value_at(values.get(index), position, token))
                    low, high = low + v[0], high + v[1]
                found[position][token] = weight_of(score, top, self.rounding), (low, high)
        return found

    def is_finite(self, *masked: int) -> None:
        """SOFTMAX: a mask makes minus infinity of every score that is a number: none overflows."""
        for a in masked:
            others = (self.positions[a] - {self.row}) or {self.row}
            need(len(others) == 1, "a masked score depends on several tokens")
            (position,) = others
            for token in self.text_tokens(position):
                self.value(a, {self.row: self.own, position: token})

    # ---- FORM ------------------------------------------------------------------------------------

    def forms(self, box: list[Interval]) -> Any:
        """A function from nodes to forms, for symbols in a box; the box holds the exact means."""
        symbols = Symbols([-((low - high) >> 1) + 1 for low, high in box])
        found: dict[int, SymbolForm] = {}
        for s, (node, (low, high)) in enumerate(zip(self.symbols, box, strict=True)):
            mean = self.mean(node)
            assert mean is not None
            middle = symbols.symbol(s, (low + high) >> 1)
            natural = wider((low, high), mean.error)
            found[node] = symbols.made(wider(middle.c, mean.error), middle.slopes, natural)

        def form(a: int) -> SymbolForm:
            if a < 0:
                return point(self.constant(a))
            if a in found:
                return found[a]
            if self.local(a):
                found[a] = point(self.local_value(a))
                return found[a]
            op = self.nodes[a][0]
            need(op not in ("softmax", "token", "look"), "attention is read beside its symbols")
            given = self.nodes[a][1]
            if op == "mul" and given[0] == given[1]:
                op, given = "square", given[:1]
            found[a] = self.computed(op, [form(b) for b in given], symbols)
            return found[a]

        return form, symbols

    # ---- READ ------------------------------------------------------------------------------------

    def expanded(self, a: int) -> tuple[dict[int, Interval], dict[int, int], int]:
        """A node as a sum: node -> weight, node -> sum of sizes of weights along all ways to it,
        and the most roundings along one. -1 stands for a constant.
        """
        one = {a: (ONE, ONE)}, {a: ONE}, 0
        if self.local(a) or a in self.symbols:
            return one
        op, given = self.nodes[a]
        terms: list[tuple[Interval, int]]
        if op == "dot":
            k, terms = len(given) // 2, []
            for x, y in zip(given[:k], given[k:], strict=True):
                if self.local(x):
                    terms.append((self.local_value(x), y))
                elif self.local(y):
                    terms.append((self.local_value(y), x))
                else:
                    return one
            own = k
        elif op in ("mul", "div") and self.local(given[1]):
            w, own = self.local_value(given[1]), 2
            if op == "div" and w[0] <= 0:
                return one
            terms = [(w if op == "mul" else over((ONE, ONE), w), given[0])]
        elif op == "mul" and self.local(given[0]):
            terms, own = [(self.local_value(given[0]), given[1])], 1
        elif op in ("add", "sub"):
            terms = [
                ((ONE, ONE), given[0]),
                ((ONE, ONE) if op == "add" else (-ONE, -ONE), given[1]),
            ]
            own = 1
        else:
            return one
        weights: dict[int, Interval] = {}
        sizes: dict[int, int] = {}
        most = 0
        for w, x in terms:
            inner, large, roundings = self.expanded(x)
            most = max(most, roundings)
            for node, factor in inner.items():
                weights[node] = add(weights.get(node, ZERO), mul(w, factor))
            for node, s in large.items():
                sizes[node] = sizes.get(node, 0) + (size(w) * s >> F) + 1
        return weights, sizes, most + own

    def difference(self, right: str, other: str) -> Any:
        """(node -> weight, node -> size, roundings, common factor or None) of a lead."""
        key = (right, other)
        if key not in self.sums:
            if self.sums and next(iter(self.sums.values()))[4] != (self.own, self.symbols):
                self.sums = {}
            a, b = (self.expanded(self.logits[self.outputs.index(t)]) for t in key)
            weights = dict(a[0])
            for node, w in b[0].items():
                weights[node] = add(weights.get(node, ZERO), neg(w))
            sizes = dict(a[1])
            for node, s in b[1].items():
                sizes[node] = sizes.get(node, 0) + s
            if self.smallest:
                weights = {node: neg(w) for node, w in weights.items()}
            shared = [self.factors(node) for node in weights]
            common = set.intersection(*shared) if shared else set()
            self.sums[key] = (
                weights,
                sizes,
                max(a[2], b[2]),
                min(common, default=None),
                (self.own, self.symbols),
            )
        return self.sums[key]

    def factors(self, a: int) -> set[tuple[str, int]]:
        """What a node is multiplied with, or divided by."""
        if a < 0 or self.local(a) or a in self.symbols:
            return set()
        op, given = self.nodes[a]
        return {
            "mul": {("mul", g) for g in given},
            "div": {("div", given[-1])},
        }.get(op, set())

    def rest(self, a: int, common: tuple[str, int]) -> int:
        """The other factor."""
        _, (x, y) = self.nodes[a]
        return x if y == common[1] else y

    def margin(self, box: list[Interval], right: str) -> int:
        """The least lead of the right logit over a box of the symbols; where all that is summed up
        has one positive factor, without it.
        """
        form, symbols = self.forms(box)
        r, least = self.rounding, None
        for other in self.outputs:
            if other == right:
                continue
            weights, sizes, roundings, common, _ = self.difference(right, other)
            known = form(common[1]) if common else None
            bare = known is not None and known.r[0] >= (ONE >> 20) and known.r[1] <= ONE << 20
            terms, magnitude, extra = [], 0, 0
            for node, w in weights.items():
                x = form(self.rest(node, common)) if bare else form(node)
                terms.append((w, x))
                magnitude += (sizes[node] * size(x.r) >> F) + 1
                extra += sizes[node]
            need(extra < ONE << 20 and magnitude < r.largest, "a number may overflow")
            error = r.gamma(roundings + (1 if bare else 0)) * magnitude >> F
            # what underflow takes: each rounding a `tiny`, times the weights after it
            error += 1 + (roundings + 2) * len(terms) * (r.tiny * (1 + (extra >> F)) << 20)
            low = symbols.linear(terms, error).r[0]
            least = low if least is None else min(least, low)
        need(least is not None, "there is one logit only")
        assert least is not None
        return least


def assumed(rounding: Rounding) -> dict[str, str]:
    """What is assumed of the machine that runs the model."""
    bits = rounding.bits
    return {
        "arithmetic": f"IEEE {'binary32' if bits == 24 else 'binary64'}, round to nearest;"
        " products, sums, quotients and roots correctly rounded",
        "sums": "in any order and tree, with or without fused multiply-add",
        **{
            name: f"error at most {ULPS[name]} * 2^-{bits} of the result"
            for name in ("exp", "rsqrt", "silu", "sigmoid", "tanh")
        },
        **{
            name: f"error at most {n} * 2^-{bits} of the argument"
            for name, n in OF_ARGUMENT.items()
        },
        "constants": "what no token reaches is the number that the module computed here",
        "underflow": "gradual or flushed to zero",
        "overflow": "none, checked by magnitudes",
        "outside": "TF32, bfloat16, half precision, Strassen-like products",
    }
