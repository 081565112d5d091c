"""What the pictures share: size, colours, axes, numbers in few letters.

Attention of these models spans 1e-4 to 1e-50 and lanes span as much, so colours and axes are
logarithmic where sizes are decades apart. Colours are from Okabe and Ito's palette (2008), told
apart by every kind of colour vision; maps are viridis for sizes, and brown and purple for signs.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from tinyadder.machine.answers import answers
from tinyadder.machine.tensors import columns
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task

WIDTH = 5.6
"""Inches. A phone shows it at 70 pixels an inch, where a letter of 8 points is 8 pixels high."""
SMALL, NORMAL, LARGE = 7, 8, 9.5
"""Points of letters: in cells, at axes, of titles."""
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"
"""Positive, negative, neutral."""
DECADES = 1000.0
"""A ratio of sizes from which on an axis is logarithmic."""
SIGNED = "PuOr_r"
"""Of signed values: brown > 0, purple < 0."""
DARK = 0.7
"""The absolute shade, of 1, from which on a cell is dark and its text is white."""
NUMBERED = 16
"""The most columns or lanes of a table whose values are printed."""


def compact(value: float) -> str:
    """A number in at most seven letters.

    >>> [compact(v) for v in (9, -10, 0.49, 1234.5, -9e-10, 2.353e17)]
    ['9', '-10', '0.49', '1234', '-9e-10', '2.4e17']
    """
    size = abs(value)
    if value == 0 or 0.001 <= size < 10_000:
        return f"{value:.4g}" if size >= 1000 else f"{value:.3g}" if size >= 10 else f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def place(position: int, count: int) -> str:
    """Where a token stands, in words, counted from 1.

    >>> place(0, 11)
    'token 1 of 11'
    """
    return f"token {position + 1} of {count}"


def text_of(model: Transformer, task: Task, problem: Problem) -> tuple[list[str], torch.Tensor]:
    """Prompt and the model's own answer, as tokens and as a batch of one."""
    (answer,) = answers(model, task, [problem])
    tokens = [*task.prompt(problem), *(answer if task.read_at(problem) is None else ())]
    return tokens, torch.from_numpy(task.encode([tokens])).to(model.outputs.device)


def sheet(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of this height in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def entitle(figure: Figure, text: str) -> None:
    """The title: a sentence, in as many lines as it takes, on the left."""
    letters = int(figure.get_figwidth() * 72 / (LARGE * 0.6))
    figure.suptitle(textwrap.fill(text, letters), fontsize=LARGE, x=0.01, ha="left")


def token_axis(
    axes: Axes, tokens: Sequence[str], *, vertical: bool = False, size: float = NORMAL
) -> None:
    """Tokens as the labels of an axis."""
    places = np.arange(len(tokens))
    if vertical:
        axes.set_yticks(places, list(tokens), fontsize=size, family="monospace")
    else:
        axes.set_xticks(places, list(tokens), fontsize=size, family="monospace")
    axes.tick_params(length=0)


def cell(axes: Axes, row: int, column: int, text: str, *, dark: bool, size: float = SMALL) -> None:
    """Text in the middle of a cell of a table, white on a dark ground."""
    colour = "white" if dark else "black"
    axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def few(names: Sequence[str], most: int = 4) -> str:
    """At most so many names."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def lanes_of(model: Transformer, matrix: torch.Tensor) -> list[str]:
    """The lanes in whose columns [.., column] `matrix` is not zero, each once."""
    live = matrix.detach().abs().reshape(-1, matrix.shape[-1]).sum(0).nonzero()[:, 0].tolist()
    named = dict.fromkeys(columns(model)[column].partition("[")[0] for column in live)
    return list(named)


def signed_scale(values: np.ndarray) -> tuple[float, float]:
    """(least, largest) size of what is not zero; (1, 1) where nothing is."""
    sizes = np.abs(values[values != 0])
    return (float(sizes.min()), float(sizes.max())) if len(sizes) else (1.0, 1.0)


def signed_norm(low: float, high: float) -> SymLogNorm:
    """Colours by sign and logarithmic size: `low` is just visible, `high` and beyond darkest."""
    return SymLogNorm(linthresh=low / 3, linscale=0.3, vmin=-high, vmax=high, clip=True)


def powers(low: float, high: float, most: int) -> np.ndarray:
    """At most so many powers of ten between low and high, evenly spaced, in ascending order."""
    first, last = np.ceil(np.log10(low) - 1e-9), np.floor(np.log10(high) + 1e-9)
    step = max(1.0, np.ceil((last - first + 1) / most))
    return (10.0 ** np.arange(last, first - 0.5, -step))[::-1]


def signed_axis(
    axes: Axes, values: np.ndarray, which: Literal["x", "y"] = "y", *, ratio: float = DECADES
) -> None:
    """A symmetric logarithmic axis, five ticks, where sizes span more than `ratio`."""
    low, high = signed_scale(values)
    if high > ratio * low:
        sizes = powers(low, high, 2)
        ticks = [
            *(-sizes[::-1] if values.min() < 0 else []),
            0.0,
            *(sizes if values.max() > 0 else []),
        ]
        axis = axes.yaxis if which == "y" else axes.xaxis
        scale = axes.set_yscale if which == "y" else axes.set_xscale
        scale("symlog", linthresh=low, linscale=0.5)
        axis.set_ticks(ticks, labels=[compact(float(tick)) for tick in ticks])
        axis.set_minor_locator(NullLocator())
    axes.tick_params(axis=which, labelsize=NORMAL)
