"""How many different tokens occur exactly as often as this one."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, key, prefix, tokens


def construct(*, length: int = 10, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens(letters)
    often = (key(x) == x).count()
    first = (prefix() & (key(x) == x)).count() == 1
    same = (key(often) == often) & (key(first) == 1)
    return compile(same.count(), length=length)
