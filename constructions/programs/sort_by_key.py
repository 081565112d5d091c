"""Tokens are (name, key): the names in the order of their keys, ties in the order of the text."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, prefix, tokens


def construct(*, length: int = 8, names: str = "abcde", keys: int = 4) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens([(a, k) for a in names for k in range(keys)]), indices()
    name, weight = x.map(lambda token: token[0]), x.map(lambda token: token[1])
    rank = (key(weight) < weight).count() + (prefix() & (key(weight) == weight)).count() - 1
    return compile((key(rank) == i).pick(name), length=length)
