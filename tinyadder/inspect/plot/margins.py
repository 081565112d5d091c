"""How close the decisions of a model on many problems are."""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from matplotlib.figure import Figure

from tinyadder.inspect.plot import style
from tinyadder.machine.decode import forced_logits
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Task
from tinyadder.tasks.lengths import by_length


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
    wrong, least = int((every <= 0).sum()), style.compact(float(every.min()))
    figure = style.sheet(3.2)
    axes = figure.subplots()
    low, high = style.signed_scale(every)
    bins = np.geomspace(low, high, 60) if high > style.DECADES * low else np.linspace(0, high, 60)
    axes.hist(every[every > 0], bins=bins.tolist(), color=style.BLUE, label="right")
    if wrong:
        axes.hist(every[every <= 0], bins=(-bins[::-1]).tolist(), color=style.ORANGE, label="wrong")
        axes.legend(fontsize=style.NORMAL)
    style.signed_axis(axes, every, "x")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel(
        "margin of the right token, as a part of the spread of the logits", fontsize=style.NORMAL
    )
    axes.set_ylabel("decisions", fontsize=style.NORMAL)
    axes.tick_params(labelsize=style.NORMAL)
    style.entitle(
        figure,
        f"{wrong:,} of {len(every):,} decisions are wrong, smallest margin {least}"
        f" ({len(problems):,} hard and structured problems, seed {seed})",
    )
    return figure
