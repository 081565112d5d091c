"""The cases of a proof, and where its margin is smallest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tinyadder.errors import TinyadderError
from tinyadder.inspect.plot.style import (
    NORMAL,
    ORANGE,
    SMALL,
    WIDTH,
    compact,
    entitle,
    place,
    powers,
    sheet,
)

PRINTED = 16
"""The most answer tokens of a picture in which the cases are counted."""


@dataclass(frozen=True)
class Leaf:
    """A case that a proof does not split further: what is known in it, and its margin."""

    token: int
    """Which answer token, from 0."""
    right: str
    margin: float
    """Stated of the case; where only one is stated for all cases of an answer token, that one."""
    splits: tuple[str, ...]
    """What tells it from the other cases with this token."""


def leaves_of(certificate: Mapping[str, Any]) -> list[Leaf]:
    """The cases with a text in them. Raises `TinyadderError` for a proof that has no cases."""
    parts = certificate.get("parts")
    if not isinstance(parts, list) or not all("positions" in part for part in parts):
        raise TinyadderError(
            "this proof has no cases to draw: it goes through every text, or the steps of a program"
        )
    found: list[Leaf] = []
    for part in parts:
        start = part["specification"]["start"]
        for tree in part["positions"]:
            token = tree["position"] + 1 - start
            if "children" in tree:
                for right, node in tree["children"].items():
                    found += _branch(node, token, right, ())
            else:
                margin = float.fromhex(tree["margin"])
                found += _boxes(tree["tree"], tree["position"], token, "", margin, ())
    return found


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


def _boxes(
    node: Any, position: int, token: int, right: str, margin: float, splits: tuple[str, ...]
) -> Iterator[Leaf]:
    """A branch of a proof of a trained block: split by the token at a position, or a box."""
    if isinstance(node, Mapping):
        for at, children in node.items():
            for name, child in children.items():
                is_next = int(at) == position + 1
                told = () if is_next else (f"token {at} is '{name}'",)
                yield from _boxes(
                    child, position, token, name if is_next else right, margin, (*splits, *told)
                )
    elif node is not None:
        yield Leaf(token, right, margin, splits)


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
    worst = min(leaves, key=lambda leaf: leaf.margin)
    figure = sheet(1.5 + 0.22 * len(rights), max(4.2, min(WIDTH, 1.7 + 0.36 * steps)))
    axes = figure.subplots()
    shown = np.ma.masked_where(counts == 0, least)
    low, high = float(shown.min()), float(shown.max())
    norm = LogNorm(low, high) if high > low else LogNorm(low / 2, low * 2)
    image = axes.imshow(shown, cmap="viridis", norm=norm, aspect="auto", interpolation="nearest")
    for (row, column), count in np.ndenumerate(counts) if steps <= PRINTED else ():
        if count:
            light = norm(least[row, column]) > 0.6
            axes.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                fontsize=SMALL,
                color="black" if light else "white",
            )
    corner = (worst.token - 0.5, rights.index(worst.right) - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ORANGE, linewidth=2, zorder=3))
    step = 1 if steps <= 2 * PRINTED else 5
    axes.set_xticks(range(0, steps, step), [str(n + 1) for n in range(0, steps, step)])
    axes.set_yticks(range(len(rights)), rights, family="monospace")
    axes.tick_params(length=0, labelsize=NORMAL)
    axes.set_xlabel(
        "token of the answer" + (" (numbers: cases)" if steps <= PRINTED else ""), fontsize=NORMAL
    )
    axes.set_ylabel("right token", fontsize=NORMAL)
    bar = figure.colorbar(image, ax=axes)
    bar.set_label(f"smallest margin, in {unit}", fontsize=NORMAL)
    ticks = [low, *powers(low, high, 3)[1:-1], high] if high > low else [low]
    bar.set_ticks(ticks, labels=[compact(float(tick)) for tick in ticks])
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL)
    case = f", in the case that {worst.splits[-1]}" if worst.splits else ""
    entitle(
        figure,
        f"Proved: {what}, in {len(leaves):,} cases. The margin is smallest,"
        f" {compact(worst.margin)}, where {place(worst.token, steps)} of the answer is"
        f" '{worst.right}'{case}",
    )
    return figure
