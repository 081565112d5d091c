"""Every tensor has a kind, a role and a place in words; a layer may have options of its own."""

import json
from dataclasses import replace

import pytest
import torch

from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.decode import generate
from tinyadder.machine.encoder import empty_model
from tinyadder.machine.inference import prepare
from tinyadder.machine.tensors import items, place
from tinyadder.machine.transformer import Transformer
from tinyadder.verify.exact import ExactTransformer


def test_every_tensor_of_every_architecture_has_a_kind_and_a_place_in_words():
    sizes = BlockConfig(heads=1, d_head=2, d_value=2, hidden=2)
    made = {"vocabulary": ("0", "="), "width": 4, "blocks": (sizes,), "outputs": (0,)}
    trained = Options(projected=True, norm="layer", positions="learned", context=3)
    models = [
        build(construct("add10").program),
        Transformer(Config(**made, options=trained, unembedding_bias=True)),
        Transformer(Config(**made, unembedding=False, readout_wiring=True, options=Options())),
        empty_model(
            Config(
                **made,
                encoder=(sizes,),
                separator=1,
                options=replace(trained, softmax="softmax"),
            )
        ),
    ]
    kinds, words = set(), set()
    for model in models:
        for item in items(model):
            assert item.kind is not None, item.name
            assert item.tensor.ndim == len(item.kind.axes), item.name
            kinds.add(item.kind)
            words.add(place(model, item.name, (0,) * item.tensor.ndim))
    assert words >= {
        "layer 0, MLP norm: gain of column 0",
        "position 0: column 0",
        "encoder layer 0, unit 0: gate reads column 0",
        "cross-attention of layer 0, head 0: query[0] reads column 0",
        "cross-attention of layer 0, attention norm: bias of column 0",
        "encoder norm: gain of column 0",
        "logit of '0': reads column 0",
    }
    assert len(kinds) >= 20


def one_normed_layer() -> Config:
    sizes = BlockConfig(heads=2, d_head=2, d_value=2, hidden=3)
    normed = replace(sizes, options=Options(norm="rms", activation="silu", softmax="softmax"))
    return Config(vocabulary=("0", "1"), width=4, blocks=(sizes, normed), outputs=(0, 1))


def test_one_layer_of_a_model_may_have_options_of_its_own():
    config = one_normed_layer()
    model = Transformer(config)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(i)
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    tokens = torch.tensor([[0, 1, 1, 0]])
    stream = {}
    model(tokens, hook=lambda name, value: stream.setdefault(name, value))
    assert {name for name, _ in model.named_parameters() if "norm" in name} == {
        "blocks.1.attention_norm.weight",
        "blocks.1.mlp_norm.weight",
    }
    pre = stream["blocks.1.mlp.hook_pre"]
    mid = stream["blocks.1.hook_resid_mid"]
    gate, bias = model.blocks[1].mlp.gate, model.blocks[1].mlp.gate_bias
    size = (mid.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    assert torch.allclose(pre, mid / size * model.blocks[1].mlp_norm.weight @ gate.T + bias)
    assert torch.allclose(
        stream["blocks.0.mlp.hook_pre"],
        model.blocks[0].mlp.project("gate", stream["blocks.0.hook_resid_mid"]),
    )
    up = mid / size * model.blocks[1].mlp_norm.weight @ model.blocks[1].mlp.up.T
    assert torch.allclose(
        stream["blocks.1.mlp.hook_post"],
        torch.nn.functional.silu(pre) * (up + model.blocks[1].mlp.up_bias),
    )
    assert generate(model, tokens, steps=3).equal(generate(model, tokens, steps=3, cache=False))


def test_a_model_with_one_normed_layer_is_not_of_the_plain_family():
    config = one_normed_layer()
    assert not config.plain and replace(config, blocks=config.blocks[:1]).plain
    assert prepare(Transformer(config)) is None
    with pytest.raises(TinyadderError, match="other options"):
        ExactTransformer(Transformer(config))


def test_options_of_a_layer_survive_json_and_only_those_that_are_there_are_written():
    config = one_normed_layer()
    data = json.loads(json.dumps(config.to_json()))
    assert Config.from_json(data) == config
    assert "options" not in data["blocks"][0] and data["blocks"][1]["options"]["norm"] == "rms"
    # what is as usual is left out: the checker refuses options that are newer than it is
    assert data["options"] == {} and "repeat" not in data["blocks"][1]["options"]


@pytest.mark.parametrize("own", [{"positions": "learned"}, {"repeat": 2}, {"context": 5}])
def test_a_layer_cannot_have_what_is_of_the_whole_model(own):
    sizes = BlockConfig(heads=1, options=Options(**own))
    with pytest.raises(TinyadderError, match="of the whole model"):
        Config(vocabulary=("0",), width=1, blocks=(sizes,), outputs=(0,))
