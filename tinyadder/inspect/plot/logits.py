"""Which token wins a step, and by how much."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from tinyadder.inspect.plot import style
from tinyadder.inspect.trace import trace
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task


def unit_of(logits: Mapping[str, float]) -> float | None:
    """How many logits one unit of the digit's place is worth; None where the logits do not say.

    A lane holds the remainder r, and the logit of digit d is u * (d r - d^2 / 2) up to a constant
    and to a part linear in d, as for a nearest neighbour: the next digit wins by u per unit of r
    from where they are equal. So u is minus the second divided difference over digits, times 2.

    >>> unit_of({str(d): 10 * (d * 3.2 - d * d / 2) for d in range(10)})
    10.0
    """
    digits = sorted((int(token), logit) for token, logit in logits.items() if token.isdecimal())
    if len(digits) < 4 or len({d for d, _ in digits}) < len(digits):
        return None
    d, y = (np.array(column, dtype=float) for column in zip(*digits, strict=True))
    slopes = np.diff(y) / np.diff(d)
    second = 2 * np.diff(slopes) / (d[2:] - d[:-2])
    unit = -float(np.mean(second))
    if unit <= 0 or np.abs(second + unit).max() > 1e-6 * unit + 1e-12 * np.abs(y).max():
        return None
    return float(f"{unit:.12g}")


def logits(model: Transformer, task: Task, problem: Problem, index: int) -> Figure:
    """How far every token's logit lies below the best, in the step that emits answer token `index`.

    In units of the digit's place where the readout is a nearest neighbour (see `unit_of`), else in
    logits. The axis is logarithmic: a margin may be 1e-10 of a unit. Blue: the runner-up; orange:
    the right token, where another was chosen. Raises `TinyadderError` for a step that the answer
    does not have.
    """
    step = trace(model, task, problem, index)
    both = step.chosen.isdecimal() and step.runner_up.isdecimal()
    unit = unit_of(step.logits) if both else None
    best = max(step.logits.values())
    below = {token: (best - value) / (unit or 1.0) for token, value in step.logits.items()}
    known = step.right or []
    told = index < len(known) and step.answer[:index] == known[:index]
    right = known[index] if told else step.chosen
    figure = style.sheet(2.9)
    axes = figure.subplots()
    tokens = list(below)
    drawn = {at: below[token] for at, token in enumerate(tokens) if below[token] > 0}
    least, most = min(drawn.values(), default=0.1), max(drawn.values(), default=1.0)
    top = min(least, most / 10) / 3
    colours = {step.runner_up: style.BLUE, right: style.ORANGE}
    for at, value in drawn.items():
        token = tokens[at]
        colour = colours.get(token, style.GREY)
        axes.plot([at, at], [top, value], color=colour, linewidth=1.2, zorder=1)
        axes.scatter(at, value, color=colour, s=26, zorder=2)
        if token in (right, step.runner_up):
            axes.annotate(
                style.compact(value),
                (at, value),
                xytext=(0, -6),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=style.NORMAL,
                color=colour,
                fontweight="bold",
            )
    for at, token in enumerate(tokens):
        if token not in {tokens[n] for n in drawn}:
            label = "chosen" if token == step.chosen else "as high"
            axes.text(
                at, top * 1.2, label, ha="center", va="top", fontsize=style.NORMAL, rotation=90
            )
    axes.set_yscale("log")
    axes.set_ylim(most * 4, top)
    axes.set_xlim(-0.7, len(tokens) - 0.3)
    axes.set_xticks(range(len(tokens)), tokens, fontsize=style.NORMAL + 1, family="monospace")
    measure = "units of its place" if unit else "logits"
    axes.set_ylabel(f"below the chosen token,\nin {measure}", fontsize=style.NORMAL)
    axes.tick_params(axis="y", labelsize=style.NORMAL)
    won = f"'{step.chosen}' wins over '{step.runner_up}' by {_margin(step.margin, unit)}"
    if right != step.chosen:
        won = f"'{step.chosen}' is chosen, but '{right}' is right"
    style.entitle(
        figure, f"{task.show(problem)}, {style.place(index, len(step.answer))} of the answer: {won}"
    )
    return figure


def _margin(margin: float, unit: float | None) -> str:
    if unit is None:
        return f"a margin of {style.compact(margin)} logits"
    return f"{style.compact(margin / unit)} of a unit of its place"
