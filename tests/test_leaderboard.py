"""The leaderboard says what was measured of these very weights; what is committed of it is true."""

import json
from pathlib import Path

import pytest

from tinyadder.compile import build
from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from verify import leaderboard
from verify.count import ladder
from verify.leaderboard import Model, between_marks, own_models, public_field, row, said_verdict
from verify.results import read_results, result, write_result

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def adder():
    made = construct("add10")
    return Model("add10", build(made.program), made.task, False, None)


def sampled(model, count=7, options=None):
    data = {"verdict": {"verdict": "sampled", "count": count, "seed": 0}}
    return result(model, "add10", options or {}, "verified", data, command="a test", seed=0)


def test_a_result_holds_for_the_weights_it_was_found_for_and_no_others(adder, tmp_path):
    write_result(sampled(adder.model), tmp_path)
    assert [v["count"] for v in row(adder, read_results(tmp_path)).verdicts()] == [7]
    other = construct("add10", digits=4)
    write_result(sampled(build(other.program)), tmp_path, force=True)  # says add10, is about other weights
    assert row(adder, read_results(tmp_path)).verdicts() == []


def test_a_result_at_other_options_is_shown_with_them_and_last(adder, tmp_path):
    small = build(construct("add10", digits=2).program)
    data = {"verdict": {"verdict": "exhaustive", "count": 10_000, "domain": "the pairs"}}
    write_result(
        result(small, "add10", {"digits": 2}, "exhaustive", data, command="a test"), tmp_path, label="-digits2"
    )
    write_result(sampled(adder.model), tmp_path)
    said = [said_verdict(v) for v in row(adder, read_results(tmp_path)).verdicts()]
    assert said == ["**sampled**: 7, 0 wrong", "**exhaustive** with digits=2: all 10,000 of the pairs"]


def test_a_refuted_model_shows_its_counterexample_and_nothing_else(adder, tmp_path):
    wrong = {"verdict": "refuted", "counterexample": {"shown": "1 + 1", "got": "3", "expected": "2"}}
    write_result(result(adder.model, "add10", {}, "hard", {"verdict": wrong}, command="a test"), tmp_path)
    write_result(sampled(adder.model), tmp_path)
    (verdict,) = row(adder, read_results(tmp_path)).verdicts()
    assert said_verdict(verdict) == "**refuted**: 1 + 1 gives 3, not 2"


def test_results_are_not_overwritten_unasked_and_damaged_ones_are_said(adder, tmp_path):
    path = write_result(sampled(adder.model), tmp_path)
    with pytest.raises(TinyadderError, match="--force"):
        write_result(sampled(adder.model, count=8), tmp_path)
    assert read_results(tmp_path)[0].data["verdict"]["count"] == 7
    path.write_text("{}")
    with pytest.raises(TinyadderError, match="does not hold a result"):
        read_results(tmp_path)


def test_a_fresh_measurement_has_every_part(adder, tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "SAMPLES", 50)
    monkeypatch.setattr(leaderboard, "EXAMPLES", 5)
    monkeypatch.setattr(leaderboard, "LEGAL", 10)
    monkeypatch.setattr(leaderboard, "DECODED", 20)
    made = construct("add10", digits=1)
    small = Model("add10", build(made.program), made.task, True, Path("a folder"))  # trained: no proof is looked for
    leaderboard.measure(small, tmp_path)
    found = row(small, read_results(tmp_path))
    assert {r.kind for r in found.results} == {"verified", "legality", "times"}
    assert found.verdicts()[0]["verdict"] == "exhaustive"
    assert "8 of 8 pass" in leaderboard.verdict_table([found])


def test_the_public_field_stays_apart_and_is_marked_as_claims(adder):
    assert len(public_field()) == 52 and public_field()[0]["params_claimed"] == "6*"
    ours, field = leaderboard.report_markdown([row(adder, [])]).split("## The public field, as claimed")
    assert "zcbtrak" in field and "zcbtrak" not in ours
    assert "Nothing here was measured" in field and "add10" not in field


def test_only_what_stands_between_the_marks_is_replaced():
    text = "before\n<!-- leaderboard -->\nold\n<!-- /leaderboard -->\nafter\n"
    assert between_marks(text, "new") == text.replace("old", "new")
    assert between_marks("no marks", "new") == "no marks"


def test_an_unknown_name_is_said():
    with pytest.raises(TinyadderError, match="has no 'add11'"):
        own_models(ROOT / "nowhere", ["add11"])


# ---- what is committed ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return json.loads((ROOT / "LEADERBOARD.json").read_text())


@pytest.mark.parametrize("name", construction_names())
def test_the_committed_counts_are_true(name, committed):
    (entry,) = [model for model in committed["models"] if model["name"] == name]
    model = build(construct(name).program)
    assert {rung: entry["counts"][rung] for rung in ladder(model)} == ladder(model)  # after a change: tinyadder report


def test_the_committed_table_says_what_the_committed_data_say(committed):
    text = (ROOT / "LEADERBOARD.md").read_text()
    for model in committed["models"]:
        cells = [f"{model['counts'][rung]:,}" for rung in leaderboard.SHOWN]
        assert f"| {model['name']} | {model['task']} | {' | '.join(cells)} |" in text
        refuted = [v["counterexample"]["shown"] for v in model["verdicts"] if v["verdict"] == "refuted"]
        assert not refuted or any(f"**refuted**: {shown} gives" in text for shown in refuted)


def test_long_numbers_are_short_in_the_table():
    proved = {"verdict": "proved", "domain": "all 100,000,000,000,000,000,000 problems"}
    assert said_verdict(proved) == "**proved**: all 10^20 problems"
    assert said_verdict({**proved, "domain": "all 47,045,881 of them"}) == "**proved**: all 47,045,881 of them"
    assert "all about 5e+19 problems" in said_verdict({**proved, "domain": "all 50,000,000,005,000,000,000 problems"})


def test_the_readme_shows_the_same_counts(committed):
    text = (ROOT / "README.md").read_text()
    if leaderboard.MARKS[0] in text:
        for model in (m for m in committed["models"] if not m["trained"]):
            counts = model["counts"]
            assert (
                f"| `{model['name']}` | {model['task']} | {counts['nonzero']} | {counts['nonzero + positional']} |"
                in text
            )
