"""Problems outside a task's domain are refused by every way in from Python, with what is
accepted.
"""

from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.inspect.trace import trace
from tinyadder.machine.answers import answers, forced_answers
from tinyadder.machine.compile import build
from tinyadder.machine.decode import beam_search, check_tokens, forced_logits, generate, score
from tinyadder.tasks import task_from_json, task_names
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.derivative import Derivative

ADD10 = build(construct("add10").program)
TASKS = [construct(name).task for name in construction_names()]
WITHOUT_OPTIONS = [name for name in task_names() if name != "sequences"]  # it takes a program
TASKS = list(dict.fromkeys([*TASKS, *(task_from_json({"name": n}) for n in WITHOUT_OPTIONS)]))


def refused(call) -> str:
    with pytest.raises(TinyadderError) as error:
        call()
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


@pytest.mark.parametrize(
    "ask", [answers, forced_answers, lambda m, t, ps: [trace(m, t, p, 0) for p in ps]]
)
@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ((10**10, 1), "(10000000000, 1): 10000000000 is outside 0 .. 9999999999"),
        ((-456, 1), "(-456, 1): -456 is outside 0 .. 9999999999"),
        ((10**5000, 1), "about 10^5000 is outside"),
        ((1, 2, 3), "(1, 2, 3) has 3 number(s), expected 2"),
        ((1.0, 2), "1.0 is not a whole number"),
        ((True, 2), "True is not a whole number"),
        (("1", 2), "'1' is not a whole number"),
        ("12", "'12' is not a tuple of 2 whole number(s)"),
        (12, "12 is not a tuple"),
        (None, "None is not a tuple"),
    ],
)
def test_a_problem_outside_the_domain_is_refused_with_what_is_accepted(ask, problem, said):
    found = refused(lambda: ask(ADD10, Addition(), [problem]))
    assert said in found and "this model takes 0 .. 9999999999" in found


@pytest.mark.parametrize(
    "pair",
    [
        (np.int64(123), np.uint8(4)),
        (torch.tensor(123), torch.tensor(4)),
        np.array([123, 4]),
        [123, 4],
    ],
)
def test_integers_of_other_libraries_are_integers(pair):
    assert answers(ADD10, Addition(), [pair]) == answers(ADD10, Addition(), [(123, 4)])
    checked = Addition().check(pair)
    assert checked == (123, 4) and {type(n) for n in checked} == {int}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_takes_its_own_problems_and_refuses_all_else(task):
    for problem in [
        *task.hard()[:200],
        *task.uniform(Random(0), 50),
        *task.structured(Random(0), 50),
    ]:
        assert task.check(problem) == problem
    problem = task.hard()[0]
    wrong = [None, 1, 1.5, b"12", {}, problem * 50, (10**20, 10**20), (-(10**20), 1), "~", "٣" * 3]
    for other in wrong:
        refused(lambda other=other: task.check(other))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@settings(max_examples=25)
@given(data=st.data())
def test_reading_never_fails_in_another_way_and_gives_problems_of_the_task(task, data):
    text = data.draw(
        st.one_of(st.text("0123456789abc+-*x^=:,.()[] \t٣²", max_size=30), st.text(max_size=10))
    )
    try:
        problem = task.parse(text)
    except TinyadderError as error:
        assert "\n" not in str(error)
    else:
        assert task.check(problem) == problem


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize(
    "text", ["9" * 5000 + " 1", "0" * 5000 + "1 1", "1" * 5000, "x" * 5000, "7x^" + "9" * 5000]
)
def test_numbers_of_thousands_of_digits_are_read_or_refused(task, text):
    try:
        task.check(task.parse(text))
    except TinyadderError as error:
        assert "\n" not in str(error) and len(str(error)) < 500


def test_leading_zeros_are_free_however_many():
    assert Addition().parse("0" * 5000 + "12 " + "0" * 5000) == (12, 0)


def test_shorter_polynomials_are_of_lower_degree():
    assert Derivative().check((1, 2)) == (1, 2, 0, 0, 0, 0)
    assert "is outside -5 .. 5" in refused(lambda: Derivative().check((6,)))


# ---- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    [
        lambda tokens: generate(ADD10, tokens, steps=1),
        lambda tokens: generate(ADD10, tokens, steps=1, cache=False),
        lambda tokens: score(ADD10, tokens, 1),
        lambda tokens: forced_logits(ADD10, tokens, 1),
        lambda tokens: beam_search(ADD10, tokens, 1, steps=1),
    ],
)
@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([[0, -1]], "token id -1 is outside the vocabulary; expected 0 .. 13"),
        ([[14, 0]], "token id 14 is outside the vocabulary; expected 0 .. 13"),
    ],
)
def test_what_are_no_token_ids_is_refused(run, tokens, said):
    assert said in refused(lambda: run(torch.tensor(tokens)))


def test_texts_of_floats_without_a_batch_or_without_tokens_are_refused():
    for tokens in ([[0.5, 1]], [1, 2], [[]]):
        assert "expected integers [batch, length]" in refused(
            lambda tokens=tokens: check_tokens(ADD10, torch.tensor(tokens))
        )


def test_the_plain_forward_pass_does_not_read_minus_one_as_the_last_token():
    with pytest.raises(IndexError):
        ADD10(torch.tensor([[0, -1]]))


def test_a_beam_search_on_a_program_is_refused_and_says_why():
    said = refused(lambda: answers(ADD10, Addition(), [(1, 2)], beam=2))
    assert "no log-probabilities" in said and "width 1" in said
    assert answers(ADD10, Addition(), [(1, 2)], beam=1) == ["00000000003"]


# ---- words for what people paste -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2=", "'2=' is not a whole number in base 10: leave out '='"),
        ("1+2=3", "'2=3' is not a whole number in base 10"),
        (
            "1,234,567 2",
            "'1,234,567' is not a whole number in base 10: write it without separators, 1234567",
        ),
        ("1.234.567 2", "write it without separators, 1234567"),
        ("1_000 2", "write it without separators, 1000"),
        ("V2 + 14 + 21", "'V2 + 14 + 21' is a line of Int2Int; write '14 21'"),
        ("V2 + 1 234 - 21", "is a line of Int2Int; write the numbers themselves"),
    ],
)
def test_what_people_paste_into_an_adder_is_answered_with_how_to_write_it(text, said):
    assert said in refused(lambda: Addition().parse(text))


def test_a_pair_with_thousands_separators_says_so():
    assert "write numbers without separators" in refused(
        lambda: construct("compare").task.parse("1,234 5")
    )
