"""Ablation and patching do to a run what they say, with effects known in advance, and nothing
afterwards.
"""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.inspect.patching import ablate, hooked, patch
from tinyadder.inspect.trace import run_with_cache
from tinyadder.io.folder import load
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build

BASELINES = Path(__file__).parents[1] / "baselines"


def built(name, **options):
    made = construct(name, **options)
    return build(made.program), made.task


def text(task, *problems):
    """Prompts and right answers as one batch."""
    return torch.from_numpy(task.encode([[*task.prompt(p), *task.answer(p)] for p in problems]))


@pytest.fixture(scope="module")
def adder():
    return built("add10", digits=3)


@pytest.fixture(scope="module")
def trained():
    model, described = load(BASELINES / "addition10-tiny/seed-1/model")
    return model, described.task


# ---- the effect on answers -----------------------------------------------------------------------


@pytest.mark.parametrize("parts", [{"units": [(1, "column")]}, {"heads": [(1, 1), (1, 2)]}])
def test_without_its_carry_add_any_is_wrong_exactly_where_something_is_carried(parts):
    """Its units take ten away where a column passes it; its second and third head bring what comes
    in.
    """
    model, task = built("add_any", digits=2)
    pairs = list(product(range(0, 100, 3), range(100)))
    with ablate(model, **parts):
        given = answers(model, task, pairs)
    wrong = [list(got) != list(task.answer(pair)) for pair, got in zip(pairs, given, strict=True)]
    assert wrong == [a % 10 + b % 10 >= 10 or a + b >= 100 for a, b in pairs]


def test_the_operand_of_another_run_is_added_instead(adder):
    """`product` holds digit * place value: with that of the tokens of a from another run, the model
    adds that a.
    """
    model, task = adder
    _, other = run_with_cache(model, text(task, (704, 0)))
    start = len("^")
    with patch(model, other, lanes=["product"], positions=range(start, start + 3)):
        assert answers(model, task, [(123, 456), (999, 1)]) == ["1160", "0705"]
        assert answers(model, task, [(123, 456)], cache=False) == ["1160"]
    assert answers(model, task, [(123, 456)]) == ["0579"]


def test_one_step_takes_its_digit_from_another_run(adder):
    model, task = adder
    query = len("^123+456=0") - 1
    _, other = run_with_cache(model, text(task, (700, 256)))
    with patch(model, other, lanes=[("rest", "blocks.1.hook_resid_post")], positions=[query]):
        logits = model(text(task, (123, 456)))
    with torch.no_grad():
        plain = model(text(task, (123, 456)))
    assert logits[0, query].argmax() == 9 and plain[0, query].argmax() == 5
    assert torch.equal(logits[0, :query], plain[0, :query])


def test_a_run_patched_with_itself_is_the_same_run(adder, trained):
    for model, task in (adder, trained):
        tokens = text(task, (123, 456), (999, 1))
        logits, cache = run_with_cache(model, tokens)
        lanes = ["digit", "rest"] if model.config.lanes else [0, 3]
        with patch(model, cache, lanes=lanes, heads=[(0, 0)], units=[(0, 0)]):
            assert torch.equal(run_with_cache(model, tokens)[0], logits)


@pytest.mark.parametrize("where", [[-1], (-1,), (p for p in [-1]), [np.int64(-1)], range(-1, 0)])
def test_negative_positions_count_from_the_end(adder, where):
    model, task = adder
    tokens = text(task, (123, 456))
    with torch.no_grad(), ablate(model, lanes=["digit"], positions=list(where)):
        found = model(tokens)
    with torch.no_grad(), ablate(model, lanes=["digit"], positions=[tokens.shape[1] - 1]):
        expected = model(tokens)
    with torch.no_grad():
        assert torch.equal(found, expected) and not torch.equal(found, model(tokens))


def test_minus_one_is_the_newest_token_of_every_step_of_decoding(adder):
    """At '=' and at every digit of the answer the query adds up nothing: all digits are 0."""
    model, task = adder
    read = [("rest", "blocks.1.hook_resid_post")]
    with ablate(model, lanes=read, positions=[-1]):
        last = answers(model, task, [(123, 456)])
    with ablate(model, lanes=read):
        assert last == answers(model, task, [(123, 456)]) != [task.answer((123, 456))]


def test_a_generator_of_positions_is_read_once_and_holds_for_every_pass(adder):
    model, task = adder
    with ablate(model, heads=[(0, 0)], positions=(p for p in range(100))):
        first = answers(model, task, [(123, 456)])
        assert answers(model, task, [(123, 456)]) == first != [task.answer((123, 456))]


@pytest.mark.parametrize("positions", [["1"], [1.0], [True], [None], "12", [[1]]])
def test_positions_that_are_no_integers_are_refused(adder, positions):
    with (
        pytest.raises(TinyadderError, match="positions"),
        ablate(adder[0], lanes=["digit"], positions=positions),
    ):
        pass


def test_layers_and_heads_may_be_numbers_of_numpy(adder):
    model, task = adder
    tokens = text(task, (123, 456))
    with ablate(model, heads=[(0, 0)]):
        expected = model(tokens)
    with ablate(model, heads=[(np.int64(0), np.int64(0))]):
        assert torch.equal(model(tokens), expected)


# ---- what is changed is what was named -----------------------------------------------------------


