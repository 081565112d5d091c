"""What an author's claim is, by the ladder: the conventions that give it, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

WITH_ZERO = "distinct + zero"
"""No rung of its own: the different values of everything that is stored, zero being one."""


@dataclass(frozen=True)
class Match:
    """A claimed number of parameters beside what was counted."""

    claimed: int
    rungs: tuple[str, ...]
    """The conventions that count what is claimed."""
    stored: int

    def __str__(self) -> str:
        found = f"equals {', '.join(self.rungs)}" if self.rungs else "no rung"
        return f"claims {self.claimed:,}: {found}" + (
            "" if self.rungs else f"; stored is {self.stored:,}"
        )


def matched(claimed: int, counts: Mapping[str, int]) -> Match:
    """The rungs of `counts` (a ladder) that give what is claimed.

    `distinct + zero` is tried too: who counts the different values in dense tensors counts zero
    among them.

    >>> str(matched(33, {"stored": 141, "nonzero": 48, "distinct": 32}))
    'claims 33: equals distinct + zero'
    >>> str(matched(28, {"stored": 24, "nonzero": 24, "distinct": 23}))
    'claims 28: no rung; stored is 24'
    """
    tried = {rung: count for rung, count in counts.items() if rung != "claimed"}
    if counts["stored"] > counts["nonzero"]:
        tried[WITH_ZERO] = counts["distinct"] + 1
    rungs = tuple(rung for rung, count in tried.items() if count == claimed)
    return Match(claimed, rungs, counts["stored"])
