"""The leaderboard: every construction and trained baseline, measured here; the public field apart,
as claims.

Counts are taken from the models when the report is made; verdicts come from `results/` and are
shown only while the weights they were found for are still the model's. A count never stands without
its convention, nor a verdict without its type.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import load, weights_digest
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.report.results import Result, result, write_result
from tinyadder.tasks.base import Task
from tinyadder.verify.count import construction_code, definition, ladder, machine_code
from tinyadder.verify.legality import legality
from tinyadder.verify.verdict import verdict_to_json

FIELD = "adderboard_2026-03-26.csv"
FIELD_DATE = "2026-03-26"
STRONGEST = ("refuted", "proved", "exhaustive", "sampled", "part", "unknown", "none yet")
"""Verdicts, the one that says most first; "part" is an exhaustive one about a part of the problems
only.
"""
SAMPLES, EXAMPLES, LEGAL, DECODED = 20_000, 100, 50, 2000
PROOF_SECONDS = 120.0


@dataclass(frozen=True)
class LeaderboardRow:
    """One model of ours: what was counted now, and the results that hold for exactly these
    weights.
    """

    name: str
    trained: bool
    task: str
    counts: dict[str, int]
    sha256: str
    results: tuple[Result, ...]
    evaluation: dict[str, Any] | None = None
    """Of a trained model: exact match as `tinyadder evaluate` found it, and what the training
    cost.
    """

    def verdicts(self) -> list[dict[str, Any]]:
        """Verdicts with their type, the strongest first, then those about a part of the problems,
        then those at other options; one refutation is enough, the one that counted how many are
        wrong if there is one.
        """
        found = [
            {**r.data["verdict"], "options": r.options, "share": _share(r)}
            for r in self.results
            if "verdict" in r.data
        ]
        found.sort(
            key=lambda v: (
                bool(v["options"]),
                STRONGEST.index("part" if "of" in v else v["verdict"]),
            )
        )
        refuted = [
            verdict
            for verdict in found
            if verdict["verdict"] == "refuted" and not verdict["options"]
        ]
        return [{**refuted[0], "share": self.share}] if refuted else found

    @property
    def share(self) -> dict[str, Any] | None:
        """How many problems are wrong, where somebody counted."""
        return next((share for r in self.results if not r.options and (share := _share(r))), None)

    @property
    def strongest(self) -> str:
        """The type of the verdict that says most about all problems at the default options, or
        "none yet".
        """
        about_all = [
            verdict for verdict in self.verdicts() if "of" not in verdict and not verdict["options"]
        ]
        return about_all[0]["verdict"] if about_all else "none yet"

    def of(self, kind: str) -> Result | None:
        """The result of this kind."""
        return next((r for r in self.results if r.kind == kind and not r.options), None)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        times = self.of("times")
        legal = self.of("legality")
        return {
            "name": self.name,
            "trained": self.trained,
            "task": self.task,
            "counts": self.counts,
            "sha256": self.sha256,
            "verdicts": [
                {
                    **r.data["verdict"],
                    "kind": r.kind,
                    "options": r.options,
                    "command": r.command,
                    "seed": r.seed,
                    "date": r.date,
                }
                for r in self.results
                if "verdict" in r.data
            ],
            "share wrong": self.share,
            "legality": legal.data["findings"] if legal else None,
            "times": times.data if times else None,
            "evaluation": self.evaluation,
        }


def _share(found: Result) -> dict[str, Any] | None:
    """How many problems a result found wrong: counted off in a domain, or a share between two
    bounds.
    """
    keys = ("wrong", "count", "domain") if found.data.get("wrong") else ("share",)
    return {key: found.data[key] for key in keys} if set(keys) <= found.data.keys() else None


@dataclass(frozen=True)
class Entry:
    """What the leaderboard measures: a construction, or a trained model in a folder."""

    name: str
    model: Transformer
    task: Task
    trained: bool
    folder: Path | None

    @property
    def given(self) -> str:
        """How the command line names it."""
        return str(self.folder) if self.folder else self.name


def own_models(baselines: Path, names: Sequence[str] = ()) -> list[Entry]:
    """Every construction with its default options and every model folder below `baselines`, or
    those named.
    """
    found = []
    folders = {
        str(p.parent.relative_to(baselines)).removesuffix("/model"): p.parent
        for p in _folders(baselines)
    }
    known = [*construction_names(), *folders]
    for name in names:
        if name not in known:
            raise TinyadderError(f"the leaderboard has no '{name}' (it has {', '.join(known)})")
    for name in construction_names():
        if not names or name in names:
            made = construct(name)
            found.append(Entry(name, build(made.program), made.task, False, None))
    for name, folder in folders.items():
        if not names or name in names:
            model, described = load(folder)
            if isinstance(model, Transformer):
                found.append(Entry(name, model, described.task, True, folder))
    return found


def _folders(baselines: Path) -> list[Path]:
    return sorted(baselines.rglob("model.json")) if baselines.is_dir() else []


def row(model: Entry, results: Sequence[Result]) -> LeaderboardRow:
    """Count `model` and take the results found for these very weights, or for its weights at other
    options.
    """
    code = machine_code() if model.trained else construction_code(model.name)
    digest = weights_digest(model.model)
    kept = tuple(
        _whole(model, r)
        for r in results
        if r.model == model.name and r.sha256 == _digest(model, digest, r)
    )
    counts = ladder(model.model, code)
    return LeaderboardRow(
        model.name, model.trained, said_task(model.task), counts, digest, kept, _evaluation(model)
    )


def _whole(model: Entry, found: Result) -> Result:
    """`found`, where it is exhaustive about fewer problems than the task has with "of": how many
    there are.
    """
    verdict = found.data.get("verdict", {})
    if verdict.get("verdict") != "exhaustive":
        return found
    domain = (construct(model.name, **found.options).task if found.options else model.task).domain()
    if domain is None or verdict["count"] >= domain.size:
        return found
    return replace(found, data={**found.data, "verdict": {**verdict, "of": domain.size}})


def _evaluation(model: Entry) -> dict[str, Any] | None:
    """Accuracies from the `evaluation.json` beside a trained model, where there is one."""
    path = model.folder.parent / "evaluation.json" if model.folder else None
    if path is None or not path.is_file():
        return None
    found = json.loads(path.read_text())
    return {
        "held out": {key: found["score"][key] for key in ("problems", "exact", "tokens", "chance")},
        "hard cases": {key: found["hard cases"][key] for key in ("problems", "exact")},
        "training cpu seconds": (found.get("training") or {}).get("training cpu seconds"),
        "command": found["command"],
    }


def _digest(model: Entry, default: str, found: Result) -> str | None:
    """The weights that `found` must be about: those of the model, or of its construction with the
    result's options.
    """
    if not found.options:
        return default
    try:
        return (
            None
            if model.trained
            else weights_digest(build(construct(model.name, **found.options).program))
        )
    except TinyadderError:
        return None


def recipe_of(name: str) -> str:
    """`addition3-reversed` for `addition3-reversed/seed-1`; other names as they are."""
    return re.sub(r"/seed-\d+$", "", name)


def said_task(task: Task) -> str:
    """The task in words: `addition (digits 10, base 10)`."""
    options = {
        key: value
        for key, value in task.to_json()["options"].items()
        if value not in (0, False, None)
    }
    said = ", ".join(f"{key} {value}" for key, value in options.items())
    return task.name.replace("_", " ") + (f" ({said})" if said else "")


# ---- fresh results -------------------------------------------------------------------------------


def measure(model: Entry, folder: Path, *, seed: int = 0) -> list[Path]:
    """Make the results of one model anew: verified, proved, legality, times; returns the files
    written.
    """
    from tinyadder.verify.properties import verify

    written = []

    def keep(kind: str, data: Mapping[str, Any], command: str, seed: int | None = None) -> None:
        made = result(model.model, model.name, {}, kind, data, command=command, seed=seed)
        written.append(write_result(made, folder, force=True))

    began = time.perf_counter()
    verified = verify(model.model, model.task, count=SAMPLES, examples=EXAMPLES, seed=seed)
    seconds = time.perf_counter() - began
    asked = {part.name: part.asked for part in verified.parts}
    said = f"tinyadder verify {model.given} --count {SAMPLES} --examples {EXAMPLES} --seed {seed}"
    keep(
        "verified",
        {"verdict": verdict_to_json(verified.verdict), "asked": asked, "seconds": seconds},
        said,
        seed,
    )

    problems = model.task.uniform(Random(seed), LEGAL)
    findings = [vars(finding) for finding in legality(model.model, model.task, problems, seed=seed)]
    said = f"tinyadder legality {model.given} --problems {LEGAL} --seed {seed}"
    keep("legality", {"findings": findings}, said, seed)
    if not model.trained:
        keep("proved", _proof(model), f"tinyadder prove {model.given}")
    keep("times", _times(model, seed), f"tinyadder report --fresh --only {model.name}", seed)
    return written


def _proof(model: Entry) -> dict[str, Any]:
    """The checker's verdict, from a process of its own that is stopped where it takes too long."""
    command = [sys.executable, "-m", "tinyadder", "prove", model.given, "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROOF_SECONDS, check=False
        )
        data = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {
            "verdict": {"verdict": "unknown", "reason": f"no verdict within {PROOF_SECONDS:g} s"}
        }
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["nothing was said"]
        return {
            "verdict": {"verdict": "unknown", "reason": f"the prover stopped: {lines[-1][:160]}"}
        }
    fields = {
        key: data.pop(key)
        for key in ("proof_seconds", "check_seconds", "certificate_bytes")
        if key in data
    }
    for key in ("model", "numerics", "claims"):
        data.pop(key, None)
    return {"verdict": data, **fields}


def _times(model: Entry, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    if not model.trained:
        build(construct(model.name).program)
    built = time.perf_counter() - began
    problems = model.task.uniform(Random(seed), DECODED)
    answers(model.model, model.task, problems[:10])
    began = time.perf_counter()
    answers(model.model, model.task, problems)
    rate = DECODED / (time.perf_counter() - began)
    return {"build_seconds": None if model.trained else built, "decoded_per_second": rate}


# ---- the public field ----------------------------------------------------------------------------


def public_field() -> list[dict[str, str]]:
    """The public leaderboard as it stood on `FIELD_DATE`: what others claim, never measured
    here.
    """
    text = (files("tinyadder") / "data" / FIELD).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


# ---- as data -------------------------------------------------------------------------------------


def report_json(rows: Sequence[LeaderboardRow]) -> dict[str, Any]:
    """The leaderboard as plain data: ours as measured, the public field as claimed."""
    return {
        "conventions": {rung: definition(rung) for rung in rows[0].counts} if rows else {},
        "models": [found.to_json() for found in rows],
        "claims of others": {"as of": FIELD_DATE, "entries": public_field()},
    }
