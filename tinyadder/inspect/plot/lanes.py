"""What every token holds in every lane of the residual stream."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tinyadder.inspect.plot import style
from tinyadder.inspect.trace import run_with_cache, stream_names
from tinyadder.machine.tensors import columns
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task

BEYOND = 1000.0
"""Times the largest value of its scale, from which on a value is grey."""
LINE = 13
"""The most tokens of a line: a longer sequence is broken as text is."""


def lanes(model: Transformer, task: Task, problem: Problem) -> Figure:
    """Every lane of the residual stream at every token, after the last layer: table and heat map.

    Long sequences are broken into lines. Each lane has a colour scale of its own, logarithmic, up
    to the largest value at the tokens that the answer is read from: elsewhere a lane may hold what
    nothing reads, and what is 1000 times larger is grey. What only rounds (1e-15 of a lane whose
    values are at most 1) is shown as 0.
    """
    tokens, batch = style.text_of(model, task, problem)
    _, cache = run_with_cache(model, batch)
    values = cache[stream_names(model.config)[-1]][0].cpu().numpy().T
    names, prompt = columns(model), len(task.prompt(problem))
    read = values[:, prompt - 1 :] if task.read_at(problem) is None else values
    values = np.array([rounded(row) for row in values])
    shades = np.array([shade(row, among) for row, among in zip(values, read, strict=True)])
    lines = broken(tokens)
    longest = max(stop - start for start, stop in lines)
    height = (0.21 if len(names) <= style.NUMBERED else 0.1) * len(names) + 0.3
    figure = style.sheet(
        0.75 + height * len(lines), min(style.WIDTH, max(3.6, 1.2 + 0.45 * longest))
    )
    colours = matplotlib.colormaps[style.SIGNED].with_extremes(bad="#c4c4c4")
    for axes, (start, stop) in zip(
        figure.subplots(len(lines), 1, squeeze=False)[:, 0], lines, strict=True
    ):
        part = slice(start, stop)
        axes.imshow(
            shades[:, part], cmap=colours, vmin=-1, vmax=1, aspect="auto", interpolation="nearest"
        )
        axes.set_xlim(-0.5, longest - 0.5)
        axes.spines[:].set_visible(False)
        axes.set_yticks(*labels(names), fontsize=style.NORMAL)
        style.token_axis(axes, tokens[part], size=style.NORMAL + 1)
        for position, label in enumerate(axes.get_xticklabels(), start):
            label.set(color=style.BLUE if position >= prompt else "black", fontweight="bold")
        if len(names) <= style.NUMBERED:
            _print_values(axes, values[:, part], shades[:, part])
    told = [
        *(["answer in blue"] if prompt < len(tokens) else []),
        *(["grey far outside the scale"] if np.isnan(shades).any() else []),
    ]
    style.entitle(
        figure,
        f"{task.show(problem)}: what every token holds in every lane at the end (brown > 0,"
        f" purple < 0, empty 0{''.join(f', {part}' for part in told)})",
    )
    return figure


def broken(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """(start, stop) of each line: at most `LINE` tokens, broken before a sign where one comes late
    enough.

    >>> broken("^4999999999+0000000000=04999999999")
    [(0, 11), (11, 22), (22, 34)]
    """
    lines, start = [], 0
    while len(tokens) - start > LINE:
        late = range(start + LINE // 2, start + LINE + 1)
        signs = [p for p in late if not tokens[p].isalnum()]
        stop = signs[-1] if signs else start + LINE
        lines.append((start, stop))
        start = stop
    return [*lines, (start, len(tokens))]


def labels(names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Ticks of the lanes: every one, or of a wide stream every eighth."""
    step = 1 if len(names) <= 2 * style.NUMBERED else 8
    return np.arange(0, len(names), step), list(names[::step])


def rounded(row: np.ndarray) -> np.ndarray:
    """A lane with 0 where a value is below the precision of numbers near 1."""
    return np.where(np.abs(row) < 1e-15 * min(float(np.abs(row).max()), 1.0), 0.0, row)


def shade(row: np.ndarray, among: np.ndarray) -> np.ndarray:
    """A lane as signed logarithmic sizes in -1 .. 1, where 1 is the largest `among` these values;
    zeros stay 0, what is far larger is NaN.
    """
    low, high = style.signed_scale(among if rounded(among).any() else row)
    shades = np.asarray(style.signed_norm(max(low, 1e-15 * high), high)(row)) * 2 - 1
    return np.where(np.abs(row) > BEYOND * high, np.nan, shades)


def brief(value: float) -> str:
    """A number in at most six letters.

    >>> [brief(v) for v in (9, -0.49, 0.0027, -8.6e-10, 1.44e34)]
    ['9', '-0.49', '3e-3', '-9e-10', '1e34']
    """
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return style.compact(value)
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _print_values(axes: Axes, values: np.ndarray, shades: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(values):
        if value != 0:
            text, dark = brief(value), bool(abs(shades[row, column]) > style.DARK)
            smaller = 0 if len(text) <= 3 else 1 if len(text) <= 5 else 1.5
            style.cell(axes, row, column, text, dark=dark, size=style.NORMAL - smaller)
