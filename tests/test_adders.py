"""Every adder-like construction: right on its hard list and on hypothesis problems, exhaustive where small, and priced."""

from itertools import product
from random import Random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinyadder.answers import answers, forced_answers
from tinyadder.compile import build
from tinyadder.construction import Construction, construct
from tinyadder.dsl import Attention
from tinyadder.errors import TinyadderError

torch.set_num_threads(1)

SMALLEST = [{}, {"digits": 11}, {"base": 2, "digits": 38}, {"base": 36, "digits": 6}]
MODELS = [("add10_28", {}), ("add10_28", {"digits": 12}), *(("add10_smallest", options) for options in SMALLEST)]
PRICES = [("add10_28", {}, 26, 2), ("add10_smallest", {}, 25, 2), ("add10_smallest", {"base": 2}, 9, 2)]
REFUSED = [("add10_28", {"digits": 13}), ("add10_smallest", {"digits": 12}), ("add10_smallest", {"digits": 0})]


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
    kept = hard if len(hard) <= 1200 else Random(0).sample(hard, 1200)
    assert wrong(construction, kept + construction.task.sample(Random(1), 300), forced_answers) == []
    assert wrong(construction, kept[:40] + construction.task.uniform(Random(2), 20)) == []


@pytest.mark.parametrize(("name", "options"), MODELS, ids=show)
def test_hypothesis_finds_no_wrong_problem(name: str, options: dict) -> None:
    construction = construct(name, **options)
    model, task = build(construction.program), construction.task

    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(task.strategy(), min_size=20, max_size=60))
    def check(problems: list) -> None:
        assert forced_answers(model, task, problems) == [task.answer(p) for p in problems]

    check()


@pytest.mark.parametrize(("name", "options", "nonzero", "slopes"), PRICES, ids=show)
def test_the_price_is_the_same_in_equations_and_tensors(name: str, options: dict, nonzero: int, slopes: int) -> None:
    program = construct(name, **options).program
    model = build(program)
    stored = sum(int((p != 0).sum()) for p in model.parameters())
    sloped = sum(h.slope != 0 for s in program.sublayers if isinstance(s, Attention) for h in s.heads)
    assert (program.nonzero, stored, sloped) == (nonzero, nonzero, slopes)


@pytest.mark.parametrize(("name", "options"), REFUSED, ids=show)
def test_options_beyond_float64_are_refused(name: str, options: dict) -> None:
    with pytest.raises(TinyadderError, match="digits"):
        construct(name, **options)


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("name", ["add10_28", "add10_smallest"])
def test_every_sum_of_short_numbers_is_right(name: str, digits: int) -> None:
    pairs = list(product(range(10**digits), repeat=2))
    assert wrong(construct(name, digits=digits), pairs) == []


def test_a_spoilt_number_is_noticed() -> None:
    construction = construct("add10_smallest")
    model = build(construction.program)
    with torch.no_grad():
        model.embedding[1] *= 1 + 1e-9
    problems = construction.task.hard()[:500]
    assert forced_answers(model, construction.task, problems) != [construction.task.answer(p) for p in problems]
