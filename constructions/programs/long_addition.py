"""a+b with n digits each: the digits of the sum under b, a last carry under the plus."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, tokens, where


def construct(*, digits: int = 4) -> Construction:
    """Exact for texts of at most `length` tokens."""
    x, i = tokens("0123456789+"), indices()
    plus = (key(x) == "+").pick(i, default=0)
    digit = x.map(lambda token: 0 if token == "+" else int(token))
    total = digit + (key(i) == i - plus - 1).pick(digit, default=0)
    carry = ((key(i) > i) & (key(total) != 9)).earliest(total > 9, default=0)
    here = where(i == plus, carry, (total + carry) % 10)
    return compile(where(i < plus, 0, here), length=2 * digits + 1)
