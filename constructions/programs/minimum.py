"""The smallest number of the text, everywhere."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, key, tokens


def construct(*, length: int = 8, largest: int = 9) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens(range(largest + 1))
    least = (key(x) < x).count() == 0
    return compile((key(least) == 1).latest(x), length=length)
