"""The leaderboard: every construction and trained baseline, measured here; the public field apart, as claims.

Counts are taken from the models when the report is made; verdicts come from `results/` and are shown only while the
weights they were found for are still the model's. A count never stands without its convention, nor a verdict without
its type.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

from tinyadder.answers import answers
from tinyadder.compile import build
from tinyadder.construction import construct, construction_names
from tinyadder.errors import TinyadderError
from tinyadder.folder import load
from tinyadder.tasks.base import Task
from tinyadder.transformer import Transformer
from verify.count import construction_code, definition, ladder, machine_code
from verify.legality import legality
from verify.results import Result, result, weights_digest, write_result
from verify.verdict import verdict_to_json

FIELD = "adderboard_2026-03-26.csv"
FIELD_DATE = "2026-03-26"
SHOWN = (
    "nonzero",
    "nonzero + positional",
    "with wiring",
    "ties written out",
    "stored",
    "distinct",
    "stored + buffers",
    "strict",
)
"""The rungs of the table of counts; the JSON has all of them."""
STRONGEST = ("refuted", "proved", "exhaustive", "sampled", "unknown")
"""Verdicts, the one that says most first."""
MARKS = ("<!-- leaderboard -->", "<!-- /leaderboard -->")
SAMPLES, EXAMPLES, LEGAL, DECODED = 20_000, 100, 50, 2000
PROOF_SECONDS = 120.0


@dataclass(frozen=True)
class Row:
    """One model of ours: what was counted now, and the results that hold for exactly these weights."""

    name: str
    trained: bool
    task: str
    counts: dict[str, int]
    sha256: str
    results: tuple[Result, ...]

    def verdicts(self) -> list[dict[str, Any]]:
        """Verdicts with their type, the strongest first, those at other options last; one refutation is enough."""
        found = [{**r.data["verdict"], "options": r.options} for r in self.results if "verdict" in r.data]
        found.sort(key=lambda verdict: (bool(verdict["options"]), STRONGEST.index(verdict["verdict"])))
        refuted = [verdict for verdict in found if verdict["verdict"] == "refuted"]
        return refuted[:1] or found

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
            "legality": legal.data["findings"] if legal else None,
            "times": times.data if times else None,
        }


@dataclass(frozen=True)
class Model:
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


def own_models(baselines: Path, names: Sequence[str] = ()) -> list[Model]:
    """Every construction with its default options and every model folder below `baselines`, or those named."""
    found = []
    folders = {str(p.parent.relative_to(baselines)).removesuffix("/model"): p.parent for p in _folders(baselines)}
    known = [*construction_names(), *folders]
    for name in names:
        if name not in known:
            raise TinyadderError(f"the leaderboard has no '{name}' (it has {', '.join(known)})")
    for name in construction_names():
        if not names or name in names:
            made = construct(name)
            found.append(Model(name, build(made.program), made.task, False, None))
    for name, folder in folders.items():
        if not names or name in names:
            model, described = load(folder)
            if isinstance(model, Transformer):
                found.append(Model(name, model, described.task, True, folder))
    return found


def _folders(baselines: Path) -> list[Path]:
    return sorted(baselines.rglob("model.json")) if baselines.is_dir() else []


def row(model: Model, results: Sequence[Result]) -> Row:
    """Count `model` and take the results found for these very weights, or for its weights at other options."""
    code = machine_code() if model.trained else construction_code(model.name)
    digest = weights_digest(model.model)
    kept = tuple(r for r in results if r.model == model.name and r.sha256 == _digest(model, digest, r))
    return Row(model.name, model.trained, said_task(model.task), ladder(model.model, code), digest, kept)


def _digest(model: Model, default: str, found: Result) -> str | None:
    """The weights that `found` must be about: those of the model, or of its construction with the result's options."""
    if not found.options:
        return default
    try:
        return None if model.trained else weights_digest(build(construct(model.name, **found.options).program))
    except TinyadderError:
        return None


def said_task(task: Task) -> str:
    """The task in words: `addition (digits 10, base 10)`."""
    options = {key: value for key, value in task.to_json()["options"].items() if value not in (0, False, None)}
    said = ", ".join(f"{key} {value}" for key, value in options.items())
    return task.name.replace("_", " ") + (f" ({said})" if said else "")


