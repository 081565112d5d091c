"""Which part of a model writes, and which reads, each lane: the circuit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.inspect.circuit import circuit
from tinyadder.inspect.plot import style
from tinyadder.machine.transformer import Block, FeedForward, MultiHeadAttention, Transformer
from tinyadder.tasks.base import Task

TOGETHER = 6
"""More hidden units of a layer than these are one part."""
MOST = 40
"""The most lanes and the most parts of a picture that can still be read."""


@dataclass(frozen=True)
class Part:
    """What stands in one column: the embedding, a head, a hidden unit (or all of a layer), the
    logits.
    """

    name: str
    reads: dict[str, str]
    """Lane -> what is read from it: letters q, k, v (query, key, value), g, u (gate, up), or l."""
    writes: list[str]


def parts_of(model: Transformer) -> list[Part]:
    """The parts of a model in the order of the forward pass, with the lanes they read and write."""
    table = model.embedding.detach()
    parts = [Part("embedding", {}, style.lanes_of(model, table))]
    for layer, block in enumerate([*model.blocks] * model.config.options.repeat):
        assert isinstance(block, Block), "a decoder has blocks of one kind"
        if block.attention is not None:
            parts += _heads(model, layer, block.attention)
        if block.mlp is not None:
            parts += _units(model, layer, block.mlp)
    return [*parts, Part("logits", _reads(model, {"l": model.unembed_matrix()}), [])]


def _heads(model: Transformer, layer: int, attention: MultiHeadAttention) -> Iterator[Part]:
    for h in range(len(attention.slopes)):
        rows = {name[0]: getattr(attention, name)[h] for name in ("query", "key", "value")}
        yield Part(
            f"layer {layer}, head {h}",
            _reads(model, rows),
            style.lanes_of(model, attention.wiring[h]),
        )


def _units(model: Transformer, layer: int, mlp: FeedForward) -> Iterator[Part]:
    count = mlp.down.shape[1]
    groups = [slice(0, count)] if count > TOGETHER else [slice(n, n + 1) for n in range(count)]
    for n, group in enumerate(groups):
        names = ("gate", "up") if mlp.options.gated else ("gate",)
        rows = {name[0]: getattr(mlp, name)[group] for name in names}
        name = (
            f"layer {layer}, {count} units" if len(groups) < count else f"layer {layer}, unit {n}"
        )
        yield Part(name, _reads(model, rows), style.lanes_of(model, mlp.down.T[group]))


def _reads(model: Transformer, rows: dict[str, Tensor]) -> dict[str, str]:
    letters: dict[str, str] = {}
    for letter, matrix in rows.items():
        for lane in style.lanes_of(model, matrix):
            letters[lane] = letters.get(lane, "") + letter
    return letters


def flow(model: Transformer, task: Task) -> Figure:
    """The circuit of a model, like a score: a line for each lane, a column for each part, in the
    order of the forward pass. A dot is a write, a letter is a read; what is read was written to the
    left of it on the same line.

    Raises `TinyadderError` for a model with norms (there who reads what is not in the weights
    alone), for an encoder, and for more than 40 lanes or parts.
    """
    edges = circuit(model, task, "this model", pairs=0).edges
    parts = parts_of(model)
    lanes = list(dict.fromkeys(lane for part in parts for lane in (*part.writes, *part.reads)))
    order = [name for name, _ in model.config.lanes]
    lanes.sort(key=lambda lane: order.index(lane) if lane in order else 0)
    if max(len(lanes), len(parts)) > MOST:
        raise TinyadderError(
            f"this model has {len(lanes)} lanes and {len(parts)} parts; a picture of its flow"
            f" can be read up to {MOST} (m.circuit() lists every edge)"
        )
    figure = style.sheet(
        1.75 + 0.25 * len(lanes), max(4.2, min(style.WIDTH, 1.6 + 0.5 * len(parts)))
    )
    axes = figure.subplots()
    for row, lane in enumerate(lanes):
        _draw_lane(axes, row, lane, parts)
    axes.set_yticks(range(len(lanes)), lanes, fontsize=style.NORMAL)
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(parts)), [part.name for part in parts], fontsize=style.NORMAL)
    for label in axes.get_xticklabels():
        label.set(rotation=60, ha="left", rotation_mode="anchor")
    for column in range(0, len(parts), 2):
        axes.axvspan(column - 0.5, column + 0.5, color="#f4f4f4", zorder=0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.legend(
        handles=_legend(parts),
        loc="outside lower left",
        ncols=4,
        fontsize=style.SMALL,
        frameon=False,
        handletextpad=0.2,
        columnspacing=1.0,
    )
    style.entitle(
        figure,
        f"Who writes and who reads each lane: {len(parts)} parts, {len(edges):,} edges; a part"
        " reads what was written to the left of it on the same line",
    )
    return figure


WORDS = {"q": "query", "k": "key", "v": "value", "g": "gate", "u": "up", "l": "logits"}


def _legend(parts: Sequence[Part]) -> list[Line2D]:
    used = {letter for part in parts for letters in part.reads.values() for letter in letters}
    reads = [
        Line2D(
            [], [], linestyle="", marker=f"${letter}$", color=style.ORANGE, label=f"read by {word}"
        )
        for letter, word in WORDS.items()
        if letter in used
    ]
    return [Line2D([], [], linestyle="", marker="o", color=style.BLUE, label="written"), *reads]


def _draw_lane(axes, row: int, lane: str, parts: Sequence[Part]) -> None:  # type: ignore[no-untyped-def]
    writes = [at for at, part in enumerate(parts) if lane in part.writes]
    reads = {at: part.reads[lane] for at, part in enumerate(parts) if lane in part.reads}
    if writes and reads and max(reads) > min(writes):
        axes.plot([min(writes), max(reads)], [row, row], color=style.GREY, linewidth=1, zorder=1)
    for at in writes:
        axes.scatter(at + 0.22 * (at in reads), row, color=style.BLUE, s=30, zorder=3)
    for at, letters in reads.items():
        axes.text(
            at - 0.22 * (at in writes),
            row,
            letters,
            ha="center",
            va="center",
            fontsize=style.NORMAL,
            zorder=2,
            color=style.ORANGE,
            fontweight="bold",
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        )
