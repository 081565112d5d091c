"""A domain counts off every problem of a task once, and its arrays are the task's own texts."""

import numpy as np
import pytest

from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

TASKS = [
    Addition(digits=2),
    Addition(digits=2, order="least"),
    Addition(digits=1, operands=3),
    Addition(digits=3, base=2, padding=2),
    Addition(digits=1, base=16),
]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_every_problem_comes_once(task):
    domain = task.domain()
    problems = [domain.problem(i) for i in range(domain.size)]
    assert len(set(problems)) == domain.size == task.base ** (task.digits * task.operands)
    assert all(0 <= n <= task.largest for problem in problems for n in problem)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_the_arrays_are_the_texts_of_the_problems(task):
    domain = task.domain()
    start, stop = domain.size // 3, domain.size
    problems = [domain.problem(i) for i in range(start, stop)]
    texts = task.encode([[*task.prompt(p), *task.answer(p)] for p in problems])
    assert np.array_equal(domain.texts(start, stop), texts)


def test_fewer_digits_keep_the_format_of_the_task():
    domain = Addition(digits=10).domain(digits=1)
    assert (domain.size, domain.name) == (100, "the pairs of numbers of at most 1 digit")
    assert (
        "".join(Addition().vocabulary[i] for i in domain.texts(99, 100)[0])
        == "^0000000009+0000000009=00000000018"
    )


def test_a_domain_too_large_for_int64_still_counts_its_problems():
    domain = Addition(digits=10).domain()
    assert domain.size == 10**20 and domain.texts is None
    assert domain.problem(10**20 - 1) == (9999999999, 9999999999)


@pytest.mark.parametrize(
    ("limits", "said"), [({"digits": 11}, "digits=11"), ({"depth": 1}, "'depth'")]
)
def test_a_limit_the_task_does_not_have_is_named(limits, said):
    with pytest.raises(TinyadderError, match=said):
        Addition(digits=10).domain(**limits)
