"""Muon: momentum whose matrix is made orthogonal before it is added to the weights (Jordan et al.
2024).

    M <- m M + (1-m) G,   W <- W - rate sqrt(max(1, rows/columns)) orthogonal((1-m) G + m M)

On the tiny models here it needs about a third of AdamW's steps; embeddings, norms and biases stay
with AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> a x + b x^3 + c x^5, which takes singular values in 0 .. 1 close to 1 within five
rounds (Jordan).
"""


def orthogonal(x: Float[Tensor, "*n r c"]) -> Float[Tensor, "*n r c"]:
    """Nearly U V^T for x = U S V^T, r >= c: singular values between about 0.7 and 1.2
    (Newton-Schulz, five rounds).
    """
    a, b, c = QUINTIC
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x.mT @ x
        x = a * x + x @ (b * square + c * (square @ square))
    return x


class Muon(torch.optim.AdamW):
    """AdamW, but parameters in a group with `muon` true are moved by the formula above.

    Heads and rows of a head count as rows of one matrix. `scale` of a group is its rate's part of
    the common one.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], **options: Any) -> None:
        super().__init__(({"muon": False, "scale": 1.0, **group} for group in groups), **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both kinds; the gradients of Muon's matrices are used up, so that AdamW
        leaves them alone.
        """
        for group in self.param_groups:
            if group["muon"]:
                self._move(group["params"], group["lr"], group["weight_decay"])
        return super().step(closure)

    def _move(self, matrices: list[nn.Parameter], rate: float, decay: float) -> None:
        by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor, bool]]] = {}
        for p in matrices:
            if p.grad is None:
                continue
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.lerp_(p.grad, 1 - MOMENTUM)
            direction = p.grad.lerp(momentum, MOMENTUM).flatten(0, -2)
            wide = direction.shape[0] < direction.shape[1]
            direction = direction.T if wide else direction
            by_shape.setdefault((direction.shape[0], direction.shape[1]), []).append(
                (p, direction, wide)
            )
            p.grad = None
        for (rows, columns), result in by_shape.items():
            for (p, _, wide), added in zip(
                result, orthogonal(torch.stack([d for _, d, _ in result])), strict=True
            ):
                length = 1.0 if wide else (rows / columns) ** 0.5
                p.mul_(1 - rate * decay).add_(
                    (added.T if wide else added).reshape(p.shape), alpha=-rate * length
                )
