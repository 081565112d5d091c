"""Every picture draws what the model computed: checked by the data inside the figure; the command
writes it.
"""

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

import tinyadder as ta
from tinyadder.cli import main
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.inspect.plot import KINDS
from tinyadder.inspect.plot.accuracy import accuracy
from tinyadder.inspect.plot.attention import attention
from tinyadder.inspect.plot.contributions import contributions
from tinyadder.inspect.plot.curves import curves
from tinyadder.inspect.plot.flow import flow, parts_of
from tinyadder.inspect.plot.lanes import lanes
from tinyadder.inspect.plot.leaderboard import leaderboard
from tinyadder.inspect.plot.logits import logits, unit_of
from tinyadder.inspect.plot.margins import margins
from tinyadder.inspect.plot.proof import leaves_of, proof
from tinyadder.inspect.plot.rounds import rounds
from tinyadder.inspect.plot.weights import rows_of, weights
from tinyadder.machine.compile import build
from tinyadder.named import load_model
from tinyadder.pictures import OF_MODELS, balanced
from tinyadder.report.leaderboard import own_models, report_json, row

ROOT = Path(__file__).parents[1]
MADE = construct("add10", digits=3)
MODEL = build(MADE.program)
PROBLEM = (123, 456)


def title(figure):
    return " ".join(figure.get_suptitle().split())


def texts(axes):
    return [text.get_text() for text in axes.texts]


# ---- one run


def test_attention_is_a_map_without_the_future_and_a_sentence_where_all_tokens_count_alike():
    figure = attention(MODEL, MADE.task, PROBLEM)
    first, second = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert first.get_title(loc="left") == "layer 0, head 0, writes weight"
    (image,) = first.images
    shown = image.get_array()
    assert shown.mask[np.triu_indices(len(shown), 1)].all()
    assert not shown.mask[np.tril_indices(len(shown))].any()
    assert type(image.norm).__name__ == "LogNorm"
    assert [label.get_text() for label in first.get_xticklabels()] == list("^123+456=0579")
    said = " ".join(texts(second)[0].split())
    assert not second.images and "alike, with weight 4.2e-18 each" in said
    assert said.endswith("the sum of product into rest.")


def test_colours_of_attention_end_where_weights_are_below_the_precision_of_the_numbers():
    (drawn,) = [axes for axes in attention(build_ten(), ten().task, (1, 2)).axes if axes.images][:1]
    norm = drawn.images[0].norm
    assert norm.vmin == norm.vmax * np.finfo(np.float64).eps > drawn.images[0].get_array().min()


def test_a_head_that_does_not_attend_alike_is_never_a_sentence():
    changed = build(MADE.program)
    with torch.no_grad():
        changed.blocks[1].attention.slopes[0] = 1e-3
    assert sum(bool(axes.images) for axes in attention(changed, MADE.task, PROBLEM).axes) == 2


def ten():
    return construct("add10")


def build_ten():
    return build(ten().program)


def test_contributions_add_up_to_what_the_head_writes_on_one_scale():
    figure = contributions(MODEL, MADE.task, PROBLEM, 1)
    first, rest = figure.axes
    left = sum(bar.get_height() for bar in rest.patches)
    assert 0.579 < left < 0.580  # 579 thousandths, and half a unit of the last place on '+'
    assert first.get_ylim() == rest.get_ylim() and first.get_yscale() == rest.get_yscale()
    assert rest.get_ylabel() == "added to\nrest"


def test_what_only_rounds_gets_no_bar():
    changed = build(MADE.program)
    with torch.no_grad():
        changed.embedding[MADE.task.vocabulary.index("+"), 0] = 1e-15
    bars = contributions(changed, MADE.task, PROBLEM, 1).axes[1].patches
    assert len(bars) == len(contributions(MODEL, MADE.task, PROBLEM, 1).axes[1].patches) - 1


