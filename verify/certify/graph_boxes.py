"""Look for a proof about a graph: which weighted means are symbols, where to split, how large the
boxes are. `check.graph_boxes` judges; nothing here has to be trusted.
"""

from __future__ import annotations

from math import inf
from typing import Any

import networkx
from joblib import Parallel, delayed

from tinyadder.verify.certify.boxes import Search, Undecided
from tinyadder.verify.certify.check import sums, tokens
from tinyadder.verify.certify.check.boxes import GRID
from tinyadder.verify.certify.check.graph import Graph, Reading
from tinyadder.verify.certify.check.graph_boxes import GraphTree
from tinyadder.verify.certify.check.intervals import Rejected, need
from tinyadder.verify.certify.check.specifications import Moves


class GraphSearch(Search):
    """Grows the tree of one pass."""

    tree: GraphTree

    def __init__(
        self, reading: Reading, stages: list[tuple[int, Moves]], place: int | None = None
    ) -> None:
        self.tree = GraphTree(reading, stages, place)
        self.reading, self.stages = reading, stages
        self.block = reading  # type: ignore[assignment]
        self.leaves, self.margin, self.budget, self.enough = 0, inf, 0, 0
        self.split_order: list[int] = []
        self.float_tables: dict[tuple[str, int, int], Any] = {}
        reading.enter(self.tree.texts[reading.row][0])
        reading.symbols = symbols(reading)

    def part(self) -> dict[str, Any]:
        """What the certificate has of this pass. Raises `Undecided`, and `Rejected` where no rule
        covers it.
        """
        near, order = self.order(self.tree.i)
        found = self.shared([self.tree.i], near, order)
        return {"symbols": list(self.reading.symbols), **found}

    def leaf(self, tokens: dict[int, str], moves: list[tuple[int, Moves]], pieces: int) -> Any:
        """The tightest box around the symbols, and its cuts; None if it stays open."""
        own = tokens[self.tree.i]
        box = [
            self.side(own, s, 0, sign, moves)
            for s in range(len(self.reading.symbols))
            for sign in (1, -1)
        ]
        x = [(a << GRID, b << GRID) for a, b in zip(box[::2], box[1::2], strict=True)]
        self.reading.enter(own)
        return self.decided(box, x, tokens[self.tree.i + 1], pieces)


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
