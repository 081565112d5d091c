"""A hypothesis strategy of well-typed sequence programs, for the tests of the compiler."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st

from tinyadder.programs import (
    Selector,
    Seq,
    everywhere,
    indices,
    key,
    lift,
    maximum,
    minimum,
    prefix,
    tokens,
    where,
)
from tinyadder.programs.language import AGGREGATES, Both, Either, Except, Relation, walk

LETTERS = "abc"
x, i = tokens(LETTERS), indices()
digit = x.map({"a": 0, "b": 1, "c": 2})
COMPARISONS = [
    lambda a, b: a == b,
    lambda a, b: a != b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
]


def folded(value: int) -> int:
    """A function of one number that is no line."""
    return abs(int(value)) % 3


def halved(share: float) -> int:
    """A function of a mean."""
    return int(2 * share)


def mixed(a: int, b: int) -> int:
    """A function of two numbers."""
    return (int(a) * int(a) + int(b)) % 4


def near(there: int, here: int) -> bool:
    """A relation that is no comparison."""
    return abs(int(there) - int(here)) <= 1


def numbers(depth: int) -> st.SearchStrategy[Seq]:
    """Programs whose values are small whole numbers."""
    if depth == 0:
        return st.sampled_from([digit, i, digit - i, digit * 2 - 1])
    below, truth, chosen = numbers(depth - 1), truths(depth - 1), selectors(depth - 1)
    ordered = st.sampled_from(["latest", "earliest"])
    default = st.integers(-1, 2)
    return st.one_of(
        below,
        chosen.map(lambda s: s.count()),
        st.builds(lambda s, v: s.sum(v), chosen, st.one_of(truth, below)),
        st.builds(lambda s, v, d, op: getattr(s, op)(v, d), chosen, below, default, ordered),
        st.builds(lambda a, b: a + b, below, below),
        st.builds(lambda a, b: a - 2 * b, below, below),
        st.builds(lambda a, b: a * b, below, st.one_of(truth, numbers(0))),
        st.builds(lambda f, a, b: f(a, b), st.sampled_from([minimum, maximum]), below, below),
        st.builds(where, truth, below, below),
        st.builds(lambda a, m: a % m, below, st.integers(2, 3)),
        st.builds(lambda a, m: a // m, below, st.integers(2, 3)),
        below.map(lambda a: a.map(folded)),
        st.builds(lambda a, b: lift(mixed, a, b), below, below),
        letters(depth - 1).map(lambda a: a.map({"a": 2, "b": 0, "c": 1})),
        st.builds(lambda k, v: (key(i) == i - k).pick(v, default=0), st.integers(1, 2), below),
        st.builds(lambda s, v: s.mean(v).map(halved), chosen, truth),
    )


def truths(depth: int) -> st.SearchStrategy[Seq]:
    """Programs whose values are true and false."""
    plain = st.sampled_from([x == "a", x != "b", i > 1, x == "c"])
    if depth == 0:
        return plain
    below, number = truths(depth - 1), numbers(depth - 1)
    compare = st.sampled_from(COMPARISONS)
    return st.one_of(
        plain,
        st.builds(lambda a, b: a & b, below, below),
        st.builds(lambda a, b: a | ~b, below, below),
        st.builds(lambda f, a, b: f(a, b), compare, number, number),
        st.builds(lambda f, a, b: f(a, b), compare, number, st.integers(0, 2)),
        st.builds(lambda a, b: a == b, letters(depth - 1), letters(depth - 1)),
    )


def letters(depth: int) -> st.SearchStrategy[Seq]:
    """Programs whose values are letters, or None where a selector finds nothing."""
    plain = st.sampled_from([x, x.map({"a": "b", "b": "c", "c": "a"})])
    if depth == 0:
        return plain
    below = letters(depth - 1)
    back = st.integers(1, 2)
    default = st.sampled_from(["a", None])
    return st.one_of(
        plain,
        st.builds(lambda c, a, b: where(c, a, b), truths(depth - 1), below, below),
        st.builds(lambda k, v, d: (key(i) == i - k).pick(v, d), back, below, default),
        st.builds(lambda s, v, d: s.latest(v, d), selectors(depth - 1), below, default),
        st.builds(lambda v: (key(i) == everywhere().count() - 1 - i).pick(v), below),
    )


def selectors(depth: int) -> st.SearchStrategy[Selector]:
    """Selectors by tokens, positions, numbers and truths, joined by and, or, not."""
    plain = st.sampled_from(
        [everywhere(), prefix(), key(x) == x, key(i) < i, key(i) > i, key(x) == "b"]
    )
    if depth == 0:
        return plain
    below, number, truth = selectors(depth - 1), numbers(depth - 1), truths(depth - 1)
    compare = st.sampled_from(COMPARISONS)
    return st.one_of(
        plain,
        st.builds(lambda f, a, b: f(key(a), b), compare, number, number),
        st.builds(lambda f, a: f(key(a), a), compare, number),
        st.builds(lambda a, b: key(a) == b, letters(depth - 1), letters(depth - 1)),
        st.builds(lambda a, b: key(a).related(b, near), number, number),
        st.builds(lambda a: key(a) == True, truth),  # noqa: E712
        st.builds(lambda a, b: a & b, below, below),
        st.builds(lambda a, b: a | b, plain, below),
        st.builds(lambda a: ~a, below),
    )


def programs() -> st.SearchStrategy[Seq]:
    """Any program of depth 1 or 2."""
    default = st.sampled_from([0, -1, None])
    means = st.builds(lambda s, v, d: s.mean(v, default=d), selectors(1), numbers(1), default)
    return st.one_of(numbers(1), numbers(2), truths(2), letters(2), means)


def texts(longest: int) -> st.SearchStrategy[str]:
    """Texts of 1 to `longest` letters."""
    return st.text(LETTERS, min_size=1, max_size=longest)


KINDS = {
    *AGGREGATES,
    *("tokens", "indices", "constant", "affine"),
    *("==", "!=", "<", "<=", ">", ">=", "&", "|", "~", "*", "%", "//", "where"),
    *("minimum", "maximum", "table", "folded", "halved", "mixed"),
    *(f"key {sign}" for sign in ("==", "!=", "<", "<=", ">", ">=", "near")),
    *("both", "either", "except", "everywhere"),
}
"""The kinds of nodes, functions, relations and selectors of the language."""


def kinds(program: Seq) -> Counter[str]:
    """How often each of KINDS occurs in a program."""
    found: Counter[str] = Counter()

    def select(selector: Selector) -> None:
        if isinstance(selector, Relation):
            found[f"key {selector.function.name}"] += 1
        elif isinstance(selector, Both | Either):
            found[type(selector).__name__.lower()] += 1
            select(selector.left)
            select(selector.right)
        elif isinstance(selector, Except):
            found["except"] += 1
            select(selector.inner)
        else:
            found["everywhere"] += 1

    for node in walk(program):
        found[node.data.name if node.op == "map" else node.op] += 1
        if node.op in AGGREGATES:
            select(node.data[0])
    return found