def test_value_rows_of_one_head_are_told_apart_and_a_head_that_adds_nothing_is_named():
    made = construct("deriv")
    figure = contributions(build(made.program), made.task, made.task.parse("3x^3-2x^2+x-4"), 1)
    legend = figure.axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["tau", "square"]
    assert figure.get_supxlabel().startswith("adds nothing here: layer 0, head 1 (past)")


def test_lanes_print_every_value_and_long_texts_in_lines():
    (axes,) = lanes(MODEL, MADE.task, PROBLEM).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["digit", "flag", "weight", "product", "rest"]
    at = {(text.get_position()): text.get_text() for text in axes.texts}
    assert [at[column, 0] for column in (1, 2, 3)] == ["1", "2", "3"] and at[10, 4] == "0.08"
    panels = lanes(build_ten(), ten().task, (4999999999, 0)).axes
    shown = ["".join(t.get_text() for t in axes.get_xticklabels()) for axes in panels]
    assert shown == ["^4999999999", "+0000000000", "=04999999999"]


def test_what_nothing_reads_does_not_bleach_a_lane():
    """The queries of a derivative's input attend to almost nothing and hold values up to 1e70."""
    made = construct("deriv")
    panels = lanes(build(made.program), made.task, made.task.example()).axes
    exponent = [t.get_text() for t in panels[0].get_yticklabels()].index("n")
    read, unread = panels[1].images[0].get_array()[exponent], panels[0].images[0].get_array()
    assert read[3] > 0.9 and unread[exponent].mask.any()


def test_the_margin_is_said_in_units_of_the_place():
    """3.2 units are left: '3' wins over '4' by the 0.3 that are missing to 3.5."""
    assert unit_of({str(d): 10 * (d * 3.2 - d * d / 2) for d in range(10)}) == 10.0
    assert unit_of({str(d): float(d % 4) for d in range(10)}) is None
    axes = logits(MODEL, MADE.task, PROBLEM, 1)
    assert "'5' wins over '6' by 0.2" in title(axes) and "a unit of its place" in title(axes)


def test_the_chosen_token_has_a_word_and_no_bar_and_the_right_one_a_colour():
    axes = logits(MODEL, MADE.task, PROBLEM, 1).axes[0]
    assert "chosen" in texts(axes) and len(axes.lines) == 9
    made = construct("add10_gist")
    figure = logits(build(made.program), made.task, (49999998, 0), 3)
    assert title(figure).endswith("'5' is chosen, but '4' is right")
    colours = {round(float(line.get_xdata()[0])): line.get_color() for line in figure.axes[0].lines}
    assert colours[4] != colours[0] and 5 not in colours


# ---- the model


def test_weights_have_queries_keys_slopes_and_their_values():
    rows = {r.name: r.values for r in rows_of(MODEL)}
    assert {"0 head 0 query", "0 head 0 key", "0 head 0 slope", "0 unit 0 gate"} <= rows.keys()
    assert rows["0 head 0 key"][-1] == -40 and rows["0 head 0 slope"][-1] == np.log(10)
    axes = weights(MODEL).axes[0]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert columns == ["digit", "flag", "weight", "product", "rest", "constant"]
    assert len(axes.texts) == sum(np.count_nonzero(values) for values in rows.values())
    assert "-40" in texts(axes) and "2.4e17" in texts(axes)


def test_weights_of_waves_are_among_all_weights():
    forty = load_model(str(ROOT / "baselines/addition10-forty/seed-1/model")).model
    rows = {r.name: r.values for r in rows_of(forty)}
    waves = [rows[f"0 head 0 wave {k}"][-1] for k in range(4)]
    assert waves == forty.blocks[0].attention.waves[0].tolist()


def test_flow_shows_each_read_and_write_of_the_circuit():
    parts = {part.name: part for part in parts_of(MODEL)}
    assert parts["layer 0, unit 0"].reads == {"digit": "g", "weight": "u"}
    assert parts["layer 1, head 0"].reads == {"product": "v"}
    assert parts["layer 1, head 0"].writes == ["rest"]
    assert parts["logits"].reads == {"weight": "l", "rest": "l"}
    figure = flow(MODEL, MADE.task)
    assert "5 parts, 6 edges" in title(figure)
    assert sorted(texts(figure.axes[0])) == sorted("guvvll")


