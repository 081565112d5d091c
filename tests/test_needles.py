"""The needle corpus: adders right or wrong by a hair, their truths by three ways that know nothing
of the prover.
"""

import pytest
import torch

from benchmarks.needles import (
    CORPUS,
    TASK,
    exact_margins,
    highest,
    hostile_margin,
    judged,
    published,
    rounding,
    smallest_margins,
)
from tinyadder.machine.answers import answers
from tinyadder.verify.certify.prove import prove
from tinyadder.verify.exact import ExactTransformer
from tinyadder.verify.verdict import Proved, Refuted, Unknown

LAST = "^9000000000+9999999999=1"
"""The last run to come right as the gain grows: 8 must follow, and 9 is close."""


@pytest.fixture(scope="module")
def lines():
    return exact_margins()


@pytest.fixture(scope="module")
def proved():
    """The smallest margin of the proof at 9.61e6."""
    return prove(published(9.61e6), TASK).margin


@pytest.mark.parametrize("gain", [gain for gain, truth in CORPUS.items() if truth == "refuted"])
def test_a_gain_that_is_wrong_on_some_inputs_is_refuted_with_one_that_fails_again(gain):
    verdict = judged(gain)
    assert isinstance(verdict, Refuted)
    found = verdict.counterexample
    assert (
        answers(published(gain), TASK, [found.problem])
        == [found.got]
        != [TASK.answer(found.problem)]
    )


@pytest.mark.parametrize("gain", [gain for gain, truth in CORPUS.items() if truth == "not proved"])
def test_a_gain_whose_margin_drowns_in_the_rounding_is_neither_proved_nor_refuted(gain):
    verdict = judged(gain)
    assert isinstance(verdict, Unknown)
    assert "right '8' against '9'" in verdict.reason and "answer token 2" in verdict.reason


@pytest.mark.parametrize(
    "gain", [9.61e6, *(pytest.param(gain, marks=pytest.mark.slow) for gain in (1e7, 1e10))]
)
def test_a_gain_that_is_large_enough_is_proved_and_the_checker_agrees(gain):
    assert CORPUS[gain] == "proved" and isinstance(judged(gain), Proved)


def test_in_real_arithmetic_the_last_wrong_run_comes_right_at_9596862_7(lines):
    worst = max(lines, key=lambda line: float(line.threshold.mid()))
    assert (worst.text[:-1], worst.right, worst.other) == (LAST, "8", "9")
    assert float(worst.threshold.mid()) == pytest.approx(9_596_862.694, abs=1e-3)
    tokens = TASK.encode([[*LAST]])[0].tolist()
    for gain, chosen in ((9_596_862.6, "9"), (9_596_862.8, "8")):
        assert ExactTransformer(published(gain)).choices(tokens, len(tokens) - 1)[0][0] == chosen


def test_at_9_61_million_no_rounding_can_outweigh_the_smallest_margin_so_proved_is_right(
    lines, proved
):
    """The proof at 9.61e6 looks too good: the margin is twice what rounding may take. Real
    arithmetic leaves 5.476e7 logits over all runs, an a-priori bound of the rounding 4.87e7: right,
    by an argument without prover or checker.
    """
    margins, error = smallest_margins(lines, 9.61e6), rounding(9.61e6)
    assert all(margins[i] > error[i] for i in margins)
    assert min(margins.values()) == pytest.approx(5.4757e7, rel=1e-4) and error[
        23
    ] == pytest.approx(4.87e7, rel=1e-2)
    assert margins[23] - error[23] < proved < margins[23]
    below = smallest_margins(lines, 9.598e6)
    assert below[23] < rounding(9.598e6)[23]


def test_a_permitted_execution_fails_where_real_arithmetic_is_right(lines, proved):
    """And none fails below what is proved."""
    worst = max(lines, key=lambda line: float(line.threshold.mid()))
    assert worst.threshold < 9.597e6 and hostile_margin(9.597e6, LAST, "8", "9") < 0
    leaned = hostile_margin(9.61e6, LAST, "8", "9")
    exact = float((worst.slope * 9.61e6 + worst.offset).mid())
    assert exact - rounding(9.61e6)[23] < leaned < exact
    assert proved < leaned


def test_the_rounding_bound_holds_for_what_torch_computes(lines):
    """Of every position the run of the smallest margin, computed by torch."""
    gain = 9.61e6
    model, error, outputs = published(gain), rounding(gain), TASK.vocabulary
    for i in error:
        line = min(
            (x for x in lines if len(x.text) == i + 2),
            key=lambda x: float((x.slope * gain + x.offset).mid()),
        )
        with torch.inference_mode():
            logits = model(torch.from_numpy(TASK.encode([[*line.text[:-1]]])))[0, -1].tolist()
        shown = logits[outputs.index(line.right)] - logits[outputs.index(line.other)]
        assert 0 < abs(shown - float((line.slope * gain + line.offset).mid())) < error[i]


def test_bisection_finds_the_last_gain_that_holds():
    assert 7 - 1e-3 < highest(lambda gain: gain < 7, 0, 100, 1e-3) <= 7
