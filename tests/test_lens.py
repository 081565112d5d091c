"""The bridge to TransformerLens: the same logits, patterns and streams; what it cannot hold."""

from __future__ import annotations

from random import Random
from unittest import mock

import pytest
import torch

import tinyadder as ta
from tinyadder.errors import MissingExtra, TinyadderError
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer

pytest.importorskip("transformer_lens")
NAMES = ("add10", "add10_28", "add10_unary", "induction", "parity_once", "deriv")


def texts(task, problems):
    """(token ids of prompt + right answer, length of the prompt), one batch a length."""
    groups = {}
    for problem in problems:
        prompt, answer = task.prompt(problem), task.answer(problem)
        groups.setdefault((len(prompt), len(answer)), []).append([*prompt, *answer])
    for (start, _), group in groups.items():
        yield torch.from_numpy(task.encode(group)), start


@pytest.mark.parametrize("name", NAMES)
def test_every_decision_on_hard_cases_is_the_same_by_a_tenth_of_its_margin(name):
    m = ta.load(name)
    hooked = ta.to_transformer_lens(m)
    hard = m.task.hard()
    problems = [*hard[:: max(1, len(hard) // 100)], *m.task.structured(Random(0), 100)]
    for tokens, start in texts(m.task, problems):
        ours = m(tokens)[:, start - 1 : -1]
        with torch.inference_mode():
            theirs = hooked(tokens)[:, start - 1 : -1]
        assert torch.equal(theirs.argmax(-1), m.module.outputs[ours.argmax(-1)])
        best = ours.topk(2, -1)
        margin = best.values[..., 0] - best.values[..., 1]
        error = (theirs[..., m.module.outputs] - ours).abs().gather(-1, best.indices).amax(-1)
        assert bool((error < margin / 10).all())


def test_activations_have_the_same_names_and_values():
    m = ta.load("add10", digits=3)
    hooked = ta.to_transformer_lens(m)
    _, ours = m.run_with_cache("123+456")
    _, theirs = hooked.run_with_cache(m.to_tokens("123+456"))
    for layer in (0, 1):
        for name, columns in (("attn.hook_pattern", None), ("hook_resid_post", 5)):
            place = f"blocks.{layer}.{name}"
            assert torch.allclose(theirs[place][..., :columns], ours[place], rtol=1e-9, atol=1e-9)
    z = theirs["blocks.1.attn.hook_z"][..., :1].transpose(1, 2)
    assert torch.allclose(z, ours["blocks.1.attn.hook_z"], rtol=1e-9)
    weights = theirs["blocks.0.attn.hook_pattern"].sum(-1)
    assert bool((weights < 1).all())  # the sink takes its share, as the 1 of softmax1 does


def test_a_hooked_transformer_decodes_and_an_ablation_there_is_one_here():
    m = ta.load("add10", digits=3)
    hooked = ta.to_transformer_lens(m)
    tokens = m.to_tokens("123+456")
    for _ in range(4):
        tokens = torch.cat([tokens, hooked(tokens)[:, -1:].argmax(-1)], 1)
    assert "".join(m.task.decode(tokens[0].tolist())) == "^123+456=0579"

    def nothing(value, hook):
        return torch.zeros_like(value)

    theirs = hooked.run_with_hooks(tokens, fwd_hooks=[("blocks.1.attn.hook_z", nothing)])
    with m.ablate(heads=[(1, 0)]):
        ours = m(tokens)
    assert torch.allclose(theirs[..., m.module.outputs], ours)


def small(**options):
    """A decoder with random weights and these options."""
    block = BlockConfig(heads=2, d_head=3, d_value=2, hidden=4)
    config = Config(
        vocabulary=tuple("abcd"),
        width=6,
        blocks=(block, block),
        outputs=(0, 2),
        unembedding_bias=True,
        options=Options(**options),
    )
    model = Transformer(config)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=torch.float64))
        for block in model.blocks:
            block.attention.slopes.copy_(torch.tensor([0.5, 0.0]))
    return model.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"softmax": "softmax", "scaled": True, "projected": True},
        {"positions": "learned", "context": 8, "biases": False},
        {"positions": "sinusoidal", "gated": False, "activation": "gelu"},
        {"activation": "silu", "repeat": 2},
    ],
    ids=str,
)
def test_trained_options_are_held(options):
    from tinyadder.io.lens import hooked_transformer

    model = small(**options)
    tokens = torch.randint(0, 4, (3, 7), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = hooked_transformer(model, length=8)(tokens)[..., model.outputs]
        assert torch.allclose(theirs, model(tokens), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "part"),
    [({"norm": "rms"}, "rms norms"), ({"positions": "rotary"}, "rotary positions")],
    ids=str,
)
def test_what_cannot_be_held_is_named(options, part):
    from tinyadder.io.lens import hooked_transformer

    config = Config(
        vocabulary=("a",),
        width=2,
        blocks=(BlockConfig(heads=1, d_head=2),),
        outputs=(0,),
        options=Options(**options),
    )
    with pytest.raises(TinyadderError, match=f"cannot hold {part}"):
        hooked_transformer(Transformer(config), length=4)


def test_without_transformer_lens_the_extra_is_named():
    with (
        mock.patch.dict("sys.modules", {"transformer_lens": None}),
        pytest.raises(MissingExtra, match=r"pip install 'tinyadder\[lens\]'"),
    ):
        ta.to_transformer_lens(ta.load("dyck1"))