def test_a_new_reader_is_seen():
    changed = build(MADE.program)
    with torch.no_grad():
        changed.blocks[0].mlp.up[0, 1] = 1e-9
    (before, after) = (flow(model, MADE.task) for model in (MODEL, changed))
    assert len(after.axes[0].texts) == len(before.axes[0].texts) + 1
    assert "7 edges" in title(after)


def test_flow_says_why_it_cannot_be_drawn():
    trained = ta.load(ROOT / "baselines/addition10-tiny/seed-1/model")
    with pytest.raises(TinyadderError, match="has norms: who reads what is not in the weights"):
        trained.plot("flow")


def test_the_margin_histogram_counts_wrong_decisions():
    assert title(margins(MODEL, MADE.task, count=50)).startswith("0 of ")
    broken = build(MADE.program)
    with torch.no_grad():
        broken.unembedding[5] *= 1.01
    assert not title(margins(broken, MADE.task, count=50)).startswith("0 of ")


def test_accuracy_has_intervals_and_says_how_many_were_asked_and_wrong():
    figure = accuracy({"digits": {"1": (5, 5)}, "carry chain": {"0": (9, 9), "2": (997, 1000)}})
    assert [axes.get_xlabel().partition(" (")[0] for axes in figure.axes] == [
        "digits",
        "carry chain",
    ]
    assert texts(figure.axes[1]) == ["3\nwrong"]
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["0\n9", "2\n1,000"]
    low, high = figure.axes[1].lines[1].get_ydata()
    assert 0.991 < low < 0.997 < high < 1 and figure.axes[1].get_ylim()[0] < 0.66


def test_groups_are_equal_and_small_ones_go_together():
    task = construct("add10").task
    drawn = [*task.uniform(Random(0), 3000)]
    found = balanced(task, drawn, 900)
    sizes = [len(group) for group in found["carry chain"].values()]
    assert sizes.count(max(sizes)) > len(sizes) / 2 and min(sizes) >= 30
    assert sum(sizes) <= 450 and any(" .. " in value for value in found["carry chain"])


# ---- files


def committed(name):
    return json.loads(gzip.decompress((ROOT / f"results/certificates/{name}.json.gz").read_bytes()))


def test_a_proof_shows_its_smallest_margin_and_where():
    certificate = committed("deriv_coeff")
    leaves = leaves_of(certificate)
    assert min(leaf.margin for leaf in leaves) == float.fromhex(certificate["margin"])
    figure = proof(certificate, "all of them")
    worst = min(leaves, key=lambda leaf: leaf.margin)
    assert f"in {len(leaves):,} cases" in title(figure)
    assert f"token {worst.token + 1} of 15 of the answer is '{worst.right}'" in title(figure)
    counted = sum(int(text.replace(",", "")) for text in texts(figure.axes[0]))
    assert counted == len(leaves)


def test_a_smaller_margin_planted_in_a_certificate_moves_the_mark():
    certificate = committed("deriv_coeff")
    node = certificate["parts"][0]["positions"][3]["children"]["-"]
    while "split" in node:
        node = next(iter(node["children"].values()))
    node["margin"] = (1e-9).hex()
    assert "smallest, 1e-9, where token 4 of 15 of the answer is '-'" in title(
        proof(certificate, "x")
    )


def test_the_cases_of_a_trained_models_proof_are_drawn():
    certificate = committed("addition10-tiny/seed-1")
    leaves = leaves_of(certificate)
    assert {leaf.right for leaf in leaves} == {*"0123456789"} and len(leaves) > 10_000
    cases = Counter(leaf.token for leaf in leaves)
    assert sorted(cases) == [*range(11)] and cases[0] == 100  # pairs of two digits
    assert len({cases[token] for token in range(2, 10)}) == 1  # one tree serves them
    assert cases[1] < cases[2]  # nothing is carried into the column before it
    assert min(leaf.margin for leaf in leaves) == float.fromhex(certificate["margin"])
    assert "at token 2, 3, 4, 5, 6, 7, 8, 9, 10 of 11 of the answer" in title(
        proof(certificate, "all sums")
    )


