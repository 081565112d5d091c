"""Whether the text reads the same backwards."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, everywhere, indices, key, tokens


def construct(*, length: int = 8, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens(letters), indices()
    mirror = (key(i) == everywhere().count() - 1 - i).pick(x)
    return compile(everywhere().sum(x != mirror) == 0, length=length)
