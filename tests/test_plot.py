"""Every picture draws what the model computed: checked by the data inside the figure; the command writes it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from tinyadder import plot
from tinyadder.compile import build
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError

MADE = construct("add10", digits=3)
MODEL = build(MADE.program)
PROBLEM = (123, 456)


def test_attention_shows_every_head_with_the_future_masked_on_a_logarithmic_scale():
    figure = plot.attention(MODEL, MADE.task, PROBLEM)
    images = [axes.images[0] for axes in figure.axes if axes.images and axes.get_title()]
    assert [image.axes.get_title() for image in images] == ["layer 0, head 0", "layer 1, head 0"]
    shown = images[0].get_array()
    assert shown.mask[np.triu_indices(len(shown), 1)].all() and not shown.mask[np.tril_indices(len(shown))].any()
    assert type(images[0].norm).__name__ == "LogNorm"
    assert [label.get_text() for label in images[0].axes.get_xticklabels()] == list("^123+456=0579")


def test_contributions_add_up_to_what_the_head_writes():
    figure = plot.contributions(MODEL, MADE.task, PROBLEM, 1)
    rest = figure.axes[1]
    left = sum(bar.get_height() for bar in rest.patches)
    assert 0.579 < left < 0.580  # 579 thousandths, and the half unit of '+' that keeps R off its boundary


def test_lanes_weights_and_logits_name_lanes_and_tokens():
    lanes = plot.lanes(MODEL, MADE.task, PROBLEM).axes[0]
    assert [t.get_text() for t in lanes.get_yticklabels()] == ["digit", "flag", "weight", "product", "rest"]
    weights = plot.weights(MODEL).axes[0]
    assert [t.get_text() for t in weights.get_xticklabels()] == ["digit", "flag", "weight", "product", "rest"]
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
    assert losses.lines[0].get_ydata().tolist() == [2.0, 0.5] and exact.lines[0].get_ydata() == [0.25]
    board = plot.leaderboard({"a": (True, {"nonzero": 3, "numel": 9}), "b": (False, {"nonzero": 30})})
    assert [t.get_text() for t in board.axes[0].get_yticklabels()] == ["a", "b"]


def test_nothing_to_draw_is_said():
    with pytest.raises(TinyadderError, match="no lines with a step and a loss"):
        plot.curves([])


def run(*arguments, folder):
    command = [sys.executable, "-m", "tinyadder", "plot", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_command_writes_a_picture_and_does_not_overwrite_it(tmp_path):
    first = run("add10", "logits", "123", "456", "--digits", "3", "--json", folder=tmp_path)
    assert json.loads(first.stdout)["file"] == "add10-logits.png"
    assert (tmp_path / "add10-logits.png").read_bytes().startswith(b"\x89PNG")
    again = run("add10", "logits", "123", "456", "--digits", "3", folder=tmp_path)
    assert again.returncode == 2 and "exists; give --force" in again.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["add10-logits.png"]


def test_the_command_refuses_what_it_cannot_draw(tmp_path):
    for arguments, text in [
        (("add10", "weights", "1", "2"), "takes no problem"),
        (("add10", "lanes", "1", "2", "--out", "x.jpeg"), "does not say a format"),
        (("add10", "lanes", "1", "2", "--out", "/proc/nothing/x.png"), "cannot write"),
        (("add10", "logits", "1", "2", "--digit", "99"), "there is no 99"),
    ]:
        done = run(*arguments, folder=tmp_path)
        assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr
