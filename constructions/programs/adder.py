"""Adds two numbers digit by digit, most significant first: the carry is looked up, not computed."""

from tinyadder.construction import Construction
from tinyadder.programs import compile, indices, key, tokens
from tinyadder.tasks.addition import Addition


def construct(*, digits: int = 3) -> Construction:
    """`^123+456=`, then the digits of the sum; a carry is where the last sum is not 9."""
    task = Addition(digits=digits)
    x, i = tokens(task.vocabulary), indices()
    value = x.map(lambda token: int(token) if token.isdigit() else 0)
    second = (i > digits + 1) & (i < 2 * digits + 2)
    total = value + (key(i) == i - digits - 1).pick(value, default=0)
    here = (key(i) == i - digits - 1) & (key(second) == 1)
    later = (key(i) > i - digits - 1) & (key(second) == 1) & (key(total) != 9)
    digit = here.pick(total, default=0) + later.earliest(total > 9, default=0)
    longest = 3 * digits + 4
    return compile((digit % 10).map(str), length=longest, task=task)
