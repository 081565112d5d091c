"""Operands that find needles: sums first, carry chains, repdigits.

Uniform operands are nearly worthless: the published 95-parameter adder is wrong on about 7e-7 of
them, and on more than 3 % of the different pairs that `draws` give (measured in
tests/test_operands.py). Digits are lists, most significant first; a problem is a tuple of integers
below base ** digits.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

Operands = tuple[int, ...]


def value(digits: list[int], base: int) -> int:
    """The integer with these digits, most significant first.

    >>> value([1, 0, 1], 2)
    5
    """
    total = 0
    for digit in digits:
        total = total * base + digit
    return total


def digits_of(number: int, width: int, base: int) -> list[int]:
    """The `width` digits of `number`, most significant first.

    >>> digits_of(5, 4, 2)
    [0, 1, 0, 1]
    """
    digits = []
    for _ in range(width):
        number, digit = divmod(number, base)
        digits.append(digit)
    return digits[::-1]


def split(total: int, cut: int, digits: int, base: int, count: int) -> Operands:
    """Operands below base ** digits whose sum is `total` as nearly as they can: `cut` first, the
    rest greedily.
    """
    top = base**digits - 1
    parts = [min(cut, total, top)]
    rest = total - parts[0]
    for _ in range(count - 1):
        parts.append(min(rest, top))
        rest -= parts[-1]
    return tuple(parts)


# ---- samplers -----------------------------------------------------------------------------


def plain(random: Random, digits: int, base: int, count: int) -> Operands:
    """Every operand uniform."""
    return tuple(random.randrange(base**digits) for _ in range(count))


def sum_first(random: Random, digits: int, base: int, count: int) -> Operands:
    """A sum q * base^j + delta with |delta| <= 3, split at a random place: sums beside a boundary
    of a digit.
    """
    top = count * (base**digits - 1)
    j = random.randint(0, digits)
    total = random.randrange(top // base**j + 1) * base**j + random.randint(-3, 3)
    total = min(max(total, 0), top)
    least = max(0, total - (count - 1) * (base**digits - 1))
    cut = random.choice(
        (least, min(total, base**digits - 1), random.randint(least, min(total, base**digits - 1)))
    )
    return split(total, cut, digits, base, count)


def carry_chain(random: Random, digits: int, base: int, count: int) -> Operands:
    """Columns in runs: each run generates a carry, hands one on (column sum base - 1), or kills
    it.
    """
    columns: list[list[int]] = []
    while len(columns) < digits:
        kind = random.choice(("generate", "propagate", "propagate", "kill", "any"))
        for _ in range(random.randint(1, digits)):
            columns.append(_column(random, kind, base, count))
    return tuple(value([c[i] for c in columns[:digits]], base) for i in range(count))


def _column(random: Random, kind: str, base: int, count: int) -> list[int]:
    target = {
        "generate": lambda: random.randint(base, count * (base - 1)) if count > 1 else base - 1,
        "propagate": lambda: base - 1,
        "kill": lambda: random.randint(0, max(0, base - 2)),
        "any": lambda: random.randint(0, count * (base - 1)),
    }[kind]()
    digits = []
    for left in range(count - 1, -1, -1):
        digit = random.randint(max(0, target - left * (base - 1)), min(base - 1, target))
        digits.append(digit)
        target -= digit
    random.shuffle(digits)
    return digits


def repdigit(random: Random, digits: int, base: int, count: int) -> Operands:
    """Operands made of one repeated digit, sometimes with one digit moved by one."""

    def one() -> int:
        length = random.randint(0, digits)
        number = value([random.randrange(base)] * length, base) * base ** random.randint(
            0, digits - length
        )
        if random.random() < 0.3:
            number += random.choice((-1, 1)) * base ** random.randrange(digits)
        return min(max(number, 0), base**digits - 1)

    return tuple(one() for _ in range(count))


TURNS: tuple[Callable[[Random, int, int, int], Operands], ...] = (
    sum_first,
    carry_chain,
    sum_first,
    repdigit,
    sum_first,
    plain,
)


def draws(digits: int, base: int, count: int) -> list[Callable[[Random], Operands]]:
    """The samplers in turn: every other one sum first, then chains, repdigits, plain."""

    def bound(turn: Callable[[Random, int, int, int], Operands]) -> Callable[[Random], Operands]:
        return lambda random: turn(random, digits, base, count)

    return [bound(turn) for turn in TURNS]


# ---- fixed lists ---------------------------------------------------------------------------------


def hard(digits: int, base: int, count: int) -> list[Operands]:
    """Edges, every d * base^k - j, runs of the highest digit; each alone, doubled, and as its own
    complement.
    """
    top = base**digits - 1
    numbers = {0, 1, top, top - 1, top // 2, top // 2 + 1}
    numbers |= {
        d * base**k - j for d in range(1, base) for k in range(digits + 1) for j in range(4)
    }
    numbers |= {
        (base**run - 1) * base**at for run in range(1, digits + 1) for at in range(digits - run + 1)
    }
    kept = sorted(n for n in numbers if 0 <= n <= top)
    pairs: list[Operands] = [
        p for n in kept for p in ((n, 0), (0, n), (n, n), (n, top - n), (n, top), (n, 1), (1, n))
    ]
    pairs += [(n, top + 1 - n) for n in kept if n > 0]
    pairs += [split(n, n // 2, digits, base, 2) for n in kept]
    operands = [(*p[:count], *([0] * (count - 2))) for p in pairs]
    if count > 2:
        operands += [(0,) * (count - 2) + p for p in pairs] + [(n,) * count for n in kept]
    return list(dict.fromkeys(operands))


def edges(digits: int, base: int, count: int) -> list[Operands]:
    """The ten fixed pairs of the public AdderBoard checker (one of them twice, as there), for any
    size and base.
    """
    top, half = base**digits - 1, base // 2 * base ** (digits - 1)
    ones = value([1] * digits, base)
    rising = value([(i + 1) % base for i in range(digits)], base)
    falling = value([(base - 1 - i) % base for i in range(digits)], base)
    pairs = [(0, 0), (0, 1), (top, 0), (top, 1), (top, top), (half, half), (ones, top + 1 - ones)]
    pairs += [(rising, falling), (top, top), (1, top)]
    return [(*pair, *([0] * (count - 2))) for pair in pairs]


# ---- shrinking -----------------------------------------------------------------------------------


def complexity(operands: Operands, base: int) -> tuple[int, int, int, Operands]:
    """The order of shrinking: few nonzero digits, then small digits, then a small sum, then zeros
    at the end.

    >>> sorted([(10, 1), (9, 2), (0, 11), (11, 0)], key=lambda pair: complexity(pair, 10))
    [(11, 0), (10, 1), (0, 11), (9, 2)]
    """
    nonzero = total = 0
    for number in operands:
        while number:
            number, digit = divmod(number, base)
            nonzero += digit > 0
            total += digit
    return nonzero, total, sum(operands), operands[::-1]


def simpler(operands: Operands, digits: int, base: int) -> list[Operands]:
    """Strictly simpler operands of the same kind, simplest first: candidates for a smaller
    counterexample.

    The sum gathered in the first operand, sums beside a boundary, operands shifted or cut, runs of
    digits cleared, and every digit lowered.
    """
    count, top, total = len(operands), base**digits - 1, sum(operands)
    candidates: set[Operands] = set()
    for j in range(digits + 1):
        unit = base**j
        around = total // unit * unit
        for near in (total, around - 1, around, around + 1, total // unit, total % unit):
            if 0 <= near <= count * top:
                candidates.add(split(near, top, digits, base, count))
        candidates.add(tuple(n // unit for n in operands))
        candidates.add(tuple(n % unit for n in operands))
    for i, number in enumerate(operands):
        candidates |= {
            (*operands[:i], n, *operands[i + 1 :]) for n in _simpler_number(number, digits, base)
        }
    least = complexity(operands, base)
    ranked = sorted((complexity(candidate, base), candidate) for candidate in candidates)
    return [candidate for rank, candidate in ranked if rank < least]


def _simpler_number(number: int, digits: int, base: int) -> set[int]:
    """`number` with a run of digits cleared, one digit lowered, or cut at either end."""
    numbers = {number // base**j for j in range(digits + 1)}
    for low in range(digits):
        digit = number // base**low % base
        numbers |= {number - lower * base**low for lower in range(1, digit + 1)}
        for high in range(low + 1, digits + 1):
            numbers.add(number - number % base**high + number % base**low)
    return numbers
