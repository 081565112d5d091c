"""Sequence programs: what they mean, what they print, what they refuse; and weights that do what
they mean.
"""

import json
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from tinyadder.commands.cases import Vector, read_cases, run_case, run_vector
from tinyadder.errors import TinyadderError
from tinyadder.machine.compile import build
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
OWN = {case.name: case for case in read_cases(DATA / "own_program_cases.json")}
"""Random graphs. Their outputs are those of two evaluations in plain Python: of the format, and of
the generator, in fractions.
"""
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


@pytest.mark.parametrize("name", [*OWN][::4])
def test_every_vector_of_a_random_graph_is_right(name):
    row = run_case(OWN[name])
    assert (row["refused"], row["wrong"], row["first"]) == (None, 0, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for n, name in enumerate(OWN) if n % 4])
def test_every_vector_of_every_random_graph_is_right(name):
    row = run_case(OWN[name])
    assert (row["refused"], row["wrong"], row["first"]) == (None, 0, None)


def test_the_random_graphs_are_of_every_kind():
    nodes = [node for case in OWN.values() for node in case.program["nodes"]]
    predicates = {node.get("predicate", "pairs") for node in nodes if node["op"] == "select"}
    assert {node["op"] for node in nodes} == {
        *("tokens", "indices", "full", "map", "sequence_map", "linear_sequence_map"),
        *("select", "selector_width", "aggregate"),
    }
    assert predicates == {"==", "!=", "<", "<=", ">", ">=", "true", "false", "pairs"}
    assert {case.attention for case in OWN.values()} == {"bidirectional", "causal"}
    assert {case.encoding for case in OWN.values()} == {"categorical", "numerical"}
    assert all(3 <= len(case.vectors) <= 6 for case in OWN.values()) and len(OWN) == 40


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


ODD = [
    ({"op": "map", "inputs": ["t"], "table": [["a"]]}, "row ['a'] has not 1 arguments and a value"),
    ({"op": "map", "inputs": ["t"], "table": []}, "has no value that can occur"),
    (
        {"op": "linear_sequence_map", "inputs": ["t"], "factors": [1, 1]},
        "node 'm' (linear_sequence",
    ),
    ({"op": "aggregate", "inputs": ["t", "t"], "default": 0}, "node 'm' (aggregate) is not sound"),
    ({"op": "full", "inputs": [], "fill": {}}, "{} cannot be a value of a program"),
    ({"op": "tokens", "inputs": [], "id": "t"}, "two nodes have the id 't'"),
]


@pytest.mark.parametrize(("node", "message"), ODD, ids=[message for _, message in ODD])
def test_a_case_with_an_odd_node_is_refused_and_the_others_are_run(node, message):
    nodes = [{"id": "t", "op": "tokens", "inputs": []}, {"id": "m"} | node]
    case = replace(CASES["tracr_hist"], program={"nodes": nodes, "output": nodes[1]["id"]})
    assert message in run_case(case)["refused"]


def test_texts_that_a_program_does_not_read_are_wrong_vectors():
    known = CASES["tracr_hist"].vectors[0]
    bad = [replace(known, input=text, output=(1,) * len(text)) for text in (("?",), ())]
    row = run_case(replace(CASES["tracr_hist"], vectors=(known, *bad)))
    assert row["wrong"] == 2 and "token '?'" in row["first"]


def test_values_that_have_no_order_are_named():
    mixed = tokens(["a", 1])
    with pytest.raises(TinyadderError, match=r"cannot compare 'a' and 1|cannot compare 1 and 'a'"):
        compile((key(mixed) < mixed).count(), length=2)


CNT = (key(x) == x).count()
DIGITS = tokens([0, 1, 2])


def largest(value):
    """The value that none exceeds."""
    return (key((key(value) > value).count()) == 0).earliest(value)


def run_so_far():
    starts = (key(i) == i - 1).pick(x, default="_") != x
    return i - (prefix() & (key(starts) == True)).latest(i) + 1  # noqa: E712


def second_most_frequent():
    top = (key((key(CNT) > CNT).count()) == 0).earliest(x)
    rest = where(x == top, 0, CNT)
    best = (key((key(rest) > rest).count()) == 0) & (key(rest) > 0)
    return best.earliest(x, default="-")


def second(text):
    top = max(dict.fromkeys(text), key=text.count)
    rest = [letter for letter in dict.fromkeys(text) if letter != top]
    return max(rest, key=text.count) if rest else "-"


def runs(text):
    found = []
    for k, letter in enumerate(text):
        found.append(found[-1] + 1 if k and text[k - 1] == letter else 1)
    return found


FRESH = {
    "second most frequent": (second_most_frequent(), "abc", lambda t: [second(t)] * len(t)),
    "longest run": (largest(run_so_far()), "abc", lambda t: [max(runs(t))] * len(t)),
    "least frequent, last": (
        (key((key(CNT) < CNT).count()) == 0).latest(x),
        "abc",
        lambda t: [[c for c in t if t.count(c) == min(map(t.count, t))][-1]] * len(t),
    ),
    "caesar by position": (
        lift(lambda c, p: "abc"[("abc".index(c) + p) % 3], x, i),
        "abc",
        lambda t: ["abc"[("abc".index(c) + k) % 3] for k, c in enumerate(t)],
    ),
    "moving average": (
        ((key(i) <= i + 1) & (key(i) >= i - 1)).mean(DIGITS),
        [0, 1, 2],
        lambda t: [sum(t[max(0, k - 1) : k + 2]) / len(t[max(0, k - 1) : k + 2]) for k in range(3)],
    ),
    "first of the largest": (
        (key((key(DIGITS) > DIGITS).count()) == 0).earliest(i),
        [0, 1, 2],
        lambda t: [t.index(max(t))] * len(t),
    ),
    "count of counts": (
        (key(CNT) == CNT).count(),
        "abc",
        lambda t: [sum(t.count(c) == t.count(d) for c in t) for d in t],
    ),
    "sum of products": (
        everywhere().sum(DIGITS * i),
        [0, 1, 2],
        lambda t: [sum(k * v for k, v in enumerate(t))] * len(t),
    ),
}


@pytest.mark.parametrize("width", ["each", "min"])
@pytest.mark.parametrize("name", FRESH)
def test_a_program_that_a_user_would_write_is_right_on_every_short_text(name, width):
    program, letters, reference = FRESH[name]
    made = compile(program, length=3, width=width)
    model = build(made.program)
    for text in product(letters, repeat=3):
        wanted = tuple(reference(text))
        _, right = run_vector(made, model, Vector(input=text, output=wanted))
        assert right, (text, wanted)


def test_lanes_share_columns_and_say_so():
    """A column is empty before another lane comes: beside an old value of 1e40, 1 would be lost."""
    each, least = (compile(FRESH["longest run"][0], length=3, width=w) for w in ("each", "min"))
    assert least.program.stream.width < each.program.stream.width
    assert "units clear it between" in least.explain()
    assert set(least.column_of) == set(each.column_of)
