"""Of the brackets of 3 kinds so far, properly nested: T balanced, P possible, F wrong."""

from tinyadder.construction import Construction
from tinyadder.constructions.programs.dyck2 import state
from tinyadder.programs import compile


def construct(*, length: int = 10) -> Construction:
    """Exact for texts of at most `length` tokens."""
    return compile(state("(){}[]"), length=length, causal=True)
