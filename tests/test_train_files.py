"""Problems in files: two texts, JSON lines, leaks; --set; fresh problems for a trained model."""

import json
import tomllib
from importlib.resources import files
from random import Random

import pytest
from click.testing import CliRunner

from tinyadder.cli import cli
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import save
from tinyadder.tasks.derivative import Derivative
from tinyadder.train.data import held_out_problems, training_problems
from tinyadder.train.deal import Dealer
from tinyadder.train.evaluate import problems_beyond
from tinyadder.train.evaluate import test_problems as problems_of_test
from tinyadder.train.files import problem_lines, read_problems
from tinyadder.train.models import make_model
from tinyadder.train.recipe import KEYS, read_recipe, recipe_from, recipe_names

TASK = Derivative(exponents=3, order="printed")
DATA = {
    "task": {"name": "derivative", "exponents": 3, "order": "printed"},
    "model": {"width": 4, "layers": 1, "heads": 1, "d_head": 2, "hidden": 2},
    "data": {"distribution": "balanced", "examples": 50, "validation": 20, "test": 40},
    "train": {"steps": 2},
}


def recipe(**data):
    return recipe_from({**DATA, "data": {**DATA["data"], **data}}, name="r", where="r.toml")


def texts(folder, problems, task=TASK):
    """inputs.txt and outputs.txt, as published data has them."""
    inputs, outputs = folder / "inputs.txt", folder / "outputs.txt"
    inputs.write_text("".join(f"{task.show(p)}\n" for p in problems))
    outputs.write_text("".join(f"{task.show_answer(task.answer(p))}\n" for p in problems))
    return str(inputs), str(outputs)


def test_problems_and_answers_in_two_texts_are_read_and_compared(tmp_path):
    problems = TASK.balanced(Random(1), 30)
    inputs, outputs = texts(tmp_path, problems)
    assert read_problems(TASK, inputs, outputs) == read_problems(TASK, inputs) == problems
    lines = (tmp_path / "outputs.txt").read_text().splitlines()
    (tmp_path / "outputs.txt").write_text("\n".join([*lines[:-1], "7x^9"]) + "\n")
    with pytest.raises(TinyadderError, match=r"outputs.txt, line 30: 7x\^9 is not the answer to"):
        read_problems(TASK, inputs, outputs)
    (tmp_path / "outputs.txt").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(TinyadderError, match=r"has 29 lines and .*inputs.txt 30"):
        read_problems(TASK, inputs, outputs)
    with pytest.raises(TinyadderError, match=r"inputs.txt, line 1: .*coefficients go from -1 to 1"):
        (tmp_path / "inputs.txt").write_text("3x\n")
        read_problems(Derivative(coefficients=1), inputs)


def test_training_reads_two_texts_and_refuses_or_drops_what_is_held_out(tmp_path):
    drawn = recipe()
    problems = training_problems(drawn, 1)
    inputs, outputs = texts(tmp_path, problems)
    read = recipe(file=inputs, answers=outputs)
    assert training_problems(read, 1) == problems
    one, other = Dealer(drawn, 1).batch(0), Dealer(read, 1).batch(0)
    assert (one.tokens == other.tokens).all()
    twin = held_out_problems(drawn, "test")[0]
    twin = ((twin[0] + 1) % 5, *twin[1:])  # another constant, the same answer
    texts(tmp_path, [*problems, twin])
    with pytest.raises(TinyadderError, match=r"leaking data: 1 problems of 'test'.*leaks = 'drop'"):
        Dealer(recipe(file=inputs, answers=outputs, examples=51), 1).batch(0)
    dropped = recipe(file=inputs, answers=outputs, leaks="drop")
    assert training_problems(dropped, 1) == problems
    with pytest.raises(TinyadderError, match="holds 50 problems that are not held out"):
        training_problems(recipe(file=inputs, leaks="drop", examples=51), 1)


def test_three_files_are_written_and_read_again(tmp_path):
    (tmp_path / "r.toml").write_text(
        '[task]\nname = "derivative"\nexponents = 3\norder = "printed"\n'
        '[data]\ndistribution = "balanced"\nexamples = 50\nvalidation = 20\ntest = 40\n'
    )
    words = ["train", str(tmp_path / "r.toml"), "--data", str(tmp_path / "d")]
    said = CliRunner().invoke(cli, words)
    assert said.exit_code == 0 and "test.jsonl: 40 problems; --set test_file=" in said.output
    settings = [
        f"{key}={tmp_path}/d/{name}.jsonl"
        for key, name in (
            ("file", "train"),
            ("validation_file", "validation"),
            ("test_file", "test"),
        )
    ]
    read = read_recipe(str(tmp_path / "r.toml"), settings)
    drawn = read_recipe(str(tmp_path / "r.toml"))
    for split in ("validation", "test"):
        assert held_out_problems(read, split) == held_out_problems(drawn, split)
    assert training_problems(read, 1) == training_problems(drawn, 1)
    assert problems_of_test(TASK, read, count=9, seed=None) == held_out_problems(drawn, "test")[:9]
    with pytest.raises(TinyadderError, match="cannot read"):
        (tmp_path / "d" / "test.jsonl").unlink()
        held_out_problems(read, "test")


