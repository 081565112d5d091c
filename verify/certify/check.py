"""The checker: does this certificate prove that the model in this folder answers every problem of its task rightly?

    python -m verify.certify.check out/add10          exit code 0 proved, 1 rejected, 2 usage

Standard library only, integers and fractions only, nothing shared with the prover. It reads `model.safetensors` and
`model.json` itself, builds the specification itself, recomputes every table from the weights, and checks every shortest
path by its potentials. Numbers are intervals (low, high) of integers, in units of 2^-F; every step rounds outward.

The machine (tinyadder/transformer.py), in binary64 under NUMERICS:
    x = embedding[token]; x += wiring(softmax1(q . k + slope (j - i)) v); x += down(relu(gate x) * up x); logits = U x
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from contextlib import suppress
from math import frexp, gcd, prod
from pathlib import Path

F = 1400
ONE = 1 << F
TINY = 1 << (F - 1021)
NORMAL = 1 << (F - 1000)
ZERO = (0, 0)
NUMERICS = {
    "arithmetic": "IEEE binary64, round to nearest; products, sums, quotients correctly rounded",
    "sums": "inner products and sums in any order and tree, with or without fused multiply-add",
    "exp": "|fl(exp x) - exp x| <= 2^-51 exp x; exp(-inf) = 0",
    "underflow": "gradual or flushed to zero",
    "overflow": "none, checked by magnitudes",
}
RULES = {"EMBED", "LINEAR", "ALIBI", "ATTN", "MUL", "RELU", "READ", "PATH"}
OPTIONS = {
    "options": {
        "softmax": "softmax1", "positions": "alibi", "context": 0, "rotary_base": 10000.0, "scaled": False,
        "projected": False, "biases": True, "norm": "none", "norm_place": "pre", "activation": "relu", "gated": True,
        "dropout": 0.0, "repeat": 1,
    },
    "encoder": [],
    "separator": 0,
}  # fmt: skip
"""Parts of the description that must be what written programs have, if they are there."""


class Rejected(Exception):
    """The certificate does not prove the claim; the text says where."""


def need(fact: bool, otherwise: str) -> None:
    if not fact:
        raise Rejected(otherwise)


# ---- interval arithmetic -------------------------------------------------------------------------


def exact(value: float) -> tuple[int, int]:
    """A float64 as a point (or a unit around it, below 2^-F)."""
    n, d = value.as_integer_ratio()
    return (n << F) // d, -((-n << F) // d)


def add(a, b):
    return a[0] + b[0], a[1] + b[1]


def neg(a):
    return -a[1], -a[0]


def mul(a, b):
    if a == ZERO or b == ZERO:
        return ZERO
    if b[0] == b[1]:
        a, b = b, a
    if a[0] == a[1]:
        x = a[0]
        return (x * b[0] >> F, -(-x * b[1] >> F)) if x >= 0 else (x * b[1] >> F, -(-x * b[0] >> F))
    ends = [x * y for x in a for y in b]
    return min(ends) >> F, -(-max(ends) >> F)


def over(a, b):
    """a / b for b > 0."""
    need(b[0] > 0, "a divisor may be zero")
    return (a[0] << F) // b[1 if a[0] >= 0 else 0], -((-a[1] << F) // b[0 if a[1] >= 0 else 1])


def size(a):
    return max(abs(a[0]), abs(a[1]))


def wider(a, radius):
    return a[0] - radius, a[1] + radius


def join(intervals):
    intervals = list(intervals)
    return min(a for a, _ in intervals), max(b for _, b in intervals)


def gamma(n):
    """n u / (1 - n u) in units of 2^-F, rounded up."""
    return -(-(n << F) // ((1 << 53) - n)) if n else 0


def relative(error):
    """The interval 1 + [-error, error]."""
    return ONE - error, ONE + error


UNIT, EXP = relative(1 << (F - 53)), relative(1 << (F - 51))
W = 256
LN2 = 2 * sum((1 << (W + 32)) // ((2 * k + 1) * 3 ** (2 * k + 1)) for k in range(200))


def exp(x):
    """exp of a number in units of 2^-F, as an interval; relative width below 2^-200.

    x = k ln 2 + r; the series at r / 2^8, squared 8 times, in units of 2^-W. Each of the < 64 operations loses a unit,
    squaring doubles what was lost, k ln 2 (|k| < 2^12) less than 2^12: below 2^32 units altogether.
    """
    if x < -2000 << F:
        return 0, 1
    need(x < 64 << F, "an exponent is too large")
    k = (x << 32) // (LN2 << (F - W))
    r = (x >> (F - W)) - (k * LN2 >> 32)
    t, term, total, n = r >> 8, 1 << W, 1 << W, 1
    while term:
        term = term * t // (n << W)
        term += term == -1
        total, n = total + term, n + 1
    for _ in range(8):
        total = total * total >> W
    shift, slack = F - W + k, 1 << 32
    low, high = total - slack, total + slack
    return (low << shift, high << shift) if shift >= 0 else (low >> -shift, -(-high >> -shift))


def exp_interval(a):
    return exp(a[0])[0], exp(a[1])[1]


def nearest(a):
    """Rounding to nearest of a single result: exact where the result is known exactly and is not tiny."""
    if a == ZERO:
        return ZERO
    if a[0] == a[1] and abs(a[0]) > NORMAL:
        return exact(a[0] / ONE)
    return wider(mul(a, UNIT), TINY)


def is_double(a):
    return a[0] == a[1] and exact(a[0] / ONE) == a


def rounded_sum(terms, scaled):
    """fl of a sum of products; `scaled`: each product was with a power of two and did not round. Rule LINEAR."""
    terms = [t for t in terms if t != ZERO]
    if not terms:
        return ZERO
    whole = sum(t[0] for t in terms), sum(t[1] for t in terms)
    if all(a == b for a, b in terms):
        if len(terms) == 1:
            return nearest(terms[0])
        grid = gcd(*(a for a, _ in terms))
        grid &= -grid
        if grid > NORMAL and sum(abs(a) for a, _ in terms) < grid << 53:
            return whole
        if len(terms) == 2 and all(is_double(t) for t in terms):
            return nearest(whole)
    error = gamma(len(terms) - 1 + (not scaled)) * sum(size(t) for t in terms)
    return wider(whole, -(-error >> F) + TINY * len(terms))


# ---- separable forms -----------------------------------------------------------------------------


class Form:
    """c + sum of tables over tokens + sum of alpha * symbol."""

    def __init__(self, c=ZERO, tables=None, symbols=None):
        self.c, self.tables, self.symbols = c, tables or {}, symbols or {}

    @property
    def constant(self):
        return not self.tables and not self.symbols

    def only(self, i):
        return not self.symbols and set(self.tables) <= {i}

    def zero(self):
        return self.constant and self.c == ZERO

    def plus(self, other):
        tables, symbols = dict(self.tables), dict(self.symbols)
        for p, table in other.tables.items():
            tables[p] = {t: add(tables[p][t], b) for t, b in table.items()} if p in tables else table
        for s, alpha in other.symbols.items():
            symbols[s] = add(symbols.get(s, ZERO), alpha)
            if symbols[s] == ZERO:
                del symbols[s]
        return Form(add(self.c, other.c), tables, symbols)

    def times(self, factor):
        if factor == ZERO:
            return Form()
        tables = {p: {t: mul(b, factor) for t, b in table.items()} for p, table in self.tables.items()}
        return Form(mul(self.c, factor), tables, {s: mul(a, factor) for s, a in self.symbols.items()})

    def wider(self, radius):
        return Form(wider(self.c, radius), self.tables, self.symbols)

    def at(self, i, token):
        if i not in self.tables:
            return self
        rest = {p: table for p, table in self.tables.items() if p != i}
        return Form(add(self.c, self.tables[i][token]), rest, self.symbols)

    def entries(self, i, tokens):
        return {t: add(self.c, self.tables[i][t]) if i in self.tables else self.c for t in tokens}


def tabulated(i, table):
    values = set(table.values())
    return Form(values.pop()) if len(values) == 1 else Form(ZERO, {i: table})


def merged(i, cases):
    """One form for all cases of the token at i: what is constant in a case into a table, the rest into hulls."""
    forms = list(cases.values())
    if len(forms) == 1:
        return forms[0]
    found = tabulated(i, {t: form.c for t, form in cases.items()})
    for p in {p: None for form in forms for p in form.tables}:
        tokens = next(form.tables[p] for form in forms if p in form.tables)
        found.tables[p] = {t: join(f.tables[p][t] if p in f.tables else ZERO for f in forms) for t in tokens}
    found.symbols = {s: join(f.symbols.get(s, ZERO) for f in forms) for form in forms for s in form.symbols}
    return found


class OpenSign(Rejected):
    """The sign of a gate at the query is neither claimed nor split on."""


class View:
    """What each number of the forward pass can be; at position `position` under what the branch knows of it."""

    def __init__(self, net, tokens, position=None, base=None, own=None):
        self.net, self.texts, self.position, self.base, self.own = net, tokens, position, base or self, own
        self.memo, self.definitions, self.lows, self.highs, self.phases = {}, {}, {}, {}, {}

    def branch(self):
        found = View(self.net, self.texts, self.position, self.base, self.own)
        for name in ("memo", "definitions", "lows", "highs", "phases"):
            setattr(found, name, dict(getattr(self, name)))
        return found

    def part(self):
        """A part of the branch: the attention is kept, the stream and the units are computed anew."""
        found = self.branch()
        found.memo = {k: f for k, f in self.memo.items() if k[0] in ("query", "key", "value", "weights", "mixed")}
        return found

    def here(self, i):
        return self if self.position in (None, i) else self.base

    def tokens(self, i):
        return [self.own] if self.own is not None and i == self.position else self.texts[i]

    def low(self, form):
        found = form.c[0] + sum(min(a for a, _ in table.values()) for table in form.tables.values())
        for symbol, alpha in form.symbols.items():
            found += mul(alpha, self.range(symbol))[0]
        return found

    def range(self, symbol):
        return self.lows[symbol], self.highs[symbol]

    def high(self, form):
        tables = {p: {t: neg(b) for t, b in table.items()} for p, table in form.tables.items()}
        return -self.low(Form(neg(form.c), tables, {s: neg(a) for s, a in form.symbols.items()}))

    def interval(self, form):
        return form.c if form.constant else (self.low(form), self.high(form))

    def size(self, form):
        return size(self.interval(form))

    def expand(self, form):
        found = Form(form.c, form.tables)
        for symbol, alpha in form.symbols.items():
            found = found.plus(self.definitions[symbol].times(alpha))
        return found

    def symbol(self, key, form):
        """Name a stored number; its range is at least as sharp as what the symbols in `form` give."""
        low, high = self.interval(form)
        self.lows[key], self.highs[key] = max(low, self.lows.get(key, low)), min(high, self.highs.get(key, high))
        self.definitions[key] = self.expand(form)
        return Form(symbols={key: (ONE, ONE)})

    def affine(self, i, weighted, bias=0.0):
        """Rule LINEAR on forms."""
        terms = [(w, form) for w, form in weighted if w != 0 and not form.zero()]
        terms += [(1.0, Form(exact(bias)))] if bias else []
        if not terms:
            return Form()
        if len(terms) == 1 and terms[0][0] == 1:
            return terms[0][1]
        scaled = all(abs(frexp(w)[0]) == 0.5 for w, _ in terms)
        if all(form.only(i) for _, form in terms):
            rows = [(exact(w), form.entries(i, self.tokens(i))) for w, form in terms]
            if all(form.constant for _, form in terms):
                return Form(
                    rounded_sum([mul(w, form.c) for (w, _), (_, form) in zip(rows, terms, strict=False)], scaled)
                )
            return tabulated(i, {t: rounded_sum([mul(w, row[t]) for w, row in rows], scaled) for t in self.tokens(i)})
        found, magnitude = Form(), 0
        for w, form in terms:
            found = found.plus(form if w == 1 else form.times(exact(w)))
            magnitude += mul(exact(abs(w)), (0, self.size(form)))[1]
        error = -(-gamma(len(terms) - 1 + (not scaled)) * magnitude >> F)
        return found.wider(error + TINY * len(terms))

    def cached(self, i, key, compute):
        view = self.here(i)
        if view is not self:
            return view.cached(i, key, lambda: getattr(view, compute[0])(*compute[1:]))
        if key not in self.memo:
            self.memo[key] = compute() if callable(compute) else getattr(self, compute[0])(*compute[1:])
        return self.memo[key]

    def before(self, layer, i, column):
        return self.cached(i, ("before", layer, i, column), ("_before", layer, i, column))

    def _before(self, layer, i, column):
        if layer == 0:
            rows = self.net.embedding
            return tabulated(i, {t: exact(rows[self.net.vocabulary.index(t)][column]) for t in self.tokens(i)})
        block, found = self.net.layers[layer - 1], self.middle(layer - 1, i, column)
        if block.hidden:
            down = block.down[column]
            units = self.affine(i, [(w, self.unit(layer - 1, i, n)) for n, w in enumerate(down) if w])
            found = self.affine(i, [(1, found), (1, units)])
        return found

    def middle(self, layer, i, column):
        return self.cached(i, ("middle", layer, i, column), ("_middle", layer, i, column))

    def _middle(self, layer, i, column):
        block, found = self.net.layers[layer], self.before(layer, i, column)
        if block.heads:
            wired = [(r[column], h, v) for h, head in enumerate(block.wiring) for v, r in enumerate(head) if r[column]]
            found = self.affine(
                i, [(1, found), (1, self.affine(i, [(w, self.mixed(layer, i, h, v)) for w, h, v in wired]))]
            )
        if self.position is not None and len(found.symbols) + len(found.tables) > 1:
            return self.symbol(("middle", layer, column), found)
        return found

    def row(self, layer, i, kind, *index):
        return self.cached(i, (kind, layer, i, *index), ("_row", layer, i, kind, *index))

    def _row(self, layer, i, kind, *index):
        weights, bias = getattr(self.net.layers[layer], kind), getattr(self.net.layers[layer], f"{kind}_bias")
        for n in index:
            weights, bias = weights[n], bias[n]
        stream = self.before if kind in ("query", "key", "value") else self.middle
        return self.affine(i, [(w, stream(layer, i, c)) for c, w in enumerate(weights) if w], bias)

    def mixed(self, layer, i, head, row):
        return self.cached(i, ("mixed", layer, i, head, row), ("_mixed", layer, i, head, row))

    def _mixed(self, layer, i, head, row):
        queries = [self.row(layer, i, "query", head, r) for r in range(len(self.net.layers[layer].query[head]))]
        if any(i in q.tables for q in queries):
            found = merged(
                i, {t: self.attend(layer, i, head, row, t, [q.at(i, t) for q in queries]) for t in self.tokens(i)}
            )
        else:
            found = self.attend(layer, i, head, row, None, queries)
        return found if self.position is None or found.only(i) else self.symbol(("mixed", layer, head, row), found)

    def attend(self, layer, i, head, row, own, queries):
        """Rule ATTN: sum_j p_ij v_j, given the token at i if `own` names it."""
        values = [self.here(j).row(layer, j, "value", head, row) for j in range(i + 1)]
        values = values if own is None else [*values[:-1], values[-1].at(i, own)]
        count, found = sum(not v.zero() for v in values), Form()
        if not count:
            return found
        weights = self.cached(i, ("weights", layer, i, head, own), ("weights", layer, i, head, own, queries))
        for j, (value, weight) in enumerate(zip(values, weights, strict=False)):
            if value.zero():
                continue
            weight = {t: mul(p, relative(gamma(count))) for t, p in weight.items()}
            if value.only(j) and None not in weight:
                entries = value.entries(j, weight)
                part = tabulated(j, {t: mul(b, weight[t]) for t, b in entries.items()})
            else:
                part = self.scaled(value, join(weight.values()))
            found = found.plus(part).wider(-(-TINY * (ONE + self.size(value)) >> F))
        return found

    def scaled(self, form, factor):
        """form * factor, the factor one unknown number; with symbols: its middle, and its radius times |form|."""
        if not form.symbols:
            return form.times(factor)
        middle = (factor[0] + factor[1]) >> 1
        radius = max(factor[1] - middle, middle - factor[0])
        return form.times((middle, middle)).wider(-(-radius * self.size(form) >> F))

    def weights(self, layer, i, head, own, queries):
        """p_ij for every j: by token at j, or under None where it does not depend on that."""
        q, slope, scores = [self.interval(f) for f in queries], exact(self.net.layers[layer].slopes[head]), []
        for j in range(i + 1):
            view = self.here(j)
            keys = [view.row(layer, j, "key", head, r) for r in range(len(q))]
            place = nearest(mul(slope, (j - i << F, j - i << F)))
            tokens = [None]
            if any(j in k.tables for k in keys):
                tokens = [own] if own is not None and j == i else view.tokens(j)
            row = {}
            for t in tokens:
                at = [view.interval(k if t is None else k.at(j, t)) for k in keys]
                row[t] = rounded_sum([*(mul(a, b) for a, b in zip(q, at, strict=True)), place], False)
            scores.append(row)
        top = max(0, *(s[1] for row in scores for s in row.values()))
        bottom = max(0, *(min(s[0] for s in row.values()) for row in scores))

        def weight(s):
            shift = max(abs(s[0] - top), abs(s[1] - bottom)) if top else 0
            return wider(mul(exp_interval(wider((s[0] - top, s[1] - top), -(-shift >> 53))), EXP), TINY)

        found = [{t: weight(s) for t, s in row.items()} for row in scores]
        rest = wider(mul(exp_interval((-top, -top)), EXP), TINY)
        ends = [join(row.values()) for row in found]
        total = mul((rest[0] + sum(a for a, _ in ends), rest[1] + sum(b for _, b in ends)), relative(gamma(i + 1)))
        return [{t: wider(mul(over(w, total), UNIT), TINY) for t, w in row.items()} for row in found]

    def unit(self, layer, i, n):
        return self.cached(i, ("unit", layer, i, n), ("_unit", layer, i, n))

    def _unit(self, layer, i, n):
        """Rules RELU and MUL."""
        gate, up = self.row(layer, i, "gate", n), self.row(layer, i, "up", n)
        if not gate.only(i):
            return self.product(i, self.relu(layer, i, n, gate), up)
        if gate.constant and i not in up.tables:
            return self.product(i, Form((max(0, gate.c[0]), max(0, gate.c[1]))), up)
        entries = gate.entries(i, self.tokens(i))
        return merged(
            i, {t: self.product(i, Form((max(0, a), max(0, b))), up.at(i, t)) for t, (a, b) in entries.items()}
        )

    def relu(self, layer, i, n, gate):
        low, high = self.low(gate), self.high(gate)
        if i == self.position:
            low, high = (
                max(low, self.lows.get(("gate", layer, n), low)),
                min(high, self.highs.get(("gate", layer, n), high)),
            )
        if low >= 0:
            return gate
        if high <= 0:
            return Form()
        if i == self.position:
            if (layer, n) not in self.phases:
                raise OpenSign(f"layer {layer}, unit {n}, position {i}: the sign of its gate is open")
            return gate if self.phases[layer, n] else Form()
        steps = round(256 * (high / (high - low)))
        most = max(-(low * steps >> 8), -(-high * (256 - steps) >> 8))
        return gate.times((steps << (F - 8), steps << (F - 8))).plus(Form((0, most)))

    def product(self, i, left, right):
        """fl(left * right)."""
        if left.zero() or right.zero():
            return Form()
        if not left.constant:
            left, right = right, left
        if not left.constant:
            if left.only(i) or right.only(i):
                cases = {t: self.product(i, left.at(i, t), right.at(i, t)) for t in self.tokens(i)}
                return merged(i, cases)
            known, other = self.interval(left), self.interval(right)
            if 1000 * (other[1] - other[0]) * self.size(left) < (known[1] - known[0]) * self.size(right):
                known, right = other, left  # far better known
            left = Form(known)
        if right.constant:
            return Form(nearest(mul(left.c, right.c)))
        if right.only(i):
            return tabulated(i, {t: nearest(mul(left.c, b)) for t, b in right.entries(i, self.tokens(i)).items()})
        error = -(-size(left.c) * self.size(right) >> (F + 53)) + TINY
        return self.scaled(right, left.c).wider(error)

    def claimed(self, kind, key):
        """The form that a claim of this kind is about."""
        i = self.position
        if kind == "margin":
            return self.margin(*key)
        if kind == "gate":
            return self.row(key[0], i, "gate", *key[1:])
        need(kind in ("mixed", "middle"), "a claim about nothing")
        return getattr(self, kind)(key[0], i, *key[1:])

    def margin(self, right, other):
        """Rule READ: logit of `right` minus logit of `other`."""
        net, i = self.net, self.position
        d, c = net.outputs.index(right), net.outputs.index(other)
        found, error = Form(add(exact(net.readout_bias[d]), neg(exact(net.readout_bias[c])))), 0
        for k in range(net.width):
            if net.readout[d][k] or net.readout[c][k]:
                stream = self.before(len(net.layers), i, k)
                found = found.plus(stream.times(add(exact(net.readout[d][k]), neg(exact(net.readout[c][k])))))
        for o in (d, c):
            used = [(w, self.before(len(net.layers), i, k)) for k, w in enumerate(net.readout[o]) if w]
            count = len(used) + (net.readout_bias[o] != 0)
            roundings = count - all(abs(frexp(w)[0]) == 0.5 for w, _ in used) if count else 0
            magnitude = sum(mul(exact(abs(w)), (0, self.size(form)))[1] for w, form in used)
            error += -(-gamma(roundings) * (magnitude + size(exact(net.readout_bias[o]))) >> F) + TINY * count
        return (found.times((-ONE, -ONE)) if net.minimum else found).wider(error)


# ---- the model folder ----------------------------------------------------------------------------


class Layer:
    """The arrays of one block as nested lists."""

    query: list
    query_bias: list
    key: list
    key_bias: list
    value: list
    value_bias: list
    slopes: list
    wiring: list
    gate: list
    gate_bias: list
    up: list
    up_bias: list
    down: list
    heads: int
    hidden: int


class Network:
    """The numbers of the model, read from its two files."""

    def __init__(self, folder: Path):
        weights, text = (folder / "model.safetensors").read_bytes(), (folder / "model.json").read_bytes()
        described = json.loads(text)
        need(
            hashlib.sha256(weights).hexdigest() == described["weights"]["sha256"],
            "the weights are not those of model.json",
        )
        need(described["dtype"] == "float64", "the model is not float64")
        self.task, config = described["task"], dict(described["config"])
        for name, usual in OPTIONS.items():
            need(config.pop(name, usual) == usual, f"the model has '{name}' that no rule covers")
        self.tensors = read_safetensors(weights)
        self.vocabulary, self.width = config.pop("vocabulary"), config.pop("width")
        need(len(set(self.vocabulary)) == len(self.vocabulary), "a token occurs twice in the vocabulary")
        outputs, blocks = config.pop("outputs"), config.pop("blocks")
        self.outputs = [self.vocabulary[t] for t in outputs]
        need(len(set(self.outputs)) == len(outputs), "an output occurs twice")
        self.minimum, config["lanes"] = config.pop("minimum"), None
        ties: dict = {}
        for name, at, source in config.pop("ties"):
            ties.setdefault(name, {})[at] = source
        self.used: set = set()
        shared, v, o = config.pop("shared"), len(self.vocabulary), len(outputs)
        numbers = self.array("shared", {}, shared) if shared else []

        def array(name, *shape):
            return self.array(name, {at: numbers[s] for at, s in ties.pop(name, {}).items()}, *shape)

        self.embedding, self.layers = array("embedding", v, self.width), []
        for depth, sizes in enumerate(blocks):
            need(set(sizes) == {"heads", "key_rows", "value_rows", "hidden"}, "a block has sizes that no rule covers")
            layer, place, h = Layer(), f"blocks.{depth}", sizes["heads"]
            layer.heads, layer.hidden = h, sizes["hidden"]
            if h:
                for name, rows in (("query", "key_rows"), ("key", "key_rows"), ("value", "value_rows")):
                    setattr(layer, name, array(f"{place}.attention.{name}", h, sizes[rows], self.width))
                    setattr(layer, f"{name}_bias", array(f"{place}.attention.{name}_bias", h, sizes[rows]))
                layer.slopes = array(f"{place}.attention.slopes", h)
                layer.wiring = array(f"{place}.attention.wiring", h, sizes["value_rows"], self.width)
            if layer.hidden:
                for name in ("gate", "up"):
                    setattr(layer, name, array(f"{place}.mlp.{name}", layer.hidden, self.width))
                    setattr(layer, f"{name}_bias", array(f"{place}.mlp.{name}_bias", layer.hidden))
                layer.down = array(f"{place}.mlp.down", self.width, layer.hidden)
            self.layers.append(layer)
        parts = [array("unembedding", o, self.width)] if config.pop("unembedding") else []
        self.readout_bias = array("unembedding_bias", o) if config.pop("unembedding_bias") else [0.0] * o
        parts += [[self.embedding[t] for t in outputs]] if config.pop("tied") else []
        parts += [array("readout_wiring", o, self.width)] if config.pop("readout_wiring") else []
        self.readout = parts[0]
        for part in parts[1:]:
            self.readout = [
                [a + b for a, b in zip(x, y, strict=False)] for x, y in zip(self.readout, part, strict=False)
            ]
        need(
            set(config) == {"lanes"} and not ties, f"the description has more than the rules cover: {[*config, *ties]}"
        )
        need(self.used == set(self.tensors), "the file of weights has tensors that the machine does not")

    def array(self, name, tied, *shape):
        """A tensor as nested lists, its tied entries read from the shared numbers."""
        path, _, leaf = name.rpartition(".")
        parametrized = f"{path}.parametrizations.{leaf}.original" if path else f"parametrizations.{leaf}.original"
        key = parametrized if parametrized in self.tensors else name
        need(key in self.tensors and self.tensors[key][0] == list(shape), f"tensor '{name}' is missing or misshapen")
        self.used.add(key)
        flat = [tied.get(at, x) for at, x in enumerate(self.tensors[key][1])]
        for x in flat:
            need(x == x and (x == 0 or 2.0**-1000 < abs(x) < 2.0**1000), f"tensor '{name}' holds {x}")
        for n in reversed(shape[1:]):
            flat = [flat[k : k + n] for k in range(0, len(flat), n)]
        return flat

    def digest(self):
        found = hashlib.sha256()
        for name, (shape, flat) in sorted(self.tensors.items()):
            found.update(f"{name} {shape}\n".encode() + struct.pack(f"<{len(flat)}d", *flat))
        return found.hexdigest()

    def no_overflow(self, length):
        """Every number of the forward pass stays below 2^1023, by magnitudes of columns."""
        most, slack = 1 << (F + 1023), relative(1 << (F - 20))[1]

        def rows(weights, bias, column):
            found = []
            for row, b in zip(weights, bias, strict=False):
                total = (
                    size(exact(b))
                    + sum(size(exact(w)) * x >> F for w, x in zip(row, column, strict=False) if w)
                    + len(column)
                )
                found.append(total * slack >> F)
            need(all(x < most for x in found), "a number may overflow")
            return found

        column = [max(size(exact(row[k])) for row in self.embedding) for k in range(self.width)]
        for layer in self.layers:
            if layer.heads:
                added: list = []
                for h in range(layer.heads):
                    q, k, v = (
                        rows(getattr(layer, n)[h], getattr(layer, f"{n}_bias")[h], column)
                        for n in ("query", "key", "value")
                    )
                    score = sum(a * b >> F for a, b in zip(q, k, strict=False)) + size(exact(layer.slopes[h])) * length
                    need(score * slack >> F < most, "a score may overflow")
                    added += v
                routes = [[abs(r[c]) for head in layer.wiring for r in head] for c in range(self.width)]
                added = rows(routes, [0.0] * self.width, added)
                column = [(a + b) * slack >> F for a, b in zip(column, added, strict=True)]
            if layer.hidden:
                gate, up = (rows(getattr(layer, n), getattr(layer, f"{n}_bias"), column) for n in ("gate", "up"))
                units = [(a * b >> F) * slack >> F for a, b in zip(gate, up, strict=False)]
                need(all(x < most for x in units), "a unit may overflow")
                added = rows(layer.down, [0.0] * self.width, units)
                column = [(a + b) * slack >> F for a, b in zip(column, added, strict=True)]
            need(all(x < most for x in column), "the residual stream may overflow")
        rows(self.readout, self.readout_bias, column)


def read_safetensors(data: bytes) -> dict:
    """name -> (shape, numbers): 8 bytes length of the header, the header (JSON), little-endian float64."""
    need(len(data) >= 8, "the file of weights is truncated")
    (length,) = struct.unpack("<Q", data[:8])
    header, body, end, found = json.loads(data[8 : 8 + length]), data[8 + length :], 0, {}
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        need(
            entry["dtype"] == "F64" and start == end and stop - start == 8 * prod(entry["shape"]),
            f"tensor '{name}' is damaged",
        )
        found[name], end = (entry["shape"], list(struct.unpack(f"<{(stop - start) // 8}d", body[start:stop]))), stop
    need(end == len(body), "the file of weights is truncated or too long")
    return found


# ---- specifications ------------------------------------------------------------------------------


def automaton(stages, first, accept):
    """[(position, [(from, to, token)])]: moves that lie on an accepted path, states numbered by first use."""
    layers, reached = [], {first}
    for _, step in stages:
        layers.append({(s, token): to for s in reached for token, to in step(s)})
        reached = set(layers[-1].values())
    alive = {s for s in reached if accept(s)}
    for t in reversed(range(len(layers))):
        layers[t] = {move: to for move, to in layers[t].items() if to in alive}
        alive = {s for s, _ in layers[t]}
    numbers, found = {first: 0}, []
    for (position, _), moves in zip(stages, layers, strict=False):
        after: dict = {}
        ordered = sorted((numbers[s], token, to) for (s, token), to in moves.items())
        found.append((position, [(s, after.setdefault(to, len(after)), token) for s, token, to in ordered]))
        numbers = after
    return found


def linear(weights, marks, start, names="0123456789abcdefghijklmnopqrstuvwxyz"):
    """Texts with sum over positions of weight * digit = 0; `weights` lists (position, weight, number of digits)."""
    stages = [(p, lambda s, mark=mark: [(mark, s)]) for p, mark in marks]
    for n, (position, weight, count) in enumerate(weights):
        rest = weights[n + 1 :]
        grid = gcd(*(w for _, w, _ in rest)) if rest else 0
        most, least = sum(max(0, w * (c - 1)) for _, w, c in rest), sum(min(0, w * (c - 1)) for _, w, c in rest)

        def step(s, weight=weight, count=count, grid=grid, most=most, least=least):
            sums = ((names[d], s + weight * d) for d in range(count))
            return [(t, s) for t, s in sums if (s % grid == 0 if grid else s == 0) and least <= -s <= most]

        stages.append((position, step))
    return start, automaton(stages, 0, lambda s: s == 0)


def addition(digits, base, order, operands, padding):
    """^ a + b = s: sum of place values of the operands minus those of the answer is zero."""
    width, answer = digits + padding, 1
    while base**answer <= operands * (base**digits - 1):
        answer += 1
    start, weights = 1 + operands * (width + 1), []
    for column in range(max(width, answer)):
        for k in range(operands + 1):
            length = width if k < operands else answer
            if column < length:
                at = 1 + k * (width + 1) + (length - 1 - column if order == "most" else column)
                free = base if column < digits or k == operands else 1
                weights.append((at, base**column * (1 if k < operands else -1), free))
    marks = [(0, "^"), *((k * (width + 1), "+") for k in range(1, operands)), (start - 1, "=")]
    return [linear(weights, marks, start)]


def subtraction(digits):
    """^ a - b = s: a - b - s = 0, so a >= b."""
    first = (digits, 2 * digits + 1, 3 * digits + 2)
    weights = [
        (at - column, sign * 10**column, 10)
        for column in range(digits)
        for at, sign in zip(first, (1, -1, -1), strict=False)
    ]
    return [linear(weights, [(0, "^"), (2 * digits + 2, "="), (digits + 1, "-")], 2 * digits + 3)]


def scaling(digits, factor):
    """^ a = s: factor * a - s = 0."""
    answer = len(str(factor * (10**digits - 1)))
    last = digits + 1 + answer
    weights = [
        (p, w, 10) for c in range(answer) for p, w in ((digits - c, factor * 10**c), (last - c, -(10**c))) if p > 0
    ]
    weights = [(p, w, n) for p, w, n in weights if p <= digits or p > digits + 1]
    return [linear(weights, [(0, "^"), (digits + 1, "=")], digits + 2)]


def multiplication(digits, second):
    """^ a * b = s with one digit b: the state is b, and the carry into the column."""
    need((second or digits) == 1, "this checker has no specification of products of two long numbers")
    marks = [(p, said(lambda _, m=m: m)) for p, m in ((0, "^"), (digits + 3, "="), (digits + 1, "*"))]
    stages = [*marks, (digits + 2, said(digits_of, lambda _, t: (int(t), 0)))]
    for column in range(digits + 1):
        digit = said(digits_of, lambda s, t: (s[0], s[1] + s[0] * int(t)))
        stages += [(digits - column, digit)] if column < digits else []
        stages.append((2 * digits + 4 - column, said(lambda s: str(s[1] % 10), lambda s, _: (s[0], s[1] // 10))))
    return [(digits + 4, automaton(stages, (0, 0), lambda s: s[1] == 0))]


def said(tokens, after=None):
    """A step from a function state -> tokens that may stand here; the next state by `after(state, token)`."""
    return lambda state: [(t, state if after is None else after(state, t)) for t in tokens(state)]


def digits_of(_):
    return "0123456789"


def two_numbers(digits, marks, answer, after_column=None):
    """^ a . b : answer, most significant digits first; the state is (which is larger so far, a digit)."""

    def second(state, t):
        larger = state[0] if state[0] != "=" else "<" if state[1] < t else ">" if state[1] > t else "="
        return larger, (t if larger == "<" else state[1]) if after_column else ""

    stages = [(p, said(lambda _, m=m: m)) for p, m in zip((0, digits + 1, 2 * digits + 2), marks, strict=False)]
    for p in range(digits):
        stages.append(
            (1 + p, said(digits_of, lambda state, t: (state[0], t if after_column or state[0] == "=" else "")))
        )
        stages.append((digits + 2 + p, said(digits_of, second)))
        stages += [(2 * digits + 3 + p, said(after_column, lambda state, t: (state[0], "")))] if after_column else []
    stages += [(2 * digits + 3, said(answer))] if answer else []
    return [(2 * digits + 3, automaton(stages, ("=", ""), lambda s: True))]


def comparison(digits):
    return two_numbers(digits, "^?:", lambda state: state[0])


def maximum(digits):
    return two_numbers(digits, "^,:", None, lambda state: state[1])


def modular_addition(modulus):
    residues = [str(r) for r in range(modulus)]
    number = said(lambda _: residues, lambda s, t: (s + int(t)) % modulus)
    stages = [(0, said(lambda _: "^")), (1, number), (2, said(lambda _: "+")), (3, number), (4, said(lambda _: "="))]
    return [(5, automaton([*stages, (5, said(lambda s: [str(s)], lambda s, t: 0))], 0, lambda s: True))]


def word(length, stages, first):
    return length + 2, automaton(
        [(0, said(lambda _: "^")), (length + 1, said(lambda _: "=")), *stages], first, lambda s: True
    )


def counting(length, letters_used):
    letter = said(lambda _: "abcdefghijklmnopqrstuvwxyz"[:letters_used], lambda s, t: s + (t == "a"))
    last = said(lambda s: [str(s)], lambda s, t: 0)
    return [word(n, [*((p, letter) for p in range(1, n + 1)), (n + 2, last)], 0) for n in range(1, length + 1)]


def parity(length, steps):
    bit, parities = said(lambda _: "01", lambda s, t: s + int(t)), said(lambda s: str(s % 2), lambda s, _: s % 2)
    if steps:
        return [word(length, [x for p in range(1, length + 1) for x in ((p, bit), (length + 1 + p, parities))], 0)]
    return [word(length, [*((p, bit) for p in range(1, length + 1)), (length + 2, parities)], 0)]


def rewriting(length, how):
    need(how in ("copy", "reverse"), "this checker has no specification of sorting")
    twins = ((p, length + 1 + p if how == "copy" else 2 * length + 2 - p) for p in range(1, length + 1))
    pair = said(digits_of, lambda s, t: t), said(lambda s: s, lambda s, t: "")
    return [word(length, [x for twin in twins for x in zip(twin, pair, strict=False)], "")]


def derivative_coefficients(exponents):
    """: s c s c .. = then s t o for every n c_n, n = exponents .. 1; the state is what is left to write."""
    start, top = 2 * exponents + 4, exponents
    stages = [(0, said(lambda _: ":")), (start - 1, said(lambda _: "="))]
    for slot in range(top + 1):
        n, at = top - slot, start + 3 * slot
        stages.append((1 + 2 * slot, said(lambda _: "+-", lambda _, t: t)))
        stages.append((2 + 2 * slot, said(lambda s: "123456789" if s == "-" else "0123456789",
                                          lambda s, t, n=n: s + f"{n * int(t):02}" if n else "")))  # fmt: skip
        if n:
            stages += [(at + k, said(lambda s: s[0], lambda s, t: s[1:])) for k in range(3)]
    return [(start, automaton(stages, "", lambda s: True))]


TASKS = {
    f.__name__: f
    for f in (addition, comparison, maximum, modular_addition, counting, parity, rewriting, derivative_coefficients,
              subtraction, scaling, multiplication)
}  # fmt: skip


# ---- the certificate -----------------------------------------------------------------------------


class Checker:
    """Checks the trees of one certificate."""

    def __init__(self, net, stages, length):
        self.net, self.stages = net, stages
        self.tokens = [[]] * length
        for position, moves in stages:
            self.tokens[position] = sorted({token for _, _, token in moves})
        self.sizes = [1, *(1 + max(to for _, to, _ in moves) for _, moves in stages)]
        self.base, self.claims, self.floors = View(net, self.tokens), 0, {}

    def tree(self, tree, i):
        need(
            set(tree) == {"position", "children"}
            and tree["position"] == i
            and list(tree["children"]) == self.tokens[i + 1],
            f"position {i}: branches are missing",
        )
        root = View(self.net, self.tokens, i, self.base)
        for token in self.net.outputs[1:]:  # what all branches share is computed once, as far as it goes without claims
            with suppress(OpenSign):
                root.margin(token, self.net.outputs[0])
        return min(self.settle(root.branch(), {i + 1: t}, {}, node, t) for t, node in tree["children"].items())

    def settle(self, view, tokens, states, node, right):
        """The smallest margin of the branch; `None` never: what is not proved is rejected."""
        i, margins = view.position, {}
        need(
            set(node) in ({"claims", "margin"}, {"claims", "split", "children"}),
            "a node has other parts than a node has",
        )
        for claim in node["claims"]:
            kind, *key = claim["of"]
            need(
                set(claim) == {"of", "sign", "exponent", "low", "potentials"},
                "a claim has other parts than a claim has",
            )
            need(claim["sign"] in (1, -1), "a sign is not a sign")
            low = self.least(view, view.claimed(kind, key), claim, tokens, states)
            if low is None:
                need(node.get("margin", 0) is None, "a branch without texts has a margin")
                return 1 << (F + 1023)  # no text is in this branch
            if kind == "margin":
                margins[tuple(key)] = low
            elif claim["sign"] > 0:
                view.lows[kind, *key] = max(low, view.lows.get((kind, *key), low))
            else:
                view.highs[kind, *key] = min(-low, view.highs.get((kind, *key), -low))
        split = node.get("split")
        if split is None:
            others = [c for c in self.net.outputs if c != right]
            need(right in self.net.outputs, f"'{right}' has no logit")
            found = [max(view.low(view.margin(right, c)), margins.get((right, c), -ONE)) for c in others]
            need(all(m > 0 for m in found), f"position {i + 1}, '{right}': a margin is not positive")
            stated = exact(float.fromhex(node["margin"]))[0]
            need(0 < stated <= min(found) + (min(found) >> 20), "a margin is larger than what is proved")
            return stated
        children, found = node["children"], []
        if split[0] == "phase":
            _, layer, unit = split
            need(list(children) == ["on", "off"], "a phase is missing")
            for name, child in children.items():
                part = view.part()
                part.phases[layer, unit] = name == "on"
                found.append(self.settle(part, tokens, states, child, right))
        elif split[0] == "state":
            need(len(split) == 2 and 0 <= split[1] < len(self.stages), "a split by states after no stage")
            need(list(children) == [str(s) for s in range(self.sizes[split[1] + 1])], "a state is missing")
            for state, child in children.items():
                need(split[1] not in states, "a state is split twice")
                found.append(self.settle(view.part(), tokens, {**states, split[1]: int(state)}, child, right))
        elif split == ["again"]:  # with the claimed ranges
            need(list(children) == ["again"], "more than one branch")
            found.append(self.settle(view.part(), tokens, states, children["again"], right))
        else:
            need(split == ["own"] and view.own is None and list(children) == self.tokens[i], "a branch is missing")
            for token, child in children.items():
                part = View(self.net, self.tokens, i, self.base, token)
                found.append(self.settle(part, {**tokens, i: token}, states, child, right))
        return min(found)

    def least(self, view, form, claim, tokens, states):
        """A lower bound of sign * form over the branch, by potentials; None where the branch is empty. Rule PATH."""
        shift, potentials = F + claim["exponent"], claim["potentials"]
        need(type(claim["exponent"]) is int and -F <= claim["exponent"] <= 1023, "an exponent is out of range")
        need([len(row) for row in potentials] == self.sizes, "potentials of the wrong shape")
        need(all(x is None or type(x) is int for row in potentials for x in row), "a potential is not an integer")
        form = view.expand(form)
        form = form if claim["sign"] > 0 else form.times((-ONE, -ONE))
        need(potentials[0][0] is not None and potentials[0][0] << shift <= form.c[0], "a first potential is too large")
        self.claims += 1
        for t, (position, moves) in enumerate(self.stages):
            table, here, there = form.tables.get(position), potentials[t], potentials[t + 1]
            cost = {} if table is None else {token: ball[0] >> shift for token, ball in table.items()}
            token_only, state_only = tokens.get(position), states.get(t)
            for s, to, token in moves:
                if (
                    here[s] is None
                    or (token_only or token) != token
                    or (to if state_only is None else state_only) != to
                ):
                    continue
                if there[to] is None or there[to] > here[s] + (cost[token] if table else 0):
                    raise Rejected(f"a potential is too large (position {position}, '{token}')")
        ends = [x for x in potentials[-1] if x is not None]
        need((min(ends) if ends else None) == claim["low"], "a bound is not what its potentials give")
        return min(ends) << shift if ends else None


def canonical(data) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def check(folder: Path, certificate: Path | None = None) -> dict:
    """What is proved: task, number of problems, smallest margin. Raises `Rejected` for all that does not prove it."""
    try:
        net = Network(folder)
        cert = json.loads((certificate or folder / "certificate.json").read_bytes())
        return _check(net, cert)
    except Rejected:
        raise
    except (
        OSError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
        struct.error,
    ) as error:
        raise Rejected(f"{type(error).__name__}: {error}") from error


def _check(net, cert) -> dict:
    need(set(cert) == {"format", "version", "task", "numerics", "rules", "weights", "margin", "parts",
                       "versions", "sha256"}, "the certificate lacks a part or has one too many")  # fmt: skip
    content = {key: value for key, value in cert.items() if key != "sha256"}
    need(hashlib.sha256(canonical(content)).hexdigest() == cert["sha256"], "the certificate was edited or truncated")
    need((cert["format"], cert["version"]) == ("tinyadder certificate", 1), "this checker reads version 1")
    need(cert["numerics"] == NUMERICS and set(cert["rules"]) == RULES, "other numerics or rules than this checker's")
    made_for, found = cert["weights"]["sha256"], net.digest()
    need(
        made_for == found,
        f"it is for weights {made_for[:8]}.., this model is {found[:8]}..: it proves nothing about it",
    )
    stated = {n: [s, {str(k): x.hex() for k, x in enumerate(flat) if x}] for n, (s, flat) in net.tensors.items()}
    need({n: [t["shape"], t["entries"]] for n, t in cert["weights"]["tensors"].items()} == stated, "other weights")
    task = net.task
    need(cert["task"] == task, "the certificate is for another task")
    need(task["name"] in TASKS, f"this checker has no specification of task '{task['name']}'")
    wanted, problems, claims, margins = TASKS[task["name"]](**task["options"]), 0, 0, []
    need(len(cert["parts"]) == len(wanted), "a length of texts is missing")
    for part, (start, stages) in zip(cert["parts"], wanted, strict=False):
        length, texts = len(stages), count(stages)
        need(sorted(p for p, _ in stages) == list(range(length)) and texts > 0, "the specification is empty")
        rows = [{"position": p, "edges": [list(m) for m in moves]} for p, moves in stages]
        spec = {"start": start, "length": length, "stages": rows}
        digest = hashlib.sha256(canonical(spec)).hexdigest()
        need(part["specification"] == {"sha256": digest, "texts": texts, **spec}, "another specification")
        net.no_overflow(length)
        checker = Checker(net, stages, length)
        need(set(part) == {"specification", "positions"}, "a part has something missing or too much")
        need(len(part["positions"]) == length - start, "a position is missing")
        margins += [checker.tree(tree, i) for i, tree in enumerate(part["positions"], start - 1)]
        problems, claims = problems + texts, claims + checker.claims
    margin = min(margins)
    need(exact(float.fromhex(cert["margin"]))[0] == margin, "the margin is not the smallest of all branches")
    return {
        "task": task,
        "problems": problems,
        "margin": margin / ONE,
        "claims": claims,
        "sha256": cert["weights"]["sha256"],
    }


def count(stages):
    """The number of accepted paths."""
    ways = {0: 1}
    for _, moves in stages:
        after: dict = {}
        for s, to, _ in moves:
            after[to] = after.get(to, 0) + ways[s]
        ways = after
    return sum(ways.values())


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print("usage: python -m verify.certify.check FOLDER [CERTIFICATE]", file=sys.stderr)
        return 2
    try:
        found = check(*(Path(a) for a in arguments))
    except Rejected as reason:
        print(f"REJECTED   {reason}")
        return 1
    options = ", ".join(f"{k}={v}" for k, v in found["task"]["options"].items())
    print(f"PROVED     {found['task']['name']} ({options}): all {found['problems']:,} problems")
    print(f"margin     {found['margin']:.6g} in logits, the smallest over all of them")
    print(f"weights    sha256 {found['sha256']}, {found['claims']} shortest paths checked")
    for key, value in NUMERICS.items():
        print(f"{key:10} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
