"""What a construction says of its lanes is compared with what they hold, exactly; a wrong claim
shows.
"""

from fractions import Fraction
from random import Random

import pytest
import torch

from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.machine.compile import build
from tinyadder.verify.claims import check_claims, check_readout

FAINT = {
    # what is left of a sum: one group later flags arrive 10^-11 times as large, which half units
    # guard against
    ("add10", "rest"): 0.02,
    ("add10_board", "rest"): 0.02,
    ("add10_95", "miss"): 0.02,
    ("add10_95", "cost"): 0.02,
    ("add10_unary", "level"): 0.02,
    ("maximum", "digit"): 0.02,
    # the same in add10_gist, where every lane has the misses or the costs added
    **{
        ("add10_gist", lane): 0.03
        for lane in ("eq", "mark", "digit", "place", "turn", "low", "high", "term")
    },
    # the rounding of ln 10 in the slope, over twenty tokens
    ("add10_smallest", "digit"): 0.003,
    ("add10_smallest", "parabola"): 0.003,
    ("add10_27", "digit"): 2e-4,
    ("add10_27", "logit"): 2e-4,
    ("add10_28", "digit"): 1e-4,
    # '^' two tokens back, with a weight of e^-20, where no problem claims more than 1/10000, on 'x'
    ("deriv_printed", "past"): 3e-5,
    # the token before the previous one, with a weight of e^-12
    **{("deriv_coeff", lane): 2e-5 for lane in ("after", "turn", "square", "product", "next")},
}
"""Where a lane differs from its claim by more than 5e-6 of the largest value claimed at the
position, and why.
"""


def lane_errors(name, **options):
    made = construct(name, **options)
    hard = made.task.hard()
    problems = [*Random(0).sample(hard, min(10, len(hard))), *made.task.structured(Random(0), 10)]
    return made, check_claims(build(made.program), made.task, made.claims, problems)


@pytest.mark.parametrize("name", construction_names())
def test_every_lane_of_every_construction_is_claimed_and_holds_it(name):
    made, found = lane_errors(name)
    assert {errors.lane for errors in found} == set(made.program.stream.lanes)
    for errors in found:
        assert errors.compared > 0
        assert errors.scaled < FAINT.get((name, errors.lane), 5e-6), errors
        assert errors.scaled or errors.absolute < 1e-5, errors  # all claims 0: nothing to scale by


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("add10_27", {"wired": True}),
        ("add10_smallest", {"base": 7, "digits": 4}),
        ("add_any", {"digits": 30}),
        ("add_base", {"base": 3, "digits": 5, "operands": 3, "tied": True}),
        ("binary_to_decimal", {"digits": 4, "radix": 9}),
        ("deriv_coeff", {"exponents": 9}),
        ("multiply", {"digits": 5, "second": 1}),
        ("parity", {"length": 40}),
        ("times_constant", {"digits": 4, "factor": 12}),
    ],
)
def test_claims_hold_at_other_options(name, options):
    for errors in lane_errors(name, **options)[1]:
        assert errors.scaled < FAINT.get((name, errors.lane), 5e-6), errors


def wrong_by_one(claim):
    def wrong(problem, position):
        value = claim(problem, position)
        if value is None:
            return None
        return [v + (v or 1) for v in value] if isinstance(value, list) else value + (value or 1)

    return wrong


@pytest.mark.parametrize("name", construction_names())
def test_a_claim_that_says_twice_as_much_is_noticed_in_every_lane(name):
    made = construct(name)
    planted = {lane: wrong_by_one(claim) for lane, claim in made.claims.items()}
    problems = made.task.structured(Random(1), 4)
    for errors in check_claims(build(made.program), made.task, planted, problems):
        assert errors.scaled > 0.4, errors


def test_errors_are_scaled_by_the_largest_value_claimed_at_the_position():
    made = construct("add10", digits=3)
    claims = {"flag": lambda problem, position: made.claims["flag"](problem, position) * 2}
    (errors,) = check_claims(build(made.program), made.task, claims, [(1, 2), (3, 4)])
    assert (errors.scaled, errors.relative, errors.absolute) == (0.5, 0.5, 10)
    rest = {"rest": made.claims["rest"]}
    (one,) = check_claims(build(made.program), made.task, rest, [(500, 500)])
    (more,) = check_claims(
        build(made.program), made.task, rest, [(500, 500), (123, 456), (999, 999)]
    )
    # 1000 leaves nothing at the end, the others nine times a unit
    assert more.scaled < one.scaled / 5


def test_the_rest_is_off_by_the_shadow_of_the_first_flag_and_no_more():
    """'^' weighs b too, with 10^-11 of the weight that '+' gives it, and '+' takes 10^-12 off the
    weight that '=' gives the answer: 0.1 and 0.02 of a unit at most leave a margin of 0.38.
    """
    made = construct("add10")
    model, claims = build(made.program), {"rest": made.claims["rest"]}
    for a, b in [*made.task.hard()[:40], (10**10 - 1, 10**10 - 1)]:
        (errors,) = check_claims(model, made.task, claims, [(a, b)])
        shadow = b / 10**11 + (a + b) // 10 * 10 / 10**12
        assert errors.absolute * 10**10 == pytest.approx(shadow, abs=1e-4)
    assert 0.1 < errors.absolute * 10**10 < 0.1201


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


@pytest.mark.parametrize("name", ["deriv_wide", "deriv", "add_any"])
def test_the_claims_decide_every_answer_token_with_room_for_the_errors(name):
    made = construct(name)
    found = check_readout(
        build(made.program),
        made.task,
        made.claims,
        [*made.task.hard()[::97], *made.task.hard()[-2:]],
    )
    assert found.wrong == 0 and found.tokens > 50
    assert found.margin > 0.4
    assert found.room > 20


def test_claims_that_decide_wrongly_are_counted():
    made = construct("count_occurrences")
    planted = {
        **made.claims,
        "count": lambda problem, position: made.claims["count"](problem, position) + 1,
    }
    model, problems = build(made.program), ["abc", "b"]
    assert check_readout(model, made.task, made.claims, problems).wrong == 0
    found = check_readout(model, made.task, planted, problems)
    assert (found.tokens, found.wrong) == (2, 2) and found.margin < 0


def test_the_room_is_the_lead_over_what_the_errors_could_change():
    """Readout 2 d y - d^2 of y = 1: 1 before 0 and 2. An error e in y changes the lead over 0 by 2
    e.
    """
    made = construct("count_occurrences")
    model = build(made.program)
    with torch.no_grad():
        model.embedding[made.task.vocabulary.index("a"), 0] = 1.125
    found = check_readout(model, made.task, made.claims, ["ab"])
    assert found.margin == 1 and abs(found.room - 1 / (2 * 0.125)) < 1e-9


def test_nothing_is_said_of_a_readout_that_reads_what_is_not_claimed():
    made = construct("count_occurrences")
    assert check_readout(build(made.program), made.task, {"hit": made.claims["hit"]}, ["a"]) is None
