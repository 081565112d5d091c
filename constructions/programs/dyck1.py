"""Of the brackets so far: T balanced, P still possible, F wrong for ever."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, prefix, tokens, where


def construct(*, length: int = 10) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens("()")
    depth = prefix().sum(x.map({"(": 1, ")": -1}))
    wrong = prefix().sum(depth < 0)
    state = where(wrong > 0, "F", where(depth == 0, "T", "P"))
    return compile(state, length=length, causal=True)