def test_an_ablated_head_and_unit_are_the_model_without_their_weights(adder, trained):
    for model, task in (adder, trained):
        tokens = text(task, (123, 456))
        block = model.blocks[0]
        for parts, weights in (
            ({"heads": [(0, 0)]}, lambda block=block: block.attention.wiring[0]),
            ({"units": [(0, 0)]}, lambda block=block: block.mlp.down[:, 0]),
        ):
            with torch.no_grad(), ablate(model, **parts):
                found = model(tokens)
            with torch.no_grad():
                kept = weights().clone()
                weights().zero_()
                expected = model(tokens)
                weights().copy_(kept)
            assert torch.allclose(
                found, expected, rtol=1e-12, atol=1e-6 if found.dtype == torch.float32 else 1e-12
            )
            assert not torch.equal(found, run_with_cache(model, tokens)[0])


def test_a_lane_is_held_everywhere_or_changed_at_one_place(adder):
    model, task = adder
    tokens = text(task, (123, 456))
    with ablate(model, lanes=["weight"]):
        _, cache = run_with_cache(model, tokens)
    assert all(
        cache.lane("weight", place).eq(0).all() for place in ("blocks.0.hook_resid_mid", None)
    )
    with patch(model, 7.0, lanes=[("digit", "blocks.0.hook_resid_post")], positions=[2]):
        _, cache = run_with_cache(model, tokens)
    assert cache.lane("digit", "blocks.0.hook_resid_mid")[0, 2] == 2 and cache.lane("digit")[
        0, 1:4, 0
    ].tolist() == [
        1,
        7,
        3,
    ]


def test_a_head_named_by_its_lane_is_the_head_that_writes_it():
    model, task = built("add10_95", digits=3)
    tokens = text(task, (123, 456))
    for index, lane in enumerate(("place", "turn")):
        with ablate(model, heads=[(0, lane)]):
            by_name, _ = run_with_cache(model, tokens)
        with ablate(model, heads=[(0, index)]):
            by_index, _ = run_with_cache(model, tokens)
        assert torch.equal(by_name, by_index)


def test_the_cache_reads_lanes_of_one_and_of_many_columns():
    model, task = built("add10_95", digits=3)
    _, cache = run_with_cache(model, text(task, (123, 456), (7, 8)))
    assert cache.lane("place").shape == (2, 13, 1) and cache.lane("miss").shape == (2, 13, 10)
    stream = torch.cat([cache.lane(name) for name, _ in model.config.lanes], -1)
    assert torch.equal(stream, cache["blocks.1.hook_resid_post"]) and torch.equal(
        stream[..., [3]], cache.lane(3)
    )


def test_after_the_block_nothing_is_hooked_even_after_an_error(adder):
    model, task = adder
    with pytest.raises(ZeroDivisionError), ablate(model, lanes=["rest"]):
        raise ZeroDivisionError
    assert not model._forward_pre_hooks
    assert answers(model, task, [(123, 456)]) == ["0579"]


def test_a_hook_of_ones_own_sees_where_the_tokens_of_a_pass_stand(adder):
    model, task = adder
    seen = []

    def look(name, value, first):
        if name == "hook_embed":
            seen.append((first, value.shape[1]))
        return value

    with hooked(model, look):
        assert answers(model, task, [(123, 456)]) == ["0579"]
    assert seen == [(0, 9), (9, 1), (10, 1), (11, 1)]


# ---- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"lanes": ["rset"]},
            r"no lane 'rset' \(lanes: digit, flag, weight, product, rest\); did you mean 'rest'\?",
        ),
        ({"lanes": "rest"}, r"give a list: lanes=\['rest'\]"),
        (
            {"lanes": [("rest", "blocks.1.hook_post")]},
            "is not a place of the residual stream; did you mean",
        ),
        ({"lanes": [9]}, "no column 9; the residual stream has columns 0 .. 4"),
        ({"heads": [(2, 0)]}, "no layer 2; this model has layers 0 .. 1"),
        ({"heads": [(0, 1)]}, "no head 1 in layer 0; it has heads 0 .. 0"),
        ({"heads": [(0, "rest")]}, r"no head of layer 0 writes lane 'rest' \(written: weight\)"),
        ({"units": [(1, 0)]}, "layer 1 has no units"),
        ({"units": [(0, "produkt")]}, "did you mean 'product'"),
    ],
)
def test_an_unknown_name_is_said_with_what_there_is(adder, parts, said):
    with pytest.raises(TinyadderError, match=said), ablate(adder[0], **parts):
        pass


def test_a_cache_that_does_not_fit_is_said(adder):
    model, task = adder
    _, two = run_with_cache(model, text(task, (1, 2), (3, 4)))
    with (
        pytest.raises(TinyadderError, match="the cache is of 2 texts, the model runs 3"),
        patch(model, two, lanes=["rest"]),
    ):
        model(text(task, (1, 2), (3, 4), (5, 6)))
    with (
        pytest.raises(TinyadderError, match="the cache has no 'hook_embed'"),
        patch(model, {}, lanes=["rest"]),
    ):
        pass


def test_learned_models_have_columns_instead_of_names(trained):
    with (
        pytest.raises(TinyadderError, match="lanes have no names; give a column"),
        ablate(trained[0], lanes=["carry"]),
    ):
        pass


def test_an_encoder_decoder_is_refused():
    model, _ = load(BASELINES / "gcd-encoder-decoder/seed-1/model")
    with (
        pytest.raises(TinyadderError, match="an encoder-decoder cannot be patched"),
        ablate(model, heads=[(0, 0)]),
    ):
        pass
