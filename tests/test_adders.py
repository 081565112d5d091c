"""Adder-like constructions: right on hard lists and hypothesis problems, exhaustive where small,
and priced.
"""

from random import Random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyadder.construction import Construction, construct
from tinyadder.dsl import Attention
from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers, forced_answers
from tinyadder.machine.compile import build
from tinyadder.verify.claims import check_claims
from tinyadder.verify.count import ladder

torch.set_num_threads(1)

MODELS: list[tuple[str, dict]] = [
    ("add10_28", {}),
    ("add10_28", {"digits": 12}),
    ("add10_27", {}),
    ("add10_27", {"digits": 12}),
    ("add10_27", {"wired": True}),
    ("add10_smallest", {}),
    ("add10_smallest", {"base": 2, "digits": 37}),
    ("add10_smallest", {"base": 36, "digits": 5}),
    ("add10_board", {}),
    ("add10_unary", {}),
    ("add10_unary", {"digits": 11, "stored": False}),
    ("add_base", {}),
    ("add_base", {"digits": 12, "tied": True}),
    ("add_base", {"digits": 10, "operands": 10}),
    ("add_base", {"digits": 8, "operands": 3, "tied": True}),
    ("add_base", {"digits": 30, "base": 2}),
    ("add_base", {"digits": 12, "base": 7, "tied": True}),
    ("add_any", {}),
    ("add_any", {"digits": 30}),
    ("subtract", {}),
    ("subtract", {"digits": 12}),
    ("times_constant", {}),
    ("times_constant", {"digits": 12, "factor": 10}),
    ("times_constant", {"digits": 6, "factor": 999_999}),
    ("binary_to_decimal", {}),
    ("binary_to_decimal", {"digits": 39}),
    ("binary_to_decimal", {"digits": 12, "radix": 9}),
    ("multiply", {}),
    ("multiply", {"digits": 6}),
    ("multiply", {"digits": 11, "second": 1}),
    ("multiply", {"digits": 1, "second": 11}),
]
PRICES: list[tuple[str, dict, int, int]] = [
    ("add10_28", {}, 26, 2),
    ("add10_27", {}, 25, 2),
    ("add10_27", {"wired": True}, 22, 2),
    ("add10_smallest", {}, 25, 2),
    ("add10_smallest", {"base": 2}, 9, 2),
    ("add10_board", {}, 39, 2),
    ("add10_unary", {}, 2, 1),
    ("add10_unary", {"stored": False}, 438, 1),
    ("add_base", {}, 40, 1),
    ("add_base", {"tied": True}, 31, 1),
    ("add_base", {"base": 2, "tied": True}, 15, 1),
    ("add_any", {}, 55, 2),
    ("add_any", {"digits": 300}, 55, 2),
    ("subtract", {}, 39, 1),
    ("times_constant", {}, 38, 1),
    ("binary_to_decimal", {}, 42, 2),
    ("multiply", {}, 54, 1),
]
REFUSED: list[tuple[str, dict]] = [
    ("add10_28", {"digits": 13}),
    ("add10_27", {"digits": 13}),
    ("add10_smallest", {"digits": 11}),
    ("add10_board", {"digits": 11}),
    ("add10_smallest", {"digits": 0}),
    ("add10_unary", {"digits": 1}),
    ("add_base", {"digits": 13}),
    ("add_base", {"digits": 10, "operands": 1001}),
    ("add_any", {"digits": 1001}),
    ("subtract", {"digits": 13}),
    ("times_constant", {"digits": 12, "factor": 11}),
    ("binary_to_decimal", {"digits": 40}),
    ("multiply", {"digits": 7}),
]
SHORT: list[tuple[str, dict]] = [
    *(
        (name, {"digits": n})
        for name in ("add10_28", "add10_27", "add10_smallest", "add_any", "subtract")
        for n in (1, 2)
    ),
    *(("add_base", {"digits": n, "tied": tied}) for n in (1, 2) for tied in (False, True)),
    ("add_base", {"digits": 1, "operands": 4}),
    ("add_base", {"digits": 4, "base": 3}),
    ("add10_smallest", {"digits": 6, "base": 2}),
    ("add10_unary", {"digits": 2}),
    ("times_constant", {"digits": 4, "factor": 7}),
    ("binary_to_decimal", {"digits": 13}),
    ("binary_to_decimal", {"digits": 4, "radix": 9}),
    ("multiply", {"digits": 1}),
    ("multiply", {"digits": 2}),
    ("multiply", {"digits": 3, "second": 1}),
]


def show(value: object) -> str:
    return ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def wrong(construction: Construction, problems: list, decode=answers) -> list:
    """Problems that the built model answers wrongly: (problem, got)."""
    model, task = build(construction.program), construction.task
    got = decode(model, task, problems)
    return [(p, g) for p, g in zip(problems, got, strict=True) if tuple(g) != tuple(task.answer(p))]


