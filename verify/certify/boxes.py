"""Look for a proof of a decoder with one block of softmax attention: which positions matter, where
to split, how large the boxes are, where to cut them. `check.boxes` has the rules and judges.

Everything here is a search in ordinary floating point; nothing of it has to be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from joblib import Parallel, delayed

from tinyadder.verify.certify.check.block import BlockModel
from tinyadder.verify.certify.check.boxes import GRID, LEAST, Tree
from tinyadder.verify.certify.check.intervals import Rejected
from tinyadder.verify.certify.check.specifications import Automaton, Moves, specify
from tinyadder.verify.certify.check.units import ONE, F

NEAR = 4e-3
"""Positions whose weight can exceed it are read token by token."""
AMPLE = 0.25
"""A branch that could be split further is a leaf only if its margin is larger."""
PIECES = 64
"""The most pieces a box is cut into."""
SLACK = 2.0**-26
"""Sides of boxes lie so much further out than the search found them, relative to the values."""


class Undecided(Exception):
    """A branch that could not be decided, and texts of it."""

    def __init__(self, reason: str, texts: list[list[str]]) -> None:
        super().__init__(reason, texts)
        self.reason, self.texts = reason, texts


AlikePositions = tuple[list[int], tuple[int, ...], list[int]]
"""Positions that one tree may serve; near positions and the order of splits of the first."""


class Search:
    """Grows the trees of one specification."""

    least_weight = NEAR

    def __init__(self, block: BlockModel, stages: list[tuple[int, Moves]]) -> None:
        self.tree, self.block, self.stages = Tree(block, stages), block, stages
        self.leaves, self.margin, self.budget, self.enough = 0, inf, 0, 0
        self.split_order: list[int] = []
        self.float_tables: dict[tuple[str, int, int], Any] = {}

    def groups(self, start: int) -> list[AlikePositions]:
        """Every position from `start` on, in groups that one tree may serve."""
        found: list[AlikePositions] = []
        for i in range(start, len(self.stages) - 1):
            near, order = self.order(i)
            joined = self.with_one(found[-1], i, near, order) if found else None
            found[-1:] = [joined] if joined else [*found[-1:], ([i], near, order)]
        return found

    def with_one(
        self, group: AlikePositions, i: int, near: tuple[int, ...], order: list[int]
    ) -> AlikePositions | None:
        """`group` with one position more, written for that one if need be; None where one tree does
        not serve all.
        """
        positions, others, others_order = group
        if near != tuple(j + i - positions[0] for j in others):
            return None
        for written in (([*positions, i], others, others_order), ([i, *positions], near, order)):
            with suppress(Rejected):
                self.tree.begin(*written[:2])
                return written
        return None

    def shared(self, positions: list[int], near: tuple[int, ...], order: list[int]) -> Any:
        """The tree of the tokens after these positions. Raises `Undecided`."""
        self.tree.begin(positions, near)
        i = positions[0]
        self.split_order, self.float_tables = [i + 1, i, *(j for j in order if j != i)], {}
        self.margin = inf
        grown = self.grow({}, 0)
        margin = self.margin / ONE * (1 - 2.0**-50)  # below, whatever the division rounded
        return {"positions": positions, "near": list(near), "margin": margin.hex(), "tree": grown}

    def order(self, i: int) -> tuple[tuple[int, ...], list[int]]:
        """Near positions, and the same by how much their token moves what attention writes."""
        tree = self.tree
        weights: dict[int, float] = {}
        tree.begin([i], range(i + 1))
        for own in tree.texts[i]:
            for rows, _, _ in tree.table(own):
                least = sum(min(low for (low, _), _ in row.values()) for row in rows.values())
                for j, row in rows.items():
                    most = max(high for (_, high), _ in row.values()) / max(least, 1)
                    weights[j] = max(weights.get(j, 0.0), min(1.0, most))
        near = sorted(j for j, w in weights.items() if w > self.least_weight or j == i)
        moving = [j for j in near if len(tree.texts[j]) > 1]
        return tuple(near), sorted(moving, key=lambda j: -weights[j])

    def grow(self, tokens: dict[int, str], done: int) -> Any:
        """A tree for the branch: a leaf where its box can be decided, else a split."""
        moves = self.tree.moves(tokens)
        if moves is None:
            return None
        moves = self.alive(moves)
        left = {position: {t for _, _, t in kept} for position, kept in moves}
        open_positions = [  # a token that the others determine is no split
            p
            for p in self.split_order
            if p not in tokens
            and (p in (self.tree.i, self.tree.i + 1) or len(left.get(p, "--")) > 1)
        ]
        fixed = self.tree.i in tokens and self.tree.i + 1 in tokens
        cautious = PIECES if not open_positions else 1
        if fixed and (not open_positions or done >= 3):
            leaf = self.leaf(tokens, moves, cautious)
            if leaf is not None:
                self.leaves += 1
                return leaf
        if not open_positions:
            raise Undecided(
                f"answer token at position {self.tree.i + 1}: what attention writes is known to a"
                f" box for texts with {tokens}, and {PIECES} pieces of it do not decide the next"
                " token",
                [text_of(self.stages, tokens, Random(n)) for n in range(32)],
            )
        position = open_positions[0]
        return {
            str(position): [
                self.grow({**tokens, position: t}, done + 1) for t in self.tree.texts[position]
            ]
        }

    def alive(self, moves: list[tuple[int, Moves]]) -> list[tuple[int, Moves]]:
        """The moves that lead to the end of the branch."""
        ends: set[int] | None = None
        found = []
        for position, kept in reversed(moves):
            live = [m for m in kept if ends is None or m[1] in ends]
            ends = {m[0] for m in live}
            found.append((position, live))
        return found[::-1]

    def leaf(self, tokens: dict[int, str], moves: list[tuple[int, Moves]], pieces: int) -> Any:
        """The tightest box around what attention writes, and its cuts; None if it stays open."""
        own, box = tokens[self.tree.i], []
        for h in range(self.block.heads):
            for k in range(self.block.width):
                for sign in (1, -1):
                    found = self.side(own, h, k, sign, moves)
                    box.append(found)
        x = [self.block.row[own][k] for k in range(self.block.width)]
        for n, side in enumerate(zip(box[::2], box[1::2], strict=True)):
            k = n % self.block.width
            x[k] = (x[k][0] + (side[0] << GRID), x[k][1] + (side[1] << GRID))
        error = self.tree.rounding_of(own)
        x = [(a - e, b + e) for (a, b), e in zip(x, error, strict=True)]
        return self.decided(box, x, tokens[self.tree.i + 1], pieces)

    def decided(self, box: list[int], x: list[Any], right: str, pieces: int) -> Any:
        """The box, and cuts of `x` such that each of at most so many pieces is decided; None where
        there are none.
        """
        self.budget, before = pieces, self.margin
        self.enough = LEAST << 10 if pieces > 1 else int(AMPLE * 2**20) << (F - 20)
        with suppress(Rejected):
            return [box, self.cuts(x, right, 0)]
        self.margin = before
        return None

    def cuts(self, x: list[Any], right: str, depth: int) -> Any:
        """Cuts of a box such that every piece is decided. Raises `Rejected` when there are too
        many.
        """
        margin = self.block.margin(x, right)
        if margin > self.enough:
            self.margin = min(self.margin, margin)
            return 0
        self.budget -= 1
        if self.budget <= 0 or depth > 40:
            raise Rejected("too many pieces")
        best = None
        for side, (low, high) in enumerate(x):  # the cut that leaves the better of the worse halves
            middle = (low + high) // 2
            halves = [[*x[:side], part, *x[side + 1 :]] for part in ((low, middle), (middle, high))]
            worst = min(self.block.margin(half, right) for half in halves)
            if best is None or worst > best[0]:
                best = worst, side, halves
        assert best is not None
        _, side, halves = best
        return [side, *(self.cuts(half, right, depth + 1) for half in halves)]

    def side(
        self,
        own: str,
        head: int,
        column: int,
        sign: int,
        moves: list[tuple[int, Moves]],
    ) -> int:
        """The largest (sign 1) lower or least upper side that holds, by Dinkelbach's method: the
        ratio of the path that a bound makes shortest is the next bound.
        """
        rows, far, hull = self.floats(own, head, column)
        read = {j: {t for _, _, t in kept} for j, kept in moves if j in rows}
        bound, seen = 0.0, 0
        for _ in range(12):
            costs = {
                j: {t: cost_of(rows[j][t], bound, sign) for t in tokens}
                for j, tokens in read.items()
            }
            path = shortest(moves, costs)
            value = hull[0] if sign > 0 else hull[1]
            weight = far if (value - bound) * sign < 0 else 0.0
            mass = weight + sum(w for _, w in path)
            total = weight * value + sum(v * w for v, w in path)
            new = total / mass
            if seen and abs(new - bound) <= 1e-13 * max(1.0, abs(bound)):
                break
            bound, seen = new, 1
        size = max(abs(v) for table in rows.values() for _, _, pair in table.values() for v in pair)
        outward = bound - sign * SLACK * max(size, abs(hull[0]), abs(hull[1]), 1e-3)
        scaled = outward * 2.0 ** (F - GRID)
        return int(scaled // 1) if sign > 0 else -int(-scaled // 1)

    def floats(self, own: str, head: int, column: int) -> Any:
        """The tables of the checker in floats."""
        key = (own, head, column)
        if key not in self.float_tables:
            near, weight, hull = self.tree.table(own)[head]
            rows = {
                j: {
                    t: (low / ONE, high / ONE, (v[column][0] / ONE, v[column][1] / ONE))
                    for t, ((low, high), v) in row.items()
                }
                for j, row in near.items()
            }
            low, high = hull[column]
            self.float_tables[key] = rows, weight / ONE, (low / ONE, high / ONE)
        return self.float_tables[key]


def cost_of(
    row: tuple[float, float, tuple[float, float]], bound: float, sign: int
) -> tuple[float, float, float]:
    """(cost, value, weight) of a token at a near position."""
    low, high, v = row
    value = v[0] if sign > 0 else v[1]
    gap = (value - bound) * sign
    weight = low if gap >= 0 else high
    return gap * weight, value, weight


def shortest(
    moves: list[tuple[int, Moves]], costs: Mapping[int, Mapping[str, tuple[float, float, float]]]
) -> list[tuple[float, float]]:
    """(value, weight) at the near positions of the text whose costs add up to least."""
    reached: dict[int, tuple[float, Any]] = {}
    for n, (position, kept) in enumerate(moves):
        table = costs.get(position)
        after: dict[int, tuple[float, Any]] = {}
        for state, to, token in kept:
            before = reached.get(state) if n else (0.0, None)
            if before is None:
                continue
            cost, trail = before
            if table:
                more, value, weight = table[token]
                cost, trail = cost + more, (trail, (value, weight))
            if to not in after or cost < after[to][0]:
                after[to] = cost, trail
        reached = after
    trail, found = min(reached.values(), key=lambda r: r[0])[1], []
    while trail is not None:
        trail, last = trail
        found.append(last)
    return found


def text_of(
    stages: list[tuple[int, Moves]], tokens: Mapping[int, str], random: Random
) -> list[str]:
    """A text with these tokens at these positions."""
    ways: list[tuple[int, Moves]] = []
    ends: set[int] | None = None
    for position, moves in reversed(stages):
        only = tokens.get(position)
        live = [m for m in moves if only in (None, m[2]) and (ends is None or m[1] in ends)]
        ends = {m[0] for m in live}
        ways.append((position, live))
    text, state = [""] * len(stages), 0
    for position, live in reversed(ways):
        _, state, text[position] = random.choice([m for m in live if m[0] == state])
    return text


def grow_group(folder: str, part: int, group: Any) -> dict[str, Any] | Undecided:
    """The tree of some positions, in a process of its own."""
    block = BlockModel(Path(folder))
    _, stages = specify(block.task)[1][part]
    try:
        return Search(block, stages).shared(*group)
    except Undecided as undecided:
        return undecided


def prove_block(folder: Path, jobs: int) -> list[list[dict[str, Any]]]:
    """For every specification of the task the trees of its answer positions, for the model in a
    folder; `jobs` processes at a time.

    Raises `Undecided` with texts on which the model may be wrong, and `Rejected` for a model that
    no rule covers.
    """
    block = BlockModel(folder)
    specifications: list[Automaton] = specify(block.task)[1]
    places = [
        (part, group)
        for part, (start, stages) in enumerate(specifications)
        for group in Search(block, stages).groups(start - 1)
    ]
    tasks = (delayed(grow_group)(str(folder), part, group) for part, group in places)
    trees: list[list[dict[str, Any]]] = [[] for _ in specifications]
    for (part, _), found in zip(
        places, Parallel(n_jobs=jobs, return_as="generator")(tasks), strict=True
    ):
        if isinstance(found, Undecided):
            raise found
        trees[part].append(found)
    return trees
