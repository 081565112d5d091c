"""The counts of every model by every convention."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from tinyadder.inspect.plot import style

COLOURS = (
    *("#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#d55e00", "#000000"),
    *("#999999", "#8a5a00"),
)
"""Okabe and Ito's palette, grey and brown: one a rung."""


def leaderboard(rows: Mapping[str, tuple[bool, Mapping[str, float]]]) -> Figure:
    """Dumbbells: for every model (built or trained) one dot per counting rung, joined, on a
    logarithmic axis.
    """
    order = sorted(rows, key=lambda name: min(rows[name][1].values()))
    rungs = list(dict.fromkeys(rung for _, counts in rows.values() for rung in counts))
    figure = style.sheet(max(2.6, 1.5 + 0.22 * len(order)))
    axes = figure.subplots()
    for row, name in enumerate(order):
        built, counts = rows[name]
        axes.plot(
            [min(counts.values()), max(counts.values())],
            [row, row],
            color="#cccccc",
            linewidth=2,
            zorder=1,
        )
        for rung, count in counts.items():
            axes.scatter(
                count,
                row,
                marker="s" if built else "o",
                s=22,
                color=COLOURS[rungs.index(rung)],
                zorder=2,
            )
    axes.set_xscale("log")
    axes.set_yticks(range(len(order)), order, fontsize=style.NORMAL)
    axes.tick_params(axis="x", labelsize=style.NORMAL)
    axes.set_xlabel(
        "weights, by counting convention (built: square, trained: circle)", fontsize=style.NORMAL
    )
    for i, rung in enumerate(rungs):
        axes.scatter([], [], color=COLOURS[i], s=22, marker="s", label=rung)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.grid(axis="x", color="#eeeeee", zorder=0)
    figure.legend(fontsize=style.NORMAL, loc="outside lower left", ncols=3, frameon=False)
    style.entitle(figure, "A model has a number of weights for each convention, not one")
    return figure
