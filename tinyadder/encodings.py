"""Mathematical objects as token sequences and back, in Int2Int's conventions; exact, or with the
stated precision.

    encode(object) -> tokens
    decode(tokens) -> object; decode(encode(x)) == x, up to the stated precision

`encode` refuses what it cannot write; `decode` refuses what is no encoding (a model may emit
anything), both with `TinyadderError`. Every token is a string; a number's digits in base 1000 are
tokens like `124`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tinyadder.errors import TinyadderError

SIGNS = ("+", "-")


class Encoding(ABC):
    """Objects of one kind as tokens of one vocabulary."""

    @property
    @abstractmethod
    def vocabulary(self) -> tuple[str, ...]:
        """Every token that `encode` can give."""

    @abstractmethod
    def encode(self, value: Any) -> list[str]:
        """The tokens of `value`. Raises `TinyadderError` for a value it cannot write."""

    @abstractmethod
    def decode(self, tokens: Sequence[str]) -> Any:
        """The object that `tokens` write. Raises `TinyadderError` where they write none."""


def _refuse(tokens: Sequence[str], expected: str) -> TinyadderError:
    return TinyadderError(
        f"tokens {' '.join(tokens) or '(none)'!r} are no encoding; expected {expected}"
    )


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TinyadderError(f"{what} writes whole numbers; {value!r} was given")
    return value


@dataclass(frozen=True)
class Characters(Encoding):
    """A text, one token a character of `alphabet`."""

    alphabet: str

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(self.alphabet)

    def encode(self, value: str) -> list[str]:
        for at, character in enumerate(value):
            if character not in self.alphabet:
                raise TinyadderError(
                    f"{value!r}: character {at + 1} ({character!r}) is not one of {self.alphabet!r}"
                )
        return list(value)

    def decode(self, tokens: Sequence[str]) -> str:
        if not set(tokens) <= set(self.alphabet):
            raise _refuse(tokens, f"characters of {self.alphabet!r}")
        return "".join(tokens)


@dataclass(frozen=True)
class Bounded(Encoding):
    """Integers low .. high, one token each."""

    low: int
    high: int

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(str(n) for n in range(self.low, self.high + 1))

    def encode(self, value: int) -> list[str]:
        if not self.low <= _whole(value, "a bounded integer") <= self.high:
            raise TinyadderError(
                f"{value} is outside {self.low} .. {self.high}; widen the bounds or write digits"
            )
        return [str(value)]

    def decode(self, tokens: Sequence[str]) -> int:
        if len(tokens) != 1 or tokens[0] not in self.vocabulary:
            raise _refuse(tokens, f"one number {self.low} .. {self.high}")
        return int(tokens[0])


@dataclass(frozen=True)
class Integers(Encoding):
    """Integers of any size: a sign and the digits in base `base`, 2 to 1000; `least` writes the
    last digit first.

    >>> Integers(1000).encode(-3124)
    ['-', '3', '124']
    """

    base: int = 10
    least: bool = False

    def __post_init__(self) -> None:
        if not 2 <= _whole(self.base, "the base") <= 1000:
            raise TinyadderError(f"base {self.base}; expected 2 .. 1000")

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*SIGNS, *(str(d) for d in range(self.base)))

    def encode(self, value: int) -> list[str]:
        left, digits = abs(_whole(value, "an integer encoding")), list[str]()
        while left or not digits:
            left, digit = divmod(left, self.base)
            digits.append(str(digit))
        return ["-" if value < 0 else "+", *(digits if self.least else digits[::-1])]

    def decode(self, tokens: Sequence[str]) -> int:
        sign, digits = tokens[:1], list(tokens[1:])
        known = self.vocabulary[2:]
        if self.least:
            digits.reverse()
        if not sign or sign[0] not in SIGNS or not digits or any(d not in known for d in digits):
            raise _refuse(tokens, f"a sign and digits in base {self.base}")
        if len(digits) > 1 and digits[0] == "0":
            raise _refuse(tokens, "no leading zero")
        total = 0
        for digit in digits:
            total = total * self.base + int(digit)
        if sign[0] == "-" and total == 0:
            raise _refuse(tokens, "'+' before 0")
        return -total if sign[0] == "-" else total


@dataclass(frozen=True)
class Reals(Encoding):
    """Reals as sign, mantissa of `digits` significant digits, exponent: -3.14 = `-`, `314`, `E-2`.

    Rounds half to even, so a decoded value is within 0.5 * 10^(1 - digits) of the given one,
    relatively. The mantissa is one token up to three digits, else groups of three. Exponents are
    within -`limit` .. `limit`.
    """

    digits: int = 3
    limit: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= 15:
            raise TinyadderError(f"{self.digits} significant digits; expected 1 .. 15")

    @property
    def _groups(self) -> list[int]:
        """Digits of each mantissa token, the short one first."""
        full, rest = divmod(self.digits, 3)
        return ([rest] if rest else []) + [3] * full

    @property
    def vocabulary(self) -> tuple[str, ...]:
        widths = sorted(set(self._groups))
        groups = [f"{n:0{w}}" for w in widths for n in range(10**w)]
        return (*SIGNS, *groups, *(f"E{n}" for n in range(-self.limit, self.limit + 1)))

    def encode(self, value: float | Decimal) -> list[str]:
        real = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        size = Decimal(value).copy_abs() if real else Decimal("NaN")
        if size.is_nan() or size > Decimal("1e300"):
            raise TinyadderError(
                f"{value!r} is not a real number of a size that can be written; expected |x| <="
                " 1e300"
            )
        mantissa, _, exponent = f"{size:.{self.digits - 1}e}".partition("e")
        written = mantissa.replace(".", "").ljust(self.digits, "0")
        power = int(exponent) - self.digits + 1 if value else 0
        if abs(power) > self.limit:
            raise TinyadderError(
                f"{value!r} needs the exponent {power}; this encoding has -{self.limit} .."
                f" {self.limit}"
            )
        tokens, at = list[str](), 0
        for width in self._groups:
            tokens.append(written[at : at + width])
            at += width
        return ["-" if value < 0 else "+", *tokens, f"E{power}"]

    def decode(self, tokens: Sequence[str]) -> float:
        widths = self._groups
        said = (
            f"a sign, {self.digits} digits in {len(widths)} token(s), an exponent E-{self.limit} .."
            f" E{self.limit}"
        )
        if len(tokens) != len(widths) + 2 or tokens[0] not in SIGNS or tokens[-1][:1] != "E":
            raise _refuse(tokens, said)
        groups, power = tokens[1:-1], tokens[-1][1:]
        if any(
            len(g) != w or not (g.isascii() and g.isdigit())
            for g, w in zip(groups, widths, strict=True)
        ):
            raise _refuse(tokens, said)
        try:
            exponent = int(power)
        except ValueError:
            raise _refuse(tokens, said) from None
        if abs(exponent) > self.limit or power != str(exponent):
            raise _refuse(tokens, said)
        value = float(f"{''.join(groups)}e{exponent}")
        return -value if tokens[0] == "-" else value


@dataclass(frozen=True)
class Complex(Encoding):
    """Complex numbers as two reals: real part, imaginary part."""

    part: Reals = Reals()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.part.vocabulary

    def encode(self, value: complex) -> list[str]:
        if isinstance(value, bool) or not isinstance(value, int | float | complex):
            raise TinyadderError(f"{value!r} is not a complex number")
        value = complex(value)
        return self.part.encode(value.real) + self.part.encode(value.imag)

    def decode(self, tokens: Sequence[str]) -> complex:
        half = len(tokens) // 2
        return complex(self.part.decode(tokens[:half]), self.part.decode(tokens[half:]))


@dataclass(frozen=True)
class Polynomials(Encoding):
    """Polynomials by number: how many coefficients, then each, that of x^0 first; the leading one
    is not 0.
    """

    coefficient: Integers = Integers()
    most: int = 20
    """The largest number of coefficients."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*(f"N{n}" for n in range(self.most + 1)), *self.coefficient.vocabulary)

    def encode(self, value: Sequence[int]) -> list[str]:
        coefficients = list(value)
        while coefficients and coefficients[-1] == 0:
            coefficients.pop()
        if len(coefficients) > self.most:
            raise TinyadderError(
                f"{len(coefficients)} coefficients; this encoding writes at most {self.most}"
            )
        return [
            f"N{len(coefficients)}",
            *(token for c in coefficients for token in self.coefficient.encode(c)),
        ]

    def decode(self, tokens: Sequence[str]) -> tuple[int, ...]:
        said = "a number of coefficients, then the coefficients"
        if not tokens or tokens[0] not in self.vocabulary[: self.most + 1]:
            raise _refuse(tokens, said)
        starts = [i for i, token in enumerate(tokens) if token in SIGNS]
        if len(starts) != int(tokens[0][1:]) or (tokens[1:] and tokens[1] not in SIGNS):
            raise _refuse(tokens, said)
        ends = [*starts[1:], len(tokens)][: len(starts)]
        found = tuple(
            self.coefficient.decode(tokens[a:b]) for a, b in zip(starts, ends, strict=True)
        )
        if found and found[-1] == 0:
            raise _refuse(tokens, "a leading coefficient that is not 0")
        return found


def within(
    expected: complex, got: complex, *, relative: float = 0.0, absolute: float = 0.0
) -> bool:
    """|got - expected| <= max(relative * |expected|, absolute): the tolerance metric of reals and
    complex numbers.
    """
    return abs(got - expected) <= max(relative * abs(expected), absolute)
