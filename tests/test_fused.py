"""The fused layers are the plain ones: values and gradients, for every option."""

import pytest
import torch

from tests.test_train import EVERY_OPTION, decoder
from tinyadder.machine import fused
from tinyadder.machine.encoder import EncoderDecoder
from tinyadder.machine.fused import use_fused
from tinyadder.tasks.derivative import Derivative
from tinyadder.train.models import make_model
from tinyadder.train.recipe import ModelRecipe, Options

TOKENS = torch.randint(0, 4, (3, 7), generator=torch.Generator().manual_seed(1))
TASK = Derivative(exponents=2)


def passed(model, tokens, on: bool, first: int):
    """Logits from position `first` on, and the gradient of a sum of them in which every logit has
    another weight.
    """
    use_fused(model, on)
    model.zero_grad()
    logits = model(tokens, first=first)
    (logits * torch.linspace(-1, 2, logits.numel()).to(logits).view_as(logits)).sum().backward()
    return logits, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model, tokens, first: int = 0):
    (one, slopes), (other, again) = (passed(model, tokens, on, first) for on in (False, True))
    assert torch.allclose(one, other, atol=1e-10)
    assert slopes.keys() == again.keys()
    for name, slope in slopes.items():
        assert torch.allclose(slope, again[name], atol=1e-9), name


@pytest.mark.parametrize("options", EVERY_OPTION, ids=str)
def test_fused_layers_give_the_logits_and_gradients_of_the_plain_ones(options):
    model = decoder(**{**options, "projected": True})
    assert_same(model, TOKENS)
    assert_same(model, TOKENS.repeat(8, 1))  # more texts than tokens: looked up


@pytest.mark.parametrize("positions", ["rotary", "sinusoidal", "learned"])
def test_an_encoder_decoder_does_too_for_prompts_of_unequal_length(positions):
    options = Options(positions=positions, context=40, projected=True, softmax="softmax")
    recipe = ModelRecipe(kind="encoder-decoder", dtype="float64", d_head=5, options=options)
    model = make_model(recipe, TASK, 1)
    assert isinstance(model, EncoderDecoder)
    rows = [TASK.prompt(p) + TASK.answer(p) for p in ((1, 2, 3), (0, 4, 0))]
    width = max(map(len, rows))
    assert_same(model, torch.from_numpy(TASK.encode([row.ljust(width, "$") for row in rows])))


@pytest.mark.parametrize("repeat", [1, 2])
def test_logits_from_a_position_on_are_those_of_the_whole_text(repeat):
    """The last layer is computed from there on only; more texts than tokens are looked up."""
    model = decoder(positions="rotary", projected=True, repeat=repeat, softmax="softmax")
    assert_same(model, TOKENS, first=3)
    assert_same(model, TOKENS.repeat(8, 1), first=3)
    use_fused(model, True)
    assert torch.allclose(model(TOKENS, first=3), model(TOKENS)[:, 3:])


def test_a_fused_layer_that_computes_something_else_is_noticed(monkeypatch):
    monkeypatch.setattr(fused, "rotated", lambda x, base, first=0: x)
    with pytest.raises(AssertionError):
        assert_same(decoder(positions="rotary", projected=True), TOKENS)
