"""Tasks on whole numbers: subtraction, scaling, conversion, multiplication."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyadder.errors import TinyadderError
from tinyadder.tasks import task_from_json
from tinyadder.tasks.arithmetic import Arithmetic
from tinyadder.tasks.conversion import Conversion
from tinyadder.tasks.multiplication import Multiplication
from tinyadder.tasks.scaling import Scaling
from tinyadder.tasks.subtraction import Subtraction

TASKS: list[Arithmetic] = [
    Subtraction(digits=4),
    Scaling(digits=4, factor=7),
    Conversion(digits=9),
    Conversion(digits=4, radix=7),
    Multiplication(digits=3),
    Multiplication(digits=4, second=1),
]


def test_prompts_and_answers_read_as_in_the_docstrings() -> None:
    assert (Subtraction(digits=4).prompt((123, 45)), Subtraction(digits=4).answer((123, 45))) == (
        "^0123-0045=",
        "0078",
    )
    assert (Scaling(digits=4).prompt((123,)), Scaling(digits=4).answer((123,))) == (
        "^0123=",
        "00861",
    )
    assert (Conversion(digits=8).prompt((42,)), Conversion(digits=8).answer((42,))) == (
        "^00101010=",
        "042",
    )
    task = Multiplication(digits=4)
    assert (task.prompt((123, 45)), task.answer((123, 45))) == ("^0123*0045=", "00005535")


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_every_source_of_problems_stays_inside_the_task(task: Arithmetic) -> None:
    problems = [*task.hard(), *task.structured(Random(0), 500), *task.uniform(Random(0), 100)]
    domain = task.domain()
    assert domain is not None
    problems += [domain.problem(i) for i in Random(1).sample(range(domain.size), 100)]
    for problem in problems:
        assert task.settle(problem) == problem
        assert all(0 <= n <= top for n, top in zip(problem, task.tops, strict=True))
        assert len(task.answer(problem)) == task.answer_length
        assert int(task.answer(problem)) == task.result(problem)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_domain_counts_every_problem_once(task: Arithmetic) -> None:
    small = type(task)(**{**task.to_json()["options"], "digits": 2})
    domain = small.domain()
    assert domain is not None
    problems = {domain.problem(i) for i in range(domain.size)}
    assert len(problems) == domain.size
    assert problems >= set(small.hard())


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_arrays_of_a_domain_are_its_texts(task: Arithmetic) -> None:
    domain = task.domain()
    assert domain is not None
    if domain.texts is None:
        assert isinstance(task, Subtraction)  # pairs a >= b are counted off one by one
        return
    for start in (0, domain.size // 3, domain.size - 20):
        problems = [domain.problem(i) for i in range(start, start + 20)]
        wanted = task.encode([[*task.prompt(p), *task.answer(p)] for p in problems])
        assert np.array_equal(domain.texts(start, start + 20), wanted)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_samples_come_beside_boundaries_of_digits(task: Arithmetic) -> None:
    near = [task.result(p) for p in task.structured(Random(2), 600)]
    unit = 100
    close = sum(1 for n in near if min(n % unit, unit - n % unit) <= 10)
    free = [task.result(p) for p in task.uniform(Random(2), 600)]
    assert close > 1.2 * sum(1 for n in free if min(n % unit, unit - n % unit) <= 10)


@settings(max_examples=60)
@given(st.data())
@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_show_and_parse_are_inverse(task: Arithmetic, data: st.DataObject) -> None:
    problem = data.draw(task.strategy())
    assert task.parse(task.show(problem)) == problem
    assert task_from_json(task.to_json()) == task
    assert all(task.settle(simpler) == simpler for simpler in task.simpler(problem))


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        (Subtraction(digits=4), "3 - 5", r"a >= b"),
        (
            Subtraction(digits=4),
            "12345 - 5",
            r"'12345' has 5 digits; this task takes 0 \.\. 9999 - 0 \.\. 9999",
        ),
        (Subtraction(digits=4), "12", r"2 number\(s\) are expected"),
        (Scaling(digits=4), "", "empty"),
        (Scaling(digits=4), "1x", "'1x' is not a whole number in base 10"),
        (
            Conversion(digits=4),
            "102",
            r"'102' is not a whole number in base 2; this task takes 0 \.\. 1111 in base 2",
        ),
        (Multiplication(digits=4, second=1), "12 * 12", "'12' has 2 digits"),
    ],
)
def test_problems_outside_the_task_are_refused_in_words(
    task: Arithmetic, text: str, message: str
) -> None:
    with pytest.raises(TinyadderError, match=message):
        task.parse(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Subtraction(digits=0),
        lambda: Scaling(factor=0),
        lambda: Conversion(radix=10),
        lambda: Multiplication(second=-1),
    ],
)
def test_options_outside_their_range_are_refused(make) -> None:
    with pytest.raises(TinyadderError, match="expected an integer"):
        make()


def test_wrong_answers_can_be_shown() -> None:
    assert Scaling().show_answer("00^1=") == "00^1="
    assert Scaling().show_answer("00010") == "10"
    assert Scaling().show_answer("") == ""
