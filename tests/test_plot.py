"""Every picture draws what the model computed: checked by the data inside the figure; the command
writes it.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyadder.cli import main
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.inspect import plot
from tinyadder.machine.compile import build
from tinyadder.report.leaderboard import own_models, report_json, row

ROOT = Path(__file__).parents[1]
MADE = construct("add10", digits=3)
MODEL = build(MADE.program)
PROBLEM = (123, 456)


def test_attention_shows_every_head_with_the_future_masked_on_a_logarithmic_scale():
    figure = plot.attention(MODEL, MADE.task, PROBLEM)
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title()]
    assert [image.axes.get_title() for image in images] == ["layer 0, head 0", "layer 1, head 0"]
    shown = images[0].get_array()
    assert (
        shown.mask[np.triu_indices(len(shown), 1)].all()
        and not shown.mask[np.tril_indices(len(shown))].any()
    )
    assert type(images[0].norm).__name__ == "LogNorm"
    assert [label.get_text() for label in images[0].axes.get_xticklabels()] == list("^123+456=0579")


def test_contributions_add_up_to_what_the_head_writes():
    figure = plot.contributions(MODEL, MADE.task, PROBLEM, 1)
    rest = figure.axes[1]
    left = sum(bar.get_height() for bar in rest.patches)
    assert (
        0.579 < left < 0.580
    )  # 579 thousandths, and the half unit of '+' that keeps R off its boundary


def test_lanes_weights_and_logits_name_lanes_and_tokens():
    lanes = plot.lanes(MODEL, MADE.task, PROBLEM).axes[0]
    assert [t.get_text() for t in lanes.get_yticklabels()] == [
        "digit",
        "flag",
        "weight",
        "product",
        "rest",
    ]
    weights = plot.weights(MODEL).axes[0]
    assert [t.get_text() for t in weights.get_xticklabels()] == [
        "digit",
        "flag",
        "weight",
        "product",
        "rest",
    ]
    bars = plot.logits(MODEL, MADE.task, PROBLEM, 1).axes[0]
    assert "'5' wins" in bars.get_title() and len(bars.patches) == 10


def test_the_margin_histogram_counts_wrong_decisions():
    assert "0 wrong" in plot.margins(MODEL, MADE.task, count=50).axes[0].get_title()
    broken = build(MADE.program)
    with torch.no_grad():
        broken.unembedding[5] *= 1.01
    title = plot.margins(broken, MADE.task, count=50).axes[0].get_title()
    assert " wrong" in title and "\n0 wrong" not in title


def test_accuracy_curves_and_leaderboard_draw_their_numbers():
    bars = plot.accuracy({"0": (10, 10), "3": (5, 10)}, axis="carry chain").axes[0]
    assert [p.get_height() for p in bars.patches] == [1.0, 0.5]
    log = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5, "validation exact": 0.25}]
    losses, exact = plot.curves(log).axes
    assert losses.lines[0].get_ydata().tolist() == [2.0, 0.5] and exact.lines[0].get_ydata() == [
        0.25
    ]
    board = plot.leaderboard(
        {"a": (True, {"nonzero": 3, "numel": 9}), "b": (False, {"nonzero": 30})}
    )
    assert [t.get_text() for t in board.axes[0].get_yticklabels()] == ["a", "b"]


def test_nothing_to_draw_is_said():
    with pytest.raises(TinyadderError, match="no lines with a step and a loss"):
        plot.curves([])


def test_accuracy_by_several_traits_has_a_panel_each_and_counts_what_is_wrong():
    figure = plot.accuracies(
        {"digits": {"1": (5, 5)}, "carry chain": {"0": (1, 1), "2": (9997, 10_000)}}, "a title"
    )
    assert [axes.get_xlabel() for axes in figure.axes] == ["digits", "carry chain"]
    assert "3 wrong" in [text.get_text() for text in figure.axes[1].texts]


def test_the_right_token_is_marked_where_another_wins():
    made = construct("add10_gist")
    axes = plot.logits(build(made.program), made.task, (49999998, 0), 3).axes[0]
    colours = {
        t.get_text(): bar.get_facecolor()[:3]
        for t, bar in zip(axes.get_xticklabels(), axes.patches, strict=True)
    }
    assert "'4' is right" in axes.get_title()
    assert len({colours["4"], colours["5"], colours["0"]}) == 3


def test_value_rows_of_one_head_are_told_apart():
    made = construct("deriv")
    axes = plot.contributions(build(made.program), made.task, made.task.parse("3x^2"), 0).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["tau", "square"]


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
    assert json.loads(said)["file"] == "add10-logits.png"
    assert (tmp_path / "add10-logits.png").read_bytes().startswith(b"\x89PNG")
    code, _, error = run("add10", "logits", "123", "456", "--digits", "3")
    assert code == 2 and "exists; give --force" in error
    assert [p.name for p in tmp_path.iterdir()] == ["add10-logits.png"]


def test_accuracy_curves_and_leaderboard_are_kinds_of_the_command(tmp_path, run):
    model = str(ROOT / "baselines/addition3-reversed/seed-1/model")
    rows = [row(entry, []) for entry in own_models(ROOT / "nowhere", ["add10", "parity"])]
    Path("board.json").write_text(json.dumps(report_json(rows)))
    for arguments, file in [
        ((model, "accuracy", "--problems", "50"), "addition3-reversed-accuracy.png"),
        ((model, "curves"), "addition3-reversed-seed-1-curves.png"),
        (("board.json", "leaderboard"), "board-leaderboard.png"),
    ]:
        assert run(*arguments) == (0, f"wrote {file}\n", "")
        assert (tmp_path / file).read_bytes().startswith(b"\x89PNG")


def test_the_command_refuses_what_it_cannot_draw(run):
    for arguments, text in [
        (("add10", "weights", "1", "2"), "takes no problem"),
        (("add10", "lanes", "1", "2", "--out", "x.jpeg"), "does not say a format"),
        (("add10", "lanes", "1", "2", "--out", "/proc/nothing/x.png"), "cannot write"),
        (("add10", "logits", "1", "2", "--digit", "99"), "there is no 99"),
        (("add10", "curves"), "its weights were written"),
        (("no/such", "curves"), "no/such is not a folder"),
        (
            (str(ROOT / "pyproject.toml"), "leaderboard"),
            "is not what tinyadder report --json prints",
        ),
        (("modular_add", "accuracy", "--problems", "10"), "has no traits"),
    ]:
        code, _, error = run(*arguments)
        assert code == 2 and text in error and "Traceback" not in error
