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
from fractions import Fraction
from typing import Any, Literal, get_args, get_type_hints

from tinyadder.errors import TinyadderError
from tinyadder.plain import as_int, as_real, short

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
    number = as_int(value)
    if number is None:
        raise TinyadderError(f"{what} writes whole numbers; {short(value)} was given")
    return number


def _option(what: str, value: Any, low: int, high: int) -> None:
    if not low <= _whole(value, what) <= high:
        raise TinyadderError(f"{what}: {short(value)}, expected {low} .. {high}")


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

    def __post_init__(self) -> None:
        low = _whole(self.low, "the lower bound")
        _option("the upper bound", self.high, low, low + 1_000_000)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(str(n) for n in range(self.low, self.high + 1))

    def encode(self, value: int) -> list[str]:
        number = _whole(value, "a bounded integer")
        if not self.low <= number <= self.high:
            bounds = f"{self.low} .. {self.high}"
            raise TinyadderError(
                f"{short(number)} is outside {bounds}; widen the bounds or write digits"
            )
        return [str(number)]

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
        _option("the base", self.base, 2, 1000)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*SIGNS, *(str(d) for d in range(self.base)))

    def encode(self, value: int) -> list[str]:
        number = _whole(value, "an integer encoding")
        left, digits = abs(number), list[str]()
        while left or not digits:
            left, digit = divmod(left, self.base)
            digits.append(str(digit))
        return ["-" if number < 0 else "+", *(digits if self.least else digits[::-1])]

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
        _option("significant digits", self.digits, 1, 15)
        _option("the largest exponent", self.limit, 0, 1000)

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

    def encode(self, value: float | Decimal | Fraction) -> list[str]:
        """The tokens of `value`, rounded by integer arithmetic alone: no decimal context has a say.

        Raises `TinyadderError` for what is no finite real number, and for an exponent above the
        limit.
        """
        exact = self._exact(value)
        mantissa, power = _rounded(abs(exact), self.digits)
        if abs(power) > self.limit:
            raise self._needs(value, power)
        written, tokens, at = f"{mantissa:0{self.digits}}", list[str](), 0
        for width in self._groups:
            tokens.append(written[at : at + width])
            at += width
        return ["-" if exact < 0 else "+", *tokens, f"E{power}"]

    def _exact(self, value: Any) -> Fraction:
        real = as_real(value)
        if isinstance(real, Decimal) and real.is_finite() and abs(real.adjusted()) > 2000:
            raise self._needs(value, real.adjusted() + 1 - self.digits)  # too long to be expanded
        try:
            exact = Fraction(real if real is not None else float("nan"))
        except (ValueError, OverflowError):
            raise TinyadderError(f"{short(value)} is not a finite real number") from None
        if abs(exact) > 10**300:
            raise TinyadderError(f"{short(value)} is too large; expected |x| <= 1e300")
        return exact

    def _needs(self, value: Any, power: int) -> TinyadderError:
        return TinyadderError(
            f"{short(value)} needs the exponent {power}; this encoding has -{self.limit} .. "
            f"{self.limit}"
        )

    def decode(self, tokens: Sequence[str]) -> float:
        widths = self._groups
        expected = (
            f"a sign, {self.digits} digits in {len(widths)} token(s), an exponent E-{self.limit} .."
            f" E{self.limit}"
        )
        if len(tokens) != len(widths) + 2 or tokens[0] not in SIGNS or tokens[-1][:1] != "E":
            raise _refuse(tokens, expected)
        groups, power = tokens[1:-1], tokens[-1][1:]
        if any(
            len(g) != w or not (g.isascii() and g.isdigit())
            for g, w in zip(groups, widths, strict=True)
        ):
            raise _refuse(tokens, expected)
        try:
            exponent = int(power)
        except ValueError:
            raise _refuse(tokens, expected) from None
        if abs(exponent) > self.limit or power != str(exponent):
            raise _refuse(tokens, expected)
        zero = not any(int(group) for group in groups)
        if (groups[0][0] == "0") != zero or (zero and (tokens[0], exponent) != ("+", 0)):
            raise _refuse(tokens, f"{expected}; no leading zero, and 0 as '+', zeros, 'E0'")
        value = float(f"{''.join(groups)}e{exponent}")
        return -value if tokens[0] == "-" else value


