"""Separable forms: what is known of one number of the forward pass, for every text at once.

    value = c + sum_j table_j(token at position j) + sum_k alpha_k symbol_k

c, table entries and alpha are intervals. A symbol stands for a number that the model stores; what
several readers share of it cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinyadder.verify.certify.check.intervals import ONE, ZERO, Interval, add, join, mul, wider


class Affine:
    def __init__(
        self,
        c: Interval = ZERO,
        tables: dict[int, dict[str, Interval]] | None = None,
        symbols: dict[Any, Interval] | None = None,
    ) -> None:
        self.c, self.tables, self.symbols = c, tables or {}, symbols or {}

    @property
    def constant(self) -> bool:
        return not self.tables and not self.symbols

    def zero(self) -> bool:
        """Zero for every text."""
        return self.c == ZERO and self.constant

    def only(self, i: int) -> bool:
        """It depends on the token at position i at most."""
        return not self.symbols and all(p == i for p in self.tables)

    def plus(self, other: Affine) -> Affine:
        tables, symbols = dict(self.tables), dict(self.symbols)
        for p, table in other.tables.items():
            tables[p] = (
                {t: add(tables[p][t], b) for t, b in table.items()} if p in tables else table
            )
        for s, alpha in other.symbols.items():
            symbols[s] = add(symbols.get(s, ZERO), alpha)
        return Affine(
            add(self.c, other.c),
            tables,
            {s: alpha for s, alpha in symbols.items() if alpha != ZERO},
        )

    def times(self, factor: Interval) -> Affine:
        if factor == ZERO:
            return Affine()
        if factor == (ONE, ONE):
            return self
        tables = {
            p: {t: mul(b, factor) for t, b in table.items()} for p, table in self.tables.items()
        }
        return Affine(
            mul(self.c, factor),
            tables,
            {s: mul(alpha, factor) for s, alpha in self.symbols.items()},
        )

    def wider(self, radius: int) -> Affine:
        return Affine(wider(self.c, radius), self.tables, self.symbols)

    def at(self, i: int, token: str) -> Affine:
        """The form for the texts with this token at position i."""
        if i not in self.tables:
            return self
        rest = {p: table for p, table in self.tables.items() if p != i}
        return Affine(add(self.c, self.tables[i][token]), rest, self.symbols)

    def map(self, function: Callable[[Interval], Interval]) -> Affine:
        """`function` of the value, for a form with one table at most and no symbols."""
        if not self.tables:
            return Affine(function(self.c))
        ((i, table),) = self.tables.items()
        return tabulated(i, {t: function(add(self.c, b)) for t, b in table.items()})


def tabulated(i: int, table: dict[str, Interval]) -> Affine:
    """The form with these values by token at position i."""
    values = set(table.values())
    return Affine(values.pop()) if len(values) == 1 else Affine(ZERO, {i: table})


def merged(i: int, cases: dict[str, Affine]) -> Affine:
    """One form for all cases of the token at position i: constants become a table, tables and
    symbols hulls.
    """
    forms = list(cases.values())
    if len(forms) == 1:
        return forms[0]
    found = tabulated(i, {t: form.c for t, form in cases.items()})
    for p in {p: None for form in forms for p in form.tables}:
        tokens = next(form.tables[p] for form in forms if p in form.tables)
        found.tables[p] = {
            t: join(f.tables[p][t] if p in f.tables else ZERO for f in forms) for t in tokens
        }
    for s in {s: None for form in forms for s in form.symbols}:
        found.symbols[s] = join(form.symbols.get(s, ZERO) for form in forms)
    return found