def test_a_case_of_a_trained_models_proof_tells_its_tokens_where_it_stands():
    leaves = leaves_of(committed("addition10-tiny/seed-1"))
    for leaf in (leaf for leaf in leaves if leaf.token in (1, 5)):
        # least digit first: ^ at 0, the operands from 1 and 12, = at 22, the answer from 23
        told = dict(re.fullmatch(r"token (\d+) is '(.)'", text).groups() for text in leaf.splits)
        below, column = ([f"{n + at}" for n in (1, 12)] for at in (leaf.token - 1, leaf.token))
        assert {*told} <= {*below, *column, f"{22 + leaf.token}"}
        if {*column} <= {*told}:
            carry = int(leaf.right) - sum(int(told[at]) for at in column)
            assert carry % 10 in (0, 1)
            if leaf.token == 1 and {*below} <= {*told}:
                assert carry % 10 == (sum(int(told[at]) for at in below) > 9)


def test_a_proof_of_a_strangers_graph_is_one_line():
    with pytest.raises(TinyadderError, match=r"of the graph of a stranger's module$"):
        proof({"graph": {}, "parts": [{"pass": 0}]}, "x")


def test_a_proof_without_cases_is_one_line():
    with pytest.raises(TinyadderError, match="this proof has no cases to draw"):
        proof(committed("modular_add"), "x")


def test_a_model_that_is_not_proved_has_no_picture_of_a_proof():
    m = ta.load("add10", digits=2)
    with torch.no_grad():
        m.module.unembedding[5] *= 1.01
    with pytest.raises(TinyadderError, match="there is no proof to draw: REFUTED"):
        m.plot("proof")


def test_a_certificate_of_other_weights_beside_a_model_is_not_drawn(tmp_path):
    ta.load("add10", digits=2).prove(tmp_path / "proved")
    m = ta.load(tmp_path / "proved")
    assert "1,000 problems" in title(m.plot("proof").figure).replace("10,000", "1,000")
    with torch.no_grad():
        m.module.unembedding[5] *= 1.01
    with pytest.raises(TinyadderError, match="there is no proof to draw: REFUTED"):
        m.plot("proof")


def test_curves_and_leaderboard_draw_their_numbers():
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5, "validation exact": 0.25}]
    figure = curves(log)
    losses, exact = figure.axes
    assert losses.lines[0].get_ydata().tolist() == [2.0, 0.5]
    assert exact.lines[0].get_ydata() == [0.25] and "25.00%, at step 2" in title(figure)
    board = leaderboard({"a": (True, {"nonzero": 3, "numel": 9}), "b": (False, {"nonzero": 30})})
    assert [t.get_text() for t in board.axes[0].get_yticklabels()] == ["a", "b"]


ROUND = {"round": 1, "by": "search", "verdict": "refuted", "said": "5 + 5", "wrong": 34}
ROUND |= {"smallest": -2.5, "problems": 70, "loss": 1.0, "seconds": 16.7}
LAST = {**ROUND, "round": 2, "verdict": "proved", "wrong": 0, "smallest": 0.25, "seconds": 41.0}


def test_rounds_show_what_was_found_and_how_it_ended():
    figure = rounds([ROUND, LAST])
    above, below = figure.axes
    assert [bar.get_height() for bar in above.patches] == [34, 0]
    assert above.lines[0].get_ydata().tolist() == [70, 70]
    found, _, proved = below.collections
    assert found.get_offsets().tolist() == [[1, -2.5]]
    assert proved.get_offsets().tolist() == [[2, 0.25]]
    assert "2 rounds in 41 s: wrong answers were found once, 34 in all" in title(figure)
    assert "at the end the model is proved" in title(figure)
    assert "not yet proved" in title(rounds([ROUND]))


