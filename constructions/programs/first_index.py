"""Where the token occurs for the first time."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, prefix, tokens


def construct(*, length: int = 10, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens(letters), indices()
    return compile((prefix() & (key(x) == x)).earliest(i), length=length, causal=True)
