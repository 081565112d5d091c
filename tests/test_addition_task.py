"""The addition task: what is written, what is read back, and what a person is told who asks for
something else.
"""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import Addition

TASKS = [
    Addition(),
    Addition(digits=1),
    Addition(digits=4, base=2),
    Addition(digits=3, base=16, order="least"),
    Addition(digits=5, operands=3),
    Addition(digits=6, order="least", padding=2),
    Addition(digits=2, base=36, operands=5),
]


def number(digits, task):
    """The integer that written digits mean, read with Python's own int."""
    return int(digits if task.order == "most" else digits[::-1], task.base)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_prompt_and_answer_say_the_sum(task):
    for problem in [*task.hard()[:300], *task.uniform(Random(0), 50)]:
        prompt, answer = task.prompt(problem), task.answer(problem)
        assert prompt[0] == "^" and prompt[-1] == "="
        written = prompt[1:-1].split("+")
        assert {len(word) for word in written} == {task.digits + task.padding}
        assert tuple(number(word, task) for word in written) == problem
        assert number(answer, task) == sum(problem) and len(answer) == task.answer_length


def test_the_ten_digit_format_is_the_published_one():
    task = Addition()
    assert task.prompt((123, 456)) == "^0000000123+0000000456="
    assert task.answer((123, 456)) == "00000000579"
    assert Addition(digits=3, order="least").prompt((12, 345)) == "^210+543="


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_the_answer_has_room_for_the_largest_sum_and_no_more(task):
    most = task.operands * task.largest
    assert task.base ** (task.answer_length - 1) <= most < task.base**task.answer_length


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_what_is_shown_is_read_back(task):
    for problem in [
        *task.hard()[:300],
        *task.uniform(Random(1), 50),
        *task.structured(Random(1), 50),
    ]:
        assert task.parse(task.show(problem)) == problem


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_tokens_are_encoded_and_decoded(task):
    problems = task.uniform(Random(2), 20)
    rows = task.encode([task.answer(problem) for problem in problems])
    assert rows.shape == (20, task.answer_length)
    assert [task.decode(row) for row in rows.tolist()] == [
        task.answer(problem) for problem in problems
    ]


@given(
    st.integers(0, 10**10 - 1),
    st.integers(0, 10**10 - 1),
    st.sampled_from([" ", "+", " + ", "  ", "\t", " +  "]),
)
def test_numbers_may_be_parted_by_spaces_or_plus_signs(a, b, between):
    assert Addition().parse(f" {a}{between}{b} ") == (a, b)


def test_leading_zeros_do_not_make_a_number_too_long():
    assert Addition(digits=3).parse("000000012 0007") == (12, 7)
    assert Addition(digits=3).parse("0000 0") == (0, 0)


def test_letters_are_digits_of_larger_bases_in_either_case():
    assert Addition(digits=2, base=16).parse("fF 0a") == (255, 10)
    assert Addition(digits=2, base=16).show((255, 10)) == "ff + a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the problem is empty; give 2 numbers, e.g. '12 34'"),
        ("   ", "the problem is empty; give 2 numbers, e.g. '12 34'"),
        ("12345678901 1", "'12345678901' has 11 digits; this model takes 0 .. 9999999999"),
        ("-5 7", "'-5' is negative; this model takes 0 .. 9999999999"),
        ("12 x", "'x' is not a whole number in base 10; this model takes 0 .. 9999999999"),
        ("1.5 2", "'1.5' is not a whole number in base 10; this model takes 0 .. 9999999999"),
        ("1_0 2", "'1_0' is not a whole number in base 10; this model takes 0 .. 9999999999"),
        ("٣ 2", "'٣' is not a whole number in base 10; this model takes 0 .. 9999999999"),
        ("12", "'12' has 1 number; this model adds 2, e.g. '12 34'"),
        ("1 2 3", "'1 2 3' has 3 numbers; this model adds 2, e.g. '12 34'"),
        ("12 +", "'' is not a whole number in base 10; this model takes 0 .. 9999999999"),
    ],
)
def test_a_bad_problem_gets_one_line_that_says_what_is_accepted(text, said):
    with pytest.raises(TinyadderError) as error:
        Addition().parse(text)
    assert str(error.value) == said


