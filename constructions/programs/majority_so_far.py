"""Whether more than half of the text so far are 1."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, prefix, tokens


def construct(*, length: int = 10) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens("01"), indices()
    return compile(2 * prefix().sum(x == "1") > i + 1, length=length, causal=True)
