"""Rule TEXT of a graph: every text of a task by itself, each number as a middle and a radius.

Nothing of the certificate is used but the graph. Nodes are computed in the order of the last
position whose token they depend on; texts that begin alike share what depends on their beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf
from operator import itemgetter, mul
from typing import Any

from tinyadder.verify.certify.check.curves import CURVES, density, normal, pi, square_root
from tinyadder.verify.certify.check.graph import BINARY, OF_ARGUMENT, SOFTMAX_ROUNDINGS, ULPS, Graph
from tinyadder.verify.certify.check.intervals import need
from tinyadder.verify.certify.check.rounding import ULPS as SCORE_ULPS
from tinyadder.verify.certify.check.texts import texts
from tinyadder.verify.certify.check.tokens import Asked, lengths_of, problems
from tinyadder.verify.certify.check.units import ONE, F, over

RULES = {
    "TEXT": "every text by itself: each number of the passes as a middle and a radius; curves by"
    " exp and the normal distribution, developed around the nearest of their stored points",
}
G = 192
"""Numbers are in units of 2^-G."""
DOWN = F - G
UNIT = 1 << G
GRID = 12
"""exp and the normal distribution are stored at multiples of 2^-GRID."""
STEP = 1 << (G - GRID)
NEAR = STEP >> 2
"""The largest radius of what is read around a point."""


def up(units: int) -> int:
    """Units of 2^-F as units of 2^-G, not smaller."""
    return -(-units >> DOWN)


def middle(low: int, high: int) -> tuple[int, int]:
    """An interval in units of 2^-F as a middle and a radius in units of 2^-G."""
    low, high = low >> DOWN, -(-high >> DOWN)
    m = (low + high) >> 1
    return m, max(high - m, m - low)


@lru_cache(1 << 16)
def exp_cell(k: int) -> tuple[int, int]:
    """exp at k 2^-GRID."""
    x = k << (F - GRID)
    return middle(*CURVES["exp"].enclose((x, x)))


@lru_cache(1 << 16)
def normal_cell(k: int) -> tuple[int, int, int, int]:
    """Of the normal distribution at k 2^-GRID: the share below, and the density."""
    x = k << (F - GRID)
    return *middle(*normal(x)), *middle(*density(x))


def nearest(x: int) -> tuple[int, int]:
    """The stored point next to x, and how far x lies from it: at most STEP / 2."""
    k = (x + (STEP >> 1)) // STEP
    return k, x - k * STEP


def exp_near(x: int) -> tuple[int, int]:
    """exp(a + d) = exp(a) (1 + d + d^2 / 2 + d^3 / 6 + ..), the rest below d^4 / 12."""
    k, d = nearest(x)
    value, off = exp_cell(k)
    square = d * d >> G
    series = UNIT + d + (square >> 1) + d * square // (6 << G)
    rest = (square * square >> G) // 12 + 4
    return value * series >> G, 2 * off + (value * rest >> G) + 2


def sigmoid_near(x: int) -> tuple[int, int]:
    """1 / (1 + e^-x), by the exponential that is at most 1."""
    e, off = exp_near(-abs(x))
    share = (UNIT << G) // (UNIT + e)
    return (share if x >= 0 else UNIT - share), off + 2


def normal_near(x: int) -> tuple[int, int, int]:
    """The share of the normal distribution below x, its error, and the density at the stored point.

    N(a + d) = N + n d - a n d^2 / 2 + (a^2 - 1) n d^3 / 6 + .., the rest below d^4 / 40, since
    |n'''| = |3 x - x^3| n is below 0.56.
    """
    k, d = nearest(x)
    share, off, n, doubt = normal_cell(k)
    a = k * STEP
    square = d * d >> G
    first = n * d >> G
    second = (a * n >> G) * square >> (G + 1)
    third = (((a * a >> G) - UNIT) * n >> G) * (d * square >> G) // (6 << G)
    rest = (square * square >> G) // 40 + 8 + doubt
    return share + first - second + third, off + rest, n


BENDS = {"sigmoid": 97, "tanh": 770, "silu": 500, "gelu": 798, "gelu_tanh": 810}
"""Largest sizes of second derivatives, in thousandths: not below those of `curves.CURVES`."""
WIDE = 10 * UNIT
"""Beyond, the normal distribution is read off its curve."""


def curve_at(name: str, m: int, r: int) -> tuple[int, int]:
    """A curve of what lies within r of m: its value at m, and (|slope at m| + bend r) r."""
    plain = name == "exp" and m < UNIT << 5
    if not (plain or name in BENDS) or r > NEAR or (name.startswith("gelu") and abs(m) > WIDE):
        return middle(*CURVES[name].enclose(((m - r) << DOWN, (m + r) << DOWN)))
    if plain:
        value, off = exp_near(m)
        return value, off + 2 * up_product(value + off, r)  # e^r - 1 < 2 r
    if name == "gelu":
        share, off, n = normal_near(m)
        # the density has a slope below 1/4, and its point is less than a step away
        slope, more = share + (m * n >> G), off + up_product(abs(m), STEP) + 2
        value, off = m * share >> G, up_product(abs(m), off) + 1
    elif name == "gelu_tanh":
        share, off, slope, more = by_inner(m)
        value, off = m * share >> G, up_product(abs(m), off) + 1
    else:
        share, off = sigmoid_near(2 * m if name == "tanh" else m)
        fall, more = share * (UNIT - share) >> G, 4 * off + 8
        if name == "sigmoid":
            value, slope = share, fall
        elif name == "tanh":
            value, slope, off = 2 * share - UNIT, 4 * fall, 2 * off
        else:
            value, slope = m * share >> G, share + (m * fall >> G)
            more = up_product(abs(m) + UNIT, more)
            off = up_product(abs(m), off) + 1
    steepest = abs(slope) + more + r * BENDS[name] // 1000 + 1
    return value, off + up_product(steepest, r)


def by_inner(x: int) -> tuple[int, int, int, int]:
    """sigmoid of y = sqrt(8 / pi) (x + 0.044715 x^3) and its error; the slope of x times it, and
    the error of that. For |x| <= 10: y is cut off by less than 2^10 units, and y' is below 24.
    """
    root = root_8_pi()
    square = x * x >> G
    y = root * (x + (44715 * square // 10**6) * x // UNIT) >> G
    share, off = sigmoid_near(y)
    rise = root * (UNIT + 134145 * square // 10**6) >> G
    fall = share * (UNIT - share) >> G
    slope = share + (x * (fall * rise >> G) >> G)
    off += 1 << 10
    return share, off, slope, off << 10


@lru_cache(1)
def root_8_pi() -> int:
    """sqrt(8 / pi), to within two units."""
    low, _ = square_root(over((8 * ONE, 8 * ONE), pi()))
    return low >> DOWN


class PassReader:
    """The numbers of one pass, text by text."""

    def __init__(self, graph: Graph, which: int) -> None:
        nodes, self.logits, self.length, *_ = graph.passes[which]
        r = graph.rounding
        self.r, self.largest = r, r.largest >> DOWN
        self.tiny = up(r.tiny)
        constants = [(0, 0) if c is None else middle(*c) for c in graph.constants]
        self.masked = {-1 - n for n, c in enumerate(graph.constants) if c is None}
        # constant -1 - n is at index -1 - n: from behind
        ends = constants[::-1]
        self.m = [0] * len(nodes) + [m for m, _ in ends]
        self.rad = [0] * len(nodes) + [r for _, r in ends]
        self.size = [0] * len(nodes) + [abs(m) + r for m, r in ends]
        self.tokens = [0] * self.length
        self._gamma: dict[int, int] = {}
        levels = self._levels(nodes)
        self.plan: list[list[Callable[[], None]]] = [[] for _ in range(self.length)]
        done: set[int] = set()
        for a, node in enumerate(nodes):
            if node[0] == "token":
                continue
            if node[0] == "softmax":
                if node[3] not in done:
                    done.add(node[3])
                    self.plan[levels[a]].append(self._softmax(a, node[1]))
                continue
            if node[0] == "add" and self.masked & {*node[1]}:
                self.masked.add(a)  # its number has a step of its own: it is finite
                continue
            self.plan[levels[a]].append(self._of(a, node))

    def _levels(self, nodes: Sequence[Any]) -> list[int]:
        """The last position whose token a node depends on."""
        found: list[int] = []
        for node in nodes:
            if node[0] == "token":
                found.append(node[1])
            elif node[0] == "look":
                found.append(found[node[1]])
            else:
                read = [found[a] for a in node[1] if a >= 0]
                found.append(max(read, default=0))
        return found

    def read(self, shared: int, tokens: Sequence[int]) -> None:
        """A text, of which the first `shared` tokens are those of the last one."""
        for position in range(shared, self.length):
            self.tokens[position] = tokens[position]
            for compute in self.plan[position]:
                compute()

    def margin(self, right: int) -> int:
        """How far the logit `right` is above every other, at least."""
        least, read = None, [(self.m[a], self.rad[a]) for a in self.logits]
        low = read[right][0] - read[right][1]
        for c, (m, r) in enumerate(read):
            if c != right and (least is None or low - m - r < least):
                least = low - m - r
        need(least is not None, "there is one logit only")
        assert least is not None
        return least

    # ---- each operation --------------------------------------------------------------------------

    def gamma(self, n: int) -> int:
        """The relative error of n roundings."""
        if n not in self._gamma:
            self._gamma[n] = up(self.r.gamma(n))
        return self._gamma[n]

    def put(self, a: int, m: int, r: int) -> None:
        size = abs(m) + r
        need(size < self.largest, "a number may overflow")
        self.m[a], self.rad[a], self.size[a] = m, r, size

    def rounded(self, a: int, m: int, r: int, roundings: int, more: int = 0) -> None:
        """A result and so many roundings, and an error."""
        error = (up_product(self.gamma(roundings), abs(m) + r)) + (roundings + 1) * self.tiny
        self.put(a, m, r + error + more + 1)

    def _of(self, a: int, node: Any) -> Callable[[], None]:
        op = node[0]
        if op == "look":
            return self._look(a, node[1], node[2])
        if op == "max":
            return self._largest(a, tuple(b for b in node[1] if b not in self.masked))
        need(all(b not in self.masked for b in node[1]), "minus infinity outside of a softmax")
        if op in ("sum", "dot"):
            return self._dot(a, op, node[1])
        if op in BINARY:
            return self._binary(a, op, *node[1])
        return self._curve(a, op, node[1][0])

    def _look(self, a: int, position: int, table: tuple[int, ...]) -> Callable[[], None]:
        need(not self.masked & {*table}, "minus infinity outside of a softmax")

        def compute() -> None:
            token = self.tokens[position]
            need(0 <= token < len(table), "a token beyond a table")
            b = table[token]
            self.m[a], self.rad[a], self.size[a] = self.m[b], self.rad[b], self.size[b]

        return compute

    def _dot(self, a: int, op: str, given: tuple[int, ...]) -> Callable[[], None]:
        """LINEAR."""
        m, rad, size = self.m, self.rad, self.size
        n = len(given) if op == "sum" else len(given) // 2
        gamma, tiny = up(self.r.gamma(n)), n * self.tiny
        first = several(given[:n])
        if op == "sum":

            def add_up() -> None:
                magnitude = sum(first(size))
                need(magnitude < self.largest, "a number may overflow")
                error = up_product(gamma, magnitude) + tiny + 2
                self.put(a, sum(first(m)), sum(first(rad)) + error)

            return add_up
        second = several(given[n:])

        def compute() -> None:
            p, q = first(m), second(m)
            large, other = first(size), second(size)
            r = sum(map(mul, large, second(rad))) + sum(map(mul, first(rad), other))
            magnitude = (sum(map(mul, large, other)) >> G) + 1
            error = up_product(gamma, magnitude) + tiny + 2
            need(magnitude < self.largest, "a number may overflow")
            self.put(a, sum(map(mul, p, q)) >> G, (r >> G) + 1 + error)

        return compute

    def _largest(self, a: int, given: tuple[int, ...]) -> Callable[[], None]:
        """The largest of these numbers; what is masked is none."""
        m, rad = self.m, self.rad
        need(len(given) > 0, "the largest of nothing")

        def compute() -> None:
            low = max(m[b] - rad[b] for b in given)
            high = max(m[b] + rad[b] for b in given)
            self.put(a, low + high >> 1, (high - low >> 1) + 1)

        return compute

    def _binary(self, a: int, op: str, x: int, y: int) -> Callable[[], None]:
        m, rad, size = self.m, self.rad, self.size

        def add() -> None:
            self.rounded(a, m[x] + m[y], rad[x] + rad[y], 1)

        def sub() -> None:
            self.rounded(a, m[x] - m[y], rad[x] + rad[y], 1)

        def times() -> None:
            r = (size[x] * rad[y] + rad[x] * size[y] >> G) + 2
            self.rounded(a, m[x] * m[y] >> G, r, 1)

        def over() -> None:
            least = abs(m[y]) - rad[y]
            need(least > 0, "a divisor may be zero")
            q = (m[x] << G) // m[y]
            r = ((rad[x] << G) + (abs(q) + 1) * rad[y]) // least + 2
            self.rounded(a, q, r, 1)

        return {"add": add, "sub": sub, "mul": times, "div": over}[op]

    def _curve(self, a: int, op: str, x: int) -> Callable[[], None]:
        """One operation on one number: `graph.Reading.computed` has the same errors."""
        m, rad, size = self.m, self.rad, self.size

        def negative() -> None:
            self.put(a, -m[x], rad[x])

        def absolute() -> None:
            self.put(a, abs(m[x]), rad[x])

        def square() -> None:
            self.rounded(a, m[x] * m[x] >> G, (2 * size[x] * rad[x] >> G) + 2, 1)

        def relu() -> None:
            low, high = m[x] - rad[x], m[x] + rad[x]
            if low >= 0:
                self.put(a, m[x], rad[x])
            elif high <= 0:
                self.put(a, 0, 0)
            else:
                self.put(a, high >> 1, (high >> 1) + 1)

        small = up(ONE >> 80)
        argument, units = OF_ARGUMENT.get(op), ULPS.get(op, 0)
        far = small if op in ("silu", "sigmoid", "tanh") else 0

        def of_argument() -> None:
            found = curve_at(op, m[x], rad[x])
            assert argument is not None
            self.rounded(a, *found, 1, up_product(self.gamma(argument), size[x]) + small)

        def curve() -> None:
            self.rounded(a, *curve_at(op, m[x], rad[x]), units, far)

        plain = {"neg": negative, "abs": absolute, "square": square, "relu": relu}
        return plain.get(op) or (of_argument if argument is not None else curve)

    def _softmax(self, first: int, scores: tuple[int, ...]) -> Callable[[], None]:
        """SOFTMAX: weights from the exponentials of scores; what is masked has the weight 0."""
        m, rad = self.m, self.rad
        read = [(j, s) for j, s in enumerate(scores) if s not in self.masked]
        need(len(read) > 0, "a softmax of nothing")
        roundings = up(self.r.gamma(len(read) + SOFTMAX_ROUNDINGS))
        ulps, one = up(self.r.gamma(SCORE_ULPS["exp"])), up(self.r.gamma(1))

        def compute() -> None:
            top = max(m[s] + rad[s] for _, s in read)
            need(top < self.largest, "a number may overflow")
            parts, total, doubt = [], 0, 0
            for _, s in read:
                x = m[s] - top
                need(-x + rad[s] < self.largest, "a number may overflow")
                e, r = curve_at("exp", x, rad[s] + up_product(one, rad[s] - x) + 1)
                r += up_product(ulps, e + r) + self.tiny + 1
                parts.append((e, r))
                total, doubt = total + e, doubt + r
            least = total - doubt
            need(least > 0, "a norm may divide by zero")
            for (j, _), (e, r) in zip(read, parts, strict=True):
                q = (e << G) // total
                away = ((r << G) + (q + 1) * doubt) // least + 2
                away += up_product(roundings, q + away) + self.tiny + 1
                self.m[first + j], self.rad[first + j] = q, away
                self.size[first + j] = q + away

        return compute


def up_product(x: int, y: int) -> int:
    """x y for x, y >= 0, not smaller."""
    return (x * y >> G) + 1


def several(indices: tuple[int, ...]) -> Callable[[Sequence[int]], Sequence[int]]:
    """The entries of a list at these places, as a sequence also where there is one."""
    if len(indices) == 1:
        (only,) = indices
        return lambda values: (values[only],)
    return itemgetter(*indices)


def smallest_margin(graph: Graph, logits: list[str], every: list[Asked]) -> tuple[int, int, int]:
    """The smallest margin of all answer tokens of all texts (in units of 2^-G), how many texts
    there are, and how many answer tokens were judged. Raises `Rejected` where it is not positive.
    """
    passes = lengths_of(graph.passes, every)
    least: float = inf
    judged = 0
    for one in every:
        reader = PassReader(graph, passes.index(one.place))
        before: tuple[str, ...] = ()
        said: dict[tuple[str, ...], str] = {}
        for text in texts(one.stages):
            prompt, right = text[: one.place], text[one.place]
            if prompt == before:
                need(said == {prompt: right}, "two answers to one text")
                continue
            shared = 0
            while before and before[shared] == prompt[shared]:
                shared += 1
            reader.read(shared, [int(t) for t in prompt])
            margin = reader.margin(logits.index(right))
            judged += 1
            need(margin > 0, f"{' '.join(prompt)}: '{right}' may not have the largest logit")
            least = min(least, margin)
            before, said = prompt, {prompt: right}
    need(least < inf, "there are no texts")
    return int(least), problems(every), judged