def test_nothing_to_draw_is_said():
    with pytest.raises(TinyadderError, match="no rounds of counterexamples"):
        rounds([])
    with pytest.raises(TinyadderError, match="round 1: wrong"):
        rounds([{**ROUND, "wrong": "many"}])
    with pytest.raises(TinyadderError, match="no lines with a step and a loss"):
        curves([])


# ---- m.plot and the command


@pytest.mark.parametrize("name", ["add10", "deriv", "dyck1", "modular_add", "sort_digits"])
def test_every_construction_opens_on_an_example_that_is_no_edge(name):
    task = construct(name).task
    problem = task.example()
    assert task.check(problem) == problem and problem != task.hard()[0]
    assert len({*task.prompt(problem)}) > 2


def test_a_derivative_opens_on_a_cubic_and_a_step_that_is_no_leading_zero():
    assert "3x^3-2x^2+x-4" in ta.load("deriv").plot("lanes").title
    assert "emit '5', token 2 of 4" in title(MODEL_PLOT("contributions", "123+456"))


def MODEL_PLOT(kind, problem):
    return ta.load("add10", digits=3).plot(kind, problem).figure


def test_the_table_of_kinds_has_a_module_and_a_page_for_each():
    for kind in KINDS:
        module = __import__(f"tinyadder.inspect.plot.{kind}", fromlist=[kind])
        assert callable(getattr(module, kind))
    assert {*OF_MODELS} == {*KINDS} - {"leaderboard"}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `tinyadder plot` in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main(["plot", *arguments])
        return done.value.code, *capsys.readouterr()

    return call


def test_the_command_writes_a_picture_and_does_not_overwrite_it(tmp_path, run):
    _, said, _ = run("add10", "logits", "123", "456", "--digits", "3", "--json")
    assert json.loads(said)["file"] == "add10-digits3-logits.png"
    assert (tmp_path / "add10-digits3-logits.png").read_bytes().startswith(b"\x89PNG")
    code, _, error = run("add10", "logits", "123", "456", "--digits", "3")
    assert code == 2 and "exists; give --force" in error
    assert [p.name for p in tmp_path.iterdir()] == ["add10-digits3-logits.png"]


def test_the_other_kinds_are_kinds_of_the_command(tmp_path, run):
    model = str(ROOT / "baselines/addition3-reversed/seed-1/model")
    rows = [row(entry, []) for entry in own_models(ROOT / "nowhere", ["add10", "parity"])]
    Path("board.json").write_text(json.dumps(report_json(rows)))
    for arguments, file in [
        ((model, "accuracy", "--problems", "50"), "addition3-reversed-seed-1-accuracy.png"),
        ((model, "curves"), "addition3-reversed-seed-1-curves.png"),
        (("board.json", "leaderboard"), "board-leaderboard.png"),
        (("add10", "proof", "--digits", "2"), "add10-digits2-proof.png"),
        (("add10", "flow"), "add10-flow.png"),
    ]:
        assert run(*arguments) == (0, f"wrote {file}\n", "")
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


TINY = str(ROOT / "baselines/addition10-tiny/seed-2/model")


def test_the_command_refuses_what_it_cannot_draw(run):
    for arguments, text in [
        (("add10", "weights", "1", "2"), "takes no problem"),
        (("add10", "flow", "1", "2"), "takes no problem"),
        (("add10", "lanes", "1", "2", "--out", "x.jpeg"), "does not say a format"),
        (("add10", "lanes", "1", "2", "--out", "/proc/nothing/x.png"), "cannot write"),
        (("add10", "logits", "1", "2", "--digit", "99"), "there is no 99"),
        (("add10", "curves"), "its weights were written"),
        ((TINY, "rounds"), "has no rounds.jsonl beside it; a model that tinyadder train --prove"),
        (("no/such", "curves"), "no/such is not a folder"),
        (
            (str(ROOT / "pyproject.toml"), "leaderboard"),
            "is not what tinyadder report --json prints",
        ),
        (("modular_add", "accuracy", "--problems", "10"), "has no traits"),
    ]:
        code, _, error = run(*arguments)
        assert code == 2 and text in error and "Traceback" not in error
