"""Rounds of counterexamples: what is searched, what is trained on, what is on disk after each, and
how they end.
"""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from tinyadder.cli import main
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load, save
from tinyadder.machine.answers import answers, is_right
from tinyadder.tasks import task_from_json
from tinyadder.tasks.addition import Addition
from tinyadder.train import prove as rounds
from tinyadder.train import prove_search as searching
from tinyadder.train.data import encode, split_of
from tinyadder.train.files import read_problems
from tinyadder.train.loop import Interrupted
from tinyadder.train.prove import Budget, Proving, margin_loss, read_rounds
from tinyadder.train.prove_search import Variations, Weak, hardest, search, weakest
from tinyadder.train.recipe import read_recipe
from tinyadder.train.steps import Batch, answer_loss
from tinyadder.verify.certify.check import check

ROOT = Path(__file__).parents[1]
RIGHT, WRONG = (ROOT / f"baselines/addition10-tiny/seed-{n}/model" for n in (1, 5))
RECIPE = read_recipe("addition10-tiny")
ONE_DIGIT = Addition(digits=1, padding=9, order="least")
"""The same weights, prompts of the same length, 100 problems: a proof takes a second."""
TWO_DIGITS = Addition(digits=2, padding=8, order="least")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(searching, "DRAWN", 100)
    monkeypatch.setattr(searching, "GENERATIONS", 3)
    monkeypatch.setattr(searching, "PARENTS", 60)
    monkeypatch.setattr(rounds, "STEPS", 8)
    monkeypatch.setattr(rounds, "SAMPLE", 50)


