"""Writes the letters of the text in alphabetical order, one a step, and an end."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, key, prefix, tokens


def construct(*, length: int = 6, letters: str = "abc") -> Construction:
    """Exact for texts of at most `length` letters; what is written is read again."""
    x = tokens(letters + "=$")
    after = (prefix() & (key(x) == "=")).count()
    written = prefix().sum(after) - 1
    ranks = [prefix() & (key(after) == 0) & (key(x) <= letter) for letter in letters]
    order = sum((r.count() <= written for r in ranks[1:]), ranks[0].count() <= written)
    token = order.map(lambda n: (letters + "$")[int(n)])
    return compile(token, length=length, start="=", end="$", steps=length + 1)
