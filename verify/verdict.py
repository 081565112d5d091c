"""What can be said of a model, as types: Sampled, Exhaustive, Proved, Refuted, and Unknown for a
proof that gave up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.tasks.base import Problem
from tinyadder.text import Shown


def counted(count: int, domain: str) -> str:
    """All problems of a domain, in words.

    >>> counted(10_000, "the pairs of numbers of at most 2 digits")
    'all 10,000 pairs of numbers of at most 2 digits'
    """
    return f"all {count:,} {domain.removeprefix('the ')}"


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
        return f"EXHAUSTIVE {counted(self.count, self.domain)}: 0 wrong"


@dataclass(frozen=True, repr=False)
class Proved(Shown):
    """An independent checker accepted the certificate in `certificate`: right on every problem of
    `domain`.
    """

    domain: str
    certificate: str | None
    """Its file; None where it was not kept."""
    margin: float
    """Smallest distance of a decision to its boundary, in logits, over all problems."""
    numerics: str = ""

    def __str__(self) -> str:
        kept = f"; certificate {self.certificate}" if self.certificate else ""
        return f"PROVED     {self.domain}, smallest margin {self.margin:.6g}{kept}"

    @classmethod
    def by_checker(cls, checked: Mapping[str, Any], certificate: str | None) -> Proved:
        """What the checker's result (`tinyadder.verify.certify.check.check`) says, as a verdict."""
        domain = domain_in_words(checked["problems"], checked["task"])
        numerics = "; ".join(f"{key}: {value}" for key, value in checked["numerics"].items())
        return cls(domain, certificate, checked["margin"], numerics)


def domain_in_words(problems: int, task: Mapping[str, Any]) -> str:
    """All problems of a task, which is as in model.json: `all 100 problems of comparison
    (digits=1)`.
    """
    o = task["options"]
    if task["name"] == "custom":
        letters = " ".join(o["alphabet"]) if len(o["alphabet"]) <= 36 else "the alphabet"
        lengths = f"{o['shortest']} .. {o['longest']} letters of {letters}"
        return f"all {problems:,} words of {lengths}, by the table of right answers in model.json"
    options = ", ".join(f"{key}={value}" for key, value in o.items())
    return f"all {problems:,} problems of {task['name']} ({options})"


@dataclass(frozen=True)
class Counterexample:
    """A problem the real model answers wrongly, replayed."""

    problem: Problem
    shown: str
    expected: Sequence[str]
    got: Sequence[str]
    only: str = ""
    """By which decoding, in which batch and at which position it fails; empty for one that fails
    asked alone, with and without a cache of keys and values."""
    texts: Sequence[str] = ()
    """Both answers in words (`Task.format_answer`); empty where only the tokens are known."""

    def answers(self) -> tuple[str, str]:
        """The right answer and the model's, in words."""
        expected, got = self.texts or ("".join(self.expected), "".join(self.got))
        return expected, got

    def __str__(self) -> str:
        expected, got = self.answers()
        text = f"{self.shown}   expected {expected}, model {got}"
        return text + (f" (only {self.only})" if self.only else "")


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

EXIT: Mapping[type, int] = {Sampled: 0, Exhaustive: 0, Proved: 0, Refuted: 1, Unknown: 4}
"""The exit code of a command that ends in a verdict."""


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """`{"verdict": "sampled", ...}` with the fields of the type."""
    return {"verdict": type(verdict).__name__.lower(), **asdict(verdict)}


def verdict_from_json(data: Any) -> Verdict:
    """The verdict that `verdict_to_json` made `data` of, every field of its type.

    Raises `TinyadderError` for anything else; a stranger may have written it.

    >>> verdict_from_json({"verdict": "sampled", "count": 7, "seed": 0})
    SAMPLED    7 problems, seed 0: 0 wrong
    """
    kinds = {
        kind.__name__.lower(): kind for kind in (Sampled, Exhaustive, Proved, Refuted, Unknown)
    }
    if not isinstance(data, dict) or not isinstance(data.get("verdict"), str):
        raise TinyadderError(f"{data!r:.60} is no verdict; expected one of {', '.join(kinds)}")
    kind = data["verdict"]
    given = {name: value for name, value in data.items() if name != "verdict"}
    if kind not in kinds:
        raise TinyadderError(
            f"there is no verdict '{kind:.20}'; expected one of {', '.join(kinds)}"
        )
    if kind == "refuted":
        return Refuted(_checked(Counterexample, given.get("counterexample")))
    verdict: Verdict = _checked(kinds[kind], given)
    return verdict


_TYPES = {
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "Sequence[str]": lambda value: (
        isinstance(value, str)
        or (isinstance(value, list) and all(isinstance(token, str) for token in value))
    ),
    "Problem": lambda value: True,
}
"""By annotation: whether a value that was read may stand there."""


def _checked(kind: type, given: Any) -> Any:
    """A `kind` of these fields. Raises `TinyadderError` for wrong ones."""
    name = kind.__name__.lower()
    if not isinstance(given, dict):
        raise TinyadderError(f"a {name} is {given!r:.40}, expected its fields")
    known = {one.name: one for one in fields(kind)}
    required = {one.name for one in known.values() if one.default is MISSING}
    if given.keys() - known or required - given.keys():
        raise TinyadderError(f"a {name} has the fields {list(known)}, these are {list(given)}")
    for key, value in given.items():
        if not _TYPES[str(known[key].type)](value):
            raise TinyadderError(f"{key} of a {name} is {value!r:.40}, expected {known[key].type}")
    return kind(**given)
