"""`add10_gist` is the published 95-parameter adder: its tensors entry by entry, its answers wrong
ones included.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyadder.construction import construct
from tinyadder.machine.answers import answers, forced_answers
from tinyadder.machine.compile import build

DATA = Path(__file__).parent / "data"
PUBLISHED = json.loads((DATA / "gist95_weights.json").read_text())
TENSORS = {name: np.array(values) for name, values in PUBLISHED["tensors"].items()}
ROWS = json.loads((DATA / "gist95_behaviour.json").read_text())

COLUMNS = {
    0: ("eq", "mark", "digit", "place", "turn"),
    1: ("eq", "mark", "digit", "place", "turn", "low", "high", "term"),
}
"""The lanes that the published columns hold, in order; each layer of the published model is wider
than the last.
"""


@pytest.fixture(scope="module")
def gist():
    construction = construct("add10_gist")
    return construction, build(construction.program)


def columns(construction, layer):
    """Our column of every published column of `layer`."""
    of, lanes = construction.program.stream.columns(), construction.program.stream.lanes
    return [of[lane, i] for lane in COLUMNS[layer] for i in range(lanes[lane].width)]


def same(ours, published):
    """Equal bit for bit: no tolerance."""
    np.testing.assert_array_equal(ours.detach().numpy(), published)


def wide(published, construction, layer):
    """Published rows over the columns of `layer` as rows over all our columns, zero where the layer
    has none.
    """
    full = np.zeros((len(published), construction.program.stream.width))
    full[:, columns(construction, layer)] = published
    return full


def test_its_lanes_are_the_published_columns_in_order(gist):
    construction, _ = gist
    assert columns(construction, 1) == list(range(16))
    assert PUBLISHED["d_model"] == [5, 16, 10]


def test_the_embedding_is_the_published_one(gist):
    construction, model = gist
    same(model.embedding, wide(TENSORS["embedding"], construction, 0))


@pytest.mark.parametrize("rows", ["key", "value"])
def test_keys_and_values_of_the_first_layer_are_the_published_ones(gist, rows):
    construction, model = gist
    attention, letter = model.blocks[0].attention, rows[0]
    weight, bias = TENSORS[f"{letter}_proj.0.weight"], TENSORS[f"{letter}_proj.0.bias"]
    # Published heads 0, 1, 2 have neither key nor value: they add nothing, so ours are the heads 3
    # and 4.
    assert not weight[:3].any() and not bias[:3].any()
    same(getattr(attention, rows)[:, 0], wide(weight[3:], construction, 0))
    same(getattr(attention, f"{rows}_bias")[:, 0], bias[3:])


def test_the_query_of_the_first_layer_is_the_published_one_wherever_a_key_answers_it(gist):
    construction, model = gist
    attention = model.blocks[0].attention
    same(attention.query[:, 0], wide(TENSORS["q_proj.0.weight"][3:], construction, 0))
    # One published bias serves all five heads; head 4 has no key, so ours stores it for the head of
    # `place` only.
    assert TENSORS["q_proj.0.bias"].tolist() == [1.0]
    assert not TENSORS["k_proj.0.weight"][4].any() and TENSORS["k_proj.0.bias"][4] == 0
    assert attention.query_bias[:, 0].tolist() == [1.0, 0.0]


def test_heads_of_the_first_layer_write_the_published_columns_with_the_published_slope(gist):
    construction, model = gist
    attention, of = model.blocks[0].attention, construction.program.stream.columns()
    assert attention.slopes.tolist() == [PUBLISHED["alibi_slope_head3_layer0"], 0.0]
    for head, column in enumerate((3, 4)):
        assert attention.wiring[head, 0].nonzero().flatten().tolist() == [
            columns(construction, 0)[column]
        ]
    assert of["place", 0] == 3 and of["turn", 0] == 4


def test_the_second_attention_adds_one_published_head_to_every_column(gist):
    construction, model = gist
    attention = model.blocks[1].attention
    for rows in ("query", "key", "value"):
        same(
            getattr(attention, rows)[:, 0],
            wide(TENSORS[f"{rows[0]}_proj.1.weight"], construction, 1),
        )
        same(getattr(attention, f"{rows}_bias")[:, 0], TENSORS[f"{rows[0]}_proj.1.bias"])
    assert attention.slopes.tolist() == [0.0]
    same(attention.wiring, np.ones((1, 1, construction.program.stream.width)))


@pytest.mark.parametrize("layer", [0, 1])
def test_hidden_units_are_the_published_ones(gist, layer):
    construction, model = gist
    mlp = model.blocks[layer].mlp
    units = TENSORS[f"down.{layer}.weight"].shape[1]
    # Ours stand candidate by candidate (positive, negative half); the published ones all positive
    # halves first.
    order = (
        list(range(units)) if layer == 0 else [c + 10 * half for c in range(10) for half in (0, 1)]
    )
    for rows in ("gate", "up"):
        same(
            getattr(mlp, rows), wide(TENSORS[f"{rows}.{layer}.weight"][order], construction, layer)
        )
        bias = np.broadcast_to(TENSORS[f"{rows}.{layer}.bias"], units)[order]
        same(getattr(mlp, f"{rows}_bias"), bias)
    down = np.zeros((construction.program.stream.width, units))
    down[columns(construction, 1)[: len(TENSORS[f"down.{layer}.weight"])]] = TENSORS[
        f"down.{layer}.weight"
    ][:, order]
    same(mlp.down, down)


def test_every_published_tensor_is_compared_here():
    layers = {
        name
        for layer in (0, 1)
        for name in (
            *(f"{rows}_proj.{layer}.{kind}" for rows in "qkv" for kind in ("weight", "bias")),
            *(f"{rows}.{layer}.{kind}" for rows in ("gate", "up") for kind in ("weight", "bias")),
            f"down.{layer}.weight",
        )
    }
    assert set(TENSORS) == layers | {"embedding"}


def test_the_readout_takes_the_smallest_of_the_first_ten_columns(gist):
    construction, model = gist
    assert model.config.argmin
    same(model.unembed_matrix(), np.eye(10, construction.program.stream.width))
    assert construction.program.output_tokens == tuple("0123456789")


def test_one_changed_published_number_would_be_noticed(gist):
    construction, _ = gist
    changed = wide(TENSORS["embedding"], construction, 0)
    changed[1, 2] = np.nextafter(changed[1, 2], np.inf)
    with pytest.raises(AssertionError):
        same(gist[1].embedding, changed)


def test_all_recorded_answers_are_reproduced_wrong_ones_included(gist):
    construction, model = gist
    pairs = [(a, b) for a, b, _ in ROWS]
    assert len(pairs) == 736
    recorded = [answer for *_, answer in ROWS]
    assert answers(model, construction.task, pairs) == recorded
    wrong = [pair for pair, answer in zip(pairs, recorded, strict=True) if int(answer) != sum(pair)]
    assert len(wrong) > 0 and (4999999999, 0) in wrong
    forced = forced_answers(model, construction.task, wrong)
    assert all(int(answer) != sum(pair) for pair, answer in zip(wrong, forced, strict=True))


def test_its_float64_numbers_stay_float64(gist):
    assert {parameter.dtype for parameter in gist[1].parameters()} == {torch.float64}
