"""The computer of constructions/programs: its trace, its weights, and what is proved of them."""

from pathlib import Path
from random import Random

import pytest

from tinyadder.construction import construct
from tinyadder.errors import TinyadderError
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.programs import Refused, compile, key, prefix, tokens
from tinyadder.tasks.computer import Computer

FILE = Path(__file__).parents[1] / "constructions" / "programs" / "computer.py"


@pytest.fixture(scope="module")
def small():
    made = construct(str(FILE), word=12, length=400, steps=300)
    return made, build(made.program)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("multiply | 7 9", "63"),
        ("multiply | 0 9", "0"),
        ("gcd | 84 36", "12"),
        ("gcd | 0 5", "5"),
        ("primes | 30", "2 3 5 7 11 13 17 19 23 29"),
        ("game | 12 3 2 1", "12 1 8 2 4 3 0"),
        ("", "nothing"),
        ("in; out; in; out | 5", "5 0"),
    ],
)
def test_the_examples_compute_what_they_say(text, printed):
    task = Computer(length=20_000, steps=15_000)
    assert task.show_answer(task.answer(task.parse(text))) == printed


def test_every_token_of_the_trace_is_right(small):
    made, model = small
    problems = [*made.task.hard(), *made.task.structured(Random(3), 150)]
    text = "set 1; store 2; in; store 1; again: load 1; out; sub 2; store 1; zero end; jump again"
    problems.append(made.task.parse(text + "; end: halt | 3"))
    given = answers(model, made.task, problems)
    assert [tuple(g) for g in given] == [made.task.answer(p) for p in problems]


def test_a_problem_is_read_back_as_it_is_shown():
    task = Computer(word=16)
    for problem in [*task.hard(), *task.uniform(Random(1), 50)]:
        assert task.parse(task.show(problem)) == problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ad 3", "line 0: 'ad' is not one of"),
        ("add 300", "line 0: 300 is not a number from 0 to 255"),
        ("jump nowhere", "line 0: 'nowhere' is not a number"),
        ("add 3 4", "line 0: 'add 3 4'"),
        ("in | x", "the input: 'x' is not a number"),
    ],
)
def test_a_wrong_program_is_refused_in_one_line(text, message):
    with pytest.raises(TinyadderError, match=message):
        Computer().parse(text)


def test_lengths_at_which_scores_are_not_integers_any_more_are_refused():
    x = tokens(range(600))
    found = (prefix() & (key(x) == x)).latest(x, 0)
    assert compile(found, length=90_000, causal=True, exact=True).length == 90_000
    with pytest.raises(Refused, match="float64 holds every integer to 2\\^53"):
        compile(found, length=2**24, causal=True, exact=True)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: prefix().count(),
        lambda x: prefix().sum(x),
        lambda x: prefix().mean(x),
        lambda x: (prefix() & (key(x) == 1)).latest(x / 2, 0),
    ],
)
def test_what_is_not_a_lookup_of_integers_is_not_exact(program):
    with pytest.raises(Refused, match="exact"):
        compile(program(tokens(range(4))), length=5, causal=True, exact=True)
