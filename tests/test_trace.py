"""A trace shows what happened: contributions add up to heads' outputs, sublayers to lanes, margins
to decisions.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.in_process import run
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.inspect.trace import run_with_cache, trace, trace_all
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition

ROOT = Path(__file__).parents[1]


def built(name):
    construction = construct(name)
    return build(construction.program), construction.task


@pytest.fixture(params=["add10", "add10_95", "add10_gist"])
def step(request):
    model, task = built(request.param)
    return trace(model, task, (4999999999, 123), 4)


def test_the_contributions_of_a_head_add_up_to_its_output(step):
    for sublayer in step.sublayers:
        for head in sublayer.heads:
            parts = np.array([token.contribution for token in head.tokens])
            assert np.allclose(parts.sum(0), head.output, rtol=0, atol=1e-14 * np.abs(parts).sum())


def test_weights_and_nothing_add_up_to_one(step):
    for sublayer in step.sublayers:
        for head in sublayer.heads:
            assert head.nothing + sum(token.weight for token in head.tokens) == pytest.approx(
                1, abs=1e-12
            )


def test_heads_and_units_add_up_to_the_change_of_the_lanes(step):
    for sublayer in step.sublayers:
        added = {lane: np.zeros(len(values)) for lane, values in sublayer.before.items()}
        for head in sublayer.heads:
            for lane in head.lanes:
                added[lane] += head.output[0]
        for unit in sublayer.units:
            assert unit.output == pytest.approx(max(unit.gate, 0) * unit.up)
            for place, number in unit.added.items():
                lane, _, rest = place.partition("[")
                added[lane][int(rest[:-1]) if rest else 0] += number
        for lane, before in sublayer.before.items():
            change = np.array(sublayer.after[lane]) - before
            largest = max(map(abs, [*before, *sublayer.after[lane], 1e-300]))
            assert np.allclose(change, added[lane], rtol=1e-9, atol=1e-12 * largest)


def test_each_sublayer_starts_where_the_one_before_ended(step):
    assert step.sublayers[0].before == step.embedded
    for one, next_one in zip(step.sublayers, step.sublayers[1:], strict=False):
        assert one.after == next_one.before


def test_the_chosen_token_is_the_one_that_was_decoded(step):
    assert step.chosen == step.answer[step.index]
    logits = sorted(step.logits.values())
    assert step.logits[step.chosen] == logits[-1] and step.margin == logits[-1] - logits[-2] >= 0


def test_the_wrong_step_of_the_published_adder_is_on_show():
    model, task = built("add10_gist")
    step = trace(model, task, (4999999999, 0), 1)
    assert (step.chosen, step.runner_up, step.right[1]) == ("5", "4", "4")


def test_every_step_spells_the_answer():
    model, task = built("add10")
    steps = trace_all(model, task, (123, 456))
    assert (
        "".join(step.chosen for step in steps)
        == answers(model, task, [(123, 456)])[0]
        == "00000000579"
    )
    assert [step.index for step in steps] == list(range(11))


@pytest.mark.parametrize("index", [-1, 11])
def test_a_digit_the_answer_does_not_have_is_refused(index):
    model, task = built("add10")
    with pytest.raises(TinyadderError, match=rf"has tokens 0 \.\. 10, there is no {index}"):
        trace(model, task, (1, 2), index)


def test_a_learned_decoder_without_lane_names_can_be_traced():
    torch.manual_seed(0)
    task = Addition(digits=2)
    block = BlockConfig(heads=2, d_head=3, d_value=3, hidden=5)
    options = Options(
        softmax="softmax",
        positions="rotary",
        projected=True,
        biases=False,
        norm="rms",
        activation="silu",
        gated=False,
        repeat=2,
    )
    config = Config(
        vocabulary=task.vocabulary,
        width=6,
        blocks=(block,),
        outputs=tuple(range(14)),
        unembedding=False,
        tied=True,
        options=options,
    )
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    step = trace(model, task, (12, 34), 1)
    assert [s.layer for s in step.sublayers] == [0, 0, 1, 1] and list(step.embedded) == ["stream"]
    head = step.sublayers[2].heads[1]
    assert head.nothing == 0 and sum(t.weight for t in head.tokens) == pytest.approx(1)
    assert np.allclose(np.sum([t.contribution for t in head.tokens], 0), head.output)


@pytest.mark.parametrize("plain", [0, 1])
def test_each_layer_is_traced_by_its_own_options(plain):
    """One layer has the options of programs, the other those of no program."""
    torch.manual_seed(0)
    task = Addition(digits=2)
    other = Options(softmax="softmax", norm="rms", activation="silu", gated=False, scaled=True)
    options = [other, other]
    options[plain] = Options()
    blocks = tuple(
        BlockConfig(heads=1, d_head=3, d_value=3, hidden=5, options=own) for own in options
    )
    config = Config(
        vocabulary=task.vocabulary, width=6, blocks=blocks, outputs=tuple(range(14)), options=other
    )
    model = Transformer(config, torch.float64).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    for sublayer in trace(model, task, (12, 34), 1).sublayers:
        for head in sublayer.heads:
            whole = sum(token.weight for token in head.tokens)
            assert whole + head.nothing == pytest.approx(1)
            assert (head.nothing > 0) == (sublayer.layer == plain)
        for unit in sublayer.units:
            gate = (
                max(unit.gate, 0)
                if sublayer.layer == plain
                else unit.gate / (1 + math.exp(-unit.gate))
            )
            assert unit.output == pytest.approx(gate * unit.up)
            assert (unit.up == 1) == (sublayer.layer != plain)


def test_the_cache_has_the_names_that_users_of_transformerlens_know():
    model, task = built("add10")
    tokens = torch.from_numpy(task.encode([task.prompt((1, 2)), task.prompt((3, 4))]))
    logits, cache = run_with_cache(model, tokens)
    assert torch.equal(logits, model(tokens))
    assert cache["blocks.0.attn.hook_pattern"].shape == (2, 1, 23, 23)
    assert cache["blocks.1.hook_resid_post"].shape == (2, 23, 5)
    assert {
        "hook_embed",
        "blocks.0.mlp.hook_pre",
        "blocks.0.mlp.hook_post",
        "blocks.1.attn.hook_v",
    } <= cache.keys()


def test_a_head_without_queries_and_units_that_are_not_relu_are_said_to_be_so(capsys):
    forty = str(ROOT / "baselines" / "addition10-forty" / "seed-1" / "model")
    code, text, _ = run(capsys, "trace", forty, "123", "456", "--digit", "3")
    assert code == 0
    assert "query none: scores depend on the distance alone; 0 of the attention" in text
    assert "hidden units: silu(gate) * up = output" in text and "relu" not in text
