"""How often a model is right, by traits of the problems."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from tinyadder.inspect.plot import style

Groups = Mapping[str, tuple[int, int]]
"""Value of a trait -> (right, asked)."""


def accuracy(by: Mapping[str, Groups], title: str = "") -> Figure:
    """Exact match by traits (carry-chain length, degree, ...), one panel each: a dot with its 95 %
    Wilson interval, how many problems were asked, and how many of them came out wrong.

    The axis begins at the lowest interval, not at 0: what matters is the last per cent.
    """
    figure = style.sheet(0.6 + 2.3 * len(by))
    grid = figure.subplots(len(by), 1, squeeze=False, sharey=True)[:, 0]
    floor = min(wilson(*pair)[0] for groups in by.values() for pair in groups.values())
    floor = max(0.0, floor - 0.08 * (1 - floor) - 1e-4)
    head = 1 + 0.16 * (1 - floor)
    for axes, (trait, groups) in zip(grid, by.items(), strict=True):
        for at, (right, asked) in enumerate(groups.values()):
            low, high = wilson(right, asked)
            colour = style.BLUE if right == asked else style.ORANGE
            axes.plot([at, at], [low, high], color=colour, linewidth=2)
            axes.scatter(at, right / asked, color=colour, s=30, zorder=3)
            if right < asked:
                axes.text(
                    at,
                    head,
                    f"{asked - right:,}\nwrong",
                    ha="center",
                    va="top",
                    fontsize=style.SMALL,
                    color=style.ORANGE,
                )
        names = [f"{value}\n{asked:,}" for value, (_, asked) in groups.items()]
        axes.set_xticks(
            range(len(groups)), names, fontsize=style.NORMAL if len(groups) < 10 else style.SMALL
        )
        axes.set_xlim(-0.6, len(groups) - 0.4)
        axes.set_ylim(floor, head)
        axes.axhline(1, color="black", linewidth=0.6, linestyle=":")
        axes.set_xlabel(
            f"{trait} (below: problems asked)" if trait else "problems asked below",
            fontsize=style.NORMAL,
        )
        axes.set_ylabel("exact match", fontsize=style.NORMAL)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.4g}" if y <= 1 else "")
        axes.tick_params(axis="y", labelsize=style.NORMAL)
    style.entitle(figure, f"{title} (bars: 95 % intervals)" if title else "bars: 95 % intervals")
    return figure


def wilson(right: int, asked: int) -> tuple[float, float]:
    """95 % interval of a rate after Wilson (1927): never outside 0 .. 1, sensible at 0 and 1.

    >>> low, high = wilson(100, 100)
    >>> round(low, 3), high
    (0.963, 1.0)
    """
    z, rate = 1.959963984540054, right / asked
    centre = (rate + z * z / (2 * asked)) / (1 + z * z / asked)
    half = (
        z * (rate * (1 - rate) / asked + z * z / (4 * asked * asked)) ** 0.5 / (1 + z * z / asked)
    )
    return max(0.0, centre - half), min(1.0, centre + half) if right < asked else 1.0
