"""What holds for every task: what determines an answer, and the hard cases that models gave."""

from collections.abc import Callable
from random import Random

import pytest

from tinyadder.errors import TinyadderError
from tinyadder.tasks import task_from_json, task_names
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.counterexamples import counterexamples, recorded
from tinyadder.tasks.derivative import Derivative
from tinyadder.train.data import split_of
from tools.counterexamples import in_results, text

TASKS = {
    name: task_from_json({"name": name, "options": {}})
    for name in task_names()
    if name not in ("custom", "sequences")  # their problems and answers are a function's
}


def changes(task: Task) -> dict[str, Callable[[Random, Problem], Problem]]:
    """Ways to make a problem another: reversed, or, of a tuple, one place drawn anew."""
    (first,) = task.uniform(Random(0), 1)

    def redrawn(place: int) -> Callable[[Random, Problem], Problem]:
        def change(random: Random, problem: Problem) -> Problem:
            (other,) = task.uniform(random, 1)
            return problem[:place] + other[place : place + 1] + problem[place + 1 :]

        return change

    def exchanged(random: Random, problem: Problem) -> Problem:
        return problem[::-1]

    places = range(len(first)) if isinstance(first, tuple) else ()
    return {"exchanged": exchanged} | {
        f"place {place} drawn anew": redrawn(place) for place in places
    }


def split_too_fine(task: Task) -> list[str]:
    """Changes that never changed the answer of any of 400 problems, and yet changed the key."""
    found = []
    for name, change in changes(task).items():
        random, same, keys, changed = Random(1), True, True, 0
        for problem in [*task.uniform(random, 100), *task.structured(random, 300)]:
            try:
                other = task.check(change(random, problem))
                answers = task.answer(problem), task.answer(other)
            except (TinyadderError, TypeError):
                continue
            changed += other != problem
            same = same and answers[0] == answers[1]
            keys = keys and task.split_key(problem) == task.split_key(other)
        if changed and same and not keys:
            found.append(name)
    return found


@pytest.mark.parametrize("name", TASKS)
def test_problems_whose_answer_is_determined_alike_are_on_one_side_of_a_split(name):
    assert split_too_fine(TASKS[name]) == []


def test_a_split_that_takes_what_does_not_matter_for_a_difference_is_noticed():
    class ByPolynomial(Derivative):
        def split_key(self, problem):
            return problem

    class Ordered(Addition):
        def split_key(self, problem):
            return problem

    assert split_too_fine(ByPolynomial()) == ["place 0 drawn anew"]
    assert split_too_fine(Ordered()) == ["exchanged"]


def test_polynomials_that_differ_in_the_constant_are_on_one_side_and_are_two_problems():
    task = Derivative()
    for problem in task.balanced(Random(3), 200):
        other = (-problem[0] or 1, *problem[1:])
        assert split_of(task, problem, 0.2) == split_of(task, other, 0.2)
        assert task.answer(problem) == task.answer(other)
        assert task.distinct_key(problem) != task.distinct_key(other)


def test_every_wrong_answer_in_the_committed_results_is_a_hard_case_for_ever():
    for name, problems in in_results().items():
        missing = [problem for problem in problems if problem not in recorded()[name]]
        assert missing == [], "run: python -m tools.renew counterexamples"


def test_recorded_counterexamples_are_hard_cases_of_every_task_that_takes_them():
    assert (1, 0) in TASKS["addition_steps"].hard() and (298, 947) in Addition(digits=3).hard()
    assert (0, 1, 0, 0, -1, 1) in Derivative().hard()
    for task in (Addition(), Addition(digits=3, order="least"), Derivative(order="printed")):
        found = counterexamples(task)
        assert found and task.hard()[: len(found)] == found
    small = counterexamples(Derivative(coefficients=2))
    assert small and all(abs(c) <= 2 for problem in small for c in problem)


def test_a_new_counterexample_is_put_behind_and_none_is_ever_taken_out():
    kept = {"addition": [[1, 2]], "gcd": [[3, 4]]}
    assert text(kept, {"addition": [[5, 6], [1, 2]]}) == (
        '{\n "addition": [\n  [1, 2],\n  [5, 6]\n ],\n "gcd": [\n  [3, 4]\n ]\n}\n'
    )
