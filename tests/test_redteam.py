"""The attacks on the word proved: they find what is planted, and nothing else in a short run."""

import math
from random import Random

import numpy as np
import pytest
import torch

from benchmarks import redteam
from tests import planting
from tests.test_check import MODULES
from tinyadder.verify.certify.check import proof
from tinyadder.verify.certify.network import read_network


def attacked(campaign: str, attempts: int, first: int = 0) -> redteam.Tally:
    return redteam.run([campaign], math.inf, first, attempts)[campaign]


@pytest.mark.parametrize(
    ("campaign", "attempts"), [("mutants", 12), ("hairline", 3), ("trees", 20), ("resealed", 20)]
)
def test_nothing_is_unsound_in_a_few_attempts(campaign, attempts):
    found = attacked(campaign, attempts)
    assert found.unsound == [] and found.tried >= 3
    assert found.tried == found.proved + found.refuted + found.unknown


@pytest.mark.parametrize(("campaign", "attempts"), [("mutants", 12), ("hairline", 4)])
def test_a_prover_that_always_says_proved_is_unsound(monkeypatch, campaign, attempts):
    monkeypatch.setattr(redteam, "verdict_of", lambda *_: ("proved", 0.0))
    monkeypatch.setattr(redteam, "prove", lambda *_: pytest.skip("no proof is asked for"))
    monkeypatch.setattr(Random, "random", lambda _: 0.5)
    assert attacked(campaign, attempts).unsound


def test_a_margin_that_some_execution_does_not_keep_is_unsound(monkeypatch):
    honest = redteam.verdict_of

    def boastful(*given):
        verdict, margin = honest(*given)
        return verdict, margin * 1.01

    monkeypatch.setattr(redteam, "verdict_of", boastful)
    assert attacked("mutants", 12).unsound


@pytest.mark.parametrize(
    ("campaign", "function", "message", "first"),
    [
        ("trees", "TreeChecker.branch", "margin is not proved", 0),
        ("trees", "TreeChecker.claim", "larger than what holds", 45),
        ("resealed", "TreeChecker.branch", "margin is not proved", 20),
    ],
)
def test_a_checker_that_believes_is_unsound(campaign, function, message, first):
    """`first` is a little before the attempt that notices it."""
    with planting.planted(proof, planting.believed(function, message), MODULES):
        assert any(attacked(campaign, 1, attempt).unsound for attempt in range(first, 80))


def test_hostile_executions_compute_the_function_in_other_orders():
    for name, options in redteam.BASES[:8:3]:
        model, _, groups = redteam.base(name, redteam.json.dumps(options))
        network = read_network(model)
        for _, tokens in groups:
            mine = redteam.execute(network, tokens, Random(0))
            with torch.inference_mode():
                theirs = model(torch.from_numpy(tokens)).numpy()
            assert not np.array_equal(mine, theirs)
            assert np.allclose(mine, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


def test_bisection_ends_at_neighbouring_doubles():
    assert redteam.search(lambda x: x > 0.1, 0.0, 7.0) == (0.1, math.nextafter(0.1, 1))
    good, bad = redteam.search(lambda x: x < -1e-300, 1.0, -1.0)
    assert (good, bad) == (-1e-300, math.nextafter(-1e-300, -1))
    assert redteam.step(0.0, -1) == -5e-324 and redteam.between(-1.0, 1.0) == 0.0