# ---- fresh results --------------------------------------------------------------------------------


def measure(model: Model, folder: Path, *, seed: int = 0) -> list[Path]:
    """Make the results of one model anew: verified, proved, legality, times; returns the files written."""
    from verify.properties import verify

    written = []

    def keep(kind: str, data: Mapping[str, Any], command: str, seed: int | None = None) -> None:
        made = result(model.model, model.name, {}, kind, data, command=command, seed=seed)
        written.append(write_result(made, folder, force=True))

    began = time.perf_counter()
    verified = verify(model.model, model.task, count=SAMPLES, examples=EXAMPLES, seed=seed)
    seconds = time.perf_counter() - began
    asked = {part.name: part.asked for part in verified.parts}
    said = f"tinyadder verify {model.given} --count {SAMPLES} --examples {EXAMPLES} --seed {seed}"
    keep("verified", {"verdict": verdict_to_json(verified.verdict), "asked": asked, "seconds": seconds}, said, seed)

    problems = model.task.uniform(Random(seed), LEGAL)
    findings = [vars(finding) for finding in legality(model.model, model.task, problems, seed=seed)]
    said = f"tinyadder legality {model.given} --problems {LEGAL} --seed {seed}"
    keep("legality", {"findings": findings}, said, seed)
    if not model.trained:
        keep("proved", _proof(model), f"tinyadder prove {model.given}")
    keep("times", _times(model, seed), f"tinyadder report --fresh --only {model.name}", seed)
    return written


def _proof(model: Model) -> dict[str, Any]:
    """The checker's verdict, from a process of its own that is stopped where it takes too long."""
    command = [sys.executable, "-m", "tinyadder", "prove", model.given, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROOF_SECONDS, check=False)
        data = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"verdict": {"verdict": "unknown", "reason": f"no verdict within {PROOF_SECONDS:g} s"}}
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["nothing was said"]
        return {"verdict": {"verdict": "unknown", "reason": f"the prover stopped: {lines[-1][:160]}"}}
    fields = {key: data.pop(key) for key in ("proof_seconds", "check_seconds", "certificate_bytes") if key in data}
    for key in ("model", "numerics", "claims"):
        data.pop(key, None)
    return {"verdict": data, **fields}


def _times(model: Model, seed: int) -> dict[str, Any]:
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


# ---- the public field -----------------------------------------------------------------------------


def public_field() -> list[dict[str, str]]:
    """The public leaderboard as it stood on `FIELD_DATE`: what others claim, never measured here."""
    text = (files("tinyadder") / "data" / FIELD).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


# ---- the report -----------------------------------------------------------------------------------


