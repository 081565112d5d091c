"""The ladder of somebody's submission: what its process finds, and what stands in its code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tinyadder.errors import TinyadderError
from tinyadder.verify.count.code import file_code
from tinyadder.verify.count.literals import Literal

if TYPE_CHECKING:
    from tinyadder.verify.external.entry import LoadedSubmission, ReportProgress
    from tinyadder.verify.external.submission import CodePlace, Session


class _Weight(TypedDict):
    rung: str
    tensor: str
    index: list[int]
    value: float
    place: str
    tie: str


class _Reply(TypedDict):
    counts: dict[str, int]
    weights: list[_Weight]
    claimed: int | None
    literals: list[int]


@dataclass(frozen=True)
class ForeignCounts:
    """What was counted of a submission."""

    counts: dict[str, int]
    """The whole ladder; `claimed`, too, where its author claims a number."""
    weights: list[dict[str, Any]]
    """Every weight with its place, where they were asked for."""
    literals: list[Literal]
    """The numbers in the code that the strict rung counts."""


def count_submission(session: Session, place: CodePlace, *, why: bool = False) -> ForeignCounts:
    """The ladder of the submission that runs in `session`, its code at `place`.

    Raises `TinyadderError` for code that is no Python, and what `Session.ask` does.
    """
    from tinyadder.verify.count import RUNGS

    whole = not session.about()["module"]  # then `add` holds the forward pass
    code = file_code(place.file, place.roots, place.module, place.attribute, whole=whole)
    given = [[literal.value, literal.written] for literal in code]
    reply: _Reply = session.ask(
        f"{__name__}:count", reply=_Reply, why=why, roots=list(map(str, place.roots)), code=given
    )
    counts = dict(reply["counts"])
    if counts.keys() != {*RUNGS, "strict"}:
        raise TinyadderError(f"{place.file}: its process sent other counts than were asked for")
    if reply["claimed"] is not None:
        counts["claimed"] = reply["claimed"]
    kept = [code[k] for k in reply["literals"] if 0 <= k < len(code)]
    return ForeignCounts(counts, [dict(weight) for weight in reply["weights"]], kept)


def count(
    entry: LoadedSubmission,
    report: ReportProgress,
    why: bool,
    roots: list[str],
    code: list[tuple[float, bool]],
) -> dict[str, Any]:
    """In the process of the submission: the ladder of the model with the numbers of its file's own
    names, and which literals of `code` (value, written) count.
    """
    from tinyadder.verify.count import as_module, counted_literals, hang_on, ladder, weights
    from tinyadder.verify.count.beside import names_of_files

    module = as_module(entry.model)
    hang_on(module, names_of_files(entry.names, list(map(Path, roots))))
    literals = [Literal(value, k, 0, "", "", written) for k, (value, written) in enumerate(code)]
    return {
        "counts": ladder(module, literals),
        "weights": [vars(weight) for weight in weights(module)] if why else [],
        "claimed": entry.claimed,
        "literals": [literal.line for literal in counted_literals(module, literals)],
    }
