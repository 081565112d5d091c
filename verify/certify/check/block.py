"""The forward pass of a decoder with one block of softmax attention, as enclosures of what any
permitted execution computes; axes: i query position, j <= i, token t, head h, column of the stream.

    n = norm(E[t]);  q, k, v = rows of n, rotated by i or j;  w_j = softmax_j(q . k / sqrt(d_head))
    x = E[t_i] + W sum_j w_j v_j;  x = x + down(act(gate norm(x)) * up norm(x));  logits = E norm(x)

Keys and values are tables over the token at j. `leaf` bounds, for texts whose tokens are fixed at
some positions, what attention writes (a box), and `margin` what is computed from a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from tinyadder.verify.certify.check.curves import cos_sin, inverse_root, silu, turn
from tinyadder.verify.certify.check.files import integer, same
from tinyadder.verify.certify.check.intervals import (
    ZERO,
    Interval,
    add,
    join,
    need,
    neg,
    size,
    wider,
)
from tinyadder.verify.certify.check.model import CONFIG, ModelFiles
from tinyadder.verify.certify.check.rounding import (
    ROUNDING,
    ULPS,
    Rounding,
    total,
    weight_of,
)
from tinyadder.verify.certify.check.units import ONE, F, exact, mul

Box = list[Interval]
EPSILON = (exact(1e-6)[0] - (ONE >> 40), exact(1e-6)[1] + (ONE >> 40))
"""What norms add to the mean of squares, in any of the two formats."""
OPTIONS = {
    "softmax": ("softmax",),
    "positions": ("rotary", "waves"),
    "context": (0,),
    "norm": ("rms",),
    "norm_place": ("pre",),
    "gains": (True, False),
    "embedding": ("table", "circle"),
    "activation": ("silu",),
    "gated": (True,),
    "scaled": (True, False),
    "projected": (True,),
    "biases": (True, False),
    "repeat": (1,),
}
"""What the rules cover. Dropout does nothing outside training."""


CIRCLE = 4
"""What cos and sin of the angles of a circle may be off by, in units of 2^-p, as assumed."""
VERSION = 4
"""Of certificates about a block."""
RULES = {
    "NORM": "g x / sqrt(mean x^2 + eps), each column as a rising function of its own x, over the"
    " range of the rest; n + 4 roundings and those of the inverse root",
    "LINEAR": "fl(sum of n products) lies within gamma(n) times the sum of their sizes; the"
    " residual stream is one such sum: itself and all that a sublayer adds",
    "WAVES": "a score is a sum of weights times cos and sin of the distance, as numbers of the"
    " format",
    "CIRCLE": "r cos(a + d t) and r sin(a + d t), with the rounding of each step",
    "ROTARY": "pairs of rows turned by position * base^(-pair / pairs); cos and sin are numbers of"
    " the format next to the exact ones",
    "SOFTMAX": "a weighted mean of values: sum p v / sum p, p = exp(score - largest), with the"
    " rounding of the difference and of exp in p, and 2 n roundings in all that follows",
    "BOX": "a column of the mean is at least b if sum p (v - b) >= 0 on every text of the branch:"
    " near positions by a shortest path, far ones at most their weight times the spread of values",
    "SHIFT": "one tree for several positions, where the moves of each, shifted, are among those"
    " that it reads, with weights that hold those of every position",
    "SMOOTH": "silu is enclosed by its ends where it is monotone, and by its least value",
    "CUT": "a box is decided by one enclosure, or by those of its halves",
    "READ": "differences of two logits times the root of the final norm, which is positive",
}
"""The rules of a proof about a block; docs/proofs.md has them in full."""


def rules_for(options: dict[str, Any]) -> list[str]:
    """The names of the rules for a block with these options."""
    waves, circle = options["positions"] == "waves", options["embedding"] == "circle"
    unused = {"ROTARY" if waves else "WAVES", "" if circle else "CIRCLE"}
    return [name for name in RULES if name not in unused]


class BlockModel(ModelFiles):
    """A decoder of one block, its arrays as nested lists of points."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name, allowed in OPTIONS.items():
            fits = any(same(self.options[name], value) for value in allowed)
            need(fits, f"the option '{name}' is one that no rule covers")
        usual = {"unembedding": False, "tied": True}
        for name, value in {**CONFIG, **usual}.items():
            if name not in ("options", "lanes"):
                need(same(self.given[name], value), f"the model has '{name}' that no rule covers")
        need(len(self.blocks) == 1, "the rules are for one block")
        (sizes,) = self.blocks
        need(min(sizes.values()) > 0 and max(sizes.values()) <= 64, "sizes that no rule covers")
        self.heads, self.d_head = sizes["heads"], sizes["d_head"]
        self.d_value, self.hidden = sizes["d_value"], sizes["hidden"]
        base, self.scaled = self.options["rotary_base"], self.options["scaled"]
        need(type(base) is float and base == int(base), "a rotary base that is no whole number")
        self.base = integer(int(base), 2, 10**6)
        biases = self.options["biases"]
        self.rounding: Rounding = ROUNDING[self.dtype]

        def array(name: str, *shape: int) -> list:
            there = name in self.tensors and same(self.tensors[name][0], list(shape))
            need(there, f"tensor '{name}' is missing or misshapen")
            self.plain[name] = name
            values = self.tensors[name][1]
            need(all(isfinite(x) for x in values), f"tensor '{name}' is not finite")
            flat: list = [exact(x) for x in values]
            if not flat:
                return [[] for _ in range(shape[0])]
            for n in reversed(shape[1:]):
                flat = [flat[k : k + n] for k in range(0, len(flat), n)]
            return flat

        h, d, a, m = self.heads, self.width, "blocks.0.attention.", "blocks.0.mlp."
        self.on_a_circle = self.options["embedding"] == "circle"
        self.embedding = (
            self.on_circle(*array("circle", 3))
            if self.on_a_circle
            else array("embedding", len(self.vocabulary), d)
        )
        waves = self.options["positions"] == "waves"
        need(not waves or self.d_head % 2 == 0, "half a wave")
        self.waves = array(a + "waves", h, self.d_head) if waves else None
        scored = 0 if waves else self.d_head
        rows = {"query": scored, "key": scored, "value": self.d_value}
        self.weights = {name: array(a + name, h, r, d) for name, r in rows.items()}
        self.biases = {
            name: array(f"{a}{name}_bias", h, r) if biases else [[ZERO] * r] * h
            for name, r in rows.items()
        }
        self.wiring = array(a + "wiring", h, self.d_value, d)
        need(set(array(a + "slopes", h)) == {ZERO}, "rotary attention with slopes")
        self.gains = {
            name: array(f"{name}.weight", d) if self.options["gains"] else [(ONE, ONE)] * d
            for name in ("blocks.0.attention_norm", "blocks.0.mlp_norm", "final_norm")
        }
        self.gate, self.up = array(m + "gate", self.hidden, d), array(m + "up", self.hidden, d)
        no_bias = [ZERO] * self.hidden
        self.gate_bias = array(m + "gate_bias", self.hidden) if biases else no_bias
        self.up_bias = array(m + "up_bias", self.hidden) if biases else no_bias
        self.down = array(m + "down", d, self.hidden)
        need(set(self.plain) == set(self.tensors), "the weights hold other tensors")
        ids_of = {token: t for t, token in enumerate(self.vocabulary)}
        self.row = {token: self.embedding[t] for token, t in ids_of.items()}
        self.normed = {
            token: self.norm(row, self.gains["blocks.0.attention_norm"])
            for token, row in self.row.items()
        }
        self.readout = {token: self.row[token] for token in self.outputs}
        self.heads_of_token = {token: self.rows_of(token) for token in self.vocabulary}
        # each is asked for again and again with the same arguments
        self.rotated = lru_cache(1 << 16)(self.rotated)  # type: ignore[method-assign]
        self.written = lru_cache(1 << 12)(self.written)  # type: ignore[method-assign]
        self.score = lru_cache(1 << 18)(self.score)  # type: ignore[method-assign]
        self.pair = lru_cache(1 << 12)(self.pair)  # type: ignore[method-assign]

    def numerics(self) -> dict[str, str]:
        """What is assumed of the machine that runs the model."""
        bits = self.rounding.bits
        return {
            "arithmetic": f"IEEE {'binary32' if bits == 24 else 'binary64'}, round to nearest;"
            " products, sums, quotients correctly rounded",
            "sums": "in any order and tree, with or without fused multiply-add",
            **{name: f"error at most {n} * 2^-{bits} of the result" for name, n in ULPS.items()},
            "cos, sin": f"of {self.options['positions']} positions: within 2^-{bits} + 2^-44"
            + (f", of a circle: within {CIRCLE} * 2^-{bits}" if self.on_a_circle else ""),
            "underflow": "gradual or flushed to zero",
            "overflow": "none, checked by magnitudes",
            "programs": "torch eager (whole texts, cached, batched)",
            "outside": "TF32, bfloat16, half precision, Strassen-like products",
        }

    # ---- rules ----------------------------------------------------------------------------------

    def norm(self, x: Sequence[Interval], gain: Sequence[Interval]) -> Box:
        """NORM: g x / sqrt(mean x^2 + eps), each column as a rising function of its own x.

        n + 2 roundings in the mean and the sum with eps, one inverse root, two products.
        """
        n, squares = len(x), [square(a) for a in x]
        found = []
        for k, (a, g) in enumerate(zip(x, gain, strict=True)):
            rest = total(s for m, s in enumerate(squares) if m != k)
            ends = []
            for end, low in ((a[0], True), (a[1], False)):
                # a positive x shrinks with the rest of the stream, a negative one grows
                other = rest[1] if (end >= 0) == low else rest[0]
                own = end * end
                mean = ((own >> F) + other) // n, (-(-own >> F) + other) // n + 1
                factor = inverse_root(add(mean, EPSILON))
                ends.append(mul((end, end), factor))
            y = mul(join(ends), g)
            found.append(self.rounding.spread(y, n + 4 + ULPS["rsqrt"]))
        return found

    def rows_of(self, token: str) -> dict[str, list[Box]]:
        """LINEAR: query, key and value rows of every head at a token."""
        x = self.normed[token]
        return {
            name: [
                [
                    self.rounding.dot([*zip(row, x, strict=True), ((ONE, ONE), bias)])
                    for row, bias in zip(rows, biases, strict=True)
                ]
                for rows, biases in zip(weights, self.biases[name], strict=True)
            ]
            for name, weights in self.weights.items()
        }

    def on_circle(self, radius: Interval, first: Interval, step: Interval) -> list[Box]:
        """CIRCLE: the rows of all tokens; angle: a product and a sum, its cos and sin, a product
        with the radius.
        """
        need(self.width >= 2, "a circle in one column")
        places = {token: d for d, token in enumerate(self.outputs)}
        found = []
        for token in self.vocabulary:
            place = places.get(token, 0)
            angle = self.rounding.dot([((place << F, place << F), step), ((ONE, ONE), first)])
            turned = (wider(x, CIRCLE * ONE >> self.rounding.bits) for x in cos_sin(angle))
            rows = [self.rounding.spread(mul(radius, x), 1) for x in turned]
            found.append([*rows, *[ZERO] * (self.width - 2)])
        return found

    def format_turn(self, position: int, pair: int) -> list[Interval]:
        """cos and sin of position * base^(-pair / pairs), as numbers of the format."""
        error = (ONE >> self.rounding.bits) + (ONE >> 44)
        return [wider(x, error) for x in turn(position, pair, self.d_head // 2, self.base)]

    def rotated(self, name: str, head: int, token: str, position: int) -> Box:
        """ROTARY: pairs (k, k + half) turned by position * base^(-k / half); cos and sin as
        numbers of the format.
        """
        x, half = self.heads_of_token[token][name][head], self.d_head // 2
        found = list(x)
        for k in range(half):
            cos, sin = self.format_turn(position, k)
            found[k] = self.rounding.dot([(cos, x[k]), (neg(sin), x[k + half])])
            found[k + half] = self.rounding.dot([(cos, x[k + half]), (sin, x[k])])
        if name == "query" and self.scaled:
            scale = inverse_root((self.d_head << F, self.d_head << F))
            scale = self.rounding.spread(scale, 2)
            found = [self.rounding.spread(mul(scale, a), 1) for a in found]
        return found

    def score(self, head: int, i: int, own: str, j: int, token: str) -> Interval:
        """LINEAR: query times key, a slope of 0 adds nothing; or WAVES: the turns of the distance
        times their weights.
        """
        if self.waves is not None:
            half = self.d_head // 2
            turns = [self.format_turn(i - j, k) for k in range(half)]
            by_wave = [*(cos for cos, _ in turns), *(sin for _, sin in turns)]
            return self.rounding.dot([*zip(self.waves[head], by_wave, strict=True)])
        query = self.rotated("query", head, own, i)
        return self.rounding.dot(list(zip(query, self.rotated("key", head, token, j), strict=True)))

    def written(self, head: int, token: str) -> Box:
        """What attending to a token alone would write, in columns of the stream, not rounded."""
        value, wiring = self.heads_of_token[token]["value"][head], self.wiring[head]
        return [
            total(mul(v, row[k]) for v, row in zip(value, wiring, strict=True))
            for k in range(self.width)
        ]

    def weight(self, head: int, i: int, own: str, j: int, token: str, top: int) -> Interval:
        """SOFTMAX: what the exponential at j can be, see `weight_of`."""
        return weight_of(self.score(head, i, own, j, token), top, self.rounding)

    # ---- boxes ----------------------------------------------------------------------------------

    def pair(self, right: str, other: str) -> tuple[Box, Box, Box]:
        """Weights of the difference of two logits: of columns, of units, and sizes for rounding."""
        gain = self.gains["final_norm"]
        r, o = self.readout[right], self.readout[other]
        columns = [mul(g, add(a, neg(b))) for g, a, b in zip(gain, r, o, strict=True)]
        units = [
            total(mul(c, row[n]) for c, row in zip(columns, self.down, strict=True))
            for n in range(self.hidden)
        ]
        sizes = [
            mul((size(g), size(g)), (size(a) + size(b), size(a) + size(b)))
            for g, a, b in zip(gain, r, o, strict=True)
        ]
        return columns, units, sizes

    def margin(self, x: Box, right: str) -> int:
        """The least difference of the right logit to any other, times the root of the final norm
        (a positive number that all logits share), over a box of the stream after attention.
        """
        r = self.rounding
        y = self.norm(x, self.gains["blocks.0.mlp_norm"])
        units = []
        for n in range(self.hidden):
            one = (ONE, ONE)
            gate = r.dot([*zip(self.gate[n], y, strict=True), (one, self.gate_bias[n])])
            up = r.dot([*zip(self.up[n], y, strict=True), (one, self.up_bias[n])])
            # far left, where exp overflows, silu may be 0
            act = wider(r.spread(silu(gate), ULPS["silu"]), ONE >> 80)
            units.append(r.spread(mul(act, up), 1))
        # sizes of the stream after the MLP, and its rounding as one sum
        largest, errors = [], []
        for k, a in enumerate(x):
            magnitude = size(a) + sum(
                size(w) * size(u) >> F for w, u in zip(self.down[k], units, strict=True)
            )
            magnitude += self.hidden
            need(magnitude < r.largest, "a number may overflow")
            errors.append(r.sum_error(self.hidden + 1, magnitude))
            largest.append(magnitude + errors[-1])
        margins, final = [], r.gamma(self.width + 2)
        for other in self.outputs:
            if other == right:
                continue
            columns, weights, sizes = self.pair(right, other)
            low = total(mul(c, a) for c, a in zip(columns, x, strict=True))[0]
            low += total(mul(w, u) for w, u in zip(weights, units, strict=True))[0]
            low -= sum((size(c) * e >> F) + 1 for c, e in zip(columns, errors, strict=True))
            magnitude = sum((s[1] * m >> F) + 1 for s, m in zip(sizes, largest, strict=True))
            low -= (final * magnitude >> F) + 1
            margins.append(low)
        return min(margins)


def square(a: Interval) -> Interval:
    """x^2."""
    low, high = sorted((a[0] * a[0], a[1] * a[1]))
    return 0 if a[0] <= 0 <= a[1] else low >> F, -(-high >> F)
