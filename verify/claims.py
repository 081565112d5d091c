"""Compare what a construction says its lanes mean with what the model holds, lane by lane.

A construction may state `Construction.claims`: per lane a function `(problem, position) -> value`,
the exact rational (for a wide lane one a column) that the lane should hold after the last layer at
that position of prompt + right answer, or None where nothing is claimed. Claims are meanings, not
weights: they need not follow rounding, nor what a head attends to faintly from afar, and the errors
printed here say how much that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from tinyadder.construction import LaneClaim
from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task


@dataclass(frozen=True)
class LaneErrors:
    """The largest errors found in a lane, with where each was found: (problem, position, claimed,
    found).
    """

    lane: str
    compared: int
    absolute: float
    relative: float
    """Of the claimed value, where that is not zero."""
    scaled: float
    """Of the largest value that the lane is claimed to have at the same position in any of the
    problems.
    """
    worst_absolute: tuple[Problem, int, float, float] | None
    worst_relative: tuple[Problem, int, float, float] | None


def check_claims(
    model: Transformer,
    task: Task,
    claims: Mapping[str, LaneClaim] | None,
    problems: Sequence[Problem],
) -> list[LaneErrors]:
    """The largest absolute and relative error of every claimed lane over all positions of these
    problems.

    Differences are taken in exact rationals. Raises `TinyadderError` without claims, for a claim
    about a lane that the model does not have, and for one of another width.
    """
    widths = dict(model.config.lanes)
    if not claims:
        raise TinyadderError(
            "this model claims nothing of its lanes; constructions do (tinyadder list), folders"
            " do not"
        )
    for lane in claims:
        if lane not in widths:
            names = ", ".join(widths)
            raise TinyadderError(
                f"a claim about lane '{lane}' (lanes: {names}){did_you_mean(lane, widths)}"
            )
    starts = {
        lane: sum(w for _, w in model.config.lanes[:i])
        for i, (lane, _) in enumerate(model.config.lanes)
    }
    seen = {lane: _Worst() for lane in claims}
    for problem in problems:
        held = _residual(model, task, problem)
        for lane, claim in claims.items():
            columns = held[:, starts[lane] : starts[lane] + widths[lane]].tolist()
            for position, found in enumerate(columns):
                claimed = _values(claim(problem, position), widths[lane], lane)
                for value, number in zip(claimed, found, strict=False):  # nothing claimed: no value
                    seen[lane].see(problem, position, value, number)
    return [seen[lane].errors(lane) for lane in claims]


@dataclass(frozen=True)
class Readout:
    """What the readout chooses when it is given the claimed values of the lanes, instead of what
    they hold.
    """

    tokens: int
    """Answer tokens read."""
    wrong: int
    """Those that come out wrong."""
    margin: float
    """The smallest lead of the right token, in logits."""
    room: float
    """By what factor the largest errors found at that position could grow, all at once and in the
    worst direction, before a token could change.
    """


def check_readout(
    model: Transformer, task: Task, claims: Mapping[str, LaneClaim], problems: Sequence[Problem]
) -> Readout | None:
    """Whether the claims decide every answer token.

    None where a lane that the readout reads is not claimed there, and where the stream is normed
    before it is read: then a logit is no sum over lanes.

    The lead of the right token r over c is sum_k (U_rk - U_ck) x_k + b_r - b_c; errors e_k in the
    lanes change it by at most sum_k |U_rk - U_ck| e_k. So an answer depends on its prompt only
    through the claimed values, as far as lanes keep to their claims: trying every combination of
    values that the lanes it reads can have is then trying all.
    """
    if model.final_norm is not None:
        return None
    columns = [(lane, row) for lane, width in model.config.lanes for row in range(width)]
    matrix = model.unembed_matrix().detach().cpu().double() * (-1 if model.config.argmin else 1)
    bias = torch.zeros(len(matrix), dtype=torch.float64)
    if model.config.unembedding_bias:
        bias = model.unembedding_bias.detach().cpu().double() * (-1 if model.config.argmin else 1)
    read = [k for k in range(matrix.shape[1]) if bool(matrix[:, k].any())]
    outputs = [model.config.vocabulary[token] for token in model.config.outputs]
    errors: dict[int, Tensor] = {}
    said: list[tuple[int, str, Tensor]] = []
    for problem in problems:
        held = _residual(model, task, problem).cpu()
        answer = task.answer(problem)
        first = task.forced(problem)[1]
        for position, token in enumerate(answer, first):
            values = []
            for k in read:
                lane, row = columns[k]
                claimed = _values(
                    claims[lane](problem, position) if lane in claims else None,
                    _width(model, lane),
                    lane,
                )
                if not claimed:
                    return None
                values.append(claimed[row])
            found = [
                abs(Fraction(held[position, k].item()) - v)
                for k, v in zip(read, values, strict=True)
            ]
            here = torch.tensor([float(e) for e in found], dtype=torch.float64)
            errors[position] = torch.maximum(errors.get(position, here), here)
            said.append(
                (position, token, torch.tensor([float(v) for v in values], dtype=torch.float64))
            )
    wrong, margin, room = 0, float("inf"), float("inf")
    for position, token, values_read in said:
        right = outputs.index(token)
        rows = matrix[:, read][right] - torch.cat([matrix[:right, read], matrix[right + 1 :, read]])
        leads = rows @ values_read + bias[right] - torch.cat([bias[:right], bias[right + 1 :]])
        wrong += bool(leads.min() <= 0)
        margin = min(margin, leads.min().item())
        room = min(room, (leads / (rows.abs() @ errors[position]).clamp_min(1e-300)).min().item())
    return Readout(len(said), wrong, margin, room)


def _width(model: Transformer, lane: str) -> int:
    return dict(model.config.lanes)[lane]


@torch.inference_mode()
def _residual(model: Transformer, task: Task, problem: Problem) -> Tensor:
    """The residual stream after the last layer, [t, d], of the tokens `Task.forced`."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> Tensor:
        kept[name] = value
        return value

    tokens = torch.from_numpy(task.encode([task.forced(problem)[0]]))
    model(tokens.to(model.outputs.device), hook=keep)
    return kept[f"blocks.{len(model.blocks) - 1}.hook_resid_post"][0]


