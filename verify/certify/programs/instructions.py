"""What the computer is, as tables: what every instruction writes, and what its heads may look up.

Numbers are polynomials with integer coefficients in symbols: what a position is described by.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

NAMES = ["set", "load", "store", "get", "put", "add", "sub", "less", "jump", "zero", "in", "out"]
KINDS = [":", "#", "0", "halt", *NAMES, "run", "=", "@", "!", "?", "["]
"""Of tokens that are read: a line's number, an input's, any number, instructions, what is
written.
"""
WRITTEN = "=@![?"

Poly = dict[tuple[str, ...], int]
"""Monomial (its symbols in order) -> coefficient."""


# ---- polynomials with integer coefficients -------------------------------------------------------


def constant(value: int) -> Poly:
    return {(): value} if value else {}


def symbol(name: str) -> Poly:
    return {(name,): 1}


def add(*parts: tuple[int, Poly]) -> Poly:
    """The sum of factor * polynomial."""
    found: Poly = {}
    for factor, part in parts:
        for monomial, value in part.items():
            found[monomial] = found.get(monomial, 0) + factor * value
    return {monomial: value for monomial, value in found.items() if value}


def times(a: Poly, b: Poly) -> Poly:
    found: Poly = {}
    for x, p in a.items():
        for y, q in b.items():
            monomial = tuple(sorted(x + y))
            found[monomial] = found.get(monomial, 0) + p * q
    return {monomial: value for monomial, value in found.items() if value}


def there(poly: Poly) -> Poly:
    """The same at another position: its symbols are others."""
    return {tuple(f"{name}'" for name in monomial): value for monomial, value in poly.items()}


def value_of(poly: Poly) -> int | None:
    """The number, of a polynomial without symbols."""
    return poly.get((), 0) if not poly.keys() - {()} else None


# ---- what the computer is ------------------------------------------------------------------------

Outcome = tuple[list[Poly], str, Poly]
"""Where these are not negative, the next token has this letter and this number."""


def instruction(name: str, word: int) -> list[Outcome]:
    """What is written after the number of a line that holds `name`: for every accumulator, operand
    n, cell n (first), the cell whose number is in it (second), and number of the last input.
    """
    accumulator, n, first, second, last = map(
        symbol, ("accumulator", "n", "first", "second", "read")
    )
    total, rest = add((1, accumulator), (1, first)), add((1, accumulator), (-1, first))
    top = word - 1
    fits, over = add((-1, total), (1, constant(top))), add((1, total), (1, constant(-word)))
    below = add((-1, rest), (1, constant(-1)))  # the accumulator is less than the cell
    more = add((-1, last), (1, constant(top - 1)))
    table: dict[str, list[Outcome]] = {
        "set": [([], "=", n)],
        "load": [([], "=", first)],
        "get": [([], "=", second)],
        "add": [([fits], "=", total), ([over], "=", add((1, total), (1, constant(-word))))],
        "sub": [([rest], "=", rest), ([below], "=", add((1, rest), (1, constant(word))))],
        "less": [([rest], "=", constant(0)), ([below], "=", constant(1))],
        "jump": [([], "=", accumulator)],
        "zero": [([], "=", accumulator)],
        "out": [([], "!", accumulator)],
        "store": [([], "[", n)],
        "put": [([], "[", first)],
        "in": [
            ([more], "?", add((1, last), (1, constant(1)))),
            ([add((1, last), (1, constant(-top)))], "?", last),
        ],
        "halt": [([], "end", constant(0))],
    }
    return table[name]


def second_token(name: str) -> list[Outcome]:
    """What is written after an address, or after the number of an input: n is its value there."""
    return [([], "=", symbol("n" if name == "in" else "accumulator"))]


def next_line(name: str, word: int) -> list[Outcome]:
    """What is written after the accumulator: the line that is next."""
    line, n, accumulator = symbol("line"), symbol("n"), symbol("accumulator")
    following: list[Outcome] = [
        ([add((-1, line), (1, constant(word - 2)))], "@", add((1, line), (1, constant(1)))),
        ([add((1, line), (1, constant(1 - word)))], "@", add((1, line), (1, constant(1 - word)))),
    ]
    if name == "jump":
        return [([], "@", n)]
    if name == "zero":
        some = add((1, accumulator), (1, constant(-1)))
        return [
            ([add((-1, accumulator))], "@", n),
            *(([*where, some], letter, number) for where, letter, number in following),
        ]
    return following


# ---- descriptions and lookups --------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A position: the kind of its token, and the instruction of its line ("" for none)."""

    kind: str
    does: str


Of = Callable[[Place], Poly]


@dataclass
class Lookup:
    """What a head reads: at the last position of one of `kinds` (None: any) where `key` there is
    `query` here; of `values` there the value there, the default, and what it is here.
    """

    name: str
    kinds: tuple[str, ...] | None
    values: list[tuple[Of, int, Of]]
    key: Of | None = None
    query: Of | None = None


def lookups(word: int) -> list[Lookup]:
    """All that the heads of a computer may read."""

    def named(name: str) -> Of:
        return lambda place: symbol(name)

    def number(place: Place) -> Poly:
        return {} if place.kind in ("run", "halt", *NAMES) else symbol("number")

    def last(name: str, kinds: str, default: int = 0) -> Lookup:
        read: list[tuple[Of, int, Of]] = [(number, default, lambda place: symbol(name))]
        return Lookup(name, tuple(kinds.split()), read)

    def is_(name: str) -> Of:
        return lambda place: constant(int(place.kind == name))

    def said(name: str) -> Of:
        return lambda place: symbol(f"said {name}")

    def does(name: str) -> Of:
        return lambda place: constant(int(place.does == name))

    def label(place: Place) -> Poly:
        return add((1, number(place)), (word, constant(int(place.kind == "#"))))

    def wanted(place: Place) -> Poly:
        return add((1, number(place)), (1, constant(word))) if place.kind == "?" else symbol("line")

    def cell(place: Place) -> Poly:
        stores = place.kind == "=" and place.does in ("store", "put")
        return symbol("address") if stores else constant(-1)

    labels = Lookup("label", (":", "#"), [(label, 0, lambda place: symbol("label"))])
    instructions = Lookup("instruction", ("halt", *NAMES), [(is_(x), 0, said(x)) for x in NAMES])
    lines: list[tuple[Of, int, Of]] = [(number, 0, lambda place: symbol("n"))]
    lines += [(said(x), 0, does(x)) for x in NAMES]
    found = [labels, instructions, last("line", "@ run"), last("accumulator", "= !")]
    found += [last("address", "["), last("read", "?", -1)]
    found.append(Lookup("fetch", ("0",), lines, lambda place: symbol("label"), wanted))
    for name, asked in (("first", "n"), ("second", "first")):
        of: list[tuple[Of, int, Of]] = [(named("accumulator"), 0, named(name))]
        found.append(Lookup(name, None, of, cell, named(asked)))
    return found
