"""The number of 1s so far, modulo 2."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, prefix, tokens


def construct(*, length: int = 10) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens("01")
    return compile(prefix().sum(x == "1") % 2, length=length, causal=True)