@dataclass(frozen=True)
class Floats(Encoding):
    """Reals of three significant digits in the forms of Charton (2021, arXiv 2112.01898).

    3.14 is `+ 3 1 4 E-2` (P10), `+ 314 E-2` (P1000), `314 E-2` (B1999), `FP314/-2` (FP15). A
    decoded value is within 0.5 % of the given one; exponents are within -`limit` .. `limit`.

    >>> Floats("B1999").encode(-3.14), Floats("FP15").encode(3.14)
    (['-314', 'E-2'], ['FP314/-2'])
    """

    form: Literal["P10", "P1000", "B1999", "FP15"] = "P1000"
    limit: int = 7
    """7 gives FP15 its 2 * 900 * 15 + 1 = 27,001 tokens."""

    def __post_init__(self) -> None:
        if self.form not in get_args(get_type_hints(Floats)["form"]):
            raise TinyadderError(f"form: {short(self.form)}, expected P10, P1000, B1999 or FP15")
        _option("the largest exponent", self.limit, 0, 100)

    @property
    def _reals(self) -> Reals:
        return Reals(3, self.limit)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        powers = range(-self.limit, self.limit + 1)
        exponents = tuple(f"E{n}" for n in powers)
        sizes = (0, *range(100, 1000))
        match self.form:
            case "P10":
                return (*SIGNS, *"0123456789", *exponents)
            case "P1000":
                return (*SIGNS, *(f"{n:03}" for n in sizes), *exponents)
            case "B1999":
                return (*map(str, (*range(-999, -99), *sizes)), *exponents)
        return ("FP0/0", *(f"FP{s}{m}/{n}" for s in ("", "-") for m in sizes[1:] for n in powers))

    def encode(self, value: float | Decimal | Fraction) -> list[str]:
        sign, mantissa, exponent = self._reals.encode(value)
        whole = f"{'-' * (sign == '-')}{int(mantissa)}"
        match self.form:
            case "P10":
                return [sign, *mantissa, exponent]
            case "P1000":
                return [sign, mantissa, exponent]
            case "B1999":
                return [whole, exponent]
        return [f"FP{whole}/{exponent[1:]}"]

    def decode(self, tokens: Sequence[str]) -> float:
        parts = list(tokens)
        if any(token not in self.vocabulary for token in parts):
            raise _refuse(tokens, f"a number in the form {self.form}")
        if self.form == "FP15" and len(parts) == 1:
            mantissa, _, exponent = parts[0].removeprefix("FP").partition("/")
            parts = [mantissa, f"E{exponent}"]
        if self.form == "P10" and len(parts) == 5:
            parts = [parts[0], "".join(parts[1:4]), parts[4]]
        elif self.form in ("B1999", "FP15") and len(parts) == 2:
            parts = ["-" if parts[0][0] == "-" else "+", f"{abs(_digits(parts[0])):03}", parts[1]]
        return self._reals.decode(parts)


def _digits(text: str) -> int:
    """The whole number that `text` writes. Raises `TinyadderError` where it writes none."""
    if not text.removeprefix("-").isdecimal():
        raise TinyadderError(f"{text!r} is not a whole number")
    return int(text)


@dataclass(frozen=True)
class Vectors(Encoding):
    """Vectors of at most `most` entries: `V` and how many, then each, all of one number of tokens
    or beginning with a sign.

    >>> Vectors(Integers(10)).encode((3, -14))
    ['V2', '+', '3', '-', '1', '4']
    """

    entry: Encoding
    most: int = 10

    def __post_init__(self) -> None:
        _option("the largest number of entries", self.most, 0, 10_000)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*(f"V{n}" for n in range(self.most + 1)), *self.entry.vocabulary)

    def encode(self, value: Sequence[Any]) -> list[str]:
        entries = list(value)
        if len(entries) > self.most:
            raise TinyadderError(
                f"{len(entries)} entries; this encoding writes at most {self.most}"
            )
        return [f"V{len(entries)}", *(t for entry in entries for t in self.entry.encode(entry))]

    def decode(self, tokens: Sequence[str]) -> tuple[Any, ...]:
        count = _count(tokens, "V", self.most)
        return tuple(map(self.entry.decode, _cut(list(tokens[1:]), count)))


