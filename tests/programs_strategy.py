"""A hypothesis strategy of well-typed sequence programs, for the tests of the compiler."""

from __future__ import annotations

from hypothesis import strategies as st

from tinyadder.programs import Seq, everywhere, indices, key, prefix, tokens, where

LETTERS = "abc"
x, i = tokens(LETTERS), indices()
digit = x.map({"a": 0, "b": 1, "c": 2})


def numbers(depth: int) -> st.SearchStrategy[Seq]:
    """Programs whose values are small whole numbers."""
    if depth == 0:
        return st.sampled_from([digit, i, digit - i, digit * 2 - 1])
    below, truth, chosen = numbers(depth - 1), truths(depth - 1), selectors(depth - 1)
    return st.one_of(
        below,
        chosen.map(lambda s: s.count()),
        st.builds(lambda s, v: s.sum(v), chosen, truth),
        st.builds(lambda s, v, d: s.latest(v, default=d), chosen, below, st.integers(-1, 2)),
        st.builds(lambda s, v, d: s.earliest(v, default=d), chosen, below, st.integers(-1, 2)),
        st.builds(lambda a, b: a + b, below, below),
        st.builds(lambda a, b: a - 2 * b, below, below),
        st.builds(where, truth, below, below),
        st.builds(lambda a: a.map(lambda v: abs(int(v)) % 3), below),
        st.builds(lambda k, v: (key(i) == i - k).pick(v, default=0), st.integers(1, 2), below),
    )


def truths(depth: int) -> st.SearchStrategy[Seq]:
    """Programs whose values are true and false."""
    plain = st.sampled_from([x == "a", x != "b", i > 1, x == "c"])
    if depth == 0:
        return plain
    below, number = truths(depth - 1), numbers(depth - 1)
    return st.one_of(
        plain,
        st.builds(lambda a, b: a & b, below, below),
        st.builds(lambda a, b: a | ~b, below, below),
        st.builds(lambda a, b: a < b, number, number),
        st.builds(lambda a, b: a == b, number, st.integers(0, 2)),
    )


def selectors(depth: int) -> st.SearchStrategy:
    """Selectors by tokens, positions, numbers and truths, joined by and, or, not."""
    plain = st.sampled_from(
        [everywhere(), prefix(), key(x) == x, key(i) < i, key(i) > i, key(x) == "b", key(x) <= x]
    )
    if depth == 0:
        return plain
    below, number, truth = selectors(depth - 1), numbers(depth - 1), truths(depth - 1)
    return st.one_of(
        plain,
        st.builds(lambda a, b: key(a) == b, number, number),
        st.builds(lambda a, b: key(a) < b, number, number),
        st.builds(lambda a: key(a) == True, truth),  # noqa: E712
        st.builds(lambda a, b: a & b, below, below),
        st.builds(lambda a, b: a | b, plain, below),
        st.builds(lambda a: ~a, plain),
    )


def programs() -> st.SearchStrategy[Seq]:
    """Any program of depth 1 or 2."""
    means = st.builds(lambda s, v, d: s.mean(v, default=d), selectors(1), numbers(1), st.just(0))
    return st.one_of(numbers(1), numbers(2), truths(2), means)


def texts(longest: int) -> st.SearchStrategy[str]:
    """Texts of 1 to `longest` letters."""
    return st.text(LETTERS, min_size=1, max_size=longest)
