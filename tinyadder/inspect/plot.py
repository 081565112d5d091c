"""Pictures of a model and of one run: each function returns a matplotlib Figure and shows nothing
by itself.

Attention of these models spans 1e-4 to 1e-50 (softmax1 may attend to nothing), so its colours are
logarithmic; a signed quantity whose size spans decades is drawn on a symmetric logarithmic axis.
Colours: viridis for sizes, blue and orange (told apart by every kind of colour vision, and in grey)
for positive and negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator

from tinyadder.errors import TinyadderError
from tinyadder.inspect.trace import run_with_cache, trace
from tinyadder.machine.answers import answers
from tinyadder.machine.decode import forced_logits
from tinyadder.machine.tensors import columns
from tinyadder.machine.transformer import Block, FeedForward, MultiHeadAttention, Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.lengths import by_length

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#999999"
"""Positive, negative, neutral: from Okabe and Ito's palette for all kinds of colour vision
(2008).
"""
DECADES = 1000.0
"""A ratio of sizes from which on an axis is logarithmic."""
HATCHES = ("", "////", "....", "xxxx")
"""Of the value rows of one head."""


def _text(model: Transformer, task: Task, problem: Problem) -> tuple[list[str], torch.Tensor]:
    """Prompt and the model's own answer, as tokens and as a batch of one."""
    (answer,) = answers(model, task, [problem])
    tokens = [*task.prompt(problem), *(answer if task.read_at(problem) is None else ())]
    return tokens, torch.from_numpy(task.encode([tokens])).to(model.outputs.device)


def _token_axis(axes: Axes, tokens: Sequence[str], *, vertical: bool = False) -> None:
    places = np.arange(len(tokens))
    if vertical:
        axes.set_yticks(places, list(tokens), fontsize=7, family="monospace")
    else:
        axes.set_xticks(places, list(tokens), fontsize=7, family="monospace")
    axes.tick_params(length=0)