@dataclass(frozen=True)
class Matrices(Encoding):
    """Matrices of at most `most` rows and columns: how many of each, then the entries row by row.

    >>> Matrices(Integers(10)).encode(((1, 2), (3, 4)))[:4]
    ['V2', 'V2', '+', '1']
    """

    entry: Encoding
    most: int = 10

    def __post_init__(self) -> None:
        _option("the largest number of rows", self.most, 0, 100)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return (*(f"V{n}" for n in range(self.most + 1)), *self.entry.vocabulary)

    def encode(self, value: Sequence[Sequence[Any]]) -> list[str]:
        rows = [list(row) for row in value]
        columns = len(rows[0]) if rows else 0
        if any(len(row) != columns for row in rows):
            raise TinyadderError(
                f"rows of {sorted({len(row) for row in rows})} entries, not of one"
            )
        if max(len(rows), columns) > self.most:
            raise TinyadderError(
                f"a matrix of {len(rows)} x {columns}; this encoding writes at most"
                f" {self.most} x {self.most}"
            )
        entries = [t for row in rows for entry in row for t in self.entry.encode(entry)]
        return [f"V{len(rows)}", f"V{columns}", *entries]

    def decode(self, tokens: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
        rows, columns = (_count(tokens[at:], "V", self.most) for at in (0, 1))
        if rows == 0 and columns:
            raise _refuse(tokens, "no columns where there are no rows")
        entries = tuple(map(self.entry.decode, _cut(list(tokens[2:]), rows * columns)))
        return tuple(entries[at * columns : (at + 1) * columns] for at in range(rows))


def _count(tokens: Sequence[str], letter: str, most: int) -> int:
    """The number that the first token gives. Raises `TinyadderError` where it gives none."""
    known = {f"{letter}{n}": n for n in range(most + 1)}
    if not tokens or tokens[0] not in known:
        raise _refuse(tokens, f"{letter}0 .. {letter}{most} first")
    return known[tokens[0]]


def _cut(tokens: list[str], count: int) -> list[list[str]]:
    """`tokens` in `count` parts: of one length, or each from a sign on where there are as many."""
    starts = [at for at, token in enumerate(tokens) if token in SIGNS]
    if len(starts) == count and starts[:1] == [0]:
        return [tokens[a:b] for a, b in zip(starts, [*starts[1:], len(tokens)], strict=True)]
    if count == 0 or len(tokens) % count or not tokens:
        if count == 0 and not tokens:
            return []
        raise _refuse(tokens, f"{count} entries")
    size = len(tokens) // count
    return [tokens[at : at + size] for at in range(0, len(tokens), size)]


@dataclass(frozen=True)
class Complex(Encoding):
    """Complex numbers as two reals: real part, imaginary part."""

    part: Reals | Floats = Reals()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.part.vocabulary

    def encode(self, value: complex) -> list[str]:
        real = as_real(value)
        if real is not None:
            return self.part.encode(real) + self.part.encode(0)
        without_axes = getattr(value, "ndim", 0) == 0 and "complex" in str(
            getattr(value, "dtype", "")
        )
        if not (isinstance(value, complex) or without_axes):
            raise TinyadderError(f"{short(value)} is not a complex number")
        number = complex(value)
        return self.part.encode(number.real) + self.part.encode(number.imag)

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

    def __post_init__(self) -> None:
        _option("the largest number of coefficients", self.most, 0, 10_000)

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
        expected = "a number of coefficients, then the coefficients"
        if not tokens or tokens[0] not in self.vocabulary[: self.most + 1]:
            raise _refuse(tokens, expected)
        starts = [i for i, token in enumerate(tokens) if token in SIGNS]
        if len(starts) != int(tokens[0][1:]) or (tokens[1:] and tokens[1] not in SIGNS):
            raise _refuse(tokens, expected)
        ends = [*starts[1:], len(tokens)][: len(starts)]
        coefficients = tuple(
            self.coefficient.decode(tokens[a:b]) for a, b in zip(starts, ends, strict=True)
        )
        if coefficients and coefficients[-1] == 0:
            raise _refuse(tokens, "a leading coefficient that is not 0")
        return coefficients


def _rounded(size: Fraction, digits: int) -> tuple[int, int]:
    """(mantissa of `digits` digits, power of ten) of a number >= 0, half to even; (0, 0) for 0."""
    if size == 0:
        return 0, 0
    bits = size.numerator.bit_length() - size.denominator.bit_length()
    power = (bits - 1) * 30103 // 100_000 - digits  # of at most three digits too many
    while True:
        mantissa = round(size / Fraction(10) ** power)
        if mantissa < 10**digits:
            return mantissa, power
        power += 1


def within(
    expected: complex, got: complex, *, relative: float = 0.0, absolute: float = 0.0
) -> bool:
    """|got - expected| <= max(relative * |expected|, absolute): the tolerance metric of reals and
    complex numbers.
    """
    return abs(got - expected) <= max(relative * abs(expected), absolute)