def _values(claimed: Any, width: int, lane: str) -> list[Fraction]:
    if claimed is None:
        return []
    values = list(claimed) if isinstance(claimed, Sequence) else [claimed]
    if len(values) != width or not all(isinstance(value, Fraction | int) for value in values):
        raise TinyadderError(
            f"the claim about lane '{lane}' gives {claimed!r}; expected {width} rational numbers"
        )
    return [Fraction(value) for value in values]


class _Worst:
    """Keeps the largest errors of one lane."""

    def __init__(self) -> None:
        self.compared = 0
        self.absolute = self.relative = Fraction(0)
        self.largest: dict[int, Fraction] = {}
        """By position: the largest claimed value, and the largest error."""
        self.errors_at: dict[int, Fraction] = {}
        self.at: dict[str, tuple[Problem, int, float, float]] = {}

    def see(self, problem: Problem, position: int, claimed: Fraction, found: float) -> None:
        self.compared += 1
        error = abs(Fraction(found) - claimed)
        where = (problem, position, float(claimed), found)
        self.largest[position] = max(self.largest.get(position, Fraction(0)), abs(claimed))
        self.errors_at[position] = max(self.errors_at.get(position, Fraction(0)), error)
        if error > self.absolute:
            self.absolute, self.at["absolute"] = error, where
        if claimed and error / abs(claimed) > self.relative:
            self.relative, self.at["relative"] = error / abs(claimed), where

    def errors(self, lane: str) -> LaneErrors:
        shares = [
            error / self.largest[at] for at, error in self.errors_at.items() if self.largest[at]
        ]
        return LaneErrors(
            lane,
            self.compared,
            float(self.absolute),
            float(self.relative),
            float(max(shares, default=0)),
            self.at.get("absolute"),
            self.at.get("relative"),
        )