def test_a_seed_draws_other_held_out_problems_none_of_which_training_showed(tmp_path):
    one, other, again = (
        problems_of_test(TASK, recipe(), count=200, seed=seed) for seed in (None, 5, 5)
    )
    assert other == again != one
    shown = {TASK.split_key(p) for p in training_problems(recipe(examples=5000), 1)}
    assert not shown & {TASK.split_key(p) for p in other}
    (tmp_path / "p.jsonl").write_text(problem_lines(TASK, other[:60]))
    from_file = recipe(file=str(tmp_path / "p.jsonl"))
    left = problems_of_test(TASK, from_file, count=200, seed=5)
    assert left and not {TASK.split_key(p) for p in other[:60]} & set(map(TASK.split_key, left))
    with pytest.raises(TinyadderError, match="cannot read"):
        problems_of_test(TASK, recipe(file="gone.jsonl"), count=200, seed=5)


def test_evaluate_takes_a_seed_two_texts_and_options_of_the_task(tmp_path, monkeypatch):
    monkeypatch.setattr("tinyadder.commands.evaluate.LEGALITY", 2)
    made = recipe()
    folder = tmp_path / "model"
    facts = {"recipe": made.to_json(), "seed": 1}
    save(make_model(made.model, TASK, 1), TASK, folder, name="r", options=facts)
    wide = Derivative(coefficients=8, exponents=3, order="printed")
    inputs, outputs = texts(tmp_path, [(1, 8, 0, 0), (0, 0, -7, 1)], wide)
    words = ["evaluate", str(folder), "--samples", "0", "--json", "--problems", "40"]

    def run(*more):
        return CliRunner().invoke(cli, [*words, *more])

    seeded = [json.loads(run("--seed", s).output) for s in ("3", "4")]
    assert seeded[0]["problems"] == "test split of its recipe, drawn with seed 3"
    assert all("--seed" in found["command"] for found in seeded)
    found = run("--file", inputs, "--answers", outputs, "--set", "coefficients=8")
    assert json.loads(found.output)["score"]["problems"] == 2
    refused = run("--file", inputs, "--answers", outputs)
    assert "coefficients go from -5 to 5" in str(refused.exception)
    assert "other tokens" in str(run("--set", "name=1").exception) or run("--set", "x=1").exception
    assert (
        run("--answers", outputs).exit_code == run("--file", inputs, "--seed", "1").exit_code == 2
    )
    splits = json.loads(run("--splits").output)["splits"]
    assert splits["wider"]["problems"] == 40


def test_problems_beyond_have_a_number_that_training_never_has():
    for problem in problems_beyond(TASK, TASK.wider, 100):
        assert 5 < max(map(abs, problem)) <= 8


def test_values_of_a_recipe_are_set_by_key_or_by_section_and_key():
    read = read_recipe("derivative", ["steps=9", "model.heads=2", "norm=layer", "task.exponents=4"])
    assert (read.train.steps, read.model.heads, read.model.options.norm) == (9, 2, "layer")
    assert read.task.exponents == 4 and read_recipe("derivative").train.steps == 7000
    for text, said in (
        ("steps", "is not KEY=VALUE"),
        ("stepz=3", "no section has a key 'stepz'.*did you mean 'steps'"),
        ("steps=many", r"\[train\] steps='many', expected"),
        ("train.width=3", r"\[train\] has no key 'width'"),
        ("fog.width=3", "unknown section 'fog'"),
        ("seed=a=b", r"\[data\] seed='a=b'"),
    ):
        with pytest.raises(TinyadderError, match=said):
            read_recipe("derivative", [text])


OWN_DATA = {"answers", "file", "leaks", "test_file", "validation_file"}
"""What only a user's own files need; tried above."""
KEPT = {"self_fed", "temperature", "projected", "dtype"}
"""The seed's Gumbel training, measured in benchmarks/options.json; a choice of written programs;
float64, in which gradients are compared (tests/test_fused.py)."""


def unused(recipes):
    """Keys of sections that no recipe sets."""
    used = {
        key
        for data in recipes
        for table in data.values()
        if isinstance(table, dict)
        for key in table
    }
    return sorted(set().union(*KEYS.values()) - used - OWN_DATA - KEPT)


def test_every_option_of_a_recipe_is_set_by_a_committed_recipe():
    folder = files("tinyadder") / "recipes"
    recipes = [tomllib.loads((folder / f"{name}.toml").read_text()) for name in recipe_names()]
    assert unused(recipes) == []
    assert unused([data for data in recipes if "derivax" not in data["summary"]]) != []
