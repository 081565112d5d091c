"""Look for a proof about a graph: which weighted means are symbols, where to split, how large the
boxes are. `check.graph_boxes` judges; nothing here has to be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

import networkx
import numpy as np
from joblib import Parallel, delayed

from tinyadder.verify.certify.batch import BatchReading
from tinyadder.verify.certify.boxes import AMPLE, SLACK, Search, Undecided, text_of
from tinyadder.verify.certify.check import sums, tokens
from tinyadder.verify.certify.check.boxes import GRID
from tinyadder.verify.certify.check.graph import Graph, Reading
from tinyadder.verify.certify.check.graph_boxes import GraphTree
from tinyadder.verify.certify.check.intervals import Rejected, need
from tinyadder.verify.certify.check.specifications import Moves
from tinyadder.verify.certify.check.units import ONE, F
from tinyadder.verify.certify.sides import BatchedPaths, Tables, sides, tables_of

NEAR = 1e-4
"""Positions whose weight can exceed it are read token by token."""
PIECES = 1024
"""The most pieces that a box is cut into."""
LEAST_FOUND = 2.0**-20
"""A piece is decided by more than this, which is far above what floating point loses here."""
MARGIN_SLACK = 2.0**-30
"""A margin is stated so much smaller than the search found it, relatively."""


FloatBox = list[float]
"""Lower and upper sides of all symbols, in turn, in units of the checker's grid: whole numbers,
unless it is a piece of a box.
"""


@dataclass
class BoxBranch:
    """Texts with some tokens known, in a tree that grows level by level."""

    tokens: dict[int, str]
    moves: list[tuple[int, Moves]]
    open: list[int]
    """Positions to split by, the best first."""
    parent: BoxBranch | None = None
    children: tuple[int, list[BoxBranch | None]] | None = None
    box: FloatBox = field(default_factory=list)
    cuts: Any = 0
    cell: int = -1

    def written(self) -> Any:
        """The tree as a certificate has it."""
        if self.children is None:
            return self.cell
        position, branches = self.children
        return {str(position): [None if b is None else b.written() for b in branches]}


class GraphSearch(Search):
    """Grows the tree of one pass, all branches of a level at once."""

    tree: GraphTree
    least_weight = NEAR

    def __init__(
        self, reading: Reading, stages: list[tuple[int, Moves]], place: int | None = None
    ) -> None:
        self.tree = GraphTree(reading, stages, place)
        self.reading, self.stages = reading, stages
        self.block = reading  # type: ignore[assignment]
        self.margin = inf
        self.paths: BatchedPaths | None = None
        self.tables: list[Tables] = []
        reading.enter(self.tree.texts[reading.row][0])
        reading.symbols = symbols(reading)

    def part(self) -> dict[str, Any]:
        """What the certificate has of this pass. Raises `Undecided`, and `Rejected` where no rule
        covers it.
        """
        i = self.tree.i
        near, order = self.order(i)
        self.tree.begin([i], near)
        self.split_order = [i + 1, i, *(j for j in order if j != i)]
        root = self.branch({})
        assert root is not None
        leaves = self.grown(root)
        cells = self.cells(leaves)
        margin = self.margin * (1 - MARGIN_SLACK)
        return {
            "symbols": list(self.reading.symbols),
            "positions": [i],
            "near": list(near),
            "margin": margin.hex(),
            "cells": cells,
            "tree": root.written(),
        }

    # ---- the tree --------------------------------------------------------------------------------

    def branch(self, tokens: dict[int, str], parent: BoxBranch | None = None) -> BoxBranch | None:
        """The texts with these tokens; None where there are none."""
        moves = self.tree.moves(tokens)
        if moves is None:
            return None
        moves = self.alive(moves)
        left = {position: {t for _, _, t in kept} for position, kept in moves}
        known = (self.tree.i, self.tree.i + 1)
        found = [  # a token that the others determine is no split
            p
            for p in self.split_order
            if p not in tokens and (p in known or len(left.get(p, "--")) > 1)
        ]
        return BoxBranch(tokens, moves, found, parent)

    def grown(self, root: BoxBranch) -> list[BoxBranch]:
        """The leaves, each with its box and cuts. Raises `Undecided`."""
        leaves, level = list[BoxBranch](), [root]
        while level:
            ready = [b for b in level if self.is_fixed(b) and (not b.open or len(b.tokens) >= 3)]
            self.bound(ready)
            margins = self.margins([(self.kind(b), b.box) for b in ready])
            decided = {id(b) for b, m in zip(ready, margins, strict=True) if m > AMPLE}
            hard = [b for b in ready if id(b) not in decided and not b.open]
            self.margin = min([self.margin, *(m for m in margins if m > AMPLE)])
            self.cut(hard)
            leaves += [b for b in ready if id(b) in decided] + hard
            done = {id(b) for b in leaves}
            level = [child for b in level if id(b) not in done for child in self.split(b)]
        return leaves

    def bound(self, branches: list[BoxBranch]) -> None:
        """The tightest boxes around the symbols."""
        if not branches:
            return
        tree, count = self.tree, 2 * len(self.reading.symbols)
        if self.paths is None:
            places = [n for n, (position, _) in enumerate(self.stages) if position in tree.read]
            stages = self.stages[places[0] : places[-1] + 1]
            self.paths = BatchedPaths(stages, tree.texts, tree.read)
            self.tables = [
                tables_of(tree.table(own), own, tree.near, tree.texts, ONE)
                for own in tree.texts[tree.i]
            ]
        known = {
            j: np.array(
                [tree.texts[j].index(b.tokens[j]) if j in b.tokens else -1 for b in branches]
            )
            for j in sorted(tree.read)
        }
        scale = 2.0 ** (F - GRID)
        start = np.array([(b.parent and b.parent.box) or [0] * count for b in branches]) / scale
        found = sides(self.paths, self.tables, known[tree.i], known, start, SLACK) * scale
        found[:, ::2], found[:, 1::2] = np.floor(found[:, ::2]), np.ceil(found[:, 1::2])
        for b, box in zip(branches, found.tolist(), strict=True):
            b.box = [int(side) for side in box]

    def is_fixed(self, branch: BoxBranch) -> bool:
        return self.tree.i in branch.tokens and self.tree.i + 1 in branch.tokens

    def kind(self, branch: BoxBranch) -> tuple[str, str]:
        """The token at the query, and the right one behind it."""
        return branch.tokens[self.tree.i], branch.tokens[self.tree.i + 1]

    def split(self, branch: BoxBranch) -> list[BoxBranch]:
        position = branch.open[0]
        children = [
            self.branch({**branch.tokens, position: t}, branch) for t in self.tree.texts[position]
        ]
        branch.children = position, children
        return [child for child in children if child is not None]

    # ---- boxes -----------------------------------------------------------------------------------

    def margins(self, boxes: list[tuple[tuple[str, str], FloatBox]]) -> list[float]:
        """The least lead of the right token over each box; not a number where it is unknown."""
        found, groups = [0.0] * len(boxes), dict[str, dict[str, list[int]]]()
        for n, ((own, right), _) in enumerate(boxes):
            groups.setdefault(own, {}).setdefault(right, []).append(n)
        for own, rights in groups.items():
            self.reading.enter(own)
            every = [n for numbers in rights.values() for n in numbers]
            sides = np.array([boxes[n][1] for n in every], float).T * 2.0 ** (GRID - F)
            with np.errstate(all="ignore"):
                batch, first = BatchReading(self.reading, sides[::2], sides[1::2]), 0
                for right, numbers in rights.items():
                    leads = batch.margins(right, np.arange(first, first + len(numbers)))
                    first += len(numbers)
                    for n, m in zip(numbers, leads.tolist(), strict=True):
                        found[n] = m
        return found

    def cut(self, branches: list[BoxBranch]) -> None:
        """Cuts of the boxes of branches, each in halves until all are decided: of all sides the one
        that leaves the better of the worse halves. Raises `Undecided`.
        """
        budget = {id(b): PIECES for b in branches}
        tops: list[list[Any]] = [[0] for _ in branches]
        pieces = [(b, b.box, top, 0) for b, top in zip(branches, tops, strict=True)]
        margins = self.margins([(self.kind(b), b.box) for b in branches])
        while pieces:
            open_pieces = []
            for piece, m in zip(pieces, margins, strict=True):
                if m > LEAST_FOUND:
                    self.margin = min(self.margin, m)
                    continue
                budget[id(piece[0])] -= 1
                if not budget[id(piece[0])]:
                    self.undecided(piece[0])
                open_pieces.append(piece)
            halves, boxes = [], []
            for b, box, _, _ in open_pieces:
                for s in range(len(self.reading.symbols)):
                    low, high = box[2 * s : 2 * s + 2]
                    # the checker halves finer units than those of a box
                    middle = (low + high) / 2
                    pair = [*box], [*box]
                    pair[0][2 * s + 1] = pair[1][2 * s] = middle
                    halves.append(pair)
                    boxes += [(self.kind(b), half) for half in pair]
            leads = self.margins(boxes)
            width, pieces, margins = len(self.reading.symbols), [], []
            for n, (b, _, place, index) in enumerate(open_pieces):
                worst = [
                    min(np.nan_to_num(leads[2 * k : 2 * k + 2], nan=-inf))
                    for k in range(n * width, (n + 1) * width)
                ]
                side = int(np.argmax(worst))
                place[index] = [side, 0, 0]
                k = n * width + side
                pieces += [(b, half, place[index], 1 + m) for m, half in enumerate(halves[k])]
                margins += leads[2 * k : 2 * k + 2]
        for b, top in zip(branches, tops, strict=True):
            b.cuts = top[0]

    def undecided(self, branch: BoxBranch) -> None:
        """Raises `Undecided`."""
        raise Undecided(
            f"answer token at position {self.tree.i + 1}: what attention writes is known to a box"
            f" for texts with {branch.tokens}, and {PIECES} pieces of it do not decide the next"
            " token",
            [text_of(self.stages, branch.tokens, Random(n)) for n in range(32)],
        )

    def cells(self, leaves: list[BoxBranch]) -> list[Any]:
        """As few boxes as serve all leaves, and none of them decided by less than the leaves are:
        those of one kind are joined where one enclosure decides them, and else parted where they
        lie farthest from each other.
        """
        groups: dict[tuple[str, str], list[BoxBranch]] = {}
        cells: list[Any] = []
        for b in leaves:
            if b.cuts:
                b.cell = len(cells)
                cells.append([b.box, b.cuts])
            else:
                groups.setdefault(self.kind(b), []).append(b)
        waiting = list(groups.items())
        while waiting:
            hulls = [hull([b.box for b in group]) for _, group in waiting]
            margins = self.margins([(k, box) for (k, _), box in zip(waiting, hulls, strict=True)])
            parted = []
            for (kind, group), box, m in zip(waiting, hulls, margins, strict=True):
                if m >= self.margin or len({tuple(b.box) for b in group}) == 1:
                    for b in group:
                        b.cell = len(cells)
                    cells.append([box, 0])
                else:
                    parted += [(kind, part) for part in parts(group)]
            waiting = parted
        return cells


def hull(boxes: list[FloatBox]) -> FloatBox:
    """The smallest box around all."""
    sides = zip(*boxes, strict=True)
    return [max(s) if n % 2 else min(s) for n, s in enumerate(sides)]


def parts(group: list[BoxBranch]) -> tuple[list[BoxBranch], list[BoxBranch]]:
    """The group in two, at the largest gap between middles along any symbol."""
    middles = np.array([b.box for b in group], float)
    middles = middles[:, ::2] + middles[:, 1::2]
    order = np.argsort(middles, axis=0, kind="stable")
    gaps = np.diff(np.take_along_axis(middles, order, 0), axis=0)
    gaps = gaps / (np.ptp(middles, axis=0) + 1e-9) * (gaps > 0)
    at, symbol = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    chosen = order[:, symbol].tolist()
    return [group[n] for n in chosen[: at + 1]], [group[n] for n in chosen[at + 1 :]]


def symbols(reading: Reading) -> tuple[int, ...]:
    """The fewest weighted means that all logits depend on: a least cut between the logits and
    attention.
    """
    flow = networkx.DiGraph()
    waiting, seen = [*reading.logits], set[int]()
    for a in reading.logits:
        flow.add_edge("logits", (a, "in"))
    while waiting:
        a = waiting.pop()
        if a in seen or reading.local(a):
            continue
        seen.add(a)
        mean = reading.mean(a)
        if mean is None:
            flow.add_edge((a, "in"), (a, "out"))
        else:
            flow.add_edge((a, "in"), (a, "out"), capacity=1)
        mixed = mean is not None and mean.nodes[0][0] == a
        op, given = reading.nodes[a][:2]
        if mixed:
            flow.add_edge((a, "out"), "attention")
            continue
        need(op != "softmax", "attention weights are read besides as weights of values")
        for b in given:
            if not reading.local(b):
                flow.add_edge((a, "out"), (b, "in"))
                waiting.append(b)
    need("attention" in flow, "the logits do not depend on attention")
    try:
        _, (above, _) = networkx.minimum_cut(flow, "logits", "attention")
    except networkx.NetworkXUnbounded:
        raise Rejected("what attention writes is no weighted mean of values") from None
    cut = {a for a in seen if (a, "in") in above and (a, "out") not in above}
    return tuple(sorted(cut))


def grow_pass(graph: Any, task: Any, which: int) -> dict[str, Any] | Undecided | Rejected:
    """The tree of one part, in a process of its own."""
    try:
        read = Graph(graph)
        if task["name"] == tokens.NAME:
            logits, every = tokens.asked(task["options"])
            one = every[which]
            at = tokens.lengths(every).index(one.place)
            reading = Reading(read, at, smallest=False, outputs=logits)
            return GraphSearch(reading, one.stages, one.place).part()
        _, stages = sums.passes(task["options"])[which]
        reading = Reading(read, which, smallest=task["options"]["smallest"])
        return GraphSearch(reading, stages).part()
    except (Undecided, Rejected) as reason:
        return reason


def prove_graph(graph: Any, task: Any, jobs: int) -> list[dict[str, Any]]:
    """The trees of all passes, or of all answer tokens; `jobs` processes at a time. Raises
    `Undecided` with texts on which the model may be wrong, and `Rejected` for a graph that no rule
    covers.
    """
    count = len(graph["passes"])
    if task["name"] == tokens.NAME:
        count = len(tokens.asked(task["options"])[1])
    order = [count // 2, *(n for n in range(count) if n != count // 2)]
    tasks = (delayed(grow_pass)(graph, task, which) for which in order)
    found: dict[int, dict[str, Any]] = {}
    for which, part in zip(order, Parallel(n_jobs=jobs, return_as="generator")(tasks), strict=True):
        if not isinstance(part, dict):
            raise part
        found[which] = part
    return [found[which] for which in range(count)]
