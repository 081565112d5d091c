"""The token before, nothing at the first."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, tokens


def construct(*, length: int = 10, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens(letters), indices()
    return compile((key(i) == i - 1).pick(x), length=length, causal=True)