def attention(model: Transformer, task: Task, problem: Problem) -> Figure:
    """Attention patterns of all heads on prompt and answer: rows are queries, columns keys, colours
    logarithmic.
    """
    tokens, batch = _text(model, task, problem)
    _, cache = run_with_cache(model, batch)
    names = [name for name in cache if name.endswith("hook_pattern")]
    panels = [
        (name.split(".")[1], h, cache[name][0, h].cpu().numpy())
        for name in names
        for h in range(cache[name].shape[1])
    ]
    if not panels:
        raise TinyadderError("this model has no attention to draw")
    rows = -(-len(panels) // 4)
    side = -(-len(panels) // rows)
    figure = Figure(figsize=(1 + 3.6 * side, 0.6 + 3.4 * rows), layout="constrained")
    grid = figure.subplots(rows, side, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for place, (axes, (layer, head, pattern)) in enumerate(zip(grid.flat, panels, strict=False)):
        future = np.triu(np.ones_like(pattern, dtype=bool), 1)
        shown = np.ma.masked_where(future | (pattern <= 0), pattern)
        low, high = (float(shown.min()), float(shown.max())) if shown.count() else (0.1, 1.0)
        norm = LogNorm(low, high) if high > 10 * low else LogNorm(low / 3, high * 3)
        image = axes.imshow(shown, cmap="viridis", norm=norm, interpolation="nearest")
        axes.set_title(f"layer {layer}, head {head}", fontsize=9)
        _token_axis(
            axes, tokens if place + side >= len(panels) else []
        )  # the texts are the same in every panel
        _token_axis(axes, tokens if place % side == 0 else [], vertical=True)
        bar = figure.colorbar(image, ax=axes, shrink=0.85)
        bar.minorticks_off()
        bar.ax.tick_params(labelsize=7)
    figure.suptitle(
        f"attention on {task.show(problem)}: query (row) to key (column), logarithmic colours",
        fontsize=10,
    )
    return figure


def contributions(model: Transformer, task: Task, problem: Problem, index: int) -> Figure:
    """What each head of the step that emits answer token `index` takes from each token: weight x
    value.
    """
    step = trace(model, task, problem, index)
    heads = [(sublayer.layer, head) for sublayer in step.sublayers for head in sublayer.heads]
    if not heads:
        raise TinyadderError("this model has no attention to draw")
    figure = Figure(
        figsize=(max(6.0, 0.27 * len(step.text) + 2), 0.8 + 1.7 * len(heads)), layout="constrained"
    )
    grid = figure.subplots(len(heads), 1, squeeze=False)
    for axes, (layer, head) in zip(grid[:, 0], heads, strict=True):
        rows = [
            row for row, written in enumerate(head.rows) if written
        ]  # the others only fill up a layer
        for place, row in enumerate(rows):
            values = np.array([token.contribution[row] for token in head.tokens])
            offset, hatch = (
                (place - (len(rows) - 1) / 2) * 0.8 / len(rows),
                HATCHES[place % len(HATCHES)],
            )
            colours = [BLUE if v >= 0 else ORANGE for v in values]
            axes.bar(
                np.arange(len(values)) + offset,
                values,
                width=0.8 / len(rows),
                color=colours,
                hatch=hatch,
                edgecolor="white" if hatch else None,
                linewidth=0,
            )
        shades = [
            Patch(
                facecolor=GREY,
                hatch=HATCHES[place % len(HATCHES)],
                edgecolor="white",
                label=_few(head.rows[row]),
            )
            for place, row in enumerate(rows)
        ]
        if len(rows) > 1:
            axes.legend(
                handles=shades, fontsize=7, loc="upper left", title="added to", title_fontsize=7
            )
        _signed_axis(axes, np.array([token.contribution for token in head.tokens]))
        _token_axis(axes, step.text)
        axes.set_title(
            f"layer {layer}, head {head.head}: added to {_few(head.lanes)}", fontsize=9, loc="left"
        )
        axes.axhline(0, color="black", linewidth=0.6)
    figure.suptitle(
        f"{task.show(problem)}: what the query attends to when it emits '{step.chosen}' (answer"
        f" token {index})",
        fontsize=10,
    )
    return figure


def _few(names: Sequence[str]) -> str:
    """At most four names."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _signed_axis(axes: Axes, values: np.ndarray, which: Literal["x", "y"] = "y") -> None:
    """A symmetric logarithmic axis, about seven ticks, where sizes span more than three decades."""
    sizes = np.abs(values[values != 0])
    if len(sizes) and sizes.max() > DECADES * sizes.min():
        step = max(1.0, np.ceil(np.log10(sizes.max() / sizes.min()) / 3))
        powers = (
            10.0
            ** np.arange(np.ceil(np.log10(sizes.max())), np.log10(sizes.min()) + step / 2, -step)[
                ::-1
            ]
        )
        ticks = [
            *(-powers[::-1] if values.min() < 0 else []),
            0.0,
            *(powers if values.max() > 0 else []),
        ]
        axis = axes.yaxis if which == "y" else axes.xaxis
        (axes.set_yscale if which == "y" else axes.set_xscale)(
            "symlog", linthresh=float(sizes.min())
        )
        axis.set_ticks(ticks)
        axis.set_minor_locator(NullLocator())
    axes.tick_params(axis=which, labelsize=7)


def lanes(model: Transformer, task: Task, problem: Problem) -> Figure:
    """Every lane of the residual stream along the sequence, after the last layer; one colour scale
    a lane.
    """
    tokens, batch = _text(model, task, problem)
    _, cache = run_with_cache(model, batch)
    last = max(
        (n for n in cache if n.endswith("hook_resid_post")),
        key=lambda n: int(n.split(".")[1]),
        default="hook_embed",
    )
    values = cache[last][0].cpu().numpy().T
    names = columns(model)
    figure = Figure(
        figsize=(max(6.0, 0.42 * len(tokens) + 2.0), 0.9 + 0.32 * len(names)), layout="constrained"
    )
    axes = figure.subplots()
    scaled = np.array([_signed_log(row) for row in values])
    axes.imshow(scaled, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_yticks(np.arange(len(names)), names, fontsize=8)
    _token_axis(axes, tokens)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value != 0 and len(names) <= 16:
                dark, size = abs(scaled[row, column]) > 0.7, abs(value)
                form = ".0e" if size < 0.001 or size >= 1000 else ".3g" if size >= 100 else ".2g"
                axes.text(
                    column,
                    row,
                    format(value, form),
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color="white" if dark else "black",
                )
    axes.set_title(
        f"{task.show(problem)}: lanes after the last layer (each row on its own scale; brown > 0,"
        " purple < 0)",
        fontsize=9,
    )
    return figure


def _signed_log(row: np.ndarray) -> np.ndarray:
    """A row of numbers as signed logarithmic sizes in -1 .. 1; zeros stay 0, and what is below
    10^-18 nearly does.
    """
    sizes = np.abs(row[row != 0])
    if not len(sizes):
        return np.zeros_like(row)
    low = max(sizes.min() / 3, min(sizes.max(), 1.0) * 1e-18)
    norm = SymLogNorm(linthresh=low, vmin=-sizes.max(), vmax=sizes.max())
    return np.asarray(norm(row)) * 2 - 1


def weights(model: Transformer) -> Figure:
    """Who reads and who writes each lane: the sizes of all weights, one matrix a sublayer, columns
    are lanes.
    """
    names = columns(model)
    rows: list[tuple[str, np.ndarray]] = []
    for token, row in zip(
        model.config.vocabulary, model.embedding.detach().cpu().numpy(), strict=True
    ):
        rows.append((f"embed {token}", row))
    for layer, block in enumerate(b for b in model.blocks if isinstance(b, Block)):
        if isinstance(block.attention, MultiHeadAttention):
            for h in range(len(block.attention.slopes)):
                for part in ("query", "key", "value", "wiring"):
                    for i, row in enumerate(
                        getattr(block.attention, part)[h].detach().cpu().numpy()
                    ):
                        label = "writes" if part == "wiring" else part
                        rows.append((f"{layer} head {h} {label}{f'[{i}]' if i else ''}", row))
        if isinstance(block.mlp, FeedForward):
            parts = {part: getattr(block.mlp, part, None) for part in ("gate", "up")}
            parts["down"] = block.mlp.down.T
            for n in range(block.mlp.down.shape[1]):
                result = {part: matrix[n] for part, matrix in parts.items() if matrix is not None}
                rows += [
                    (f"{layer} unit {n} {part}", row.detach().cpu().numpy())
                    for part, row in result.items()
                ]
    for i, token in enumerate(model.outputs.tolist()):
        rows.append(
            (
                f"logit {model.config.vocabulary[token]}",
                model.unembed_matrix()[i].detach().cpu().numpy(),
            )
        )
    rows = [(label, row) for label, row in rows if np.any(row != 0)]
    matrix = np.array([_signed_log(row) for _, row in rows])
    figure = Figure(figsize=(2.4 + 0.42 * len(names), 1.0 + 0.17 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_xticks(np.arange(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(np.arange(len(rows)), [label for label, _ in rows], fontsize=6)
    axes.set_title("weights by lane (brown > 0, purple < 0)", fontsize=9)
    return figure


def logits(model: Transformer, task: Task, problem: Problem, index: int) -> Figure:
    """Logits of the step that emits answer token `index`, below the best, with the margin over the
    runner-up.

    Blue: the chosen token; orange: the right one, where another was chosen (after the same text).
    """
    step = trace(model, task, problem, index)
    names, values = list(step.logits), np.array(list(step.logits.values()))
    below = values.max() - values
    figure = Figure(figsize=(max(5.0, 0.4 * len(names) + 2), 3.2), layout="constrained")
    axes = figure.subplots()
    floor = below[below > 0].min() / 3 if (below > 0).any() else 1.0
    known = step.right or []
    right = (
        known[index] if index < len(known) and step.answer[:index] == known[:index] else step.chosen
    )
    colours = {right: ORANGE, step.chosen: BLUE}
    axes.bar(names, np.maximum(below, floor), color=[colours.get(name, GREY) for name in names])
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.set_ylabel("logit below the best (logarithmic)")
    text = f"'{step.chosen}' wins by {step.margin:.3g}" + (
        f", '{right}' is right" if right != step.chosen else ""
    )
    axes.set_title(f"{task.show(problem)}, answer token {index}: {text}", fontsize=10)
    return figure


def margins(model: Transformer, task: Task, *, count: int = 4000, seed: int = 0) -> Figure:
    """Histogram of the margins of every decision on hard and on structured problems, given the
    right text so far.

    The margin of a decision is the logit of the right token minus the best other one, in units of
    the spread of the logits of that decision, so that steps of different scale can share an axis;
    wrong decisions are negative.
    """
    problems = [*task.hard(), *task.structured(Random(seed), count)]
    result = []
    pairs = ((task.prompt(p), task.answer(p)) for p in problems)
    for group in ([problems[i] for i in indices] for indices in by_length(pairs)):
        answer = torch.from_numpy(task.encode([task.answer(p) for p in group])).to(
            model.outputs.device
        )
        read, firsts = zip(*map(task.forced, group), strict=True)
        texts = torch.from_numpy(task.encode(read)).to(answer)
        values = forced_logits(model, torch.cat([texts, answer[:, -1:]], 1), firsts[0] + 1)[
            :, : answer.shape[1]
        ]
        right = (model.outputs[None, None] == answer[:, :, None]).to(values.dtype)
        best_other = values.masked_fill(right > 0, -torch.inf).amax(-1)
        spread = values.amax(-1) - values.amin(-1)
        result.append(
            (((values * right).nan_to_num(0).sum(-1) - best_other) / spread).flatten().cpu()
        )
    every = torch.cat(result).numpy()
    wrong = int((every <= 0).sum())
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    sizes = np.abs(every[every != 0])
    if sizes.max() > DECADES * sizes.min():  # a logarithmic axis
        bins = np.geomspace(sizes.min(), sizes.max(), 60)
    else:
        bins = np.linspace(0, sizes.max(), 60)
    axes.hist(every[every > 0], bins=bins.tolist(), color=BLUE)
    if wrong:
        axes.hist(every[every <= 0], bins=(-bins[::-1]).tolist(), color=ORANGE)
    _signed_axis(axes, every, "x")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xlabel("margin of the right token over the next, in units of the spread of the logits")
    axes.set_ylabel("decisions")
    axes.set_title(
        f"{len(every):,} decisions on {len(problems):,} hard and structured problems (seed"
        f" {seed})\n{wrong:,} wrong, smallest margin {every.min():.3g}",
        fontsize=9,
    )
    return figure


def curves(log: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """Training curves from the lines of a JSONL log: loss (logarithmic) and exact match on
    validation.
    """
    losses = [(line["step"], line["loss"]) for line in log if "loss" in line]
    exact = [(line["step"], line["validation exact"]) for line in log if "validation exact" in line]
    if not losses:
        raise TinyadderError("this log has no lines with a step and a loss")
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left = figure.subplots()
    left.plot(*zip(*losses, strict=True), color=BLUE, linewidth=1.2)
    left.set_yscale("log")
    left.set_xlabel("step")
    left.set_ylabel("loss", color=BLUE)
    if exact:
        right = left.twinx()
        right.plot(*zip(*exact, strict=True), color=ORANGE, marker="o", markersize=3, linewidth=1.2)
        right.set_ylim(0, 1.03)
        right.set_ylabel("exact match on validation", color=ORANGE)
    left.set_title(title, fontsize=10)
    return figure


def accuracy(groups: Mapping[str, tuple[int, int]], title: str = "", axis: str = "") -> Figure:
    """Exact match by group (carry-chain length, degree, ...) from (right, asked) pairs, with 95 %
    Wilson intervals.

    A group with a wrong answer is orange and says how many: few of many would be too small to see.
    """
    return accuracies({axis: groups}, title)


def accuracies(by: Mapping[str, Mapping[str, tuple[int, int]]], title: str = "") -> Figure:
    """`accuracy` by several traits of the problems, one panel each: trait -> value -> (right,
    asked).
    """
    widths = [max(4.0, 0.62 * len(groups) + 1) for groups in by.values()]
    figure = Figure(figsize=(sum(widths), 3.4), layout="constrained")
    grid = figure.subplots(1, len(by), squeeze=False, sharey=True, width_ratios=widths)
    for axes, (trait, groups) in zip(grid[0], by.items(), strict=True):
        for place, (right, asked) in enumerate(groups.values()):
            low, high = wilson(right, asked)
            axes.bar(place, right / asked, color=BLUE if right == asked else ORANGE)
            axes.plot([place, place], [low, high], color="black", linewidth=1)
            axes.text(place, 0.03, f"{asked:,}", ha="center", fontsize=7, color="white")
            if right < asked:
                axes.text(place, 1.015, f"{asked - right:,} wrong", ha="center", fontsize=7)
        axes.set_xticks(range(len(groups)), list(groups), fontsize=8)
        axes.set_ylim(0, 1.1)
        axes.set_xlabel(trait)
    grid[0, 0].set_ylabel("exact match (of the number below)")
    figure.suptitle(title, fontsize=10)
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


def leaderboard(rows: Mapping[str, tuple[bool, Mapping[str, float]]]) -> Figure:
    """Dumbbells: for every model (built or trained) one dot per counting rung, joined, on a
    logarithmic axis.
    """
    order = sorted(rows, key=lambda name: min(rows[name][1].values()))
    rungs = list(dict.fromkeys(rung for _, counts in rows.values() for rung in counts))
    colours = [
        "#0072b2",
        "#009e73",
        "#e69f00",
        "#cc79a7",
        "#56b4e9",
        "#d55e00",
        "#000000",
        "#999999",
    ]
    figure = Figure(figsize=(8.5, max(2.4, 0.9 + 0.27 * len(order))), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(order):
        built, counts = rows[name]
        axes.plot(
            [min(counts.values()), max(counts.values())],
            [place, place],
            color="#cccccc",
            linewidth=2,
            zorder=1,
        )
        for rung, count in counts.items():
            axes.scatter(
                count,
                place,
                marker="s" if built else "o",
                s=26,
                color=colours[rungs.index(rung) % len(colours)],
                zorder=2,
            )
    axes.set_xscale("log")
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.set_xlabel("weights, by counting convention (built: square, trained: circle)")
    for i, rung in enumerate(rungs):
        axes.scatter([], [], color=colours[i % len(colours)], s=26, marker="s", label=rung)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.grid(axis="x", color="#eeeeee", zorder=0)
    figure.legend(fontsize=8, loc="outside upper center", ncols=4, frameon=False)
    return figure
