"""Separable forms: what is known of one number of the forward pass, for every text of a
specification at once.

    value = c + sum_j f_j(token at position j) + sum_k alpha_k sigma_k

c, every table entry f_j(token) and every alpha_k is a ball (python-flint `arb`: midpoint and
radius, rounded outward), so rounding errors of the model live in the radii. sigma_k stands for a
number that the model stores, e.g. the output of a head; what several readers share of it cancels.
The checker has arithmetic of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flint import arb, ctx

BITS = 192


@contextmanager
def precision() -> Iterator[None]:
    """Balls of `BITS` bits within, also as a decorator; other users of flint keep theirs."""
    with ctx.workprec(BITS):
        yield


Ball = arb
ZERO, ONE = arb(0), arb(1)
UNIT = arb(2) ** -53
"""Unit roundoff of binary64, round to nearest."""
EXP = arb(2) ** -51
"""|fl(exp x) - exp x| <= EXP * exp x."""
TINY = arb(2) ** -1021
"""More than what an operation can lose to underflow, flushed to zero or not."""

Table = dict[str, Ball]
Symbol = tuple[Any, ...]


def gamma(n: int) -> Ball:
    """n u / (1 - n u): the relative error of n roundings in a row, upper bound. Higham 2002, lemma
    3.1.
    """
    return (n * UNIT / (1 - n * UNIT)).upper() if n else ZERO


def within(radius: Ball) -> Ball:
    """The ball [-radius, radius]."""
    return arb(0, radius.abs_upper())


def hull(balls: Iterable[Ball]) -> Ball:
    """A ball around all of them; the ball itself where they are one and the same."""
    found: Ball | None = None
    for ball in balls:
        if found is None:
            found = ball
        elif ball is not found:
            found = found.union(ball)
    assert found is not None
    return found


def double(ball: Ball) -> float | None:
    """The float64 that `ball` is, exactly; None where it has a radius or does not fit."""
    if not ball.is_exact():
        return None
    value = float(ball.mid())
    return value if arb(value) == ball else None


def nearest(ball: Ball) -> Ball:
    """What rounding to nearest makes of `ball`: exact where the ball is exact and its double is
    normal.
    """
    if ball.is_zero():
        return ball
    if ball.is_exact():
        mantissa, exponent = ball.mid().man_exp()
        if abs(int(mantissa)).bit_length() + int(exponent) > -1000:
            return arb(_round(int(mantissa), int(exponent)))
    return ball * arb(1, UNIT) + arb(0, TINY)


def _round(mantissa: int, exponent: int) -> float:
    """mantissa * 2^exponent as the nearest float64 (Python divides integers correctly rounded)."""
    return float(mantissa << exponent) if exponent >= 0 else mantissa / (1 << -exponent)


@dataclass(frozen=True)
class Form:
    """c + sum of tables + sum of alpha * symbol. Immutable by habit: operations make new forms."""

    c: Ball = ZERO
    tables: dict[int, Table] = field(default_factory=dict)
    symbols: dict[Symbol, Ball] = field(default_factory=dict)

    @property
    def constant(self) -> bool:
        """No table, no symbol."""
        return not self.tables and not self.symbols

    def only(self, position: int) -> bool:
        """It depends on the token at `position` at most."""
        return not self.symbols and set(self.tables) <= {position}

    def zero(self) -> bool:
        """Exactly zero for every text."""
        return self.constant and bool(self.c.is_zero())

    def plus(self, other: Form) -> Form:
        tables = dict(self.tables)
        for position, table in other.tables.items():
            mine = tables.get(position)
            tables[position] = table if mine is None else {t: mine[t] + b for t, b in table.items()}
        symbols = dict(self.symbols)
        for symbol, alpha in other.symbols.items():
            total = symbols[symbol] + alpha if symbol in symbols else alpha
            symbols[symbol] = total
            if total.is_zero():
                del symbols[symbol]
        return Form(self.c + other.c, tables, symbols)

    def times(self, factor: Ball) -> Form:
        if factor.is_zero():
            return Form()
        if factor == ONE and factor.is_exact():
            return self
        tables = {p: {t: b * factor for t, b in table.items()} for p, table in self.tables.items()}
        return Form(self.c * factor, tables, {s: a * factor for s, a in self.symbols.items()})

    def wider(self, radius: Ball) -> Form:
        """The same with [-radius, radius] added."""
        return (
            self if radius.is_zero() else Form(self.c + within(radius), self.tables, self.symbols)
        )

    def at(self, position: int, token: str) -> Form:
        """The form given the token at `position`."""
        if position not in self.tables:
            return self
        tables = {p: table for p, table in self.tables.items() if p != position}
        return Form(self.c + self.tables[position][token], tables, self.symbols)

    def entries(self, position: int, tokens: Iterable[str]) -> Table:
        """Its value for every token at `position`; for forms that are `only(position)`."""
        table = self.tables.get(position)
        return {t: self.c if table is None else self.c + table[t] for t in tokens}


def total(forms: Iterable[Form]) -> Form:
    """The sum of forms."""
    found = Form()
    for form in forms:
        found = found.plus(form)
    return found


def tabulated(position: int, table: Table) -> Form:
    """The form with these values by token; a constant where all are one exact number, or one and
    the same ball.
    """
    values = list(table.values())
    first = values[0]
    if all(v is first or (v.is_exact() and first.is_exact() and v == first) for v in values):
        return Form(first)
    return Form(ZERO, {position: table})


def merged(position: int, cases: dict[str, Form]) -> Form:
    """One form that holds for every case of the token at `position`: own parts go into a table, the
    rest into hulls.
    """
    forms = list(cases.values())
    if len(forms) == 1 or all(form is forms[0] for form in forms):
        return forms[0]
    own = tabulated(position, {t: form.c for t, form in cases.items()})
    tables: dict[int, Table] = {}
    for p in dict.fromkeys(p for form in forms for p in form.tables):
        tokens = next(form.tables[p] for form in forms if p in form.tables)
        tables[p] = {
            t: hull(form.tables[p][t] if p in form.tables else ZERO for form in forms)
            for t in tokens
        }
    symbols = {
        s: hull(form.symbols.get(s, ZERO) for form in forms) for form in forms for s in form.symbols
    }
    return Form(own.c, {**tables, **own.tables}, symbols)
