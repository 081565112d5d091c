"""Natural gradient steps: gradient and curvature are their formulas, and nothing is lost between
steps.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from tinyadder.train import natural
from tinyadder.train.deal import Dealer
from tinyadder.train.log import read_log
from tinyadder.train.loop import Run
from tinyadder.train.models import make_model
from tinyadder.train.natural import NaturalStepper, flat_of
from tinyadder.train.recipe import Recipe, recipe_from
from tinyadder.train.steps import Batch


def recipe(**train: object) -> Recipe:
    data = {
        "task": {"name": "addition", "digits": 1, "order": "least"},
        "model": {
            "width": 3,
            "layers": 1,
            "heads": 1,
            "d_head": 2,
            "d_value": 1,
            "hidden": 2,
            "outputs": "0123456789",
            "tied": True,
            "embedding": "circle",
            "positions": "waves",
            "scaled": False,
            "gains": False,
            "dtype": "float64",
        },
        "data": {"examples": 60, "validation": 10, "test": 10, "held_out": 0.3},
        "train": {"optimizer": "natural", "batch": 20, "check_every": 4, "log_every": 1, **train},
    }
    return recipe_from(data, name="natural", where="natural")


def stepper(count: int = 1, **train: object) -> tuple[NaturalStepper, Dealer]:
    made = recipe(**train)
    models = [make_model(made.model, made.task, seed) for seed in range(count)]
    return NaturalStepper(models, made.train), Dealer(made, 1)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_gradient_and_curvature_are_their_formulas(decay):
    steps, dealer = stepper(weight_decay=decay)
    model = steps.model
    batch = Batch.of(dealer.batch(0), model, torch.device("cpu"))
    targets = batch.targets[batch.mask]
    logits = model(batch.tokens[:, :-1])[batch.mask]
    names, parameters = zip(*model.named_parameters(), strict=True)
    weights = flat_of(model)

    def slope(x: torch.Tensor) -> torch.Tensor:
        parts = torch.autograd.grad(x, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(parts, parameters, strict=True)
        return torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for g, p in pairs])

    losses, gradients = steps._curve(batch)
    loss = cross_entropy(logits, targets)
    torch.testing.assert_close(losses[0], loss.detach())
    torch.testing.assert_close(gradients[0], slope(loss) + decay * weights)
    wanted = decay * torch.eye(len(weights), dtype=torch.float64)
    p = logits.softmax(-1).detach()
    for n, row in enumerate(logits):
        jacobian = torch.stack([slope(x) for x in row])
        middle = torch.diag(p[n]) - torch.outer(p[n], p[n])
        wanted = wanted + jacobian.T @ middle @ jacobian / len(logits)
    torch.testing.assert_close(steps.curvature[0], wanted)
    assert "circle" in names


def test_training_learns_and_goes_on_from_what_it_carries():
    whole, dealer = stepper(candidates=1, hard=0.25)
    cut, _ = stepper(candidates=1, hard=0.25)
    first = whole.advance(dealer.batch(0), 1)[0]
    cut.advance(dealer.batch(0), 1)
    fresh, _ = stepper(candidates=1, hard=0.25)
    fresh.restore(cut.tensors())
    for mine, theirs in zip(fresh.model.parameters(), cut.model.parameters(), strict=True):
        mine.data.copy_(theirs)
    for step in range(1, 30):
        loss = whole.advance(dealer.batch(step), step + 1)[0]
        fresh.advance(dealer.batch(step), step + 1)
    assert loss < 0.9 * first
    assert torch.equal(flat_of(whole.model), flat_of(fresh.model))
    assert torch.equal(flat_of(whole.model), whole.weights[0])


def test_the_half_of_the_candidates_with_the_larger_loss_is_dropped():
    steps, dealer = stepper(4, halve_every=2)
    steps.advance(dealer.batch(0), 1)
    assert len(steps.facts(1)["candidates"]) == 4
    before = steps.losses.clone()
    steps.advance(dealer.batch(1), 2)
    assert steps.weights.shape[0] == 2
    assert before.isfinite().all() and "candidates" in steps.facts(2)
    steps.advance(dealer.batch(2), 3)
    steps.advance(dealer.batch(3), 4)
    assert steps.weights.shape[0] == 1 and "candidates" not in steps.facts(4)
    assert torch.equal(flat_of(steps.model), steps.weights[0])


def test_a_step_that_makes_no_loss_smaller_is_not_taken(monkeypatch):
    steps, dealer = stepper()
    weights, damping = steps.weights.clone(), float(steps.damping)
    monkeypatch.setattr(steps, "_steps", lambda g: torch.full((1, 4, g.shape[1]), 1e3).double())
    steps.advance(dealer.batch(0), 1)
    assert torch.equal(steps.weights, weights)
    assert float(steps.damping) == damping * natural.FAILED


def test_the_hardest_problems_are_those_with_the_smallest_margins():
    steps, dealer = stepper(hard=0.5)
    batch = Batch.of(dealer.batch(0), steps.model, torch.device("cpu"))
    mixed = steps._with_hard(batch)
    assert len(mixed.tokens) == len(batch.tokens) and len(steps.hardest) == 10
    logits = steps.model(batch.tokens[:, :-1])
    right = logits.gather(-1, batch.targets[..., None])[..., 0]
    others = logits.scatter(-1, batch.targets[..., None], -torch.inf).amax(-1)
    margins = ((right - others) / logits.std(-1)).masked_fill(~batch.mask, torch.inf).amin(1)
    wanted = batch.tokens[margins.argsort(stable=True)[:10]]
    assert torch.equal(steps.hardest, wanted)
    other = Batch.of(dealer.batch(1), steps.model, torch.device("cpu"))
    again = steps._with_hard(other)
    targets = again.tokens[:, 1:][again.mask]  # ids of digits are the digits
    assert torch.equal(again.targets[again.mask], targets)
    both = {tuple(row) for row in torch.cat([wanted, other.tokens]).tolist()}
    assert {tuple(row) for row in again.tokens.tolist()} <= both


def test_a_run_with_candidates_is_logged_and_saved(tmp_path: Path):
    run = Run(recipe(steps=4, candidates=2, halve_every=2), 3, tmp_path)
    model = run.train()
    assert (model / "model.json").exists()
    lines = read_log(tmp_path / "log.jsonl")
    assert [len(line.get("candidates", [])) for line in lines] == [2, 0, 0, 0]
    again = Run(recipe(steps=4, candidates=2, halve_every=2), 3, tmp_path / "again").train()
    read = [(folder / "model.safetensors").read_bytes() for folder in (model, again)]
    assert read[0] == read[1]