def test_other_bases_and_counts_say_so():
    with pytest.raises(
        TinyadderError,
        match=r"'2' is not a whole number in base 2; this model takes 0 \.\. 111 in base 2",
    ):
        Addition(digits=3, base=2).parse("2 1")
    with pytest.raises(
        TinyadderError, match=r"'1 1' has 2 numbers; this model adds 3, e\.g\. '1 1 1'"
    ):
        Addition(digits=3, base=2, operands=3).parse("1 1")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"digits": 0}, "addition: digits=0, expected an integer 1 .. 1000"),
        ({"digits": 2.0}, "addition: digits=2.0, expected an integer 1 .. 1000"),
        ({"base": 1}, "addition: base=1, expected an integer 2 .. 36"),
        ({"base": 37}, "addition: base=37, expected an integer 2 .. 36"),
        ({"order": "middle"}, "addition: order='middle', expected 'most' or 'least'"),
        ({"operands": 1}, "addition: operands=1, expected an integer 2 .. 100"),
        ({"padding": -1}, "addition: padding=-1, expected an integer 0 .. 1000"),
    ],
)
def test_a_task_that_cannot_be_is_refused(options, said):
    with pytest.raises(TinyadderError) as error:
        Addition(**options)
    assert str(error.value) == said


def test_unknown_tokens_and_ragged_texts_are_refused():
    task = Addition()
    with pytest.raises(
        TinyadderError, match=r"token '\?' is not in the vocabulary of task 'addition': 0 1 2"
    ):
        task.encode(["12?"])
    with pytest.raises(TinyadderError, match="texts of different lengths cannot share a batch"):
        task.encode(["12", "1"])


def test_wrong_answers_are_shown_as_they_are():
    task = Addition()
    assert task.show_answer("00000000579") == "579"
    assert task.show_answer("00000000000") == "0"
    assert task.show_answer("0000$") == "0000$"
    assert task.show_answer("") == ""
    assert Addition(order="least").show_answer("97500000000") == "579"


def test_what_is_left_to_write_has_the_right_digit_as_its_floor():
    task = Addition(digits=4)
    for problem in task.hard()[:400]:
        answer = task.answer(problem)
        for position, digit in enumerate(answer):
            assert int(task.remainder(problem, position)) == int(digit)
        assert task.remainder(problem, task.answer_length - 1) == int(answer[-1])
    assert Addition(order="least").remainder((1, 2), 0) is None


def test_counterexamples_come_first_among_the_hard_cases_of_every_size_that_takes_them():
    hard = Addition().hard()
    assert (4999999999, 0) in hard and (49999999, 0) in hard
    assert (49999999, 0, 0) in Addition(operands=3).hard()
    assert all(max(pair) <= 999 for pair in Addition(digits=3).hard())


def test_ten_thousand_uniform_pairs_are_those_of_the_public_checker():
    random = Random(2025)
    expected = [
        (random.randint(0, 9_999_999_999), random.randint(0, 9_999_999_999)) for _ in range(100)
    ]
    assert Addition().uniform(Random(2025), 100) == expected


def test_a_third_of_the_focused_problems_are_runs_of_equal_columns():
    task = Addition(digits=10)
    found = task.focused(Random(0), 400)

    def breaks(problem):
        columns = list(zip(*(str(number).zfill(10) for number in problem), strict=True))
        return sum(one != other for one, other in pairwise(columns))

    assert all(max(problem) <= task.largest for problem in found)
    assert sum(map(breaks, found[::3])) > 8 * 134 and sum(map(breaks, found[2::3])) < 5 * 133
    assert len(found) == 400
    assert found == task.focused(Random(0), 400)
