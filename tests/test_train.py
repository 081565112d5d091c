"""Trained baselines: one class for built and trained, recipes, strict splits, resuming,
evaluation.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from click.testing import CliRunner

from tinyadder.cli import cli, main
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.config import BlockConfig, Config, Options
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.addition_steps import AdditionSteps
from tinyadder.tasks.derivative import Derivative
from tinyadder.train.checkpoint import latest_checkpoint, read_checkpoint
from tinyadder.train.data import (
    Source,
    check_leaks,
    encode,
    order,
    split_of,
    training_problems,
)
from tinyadder.train.evaluate import ceiling_of, chance_of, evaluate, recipe_of
from tinyadder.train.files import problem_lines, read_problems
from tinyadder.train.loop import Interrupted, Run
from tinyadder.train.models import config_of, make_model
from tinyadder.train.recipe import (
    SIZES,
    ModelRecipe,
    Recipe,
    read_recipe,
    recipe_from,
    recipe_names,
)
from tinyadder.train.steps import Batch, answer_loss, learning_rate_at, self_fed_logits
from tinyadder.train.validation import exact_match

TINY = {
    "task": {"name": "addition", "digits": 1, "order": "least"},
    "model": {"width": 8, "layers": 1, "heads": 1, "d_head": 4, "hidden": 8},
    "data": {"examples": 200, "validation": 4, "test": 8},
    "train": {
        "steps": 30,
        "batch": 16,
        "warmup": 5,
        "log_every": 5,
        "check_every": 10,
        "checkpoint_every": 10,
    },
}


def tiny(**changes: dict) -> Recipe:
    data = {name: {**table, **changes.get(name, {})} for name, table in TINY.items()}
    return recipe_from(data, name="tiny", where="tiny.toml")


# ---- one class for built and trained -------------------------------------------------------------


def test_a_built_adder_whose_numbers_are_disturbed_is_trained_back_to_exact():
    adder = construct("add10", digits=1)
    model, problems = build(adder.program), list(product(range(10), repeat=2))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 + 0.03 * torch.randn(p.shape, generator=random, dtype=p.dtype))
    assert exact_match(model, adder.task, problems) < 0.1
    examples = encode(adder.task, problems)
    batch = Batch.of(examples, model, torch.device("cpu"))
    place = 50 * 10.0 ** (torch.arange(batch.targets.shape[1]) - examples.prompt[0] + 1)
    # Weights of very different size are trained by their relative change; logits shrink by 10 with
    # every digit.
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    change = {name: torch.zeros_like(p, requires_grad=True) for name, p in start.items()}
    optimizer = torch.optim.Adam(change.values(), lr=3e-3)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 300)
        weights = {name: start[name] * (1 + change[name]) for name in start}
        logits = torch.func.functional_call(model, weights, (batch.tokens[:, :-1],))
        optimizer.zero_grad()
        answer_loss(logits * place[:, None], batch).backward()
        optimizer.step()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(start[name] * (1 + change[name]))
    assert exact_match(model, adder.task, problems) == 1.0


def decoder(**options) -> Transformer:
    config = Config(
        vocabulary=tuple("abcd"),
        width=6,
        blocks=(BlockConfig(heads=2, d_head=4, d_value=3, hidden=5),),
        outputs=(0, 1, 2),
        options=Options(**options),
    )
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
    model, random = Transformer(config), torch.Generator().manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.5, generator=random)
    return model


EVERY_OPTION = [
    *({"positions": p, "context": 9} for p in ("none", "sinusoidal", "learned", "rotary", "alibi")),
    *(
        {"norm": n, "norm_place": p, "projected": True}
        for n in ("layer", "rms")
        for p in ("pre", "post")
    ),
    *(
        {"activation": a, "gated": g, "biases": g}
        for a in ("relu", "gelu", "silu")
        for g in (True, False)
    ),
    {"softmax": "softmax", "scaled": True, "projected": True},
    {"repeat": 3, "positions": "rotary"},
]


@pytest.mark.parametrize("options", EVERY_OPTION, ids=str)
def test_with_every_option_cached_and_full_passes_agree_and_the_future_is_not_seen(options):
    model = decoder(**options)
    tokens = torch.randint(0, 4, (3, 9), generator=torch.Generator().manual_seed(1))
    full, past = model(tokens), model.new_past()
    parts = [
        model(tokens[:, :4], past=past),
        model(tokens[:, 4:5], past=past),
        model(tokens[:, 5:], past=past),
    ]
    assert torch.allclose(full, torch.cat(parts, 1), atol=1e-12)
    changed = tokens.clone()
    changed[:, 6:] = 0
    assert torch.equal(full[:, :6], model(changed)[:, :6]) or torch.allclose(
        full[:, :6], model(changed)[:, :6]
    )


@pytest.mark.parametrize("options", EVERY_OPTION, ids=str)
def test_every_option_changes_what_is_computed(options):
    if options in (
        {"positions": "alibi", "context": 9},
        {"activation": "relu", "gated": True, "biases": True},
    ):
        pytest.skip("these are the defaults")
    plain, model = decoder(), decoder(**options)
    shared = plain.state_dict()
    own = model.state_dict()
    model.load_state_dict(
        {n: shared[n] if n in shared and n.count("wiring") == 0 else own[n] for n in own}
    )
    tokens = torch.tensor([[0, 1, 2, 3, 0, 1, 1, 2]])
    plain.blocks[0].attention.wiring.normal_(generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        model.blocks[0].attention.wiring.copy_(plain.blocks[0].attention.wiring)
        plain.blocks[0].attention.slopes.fill_(0.3)
        model.blocks[0].attention.slopes.fill_(
            0.3 if options.get("positions", "alibi") == "alibi" else 0.0
        )
    assert not torch.allclose(plain(tokens), model(tokens))


def test_rotary_scores_depend_on_the_distance_alone():
    from tinyadder.machine.layers import rotate

    x = torch.randn(1, 1, 1, 6, dtype=torch.float64).expand(1, 1, 12, 6)
    turned = rotate(x, 0, 100.0)[0, 0]
    scores = turned @ turned.T
    assert torch.allclose(scores.diagonal(3), scores.diagonal(3)[0].expand(9))
    assert torch.allclose(rotate(x[:, :, :5], 7, 100.0)[0, 0], turned[7:])


def test_learned_positions_refuse_a_longer_text():
    with pytest.raises(TinyadderError, match="a text of 10 tokens; this model learned 9 positions"):
        decoder(positions="learned", context=9)(torch.zeros(1, 10, dtype=torch.long))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_recipe_chooses_the_type_of_the_numbers(dtype):
    model = make_model(ModelRecipe(dtype=dtype), Addition(digits=1), 1)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    assert model(torch.zeros(1, 3, dtype=torch.long)).isfinite().all()


def test_named_sizes_can_be_built_and_keys_beside_them_win():
    for name in SIZES:
        with torch.device("meta"):
            Transformer(
                config_of(
                    recipe_from({**TINY, "model": {"size": name}}, name="r", where="r").model,
                    Addition(),
                )
            )
    assert (
        recipe_from(
            {**TINY, "model": {"size": "small", "width": 24}}, name="r", where="r"
        ).model.width
        == 24
    )


# ---- recipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_package_is_sound(name):
    recipe = read_recipe(name)
    assert recipe.summary
    options = json.loads(json.dumps({"recipe": recipe.to_json()}))
    assert recipe_of(options, name) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[task]\nname = 'addition'\n[model]\nwidht = 3",
            r"\[model\] has no key 'widht'; did you mean 'width'\?",
        ),
        (
            "[task]\nname = 'addition'\n[model]\nwidth = '3'",
            r"\[model\] width='3', expected an integer 1 \.\. 8192",
        ),
        (
            "[task]\nname = 'addition'\n[model]\nwidth = true",
            r"\[model\] width=True, expected an integer 1 \.\. 8192",
        ),
        (
            "[task]\nname = 'addition'\n[model]\nnorm = 'lair'",
            r"norm='lair', expected 'none', 'layer' or 'rms'; did you mean 'layer'",
        ),
        ("[task]\nname = 'addition'\n[modle]", r"unknown section 'modle'; did you mean 'model'\?"),
        ("[task]\nname = 'additoin'", r"unknown task 'additoin'; did you mean 'addition'\?"),
        ("[model]", r"\[task\] needs name"),
        (
            "[task]\nname = 'addition'\n[train]\nbatch = 5\naccumulate = 2",
            r"accumulate = 2; expected a divisor of batch",
        ),
        (
            "[task]\nname = 'addition'\n[data]\nexamples = 0",
            r"\[data\] examples=0, expected an integer 1 \.\. 100000000",
        ),
        ("[task]\nname = 'addition'\n[train]\nseeds = 3", r"seeds=3, expected a list"),
        ("[task]\nname = 'addition'\n[train]\nseeds = [-1]", r"seeds=\[-1\], expected"),
        ("[task]\nname = 'addition'\n[train]\nlearning_rate = nan", r"learning_rate=nan, expected"),
        (
            "[task]\nname = 'addition'\n[model]\nwidth = 8192\nhidden = 65536\nlayers = 1000",
            r"\[model\] sizes = \d+; expected at most 1,000,000,000 parameters",
        ),
        ("= 3", "bad.toml is not TOML"),
    ],
)
def test_a_bad_recipe_is_one_line_that_says_what_is_wrong(tmp_path, text, said):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(TinyadderError, match=said) as error:
        read_recipe(str(path))
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_gets_a_suggestion():
    with pytest.raises(TinyadderError, match="did you mean 'derivative'"):
        read_recipe("derivativ")


# ---- data ----------------------------------------------------------------------------------------


def test_the_same_operands_in_another_order_are_in_the_same_split():
    task, random = Addition(digits=4), Random(1)
    pairs = task.uniform(random, 2000)
    assert all(split_of(task, (a, b), 0.2) == split_of(task, (b, a), 0.2) for a, b in pairs)
    share = sum(split_of(task, p, 0.2) == "test" for p in pairs) / len(pairs)
    assert 0.12 < share < 0.18


def test_splits_share_no_problem():
    task = Derivative(exponents=2)
    found = {
        split: Source(task, "balanced", split, 0.3, 1).distinct(300)
        for split in ("train", "validation", "test")
    }
    check_leaks(task, found)
    keys = [set(map(task.split_key, problems)) for problems in found.values()]
    assert not (keys[0] & keys[1] or keys[0] & keys[2] or keys[1] & keys[2])


def test_a_leak_is_named_with_an_example_also_when_operands_change_places():
    task = Addition(digits=3)
    with pytest.raises(
        TinyadderError,
        match=r"leaking data: 1 problems of 'test' \(50.0 % of it\) are in 'train'.*34 \+ 12",
    ):
        check_leaks(task, {"train": [(12, 34), (5, 6)], "test": [(34, 12), (7, 8)]})


def test_published_habits_of_sampling_both_sets_from_one_list_are_caught():
    task = Derivative(coefficients=5, exponents=3)
    random = Random(1)
    drawn = [task.uniform(random, 4000), task.uniform(random, 400)]
    with pytest.raises(TinyadderError, match="leaking data"):
        check_leaks(task, {"train": drawn[0], "validation": drawn[1]})


def test_training_refuses_problems_of_the_test_set(tmp_path, monkeypatch):
    run = Run(tiny(), 1, tmp_path)
    monkeypatch.setattr(
        Source, "take", lambda self, count, **_: run.dealer.test_problems()[:1] * count
    )
    with pytest.raises(TinyadderError, match="leaking data: 1 problems of 'test'"):
        run.train()


@pytest.mark.parametrize("distribution", ["uniform", "balanced", "structured", "focused", "mixed"])
def test_the_problems_depend_on_the_seed_and_not_on_the_number_of_workers(distribution):
    source = Source(Addition(digits=3), distribution, "train", 0.2, 7)
    alone = source.take(9000)
    assert alone == source.take(9000)
    assert alone != replace(source, seed=8).take(9000)
    if distribution == "mixed":
        assert alone == source.take(9000, workers=2)


def test_focused_derivatives_change_their_printed_order_often_and_have_every_degree_from_0_on():
    task = Derivative(order="printed")
    plain = Derivative()
    for limits in (task, Derivative(order="printed", exponents=1, coefficients=1)):
        assert all(limits.parse(limits.show(p)) == p for p in limits.focused(Random(1), 300))
    changed, texts = {}, (Derivative.show, Derivative.answer)
    for sampler in ("balanced", "focused"):
        found = getattr(task, sampler)(Random(1), 3000)
        changed[sampler] = [
            sum(text(task, p) != text(plain, p) for p in found) / 3000 for text in texts
        ]
    assert min(changed["focused"]) > 0.08 > 0.06 > max(changed["balanced"])
    assert {task.traits(p)["degree"] for p in task.focused(Random(1), 3000)} == set(range(6))


def test_a_split_without_problems_is_refused():
    with pytest.raises(TinyadderError, match="the data set is empty"):
        Source(Addition(digits=1), "uniform", "test", 1e-12, 1).distinct(5)
    with pytest.raises(TinyadderError, match="the data set is empty"):
        Source(Addition(digits=1), "uniform", "validation", 1e-12, 1).take(5)
    with pytest.raises(TinyadderError, match="empty data set"):
        encode(Addition(), [])


def test_the_loss_is_on_the_answer_alone():
    task = AdditionSteps(digits=2)
    examples = encode(task, [(12, 39), (5, 5)])
    for row, length, mask, problem in zip(
        examples.tokens, examples.length, examples.answer_mask(), [(12, 39), (5, 5)], strict=True
    ):
        trained = [task.vocabulary[token] for token, m in zip(row[1:], mask, strict=True) if m]
        assert trained == list(task.answer(problem))
        assert length == len(task.prompt(problem)) + len(task.answer(problem))


def test_an_epoch_deals_every_example_at_most_once_with_like_lengths_together():
    task = AdditionSteps(digits=3)
    examples = encode(task, Source(task, "balanced", "train", 0.2, 1).take(4000))
    batches = order(examples, 32, 1, 0)
    assert len(set(batches.ravel().tolist())) == batches.size == 4000
    within = sum(examples.length[b].std() for b in batches) / len(batches)
    assert within < 0.3 * examples.length.std()
    assert (order(examples, 32, 1, 0) == batches).all() and not (
        order(examples, 32, 1, 1) == batches
    ).all()


def test_problems_go_to_jsonl_and_back(tmp_path):
    task = Derivative(order="printed")
    problems = task.balanced(Random(1), 50)
    (tmp_path / "p.jsonl").write_text(problem_lines(task, problems))
    assert read_problems(task, str(tmp_path / "p.jsonl")) == problems
    (tmp_path / "bad.jsonl").write_text('{"problem": "4-x"}\n{"problem": "x+"}\n')
    with pytest.raises(TinyadderError, match="line 2"):
        read_problems(task, str(tmp_path / "bad.jsonl"))


def test_training_on_the_problems_of_a_file_is_training_on_those_that_were_drawn(tmp_path):
    path, task = tmp_path / "p.jsonl", tiny().task
    path.write_text(problem_lines(task, training_problems(tiny(), 1)))
    drawn = Run(tiny(), 1, tmp_path / "a")
    read = Run(tiny(data={"file": str(path)}), 1, tmp_path / "b")
    assert [drawn.advance() for _ in range(5)] == [read.advance() for _ in range(5)]


def test_a_file_that_leaks_is_empty_missing_or_too_short_is_refused(tmp_path):
    path, task = tmp_path / "p.jsonl", tiny().task
    run = Run(tiny(data={"file": str(path)}), 1, tmp_path / "run")
    with pytest.raises(TinyadderError, match="cannot read "):
        run.advance()
    path.write_text("")
    with pytest.raises(TinyadderError, match="is empty: the data set has no problems"):
        run.advance()
    a, b = run.dealer.test_problems()[0]
    path.write_text(problem_lines(task, [*training_problems(tiny(), 1)[:-1], (b, a)]))
    with pytest.raises(TinyadderError, match="leaking data: 1 problems of 'test'"):
        run.advance()
    path.write_text(problem_lines(task, training_problems(tiny(), 1)[:20]))
    with pytest.raises(TinyadderError, match=r"holds 20 problems, \[data\] examples asks for 200"):
        run.advance()
    with pytest.raises(TinyadderError, match="expected no file: fresh and curriculum draw"):
        tiny(data={"file": str(path), "fresh": True})


def test_reasoning_adds_the_columns_from_the_right():
    task = AdditionSteps(digits=3)
    assert task.answer((658, 189)) == "<8+9=17 5+8+1=14 6+1+1=8>847$"
    assert task.answer((99, 1)) == "<9+1=10 9+1=10>100$"
    assert task.show_answer(task.answer((658, 189))) == "847"
    assert task.show_reasoning(task.answer((658, 189))) == "8+9=17 5+8+1=14 6+1+1=8"
    assert all(len(task.answer(p)) <= task.answer_length for p in task.hard())


# ---- training ------------------------------------------------------------------------------------


def test_the_rate_warms_up_and_decays():
    train = tiny(train={"warmup": 10, "steps": 110, "learning_rate": 1.0}).train
    assert learning_rate_at(train, 5) == 0.5 and learning_rate_at(train, 10) == 1.0
    assert learning_rate_at(train, 60) == pytest.approx(0.505) and learning_rate_at(
        train, 110
    ) == pytest.approx(0.01)
    assert learning_rate_at(train, 115) == 0.5 and learning_rate_at(train, 220) == learning_rate_at(
        train, 110
    )
    assert learning_rate_at(replace(train, schedule="inverse-sqrt"), 40) == pytest.approx(0.5)
    assert learning_rate_at(replace(train, schedule="constant"), 99) == 1.0
    cooled = replace(train, schedule="inverse-sqrt", cooldown=50)
    assert learning_rate_at(cooled, 60) == learning_rate_at(replace(cooled, cooldown=0), 60)
    assert learning_rate_at(cooled, 85) == pytest.approx(
        0.5 * (learning_rate_at(replace(cooled, cooldown=0), 85) + train.final_fraction)
    )
    assert learning_rate_at(cooled, 110) == pytest.approx(train.final_fraction)


def test_a_decoder_learns_a_small_task_and_loads_as_a_model_folder(tmp_path):
    recipe = tiny(
        model={"width": 16, "hidden": 32, "heads": 2},
        data={"held_out": 0.1, "examples": 2000, "validation": 2, "test": 5},
        train={"steps": 450, "batch": 64, "learning_rate": 0.01, "check_every": 150, "patience": 0},
    )
    run = Run(recipe, 1, tmp_path)
    folder = run.train()
    model, described = load(folder)
    every = list(product(range(10), repeat=2))
    assert exact_match(model, recipe.task, every) >= 0.8
    assert recipe_of(described.options, "here") == recipe
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"] and {
        "cpu",
        "wall",
        "learning_rate",
        "gradient",
    } <= set(lines[-1])


@pytest.mark.parametrize(
    "extra",
    [{}, {"grokfast": 2.0, "accumulate": 2}, {"self_fed": 0.5}, {"muon_learning_rate": 0.02}],
    ids=str,
)
def test_a_run_that_goes_on_from_a_checkpoint_is_the_run_that_was_never_interrupted(
    tmp_path, extra
):
    recipe = tiny(train=extra, model={"dropout": 0.2})
    whole = Run(recipe, 3, tmp_path / "whole")
    whole.train()
    cut = Run(recipe, 3, tmp_path / "cut")

    def interrupt(line):
        if line["step"] == 15:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped at step 15"):
        cut.train(interrupt)
    again = Run(recipe, 3, tmp_path / "cut")
    assert again.resume() == [] and again.state.step == 15
    again.train()
    for name, p in whole.model.named_parameters():
        assert torch.equal(p, dict(again.model.named_parameters())[name]), name
    losses = [
        [
            (x["step"], x["loss"])
            for x in map(json.loads, (tmp_path / d / "log.jsonl").read_text().splitlines())
        ]
        for d in ("whole", "cut")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "rates", [[0.5, 0.9, 1.0, 1.0], [0.9, 0.9, 0.9, 0.9, 0.9, 0.8]], ids=["sound", "never sound"]
)
def test_the_schedule_is_run_again_only_while_validation_problems_are_wrong_at_its_end(
    tmp_path, monkeypatch, rates
):
    recipe = tiny(train={"steps": 10, "check_every": 5, "restarts": 2, "patience": 0})
    given = iter(rates)
    monkeypatch.setattr("tinyadder.train.loop.exact_match", lambda *_: next(given))
    run = Run(recipe, 1, tmp_path)
    run.train()
    assert run.state.step == 5 * len(rates) and next(given, None) is None
    assert (run.state.validation.best, run.state.validation.best_step) == (
        (1.0, 20) if len(rates) == 4 else (0.9, 25)
    )


def interrupted_run(folder: Path, recipe: Recipe) -> None:
    def stop(line):
        if line["step"] == 25:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        Run(recipe, 1, folder).train(stop)


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, damage):
    interrupted_run(tmp_path, tiny())
    newest = sorted((tmp_path / "checkpoints").glob("*.safetensors"))[-1]
    content = bytearray(newest.read_bytes())
    content[-3] ^= 1
    newest.write_bytes(
        {"cut": bytes(content[:-100]), "altered": bytes(content), "empty": b""}[damage]
    )
    run = Run(tiny(), 1, tmp_path)
    said = run.resume()
    assert (
        run.state.step == 20
        and len(said) == 1
        and "is damaged" in said[0]
        and newest.name in said[0]
    )
    for path in (tmp_path / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(TinyadderError, match="no sound checkpoint"):
        latest_checkpoint(tmp_path / "checkpoints")


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    interrupted_run(tmp_path, tiny())
    with pytest.raises(TinyadderError, match=r"\[model\] width is 8 there and 16 in the recipe"):
        Run(tiny(model={"width": 16}), 1, tmp_path).resume()
    with pytest.raises(TinyadderError, match="has seed 1, this run has 2"):
        Run(tiny(), 2, tmp_path).resume()


def test_a_full_disk_leaves_the_last_checkpoint_and_says_so(tmp_path, monkeypatch):
    run = Run(tiny(), 1, tmp_path)
    run.advance()
    run.write()
    run.advance()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TinyadderError, match="No space left on device; free some space"):
        run.write()
    assert [read_checkpoint(p).step for p in (tmp_path / "checkpoints").iterdir()] == [1]


def test_a_log_that_cannot_be_written_stops_the_run_and_says_how_to_go_on(tmp_path):
    run = Run(tiny(), 1, tmp_path)
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(
        TinyadderError,
        match=r"cannot write .*log.jsonl: .*; free some space, then go on with --resume",
    ):
        run.train()


@pytest.mark.parametrize("precision", ["full", "bf16"])
def test_every_training_option_works_together_with_the_others(tmp_path, precision):
    recipe = tiny(
        task={"digits": 2},
        model={"repeat": 2, "dropout": 0.1, "positions": "learned", "context": 20, "norm": "layer"},
        data={"curriculum": [[2, 1]], "distribution": "balanced"},
        train={
            "accumulate": 4,
            "self_fed": 0.5,
            "temperature": 0.5,
            "precision": precision,
            "schedule": "inverse-sqrt",
        },
    )
    run = Run(recipe, 1, tmp_path)
    assert all(loss > 0 for loss, _ in (run.advance() for _ in range(6)))


def test_a_gradient_that_is_not_finite_stops_the_run_with_advice(tmp_path):
    run = Run(tiny(), 1, tmp_path)
    with torch.no_grad():
        run.model.embedding.fill_(torch.nan)
    with pytest.raises(TinyadderError, match="lower \\[train\\] learning_rate"):
        run.advance()


def test_outputs_that_lack_a_token_of_the_answers_are_refused(tmp_path):
    with pytest.raises(TinyadderError, match=r"what is trained contains '\d', which is not among"):
        Run(tiny(model={"outputs": "01234"}), 1, tmp_path).advance()


def test_gradient_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path):
    runs = [Run(tiny(train={"accumulate": n}), 1, tmp_path) for n in (1, 4)]
    for run in runs:
        run.advance()
    for a, b in zip(*(run.model.parameters() for run in runs), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_curriculum_starts_with_short_operands(tmp_path):
    recipe = tiny(
        task={"digits": 3}, data={"curriculum": [[2, 1], [4, 2]], "distribution": "balanced"}
    )
    run = Run(recipe, 1, tmp_path)
    digits = []
    for _ in range(6):
        texts = [recipe.task.decode(row) for row in run.dealer.batch(run.state.step).tokens]
        digits.append(max(len(n.rstrip("0")) for text in texts for n in text[1:8].split("+")))
        run.advance()
    assert digits[:2] == [1, 1] and max(digits[2:4]) == 2 and max(digits[4:]) == 3


def test_a_narrow_curriculum_writes_short_operands_without_padding(tmp_path):
    recipe = tiny(task={"digits": 3}, data={"curriculum": [[1, 1], [2, 2]], "narrow": True})
    run = Run(recipe, 1, tmp_path)
    texts = []
    for _ in range(3):
        texts.append(recipe.task.decode(run.dealer.batch(run.state.step).tokens[0]))
        run.advance()
    assert [text.index("+") for text in texts] == [2, 3, 4]
    assert [len(text.partition("=")[2]) for text in texts] == [2, 3, 4]


def test_training_goes_on_from_a_model_of_the_same_shape_only(tmp_path):
    first = Run(tiny(train={"steps": 2}), 1, tmp_path / "first").train()
    second = Run(tiny(train={"steps": 1}), 2, tmp_path / "second", start=first)
    first_model, _ = load(first)
    assert all(
        torch.equal(a, b)
        for a, b in zip(second.model.parameters(), first_model.parameters(), strict=True)
    )
    _, described = load(second.train())
    assert described.options["started from"] == str(first)
    with pytest.raises(TinyadderError, match="has another width"):
        Run(tiny(model={"width": 24}), 1, tmp_path / "third", start=first)


def test_a_recipe_may_give_every_head_its_slope():
    given = {"positions": "alibi", "layers": 2, "heads": 2, "slopes": [[0.5, 1], [0, 3]]}
    model = make_model(tiny(model=given).model, Addition(digits=1), 1)
    assert [block.attention.slopes.tolist() for block in model.blocks] == [[0.5, 1], [0, 3]]
    for wrong in ({"slopes": [[0.5, 1]]}, {"heads": 3}, {"positions": "rotary"}):
        with pytest.raises(TinyadderError, match="slopes"):
            tiny(model=given | wrong)


def test_self_fed_training_with_right_and_certain_answers_is_teacher_forcing():
    task = Addition(digits=1, order="least")
    model = make_model(ModelRecipe(width=8, layers=1, hidden=8), task, 1)
    batch = Batch.of(encode(task, [(3, 4), (9, 9)]), model, torch.device("cpu"))
    right = torch.zeros(len(batch.tokens), batch.tokens.shape[1] - 1, len(model.outputs))
    right.scatter_(2, batch.targets[..., None], 1e4)

    class Certain(torch.nn.Module):
        embedding, outputs = model.embedding, model.outputs

        def forward(self, tokens, hook=None):
            return model(tokens, hook=hook) * 0 + right

    seen = []

    def spy(name, x):
        if name == "hook_embed":
            seen.append(x)
        return x

    model(batch.tokens[:, :-1], hook=spy)
    inner = model.forward

    def forward(tokens, hook=None):
        def both(name, x):
            x = hook(name, x)
            return spy(name, x)

        return inner(tokens, hook=both)

    model.forward = forward
    torch.manual_seed(0)
    self_fed_logits(Certain(), batch, 0.1)
    assert torch.allclose(seen[0], seen[-1], atol=1e-5)


def test_torch_compile_without_a_compiler_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("tinyadder.train.steps.which", lambda name: None)
    with pytest.raises(TinyadderError, match=r"needs a C.. compiler.*or give --set compile=false"):
        Run(tiny(train={"compile": True}), 1, tmp_path)


@pytest.mark.slow
def test_a_compiled_step_is_the_step_that_is_not_compiled(tmp_path):
    runs = [Run(tiny(train={"compile": on}), 1, tmp_path / str(on)) for on in (True, False)]
    losses = [[run.advance()[0] for _ in range(3)] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for one, other in zip(*(run.model.parameters() for run in runs), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_bf16_trains_with_numbers_in_full_precision(tmp_path):
    run = Run(tiny(train={"precision": "bf16"}), 1, tmp_path)
    losses = [run.advance()[0] for _ in range(30)]
    assert sum(losses[-12:]) < sum(losses[:12])  # of 200 examples in batches of 16: one epoch each
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


WORKER = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.test_train import tiny
from tinyadder.train.loop import Processes, Run
Run(tiny(train={"patience": 0}), 1, Path(sys.argv[1]), processes=Processes.join()).train()
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_the_model_that_one_trains(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    root = Path(__file__).parent.parent
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            str(tmp_path / "worker.py"),
            str(tmp_path / "two"),
        ],
        check=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        timeout=120,
        capture_output=True,
    )
    Run(tiny(train={"patience": 0}), 1, tmp_path / "one").train()
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    for a, b in zip(*logs, strict=True):
        assert json.loads(a)["loss"] == pytest.approx(json.loads(b)["loss"], abs=1e-4)
    (one, _), (two, _) = load(tmp_path / "one" / "model"), load(tmp_path / "two" / "model")
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4), name


# ---- evaluation ----------------------------------------------------------------------------------


def test_exact_match_stands_beside_token_accuracy_chance_and_ceiling():
    adder = construct("add10", digits=2)
    model, problems = build(adder.program), [(1, 2), (99, 1), (50, 50), (0, 100 - 1)]
    score = evaluate(model, adder.task, problems)
    assert score.exact == score.tokens == score.ceiling == 1.0 and score.chance == 0.5
    assert score.by["carry chain"]["2"] == {"problems": 1, "exact": 1.0, "chance": 1.0}
    with torch.no_grad():
        model.embedding[9, 0] = 8  # the digit 9 taken for an 8
    broken = evaluate(model, adder.task, problems)
    assert (
        broken.exact < broken.tokens < 1 and broken.wrong[0]["got"] != broken.wrong[0]["expected"]
    )


def test_token_accuracy_is_given_the_right_tokens_before_and_hides_failure():
    task = Addition(digits=2)

    adder = construct("add10", digits=2)
    model = build(adder.program)
    with torch.no_grad():
        model.embedding[9, 0] = 8
    emitted = answers(model, task, [(99, 0)])[0]
    score = evaluate(model, task, [(99, 0)])
    assert (
        score.exact == 0.0
        and score.tokens > sum(a == b for a, b in zip(emitted, "099", strict=True)) / 3 - 1e-9
    )


def test_chance_and_ceiling_are_those_of_the_best_constant_and_of_the_best_function():
    task = Addition(digits=1)
    assert chance_of(task, [(0, 5), (1, 4), (2, 2)]) == pytest.approx(2 / 3)
    assert ceiling_of(task, [(0, 5), (1, 4)]) == 1.0

    class Blind(Addition):
        def prompt(self, problem):
            return "^?="

    assert ceiling_of(Blind(digits=1), [(0, 5), (1, 4), (2, 2)]) == pytest.approx(2 / 3)


def test_the_command_line_trains_resumes_and_evaluates(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("""
        summary = "tiny"
        [task]
        name = "addition"
        digits = 1
        [model]
        width = 8
        layers = 1
        [data]
        examples = 200
        validation = 4
        test = 8
        [train]
        steps = 20
        batch = 16
        check_every = 10
    """)
    out = tmp_path / "out"
    run = CliRunner().invoke(
        cli, ["train", str(recipe), "--out", str(out), "--seed", "4", "--json"]
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)[0]["seed"] == 4
    again = CliRunner().invoke(cli, ["train", str(recipe), "--out", str(out), "--seed", "4"])
    assert "is there already" in again.stderr
    arguments = [
        "evaluate",
        f"{out}/seed-4/model",
        "--samples",
        "50",
        "--out",
        str(tmp_path / "e.json"),
    ]
    evaluated = CliRunner().invoke(cli, arguments)
    assert evaluated.exit_code == 0, evaluated.output
    assert "REFUTED" in evaluated.stdout and "token accuracy" in evaluated.stdout
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["score"]["problems"] <= 8 and found["verdict"]["verdict"] == "refuted"
    with pytest.raises(TinyadderError, match=r"e\.json exists; give --force"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_bad_words_on_the_command_line_are_one_line_and_exit_code_2(capsys):
    with pytest.raises(SystemExit) as done:
        main(["train", "derivativ"])
    assert done.value.code == 2
    assert capsys.readouterr().err.startswith(
        "error: unknown recipe 'derivativ'; did you mean 'derivative'?"
    )
