"""Sequence programs: what they mean, what they print, what they refuse; and weights that do what
they mean.
"""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from tinyadder.commands.cases import read_cases, run_case
from tinyadder.errors import TinyadderError
from tinyadder.programs import (
    compile,
    everywhere,
    from_graph,
    indices,
    key,
    lift,
    prefix,
    tokens,
    where,
)

DATA = Path(__file__).parent / "data"
CASES = {case.name: case for case in read_cases(DATA / "program_cases.json")}
TRACR = {
    case["name"]
    for case in json.loads((DATA / "program_cases.json").read_text())["cases"]
    if case["source"] == "tracr"
}
x, i = tokens("abc"), indices()
length = everywhere().count()

MEANINGS = [
    (length, "abc", [3, 3, 3]),
    ((key(i) == length - i - 1).pick(x), "abca", list("acba")),
    ((key(x) == x).count(), "abca", [2, 1, 1, 2]),
    (prefix().mean(x == "a"), "aba", [1, Fraction(1, 2), Fraction(2, 3)]),
    ((key(i) == i - 1).pick(x), "abc", [None, "a", "b"]),
    ((prefix() & (key(x) == x)).earliest(i), "abab", [0, 1, 0, 1]),
    (((key(x) == x) & (key(i) < i)).latest(i, default=-1), "abab", [-1, -1, 0, 1]),
    (((key(x) == "a") | (key(i) == 0)).count(), "baca", [3, 3, 3, 3]),
    ((~(key(x) == x)).count(), "abca", [2, 3, 3, 2]),
    (where(x == "a", i, -i), "ba", [0, 1]),
]


@pytest.mark.parametrize(
    ("program", "text", "expected"), MEANINGS, ids=[repr(m[0]) for m in MEANINGS]
)
def test_a_program_is_its_own_meaning(program, text, expected):
    assert program(text) == expected


def test_equal_programs_are_one_object():
    assert (key(x) == x).count() is (key(tokens("abc")) == tokens("abc")).count()
    assert x + 1 - 1 is x if x.op != "tokens" else True
    assert (i + 1) - 1 is i


MISUSE = [
    (lambda: bool(x == "a"), "neither true nor false"),
    (lambda: bool(key(x) == x), "selects positions"),
    (lambda: (key(x) == x) + 1, "unsupported operand"),
    (lambda: lift(lambda a: a, key(x) == x), "is a selector"),
    (lambda: key(x) == key(x), "both sides are at the attended position"),
    (lambda: lift(lambda a: a, key(x)), "stands for the attended position"),
    (lambda: x + "a", "is not a number"),
    (lambda: x / x, "divide by a number"),
    (lambda: tokens("aa"), "each once"),
    (lambda: x("abz"), "token 'z' at position 2; this program reads a b c"),
    (lambda: everywhere().pick(x)("ab"), "selects 2 positions"),
    (lambda: compile(x, length=0), "expected a positive integer"),
    (lambda: compile(i, length=3), "give vocabulary="),
    (lambda: compile(x, length=3).prompt("abca"), "this model is exact to 3: compile it"),
    (lambda: compile(x.map(lambda v: 1 // 0), length=3), "ZeroDivisionError"),
]


@pytest.mark.parametrize(("action", "message"), MISUSE, ids=[m for _, m in MISUSE])
def test_misuse_is_answered_in_the_words_of_the_program(action, message):
    with pytest.raises((TinyadderError, TypeError)) as refused:
        action()
    assert message in str(refused.value)


QUICK = [name for name in CASES if name in TRACR][::2]


@pytest.mark.parametrize("name", QUICK)
def test_every_vector_of_a_case_is_right(name):
    row = run_case(CASES[name])
    assert (row["refused"], row["wrong"], row["first"]) == (None, 0, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in QUICK])
def test_every_vector_of_every_case_is_right(name):
    row = run_case(CASES[name])
    assert (row["refused"], row["wrong"], row["first"]) == (None, 0, None)


def test_a_wrong_vector_is_noticed():
    case = CASES["tracr_hist"]
    *first, last = case.vectors[0].output
    vector = replace(case.vectors[0], output=(*first, last + 1))
    assert run_case(replace(case, vectors=(vector,)))["wrong"] == 1


def test_graphs_that_cannot_be_read_are_refused_by_name():
    node = {"id": "a", "op": "jump", "inputs": []}
    with pytest.raises(TinyadderError, match="unknown operation 'jump'"):
        from_graph({"nodes": [node], "output": "a"}, "ab")
    with pytest.raises(TinyadderError, match="reads 'b', which no earlier node gives"):
        from_graph({"nodes": [node | {"inputs": ["b"]}], "output": "a"}, "ab")
