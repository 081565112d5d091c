"""What is known of a model is known of its weights, its config and its task together."""

from dataclasses import fields, replace

import pytest
import torch

from tinyadder.construction import construct
from tinyadder.io.digest import changed, model_digest
from tinyadder.io.folder import load, save
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer

VOCABULARY = construct("add10").task.vocabulary


def adder(**options):
    made = construct("add10", **options)
    return build(made.program), made.task


def with_config(model: Transformer, **changes) -> Transformer:
    """The same weights under another config."""
    other = Transformer(replace(model.config, **changes))
    other.load_state_dict(model.state_dict())
    return other.eval()


def test_the_same_model_has_the_same_digest_built_twice_or_read_from_a_folder(tmp_path):
    model, task = adder()
    save(model, task, tmp_path / "model", name="add10", options={})
    read, described = load(tmp_path / "model")
    assert model_digest(model, task) == model_digest(*adder()) == model_digest(read, described.task)


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": (9, *range(1, 9), 0)},
        {"argmin": True},
        {"vocabulary": (*VOCABULARY[1::-1], *VOCABULARY[2:])},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_same_weights_under_another_config_are_another_model(changes):
    model, task = adder()
    other = with_config(model, **changes)
    assert model_digest(other, task) != model_digest(model, task)


def test_other_ties_are_another_model():
    made = construct("add10_95")
    model = build(made.program)
    (name, at, source), *rest = model.config.ties
    other = with_config(model, ties=((name, at, source + 1), *rest))
    assert model_digest(other, made.task) != model_digest(model, made.task)


def test_one_bit_of_one_weight_or_another_task_makes_another_model():
    model, task = adder()
    before = model_digest(model, task)
    assert model_digest(model, replace(task, padding=1)) != before
    with torch.no_grad():
        model.embedding[0, 0] = torch.nextafter(model.embedding[0, 0], torch.tensor(9.0).double())
    assert model_digest(model, task) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_of_another_type_are_another_model(dtype):
    model, task = adder()
    before = model_digest(model, task)
    assert model_digest(model.to(dtype), task) != before


DEFAULTS = {
    Options: {
        "softmax": "softmax1",
        "positions": "alibi",
        "context": 0,
        "rotary_base": 10000.0,
        "scaled": False,
        "projected": False,
        "biases": True,
        "norm": "none",
        "norm_place": "pre",
        "activation": "relu",
        "gated": True,
        "dropout": 0.0,
        "repeat": 1,
    },
    Config: {
        "lanes": (),
        "unembedding": True,
        "unembedding_bias": False,
        "tied": False,
        "readout_wiring": False,
        "argmin": False,
        "shared": 0,
        "ties": (),
        "encoder": (),
        "separator": 0,
    },
    BlockConfig: {"heads": 0, "d_head": 1, "d_value": 1, "hidden": 0},
}


@pytest.mark.parametrize("kind", DEFAULTS, ids=lambda kind: kind.__name__)
def test_no_default_changes_silently_because_the_digest_leaves_defaults_out(kind):
    # A field may be added. Another default for one would give old verdicts to new models.
    known = {one.name: one.default for one in fields(kind)}
    assert {name: known[name] for name in DEFAULTS[kind]} == DEFAULTS[kind]


def test_what_differs_from_its_default_is_kept():
    config = Config(vocabulary=("0",), width=1, blocks=(BlockConfig(hidden=2),), outputs=(0,))
    assert changed(config) == {
        "vocabulary": ["0"],
        "width": 1,
        "blocks": [{"hidden": 2}],
        "outputs": [0],
    }
