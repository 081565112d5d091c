"""What each head takes from each token in one step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tinyadder.errors import TinyadderError
from tinyadder.inspect.plot import style
from tinyadder.inspect.trace import HeadStep, trace
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task

HATCHES = ("", "////", "....", "xxxx")
"""Of the value rows of one head."""
NOISE = 512
"""Contributions below so many roundings of the largest of their head get no bar."""
LABELLED = 20
"""More tokens than these have the values at their bars upright."""
RATIO = 20.0
"""Of sizes, from which on the common scale is logarithmic."""


@dataclass(frozen=True)
class HeadBars:
    """What one head adds at the query, by its value rows [row, token]."""

    name: str
    lanes: list[str]
    """That the head adds to."""
    labels: list[str]
    """Of the rows: the lanes that each is added to."""
    rows: np.ndarray

    @property
    def silent(self) -> bool:
        return not self.rows.any()


def added(layer: int, head: HeadStep, eps: float) -> HeadBars:
    """The contributions of a head; what only rounds (`NOISE` times `eps`) is 0."""
    live = [row for row, written in enumerate(head.rows) if written]  # others only fill up a layer
    rows = np.array([[token.contribution[row] for token in head.tokens] for row in live])
    rows = rows.reshape(len(live), len(head.tokens))
    largest = np.abs(rows).max(initial=0.0)
    rows = np.where(np.abs(rows) >= NOISE * eps * max(largest, NOISE * eps), rows, 0.0)
    lanes = [style.few(head.rows[row], 2) for row in live]
    if len(set(lanes)) < len(lanes):  # a learned projection mixes the rows
        lanes = [f"value row {row}" for row in live]
    return HeadBars(f"layer {layer}, head {head.head}", head.lanes, lanes, rows)


def contributions(model: Transformer, task: Task, problem: Problem, index: int) -> Figure:
    """What each head of the step that emits answer token `index` takes from each token: weight x
    value.

    All heads share one scale; a head that adds nothing is named below. Raises `TinyadderError` for
    a model without attention and for a step that the answer does not have.
    """
    step = trace(model, task, problem, index)
    eps = float(torch.finfo(model.embedding.dtype).eps)
    heads = [added(s.layer, head, eps) for s in step.sublayers for head in s.heads]
    if not heads:
        raise TinyadderError("this model has no attention to draw")
    drawn = [head for head in heads if not head.silent]
    figure = style.sheet(0.7 + 1.6 * max(1, len(drawn)))
    every = np.concatenate([head.rows.ravel() for head in drawn] or [np.zeros(1)])
    grid = figure.subplots(max(1, len(drawn)), 1, squeeze=False, sharey=True)[:, 0]
    for axes, head in zip(grid, drawn, strict=False):
        _draw(axes, head, step.text)
    style.signed_axis(grid[0], every, ratio=RATIO)
    if drawn:
        grid[0].margins(y=0.3)
    else:
        grid[0].set_axis_off()
    silent = [
        f"{head.name} ({style.few(head.lanes) or 'no lane'})" for head in heads if head.silent
    ]
    if silent:
        figure.supxlabel(
            "adds nothing here: " + "; ".join(silent),
            fontsize=style.NORMAL,
            x=0.01,
            ha="left",
            wrap=True,
        )
    style.entitle(
        figure,
        f"{task.show(problem)}: what each head takes from each token (weight x value) to emit"
        f" '{step.chosen}', {style.place(index, len(step.answer))} of the answer",
    )
    return figure


def _draw(axes: Axes, head: HeadBars, tokens: list[str]) -> None:
    """The bars of one head, a group at every token; of several rows with a legend."""
    several, width = len(head.rows) > 1, 0.8 / len(head.rows)
    for row, values in enumerate(head.rows):
        offset, hatch = (row - (len(head.rows) - 1) / 2) * width, HATCHES[row % len(HATCHES)]
        live = np.flatnonzero(values)
        axes.bar(
            live + offset,
            values[live],
            width=width,
            color=[style.BLUE if v >= 0 else style.ORANGE for v in values[live]],
            hatch=hatch,
            edgecolor="white" if hatch else None,
            linewidth=0,
        )
        for at in live if len(head.rows) <= 2 else ():
            axes.annotate(
                style.compact(values[at]),
                (at + offset, values[at]),
                xytext=(0, 2 if values[at] > 0 else -2),
                textcoords="offset points",
                ha="center",
                rotation=90 if len(tokens) > LABELLED or several else 0,
                va="bottom" if values[at] > 0 else "top",
                fontsize=style.SMALL,
            )
    if several:
        shades = [
            Patch(
                facecolor=style.GREY, hatch=HATCHES[n % len(HATCHES)], edgecolor="white", label=lane
            )
            for n, lane in enumerate(head.labels)
        ]
        axes.legend(handles=shades, fontsize=style.SMALL, loc="best", handlelength=1.5)
    axes.set_title(head.name, fontsize=style.NORMAL, loc="left")
    axes.set_ylabel(f"added to\n{style.few(head.lanes, 2)}", fontsize=style.NORMAL)
    axes.axhline(0, color="black", linewidth=0.6)
    style.token_axis(axes, tokens)
    axes.set_xlim(-0.7, len(tokens) - 0.3)
