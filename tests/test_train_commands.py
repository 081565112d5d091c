"""The verbs chat and compare."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyadder.cli import cli
from tinyadder.errors import TinyadderError
from tinyadder.io.files import lock
from tinyadder.io.folder import save
from tinyadder.tasks.addition_steps import AdditionSteps
from tinyadder.train.models import make_model
from tinyadder.train.recipe import ModelRecipe

BASELINES = Path(__file__).parent.parent / "baselines"


def chat(text: str, *arguments: str):
    return CliRunner().invoke(cli, ["chat", *(arguments or ("add10",))], input=text)


@pytest.mark.parametrize("last", ["quit\n", "EXIT\n", ""])
def test_chat_answers_and_ends_on_quit_exit_and_end_of_input(last):
    found = chat(f"2 3\n\n{last}")
    assert found.exit_code == 0 and found.stdout.split() == ["5"]


def test_chat_refuses_bad_input_kindly_and_goes_on():
    found = chat("two three\n12\n7 8\nquit\n")
    assert "'two' is not a whole number" in found.stderr and "this model adds 2" in found.stderr
    assert found.stdout.split() == ["15"] and "Traceback" not in found.output


def test_chat_says_when_an_answer_is_wrong():
    found = chat("4999999999 0\nquit\n", "add10_gist")
    assert found.stdout.strip() == "5000000000   (wrong: 4999999999)"


def test_chat_prints_json_lines():
    found = chat("4999999999 0\nquit\n", "add10_gist", "--json")
    assert json.loads(found.stdout) == {
        "problem": "4999999999 + 0",
        "reasoning": "",
        "answer": "5000000000",
        "expected": "4999999999",
        "correct": False,
    }


def test_chat_shows_the_reasoning(tmp_path, monkeypatch):
    import tinyadder.machine.answers

    task = AdditionSteps()
    save(make_model(ModelRecipe(width=8), task, 1), task, tmp_path / "m", name="x", options={})
    monkeypatch.setattr(
        tinyadder.machine.answers,
        "answers",
        lambda model, task, problems: [task.answer(problems[0])],
    )
    found = chat("658 189\nquit\n", str(tmp_path / "m"))
    assert found.stdout.splitlines() == ["8+9=17 5+8+1=14 6+1+1=8", "847"]


SMALL = """
[task]
name = "addition"
digits = 2
[model]
width = 8
layers = 1
heads = 1
d_head = 4
hidden = 8
[data]
examples = 200
validation = 5
test = 10
[train]
steps = 6
batch = 16
log_every = 3
check_every = 3
patience = 0
seeds = [1, 2]
"""


def train(folder: Path, *arguments: str):
    (folder / "small.toml").write_text(SMALL)
    return CliRunner().invoke(
        cli, ["train", str(folder / "small.toml"), "--out", str(folder / "out"), *arguments]
    )


def test_one_command_trains_several_seeds_and_leaves_what_is_there(tmp_path):
    found = train(tmp_path)
    assert found.exit_code == 0 and [line[:6] for line in found.stdout.splitlines()] == [
        "seed 1",
        "seed 2",
    ]
    again = train(tmp_path)
    assert (
        again.stderr.count("is there already; --force trains it again") == 2 and again.stdout == ""
    )


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch):
    from tinyadder.train.loop import Run

    advance = Run.advance

    def interrupted(self):
        if self.state.step == 4:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Run, "advance", interrupted)
    stopped = train(tmp_path, "--seed", "1")
    assert "seed 1: stopped at step 4; go on with --resume" in stopped.stderr
    monkeypatch.setattr(Run, "advance", advance)
    refused = train(tmp_path, "--seed", "1")
    assert "holds an unfinished run; give --resume to go on or --force to start again" in str(
        refused.exception
    )
    assert "6 steps" in train(tmp_path, "--seed", "1", "--resume").stdout
    assert (
        "holds no unfinished run; starting from step 0"
        in train(tmp_path, "--seed", "2", "--resume").stderr
    )


def test_starting_again_does_not_go_on_from_older_checkpoints(tmp_path, monkeypatch):
    old = tmp_path / "out" / "seed-1" / "checkpoints" / "checkpoint-00000900.safetensors"
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier run")
    assert "6 steps" in train(tmp_path, "--seed", "1", "--force").stdout
    assert not old.exists()


def test_a_second_run_into_the_same_folder_is_refused_and_named_the_first(tmp_path):
    with lock(tmp_path / "out" / "seed-1", "tinyadder train other"):
        refused = train(tmp_path, "--seed", "1")
    assert f"seed-1 is in use by process {os.getpid()} on" in str(refused.exception)
    assert "tinyadder train other; wait for it, or choose another --out" in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_and_a_model_to_start_from_are_not_both_gone_on_from(tmp_path):
    refused = train(tmp_path, "--resume", "--start", "somewhere")
    assert "--resume goes on from a checkpoint, --start MODEL from a model" in str(
        refused.exception
    )


def test_problems_are_written_as_jsonl_and_not_over_a_folder(tmp_path):
    path = tmp_path / "d"
    assert "200 problems" in train(tmp_path, "--data", str(path)).stdout
    first = (path / "train.jsonl").read_text().splitlines()[0]
    assert set(json.loads(first)) == {"problem", "prompt", "answer"}
    assert "exists; give --force" in str(train(tmp_path, "--data", str(path)).exception)
    assert not (tmp_path / "out").exists()


def test_a_picture_of_the_comparison_is_not_written_over_another(tmp_path):
    for name, said in (
        ("p.png", "exists; give --force to replace it"),
        ("p.doc", "does not say a format"),
    ):
        (tmp_path / name).write_text("mine")
        found = CliRunner().invoke(cli, ["compare", "add10", "--plot", str(tmp_path / name)])
        assert said in str(found.exception) and (tmp_path / name).read_text() == "mine"


def test_compare_puts_built_and_trained_models_side_by_side(tmp_path):
    trained = str(BASELINES / "addition3-reversed" / "seed-1" / "model")
    arguments = ["compare", "add10_gist", trained, "--problems", "50", "--samples", "50"]
    plain = CliRunner().invoke(cli, [*arguments, "--plot", str(tmp_path / "p.png")])
    assert plain.exit_code == 0, plain.output
    assert (
        "REFUTED" in plain.stdout
        and "built" in plain.stdout
        and (tmp_path / "p.png").stat().st_size > 1000
    )
    rows = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).stdout)
    assert [row["training cpu seconds"] is None for row in rows] == [True, False]
    assert rows[1]["counts"]["stored"] == 7120 and rows[0]["hard"] < 1.0 == rows[0]["random"]
    assert "add10_gist: REFUTED" in plain.stdout and "addition3-reversed/seed-1" in plain.stdout


def test_models_of_different_tasks_are_not_compared(tmp_path):
    from tinyadder.tasks.derivative import Derivative

    save(
        make_model(ModelRecipe(width=8), Derivative(), 1),
        Derivative(),
        tmp_path / "m",
        name="x",
        options={},
    )
    with pytest.raises(TinyadderError, match="do different tasks: addition, derivative"):
        CliRunner().invoke(
            cli,
            ["compare", "add10", str(tmp_path / "m"), "--problems", "3", "--samples", "0"],
            catch_exceptions=False,
        )


@pytest.mark.parametrize(
    "folder", sorted(BASELINES.glob("*/seed-*")), ids=lambda f: f"{f.parent.name}/{f.name}"
)
def test_every_committed_baseline_loads_and_is_what_its_evaluation_describes(folder):
    from tinyadder.io.folder import load
    from tinyadder.train.evaluate import recipe_of, test_problems
    from tinyadder.train.models import parameters_of
    from tinyadder.train.validation import exact_match

    model, described = load(folder / "model")
    found = json.loads((folder / "evaluation.json").read_text())
    recipe = recipe_of(described.options, str(folder))
    assert recipe is not None
    assert found["counts"]["stored"] == parameters_of(model)
    assert found["task"] == described.task.to_json() | {"options": found["task"]["options"]}
    assert (folder / "model" / "model.safetensors").stat().st_size < 1_000_000
    assert (folder / "log.jsonl").read_text().count("\n") > 3
    problems = test_problems(described.task, recipe, count=100, seed=1)
    assert abs(exact_match(model, described.task, problems) - found["score"]["exact"]) < 0.15
