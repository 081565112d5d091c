"""The verbs exhaust, legality and claims: results on standard output, progress beside it, exit
codes, JSON.
"""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyadder.commands.claims import command as claims
from tinyadder.commands.exhaust import command as exhaust
from tinyadder.commands.legality import command as legality
from tinyadder.commands.prove import command as prove
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import save
from tinyadder.machine.compile import build
from tinyadder.report.certificates import certificate_file, recheck
from tinyadder.report.results import read_results
from tinyadder.verify.verdict import Proved


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(command, *arguments):
    return CliRunner().invoke(command, [*arguments], catch_exceptions=False, standalone_mode=True)


def test_exhaust_says_what_was_tried_and_how_and_keeps_the_result(tmp_path):
    done = run(exhaust, "add10", "--digits", "2", "--save")
    assert done.stdout.startswith(
        "EXHAUSTIVE all 10,000 pairs of numbers of at most 2 digits: 0 wrong"
    )
    assert "teacher-forced" in done.stdout and "10,000 of 10,000" in done.stderr
    (kept,) = read_results(tmp_path / "results")
    assert (kept.model, kept.options) == ("add10", {"digits": 2})
    assert kept.command == "tinyadder exhaust add10 -o digits=2"
    assert kept.data["verdict"] == {
        "verdict": "exhaustive",
        "domain": "the pairs of numbers of at most 2 digits",
        "count": 10_000,
    }


def test_a_trained_model_is_tried_on_every_problem_and_the_result_bears_its_seed(tmp_path):
    baselines = Path(__file__).parent.parent / "baselines"
    run(
        exhaust,
        str(baselines / "addition3-reasoning" / "seed-1" / "model"),
        "--within",
        "digits=1",
        "--save",
    )
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["addition3-reasoning.jsonl"]
    (kept,) = read_results(tmp_path / "results")
    assert (kept.model, kept.data["count"]) == ("addition3-reasoning/seed-1", 100)
    assert (kept.options, kept.limits) == ({}, {"digits": 1})


def test_exhaust_of_a_part_of_the_domain_keeps_the_format():
    data = json.loads(run(exhaust, "add10_gist", "--within", "digits=1", "--json").stdout)
    assert (data["count"], data["wrong"], data["verdict"]["verdict"]) == (100, 0, "exhaustive")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add10"], "too many to try"),
        (["add10", "--within", "4"], "expected LIMIT=N"),
        (["add10", "--within", "digits=11"], "digits=11 was given"),
        (["add11"], "did you mean"),
    ],
)
def test_exhaust_refuses_in_one_line(arguments, said):
    with pytest.raises(TinyadderError, match=said):
        run(exhaust, *arguments)


def test_legality_lists_every_check():
    done = run(legality, "add10", "--digits", "2", "--problems", "20")
    lines = done.stdout.splitlines()
    assert len(lines) == 9 and all(line.startswith("ok ") for line in lines[:8])
    assert lines[8] == "add10 (digits=2): no check of 8 fails"


def test_claims_prints_the_largest_errors_of_each_lane(tmp_path):
    done = run(claims, "add10", "--digits", "3", "--problems", "10")
    *lanes, read = done.stdout.splitlines()[2:]
    assert [line.split()[0] for line in lanes] == ["digit", "flag", "weight", "product", "rest"]
    assert read.startswith(
        "read from the claims alone: 0 of 40 answer tokens wrong, smallest lead "
    )
    data = json.loads(run(claims, "add10", "--digits", "3", "--problems", "10", "--json").stdout)
    assert data["problems"] == 10 and data["lanes"][1]["absolute"] == 0
    with pytest.raises(TinyadderError, match="claims nothing"):
        made = construct("add10", digits=2)
        save(
            build(made.program), made.task, tmp_path / "model", name="add10", options={"digits": 2}
        )
        run(claims, str(tmp_path / "model"))


def test_prove_keeps_the_verdict_with_its_options_and_replaces_it_only_when_told(
    tmp_path, monkeypatch
):
    run(prove, "multiply", "-o", "digits=1", "-o", "second=1", "--save")
    (kept,) = read_results(tmp_path / "results")
    assert kept.command == "tinyadder prove multiply -o digits=1 -o second=1"
    assert kept.options == {"digits": 1, "second": 1}
    assert kept.data["verdict"]["verdict"] == "proved"
    made = construct("multiply", **kept.options)
    certificate = certificate_file(tmp_path / "results", kept.model, kept.options)
    assert isinstance(recheck(build(made.program), made.task, certificate), Proved)
    assert kept.data["verdict"]["domain"].startswith("all 100 problems of multiplication")
    already = "'proved' of multiply, digits=1, second=1 already; give --force"
    monkeypatch.setattr("tinyadder.verify.certify.prove.certify", None)  # refused before the work
    with pytest.raises(TinyadderError, match=already):
        run(prove, "multiply", "-o", "digits=1", "-o", "second=1", "--save")
