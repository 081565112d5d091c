"""Loss and exact match of a model while it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tinyadder.errors import TinyadderError
from tinyadder.inspect.plot import style


def curves(log: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """Training curves from the lines of a JSONL log: loss (logarithmic) and exact match on
    validation, in two panels over the same steps.

    Raises `TinyadderError` for a log without a loss.
    """
    losses = [(line["step"], line["loss"]) for line in log if "loss" in line]
    exact = [(line["step"], line["validation exact"]) for line in log if "validation exact" in line]
    if not losses:
        raise TinyadderError("this log has no lines with a step and a loss")
    figure = style.sheet(4.2 if exact else 2.6)
    panels = figure.subplots(1 + bool(exact), 1, squeeze=False, sharex=True)[:, 0]
    panels[0].plot(*zip(*losses, strict=True), color=style.BLUE, linewidth=1.2)
    panels[0].set_yscale("log")
    panels[0].set_ylabel("loss", fontsize=style.NORMAL)
    heading = f"{title}: " if title else ""
    if exact:
        panels[1].plot(*zip(*exact, strict=True), color=style.ORANGE, marker="o", markersize=3)
        panels[1].set_ylim(-0.03, 1.05)
        panels[1].set_ylabel("exact match on validation", fontsize=style.NORMAL)
        best = max(exact, key=lambda point: point[1])
        heading += f"the best exact match on validation was {best[1]:.2%}, at step {best[0]:,}"
    else:
        heading += f"loss over {losses[-1][0]:,} steps"
    panels[-1].set_xlabel("step", fontsize=style.NORMAL)
    for axes in panels:
        axes.tick_params(labelsize=style.NORMAL)
        axes.grid(color="#eeeeee")
    style.entitle(figure, heading)
    return figure
