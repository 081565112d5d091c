"""The sum of the numbers so far."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, prefix, tokens


def construct(*, length: int = 8, largest: int = 3) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens(range(-largest, largest + 1))
    return compile(prefix().sum(x), length=length, causal=True)
