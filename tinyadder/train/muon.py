"""Muon: momentum whose matrix is made orthogonal before it is added to the weights (Jordan et al.
2024).

    M <- m M + (1-m) G,   W <- W - rate sqrt(max(1, rows/columns)) orthogonal((1-m) G + m M)

On the tiny models here it needs about a third of AdamW's steps; embeddings, norms and biases stay
with AdamW.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.adamw import adamw

from tinyadder.machine.tensors import kind_of, plain_name
from tinyadder.train.recipe import TrainRecipe

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


def shaped(vector: Float[Tensor, " n"], like: Sequence[Tensor]) -> list[Tensor]:
    """The parts of `vector` in these shapes, one after another."""
    parts = vector.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


class FlatWeights:
    """Parameters as the parts of one vector, so that a step is a few operations on it and not a
    few on each of them.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self.vector = torch.cat([p.detach().flatten() for p in parameters])
        for p, part in zip(parameters, shaped(self.vector, parameters), strict=True):
            p.data = part

    def take_gradient(self) -> Float[Tensor, " n"]:
        """The gradients of all parameters, which have none after it; 0 where there was none."""
        parts = []
        for p in self.parameters:
            parts.append((torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1))
            p.grad = None
        return torch.cat(parts)


class Optimizer:
    """AdamW; where the recipe has a `muon_learning_rate`, all matrices but the tables of tokens and
    positions follow Muon. Vectors do not decay.

    Heads and rows of a head count as rows of one matrix.
    """

    def __init__(self, model: nn.Module, train: TrainRecipe) -> None:
        inner, outer, vectors = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
        for name, p in model.named_parameters():
            kind = kind_of(plain_name(name))
            looked_up = kind is not None and kind.role in ("table", "readout")
            table = looked_up or not train.muon_learning_rate
            (vectors if p.ndim == 1 else outer if table else inner).append(p)
        self.weights = FlatWeights([*inner, *outer, *vectors])
        self.scale, self.decay = train.muon_learning_rate / train.learning_rate, train.weight_decay
        self.matrices = inner
        self.momentum = torch.zeros_like(self.weights.vector[: sum(p.numel() for p in inner)])
        self.betas, self.fused = train.betas, train.arithmetic == "fused"
        others = self.weights.vector[len(self.momentum) :]
        self.first, self.second = torch.zeros_like(others), torch.zeros_like(others)
        """AdamW's moments of the weights that Muon does not move."""
        self.undecayed = sum(p.numel() for p in vectors)
        self.steps = torch.zeros(())

    @torch.no_grad()
    def step(self, gradient: Float[Tensor, " n"], rate: float) -> None:
        """One step of both kinds along `gradient`, in the order of `weights`."""
        done = len(self.momentum)
        if done:
            self._move(gradient[:done], self.scale * rate)
        every = (self.weights.vector[done:], gradient[done:], self.first, self.second)
        cut = len(self.first) - (self.undecayed if self.decay else 0)
        for part, decay in ((slice(0, cut), self.decay), (slice(cut, None), 0.0)):
            weights, slopes, first, second = ([vector[part]] for vector in every)
            if len(weights[0]):
                adamw(
                    weights,
                    slopes,
                    first,
                    second,
                    [],
                    [self.steps.clone()],  # torch adds 1 to it
                    fused=self.fused,
                    amsgrad=False,
                    beta1=self.betas[0],
                    beta2=self.betas[1],
                    lr=rate,
                    weight_decay=decay,
                    eps=1e-8,
                    maximize=False,
                )
        self.steps += 1

    def _move(self, gradient: Float[Tensor, " n"], rate: float) -> None:
        self.momentum.lerp_(gradient, 1 - MOMENTUM)
        directions = shaped(gradient.lerp(self.momentum, MOMENTUM), self.matrices)
        by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor, bool]]] = {}
        for p, direction in zip(self.matrices, directions, strict=True):
            matrix = direction.flatten(0, -2)
            wide = matrix.shape[0] < matrix.shape[1]
            matrix = matrix.T if wide else matrix
            by_shape.setdefault((matrix.shape[0], matrix.shape[1]), []).append((p, matrix, wide))
        for (rows, columns), alike in by_shape.items():
            made = orthogonal(torch.stack([matrix for _, matrix, _ in alike]))
            for (p, _, wide), added in zip(alike, made, strict=True):
                length = 1.0 if wide else (rows / columns) ** 0.5
                p.mul_(1 - rate * self.decay).add_(
                    (added.T if wide else added).reshape(p.shape), alpha=-rate * length
                )

    def tensors(self) -> dict[str, Tensor]:
        """What is carried from step to step besides the weights."""
        return {
            "momentum": self.momentum,
            "first": self.first,
            "second": self.second,
            "steps": self.steps,
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on with what `tensors` gave."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
