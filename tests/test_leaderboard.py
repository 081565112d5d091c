"""The leaderboard says what was measured of exactly this model; what is committed of it is true."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from tinyadder.commands.report import command as report
from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.io.digest import model_digest
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.report import leaderboard, measure, tables
from tinyadder.report.certificates import certificate_file
from tinyadder.report.leaderboard import (
    Entry,
    LeaderboardRow,
    Standing,
    own_models,
    public_field,
    row,
)
from tinyadder.report.results import find_result, read_results, result, write_result
from tinyadder.report.tables import (
    between_marks,
    format_verdict,
    groups,
    markdown_verdict,
    mean_and_worst,
    mean_counts,
    percent,
    whole,
)
from tinyadder.verify.certify.spec import NoSpecification, specifications
from tinyadder.verify.count import ladder
from tinyadder.verify.external.board import BoardRow, Listed
from tinyadder.verify.verdict import (
    Counterexample,
    Exhaustive,
    Proved,
    Refuted,
    Sampled,
    Unknown,
    verdict_to_json,
)

ROOT = Path(__file__).parents[1]


def entry_of(name="add10", **options):
    made = construct(name, **options)
    return Entry(name, build(made.program), made.task, False, None)


@pytest.fixture(scope="module")
def adder():
    return entry_of()


def keep(entry, verdict, folder, kind="verified", *, options=None, limits=None, **more):
    """Write a result that somebody claims to have found of this entry at these options."""
    model, task = entry.at(options or {})
    data = {"verdict": verdict_to_json(verdict), **more}
    made = result(
        model, task, entry.name, kind, data, command="a test", options=options, limits=limits
    )
    return write_result(made, folder)


def texts(entry, folder):
    return [format_verdict(f) for f in row(entry, read_results(folder), folder).verdicts()]


WRONG = Refuted(Counterexample((4999999999, 0), "4999999999 + 0", "04999999999", "05000000000"))
"""Of the adder as it was published."""

# ---- of which model a result is ------------------------------------------------------------------


def test_a_result_holds_for_the_weights_it_was_found_for_and_no_others(adder, tmp_path):
    keep(entry_of(digits=4), Sampled(8, 0), tmp_path)  # says add10, is about other weights
    assert texts(adder, tmp_path) == []


@pytest.mark.parametrize("changes", ["outputs", "argmin"])
def test_a_result_holds_for_the_config_it_was_found_for_and_no_other(adder, tmp_path, changes):
    keep(adder, Sampled(7, 0), tmp_path)
    assert texts(adder, tmp_path) == ["sampled: 7, 0 wrong"]
    config = adder.model.config
    other = {"outputs": config.outputs[::-1], "argmin": not config.argmin}[changes]
    model = Transformer(replace(config, **{changes: other}))
    model.load_state_dict(adder.model.state_dict())
    assert texts(replace(adder, model=model), tmp_path) == []


def test_a_result_holds_for_the_task_it_was_found_for_and_no_other(adder, tmp_path):
    keep(adder, Sampled(7, 0), tmp_path)
    assert texts(replace(adder, task=replace(adder.task, padding=1)), tmp_path) == []


def test_a_result_at_other_options_is_shown_with_them_and_last(adder, tmp_path):
    keep(adder, Exhaustive("the pairs", 10_000), tmp_path, "exhaustive", options={"digits": 2})
    keep(adder, Sampled(7, 0), tmp_path)
    assert texts(adder, tmp_path) == [
        "sampled: 7, 0 wrong",
        "exhaustive with digits=2: all 10,000 pairs",
    ]


def test_a_result_at_options_that_no_longer_exist_is_left_out(adder, tmp_path):
    made = result(adder.model, adder.task, "add10", "times", {}, command="x", options={"legs": 2})
    write_result(made, tmp_path)
    assert row(adder, read_results(tmp_path), tmp_path).results == ()


def test_an_exhaustive_result_about_a_part_is_not_the_verdict_about_the_model(adder, tmp_path):
    part = Exhaustive("the pairs of at most 2 digits", 10**4)
    keep(adder, part, tmp_path, "exhaustive", limits={"digits": 2})
    assert row(adder, read_results(tmp_path), tmp_path).strongest == "none yet"
    keep(adder, Sampled(7, 0), tmp_path)
    assert row(adder, read_results(tmp_path), tmp_path).strongest == "sampled"
    assert texts(adder, tmp_path) == [
        "sampled: 7, 0 wrong",
        "exhaustive on a part (10^20 in all): all 10,000 pairs of at most 2 digits",
    ]


# ---- what a result says is checked ---------------------------------------------------------------


def test_a_result_that_says_proved_is_not_believed_without_a_certificate(adder, tmp_path):
    keep(adder, Proved("all problems of addition", None, 1.0), tmp_path, "proved")
    (text,) = texts(adder, tmp_path)
    assert text.startswith("unknown whether right on all: there is no certificate add10.json.gz")


@pytest.fixture(scope="module")
def proved(tmp_path_factory):
    """A folder of results in which multiply with 1 x 1 digits is proved."""
    folder = tmp_path_factory.mktemp("results")
    measure.prove_again(entry_of("multiply"), {"digits": 1, "second": 1}, folder)
    return folder


def test_a_proof_is_shown_as_the_checker_sees_it_now_and_lends_no_margin_to_others(proved):
    entry = entry_of("multiply")
    (text,) = texts(entry, proved)
    assert text.startswith("proved with digits=1, second=1: all 100 problems of multiplication")
    (known,) = read_results(proved)
    margin = f"{known.data['verdict']['margin']:.3g}"
    table = tables.verdict_table([row(entry, [known], proved)])
    assert "**proved** with digits=1, second=1" in table and f"| {margin} |" not in table


@pytest.mark.parametrize("fault", ["of another model", "truncated", "no gzip", "a pipe"])
def test_a_certificate_that_the_checker_does_not_accept_proves_nothing(proved, tmp_path, fault):
    (known,) = read_results(proved)
    write_result(known, tmp_path)
    good = certificate_file(proved, known.model, known.options).read_bytes()
    path = certificate_file(tmp_path, known.model, known.options)
    path.parent.mkdir()
    if fault == "of another model":
        measure.prove_again(entry_of("parity_once"), {"length": 2}, tmp_path / "other")
        other = certificate_file(tmp_path / "other", "parity_once", {"length": 2})
        path.write_bytes(other.read_bytes())
    elif fault == "a pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(good[: len(good) // 2] if fault == "truncated" else b"not gzip")
    (text,) = texts(entry_of("multiply"), tmp_path)
    assert text.startswith("unknown with digits=1, second=1 whether right on all: ")


def test_a_refuted_model_shows_its_counterexample_and_nothing_else(tmp_path):
    entry = entry_of("add10_gist")
    keep(entry, WRONG, tmp_path)
    keep(entry, Sampled(7, 0), tmp_path, "sampled")
    assert texts(entry, tmp_path) == ["refuted: 4999999999 + 0 gives 05000000000, not 04999999999"]


@pytest.mark.parametrize("problem", [(4999999999, 0), (10**30, 0), "x", None, {"a": [1]}, [1, "2"]])
def test_a_counterexample_that_is_answered_rightly_refutes_nothing(adder, tmp_path, problem):
    wrong = replace(WRONG.counterexample, problem=problem, shown="1 + 1")
    keep(adder, Refuted(wrong), tmp_path)
    (text,) = texts(adder, tmp_path)
    assert text.startswith("unknown whether right on all: the stated counterexample 1 + 1")


def test_how_many_are_wrong_is_said_where_somebody_counted(tmp_path):
    entry = entry_of("add10_gist")
    keep(entry, WRONG, tmp_path)
    data = {"share": [1e-7, 2e-7]}
    shared = result(entry.model, entry.task, entry.name, "failures", data, command="a test")
    write_result(shared, tmp_path)
    (text,) = texts(entry, tmp_path)
    assert text.endswith("; between 1e-07 and 2e-07 of all problems are wrong")
    keep(entry, WRONG, tmp_path, "exhaustive", wrong=75, count=1000, domain="the pairs")
    (text,) = texts(entry, tmp_path)
    assert text.endswith("; 75 of 1,000 are wrong (the pairs)")


# ---- files of results ----------------------------------------------------------------------------


def test_results_are_not_overwritten_unasked(adder, tmp_path):
    keep(adder, Sampled(7, 0), tmp_path)
    with pytest.raises(TinyadderError, match="a result 'verified' of add10 already; give --force"):
        keep(adder, Sampled(8, 0), tmp_path)
    assert read_results(tmp_path)[0].data["verdict"]["count"] == 7


def test_seeds_of_a_recipe_share_a_file_and_do_not_replace_each_other(adder, tmp_path):
    for seed in (1, 2):
        keep(replace(adder, name=f"small/seed-{seed}"), Sampled(seed, 0), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["small.jsonl"]
    found = [find_result(f"small/seed-{seed}", "verified", tmp_path) for seed in (1, 2)]
    assert [one.data["verdict"]["count"] for one in found] == [1, 2]
    with pytest.raises(TinyadderError, match="no result 'verified' of small/seed-3"):
        find_result("small/seed-3", "verified", tmp_path)


DAMAGE = {
    "no JSON": lambda line: line[:-20],
    "not an object": lambda line: "[]",
    "a field too many": lambda line: json.dumps({**json.loads(line), "x": 1}),
    "a field of another type": lambda line: json.dumps({**json.loads(line), "digest": 7}),
    "no such verdict": lambda line: line.replace("sampled", "certain"),
    "a count that is none": lambda line: line.replace('"count": 7', '"count": "7"'),
    "a negative count": lambda line: line.replace('"count": 7', '"count": -7'),
    "a truth for a number": lambda line: line.replace('"count": 7', '"count": true'),
    "a name that leads out": lambda line: line.replace('"add10"', '"../add10"'),
    "a name of another model": lambda line: line.replace('"add10"', '"add10_27"'),
    "deep": lambda line: "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_line_is_said_with_its_number(adder, tmp_path, damage):
    path = keep(adder, Sampled(7, 0), tmp_path)
    good = path.read_text()
    path.write_text(good + DAMAGE[damage](good.strip()) + "\n")
    with pytest.raises(TinyadderError, match=r"add10\.jsonl, line 2 does not hold a result"):
        read_results(tmp_path)


def test_a_sound_line_is_read_as_it_was_written(adder, tmp_path):
    path = keep(adder, WRONG, tmp_path, "exhaustive", limits={"digits": 4}, wrong=3)
    (found,) = read_results(tmp_path)
    other = write_result(found, tmp_path / "again")
    assert other.read_bytes() == path.read_bytes()


# ---- measured anew -------------------------------------------------------------------------------


def test_a_fresh_measurement_has_every_part(tmp_path, monkeypatch):
    for name, value in (("SAMPLES", 50), ("EXAMPLES", 5), ("LEGAL", 10), ("DECODED", 20)):
        monkeypatch.setattr(measure, name, value)
    # said to be trained, so that no proof is looked for
    small = replace(entry_of(digits=1), trained=True, folder=Path("a folder"))
    measure.measure(small, tmp_path)
    found = row(small, read_results(tmp_path), tmp_path)
    assert {r.kind for r in found.results} == {"verified", "legality", "times"}
    assert found.strongest == "exhaustive"
    assert "8 of 8 pass" in tables.verdict_table([found])


def test_a_recorded_sweep_is_repeated_from_its_options_and_not_from_its_command(adder, tmp_path):
    model, task = adder.at({"digits": 2})
    made_by = {"command": "tinyadder exhaust ../../etc", "options": {"digits": 2}}
    counted = {"count": 7}
    planted = result(model, task, "add10", "exhaustive", counted, **made_by, limits={"digits": 1})
    measure.sweep_again(adder, planted, tmp_path / "results", tmp_path / "shards")
    (found,) = read_results(tmp_path / "results")
    assert (found.data["count"], found.data["wrong"], found.key) == (100, 0, planted.key)


def test_a_proof_that_takes_too_long_is_stopped_and_leaves_no_certificate(tmp_path):
    kept = tmp_path / "kept.json.gz"
    kept.write_bytes(b"of a model that was here before")
    found = measure.prove_apart("add10", {}, kept, seconds=0.1)
    assert found["verdict"] == {"verdict": "unknown", "reason": "no verdict within 0.1 s"}
    assert not kept.exists()


def test_the_report_replaces_no_file_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "own_models", lambda *_: [entry_of("parity_once")])
    files = [tmp_path / "LEADERBOARD.md", tmp_path / "report.html"]
    for path, option in zip(files, ("--out", "--html"), strict=True):
        path.write_text("mine")
        with pytest.raises(
            TinyadderError, match=f"exists; give --force to replace it, .* {option}"
        ):
            run_report("--root", str(tmp_path), option, str(path))
        assert path.read_text() == "mine"
    run_report("--root", str(tmp_path), "--out", str(files[0]), "--force")
    assert (
        files[0].read_text().startswith("# Leaderboard") and "parity_once" in files[0].read_text()
    )


def test_the_report_without_a_file_is_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(leaderboard, "own_models", lambda *_: [entry_of("parity_once")])
    assert run_report("--root", str(tmp_path)).stdout.startswith("# Leaderboard")
    data = json.loads(run_report("--root", str(tmp_path), "--json").stdout)
    assert [model["name"] for model in data["models"]] == ["parity_once"]
    assert list(tmp_path.iterdir()) == []


def run_report(*arguments):
    return CliRunner().invoke(report, [*arguments], catch_exceptions=False)


# ---- in words ------------------------------------------------------------------------------------


def test_a_task_without_a_specification_is_said_in_few_words():
    reason = "task 'conversion' has no specification automaton (there are: addition, comparison)"
    text = format_verdict(Standing(Unknown(reason), {}))
    assert text == "unknown whether right on all: no specification for this task"
    with pytest.raises(NoSpecification, match=tables.NO_SPECIFICATION):
        specifications(SimpleNamespace(name="gardening"))
    assert "too uncertain" in format_verdict(Standing(Unknown("the scores are too uncertain"), {}))


def test_a_verdict_in_markdown_has_its_type_in_bold_and_the_rest_escaped():
    verdict = Exhaustive("<script>alert(1)</script> | *stars*", 7)
    assert markdown_verdict(Standing(verdict, {"o": "`"})) == (
        r"**exhaustive** with o=\`: all 7 &lt;script>alert(1)&lt;/script> \| \*stars\*"
    )


def test_a_counterexample_that_fails_in_a_batch_only_says_so():
    wrong = replace(
        WRONG.counterexample, only="in cached decoding, in a batch of 2: answer token 1"
    )
    text = format_verdict(Standing(Refuted(wrong), {}))
    assert text.endswith(
        "not 04999999999 (only in cached decoding, in a batch of 2: answer token 1)"
    )


def test_long_numbers_are_short_in_the_table():
    def of(domain):
        return format_verdict(Standing(Proved(domain, None, 1.0), {}))

    assert of("all 100,000,000,000,000,000,000 problems") == "proved: all 10^20 problems"
    assert of("all 47,045,881 of them") == "proved: all 47,045,881 of them"
    assert "all about 5e+19 problems" in of("all 50,000,000,005,000,000,000 problems")


# ---- seeds ---------------------------------------------------------------------------------------


def seeds(verdicts, exact):
    """Trained rows of one recipe with these verdicts and held-out accuracies."""
    counts = dict.fromkeys(tables.SHOWN, 100)
    return [
        LeaderboardRow(
            f"small/seed-{i}",
            True,
            "addition",
            {**counts, "nonzero": 100 + i},
            "",
            (),
            (Standing(verdict, {}),),
            {
                "held out": {"problems": 9, "exact": e},
                "hard cases": {"problems": 9, "exact": 1.0},
                "training cpu seconds": 10.0 * i,
            },
        )
        for i, (verdict, e) in enumerate(zip(verdicts, exact, strict=True), start=1)
    ]


def test_seeds_of_a_recipe_stand_on_one_line_with_mean_and_worst():
    good, bad = Sampled(7, 0), Refuted(Counterexample((1, 1), "1 + 1", "2", "3"))
    rows = seeds([good, bad, good], [1.0, 0.5, 1.0])
    (group,) = groups(rows)
    assert (group.label, group.strongest) == ("small (3 seeds)", "refuted")
    assert tables.trained_table(rows).splitlines()[-1] == (
        "| small (3 seeds) | **sampled**, 2 of 3 seeds; seed 1: 7, 0 wrong; **refuted**, 1 of 3"
        " seeds; seed 2: 1 + 1 gives 3, not 2 | 83.33% (worst 50.00%) | 100.00% | not checked |"
        " 20 (worst 30) |  |"
    )
    counts = "| small (3 seeds) | addition | 102 (worst 103) | 100 |"
    assert counts in tables.counts_table(rows)
    assert mean_counts([(r.name, True, r.counts) for r in rows])["small"][1]["nonzero"] == 102
    assert groups(rows[:1])[0].label == "small (seed 1)"


def test_an_accuracy_is_cut_so_that_100_percent_means_all():
    assert (percent(0.99999), percent(1.0), percent(0.7715)) == ("99.99%", "100.00%", "77.15%")
    assert mean_and_worst([3.0, 3.0], whole) == "3"


def test_the_public_field_stays_apart_with_what_was_measured_beside_what_is_claimed(adder):
    assert len(public_field()) == 52 and public_field()[0]["params_claimed"] == "6*"
    whole = tables.report_markdown([row(adder, [])])
    ours, field = whole.split("## The public field, claimed and measured")
    assert "zcbtrak" in field and "zcbtrak" not in ours and "add10" not in field
    assert "Nothing of it was measured" in field and field.count("no copy that runs") == 52


def test_a_measured_entry_stands_on_its_line_of_the_public_list(adder):
    listed = Listed("z", author="Zcbtrak", kind="hand-coded", claim=6)
    measured = BoardRow(listed, *("", "", 1.0, 0, "", ""), verdict="refuted", pair=(9, 1), got="11")
    field = tables.report_markdown([row(adder, [])], [measured])
    assert "9 + 1 gives 11, not 10" in field and field.count("no copy that runs") == 51
    assert "1 of these entries were at hand and measured here (1 refuted)" in field


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
    return (ROOT / "LEADERBOARD.md").read_text()


@pytest.mark.parametrize("name", construction_names())
def test_the_committed_results_are_of_the_model_as_it_is_now(name):
    entry = entry_of(name)
    digest = model_digest(entry.model, entry.task)
    mine = [r for r in read_results(ROOT / "results") if r.model == name and not r.options]
    kinds = {r.kind for r in mine if r.digest == digest}
    assert {
        "verified",
        "proved",
        "legality",
        "times",
    } <= kinds  # if not: tinyadder report --missing


@pytest.mark.parametrize("name", construction_names())
def test_the_committed_table_has_the_counts_and_the_verdict_of_the_model(name, committed):
    entry = entry_of(name)
    counts = leaderboard.row(entry, []).counts
    cells = [name, leaderboard.format_task(entry.task), *(f"{counts[r]:,}" for r in tables.SHOWN)]
    assert f"| {' | '.join(cells)} |" in committed  # after a change: python -m tools.renew
    proof = find_result(name, "proved", ROOT / "results")
    kind = proof.data["verdict"]["verdict"]
    line = next(line for line in committed.splitlines() if line.startswith(f"| {name} | **"))
    assert (kind == "proved") == ("**proved**: all " in line)


def test_every_refuted_row_of_the_committed_table_has_its_problem(committed):
    shown: dict[str, list[str]] = {}
    for found in read_results(ROOT / "results"):
        verdict = found.data.get("verdict", {})
        if verdict.get("verdict") == "refuted" and "/" not in found.model:
            shown.setdefault(found.model, []).append(verdict["counterexample"]["shown"])
    assert shown
    for problems in shown.values():
        assert any(f"**refuted**: {problem} gives" in committed for problem in problems)


def test_the_readme_shows_the_same_counts():
    text = (ROOT / "README.md").read_text()
    for name in construction_names():
        if f"| `{name}` |" in text:
            counts = ladder(entry_of(name).model)
            shown = f"{counts['nonzero']} | {counts['nonzero + positional']} |"
            assert shown in next(line for line in text.splitlines() if f"| `{name}` |" in line)


def test_a_model_that_another_of_its_recipe_goes_on_from_is_a_stage_of_it():
    names = ("addition10-small/seed-1", *(f"addition10-small-tuned/seed-{n}" for n in (1, 2)))
    folders = {name: ROOT / "baselines" / name / "model" for name in names}
    assert leaderboard._stages(folders) == {"addition10-small-tuned/seed-1"}
    tuned = "addition10-forty-tuned/seed-4"
    names = ("addition10-forty/seed-1", tuned, f"{tuned}/start")
    folders = {name: ROOT / "baselines" / name / "model" for name in names}
    assert leaderboard._stages(folders) == {"addition10-forty-tuned/seed-4/start"}
