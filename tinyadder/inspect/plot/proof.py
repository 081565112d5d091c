"""The cases of a proof, and where its margin is smallest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tinyadder.errors import TinyadderError
from tinyadder.inspect.plot import style

PRINTED = 16
"""The most answer tokens of a picture in which the cases are counted."""


@dataclass(frozen=True)
class Leaf:
    """A case that a proof does not split further: what is known in it, and its margin."""

    token: int
    """Which answer token, from 0."""
    right: str
    margin: float
    splits: tuple[str, ...]
    """What tells it from the other cases with this token."""
    shared: bool = False
    """Whether the margin is stated of all cases of some answer tokens, not of this one."""


def leaves_of(certificate: Mapping[str, Any]) -> list[Leaf]:
    """The cases with a text in them; one that holds for several answer tokens counts for each.

    Raises `TinyadderError` for a proof that has no cases, or not those of a model of this machine.
    """
    if "graph" in certificate:
        raise TinyadderError(
            "the cases of this proof are not drawn: it is of the graph of a stranger's module"
        )
    parts = certificate.get("parts")
    if not isinstance(parts, list) or not all("positions" in part for part in parts):
        raise TinyadderError(
            "this proof has no cases to draw: it goes through every text, or the steps of a program"
        )
    leaves: list[Leaf] = []
    for part in parts:
        specification = part["specification"]
        for tree in part["positions"]:
            if "children" in tree:
                token = tree["position"] + 1 - specification["start"]
                for right, node in tree["children"].items():
                    leaves += _branch(node, token, right, ())
            else:
                leaves += _Boxes(specification, tree).leaves()
    return leaves


def _branch(
    node: Mapping[str, Any], token: int, right: str, splits: tuple[str, ...]
) -> Iterator[Leaf]:
    """A branch of a proof of a written program: claims, and a margin or a split."""
    if "split" not in node:
        if node["margin"] is not None:
            yield Leaf(token, right, float.fromhex(node["margin"]), splits)
        return
    kind, *key = node["split"]
    for name, child in node["children"].items():
        told = {
            "phase": lambda name=name: f"unit {key[1]} of layer {key[0]} is {name}",
            "state": lambda name=name: f"the automaton is in state {name} after its stage {key[0]}",
            "own": lambda name=name: f"the token read is '{name}'",
        }
        yield from _branch(child, token, right, (*splits, told[kind]()) if kind in told else splits)


Stages = list[tuple[int, list[tuple[int, int, str]]]]
"""(position, [(state before, state after, token)])."""


class _Boxes:
    """The tree of a proof of a trained block: split by the tokens at positions, written as those of
    the first position that it serves, down to boxes.
    """

    def __init__(self, specification: Mapping[str, Any], tree: Mapping[str, Any]) -> None:
        self.start, self.tree = specification["start"], tree
        self.stages: Stages = [
            (stage["position"], [(before, after, token) for before, after, token in stage["edges"]])
            for stage in specification["stages"]
        ]
        self.texts = {at: sorted({token for *_, token in moves}) for at, moves in self.stages}
        """The children of a split are in this order."""
        self.i = tree["positions"][0]

    def leaves(self) -> Iterator[Leaf]:
        """Those of every position served, without cases that have no text there."""
        margin = float.fromhex(self.tree["margin"])
        boxes, first = list(_boxes(self.tree["tree"], self.texts, {})), self.moves(0)
        for position in self.tree["positions"]:
            moves = self.moves(position - self.i)
            for tokens in boxes:
                if moves == first or _has_text(moves, tokens):
                    told = (
                        f"token {at + position - self.i} is '{token}'"
                        for at, token in tokens.items()
                        if at != self.i + 1
                    )
                    token = position + 1 - self.start
                    yield Leaf(token, tokens[self.i + 1], margin, tuple(told), shared=True)

    def moves(self, shift: int) -> Stages:
        """What a tree reads, so many positions on, at the positions by which the tree names it."""
        stage_at = {position: n for n, (position, _) in enumerate(self.stages)}
        read = [stage_at[at] for at in (*self.tree["near"], self.i, self.i + 1)]
        moved = stage_at[self.i + shift] - stage_at[self.i]
        shifted = self.stages[min(read) + moved : max(read) + moved + 1]
        return [(at - shift, sorted(moves)) for at, moves in shifted]


def _boxes(
    node: Any, texts: Mapping[int, list[str]], tokens: dict[int, str]
) -> Iterator[dict[int, str]]:
    """The tokens that are known in each box."""
    if isinstance(node, Mapping):
        for at, children in node.items():
            for token, child in zip(texts[int(at)], children, strict=True):
                yield from _boxes(child, texts, {**tokens, int(at): token})
    elif node is not None:
        yield tokens


def _has_text(stages: Stages, tokens: Mapping[int, str]) -> bool:
    """Whether moves with these tokens lead through the stages."""
    reached: set[int] | None = None
    for position, moves in stages:
        only = tokens.get(position)
        reached = {
            after
            for before, after, token in moves
            if (reached is None or before in reached) and only in (None, token)
        }
    return bool(reached)


def proof(certificate: Mapping[str, Any], what: str, unit: str = "logits") -> Figure:
    """The cases of a certificate that the checker has accepted: for each answer token and each
    right token how many there are (number) and the smallest margin in them (colour).

    `what` is proved of, for the title; `unit` is that of the margin. Raises `TinyadderError` for a
    proof that has no cases.
    """
    leaves = leaves_of(certificate)
    rights = list(dict.fromkeys(leaf.right for leaf in leaves))
    vocabulary = certificate["config"]["vocabulary"]
    rights.sort(key=vocabulary.index)
    steps = 1 + max(leaf.token for leaf in leaves)
    counts, least = np.zeros((len(rights), steps), int), np.full((len(rights), steps), np.inf)
    for leaf in leaves:
        row = rights.index(leaf.right)
        counts[row, leaf.token] += 1
        least[row, leaf.token] = min(least[row, leaf.token], leaf.margin)
    width = max(4.2, min(style.WIDTH, 1.7 + 0.36 * steps))
    figure = style.sheet(1.5 + 0.22 * len(rights), width)
    axes = figure.subplots()
    _draw_table(axes, counts, least, f"smallest margin, in {unit}")
    step = 1 if steps <= 2 * PRINTED else 5
    axes.set_xticks(range(0, steps, step), [str(n + 1) for n in range(0, steps, step)])
    axes.set_yticks(range(len(rights)), rights, family="monospace")
    axes.tick_params(length=0, labelsize=style.NORMAL)
    numbers = " (numbers: cases)" if steps <= PRINTED else ""
    axes.set_xlabel(f"token of the answer{numbers}", fontsize=style.NORMAL)
    axes.set_ylabel("right token", fontsize=style.NORMAL)
    margin, where = _mark_smallest(axes, leaves, rights, steps)
    style.entitle(
        figure,
        f"Proved: {what}, in {len(leaves):,} cases. The margin is smallest,"
        f" {style.compact(margin)}, {where}",
    )
    return figure


def _draw_table(axes: Axes, counts: np.ndarray, least: np.ndarray, label: str) -> None:
    """Smallest margins as colours, and counts as numbers where they can be read."""
    shown = np.ma.masked_where(counts == 0, least)
    low, high = float(shown.min()), float(shown.max())
    norm = LogNorm(low, high) if high > low else LogNorm(low / 2, low * 2)
    image = axes.imshow(shown, cmap="viridis", norm=norm, aspect="auto", interpolation="nearest")
    for (row, column), count in np.ndenumerate(counts) if counts.shape[1] <= PRINTED else ():
        if count:
            style.cell(axes, row, column, f"{count:,}", dark=norm(least[row, column]) <= 0.6)
    assert axes.figure is not None
    bar = axes.figure.colorbar(image, ax=axes)
    bar.set_label(label, fontsize=style.NORMAL)
    ticks = [low, *style.powers(low, high, 3)[1:-1], high] if high > low else [low]
    bar.set_ticks(ticks, labels=[style.compact(float(tick)) for tick in ticks])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=style.SMALL)


def _mark_smallest(
    axes: Axes, leaves: Sequence[Leaf], rights: Sequence[str], steps: int
) -> tuple[float, str]:
    """A frame around the smallest margin; that margin, and where it is in words."""
    worst = min(leaves, key=lambda leaf: leaf.margin)
    if worst.shared:
        marked = sorted({leaf.token for leaf in leaves if leaf.margin == worst.margin})
        corners, height = [(token - 0.5, -0.5) for token in marked], len(rights)
        numbers = ", ".join(str(token + 1) for token in marked)
        where = f"at token {numbers} of {steps} of the answer"
    else:
        corners, height = [(worst.token - 0.5, rights.index(worst.right) - 0.5)], 1
        where = f"where {style.place(worst.token, steps)} of the answer is '{worst.right}'"
        where += f", in the case that {worst.splits[-1]}" if worst.splits else ""
    for corner in corners:
        frame = Rectangle(corner, 1, height, fill=False, edgecolor=style.ORANGE, linewidth=2)
        frame.set_zorder(3)
        axes.add_patch(frame)
    return worst.margin, where
