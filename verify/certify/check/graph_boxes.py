"""The proof for a graph: trees of branches as in `boxes`, boxes around the symbols of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinyadder.verify.certify.check.boxes import GRID, LEAST, Costs, Tree
from tinyadder.verify.certify.check.files import integer, same
from tinyadder.verify.certify.check.graph import Reading
from tinyadder.verify.certify.check.intervals import Interval, need
from tinyadder.verify.certify.check.specifications import Moves


class GraphTree(Tree):
    """Checks the tree of one pass."""

    def __init__(
        self, reading: Reading, stages: list[tuple[int, Moves]], place: int | None = None
    ) -> None:
        """`place` is the position of the token that is to be chosen, the last one if not given."""
        self.reading, self.stages, self.claims = reading, stages, 0
        self.block = reading  # type: ignore[assignment]
        self.texts = [[] for _ in stages]
        for position, moves in stages:
            self.texts[position] = sorted({token for _, _, token in moves})
        self.i = reading.row
        self.shifts, self.near = (0,), ()
        self.tables: dict[tuple[str, str], Any] = {}
        self.cells: list[Any] = []
        """Boxes with their cuts, which leaves name by their index."""
        self.decided: dict[tuple[int, str, str], int] = {}
        self.sides: dict[tuple[str, int, int, int], tuple[Costs, int]] = {}
        place = len(stages) - 1 if place is None else place
        need(place == self.i + 1, "a pass reads its logits at another place")
        beyond = [a for a in reading.logits if a >= 0 and max(reading.positions[a]) > self.i]
        need(not beyond, "logits depend on what comes behind them")
        reading.texts = self.texts

    def part(self, part: Mapping[str, Any]) -> int:
        """The smallest margin of the pass, as stated."""
        parts = {"symbols", "positions", "near", "margin", "cells", "tree"}
        need(set(part) == parts, "a pass has other parts")
        need(same(part["positions"], [self.reading.row]), "a pass has one place")
        last = len(self.reading.nodes) - 1
        symbols = tuple(integer(a, 0, last) for a in part["symbols"])
        need(len(set(symbols)) == len(symbols) > 0, "a symbol stands twice, or there is none")
        self.reading.symbols, self.cells = symbols, part["cells"]
        self.decided, self.sides = {}, {}
        tree = {k: v for k, v in part.items() if k not in ("symbols", "cells")}
        return self.position(tree)

    def table(self, own: str) -> Any:
        """Per symbol: weight and value at near positions, total weight and hull of values of far
        ones.
        """
        key = ("weights", own)
        if key not in self.tables:
            self.reading.enter(own)
            found = []
            for symbol in self.reading.symbols:
                rows = self.reading.table(symbol)
                near = {
                    j: {t: (weight, [value]) for t, (weight, value) in row.items()}
                    for j, row in rows.items()
                    if j in self.near
                }
                far = [row for j, row in rows.items() if j not in self.near]
                weight = sum(max(w[1] for w, _ in row.values()) for row in far)
                values = [v for row in far for _, v in row.values()]
                hull = [(min(v[0] for v in values), max(v[1] for v in values))] if far else [(0, 0)]
                found.append((near, weight, hull))
            self.tables[key] = found
        return self.tables[key]

    def leaf(self, leaf: Any, tokens: dict[int, str], moves: list[tuple[int, Moves]]) -> int:
        """The box of a cell holds the symbols, and every piece of it has the right answer ahead."""
        need(self.i in tokens and self.i + 1 in tokens, "a leaf does not know what it reads")
        own, right = tokens[self.i], tokens[self.i + 1]
        cell = integer(leaf, 0, len(self.cells) - 1)
        box, cuts = self.cells[cell]
        need(len(box) == 2 * len(self.reading.symbols), "a box has another number of sides")
        sides = [integer(side, -(1 << 64), 1 << 64) << GRID for side in box]
        for n, bound in enumerate(sides):
            costs, far = self.side_costs(own, n // 2, bound, -1 if n % 2 else 1)
            least = self.least(moves, costs) + far
            need(least >= 0, f"position {self.i + 1}: a side of a box is not what holds")
            self.claims += 1
        x = list(zip(sides[::2], sides[1::2], strict=True))
        need(all(low <= high for low, high in x), "a box is empty")
        key = (cell, own, right)
        if key not in self.decided:
            self.reading.enter(own)
            self.decided[key] = self.piece(x, cuts, right)
        return self.decided[key]

    def side_costs(self, own: str, symbol: int, bound: int, sign: int) -> tuple[Costs, int]:
        """`costs` of all tokens, made once for all branches that state this side."""
        key = (own, symbol, bound, sign)
        if key not in self.sides:
            read = {j: set(self.texts[j]) if j != self.i else {own} for j in self.near}
            self.sides[key] = self.costs(own, symbol, 0, bound, sign, read)
        return self.sides[key]

    def piece(self, x: list[Interval], cuts: Any, right: str) -> int:
        """CUT: a piece is decided by one enclosure, or cut in the middle of a side."""
        if same(cuts, 0):
            margin = self.reading.margin(x, right)
            need(margin > LEAST, f"position {self.i + 1}, '{right}': a margin is not proved")
            return margin
        side, left, rest = cuts
        low, high = x[integer(side, 0, len(x) - 1)]
        middle = (low + high) // 2
        return min(
            self.piece([*x[:side], (low, middle), *x[side + 1 :]], left, right),
            self.piece([*x[:side], (middle, high), *x[side + 1 :]], rest, right),
        )
