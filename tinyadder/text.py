"""Plain tables, and objects that show themselves as text in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinyadder.escape import html


class Shown:
    """An object whose `str` is meant for people: it is its `repr` too, and stands preformatted in a
    notebook.
    """

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html(str(self))}</pre>"


def format_table(title: str, columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text under its title; `columns` maps each heading to its alignment, "left" or
    "right".

    >>> rows = [("numel", "173"), ("nonzero", "40")]
    >>> print(format_table("counts", {"rung": "left", "count": "right"}, rows))
    counts
    rung     count
    numel      173
    nonzero     40
    """
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    sides = [str.rjust if side == "right" else str.ljust for side in columns.values()]
    table = (
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True))
        for line in lines
    )
    return "\n".join(([title] if title else []) + [line.rstrip() for line in table])
