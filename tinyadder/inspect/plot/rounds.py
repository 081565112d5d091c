"""Training in rounds: counterexamples are found and trained on, until a proof is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, checked
from tinyadder.inspect.plot import style

MARKS = {
    "refuted": (style.ORANGE, "o", "wrong answer found"),
    "unknown": (style.GREY, "s", "none found, no proof"),
    "proved": (style.BLUE, "*", "proved"),
}
"""Verdict of a round: colour, mark, and what it says."""


FIELDS: dict[str, Any] = {
    "round": Annotated[int, Between(1, 10**9)],
    "verdict": Literal["refuted", "unknown", "proved"],
    "wrong": Annotated[int, Between(0, 10**9)],
    "problems": Annotated[int, Between(0, 10**9)],
    "smallest": float,
    "seconds": float,
}
"""The entries of a line that are drawn."""


def rounds(log: Sequence[Mapping[str, Any]], title: str = "") -> Figure:
    """The rounds of a run that ends in a proof: above, how many wrong answers each found and how
    many problems are kept for training; below, the smallest margin found, negative where an answer
    is wrong.

    `log` is the lines of `rounds.jsonl`. Raises `TinyadderError` for a log without rounds, and for
    a line that is none.
    """
    if not log:
        raise TinyadderError("this log has no rounds of counterexamples")
    for line in log:
        for name, kind in FIELDS.items():
            checked(line.get(name), kind, f"round {line.get('round')}: {name}")
    figure = style.sheet(4.6)
    above, below = figure.subplots(2, 1, sharex=True)
    numbers = [line["round"] for line in log]
    wrong = [line["wrong"] for line in log]
    above.bar(numbers, wrong, color=style.ORANGE, label="wrong answers found")
    above.plot(
        numbers,
        [line["problems"] for line in log],
        color=style.BLUE,
        marker=".",
        label="problems kept for training",
    )
    above.set_yscale("symlog", linthresh=1)
    above.set_ylim(bottom=0)
    above.set_ylabel("problems", fontsize=style.NORMAL)
    _legend_above(above)
    for number, count in zip(numbers, wrong, strict=True):
        if count and len(log) <= 16:
            above.annotate(
                f"{count:,}", (number, count), ha="center", va="bottom", fontsize=style.NORMAL
            )
    _margins(below, log)
    below.set_xlabel("round", fontsize=style.NORMAL)
    for axes in (above, below):
        axes.tick_params(labelsize=style.NORMAL)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.entitle(figure, _told(log, title))
    return figure


def _margins(axes: Axes, log: Sequence[Mapping[str, Any]]) -> None:
    for verdict, (colour, mark, words) in MARKS.items():
        lines = [line for line in log if line["verdict"] == verdict]
        axes.scatter(
            [line["round"] for line in lines],
            [line["smallest"] for line in lines],
            color=colour,
            marker=mark,
            s=90 if mark == "*" else 26,
            label=words,
            zorder=2,
        )
    axes.axhline(0, color="black", linewidth=0.6)
    style.signed_axis(axes, np.array([line["smallest"] for line in log]))
    axes.margins(y=0.15)
    axes.set_ylabel("smallest margin found,\nin logits", fontsize=style.NORMAL)
    _legend_above(axes)


def _legend_above(axes: Axes) -> None:
    """Above its axes, in one row: inside, it would cover a bar or a mark."""
    axes.legend(
        fontsize=style.NORMAL,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        borderaxespad=0.2,
        columnspacing=1.2,
        handletextpad=0.4,
    )


def _told(log: Sequence[Mapping[str, Any]], title: str) -> str:
    """The run in a sentence."""
    verdicts = Counter(line["verdict"] for line in log)
    end = "proved" if log[-1]["verdict"] == "proved" else "not yet proved"
    times = "once" if verdicts["refuted"] == 1 else f"{verdicts['refuted']:,} times"
    summary = (
        f"{len(log):,} rounds in {log[-1]['seconds']:,.0f} s: wrong answers were found {times},"
        f" {sum(line['wrong'] for line in log):,} in all; at the end the model is {end}"
    )
    smallest = style.compact(float(log[-1]["smallest"]))
    return (f"{title}: " if title else "") + f"{summary} (smallest margin found {smallest})"
