"""The forward pass on forms: what each number of the model can be, rounding included. One method a
number, one a rule.

    x = embedding[token]; x += wiring(softmax1(q . k + slope (j - i)) v); x += down(relu(gate x) *
    up x); logits = U x

Axes: layer, i query position, j <= i, column of the residual stream. This is
`tinyadder/machine/transformer.py` in binary64.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from functools import wraps
from math import frexp
from typing import Any

import tinyadder.verify.certify.check.intervals as iv
from tinyadder.verify.certify.check.forms import Affine, merged
from tinyadder.verify.certify.check.intervals import ONE, F, Interval, exact, mul, need
from tinyadder.verify.certify.check.model import ProgramModel

Terms = Sequence[tuple[float, Affine]]
ATTENTION = {"weights", "mixed"}
ALL = {"before", "row", "weights", "mixed", "middle", "unit"}


class OpenSign(iv.Rejected):
    """The sign of a gate at the query is neither claimed nor split on."""


def cached(number: Callable) -> Callable:
    """Compute a number once: in the view of its position, which is the base for all positions but
    the query.
    """

    @wraps(number)
    def found(self, layer, i, *rest):
        view = self if i == self.position else self.base
        key = (number.__name__, layer, i, *rest)
        if key not in view.memo:
            view.memo[key] = number(view, layer, i, *rest)
        return view.memo[key]

    return found


class ForwardPass:
    """The numbers at one query position for the texts of a branch; the base has those at all
    positions for all texts.

    A branch fixes tokens, states of the automaton and phases (signs) of gates, and has proved
    ranges of symbols.
    """

    def __init__(
        self,
        model: ProgramModel,
        texts: Sequence[Sequence[str]],
        position: int = -1,
        base: ForwardPass | None = None,
    ):
        self.model, self.texts, self.position, self.base = model, texts, position, base or self
        self.fixed: dict[str, dict] = {"tokens": {}, "states": {}, "phases": {}}
        self.ranges: dict[tuple, Any] = {}
        self.definitions: dict[tuple, Affine] = {}
        self.memo: dict[tuple, Any] = {}

    def part(
        self, kind: str = "", key: Any = None, value: Any = None, keep: Container[str] = ATTENTION
    ) -> ForwardPass:
        """A part of the branch, with one more of its `tokens`, `states` or `phases`. What is kept
        stays true of it.
        """
        found = ForwardPass(self.model, self.texts, self.position, self.base)
        found.fixed = {
            name: {**known, key: value} if name == kind else known
            for name, known in self.fixed.items()
        }
        found.ranges, found.definitions = dict(self.ranges), dict(self.definitions)
        found.memo = {key: value for key, value in self.memo.items() if key[0] in keep}
        return found

    def tokens(self, i: int) -> Sequence[str]:
        return [self.fixed["tokens"][i]] if i in self.fixed["tokens"] else self.texts[i]

    def interval(self, form: Affine) -> Interval:
        """The form lies in it: every table and symbol by itself."""
        found = form.c
        for table in form.tables.values():
            found = iv.add(found, iv.join(table.values()))
        for symbol, alpha in form.symbols.items():
            found = iv.add(found, mul(alpha, self.ranges[symbol]))
        return found

    def narrow(self, symbol: tuple, known: iv.Range) -> None:
        """The symbol lies in `known`, too."""
        self.ranges[symbol] = iv.meet(self.ranges.get(symbol, iv.EVERYTHING), known)

    def expand(self, form: Affine) -> Affine:
        """The form with its symbols replaced by what they stand for."""
        found = Affine(form.c, form.tables)
        for symbol, alpha in form.symbols.items():
            found = found.plus(self.definitions[symbol].times(alpha))
        return found

    def named(self, symbol: tuple, form: Affine) -> Affine:
        """A symbol in place of a form at the query."""
        self.narrow(symbol, self.interval(form))
        self.definitions[symbol] = self.expand(form)
        return Affine(symbols={symbol: (ONE, ONE)})

    def cases(
        self, i: int, forms: Sequence[Affine], rule: Callable[[Sequence[Affine]], Affine]
    ) -> Affine:
        """`rule` of the forms, for each token at position i by itself if one of them depends on
        it.
        """
        if any(i in form.tables for form in forms):
            return merged(i, {t: rule([form.at(i, t) for form in forms]) for t in self.tokens(i)})
        return rule(forms)

    # ---- the rules -------------------------------------------------------------------------------

    def error(self, terms: Terms) -> int:
        """Rounding error of sum w_k x_k: by `intervals.rounding`."""
        magnitude = sum(iv.size(mul(exact(w), self.interval(form))) for w, form in terms)
        return iv.rounding(len(terms), all(power_of_two(w) for w, _ in terms), magnitude)

    def linear(self, i: int, terms: Iterable[tuple[float, Affine]], bias: float = 0.0) -> Affine:
        """LINEAR: fl(sum w_k x_k + bias) is the same sum of forms, within the rounding error; zeros
        add nothing.
        """
        terms = [(w, form) for w, form in terms if not form.zero()]
        terms += [(1.0, Affine(exact(bias)))] if bias else []
        if len(terms) == 1 and terms[0][0] == 1:
            return terms[0][1]
        weights, forms = [exact(w) for w, _ in terms], [form for _, form in terms]
        if all(form.only(i) for form in forms):
            unrounded = all(power_of_two(w) for w, _ in terms)
            products = lambda at: [mul(w, form.c) for w, form in zip(weights, at, strict=True)]  # noqa: E731
            return self.cases(i, forms, lambda at: Affine(iv.rounded_sum(products(at), unrounded)))
        found = Affine()
        for w, form in zip(weights, forms, strict=True):
            found = found.plus(form.times(w))
        return found.wider(self.error(terms))

    def product(self, i: int, left: Affine, right: Affine) -> Affine:
        """MUL: fl(left * right), token by token at i if one depends on that only; else one factor
        is its interval.
        """
        left, right = (left, right) if left.constant else (right, left)
        if left.zero() or right.zero():
            return Affine()
        if left.constant and right.constant:
            return Affine(iv.nearest(mul(left.c, right.c)))
        if left.constant and not right.only(i):
            error = -(-iv.size(left.c) * iv.size(self.interval(right)) >> (F + 53))
            return self.scaled(right, left.c).wider(error + 1)
        if left.only(i) or right.only(i):
            return self.cases(i, [left, right], lambda at: self.product(i, *at))
        a, b = self.interval(left), self.interval(right)
        if 1000 * (b[1] - b[0]) * iv.size(a) < (a[1] - a[0]) * iv.size(b):
            a, right = b, left
        return self.product(i, Affine(a), right)

    def scaled(self, form: Affine, factor: Interval) -> Affine:
        """form * factor for one unknown factor. With symbols: the middle, and the radius times
        |form|.
        """
        if not form.symbols:
            return form.times(factor)
        middle = (factor[0] + factor[1]) >> 1
        radius = max(factor[1] - middle, middle - factor[0])
        return form.times((middle, middle)).wider(-(-radius * iv.size(self.interval(form)) >> F))

    def relu(self, layer: int, i: int, n: int, gate: Affine) -> Affine:
        """RELU: by the sign of the gate; at the query the branch must know it, elsewhere a chord
        lies around both.
        """
        low, high = self.interval(gate)
        if gate.constant:
            return Affine((max(0, low), max(0, high)))
        if i == self.position:
            low, high = iv.meet((low, high), self.ranges.get(("gate", layer, n), iv.EVERYTHING))
        if low >= 0 or high <= 0:
            return gate if low >= 0 else Affine()
        if i == self.position:
            if (layer, n) not in self.fixed["phases"]:
                raise OpenSign(
                    f"layer {layer}, unit {n}, position {i}: the sign of its gate is open"
                )
            return gate if self.fixed["phases"][layer, n] else Affine()
        # relu(g) - slope / 256 g is largest at an end, and not negative
        slope = round(256 * (high / (high - low)))
        most = max(-(low * slope >> 8), -(-high * (256 - slope) >> 8))
        return gate.times((slope << (F - 8), slope << (F - 8))).plus(Affine((0, most)))

    # ---- the numbers -----------------------------------------------------------------------------

    @cached
    def before(self, layer: int, i: int, column: int) -> Affine:
        """The residual stream before `layer`. EMBED: at first it is the embedding of one of the
        tokens.
        """
        if layer == 0:
            rows = {t: self.model.embedding[self.model.vocabulary.index(t)] for t in self.tokens(i)}
            return merged(i, {t: Affine(exact(row[column])) for t, row in rows.items()})
        found, down = self.middle(layer - 1, i, column), self.model.layers[layer - 1].down
        units = [
            (w, self.unit(layer - 1, i, n)) for n, w in enumerate(down[column] if down else []) if w
        ]
        return self.linear(i, [(1.0, found), *units])

    @cached
    def middle(self, layer: int, i: int, column: int) -> Affine:
        """The residual stream between attention and MLP."""
        wiring = enumerate(self.model.layers[layer].wiring)
        heads = [
            (w[column], self.mixed(layer, i, h, r))
            for h, rows in wiring
            for r, w in enumerate(rows)
            if w[column]
        ]
        found = self.linear(i, [(1.0, self.before(layer, i, column)), *heads])
        short = len(found.symbols) + len(found.tables) < 2
        return found if short or self is self.base else self.named(("middle", layer, column), found)

    @cached
    def row(self, layer: int, i: int, kind: str, *index: int) -> Affine:
        """One row of a projection: query, key and value read the stream before the layer, gate and
        up its middle.
        """
        weights = getattr(self.model.layers[layer], kind)
        bias = getattr(self.model.layers[layer], f"{kind}_bias")
        for n in index:
            weights, bias = weights[n], bias[n]
        stream = self.middle if kind in ("gate", "up") else self.before
        return self.linear(i, [(w, stream(layer, i, c)) for c, w in enumerate(weights) if w], bias)

    def rows(
        self, layer: int, i: int, kind: str, head: int, own: str | None = None
    ) -> list[Affine]:
        """All rows of a head, given the token at i if `own` names it."""
        found = [
            self.row(layer, i, kind, head, r)
            for r in range(len(getattr(self.model.layers[layer], kind)[head]))
        ]
        return found if own is None else [form.at(i, own) for form in found]

    @cached
    def mixed(self, layer: int, i: int, head: int, r: int) -> Affine:
        """ATTN: sum_j p_ij v_j, by the token at i if the queries depend on it."""
        if any(i in query.tables for query in self.rows(layer, i, "query", head)):
            found = merged(i, {t: self.attend(layer, i, head, r, t) for t in self.tokens(i)})
        else:
            found = self.attend(layer, i, head, r, None)
        return (
            found
            if found.only(i) or self is self.base
            else self.named(("mixed", layer, head, r), found)
        )

    def attend(self, layer: int, i: int, head: int, r: int, own: str | None) -> Affine:
        """fl(sum_j p_ij v_j) = sum_j fl(p_ij v_j) (1 + t_j), |t_j| <= gamma(n - 1) for n products
        that are not zero.
        """
        values = [
            self.rows(layer, j, "value", head, own if j == i else None)[r] for j in range(i + 1)
        ]
        count, found = sum(not value.zero() for value in values), Affine()
        for j, value in enumerate(values):
            if not value.zero():
                share = self.weights(layer, i, head, own)[j].map(
                    lambda p: iv.spread(p, iv.gamma(count - 1))
                )
                found = found.plus(self.product(j, share, value))
        return found.wider(count)

    @cached
    def weights(self, layer: int, i: int, head: int, own: str | None) -> list[Affine]:
        """p_ij for every j, by the token at j if its key depends on that.

        With m = max(0, max_j s_j) as the model has it and any top >= m, p_ij = e^(s_j - top) /
        (e^-top + sum). What the model rounds in s_j - m is at most u |s_j - m|; it stays below 0.
        ALIBI: slope * (j - i) is added to s_j.
        """
        queries = [self.interval(query) for query in self.rows(layer, i, "query", head, own)]
        scores = []
        for j in range(i + 1):
            place = iv.nearest(
                mul(exact(self.model.layers[layer].slopes[head]), (j - i << F, j - i << F))
            )

            def score(keys: Sequence[Affine], place: Interval = place) -> Affine:
                at = [self.interval(key) for key in keys]
                return Affine(
                    iv.rounded_sum(
                        [*(mul(a, b) for a, b in zip(queries, at, strict=True)), place], False
                    )
                )

            scores.append(
                self.cases(j, self.rows(layer, j, "key", head, own if j == i else None), score)
            )
        ends = [self.interval(s) for s in scores]
        bottom, top = max(0, *(low for low, _ in ends)), max(0, *(high for _, high in ends))

        def weight(s: Interval) -> Interval:
            error = -(-iv.size((s[0] - top, s[1] - bottom)) >> 53) if top else 0
            return iv.exp((s[0] - top - error, min(0, s[1] - top + error)))

        found = [s.map(weight) for s in scores]
        total = iv.exp((-top, -top))
        for w in found:
            total = iv.add(total, self.interval(w))
        total = iv.spread(total, iv.gamma(i + 1))
        return [w.map(lambda p: iv.once(iv.over(p, total))) for w in found]

    def gate(self, layer: int, i: int, n: int) -> Affine:
        return self.row(layer, i, "gate", n)

    @cached
    def unit(self, layer: int, i: int, n: int) -> Affine:
        """relu(gate) * up."""
        gate, up = self.gate(layer, i, n), self.row(layer, i, "up", n)
        if gate.only(i):
            return self.cases(
                i, [gate, up], lambda at: self.product(i, self.relu(layer, i, n, at[0]), at[1])
            )
        return self.product(i, self.relu(layer, i, n, gate), up)

    def margin(self, right: str, other: str) -> Affine:
        """READ: logit of `right` minus logit of `other`: one form, in which symbols cancel, and the
        error of each.
        """
        model, depth = self.model, len(self.model.layers)
        stream = [self.before(depth, self.position, k) for k in range(model.width)]
        rows, biases = zip(*(model.logit(token) for token in (right, other)), strict=True)
        found = Affine(iv.add(exact(biases[0]), iv.neg(exact(biases[1]))))
        for a, b, form in zip(*rows, stream, strict=True):
            found = found.plus(form.times(iv.add(exact(a), iv.neg(exact(b)))))
        for row, bias in zip(rows, biases, strict=True):
            terms = [*zip(row, stream, strict=True), (1.0 if bias else 0.0, Affine(exact(bias)))]
            found = found.wider(self.error([(w, form) for w, form in terms if w]))
        return found

    def claimed(self, kind: str, *key: Any) -> Affine:
        """What a claim is about, without symbols."""
        if kind == "margin":
            return self.expand(self.margin(*key))
        known = kind in ("mixed", "middle", "gate") and all(type(n) is int and n >= 0 for n in key)
        need(known, "a claim about nothing")
        return self.expand(getattr(self, kind)(key[0], self.position, *key[1:]))


def power_of_two(weight: float) -> bool:
    """Products with it do not round."""
    return abs(frexp(weight)[0]) == 0.5
