"""Of the brackets of 2 kinds so far, properly nested: T balanced, P possible, F wrong."""

from tinyadder.construction import Construction
from tinyadder.programs import Seq, compile, key, prefix, tokens, where


def construct(*, length: int = 10) -> Construction:
    """Exact for texts of at most `length` tokens."""
    return compile(state("(){}"), length=length, causal=True)


def state(kinds: str) -> Seq:
    """T, P or F, for the pairs of brackets in `kinds`."""
    x = tokens(kinds)
    opens, kind = x.map(lambda b: kinds.index(b) % 2 == 0), x.map(lambda b: kinds.index(b) // 2)
    depth = prefix().sum(where(opens, 1, -1))
    opened = (prefix() & (key(where(opens, depth, -1)) == depth + 1)).latest(kind, default=-1)
    wrong = prefix().sum(where(opens, False, opened != kind))
    return where(wrong > 0, "F", where(depth == 0, "T", "P"))
