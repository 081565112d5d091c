"""Every weight of a model, by the lanes it reads and writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from tinyadder.inspect.plot import style
from tinyadder.machine.tensors import columns
from tinyadder.machine.transformer import Block, Transformer

SPAN = 1000.0
"""Sizes further from the median than this factor have the colour of those at it."""
TALL = 70
"""The most rows with a name each; of more, only the first of each part has one."""


@dataclass(frozen=True)
class WeightRow:
    """One row of weights: `values` by column of the stream, then a constant (a bias, a slope)."""

    part: str
    name: str
    values: np.ndarray


def rows_of(model: Transformer) -> list[WeightRow]:
    """Every row of weights that is not zero, in the order of the forward pass.

    Rows: the embedding of each token; query, key, value and output rows of each head, its ALiBi
    slope and its waves; gate, up and down of each hidden unit; gains and biases of norms; the logit
    of each token.
    Tables of positions are left out: they have a row a position.
    """
    return [row for row in _rows(model) if row.values.any()]


def _rows(model: Transformer) -> Iterator[WeightRow]:
    vocabulary = model.config.vocabulary
    for token, weights in zip(vocabulary, model.embedding, strict=True):
        yield _row("embedding", f"'{token}'", weights)
    for layer, block in enumerate(b for b in model.blocks if isinstance(b, Block)):
        yield from _attention(f"layer {layer}", layer, block)
        yield from _mlp(f"layer {layer}", layer, block)
    yield from _norm("logits", "final norm", model.final_norm)
    biases = model.unembedding_bias if model.config.unembedding_bias else None
    for i, weights in enumerate(model.unembed_matrix()):
        token = vocabulary[int(model.outputs[i])]
        yield _row("logits", f"logit '{token}'", weights, None if biases is None else biases[i])


def _attention(part: str, layer: int, block: Block) -> Iterator[WeightRow]:
    attention = block.attention
    if attention is None:
        return
    yield from _norm(part, f"{layer} norm", block.attention_norm)
    for h in range(len(attention.slopes)):
        for name in ("query", "key", "value", "wiring"):
            matrix, biases = getattr(attention, name)[h], getattr(attention, f"{name}_bias", None)
            shown = "writes" if name == "wiring" else name
            for i, weights in enumerate(matrix):
                number = f" {i}" if len(matrix) > 1 else ""
                bias = None if biases is None else biases[h][i]
                yield _row(part, f"{layer} head {h} {shown}{number}", weights, bias)
        zero = attention.wiring[h][0] * 0
        yield _row(part, f"{layer} head {h} slope", zero, attention.slopes[h])
        if attention.options.positions == "waves":
            for i, weight in enumerate(attention.waves[h]):
                yield _row(part, f"{layer} head {h} wave {i}", zero, weight)


def _mlp(part: str, layer: int, block: Block) -> Iterator[WeightRow]:
    mlp = block.mlp
    if mlp is None:
        return
    yield from _norm(part, f"{layer} norm", block.mlp_norm)
    for n in range(mlp.down.shape[1]):
        for name in ("gate", "up"):
            if (matrix := getattr(mlp, name, None)) is not None:
                biases = getattr(mlp, f"{name}_bias")
                bias = None if biases is None else biases[n]
                yield _row(part, f"{layer} unit {n} {name}", matrix[n], bias)
        yield _row(part, f"{layer} unit {n} writes", mlp.down[:, n])


def _norm(part: str, name: str, norm: object) -> Iterator[WeightRow]:
    for leaf, shown in (("weight", "gain"), ("bias", "bias")):
        weights = getattr(norm, leaf, None)
        if weights is not None:
            yield _row(part, f"{name} {shown}", weights)


def _row(part: str, name: str, weights: Tensor, constant: Tensor | None = None) -> WeightRow:
    last = 0.0 if constant is None else float(constant.detach())
    return WeightRow(part, name, np.array([*weights.detach().cpu().double().tolist(), last]))


def telling(matrix: np.ndarray) -> tuple[float, float]:
    """The sizes that colours tell apart: three decades about the median, or fewer if all are in
    fewer.
    """
    low, high = style.signed_scale(matrix)
    middle = float(np.median(np.abs(matrix[matrix != 0]))) if matrix.any() else 1.0
    return max(low, middle / SPAN), min(high, middle * SPAN)


def weights(model: Transformer) -> Figure:
    """All weights in one table and on one logarithmic scale: a row for each query, key, value,
    gate, .., a column for each lane, and one for constants (biases, ALiBi slopes).

    Values are printed where there are at most 16 columns. Rows without weights are left out.
    """
    names, rows = [*columns(model), "constant"], rows_of(model)
    matrix = np.array([row.values for row in rows])
    if not matrix[:, -1].any():
        names, matrix = names[:-1], matrix[:, :-1]
    printed, named = (
        len(names) <= style.NUMBERED + 1,
        len(rows) <= TALL or len(names) <= style.NUMBERED + 1,
    )
    height = 0.165 * len(rows) if named else min(9.0, 0.05 * len(rows))
    figure = style.sheet(
        1.5 + height, max(3.8, style.WIDTH if len(names) > 8 else 1.9 + 0.42 * len(names))
    )
    axes = figure.subplots()
    low, high = telling(matrix)
    norm = style.signed_norm(low, high)
    image = axes.imshow(
        matrix, cmap=style.SIGNED, norm=norm, aspect="auto", interpolation="nearest"
    )
    step = 1 if printed else -(-len(names) // style.NUMBERED)
    axes.set_xticks(np.arange(0, len(names), step), names[::step], rotation=60, ha="right")
    axes.xaxis.set_tick_params(labelsize=style.NORMAL)
    first = [n for n, row in enumerate(rows) if n == 0 or row.part != rows[n - 1].part]
    for at in first[1:]:
        axes.axhline(at - 0.5, color="black", linewidth=0.8)
    if named:
        axes.set_yticks(np.arange(len(rows)), [row.name for row in rows], fontsize=style.SMALL)
    else:
        axes.set_yticks(first, [rows[at].part for at in first], fontsize=style.NORMAL)
    axes.tick_params(length=0)
    shades = np.asarray(norm(matrix)) * 2 - 1
    for (row, column), value in np.ndenumerate(matrix) if printed else ():
        if value != 0:
            dark = bool(abs(shades[row, column]) > style.DARK)
            text, size = style.compact(value), style.SMALL - 0.5
            style.cell(axes, row, column, text, dark=dark, size=size)
    bar = figure.colorbar(
        image, ax=axes, location="bottom", shrink=0.9, aspect=40, pad=0.01, extend="both"
    )
    ticks = style.powers(low, high, 3)
    bar.set_ticks([*-ticks[::-1], 0, *ticks])
    bar.ax.minorticks_off()
    bar.set_ticklabels(
        [style.compact(float(tick)) for tick in bar.get_ticks()], fontsize=style.SMALL
    )
    style.entitle(
        figure,
        "Every weight that is not zero, by the lane it reads or writes (brown > 0, purple < 0;"
        " colours are logarithmic)",
    )
    return figure