@pytest.mark.parametrize(("name", "options"), MODELS, ids=show)
def test_no_hard_or_sampled_problem_is_wrong(name: str, options: dict) -> None:
    construction = construct(name, **options)
    hard = construction.task.hard()
    kept = hard if len(hard) <= 600 else Random(0).sample(hard, 600)
    assert (
        wrong(construction, kept + construction.task.structured(Random(1), 300), forced_answers)
        == []
    )
    assert wrong(construction, kept[:20] + construction.task.uniform(Random(2), 10)) == []


@pytest.mark.parametrize(("name", "options"), MODELS, ids=show)
def test_hypothesis_finds_no_wrong_problem(name: str, options: dict) -> None:
    construction = construct(name, **options)
    model, task = build(construction.program), construction.task

    @settings(max_examples=4, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(task.strategy(), min_size=20, max_size=60))
    def check(problems: list) -> None:
        assert forced_answers(model, task, problems) == [task.answer(p) for p in problems]

    check()


@pytest.mark.parametrize(("name", "options", "nonzero", "slopes"), PRICES, ids=show)
def test_the_price_is_the_same_in_equations_and_tensors(
    name: str, options: dict, nonzero: int, slopes: int
) -> None:
    program = construct(name, **options).program
    model = build(program)
    stored = sum(int((p != 0).sum()) for p in model.parameters())
    sloped = sum(
        h.slope != 0 for s in program.sublayers if isinstance(s, Attention) for h in s.heads
    )
    assert (program.nonzero, stored, sloped) == (nonzero, nonzero, slopes)


@pytest.mark.parametrize(("name", "options"), REFUSED, ids=show)
def test_options_beyond_float64_are_refused(name: str, options: dict) -> None:
    with pytest.raises(TinyadderError, match=r"digits|operands"):
        construct(name, **options)


@pytest.mark.parametrize(("name", "options"), SHORT, ids=show)
def test_every_problem_with_short_numbers_is_right(name: str, options: dict) -> None:
    construction = construct(name, **options)
    domain = construction.task.domain()
    assert domain is not None
    assert wrong(construction, [domain.problem(i) for i in range(domain.size)]) == []


@pytest.mark.parametrize(("digits", "count"), [(100, 40), (300, 6)])
def test_the_same_numbers_add_at_any_width(digits: int, count: int) -> None:
    construction = construct("add_any", digits=digits)
    problems = construction.task.structured(Random(3), count)
    chain = (10**digits - 1, 1)  # one carry through every column
    assert wrong(construction, [chain, *problems], forced_answers) == []
    assert wrong(construction, [chain]) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), MODELS, ids=show)
def test_the_whole_hard_list_is_right_decoded_freely(name: str, options: dict) -> None:
    construction = construct(name, **options)
    assert (
        wrong(
            construction, construction.task.hard() + construction.task.structured(Random(4), 20_000)
        )
        == []
    )


def test_no_rung_of_the_ladder_counts_the_27_dearer_than_the_28() -> None:
    old, new = (ladder(build(construct(name).program)) for name in ("add10_28", "add10_27"))
    assert (old["nonzero + positional"], new["nonzero + positional"]) == (28, 27)
    assert all(new[rung] <= old[rung] for rung in old)
    assert ladder(build(construct("add10_27", wired=True).program))["with wiring"] == 65


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("subtract", 1e-10),
        ("times_constant", 1e-10),
        ("binary_to_decimal", 2.0**-20),
        ("multiply", 1e-8),
    ],
)
def test_the_rest_is_what_is_claimed_to_a_thousandth_of_a_unit_of_the_last_place(
    name: str, unit: float
) -> None:
    made = construct(name)
    problems = [*made.task.hard()[:20], *made.task.structured(Random(6), 20)]
    (errors,) = check_claims(
        build(made.program), made.task, {"rest": made.claims["rest"]}, problems
    )
    assert errors.compared > 0
    assert errors.absolute < 1e-3 * unit


def test_the_lanes_of_the_smallest_adder_hold_what_is_claimed() -> None:
    made = construct("add10_smallest")
    problems = [*made.task.hard()[:20], *made.task.structured(Random(6), 20)]
    digit, parabola, group = check_claims(build(made.program), made.task, made.claims, problems)
    unit = 0.9e42 * 1e-10  # of the last place, in lanes `digit` and `parabola`
    # the rounding of ln 10 is in it, the same for every problem
    assert digit.absolute < 0.02 * unit
    assert parabola.absolute < 0.02 * unit
    assert group.relative < 1e-12


def test_a_spoilt_number_is_noticed() -> None:
    construction = construct("add10_smallest")
    model = build(construction.program)
    with torch.no_grad():
        model.embedding[1] *= 1 + 1e-9
    problems = construction.task.hard()[:500]
    assert forced_answers(model, construction.task, problems) != [
        construction.task.answer(p) for p in problems
    ]
