"""What makes a proof: branches that cover all texts, claims about each, a positive margin at every
leaf.

For every answer position: given the right answer so far, the right next token has the largest
logit, strictly, for every text. Greedy decoding is then right, by induction over positions.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any

from tinyadder.verify.certify.check.files import integer, number
from tinyadder.verify.certify.check.forms import Affine
from tinyadder.verify.certify.check.forward import ALL, ForwardPass, OpenSign
from tinyadder.verify.certify.check.intervals import EVERYTHING, ONE, exact, need
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.check.specifications import Moves


class TreeChecker:
    """Checks the trees of one specification."""

    def __init__(self, model: ProgramModel, stages: list[tuple[int, Moves]]) -> None:
        self.model, self.stages, self.claims = model, stages, 0
        self.texts: list[list[str]] = [[]] * len(stages)
        for position, moves in stages:
            self.texts[position] = sorted({token for _, _, token in moves})
        self.base = ForwardPass(model, self.texts)

    def position(self, tree: dict, i: int) -> float:
        """The smallest margin of the token after position i, a tree of branches by that token."""
        need(
            set(tree) == {"position", "children"} and tree["position"] == i,
            f"position {i} is missing",
        )
        need(
            set(self.texts[i + 1]) <= set(self.model.outputs),
            f"position {i + 1}: an answer has no logit",
        )
        root = ForwardPass(self.model, self.texts, i, self.base)
        for token in self.model.outputs[
            1:
        ]:  # what all branches share is computed once, as far as it goes
            with suppress(OpenSign):
                root.margin(token, self.model.outputs[0])
        parts = {token: root.part("tokens", i + 1, token, keep=ALL) for token in self.texts[i + 1]}
        return self.branches(parts, tree["children"])

    def branches(self, parts: dict[str, ForwardPass], children: dict[str, Any]) -> float:
        """The parts cover the branch; each must be proved."""
        need(set(children) == set(parts), "a branch is missing, or one too many")
        return min(self.branch(part, children[name]) for name, part in parts.items())

    def branch(self, view: ForwardPass, node: dict) -> float:
        """The smallest margin: stated by a leaf and proved by its claims, or of the branches of a
        split.
        """
        need(
            set(node) in ({"claims", "margin"}, {"claims", "split", "children"}),
            "a node with other parts",
        )
        for claim in node["claims"]:
            if not self.claim(view, **claim):
                need(node.get("margin", 0) is None, "a branch without texts has a margin")
                return inf
        if "split" in node:
            return self.branches(self.split(view, *node["split"]), node["children"])
        right, margins = view.fixed["tokens"][view.position + 1], []
        for other in self.model.outputs:
            if other != right:
                claimed, _ = view.ranges.get(("margin", right, other), EVERYTHING)
                margins.append(max(claimed, view.interval(view.margin(right, other))[0]))
        stated, _ = exact(number(node["margin"]))
        need(
            0 < stated <= min(margins),
            f"position {view.position + 1}, '{right}': a margin is not proved",
        )
        return stated

    def claim(self, view: ForwardPass, of: list, sign: int, low: str | None) -> bool:
        """sign * number >= low for every text of the branch; False: there is none, which is claimed
        by `low` null.
        """
        need(type(sign) is int and abs(sign) == 1, "a sign is not a sign")
        self.claims += 1
        found = self.least(view, view.claimed(*of).times((sign * ONE, sign * ONE)))
        need((found is None) == (low is None), "a branch is claimed to be empty, or not to be")
        if low is None or found is None:
            return False
        bound, _ = exact(number(low))
        need(bound <= found, "a claimed bound is larger than what holds")
        view.narrow(tuple(of), (bound, inf) if sign > 0 else (-inf, -bound))
        return True

    def split(self, view: ForwardPass, kind: str, *key: Any) -> dict[str, ForwardPass]:
        """The parts of a branch. Whatever the text, it is in one of them."""
        if kind == "phase":  # is the gate of a unit positive?
            layer, unit = key
            block = self.model.layers[integer(layer, 0, len(self.model.layers) - 1)]
            integer(unit, 0, len(block.gate) - 1)
            return {
                name: view.part("phases", (layer, unit), on)
                for name, on in (("on", True), ("off", False))
            }
        if kind == "state":  # of the automaton after a stage
            (stage,) = key
            integer(stage, 0, len(self.stages) - 1)
            return {
                str(s): view.part("states", stage, s)
                for s in {to for _, to, _ in self.stages[stage][1]}
            }
        need(kind in ("own", "again") and not key, "a split of no kind")
        if kind == "own":  # by the token at the query
            i = view.position
            return {token: view.part("tokens", i, token, keep=()) for token in view.tokens(i)}
        return {"again": view.part()}  # with the claimed ranges

    def least(self, view: ForwardPass, form: Affine) -> int | None:
        """PATH: a lower bound of the form over the texts of the branch; None where there are none.

        By induction over the stages: what is kept for a state is a least cost of the paths that
        lead there.
        """
        reached, tokens, states = {0: form.c[0]}, view.fixed["tokens"], view.fixed["states"]
        for stage, (position, moves) in enumerate(self.stages):
            table, only, state = form.tables.get(position), tokens.get(position), states.get(stage)
            after: dict[int, int] = {}
            for s, to, token in moves:
                if s in reached and only in (None, token) and state in (None, to):
                    cost = reached[s] + (table[token][0] if table else 0)
                    if to not in after or cost < after[to]:
                        after[to] = cost
            reached = after
        return min(reached.values(), default=None)
