"""Whether each kind of bracket is balanced when the other is ignored, of the whole text."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, everywhere, prefix, tokens


def construct(*, length: int = 8) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x = tokens("(){}")
    steps = [x.map({"(": 1, ")": -1, "{": 0, "}": 0}), x.map({"(": 0, ")": 0, "{": 1, "}": -1})]
    depths = [prefix().sum(step) for step in steps]
    low = (depths[0] < 0) | (depths[1] < 0)
    totals = [everywhere().sum(step) for step in steps]
    right = (everywhere().sum(low) == 0) & (totals[0] == 0) & (totals[1] == 0)
    return compile(right, length=length)
