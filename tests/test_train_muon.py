"""Muon: the step is orthogonal, the tables stay with AdamW, and AdamW alone is torch's own."""

from dataclasses import replace

import pytest
import torch

from tinyadder.tasks.derivative import Derivative
from tinyadder.train.models import make_model
from tinyadder.train.muon import Optimizer, orthogonal
from tinyadder.train.recipe import TRAINED, ModelRecipe, TrainRecipe


@pytest.mark.parametrize("shape", [(16, 16), (3, 64, 16)])
def test_the_step_has_singular_values_near_one_and_the_directions_of_the_gradient(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = orthogonal(x)
    sizes = torch.linalg.svdvals(found)
    assert sizes.min() > 0.3 and sizes.max() < 1.3
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    turned = left.mT @ found @ right.mT
    assert torch.allclose(turned, torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1)), atol=1e-9)


class Matrix(torch.nn.Module):
    """A model of one matrix, which is no table, and a vector."""

    def __init__(self, shape):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.zeros(shape))
        self.bias = torch.nn.Parameter(torch.zeros(3))


@pytest.mark.parametrize("shape", [(8, 4), (4, 8), (2, 3, 4)])
def test_one_step_moves_a_matrix_by_the_rate_whatever_the_size_of_its_gradient(shape):
    moved = []
    for size in (1.0, 1e4):
        model = Matrix(shape)
        made = Optimizer(model, TrainRecipe(muon_learning_rate=0.1))
        slope = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        gradient = torch.cat([size * slope.flatten(), torch.ones(3)])
        made.step(gradient, TrainRecipe().learning_rate)
        moved.append(model.matrix.detach().flatten(0, -2))
    assert torch.allclose(moved[0], moved[1], atol=1e-4)
    rows, columns = moved[0].shape
    sizes = torch.linalg.svdvals(moved[0]) / (0.1 * max(1, rows / columns) ** 0.5)
    assert sizes.min() > 0.3 and sizes.max() < 1.3


def trained(train: TrainRecipe, optimizer: type | None = None) -> tuple[dict, dict]:
    """Weights before and after three steps on fixed random gradients."""
    model = make_model(ModelRecipe(options=replace(TRAINED, biases=True)), Derivative(), 1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    made = optimizer and optimizer(model.parameters(), lr=train.learning_rate)
    ours = None if made else Optimizer(model, train)
    random = torch.Generator().manual_seed(2)
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.randn(p.shape, generator=random)
        if ours is None:
            made.step()
        else:
            ours.step(ours.weights.take_gradient(), train.learning_rate)
    return before, dict(model.named_parameters())


@pytest.mark.parametrize("arithmetic", ["plain", "fused"])
def test_without_a_matrix_rate_it_is_adamw(arithmetic):
    """To the last bit, where torch computes alike: its own loop, or one fused operation."""

    def adamw(parameters, lr):
        fused = arithmetic == "fused"
        return torch.optim.AdamW(
            parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, fused=fused
        )

    _, ours = trained(TrainRecipe(arithmetic=arithmetic))
    _, theirs = trained(TrainRecipe(), adamw)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_tables_and_vectors_stay_with_adamw_and_every_other_matrix_follows_muon():
    _, adamw = trained(TrainRecipe())
    before, muon = trained(TrainRecipe(muon_learning_rate=0.02))
    for name, p in muon.items():
        assert not torch.equal(p, before[name]), name
        table = name in ("embedding", "unembedding")
        assert torch.equal(p, adamw[name]) == (table or p.ndim == 1), name
