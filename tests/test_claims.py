"""What a construction says of its lanes is compared with what they hold, exactly; a wrong claim shows."""

from fractions import Fraction
from random import Random

import pytest
import torch

from tinyadder.compile import build
from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from verify.claims import check_claims


@pytest.fixture(scope="module", params=["add10", "add10_95"])
def made(request):
    construction = construct(request.param)
    problems = [*construction.task.hard()[:20], *construction.task.sample(Random(0), 20)]
    return construction, build(construction.program), problems


def test_the_lanes_hold_what_is_claimed(made):
    construction, model, problems = made
    found = check_claims(model, construction.task, construction.claims, problems)
    assert [errors.lane for errors in found] == [*construction.program.stream.lanes]
    for errors in found:
        assert errors.compared > 0
        # `place` hears the flag of the other operand 10^-11 as loud; near-zero rests and misses keep absolute rounding.
        assert errors.relative < 1e-9 or errors.lane in ("rest", "miss", "cost"), errors


def test_the_rest_is_off_by_the_shadow_of_the_first_flag_and_no_more():
    """b counts 10^-11 too much and the half unit guards against it: 0.1 to 0.12 of a unit leave a margin of 0.38."""
    made = construct("add10")
    problems = made.task.hard()[:40]
    (errors,) = check_claims(build(made.program), made.task, {"rest": made.claims["rest"]}, problems)
    assert 0.1 < errors.absolute * 10**10 < 0.12


def test_a_changed_weight_shows_in_the_lane_it_writes_and_where():
    made = construct("add10", digits=3)
    model = build(made.program)
    with torch.no_grad():
        model.embedding[7, 0] += 0.25
    found = {e.lane: e for e in check_claims(model, made.task, made.claims, [(123, 456), (7, 1)])}
    assert found["digit"].absolute == 0.25
    assert found["digit"].worst_absolute == ((123, 456), 11, 7.0, 7.25)
    assert found["flag"].absolute == 0 and found["flag"].worst_absolute is None
    assert found["rest"].absolute > 1e-4


def test_differences_are_exact_not_rounded():
    made = construct("add10", digits=3)
    claims = {"flag": lambda problem, i: made.claims["flag"](problem, i) + Fraction(1, 10**40)}
    (errors,) = check_claims(build(made.program), made.task, claims, [(1, 2)])
    assert errors.absolute == 1e-40


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (None, "claims nothing"),
        ({"flog": lambda p, i: 0}, "did you mean 'flag'"),
        ({"flag": lambda p, i: [0, 1]}, "expected 1 rational"),
        ({"flag": lambda p, i: 0.5}, "expected 1 rational"),
    ],
)
def test_claims_that_cannot_be_compared_are_said(claims, said):
    made = construct("add10", digits=2)
    with pytest.raises(TinyadderError, match=said):
        check_claims(build(made.program), made.task, claims, [(1, 2)])
