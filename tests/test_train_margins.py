"""Margins widened by linear programmes: numbers are found whose room is 10^-10 of them, a run ends
with them, and goes on with them after a stop.
"""

import numpy as np
import pytest
import torch

from tests.test_structured import small
from tinyadder.train.data import Examples
from tinyadder.train.loop import Run
from tinyadder.train.margins import centred
from tinyadder.train.newton import NewtonStepper, joined
from tinyadder.train.validation import exact_match

ROOM = 1e-10


def margins(change: torch.Tensor) -> torch.Tensor:
    """exp(d_0) must be within `ROOM` of 2 and exp(d_0 + d_1) of 3; each has two bounds."""
    one, other = change[0].exp() - 2, (change[0] + change[1]).exp() - 3
    return torch.stack([ROOM + one, ROOM - one, ROOM + other, ROOM - other])


def test_the_middle_of_bounds_that_lie_close_together_is_found():
    found = margins(centred(margins, 2))
    assert found.min() > 0.25 * ROOM


def test_margins_that_contradict_each_other_stay_negative_and_come_closer():
    def contradict(change: torch.Tensor) -> torch.Tensor:
        return torch.stack([change[0] - 1.0, -change[0] - 1.0])

    assert contradict(centred(contradict, 1)).min() >= contradict(torch.zeros(1)).min()


def test_problems_of_different_lengths_are_joined_with_zeros_behind():
    def row(*tokens: int) -> Examples:
        return Examples(np.array([tokens]), np.array([1]), np.array([len(tokens)]))

    both = joined(row(1, 2), row(3, 4, 5))
    assert both.tokens.tolist() == [[1, 2, 0], [3, 4, 5]] and both.length.tolist() == [2, 3]


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> Run:
    """A run that has come to its last part."""
    run = Run(small(ends="margins"), 1, tmp_path_factory.mktemp("margins"))
    while not isinstance(run.state.stepper, NewtonStepper) or run.state.stepper.kept is None:
        run.advance()
    return run


def test_a_run_ends_with_every_problem_right(ended):
    shares = []
    for _ in range(10):
        ended.advance()
        shares.append(exact_match(ended.model, ended.recipe.task, ended.dealer.test_problems()))
    assert max(shares) == 1.0 and shares[-1] > 0.9


def test_a_run_goes_on_with_the_problems_that_were_kept(ended, tmp_path):
    again = Run(ended.recipe, 1, tmp_path)
    stepper = again.state.stepper
    assert isinstance(stepper, NewtonStepper)
    stepper.restore(ended.state.stepper.tensors())
    assert stepper.kept is not None and ended.state.stepper.kept is not None
    assert np.array_equal(stepper.kept.tokens, ended.state.stepper.kept.tokens)
