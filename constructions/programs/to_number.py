"""The whole number that the digits of the text spell, everywhere."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, everywhere, indices, tokens


def construct(*, length: int = 3, answers: str = "tokens") -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens("0123456789"), indices()
    power = (everywhere().count() - 1 - i).map(lambda place: 10 ** max(0, int(place)))
    return compile(everywhere().sum(x.map(int) * power), length=length, answers=answers)
