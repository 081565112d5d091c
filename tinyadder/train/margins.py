"""Numbers in the middle of what problems allow: the margins of their answers made positive.

A problem with a carry through all columns leaves the first token a margin of 10^-10 of that token's
logits. Such a margin says on which side of a bound the numbers are, and hardly by how much, so
that the gradient of a softmax either vanishes or explodes. As linear inequalities, all margins of
all problems that were found to matter are met at once (a cutting-plane method, Kelley 1960). With x
the margins, logit of the right token minus that of a rival, and J their derivatives by the changes
d of the numbers:

    maximise r   with   J d + x >= r |J|   and   |d| <= reach

|J| is the norm of a row in units in which every column of J is equally large. So r is the distance
to the nearest bound, in the model's own units: the centre of the largest ball (Nemhauser and
Widhelm 1971). `reach` is a few times what the worst margin is short of, so that each round is exact
to the square of the one before, as Newton's are, and the linear programme, which scipy's HiGHS
solves, never holds numbers 10^10 apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacfwd

ROUNDS, TRIES = 8, 4
LARGEST = 0.5
"""The most that a number changes in a round."""
FARTHEST, NEAREST = 0.2, 1e-13
"""Bounds of `reach`."""
TOLERANCE = 1e-10


def centred(margins: Callable[[Tensor], Tensor], numbers: int) -> Float[Tensor, " n"]:
    """The change of so many numbers after which the least of `margins(change)` is positive and
    about as large as it can be; or as close to it as `ROUNDS` rounds come.
    """
    change = torch.zeros(numbers, dtype=torch.float64)

    def twice(at: Tensor) -> tuple[Tensor, Tensor]:
        found = margins(at)
        return found, found

    for _ in range(ROUNDS):
        jacobian, short = jacfwd(twice, has_aux=True)(change)
        size = jacobian.abs().amax(1, keepdim=True).clamp(min=1e-300)
        column = (jacobian / size).abs().amax(0).clamp(min=1e-300)
        rows = jacobian / size / column
        length = rows.norm(dim=1) * size[:, 0]
        rows, short = rows / rows.norm(dim=1, keepdim=True), short / length
        worst = float(short.min())
        reach = 3 * worst if worst > 0 else min(max(-20 * worst, NEAREST), FARTHEST)
        for _ in range(TRIES):
            found = _farthest(rows, short, reach, (LARGEST * column).clamp(max=reach))
            if found is not None:
                step, least = found
                if least <= 0 and reach < FARTHEST / 2:  # no room within this reach
                    reach *= 8
                    continue
                after = change + step / column
                if float((margins(after) / length).min()) > worst:
                    change = after
                    break
            reach *= 0.2
        else:
            return change
        if worst > 0:
            return change
    return change


def _farthest(
    rows: Float[Tensor, "m n"], short: Float[Tensor, " m"], reach: float, most: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], float] | None:
    """The step within `most` after which the least of rows @ step + short is largest, and it; None
    where the solver fails.
    """
    from scipy.optimize import linprog

    near = short < reach * (1 + rows.abs().sum(1))
    if not bool(near.any()):
        return None
    bounds = np.concatenate([-rows[near].numpy(), np.ones((int(near.sum()), 1))], 1)
    limits = [(-m, m) for m in (most / reach).tolist()]
    solved = linprog(
        np.r_[np.zeros(rows.shape[1]), -1.0],
        A_ub=bounds,
        b_ub=(short[near] / reach).numpy(),
        bounds=[*limits, (None, 1.0)],
        options={
            "primal_feasibility_tolerance": TOLERANCE,
            "dual_feasibility_tolerance": TOLERANCE,
        },
    )
    if solved.x is None:
        return None
    return reach * torch.from_numpy(solved.x[:-1]), reach * float(solved.x[-1])