def report_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The leaderboard as plain data: ours as measured, the public field as claimed."""
    return {
        "conventions": {rung: definition(rung) for rung in rows[0].counts} if rows else {},
        "models": [found.to_json() for found in rows],
        "claims of others": {"as of": FIELD_DATE, "entries": public_field()},
    }


def report_markdown(rows: Sequence[Row]) -> str:
    """`LEADERBOARD.md`: conventions, counts, verdicts, the public field."""
    built, trained = [r for r in rows if not r.trained], [r for r in rows if r.trained]
    parts = [
        "# Leaderboard",
        "Made by `tinyadder report` from the models in this repository and the results in `results/`; the same as "
        "data: `LEADERBOARD.json`. A model has no number of parameters, it has one for each convention:",
        _table(("convention", "counts"), [(rung, definition(rung)) for rung in (rows[0].counts if rows else {})]),
        "## Written models",
        counts_table(built),
        verdict_table(built),
    ]
    if trained:
        parts += ["## Trained models", counts_table(trained), verdict_table(trained)]
    parts += [
        "## The public field, as claimed",
        f"What others say of their own adders, as listed on {FIELD_DATE}. Nothing here was measured or checked by this "
        "project, and each count follows its author's convention; `tinyadder count FILE.py` and "
        "`tinyadder legality FILE.py` judge a submission.",
        _table(
            ("claimed parameters", "kind", "author", "claimed accuracy", "architecture"),
            [tuple(e[k] for k in ("params_claimed", "category", "author", "accuracy_claimed", "architecture"))
             for e in public_field()],
        ),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def counts_table(rows: Sequence[Row]) -> str:
    """One line a model, one column a convention, by task and then by `nonzero + positional`."""
    ordered = sorted(rows, key=lambda r: (r.task, r.counts["nonzero + positional"], r.name))
    return _table(
        ("model", "task", *SHOWN), [(r.name, r.task, *(f"{r.counts[rung]:,}" for rung in SHOWN)) for r in ordered]
    )


def verdict_table(rows: Sequence[Row]) -> str:
    """One line a model: the verdicts with their types, the proved margin, legality, times."""
    ordered = sorted(rows, key=lambda r: (r.task, r.counts["nonzero + positional"], r.name))
    heads = ("model", "verdicts", "proved margin (logits)", "legality", "build s", "answers/s", "proof s", "check s")
    return _table(heads, [_verdict_cells(r) for r in ordered])


def _verdict_cells(row: Row) -> tuple[str, ...]:
    verdicts = row.verdicts()
    margin = next((f"{v['margin']:.3g}" for v in verdicts if v["verdict"] == "proved"), "")
    times, proof = row.of("times"), row.of("proved")
    seconds = times.data if times else {}
    proof_data = proof.data if proof else {}
    return (
        row.name,
        "; ".join(said_verdict(v) for v in verdicts) or "none yet",
        margin,
        _legal(row),
        _number(seconds.get("build_seconds"), ".3f"),
        _number(seconds.get("decoded_per_second"), ",.0f"),
        _number(proof_data.get("proof_seconds"), ".2f"),
        _number(proof_data.get("check_seconds"), ".2f"),
    )


_LONG = re.compile(r"\d{1,3}(?:,\d{3}){3,}")


def _short(found: re.Match[str]) -> str:
    """10^20 for a 1 with twenty zeros; other long numbers with three digits, after "about"."""
    digits = found[0].replace(",", "")
    return f"10^{len(digits) - 1}" if digits.strip("0") == "1" else f"about {float(digits):.3g}"


def said_verdict(verdict: Mapping[str, Any]) -> str:
    """A verdict in a few words, its type first."""
    kind, options = verdict["verdict"], verdict.get("options") or {}
    head = f"**{kind}**" + (f" with {', '.join(f'{k}={v}' for k, v in options.items())}" if options else "")
    if kind == "refuted":
        example = verdict["counterexample"]
        got, expected = "".join(example["got"]), "".join(example["expected"])
        return f"{head}: {example['shown']} gives {got}, not {expected}"
    if kind == "proved":
        return f"{head}: {_LONG.sub(_short, verdict['domain'])}"
    if kind == "exhaustive":
        return f"{head}: all {verdict['count']:,} of {verdict['domain']}"
    if kind == "sampled":
        return f"{head}: {verdict['count']:,}, 0 wrong"
    return f"{head} whether provable: {verdict['reason']}"


def _legal(row: Row) -> str:
    legal = row.of("legality")
    if legal is None:
        return "not checked"
    findings = legal.data["findings"]
    failing = [f["check"] for f in findings if f["passed"] is False]
    unseen = [f["check"] for f in findings if f["passed"] is None]
    said = f"{sum(f['passed'] is True for f in findings)} of {len(findings)} pass"
    said += f"; fails {', '.join(failing)}" if failing else ""
    return said + (f"; does not apply: {', '.join(unseen)}" if unseen else "")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def readme_table(rows: Sequence[Row]) -> str:
    """The short table of the README: the written models, two conventions, the strongest verdict."""
    ordered = sorted(
        (r for r in rows if not r.trained), key=lambda r: (r.task, r.counts["nonzero + positional"], r.name)
    )
    return _table(
        ("model", "task", "nonzero", "nonzero + positional", "strongest verdict"),
        [
            (f"`{r.name}`", r.task, str(r.counts["nonzero"]), str(r.counts["nonzero + positional"]),
             next((said_verdict(v) for v in r.verdicts()), "none yet"))
            for r in ordered
        ],
    )  # fmt: skip


def between_marks(text: str, table: str) -> str:
    """`text` with what stands between its two marks replaced by `table`; unchanged where it has no marks."""
    start, end = text.find(MARKS[0]), text.find(MARKS[1])
    if start < 0 or end < start:
        return text
    return f"{text[: start + len(MARKS[0])]}\n{table}\n{text[end:]}"
