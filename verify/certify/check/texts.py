"""Rule TEXT: every text of a specification by itself, token by token, all numbers intervals.

    x = embedding[token]; x += wiring(softmax1(q . k + slope (j - i)) v); x += down(relu(gate x) *
    up x); logits = U x

Nothing of the certificate is used. Texts that begin alike share what is computed of their
beginning: a decoder's numbers at a position depend on the tokens up to there only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import tinyadder.verify.certify.check.intervals as iv
from tinyadder.verify.certify.check.forward import power_of_two
from tinyadder.verify.certify.check.intervals import ONE, ZERO, F, Interval, exact, mul, need
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.check.specifications import Moves

RULES = {"TEXT": "every text by itself: each number of the forward pass as an interval"}
MOST = 200_000
"""The most texts of a specification; a text costs milliseconds."""
HUGE = ONE << 1000
"""What no sum of sizes may reach: no number overflows, in any order of summation."""


def bounded(numbers: Sequence[Interval]) -> Sequence[Interval]:
    """The terms of a sum, if no partial sum can overflow."""
    need(sum(map(iv.size, numbers)) < HUGE, "a number may overflow")
    return numbers


class LinearRow:
    """fl(sum w_k x_k + b), the zeros left out: rule LINEAR for intervals."""

    def __init__(self, weights: Sequence[float], bias: float = 0.0) -> None:
        self.terms = [(k, exact(w)) for k, w in enumerate(weights) if w]
        self.bias = [exact(bias)] if bias else []
        self.unrounded = all(power_of_two(w) for w in weights if w)

    def of(self, x: Sequence[Interval]) -> Interval:
        found = [(w, x[k]) for k, w in self.terms if x[k] != ZERO]
        if len(found) + len(self.bias) == 1 and (self.bias or found[0][0] == (ONE, ONE)):
            return self.bias[0] if self.bias else found[0][1]
        products = [mul(w, value) for w, value in found]
        return iv.rounded_sum(bounded([*products, *self.bias]), self.unrounded)


class CachedHead:
    """The rows of a head; what is kept of each position read so far: its keys and values."""

    def __init__(self, layer: Any, h: int) -> None:
        for kind in ("query", "key", "value"):
            rows, biases = getattr(layer, kind)[h], getattr(layer, f"{kind}_bias")[h]
            setattr(self, kind, [LinearRow(w, b) for w, b in zip(rows, biases, strict=True)])
        self.query: list[LinearRow]
        self.key: list[LinearRow]
        self.value: list[LinearRow]
        self.slope = exact(layer.slopes[h])
        self.read: list[tuple[list[Interval], list[Interval]]] = []

    def attend(self, x: Sequence[Interval]) -> list[Interval]:
        """ATTN: the mixed value of each row, as in `forward.ForwardPass`."""
        queries = [row.of(x) for row in self.query]
        self.read.append(([row.of(x) for row in self.key], [row.of(x) for row in self.value]))
        i, scores = len(self.read) - 1, []
        for j, (keys, _) in enumerate(self.read):
            place = iv.nearest(mul(self.slope, (j - i << F, j - i << F)))
            products = [mul(a, b) for a, b in zip(queries, keys, strict=True)]
            scores.append(iv.rounded_sum(bounded([*products, place]), False))
        bottom = max(0, *(low for low, _ in scores))
        top = max(0, *(high for _, high in scores))
        shares = []
        for low, high in scores:
            error = -(-iv.size((low - top, high - bottom)) >> 53) if top else 0
            shares.append(iv.exp((low - top - error, min(0, high - top + error))))
        total = iv.exp((-top, -top))
        for share in shares:
            total = iv.add(total, share)
        total = iv.spread(total, iv.gamma(i + 1))
        weights = [iv.once(iv.over(share, total)) for share in shares]
        return [self.mixed(weights, r) for r in range(len(self.value))]

    def mixed(self, weights: Sequence[Interval], r: int) -> Interval:
        values = [values[r] for _, values in self.read]
        count, found = sum(value != ZERO for value in values), ZERO
        for weight, value in zip(weights, values, strict=True):
            if value != ZERO:
                share = iv.spread(weight, iv.gamma(count - 1))
                found = iv.add(found, iv.nearest(mul(share, value)))
        return iv.wider(found, count)


class Reader:
    """A model that reads one token after the other, and can go back."""

    def __init__(self, model: ProgramModel) -> None:
        self.model, width = model, model.width
        self.embedding = [[exact(x) for x in row] for row in model.embedding]
        self.layers = []
        for layer in model.layers:
            heads = [CachedHead(layer, h) for h in range(len(layer.wiring))]
            wires = [row for rows in layer.wiring for row in rows]
            middle = [LinearRow([1.0, *(wire[k] for wire in wires)]) for k in range(width)]
            units = [
                (LinearRow(gate, a), LinearRow(up, b))
                for gate, a, up, b in zip(
                    layer.gate, layer.gate_bias, layer.up, layer.up_bias, strict=True
                )
            ]
            after = [LinearRow([1.0, *down]) for down in layer.down]
            self.layers.append((heads, middle, units, after))
        self.logits = {token: LinearRow(*model.logit(token)) for token in model.outputs}

    def forget(self, length: int) -> None:
        """Go back to the first `length` tokens."""
        for heads, *_ in self.layers:
            for head in heads:
                del head.read[length:]

    def next(self, token: str) -> list[Interval]:
        """The residual stream behind one more token, after the last layer."""
        x = self.embedding[self.model.vocabulary.index(token)]
        for heads, middle, units, after in self.layers:
            mixed = [value for head in heads for value in head.attend(x)]
            if mixed:
                x = [row.of([old, *mixed]) for row, old in zip(middle, x, strict=True)]
            if units:
                values = []
                for gate, up in units:
                    low, high = gate.of(x)
                    open_ = (max(0, low), max(0, high))
                    found = mul(open_, up.of(x)) if open_ != ZERO else ZERO
                    values.append(iv.nearest(*bounded([found])))
                x = [row.of([old, *values]) for row, old in zip(after, x, strict=True)]
        return x

    def margin(self, x: Sequence[Interval], right: str) -> int:
        """READ: how far the logit of `right` is above every other, at least."""
        logits = {token: row.of(x) for token, row in self.logits.items()}
        others = (high for token, (_, high) in logits.items() if token != right)
        return logits[right][0] - max(others, default=logits[right][0] - ONE)


def texts(stages: Sequence[tuple[int, Moves]]) -> Iterator[tuple[str, ...]]:
    """Every path of the automaton as a text, in the order of dictionaries."""
    found: list[tuple[int, tuple[tuple[int, str], ...]]] = [(0, ())]
    for position, moves in stages:
        ways: dict[int, list[tuple[int, str]]] = {}
        for s, to, token in moves:
            ways.setdefault(s, []).append((to, token))
        found = [
            (to, (*read, (position, token))) for s, read in found for to, token in ways.get(s, [])
        ]
        need(len(found) <= MOST, f"more than {MOST:,} texts to go through")
    yield from sorted(tuple(token for _, token in sorted(read)) for _, read in found)


def smallest_margin(
    model: ProgramModel, start: int, stages: Sequence[tuple[int, Moves]]
) -> tuple[float, int]:
    """The smallest margin of all answer tokens of all texts, and how many tokens were read.

    Raises `Rejected` where it is not positive.
    """
    reader, found, read = Reader(model), inf, 0
    before: tuple[str, ...] = ()
    for text in texts(stages):
        shared = 0
        while shared < len(before) and before[shared] == text[shared]:
            shared += 1
        need(shared < start, "two texts have one prompt")
        reader.forget(shared)
        for i in range(shared, len(text) - 1):
            x, read = reader.next(text[i]), read + 1
            if i >= start - 1:
                right = text[i + 1]
                need(right in reader.logits, f"position {i + 1}: an answer has no logit")
                margin = reader.margin(x, right)
                prefix = "".join(text[: i + 1])
                need(margin > 0, f"{prefix}: '{right}' may not have the largest logit")
                found = min(found, margin)
        before = text
    return found, read
