"""The same of the text so far: F closed too often, P still open, T balanced."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, prefix, tokens, where


def construct(*, length: int = 8) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens("(){}")
    steps = [x.map({"(": 1, ")": -1, "{": 0, "}": 0}), x.map({"(": 0, ")": 0, "{": 1, "}": -1})]
    depths = [prefix().sum(step) for step in steps]
    low = (depths[0] < 0) | (depths[1] < 0)
    state = where(prefix().sum(low) > 0, "F", where(depths[0] + depths[1] > 0, "P", "T"))
    return compile(state, length=length, causal=True)
