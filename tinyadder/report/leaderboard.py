"""The leaderboard: every construction and trained baseline, measured here; the public field apart,
its claims beside what was measured of it.

Counts are taken from the models when the report is made. Verdicts come from `results/`, for the
same weights, config and task only, and what can be checked in a moment is: certificates by the
checker, counterexamples by asking them again. A count never stands without its convention, nor a
verdict without its type.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path, PurePath
from typing import Annotated, Any

from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, checked
from tinyadder.io.digest import model_digest
from tinyadder.io.folder import describe, load
from tinyadder.io.text import read_json
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.report.certificates import certificate_file, recheck
from tinyadder.report.results import FOLDER, Result
from tinyadder.tasks.base import Task
from tinyadder.verify.count import definition, ladder
from tinyadder.verify.count.code import construction_code, machine_code
from tinyadder.verify.counterexample import fails_as_stated
from tinyadder.verify.external.board import BoardRow
from tinyadder.verify.verdict import (
    Exhaustive,
    Proved,
    Refuted,
    Unknown,
    Verdict,
    verdict_from_json,
    verdict_to_json,
)

FIELD = "adderboard_2026-03-26.csv"
FIELD_DATE = "2026-03-26"
STRONGEST = ("refuted", "proved", "exhaustive", "sampled", "part", "unknown", "none yet")
"""Verdicts, the one that says most first; "part": exhaustive about a part of the problems."""


@dataclass(frozen=True)
class Standing:
    """A verdict on a model, with what the leaderboard must say beside it."""

    verdict: Verdict
    options: Mapping[str, Any]
    """Of the construction, where the verdict is about the model that other options make."""
    of: int | None = None
    """How many problems there are, where an exhaustive verdict is about a part of them."""
    share: Mapping[str, Any] | None = None
    """How many problems are wrong, where somebody counted."""

    @property
    def kind(self) -> str:
        """A word of `STRONGEST`."""
        return "part" if self.of is not None else type(self.verdict).__name__.lower()


@dataclass(frozen=True)
class LeaderboardRow:
    """One model of ours: what was counted now, and the results that hold for exactly this model."""

    name: str
    trained: bool
    task: str
    counts: dict[str, int]
    digest: str
    results: tuple[Result, ...]
    findings: tuple[Standing, ...] = ()
    """The verdicts among the results, as far as they hold today."""
    evaluation: dict[str, Any] | None = None
    """Of a trained model: exact match as `tinyadder evaluate` measured it, and what the training
    cost."""
    given: str = ""
    """What a model that was trained in the equations of a construction was given; empty for one
    that was trained from random initialisation."""

    def verdicts(self) -> list[Standing]:
        """The strongest first, then those about a part of the problems, then at other options.

        One refutation is enough, with the count of wrong problems if there is one.
        """
        ordered = sorted(self.findings, key=lambda f: (bool(f.options), STRONGEST.index(f.kind)))
        refuted = [f for f in ordered if f.kind == "refuted" and not f.options]
        return [replace(refuted[0], share=self.share)] if refuted else ordered

    @property
    def share(self) -> Mapping[str, Any] | None:
        """How many problems are wrong, where somebody counted."""
        return next((f for r in self.results if not r.options and (f := _share(r))), None)

    @property
    def strongest(self) -> str:
        """The type of the verdict that says most about all problems, or "none yet"."""
        about_all = [f.kind for f in self.verdicts() if f.kind != "part" and not f.options]
        return about_all[0] if about_all else "none yet"

    def of(self, kind: str) -> Result | None:
        """The result of this kind."""
        return next((r for r in self.results if r.kind == kind and not r.options), None)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        times, legal = self.of("times"), self.of("legality")
        return {
            "name": self.name,
            "trained": self.trained,
            "given": self.given,
            "task": self.task,
            "counts": self.counts,
            "digest": self.digest,
            "verdicts": [
                {**verdict_to_json(f.verdict), "options": f.options, "of": f.of}
                for f in self.verdicts()
            ],
            "share wrong": self.share,
            "legality": legal.data["findings"] if legal else None,
            "times": times.data if times else None,
            "evaluation": self.evaluation,
            "results": [
                {"kind": r.kind, "options": r.options, "command": r.command, "date": r.date}
                for r in self.results
            ],
        }


def _share(result: Result) -> dict[str, Any] | None:
    """How many problems a result found wrong: counted off in a domain, or between two shares."""
    keys = ("wrong", "count", "domain") if result.data.get("wrong") else ("share",)
    return {key: result.data[key] for key in keys} if set(keys) <= result.data.keys() else None


@dataclass(frozen=True)
class Entry:
    """What the leaderboard measures: a construction, or a trained model in a folder."""

    name: str
    model: Transformer
    task: Task
    trained: bool
    folder: Path | None
    structure: str = ""
    """See `LeaderboardRow.given`."""

    @property
    def given(self) -> str:
        """How the command line names it."""
        return str(self.folder) if self.folder else self.name

    def at(self, options: Mapping[str, Any]) -> tuple[Transformer, Task]:
        """The model and task, or what its construction makes of these options.

        Raises `TinyadderError` where there is no such model.
        """
        if not options:
            return self.model, self.task
        if self.trained:
            raise TinyadderError(f"{self.name} is a trained model, it has no options")
        made = construct(self.name, **options)
        return build(made.program), made.task


def own_models(baselines: Path, names: Sequence[str] = ()) -> list[Entry]:
    """Every construction with its default options and every model folder below `baselines`, or
    those named. Raises `TinyadderError` for a name that is none of them.
    """
    folders = {
        str(path.parent.relative_to(baselines)).removesuffix("/model"): path.parent
        for path in (sorted(baselines.rglob("model.json")) if baselines.is_dir() else ())
    }
    known = [*construction_names(), *folders]
    for name in names:
        if name not in known:
            raise TinyadderError(f"the leaderboard has no '{name}' (it has {', '.join(known)})")
    entries = []
    for name in construction_names():
        if not names or name in names:
            made = construct(name)
            entries.append(Entry(name, build(made.program), made.task, False, None))
    stages = _stages(folders)
    for name, folder in folders.items():
        if name in names or not (names or name in stages):
            model, described = load(folder)
            if isinstance(model, Transformer):
                structure = _structure(described.options)
                entries.append(Entry(name, model, described.task, True, folder, structure))
    return entries


def _structure(options: Mapping[str, Any]) -> str:
    """What the recipe of a trained model took from a construction, in words."""
    recipe = options.get("recipe")
    if not isinstance(recipe, Mapping) or "structure" not in recipe:
        return ""
    given = recipe["structure"]
    given = given if isinstance(given, Mapping) else {}
    chosen = given.get("options")
    words = (
        ", ".join(f"{key}={value}" for key, value in chosen.items())
        if isinstance(chosen, Mapping)
        else ""
    )
    fixed = given.get("fixed")
    kept = [str(part) for part in fixed] if isinstance(fixed, list | tuple) else []
    parts = [
        f"structure of {given.get('name')}" + (f" ({words})" if words else ""),
        f"{', '.join(kept)} as there" if kept else "",
        "signs" if given.get("signs") == "given" else "",
        f"one magnitude a {given.get('alike')}",
    ]
    return "; ".join(part for part in parts if part)


def _stages(folders: Mapping[str, Path]) -> set[str]:
    """The models that another one of the same recipe was trained on from, or that lie in the
    folder of one (`seed-4/start`): one run in two parts.
    """
    stages = {other for other in folders if str(PurePath(other).parent) in folders}
    for name, folder in folders.items():
        start = PurePath(str(describe(folder).options.get("started from", "")))
        stages |= {
            other
            for other in folders
            if start.parts[-3:] == (*PurePath(other).parts, "model")
            and PurePath(other).parent == PurePath(name).parent
        }
    return stages


def row(entry: Entry, results: Sequence[Result], folder: Path = FOLDER) -> LeaderboardRow:
    """Count the model, and take what `results` (of `folder`, with its certificates) say of exactly
    this model, or of exactly its construction at other options.
    """
    evaluation = _evaluation(entry)
    code = machine_code(entry.model) if entry.trained else construction_code(entry.name)
    kept, findings = list[Result](), list[Standing]()
    for result in results:
        if result.model != entry.name:
            continue
        try:
            model, task = entry.at(result.options)
        except (TinyadderError, TypeError):
            continue  # options that this construction no longer has
        if result.digest != model_digest(model, task):
            continue
        kept.append(result)
        if "verdict" in result.data:
            findings.append(_finding(result, model, task, folder))
    return LeaderboardRow(
        entry.name,
        entry.trained,
        format_task(entry.task),
        ladder(entry.model, code),
        model_digest(entry.model, entry.task),
        tuple(kept),
        tuple(findings),
        evaluation,
        entry.structure,
    )


def _finding(result: Result, model: Transformer, task: Task, folder: Path) -> Standing:
    """The verdict of a result as it holds today: a proof if the checker accepts its certificate, a
    refutation if its problem is wrong again.
    """
    verdict, of = verdict_from_json(result.data["verdict"]), None
    if isinstance(verdict, Proved):
        verdict = recheck(model, task, certificate_file(folder, result.model, result.options))
    elif isinstance(verdict, Refuted):
        if not fails_as_stated(model, task, verdict.counterexample):
            shown = verdict.counterexample.shown
            verdict = Unknown(f"the stated counterexample {shown} is not answered wrongly today")
    elif isinstance(verdict, Exhaustive):
        domain = task.domain()
        of = None if domain is None or verdict.count >= domain.size else domain.size
    return Standing(verdict, result.options, of)


COUNT, RATE = Annotated[int, Between(1, 10**12)], Annotated[float, Between(0, 1)]
HELD_OUT = {"problems": COUNT, "exact": RATE, "tokens": RATE, "chance": RATE}
HARD = {"problems": COUNT, "exact": RATE}


def _evaluation(entry: Entry) -> dict[str, Any] | None:
    """Accuracies from the `evaluation.json` beside a trained model, where there is one."""
    path = entry.folder.parent / "evaluation.json" if entry.folder else None
    if path is None or not os.path.lexists(path):
        return None
    data = read_json(path)
    try:
        seconds = (data.get("training") or {}).get("training cpu seconds")
        return {
            "held out": {key: checked(data["score"][key], HELD_OUT[key], key) for key in HELD_OUT},
            "hard cases": {key: checked(data["hard cases"][key], HARD[key], key) for key in HARD},
            "training cpu seconds": checked(seconds, float | None, "training cpu seconds"),
            "command": checked(data["command"], str, "command"),
        }
    except (KeyError, TypeError, AttributeError, TinyadderError) as error:
        raise TinyadderError(
            f"{path} is not what tinyadder evaluate --out writes: {error}; make it again"
        ) from error


def recipe_of(name: str) -> str:
    """`addition3-reversed` for `addition3-reversed/seed-1`; other names as they are."""
    return re.sub(r"/seed-\d+$", "", name)


def format_task(task: Task) -> str:
    """The task in words: `addition (digits 10, base 10)`."""
    options = task.to_json()["options"].items()
    text = ", ".join(f"{key} {value}" for key, value in options if value not in (0, False, None))
    return task.name.replace("_", " ") + (f" ({text})" if text else "")


# ---- the public field ----------------------------------------------------------------------------


def public_field() -> list[dict[str, str]]:
    """The public leaderboard as it stood on `FIELD_DATE`: what others claim."""
    text = (files("tinyadder") / "data" / FIELD).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


# ---- as data -------------------------------------------------------------------------------------


def report_json(rows: Sequence[LeaderboardRow], board: Sequence[BoardRow] = ()) -> dict[str, Any]:
    """The leaderboard as plain data: ours, and the public field as claimed and as `board`
    measured it.
    """
    return {
        "conventions": {rung: definition(rung) for rung in rows[0].counts} if rows else {},
        "models": [row.to_json() for row in rows],
        "claims of others": {"as of": FIELD_DATE, "entries": public_field()},
        "measured of others": [asdict(one) for one in board],
    }
