"""The text backwards."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, everywhere, indices, key, tokens


def construct(*, length: int = 10, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens(letters), indices()
    n = everywhere().count()
    return compile((key(i) == n - 1 - i).pick(x), length=length)
