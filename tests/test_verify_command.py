"""`tinyadder verify`: the verdict line, the report below it, JSON, exit codes."""

import json
import shlex
import subprocess
import sys

import pytest

from tests.in_process import run


def test_the_published_adder_ends_refuted_with_a_small_sum_and_exit_code_1(capsys):
    code, out, err = run(capsys, "verify", "add10_gist")
    assert code == 1 and err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["public", "suite", "10,010", "asked,", "0", "wrong"]
    assert lines[1].startswith("           hard cases")
    assert lines[2] == "REFUTED    49999998 + 0   expected 00049999998, model 00050000000"
    assert lines[3].startswith(
        "           where      answer token 4 of 11: '5' for '4'; teacher-forced agrees"
    )
    said = [line.split()[0] for line in lines[3:]]
    assert said == ["where", "logits", "remainder", "cause", "batches", "replay"]


def test_the_replay_line_shows_the_wrong_answer_again(capsys):
    _, out, _ = run(capsys, "verify", "add10_gist", "--json")
    words = shlex.split(json.loads(out)["replay"])
    assert words[:3] == ["tinyadder", "run", "add10_gist"]
    _, answer, _ = run(capsys, *words[1:])
    assert answer.strip() == "50000000"


def test_json_holds_verdict_parts_and_report(capsys):
    code, out, _ = run(capsys, "verify", "add10_gist", "--json")
    found = json.loads(out)
    assert code == 1 and found["verdict"] == "refuted" and found["model"] == "add10_gist"
    assert found["counterexample"]["problem"] == [49999998, 0]
    assert found["report"]["cause"] == "algorithm" and found["report"]["margin"] < 0
    assert [part["name"] for part in found["parts"]] == ["public suite", "hard cases"]


def test_a_right_adder_is_sampled_with_exit_code_0(capsys):
    code, out, _ = run(
        capsys,
        "verify",
        "add10_95",
        "--digits",
        "4",
        "--count",
        "1000",
        "--examples",
        "10",
        "--seed",
        "5",
    )
    assert code == 0
    assert out.splitlines()[-1].startswith("SAMPLED    ") and out.endswith("seed 5: 0 wrong\n")


def test_a_small_adder_is_asked_everything(capsys):
    code, out, _ = run(capsys, "verify", "add10", "--digits", "2")
    assert code == 0
    assert (
        out.splitlines()[-1]
        == "EXHAUSTIVE all 10,000 pairs of numbers of at most 2 digits: 0 wrong"
    )
    code, out, _ = run(capsys, "verify", "add10", "--digits", "1", "--json")
    found = json.loads(out)
    assert code == 0 and found["verdict"] == "exhaustive" and found["count"] == 100
    assert found["report"] is None and found["replay"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["add10_hist"],
            "error: unknown construction 'add10_hist'; did you mean 'add10_gist'? (tinyadder list)",
        ),
        (
            ["add10", "--count", "0"],
            "error: Invalid value for '--count': 0 is not in the range x>=1"
            " (tinyadder verify --help)",
        ),
        (
            ["add10", "--digits", "14"],
            "error: add10 with 14 digits: float64 keeps it exact for 1 .. 13 digits",
        ),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2(capsys, arguments, said):
    code, out, err = run(capsys, "verify", *arguments)
    assert (code, out, err.strip()) == (2, "", said)


def test_a_built_folder_is_verified_and_its_replay_names_the_folder(capsys, tmp_path):
    folder = tmp_path / "my model"
    run(capsys, "build", "add10_gist", "--out", str(folder))
    code, out, _ = run(capsys, "verify", str(folder), "--json")
    found = json.loads(out)
    assert code == 1 and shlex.split(found["replay"])[2] == str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["add10", "add10_95"])
def test_two_hundred_thousand_structured_pairs_are_right(name):
    done = subprocess.run(
        [sys.executable, "-m", "tinyadder", "verify", name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "structured         200,000 asked, 0 wrong" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("SAMPLED    21")
