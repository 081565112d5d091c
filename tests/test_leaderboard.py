"""The leaderboard says what was measured of these very weights; what is committed of it is true."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinyadder.commands.report import repeat_sweeps
from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.machine.compile import build
from tinyadder.report import leaderboard
from tinyadder.report import tables as leaderboard_tables
from tinyadder.report.leaderboard import Entry, LeaderboardRow, own_models, public_field, row
from tinyadder.report.results import read_results, result, write_result
from tinyadder.report.tables import (
    between_marks,
    format_verdict,
    groups,
    mean_and_worst,
    mean_counts,
    percent,
    whole,
)
from tinyadder.verify.certify.spec import NoSpecification, specifications
from tinyadder.verify.count import ladder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def adder():
    made = construct("add10")
    return Entry("add10", build(made.program), made.task, False, None)


def sampled(model, count=7, options=None):
    data = {"verdict": {"verdict": "sampled", "count": count, "seed": 0}}
    return result(model, "add10", options or {}, "verified", data, command="a test", seed=0)


def test_a_result_holds_for_the_weights_it_was_found_for_and_no_others(adder, tmp_path):
    write_result(sampled(adder.model), tmp_path)
    assert [v["count"] for v in row(adder, read_results(tmp_path)).verdicts()] == [7]
    other = construct("add10", digits=4)
    write_result(
        sampled(build(other.program)), tmp_path, force=True
    )  # says add10, is about other weights
    assert row(adder, read_results(tmp_path)).verdicts() == []


def test_a_result_at_other_options_is_shown_with_them_and_last(adder, tmp_path):
    small = build(construct("add10", digits=2).program)
    data = {"verdict": {"verdict": "exhaustive", "count": 10_000, "domain": "the pairs"}}
    write_result(
        result(small, "add10", {"digits": 2}, "exhaustive", data, command="a test"),
        tmp_path,
        label="-digits2",
    )
    write_result(sampled(adder.model), tmp_path)
    said = [format_verdict(v) for v in row(adder, read_results(tmp_path)).verdicts()]
    assert said == [
        "**sampled**: 7, 0 wrong",
        "**exhaustive** with digits=2: all 10,000 of the pairs",
    ]


def test_a_refuted_model_shows_its_counterexample_and_nothing_else(adder, tmp_path):
    wrong = {
        "verdict": "refuted",
        "counterexample": {"shown": "1 + 1", "got": "3", "expected": "2"},
    }
    write_result(
        result(adder.model, "add10", {}, "hard", {"verdict": wrong}, command="a test"), tmp_path
    )
    write_result(sampled(adder.model), tmp_path)
    (verdict,) = row(adder, read_results(tmp_path)).verdicts()
    assert format_verdict(verdict) == "**refuted**: 1 + 1 gives 3, not 2"


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
    small = Entry(
        "add10", build(made.program), made.task, True, Path("a folder")
    )  # trained: no proof is looked for
    leaderboard.measure(small, tmp_path)
    found = row(small, read_results(tmp_path))
    assert {r.kind for r in found.results} == {"verified", "legality", "times"}
    assert found.verdicts()[0]["verdict"] == "exhaustive"
    assert "8 of 8 pass" in leaderboard_tables.verdict_table([found])


def test_a_recorded_sweep_is_repeated_by_the_command_it_records(adder, tmp_path):
    small = build(construct("add10", digits=1).program)
    planted = {"verdict": {"verdict": "exhaustive", "count": 7, "domain": "nothing at all"}}
    said = "tinyadder exhaust add10 -o digits=1"
    write_result(
        result(small, "add10", {"digits": 1}, "exhaustive", planted, command=said),
        tmp_path / "results",
        label="-digits1",
    )
    repeat_sweeps(read_results(tmp_path / "results"), tmp_path)
    (found,) = read_results(tmp_path / "results")
    assert (found.data["count"], found.data["wrong"], found.command) == (100, 0, said)


def test_an_exhaustive_result_about_a_part_says_so_and_is_not_the_verdict_about_the_model(
    adder, tmp_path
):
    data = {
        "verdict": {
            "verdict": "exhaustive",
            "count": 10**4,
            "domain": "the pairs of at most 2 digits",
        }
    }
    write_result(
        result(adder.model, "add10", {}, "exhaustive", data, command="a test"),
        tmp_path,
        label="-digits2",
    )
    found = row(adder, read_results(tmp_path))
    assert found.strongest == "none yet"
    write_result(sampled(adder.model), tmp_path)
    found = row(adder, read_results(tmp_path))
    assert found.strongest == "sampled"
    assert [format_verdict(v) for v in found.verdicts()] == [
        "**sampled**: 7, 0 wrong",
        "**exhaustive** on a part (10^20 in all): all 10,000 of the pairs of at most 2 digits",
    ]


def test_a_proof_at_other_options_is_shown_with_them_and_lends_no_margin(adder, tmp_path):
    small = build(construct("add10", digits=2).program)
    data = {
        "verdict": {
            "verdict": "proved",
            "margin": 0.25,
            "domain": "all 10,000 problems of addition (digits=2)",
        }
    }
    write_result(
        result(small, "add10", {"digits": 2}, "proved", data, command="a test"),
        tmp_path,
        label="-digits2",
    )
    table = leaderboard_tables.verdict_table([row(adder, read_results(tmp_path))])
    assert "**proved** with digits=2: all 10,000 problems" in table and "0.25" not in table


def test_how_many_are_wrong_is_said_where_somebody_counted(adder, tmp_path):
    wrong = {
        "verdict": "refuted",
        "counterexample": {"shown": "1 + 1", "got": "3", "expected": "2"},
    }
    write_result(
        result(adder.model, "add10", {}, "verified", {"verdict": wrong}, command="a test"), tmp_path
    )
    write_result(
        result(adder.model, "add10", {}, "failures", {"share": [1e-7, 2e-7]}, command="a test"),
        tmp_path,
    )
    (verdict,) = row(adder, read_results(tmp_path)).verdicts()
    assert format_verdict(verdict).endswith(
        "not 2; between 1e-07 and 2e-07 of all problems are wrong"
    )
    counted = {"verdict": wrong, "wrong": 75, "count": 1000, "domain": "the pairs"}
    write_result(
        result(adder.model, "add10", {}, "exhaustive", counted, command="a test"), tmp_path
    )
    (verdict,) = row(adder, read_results(tmp_path)).verdicts()
    assert format_verdict(verdict).endswith("not 2; 75 of 1,000 are wrong (the pairs)")


def test_a_task_without_a_specification_is_said_in_few_words():
    reason = "task 'conversion' has no specification automaton (there are: addition, comparison)"
    said = format_verdict({"verdict": "unknown", "reason": reason})
    assert said == "**unknown** whether provable: no specification for this task"
    with pytest.raises(NoSpecification, match=leaderboard_tables.NO_SPECIFICATION):
        specifications(SimpleNamespace(name="gardening"))
    assert "too uncertain" in format_verdict(
        {"verdict": "unknown", "reason": "the scores are too uncertain"}
    )


# ---- seeds ---------------------------------------------------------------------------------------


def seeds(adder, verdicts, exact):
    """Trained rows of one recipe with these verdicts and held-out accuracies."""
    counts = dict.fromkeys(leaderboard_tables.SHOWN, 100)
    return [
        LeaderboardRow(
            f"small/seed-{i}",
            True,
            "addition",
            {**counts, "nonzero": 100 + i},
            "",
            (
                result(
                    adder.model,
                    f"small/seed-{i}",
                    {},
                    "verified",
                    {"verdict": verdict},
                    command="a test",
                ),
            ),
            {
                "held out": {"problems": 9, "exact": e},
                "hard cases": {"problems": 9, "exact": 1.0},
                "training cpu seconds": 10.0 * i,
            },
        )
        for i, (verdict, e) in enumerate(zip(verdicts, exact, strict=True), start=1)
    ]


def test_seeds_of_a_recipe_stand_on_one_line_with_mean_and_worst(adder):
    good = {"verdict": "sampled", "count": 7, "seed": 0}
    bad = {"verdict": "refuted", "counterexample": {"shown": "1 + 1", "got": "3", "expected": "2"}}
    rows = seeds(adder, [good, bad, good], [1.0, 0.5, 1.0])
    (group,) = groups(rows)
    assert (group.label, group.strongest) == ("small (3 seeds)", "refuted")
    line = leaderboard_tables.trained_table(rows).splitlines()[-1]
    assert (
        line
        == "| small (3 seeds) | **sampled**, 2 of 3 seeds; seed 1: 7, 0 wrong; **refuted**, 1 of 3"
        " seeds; seed 2: 1 + 1 gives 3, not 2 | 83.33% (worst 50.00%) | 100.00% | not checked |"
        " 20 (worst 30) |  |"
    )
    assert (
        "| small (3 seeds) | addition | 102 (worst 103) | 100 |"
        in leaderboard_tables.counts_table(rows)
    )
    assert mean_counts([(r.name, True, r.counts) for r in rows])["small"][1]["nonzero"] == 102
    assert groups(rows[:1])[0].label == "small (seed 1)"


def test_an_accuracy_is_cut_so_that_100_percent_means_all():
    assert (percent(0.99999), percent(1.0), percent(0.7715)) == ("99.99%", "100.00%", "77.15%")
    assert mean_and_worst([3.0, 3.0], whole) == "3"


def test_the_public_field_stays_apart_and_is_marked_as_claims(adder):
    assert len(public_field()) == 52 and public_field()[0]["params_claimed"] == "6*"
    ours, field = leaderboard_tables.report_markdown([row(adder, [])]).split(
        "## The public field, as claimed"
    )
    assert "zcbtrak" in field and "zcbtrak" not in ours
    assert "Nothing here was measured" in field and "add10" not in field


def test_only_what_stands_between_the_marks_is_replaced():
    text = "before\n<!-- leaderboard -->\nold\n<!-- /leaderboard -->\nafter\n"
    assert between_marks(text, "leaderboard", "new") == text.replace("old", "new")
    assert between_marks(text, "others", "new") == text


def test_an_unknown_name_is_said():
    with pytest.raises(TinyadderError, match="has no 'add11'"):
        own_models(ROOT / "nowhere", ["add11"])


# ---- what is committed ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return json.loads((ROOT / "LEADERBOARD.json").read_text())


@pytest.mark.parametrize("name", construction_names())
def test_the_committed_counts_are_true(name, committed):
    (entry,) = [model for model in committed["models"] if model["name"] == name]
    model = build(construct(name).program)
    assert {rung: entry["counts"][rung] for rung in ladder(model)} == ladder(
        model
    )  # after a change: tinyadder report


def test_the_committed_table_says_what_the_committed_data_say(committed):
    text = (ROOT / "LEADERBOARD.md").read_text()
    for model in committed["models"]:
        cells = [f"{model['counts'][rung]:,}" for rung in leaderboard_tables.SHOWN]
        assert (
            model["trained"]
            or f"| {model['name']} | {model['task']} | {' | '.join(cells)} |" in text
        )
        assert leaderboard.recipe_of(model["name"]) in text
        refuted = [
            v["counterexample"]["shown"] for v in model["verdicts"] if v["verdict"] == "refuted"
        ]
        assert (
            model["trained"]
            or not refuted
            or any(f"**refuted**: {shown} gives" in text for shown in refuted)
        )


def test_long_numbers_are_short_in_the_table():
    proved = {"verdict": "proved", "domain": "all 100,000,000,000,000,000,000 problems"}
    assert format_verdict(proved) == "**proved**: all 10^20 problems"
    assert (
        format_verdict({**proved, "domain": "all 47,045,881 of them"})
        == "**proved**: all 47,045,881 of them"
    )
    assert "all about 5e+19 problems" in format_verdict(
        {**proved, "domain": "all 50,000,000,005,000,000,000 problems"}
    )


def test_the_readme_shows_the_same_counts(committed):
    text = (ROOT / "README.md").read_text()
    assert "<!-- leaderboard -->" in text and "<!-- ten-digit addition -->" in text
    for model in (m for m in committed["models"] if not m["trained"]):
        counts = f"{model['counts']['nonzero']} | {model['counts']['nonzero + positional']} |"
        assert f"| `{model['name']}` | {model['task']} | {counts}" in text
        if model["task"].startswith("addition (digits 10, base 10"):
            assert f"| `{model['name']}` | hand | {counts}" in text
