"""How often the token occurs in the text."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, key, tokens


def construct(*, length: int = 10, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens(letters)
    return compile((key(x) == x).count(), length=length)