def exit_code(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def start_of(tmp_path: Path, source: Path, task: Addition) -> tuple[Path, object]:
    """A model folder of another task of the same texts, and its recipe."""
    model, described = load(source)
    recipe = replace(RECIPE, task=task, data=replace(RECIPE.data, validation=5, held_out=0.3))
    options = {**described.options, "recipe": recipe.to_json()}
    folder = tmp_path / f"start-{source.parent.name}"
    save(model, task, folder, name="start", options=options)
    return folder, recipe


# ---- search ----


def test_a_margin_is_above_zero_exactly_where_greedy_decoding_is_right():
    task, random = RECIPE.task, Random(0)
    problems = [*task.uniform(random, 100), *task.structured(random, 100)]
    for folder in (RIGHT, WRONG):
        model, _ = load(folder)
        right = [
            is_right(task, problem, got)
            for problem, got in zip(problems, answers(model, task, problems), strict=True)
        ]
        margins = [weak.margin for weak in weakest(model, task, problems)]
        assert [margin > 0 for margin in margins] == right
        if folder == WRONG:
            assert True in right and False in right


def test_a_model_whose_logits_are_no_numbers_has_no_margin():
    model, _ = load(RIGHT)
    with torch.no_grad():
        model.embedding[3] = torch.nan
    found = weakest(model, RECIPE.task, [(3, 0), (3, 3)])
    assert [(weak.margin, weak.token) for weak in found] == [(-torch.inf, "3"), (-torch.inf, "6")]


@pytest.mark.parametrize("name", ["addition", "subtraction", "multiplication"])
def test_variations_are_problems_of_the_task_and_differ(name):
    task = task_from_json({"name": name, "options": {}})
    random, varied = Random(1), Variations(task)
    parents = task.structured(random, 60)
    children = [varied.of(problem, random) for problem in parents]
    assert [task.check(child) for child in children] == children
    if varied.known:
        assert sum(a != b for a, b in zip(parents, children, strict=True)) > 30


def test_most_of_a_varied_problem_stays_as_it_was():
    """Not a fresh draw: half of the digits of both operands stay, over all."""
    task, random, varied = RECIPE.task, Random(2), Variations(RECIPE.task)
    same = count = 0
    for problem in task.uniform(random, 200):
        child = varied.of(problem, random)
        texts = (task.prompt(problem), task.prompt(child))
        same += sum(a == b for a, b in zip(*texts, strict=True))
        count += len(texts[0])
    assert 0.6 < same / count < 0.95


def test_the_search_finds_wrong_answers_and_asks_no_held_out_problem():
    model, _ = load(WRONG)
    found = search(model, RECIPE, "1")
    margins = [weak.margin for weak in found.values()]
    assert margins == sorted(margins) and margins[0] < 0
    assert {split_of(RECIPE.task, p, RECIPE.data.held_out) for p in found} == {"train"}
    problem = next(iter(found))
    assert not is_right(RECIPE.task, problem, answers(model, RECIPE.task, [problem])[0])


def test_varying_finds_smaller_margins_than_drawing(monkeypatch):
    model, _ = load(RIGHT)
    varied = next(iter(search(model, RECIPE, "1").values()))
    monkeypatch.setattr(searching, "GENERATIONS", 0)
    drawn = next(iter(search(model, RECIPE, "1").values()))
    assert 0 < varied.margin < drawn.margin


def test_hard_problems_are_of_many_kinds():
    alike = {(n, 0): Weak(-2.0, 3, "7") for n in range(90)}
    other = {(n, 1): Weak(-1.0, n % 9, "1") for n in range(30)}
    found = hardest(alike | other, 40)
    assert sum(weak.token == "7" for weak in found.values()) == 40 // searching.VARIETY
    assert {weak.position for weak in found.values() if weak.token == "1"} == set(range(9))


# ---- training ----


def test_the_margin_loss_is_cross_entropy_where_margins_are_wide_and_has_tokens_only():
    model, _ = load(RIGHT)
    batch = Batch.of(encode(RECIPE.task, [(1, 2), (99, 1)]), model, torch.device("cpu"))
    logits = model(batch.tokens[:, :-1])
    plain = answer_loss(logits, batch) / batch.mask.sum()
    assert torch.equal(margin_loss(logits, batch, 0.1), plain)
    assert margin_loss(logits, batch, 1e3) > plain + 0.5


def test_a_round_that_finds_wrong_answers_trains_on_them_and_never_on_a_held_out_problem(tmp_path):
    start, recipe = start_of(tmp_path, WRONG, TWO_DIGITS)
    proving = Proving(recipe, 1, tmp_path, start)
    seen = []
    assert not proving.run(Budget(rounds=2), seen.append)
    assert [line["by"] for line in seen] == ["search", "search"]
    assert seen[0]["wrong"] > 0 and seen[0]["smallest"] < 0 and seen[0]["loss"] > 0
    assert read_rounds(tmp_path / "rounds.jsonl") == seen
    assert [path.name for path in (tmp_path / "rounds").iterdir()] == ["2"]
    kept = read_problems(recipe.task, str(tmp_path / "rounds" / "2" / "problems.jsonl"))
    assert len(kept) == seen[1]["problems"] >= seen[0]["problems"] > 0
    assert {split_of(recipe.task, p, recipe.data.held_out) for p in kept} == {"train"}
    before, after = load(WRONG)[0], load(tmp_path / "rounds" / "2")[0]
    assert not torch.equal(before.embedding, after.embedding)


def test_rounds_that_go_on_after_a_kill_are_the_rounds_that_were_never_interrupted(
    tmp_path, monkeypatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start, recipe = start_of(tmp_path, WRONG, TWO_DIGITS)
    Proving(recipe, 3, whole, start).run(Budget(rounds=2))
    Proving(recipe, 3, cut, start).run(Budget(rounds=1))
    with monkeypatch.context() as patched:  # Ctrl-C in the middle of the second round
        patched.setattr(rounds, "encode", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted, match="after round 1; go on with --resume"):
            Proving(recipe, 3, cut, start).run(Budget(rounds=2))
    with (cut / "rounds.jsonl").open("a") as log:
        log.write('{"round": 2, "by": "sea')  # what a kill may leave
    Proving(recipe, 3, cut, start).run(Budget(rounds=2))
    models = [load(place / "rounds" / "2")[0] for place in (whole, cut)]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
    lines = [read_rounds(place / "rounds.jsonl") for place in (whole, cut)]
    assert [{**line, "seconds": 0} for line in lines[0]] == [
        {**line, "seconds": 0} for line in lines[1]
    ]


# ---- the end ----


def test_rounds_end_in_a_proof_that_the_checker_accepts(tmp_path):
    start, recipe = start_of(tmp_path, RIGHT, ONE_DIGIT)
    proving = Proving(recipe, 1, tmp_path / "run", start)
    assert proving.run(Budget())
    (line,) = proving.rounds
    assert (line["by"], line["verdict"], line["wrong"]) == ("prover", "proved", 0)
    assert check(tmp_path / "run" / "proved")["problems"] == 100
    options = load(tmp_path / "run" / "proved")[1].options
    assert options["rounds of counterexamples"] == 0 and options["seed"] == 1
    assert Proving(recipe, 1, tmp_path / "run", start).run(Budget()) and len(proving.rounds) == 1


def test_a_model_that_search_calls_right_and_the_prover_refutes_is_trained_on_what_it_found(
    tmp_path, monkeypatch
):
    """The search is made blind; the prover's open branches take its place."""
    start, recipe = start_of(tmp_path, RIGHT, ONE_DIGIT)
    model, described = load(start)
    with torch.no_grad():
        model.blocks[0].mlp.up_bias += 0.9
    save(model, ONE_DIGIT, start, name="start", options=described.options, force=True)
    monkeypatch.setattr(rounds, "search", lambda *_: {(0, 0): Weak(1.0, 0, "0")})
    proving = Proving(recipe, 1, tmp_path / "run", start)
    assert not proving.run(Budget(rounds=1))
    (line,) = proving.rounds
    assert (line["by"], line["verdict"]) == ("prover", "refuted") and line["wrong"] > 0
    assert line["problems"] > 1 and not (tmp_path / "run" / "asked").exists()


def test_a_log_of_rounds_with_a_line_that_is_none_is_refused(tmp_path):
    log = tmp_path / "rounds.jsonl"
    for text in ("[]", '{"round": 2, "seconds": 1.0, "verdict": "unknown"}', '{"round": 1}'):
        log.write_text(text + "\n")
        with pytest.raises(TinyadderError, match=r"line 1 is not round 1 of counterexamples"):
            read_rounds(log)


def test_the_command_proves_what_was_trained_and_says_how_to_go_on(tmp_path, capsys):
    start, _ = start_of(tmp_path, RIGHT, ONE_DIGIT)
    out = tmp_path / "out"
    assert exit_code(["train", "--start", str(start), "--prove", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "proved after 1 round," in said.out and str(out / "seed-1" / "proved") in said.out
    assert json.loads(said.err.splitlines()[-1])["verdict"] == "proved"

    start, _ = start_of(tmp_path, WRONG, TWO_DIGITS)
    wrong = ["train", "--start", str(start), "--prove", "--rounds", "1", "--out", str(out)]
    wrong += ["--seed", "5"]
    assert exit_code(wrong) == 1 and "no proof after 1 round," in capsys.readouterr().out
    assert exit_code(wrong) == 2 and "--resume to go on or --force" in capsys.readouterr().err
    assert exit_code([*wrong, "--resume", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["rounds"] == 1
