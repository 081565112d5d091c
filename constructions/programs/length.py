"""The length of the text, everywhere."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, everywhere


def construct(*, length: int = 10, letters: str = "abcde") -> Construction:
    """Exact for texts of at most `length` tokens."""
    return compile(everywhere().count(), length=length, vocabulary=letters)
