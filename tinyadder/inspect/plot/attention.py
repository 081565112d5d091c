"""Which tokens each head attends to."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from tinyadder.errors import TinyadderError
from tinyadder.inspect.plot import style
from tinyadder.inspect.trace import run_with_cache
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task

SHORT = 14
"""The most tokens of which two patterns stand side by side."""
ALIKE = 1.001
"""The largest ratio of weights that count as equal."""


@dataclass(frozen=True)
class Pattern:
    """The weights of one head [query, key], and what is known of it."""

    name: str
    reads: list[str]
    """The lanes of its values."""
    writes: list[str]
    weights: np.ndarray
    softmax1: bool

    @property
    def attended(self) -> np.ma.MaskedArray:
        """Without the future and without what is not attended to at all."""
        future = np.triu(np.ones_like(self.weights, dtype=bool), 1)
        return np.ma.masked_where(future | (self.weights <= 0), self.weights)

    @property
    def statement(self) -> str | None:
        """The pattern in a sentence, if every query attends to all tokens up to its own alike."""
        rows = [self.weights[i, : i + 1] for i in range(len(self.weights))]
        if any(row.min() <= 0 or row.max() > ALIKE * row.min() for row in rows):
            return None
        lanes = (
            f"{style.few(self.reads) or 'a constant'} into {style.few(self.writes) or 'nothing'}"
        )
        if not self.softmax1:
            return f"Attends to every token up to the query alike: the mean of {lanes}."
        low, high = (style.compact(float(x)) for x in (rows[-1].min(), rows[0].max()))
        weight = low if low == high else f"{low} .. {high}"
        rest = 1 - len(rows) * float(rows[-1].max())
        almost = "almost all" if rest > 0.99 else f"{rest:.2g}"
        return (
            f"Attends to every token up to the query alike, with weight {weight} each ({almost} of"
            f" the attention goes to nothing): the sum of {lanes}."
        )


def patterns(model: Transformer, task: Task, problem: Problem) -> tuple[list[str], list[Pattern]]:
    """The tokens of prompt and answer, and every head's pattern. Raises `TinyadderError` for a
    model without attention.
    """
    tokens, batch = style.text_of(model, task, problem)
    _, cache = run_with_cache(model, batch)
    heads = []
    for layer, block in enumerate([*model.blocks] * model.config.options.repeat):
        attention = block.attention
        for h in range(0 if attention is None else len(attention.slopes)):
            reads, writes = (
                style.lanes_of(model, getattr(attention, m)[h]) for m in ("value", "wiring")
            )
            weights = cache["pattern", layer][0, h].cpu()
            weights = weights.float() if weights.dtype == torch.bfloat16 else weights
            softmax1 = attention.options.softmax == "softmax1"
            name = f"layer {layer}, head {h}"
            heads.append(Pattern(name, reads, writes, weights.numpy(), softmax1))
    if not heads:
        raise TinyadderError("this model has no attention to draw")
    return tokens, heads


def attention(model: Transformer, task: Task, problem: Problem) -> Figure:
    """Attention patterns of all heads on prompt and answer: rows are queries, columns keys.

    Colours are logarithmic, over the decades that matter: what is below the precision of the
    numbers, relative to the largest weight, has the lowest. A head that attends to all tokens alike
    is a sentence. Raises `TinyadderError` for a model without attention.
    """
    tokens, heads = patterns(model, task, problem)
    drawn = [pattern for pattern in heads if pattern.statement is None]
    stated = [pattern for pattern in heads if pattern.statement is not None]
    side = 2 if len(tokens) <= SHORT and len(drawn) > 1 else 1
    rows = -(-len(drawn) // side)
    panel = 4.3 if side == 1 and len(tokens) > SHORT else 3.0
    heights = [panel] * rows + [0.72] * len(stated)
    figure = style.sheet(0.5 + sum(heights), style.WIDTH)
    grid = figure.add_gridspec(len(heights), side, height_ratios=heights)
    for place, pattern in enumerate(drawn):
        axes = figure.add_subplot(grid[place // side, place % side])
        axes.set_anchor("W")
        _draw(figure, axes, pattern, tokens)
    for place, pattern in enumerate(stated, rows):
        axes = figure.add_subplot(grid[place, :])
        axes.set_axis_off()
        axes.set_title(_heading(pattern), fontsize=style.NORMAL + 0.5, loc="left")
        statement = textwrap.fill(str(pattern.statement), 78)
        axes.text(0, 1, statement, fontsize=style.NORMAL, va="top", transform=axes.transAxes)
    style.entitle(
        figure,
        f"{task.show(problem)}: which tokens (columns) each token (row) attends to; colours are"
        " logarithmic",
    )
    return figure


def _heading(pattern: Pattern) -> str:
    return f"{pattern.name}, writes {style.few(pattern.writes, 3) or 'nothing'}"


def _draw(figure: Figure, axes: Axes, pattern: Pattern, tokens: list[str]) -> None:
    shown = pattern.attended
    low, high = (float(shown.min()), float(shown.max())) if shown.count() else (0.1, 1.0)
    least = high * float(np.finfo(pattern.weights.dtype).eps)
    norm = LogNorm(max(low, least), high) if high > 10 * low else LogNorm(high / 10, high)
    image = axes.imshow(shown, cmap="viridis", norm=norm, interpolation="nearest")
    axes.set_title(_heading(pattern), fontsize=style.NORMAL + 0.5, loc="left")
    size = style.SMALL if len(tokens) > SHORT else style.NORMAL
    style.token_axis(axes, tokens, size=size)
    style.token_axis(axes, tokens, vertical=True, size=size)
    axes.set_xlabel("attended to", fontsize=style.NORMAL)
    axes.set_ylabel("query", fontsize=style.NORMAL)
    extend = "min" if low < least else "neither"
    bar = figure.colorbar(image, ax=axes, shrink=0.85, extend=extend, panchor=False)
    bar.set_label("attention weight", fontsize=style.NORMAL)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=style.SMALL)
