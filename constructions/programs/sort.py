"""The tokens in alphabetical order; equal ones stay in order."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, prefix, tokens


def construct(*, length: int = 10, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens(letters), indices()
    rank = (key(x) < x).count() + (prefix() & (key(x) == x)).count() - 1
    return compile((key(rank) == i).pick(x), length=length)
