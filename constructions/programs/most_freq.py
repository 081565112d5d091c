"""The different tokens by falling count, ties by first appearance, then nothing."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, prefix, tokens, where


def construct(*, length: int = 8, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens(letters), indices()
    often = (key(x) == x).count()
    first = (prefix() & (key(x) == x)).count() == 1
    firsts = key(first) == 1
    before = (firsts & (key(often) > often)).count()
    before += (prefix() & firsts & (key(often) == often)).count() - 1
    place = where(first, before, -1)
    return compile((key(place) == i).pick(x), length=length)
