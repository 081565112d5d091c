"""What can be said of a model, as types: Sampled, Exhaustive, Proved, Refuted, and Unknown for a
proof that gave up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tinyadder.tasks.base import Problem
from tinyadder.text import Shown


@dataclass(frozen=True, repr=False)
class Sampled(Shown):
    """`count` problems were decoded (prompt alone, greedy) and none was wrong; says nothing of the
    others.
    """

    count: int
    seed: int

    def __str__(self) -> str:
        return f"SAMPLED    {self.count:,} problems, seed {self.seed}: 0 wrong"


@dataclass(frozen=True, repr=False)
class Exhaustive(Shown):
    """Every problem of `domain` was decoded and none was wrong."""

    domain: str
    count: int

    def __str__(self) -> str:
        return f"EXHAUSTIVE all {self.count:,} of {self.domain}: 0 wrong"


@dataclass(frozen=True, repr=False)
class Proved(Shown):
    """An independent checker accepted the certificate in `certificate`: right on every problem of
    `domain`.
    """

    domain: str
    certificate: str
    margin: float
    """Smallest distance of a decision to its boundary, in logits, over all problems."""
    numerics: str

    def __str__(self) -> str:
        return (
            f"PROVED     {self.domain}, smallest margin {self.margin:.6g}; certificate"
            f" {self.certificate}"
        )


@dataclass(frozen=True)
class Counterexample:
    """A problem the real model answers wrongly, replayed."""

    problem: Problem
    shown: str
    expected: Sequence[str]
    got: Sequence[str]

    def __str__(self) -> str:
        return f"{self.shown}   expected {''.join(self.expected)}, model {''.join(self.got)}"


@dataclass(frozen=True, repr=False)
class Refuted(Shown):
    """The model is wrong: here is a problem that shows it."""

    counterexample: Counterexample

    def __str__(self) -> str:
        return f"REFUTED    {self.counterexample}"


@dataclass(frozen=True, repr=False)
class Unknown(Shown):
    """Neither proved nor refuted; `reason` says which position and digit, what width, what would be
    needed.
    """

    reason: str

    def __str__(self) -> str:
        return f"UNKNOWN    {self.reason}"


Verdict = Sampled | Exhaustive | Proved | Refuted | Unknown


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """`{"verdict": "sampled", ...}` with the fields of the type."""
    return {"verdict": type(verdict).__name__.lower(), **asdict(verdict)}
