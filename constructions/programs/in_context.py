"""At a letter: the digit that followed its latest earlier occurrence, or unk."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, prefix, tokens, where


def construct(*, length: int = 10, letters: str = "abcd", digits: str = "0123") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens(letters + digits), indices()
    before = (key(i) == i - 1).pick(x)
    found = (prefix() & (key(before) == x)).latest(x, default="unk")
    return compile(where(x.map(lambda t: t in letters), found, None), length=length, causal=True)
