"""The proof for a block of softmax attention: at every answer position, a tree of branches by the
tokens at some positions; a leaf bounds what attention writes by a box, and cuts the box where one
enclosure is not enough.

BOX: the exact attention output is a weighted mean of the values, sum p_j v_j / sum p_j. Its column
d is at least b if sum p_j (v_jd - b) >= 0 for every text of the branch. Every term depends on one
token: near positions cost what a shortest path over the specification collects, far ones at most
their weight times the spread of all values.

SHIFT: one tree serves several positions if, shifted, all moves there are among those that it reads;
then its texts include those of every one of them, and its weights are made to hold for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from tinyadder.verify.certify.check.block import BlockModel, Box
from tinyadder.verify.certify.check.files import integer, number, same
from tinyadder.verify.certify.check.intervals import ZERO, add, join, need, size, wider
from tinyadder.verify.certify.check.specifications import Moves
from tinyadder.verify.certify.check.units import ONE, F, exact

GRID = F - 12
"""Boxes are stated in whole multiples of 2^-12."""
LEAST = ONE >> 60
"""A margin must be larger: what underflow could take is far below it."""
Costs = dict[int, dict[str, int]]


class Tree:
    """Checks the trees of one specification."""

    def __init__(self, block: BlockModel, stages: list[tuple[int, Moves]]) -> None:
        self.block, self.stages, self.claims = block, stages, 0
        self.texts: list[list[str]] = [[]] * len(stages)
        for position, moves in stages:
            self.texts[position] = sorted({token for _, _, token in moves})
        for tokens in self.texts:
            need(set(tokens) <= set(block.vocabulary), "a token that the model does not have")
        self.i = 0
        self.shifts: tuple[int, ...] = (0,)
        self.near: tuple[int, ...] = ()
        self.tables: dict[tuple[str, str], Any] = {}
        """What queries with an own token need of all positions, made once a tree."""

    def begin(self, positions: Sequence[int], near: Sequence[int]) -> None:
        """The tree of the tokens after `positions`, written as that of the first one."""
        self.i, self.near, self.tables = positions[0], tuple(near), {}
        self.shifts = tuple(p - self.i for p in positions)
        need(len(set(self.shifts)) == len(self.shifts), f"position {self.i} is served twice")
        need(
            self.near == tuple(sorted(set(self.near))) and all(0 <= j <= self.i for j in near),
            "near positions are not in order",
        )
        for shift in self.shifts:
            need(self.alike(shift), f"position {self.i + shift} is not like {self.i}")
            need(
                set(self.texts[self.i + 1 + shift]) <= set(self.block.outputs),
                f"position {self.i + 1 + shift}: an answer has no logit",
            )

    @property
    def read(self) -> set[int]:
        """The positions whose tokens a tree may split on or read."""
        return {*self.near, self.i, self.i + 1}

    def alike(self, shift: int) -> bool:
        """SHIFT: from the first to the last stage that a tree reads, the moves so many positions on
        are among its own.
        """
        place = {position: n for n, (position, _) in enumerate(self.stages)}
        places = [place[p] for p in self.read]
        moved = place.get(self.i + shift, len(self.stages)) - place[self.i]
        first, last = min(places), max(places)
        if first + moved < 0 or last + moved >= len(self.stages):
            return False
        for n in range(first, last + 1):
            (position, moves), (other, there) = self.stages[n], self.stages[n + moved]
            if other != position + shift or not set(there) <= set(moves):
                return False
        return True

    def position(self, tree: Mapping[str, Any]) -> int:
        """The smallest margin of the tokens after the positions of a tree, as it states it."""
        need(set(tree) == {"positions", "near", "margin", "tree"}, "a tree has other parts")
        last = len(self.stages) - 2
        self.begin(
            [integer(p, 0, last) for p in tree["positions"]],
            [integer(j, 0, last) for j in tree["near"]],
        )
        stated, _ = exact(number(tree["margin"]))
        need(
            0 < stated <= self.node(tree["tree"], {}),
            f"position {self.i + 1}: a margin is not proved",
        )
        return stated

    def node(self, node: Any, tokens: dict[int, str]) -> float:
        """The smallest margin of a branch: infinite if it has no texts."""
        if isinstance(node, Mapping):
            need(len(node) == 1, "a split by more than one position")
            ((key, children),) = node.items()
            wanted = [p for p in self.read if p not in tokens and str(p) == key]
            need(len(wanted) == 1, "a split by no position")
            (position,) = wanted
            branches = zip(self.texts[position], children, strict=True)
            return min(self.node(child, {**tokens, position: t}) for t, child in branches)
        moves = self.moves(tokens)
        if moves is None or node is None:
            need(moves is node is None, "a branch is said to have no texts, or not to")
            return inf
        return self.leaf(node, tokens, moves)

    # ---- texts of a branch ----------------------------------------------------------------------

    def moves(self, tokens: Mapping[int, str]) -> list[tuple[int, Moves]] | None:
        """The moves of the stages from the first to the last that a branch restricts or that a near
        position reads, as far as they can be reached; None if there is no text.

        Every state of the specification lies on some text, so nothing before or after them matters.
        """
        wanted = {*tokens, *self.near}
        stages = [n for n, (position, _) in enumerate(self.stages) if position in wanted]
        found: list[tuple[int, Moves]] = []
        reached: set[int] | None = None
        for position, moves in self.stages[stages[0] : stages[-1] + 1]:
            only = tokens.get(position)
            kept = [
                move
                for move in moves
                if (reached is None or move[0] in reached) and only in (None, move[2])
            ]
            reached = {to for _, to, _ in kept}
            found.append((position, kept))
        return found if reached else None

    def least(self, moves: list[tuple[int, Moves]], costs: Costs) -> int:
        """PATH: the least sum of costs over the texts of a branch."""
        reached: dict[int, int] = {}
        for n, (position, kept) in enumerate(moves):
            table = costs.get(position)
            after: dict[int, int] = {}
            for state, to, token in kept:
                if n and state not in reached:
                    continue
                cost = reached.get(state, 0) + (table[token] if table else 0)
                if to not in after or cost < after[to]:
                    after[to] = cost
            reached = after
        return min(reached.values())

    # ---- leaves ---------------------------------------------------------------------------------

    def table(self, own: str) -> Any:
        """Per head: weight and value tables at near positions, total weight and hull of values of
        far ones.
        """
        key = ("weights", own)
        if key not in self.tables:
            shifts = [s for s in self.shifts if own in self.texts[self.i + s]]
            each = [self.table_at(own, shift) for shift in shifts]
            self.tables[key] = [joined(tables) for tables in zip(*each, strict=True)]
        return self.tables[key]

    def table_at(self, own: str, shift: int) -> list[Any]:
        """The same for the query so many positions on; near positions by their unshifted names."""
        block, i, found = self.block, self.i + shift, []
        near = [j + shift for j in self.near]
        far = [j for j in range(i + 1) if j not in near]
        for h in range(block.heads):
            texts = [[own] if j == i else self.texts[j] for j in range(i + 1)]
            top = max(block.score(h, i, own, j, t)[1] for j in range(i + 1) for t in texts[j])
            rows = {
                j - shift: {
                    t: (block.weight(h, i, own, j, t, top), block.written(h, t)) for t in texts[j]
                }
                for j in near
            }
            weight = sum(max(block.weight(h, i, own, j, t, top)[1] for t in texts[j]) for j in far)
            values = [block.written(h, t) for j in far for t in texts[j]]
            hull = [join(v[k] for v in values) if values else ZERO for k in range(block.width)]
            found.append((rows, weight, hull))
        return found

    def costs(
        self, own: str, head: int, column: int, bound: int, sign: int, read: Mapping[int, set[str]]
    ) -> tuple[Costs, int]:
        """sign * p_j (v_j - bound), at least: per near position and token that the branch reads
        there; and of all far positions.
        """
        near, weight, hull = self.table(own)[head]
        found: Costs = {}
        for j, rows in near.items():
            table = found[j] = {}
            for token in read[j]:
                (low, high), values = rows[token]
                v = values[column]
                gap = v[0] - bound if sign > 0 else bound - v[1]
                table[token] = gap * (low if gap >= 0 else high) >> F
        gap = hull[column][0] - bound if sign > 0 else bound - hull[column][1]
        return found, min(0, gap * weight >> F)

    def leaf(self, leaf: Any, tokens: dict[int, str], moves: list[tuple[int, Moves]]) -> int:
        """The box holds what attention writes, and every piece of it has the right answer ahead."""
        block, i, (box, cuts) = self.block, self.i, leaf
        need(i in tokens and i + 1 in tokens, "a leaf does not know the token it reads or writes")
        own, right = tokens[i], tokens[i + 1]
        need(len(box) == 2 * block.heads * block.width, "a box has another number of sides")
        box = [integer(side, -(1 << 64), 1 << 64) for side in box]
        read = {position: {token for _, _, token in kept} for position, kept in moves}
        x: Box = [block.row[own][k] for k in range(block.width)]
        for h in range(block.heads):
            for k in range(block.width):
                low, high = (side << GRID for side in box[2 * (h * block.width + k) :][:2])
                for bound, sign in ((low, 1), (high, -1)):
                    costs, far = self.costs(own, h, k, bound, sign, read)
                    least = self.least(moves, costs) + far
                    need(least >= 0, f"position {i + 1}: a side of a box is not what holds")
                    self.claims += 1
                x[k] = add(x[k], (low, high))
        x = [wider(a, error) for a, error in zip(x, self.rounding_of(own), strict=True)]
        return self.piece(x, cuts, right)

    def rounding_of(self, own: str) -> list[int]:
        """How far the computed stream after attention may lie from the exact sum, per column.

        Sum of weights, quotient, product with the value and their sum: 2 n roundings of
        numbers whose sizes add up to that of the largest value; then one sum over all
        heads and the stream. Underflow of a weight costs a value, that of a product itself.
        """
        block, n = self.block, self.i + max(self.shifts) + 1
        key = ("rounding", own)
        if key not in self.tables:
            r, tokens = block.rounding, {t for texts in self.texts for t in texts}
            found = []
            mixed = [
                [
                    max(size(block.heads_of_token[t]["value"][h][v]) for t in tokens)
                    for v in range(block.d_value)
                ]
                for h in range(block.heads)
            ]
            error = [
                [(r.gamma(2 * n) * m >> F) + 1 + (n + 1) * r.tiny * (1 + (m >> F)) for m in row]
                for row in mixed
            ]
            for k in range(block.width):
                outer, inner = size(block.row[own][k]), 0
                for h in range(block.heads):
                    for v in range(block.d_value):
                        wire = size(block.wiring[h][v][k])
                        outer += (wire * (mixed[h][v] + error[h][v]) >> F) + 1
                        inner += (wire * error[h][v] >> F) + 1
                found.append(inner + r.sum_error(block.heads * block.d_value + 1, outer))
            self.tables[key] = found
        return self.tables[key]

    def piece(self, x: Box, cuts: Any, right: str) -> int:
        """BOX: a piece is decided by one enclosure, or cut in the middle of a side."""
        if same(cuts, 0):
            margin = self.block.margin(x, right)
            need(margin > LEAST, f"position {self.i + 1}, '{right}': a margin is not proved")
            return margin
        side, left, rest = cuts
        integer(side, 0, len(x) - 1)
        low, high = x[side]
        middle = (low + high) // 2
        return min(
            self.piece([*x[:side], (low, middle), *x[side + 1 :]], left, right),
            self.piece([*x[:side], (middle, high), *x[side + 1 :]], rest, right),
        )


def joined(tables: Sequence[Any]) -> Any:
    """Weights, values and far positions of several queries as one: what holds for each of them.

    The first has every token that another one has.
    """
    rows = {
        j: {
            t: (join(r[j][t][0] for r, _, _ in tables if t in r[j]), values)
            for t, (_, values) in row.items()
        }
        for j, row in tables[0][0].items()
    }
    hulls = zip(*(hull for _, _, hull in tables), strict=True)
    return rows, max(weight for _, weight, _ in tables), [join(h) for h in hulls]
