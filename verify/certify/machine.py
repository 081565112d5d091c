"""The rules: what every number of the forward pass can be, over all texts of a specification,
rounding included.

Each rule is a sound statement about one step of `tinyadder/machine/transformer.py` in binary64;
`check.RULES` states them, and docs/proofs.md has them in full. `View` evaluates on demand: a number
that nobody reads is never computed (that none overflows is checked apart). Axes: layer, i position,
column of the residual stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import frexp

from tinyadder.verify.certify.forms import (
    EXP,
    ONE,
    TINY,
    UNIT,
    ZERO,
    Ball,
    Form,
    Symbol,
    Table,
    double,
    gamma,
    hull,
    merged,
    nearest,
    tabulated,
    total,
    within,
)
from tinyadder.verify.certify.network import Network, TooWide
from tinyadder.verify.certify.spec import Specification

SMALL = -1000
"""Exact results below 2^SMALL are not taken for exact: they might underflow."""


class NeedPhase(Exception):
    """The sign of a gate at the query position is not known; a claim about it or a split would
    decide.
    """

    def __init__(self, layer: int, unit: int, gate: Form) -> None:
        self.layer, self.unit, self.gate = layer, unit, gate


def is_power_of_two(weight: float) -> bool:
    return abs(frexp(weight)[0]) == 0.5


def rounded_sum(terms: Sequence[Ball], scaled: bool) -> Ball:
    """fl of a sum of products given as balls; `scaled`: every factor was a power of two, so
    products do not round.
    """
    terms = [term for term in terms if not term.is_zero()]
    if not terms:
        return ZERO
    if all(term.is_exact() for term in terms):
        if len(terms) == 1:
            return nearest(terms[0])
        pairs = [term.mid().man_exp() for term in terms]
        grid = min(int(e) for _, e in pairs)
        if (
            grid > SMALL
            and sum(abs(int(m)) << (int(e) - grid) for m, e in pairs if int(e) - grid < 64)
            < 1 << 53
            and all(int(e) - grid < 64 for _, e in pairs)
        ):
            return sum(terms, ZERO)
        if len(terms) == 2 and all(double(term) is not None for term in terms):
            return nearest(sum(terms, ZERO))
    roundings = len(terms) - 1 + (not scaled)
    found = sum(terms, ZERO)
    if roundings:
        found += within(gamma(roundings) * sum((abs(term).upper() for term in terms), ZERO))
    return found + within(TINY * len(terms))


class View:
    """The numbers at one query position (and, through `base`, at all others) under what is known of
    a branch.
    """

    def __init__(
        self,
        network: Network,
        spec: Specification,
        position: int | None = None,
        base: View | None = None,
    ):
        self.network, self.spec, self.position = network, spec, position
        self.base = self if base is None else base
        self.own: str | None = None
        self.memo: dict[tuple, Form] = {}
        self.definitions: dict[Symbol, Form] = {}
        self.lows: dict[Symbol, Ball] = {}
        self.highs: dict[Symbol, Ball] = {}
        self.phases: dict[tuple[int, int], bool] = {}

    def branch(self) -> View:
        """A copy to which more can be said; what was computed stays true."""
        found = View(self.network, self.spec, self.position, self.base)
        found.own = self.own
        for name in ("memo", "definitions", "lows", "highs", "phases"):
            setattr(found, name, dict(getattr(self, name)))
        return found

    def lasting(self) -> dict[tuple, Form]:
        """What is kept when the ranges got sharper: attention; the stream and the units are
        computed again.
        """
        return {
            key: form
            for key, form in self.memo.items()
            if key[0] in ("query", "key", "value", "weights", "mixed")
        }

    # ---- forms -----------------------------------------------------------------------------------

    def tokens(self, i: int) -> Sequence[str]:
        return [self.own] if self.own is not None and i == self.position else self.spec.tokens[i]

    def low(self, form: Form) -> Ball:
        """An exact lower bound of `form` from the ranges of its symbols and tables, each by
        itself.
        """
        found = form.c.lower()
        for table in form.tables.values():
            found += min(ball.lower() for ball in table.values())
        for symbol, alpha in form.symbols.items():
            found += min((alpha * end).lower() for end in self.range(symbol))
        return found.lower()

    def high(self, form: Form) -> Ball:
        return -self.low(form.times(-ONE))

    def size(self, form: Form) -> Ball:
        """An upper bound of |form|."""
        return max(abs(self.low(form)), abs(self.high(form)))

    def range(self, symbol: Symbol) -> tuple[Ball, Ball]:
        """The ends of a symbol: claimed, or those of its definition."""
        return self.lows[symbol], self.highs[symbol]

    def expand(self, form: Form) -> Form:
        """The form with its symbols replaced by their definitions."""
        found = Form(form.c, form.tables)
        for symbol, alpha in form.symbols.items():
            found = found.plus(self.definitions[symbol].times(alpha))
        return found

    def named(self, symbol: Symbol, form: Form) -> Form:
        """At the query, give a stored number a name where it is more than a multiple of one symbol
        or a table.
        """
        if self.position is None or len(form.symbols) + len(form.tables) < 2:
            return form
        return self.symbol(symbol, form)

    def symbol(self, symbol: Symbol, form: Form) -> Form:
        """Define a symbol; its range is also what the ranges of the symbols in `form` give."""
        low, high = self.low(form), self.high(form)
        self.lows[symbol] = max(low, self.lows.get(symbol, low))
        self.highs[symbol] = min(high, self.highs.get(symbol, high))
        self.definitions[symbol] = self.expand(form)
        return Form(symbols={symbol: ONE})

    def affine(self, i: int, weighted: Iterable[tuple[float, Form]], bias: float = 0.0) -> Form:
        """Rule LINEAR: fl(sum of weight * form + bias)."""
        terms = [(float(w), form) for w, form in weighted if w != 0 and not form.zero()]
        if bias != 0:
            terms.append((1.0, Form(Ball(float(bias)))))
        if not terms:
            return Form()
        if len(terms) == 1 and terms[0][0] == 1:
            return terms[0][1]
        scaled = all(is_power_of_two(w) for w, _ in terms)
        if all(form.constant for _, form in terms):
            return Form(rounded_sum([form.c * w for w, form in terms], scaled))
        if all(form.only(i) for _, form in terms):
            tokens = self.tokens(i)
            tables = [(w, form.entries(i, tokens)) for w, form in terms]
            return tabulated(
                i, {t: rounded_sum([table[t] * w for w, table in tables], scaled) for t in tokens}
            )
        found = total(form.times(Ball(w)) for w, form in terms)
        size = sum((self.size(form) * abs(w) for w, form in terms), ZERO)
        return found.wider(gamma(len(terms) - 1 + (not scaled)) * size + TINY * len(terms))

    # ---- the forward pass ------------------------------------------------------------------------

    def before(self, layer: int, i: int, column: int) -> Form:
        """The residual stream before `layer` (after the last: what the readout sees). Rule EMBED
        for layer 0.
        """
        if i != self.position and self.position is not None:
            return self.base.before(layer, i, column)
        key = ("before", layer, i, column)
        if key not in self.memo:
            if layer == 0:
                ids = {t: self.network.vocabulary.index(t) for t in self.tokens(i)}
                found = tabulated(
                    i, {t: Ball(float(self.network.embedding[n, column])) for t, n in ids.items()}
                )
            else:
                found = self._after_mlp(layer - 1, i, column)
            self.memo[key] = found
        return self.memo[key]

    def _after_mlp(self, layer: int, i: int, column: int) -> Form:
        middle, block = self.middle(layer, i, column), self.network.layers[layer]
        if not block.hidden:
            return middle
        written = [n for n in range(block.hidden) if block.down[column, n] != 0]
        units = ((float(block.down[column, n]), self.unit(layer, i, n)) for n in written)
        return self.affine(i, [(1.0, middle), *units])

    def middle(self, layer: int, i: int, column: int) -> Form:
        """The residual stream between attention and MLP."""
        if i != self.position and self.position is not None:
            return self.base.middle(layer, i, column)
        key = ("middle", layer, i, column)
        if key not in self.memo:
            found, block = self.before(layer, i, column), self.network.layers[layer]
            if block.heads:
                wires = zip(*block.wiring[:, :, column].nonzero(), strict=True)
                mixed = [
                    (block.wiring[h, row, column], self.mixed(layer, i, int(h), int(row)))
                    for h, row in wires
                ]
                found = self.affine(i, [(1.0, found), *mixed])
            self.memo[key] = self.named(("middle", layer, column), found)
        return self.memo[key]

    def row(self, layer: int, i: int, kind: str, index: tuple[int, ...]) -> Form:
        """One row of a projection: `kind` query, key, value (read before the layer), gate or up (in
        its middle).
        """
        key = (kind, layer, i, *index)
        if key not in self.memo:
            block = self.network.layers[layer]
            weights, bias = block.arrays[kind][index], block.arrays[f"{kind}_bias"][index]
            stream = self.before if kind in ("query", "key", "value") else self.middle
            self.memo[key] = self.affine(
                i, ((weights[c], stream(layer, i, int(c))) for c in weights.nonzero()[0]), bias
            )
        return self.memo[key]

    def _at(self, i: int) -> View:
        return self if i == self.position or self.position is None else self.base

    def _ball(self, form: Form) -> Ball:
        return form.c if form.constant else self.low(form).union(self.high(form))

    def _keys(self, layer: int, j: int, head: int) -> list[Ball | Table]:
        """The key rows at j: balls, or tables over the token at j (whatever else a key depends on
        goes into a hull).
        """
        view = self._at(j)
        found: list[Ball | Table] = []
        for row in range(self.network.layers[layer].key.shape[1]):
            form = view.row(layer, j, "key", (head, row))
            if j in form.tables:
                found.append({t: view._ball(form.at(j, t)) for t in view.tokens(j)})
            else:
                found.append(view._ball(form))
        return found

    def mixed(self, layer: int, i: int, head: int, row: int) -> Form:
        """Rule ATTN: one value row of a head at position i."""
        key = ("mixed", layer, i, head, row)
        if key in self.memo:
            return self.memo[key]
        rows = self.network.layers[layer].query.shape[1]
        queries = [self.row(layer, i, "query", (head, r)) for r in range(rows)]
        if any(i in query.tables for query in queries):
            cases = {
                t: self._attend(layer, i, head, row, t, [q.at(i, t) for q in queries])
                for t in self.tokens(i)
            }
            found = merged(i, cases)
        else:
            found = self._attend(layer, i, head, row, None, queries)
        if self.position is not None and not found.only(i):
            found = self.symbol(("mixed", layer, head, row), found)
        self.memo[key] = found
        return found

    def _weights(
        self, layer: int, i: int, head: int, own: str | None, queries: list[Form]
    ) -> list[Ball | Table]:
        """The attention weights p_ij as balls or tables over the token at j."""
        key = ("weights", layer, i, head, own)
        if key in self.memo:
            return self.memo[key]  # type: ignore[return-value]
        slope = float(self.network.layers[layer].slopes[head])
        q = [self._ball(form) for form in queries]
        scores: list[Ball | Table] = []
        for j in range(i + 1):
            keys, place = self._keys(layer, j, head), rounded_sum([Ball(slope) * (j - i)], False)

            def score(token: str, keys: list[Ball | Table] = keys, place: Ball = place) -> Ball:
                at = (k[token] if isinstance(k, dict) else k for k in keys)
                return rounded_sum([*(a * b for a, b in zip(q, at, strict=True)), place], False)

            tables = [k for k in keys if isinstance(k, dict)]
            tokens = [own] if own is not None and j == i else list(tables[0]) if tables else []
            scores.append({t: score(t) for t in tokens} if tables else score(""))
        balls = [list(s.values()) if isinstance(s, dict) else [s] for s in scores]
        top = max(ZERO, *(ball.upper() for row in balls for ball in row))
        bottom = max(ZERO, *(min(ball.lower() for ball in row) for row in balls))

        def weight(score: Ball) -> Ball:
            shift = (
                ZERO
                if top.is_zero()
                else UNIT * max(abs(score.lower() - top), abs(score.upper() - bottom)).upper()
            )
            return (score - top + within(shift)).exp() * Ball(1, EXP) + within(TINY)

        made = [
            {t: weight(b) for t, b in s.items()} if isinstance(s, dict) else weight(s)
            for s in scores
        ]
        spread = [hull(w.values()) if isinstance(w, dict) else w for w in made]
        # exact ends: the hull of each summand, then the sum
        low = sum((w.lower() for w in spread), (-top).exp() * Ball(1, EXP) - TINY).lower()
        high = sum((w.upper() for w in spread), (-top).exp() * Ball(1, EXP) + TINY).upper()
        error = gamma(i + 1)
        below = low * (1 - error)
        if not below > 0:
            raise TooWide(
                f"layer {layer}, head {head}, position {i}: over the texts its scores range from"
                f" {min(float(b.lower()) for row in balls for b in row):.4g} to {float(top):.4g};"
                " weights are enclosed where they lie within 700 of each other, and no rule splits"
                " the texts by a score"
            )
        divisor = below.lower().union((high * (1 + error)).upper())

        def share(ball: Ball) -> Ball:
            return ball / divisor * Ball(1, UNIT) + within(TINY)

        found = [
            {t: share(b) for t, b in w.items()} if isinstance(w, dict) else share(w) for w in made
        ]
        self.memo[key] = found  # type: ignore[assignment]
        return found

    def _attend(
        self, layer: int, i: int, head: int, row: int, own: str | None, queries: list[Form]
    ) -> Form:
        values = [self._at(j).row(layer, j, "value", (head, row)) for j in range(i + 1)]
        if own is not None:
            values[i] = values[i].at(i, own)
        count = sum(not value.zero() for value in values)
        if not count:
            return Form()
        weights = self._weights(layer, i, head, own, queries)
        rounding, found, lost = Ball(1, gamma(count)), Form(), ZERO
        for j, (value, weight) in enumerate(zip(values, weights, strict=True)):
            if value.zero():
                continue
            lost += TINY * (1 + self.size(value))
            if isinstance(weight, dict) and value.only(j):
                entries = value.entries(j, weight)
                found = found.plus(
                    tabulated(j, {t: b * weight[t] * rounding for t, b in entries.items()})
                )
            else:
                share = hull(weight.values()) if isinstance(weight, dict) else weight
                found = found.plus(self._times_uncertain(value, share * rounding))
        return found.wider(lost)

    def _times_uncertain(self, value: Form, factor: Ball) -> Form:
        """value * factor for a factor that is the same unknown number for every text: |radius| *
        |value| once.
        """
        if value.symbols:
            return value.times(factor.mid()).wider(factor.rad() * self.size(value))
        return value.times(factor)

    # ---- hidden units ----------------------------------------------------------------------------

    def unit(self, layer: int, i: int, n: int) -> Form:
        """Rules RELU and MUL: relu(gate) * up."""
        key = ("unit", layer, i, n)
        if key in self.memo:
            return self.memo[key]
        gate, up = self.row(layer, i, "gate", (n,)), self.row(layer, i, "up", (n,))
        if gate.only(i):
            if gate.constant and i not in up.tables:
                found = self._product(i, Form(gate.c.nonnegative_part()), up)
            else:
                entries = gate.entries(i, self.tokens(i))
                found = merged(
                    i,
                    {
                        t: self._product(i, Form(ball.nonnegative_part()), up.at(i, t))
                        for t, ball in entries.items()
                    },
                )
        else:
            found = self._product(i, self._relu(layer, i, n, gate), up)
        self.memo[key] = found
        return found

    def _relu(self, layer: int, i: int, n: int, gate: Form) -> Form:
        low, high = self.low(gate), self.high(gate)
        if i == self.position:
            low = max(low, self.lows.get(("gate", layer, n), low))
            high = min(high, self.highs.get(("gate", layer, n), high))
        if low >= 0:
            return gate
        if high <= 0:
            return Form()
        if i == self.position:
            if (layer, n) not in self.phases:
                raise NeedPhase(layer, n, gate)
            return gate if self.phases[layer, n] else Form()
        return chord(gate, low, high)

    def _product(self, i: int, left: Form, right: Form) -> Form:
        """fl(left * right)."""
        if left.zero() or right.zero():
            return Form()
        if not left.constant:
            left, right = right, left
        if not left.constant:
            if left.only(i) and right.only(i):
                a, b = (form.entries(i, self.tokens(i)) for form in (left, right))
                return tabulated(i, {t: rounded_sum([a[t] * b[t]], False) for t in a})
            if left.only(i) or right.only(i):
                return merged(
                    i, {t: self._product(i, left.at(i, t), right.at(i, t)) for t in self.tokens(i)}
                )
            known, other = self._ball(left), self._ball(right)
            if 1000 * other.rad() * self.size(left) < known.rad() * self.size(
                right
            ):  # far better known
                known, right = other, left
            left = Form(known)
        if right.constant:
            return Form(rounded_sum([left.c * right.c], False))
        if right.only(i):
            return tabulated(
                i,
                {
                    t: rounded_sum([left.c * b], False)
                    for t, b in right.entries(i, self.tokens(i)).items()
                },
            )
        found = self._times_uncertain(right, left.c)
        return found.wider(UNIT * abs(left.c).upper() * self.size(right) + TINY)

    # ---- the readout -----------------------------------------------------------------------------

    def margin(self, right: str, other: str) -> Form:
        """Rule READ: logit of `right` minus logit of `other` at the query, both rounded as the
        model rounds them.
        """
        assert self.position is not None
        net, i, depth = self.network, self.position, len(self.network.layers)
        d, c = net.outputs.index(right), net.outputs.index(other)
        sign = -1 if net.argmin else 1
        columns = sorted(
            {int(k) for k in (*net.readout[d].nonzero()[0], *net.readout[c].nonzero()[0])}
        )
        stream = {k: self.before(depth, i, k) for k in columns}
        found = Form((Ball(float(net.readout_bias[d])) - Ball(float(net.readout_bias[c]))) * sign)
        for k, form in stream.items():
            weight = Ball(float(net.readout[d, k])) - Ball(float(net.readout[c, k]))
            found = found.plus(form.times(weight * sign))
        for o in (d, c):
            terms = [
                (float(net.readout[o, k]), stream[k]) for k in columns if net.readout[o, k] != 0
            ]
            bias = abs(float(net.readout_bias[o]))
            count = len(terms) + (bias != 0)
            roundings = count - all(is_power_of_two(w) for w, _ in terms) if count else 0
            if roundings:
                size = sum((self.size(form) * abs(w) for w, form in terms), Ball(bias))
                found = found.wider(gamma(roundings) * size + TINY * count)
        return found


def chord(gate: Form, low: Ball, high: Ball) -> Form:
    """relu over [low, high] around 0 as lam * gate + [0, max(-lam low, (1-lam) high)], lam a
    multiple of 1/256.
    """
    lam = round(256 * float((high / (high - low)).mid())) / 256
    most = max(-low * lam, high * (1 - lam)).upper()
    return gate.times(Ball(lam)).plus(Form(most / 2 + within(most / 2)))
