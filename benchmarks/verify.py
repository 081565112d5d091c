"""What proofs cost, and the numbers to reach: `python -m benchmarks.verify [NAME ...]`.

A line a construction: verdict, seconds of this machine (wall clock; in brackets processor time),
margin, certificate. `measured` is the smallest logit gap that the model itself shows on random and
hard problems (teacher-forced); what is proved cannot be larger. Then the targets, with what the
kept mutation suites found (`python -m benchmarks.mutation`); without a NAME also how many faults
planted in prover and checker the tests notice. `--json` prints the rows as data. With `--committed`
nothing is proved: the checker reads every certificate of `results/` again.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import torch

from tinyadder.construction import construct, construction_names
from tinyadder.io.folder import load, save
from tinyadder.machine.compile import build
from tinyadder.machine.transformer import Transformer
from tinyadder.report.certificates import certificate_file, recheck
from tinyadder.report.results import FOLDER, read_results
from tinyadder.tasks.base import Problem, Task
from tinyadder.tasks.lengths import by_length
from tinyadder.verify.certify import check
from tinyadder.verify.certify.prove import certify
from tinyadder.verify.verdict import Proved, verdict_to_json


def smallest_gap(model: Transformer, task: Task, problems: list[Problem]) -> float:
    """The smallest logit gap between the right token and the next best, over all answer tokens of
    `problems`.
    """
    outputs, smallest = model.outputs.tolist(), float("inf")
    pairs = [(task.prompt(problem), task.answer(problem)) for problem in problems]
    for group in by_length(pairs):
        start = len(pairs[group[0]][0])
        tokens = torch.from_numpy(task.encode([[*pairs[i][0], *pairs[i][1]] for i in group]))
        with torch.inference_mode():
            logits = model(tokens[:, :-1])[:, start - 1 :]
        right = tokens[:, start:].apply_(outputs.index)[..., None]
        gap = logits.gather(2, right)[..., 0] - logits.scatter(2, right, -torch.inf).amax(2)
        smallest = min(smallest, float(gap.min()))
    return smallest


def named(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a construction from `name:key=value,key=value`."""
    name, _, given = text.partition(":")
    return name, {
        k: json.loads(v) for k, _, v in (part.partition("=") for part in given.split(",") if part)
    }


def row(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """One construction: verdict, seconds, margins, bytes."""
    made = construct(name, **options)
    model, task = build(made.program), made.task
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / name
        save(model, task, folder, name=name, options=options, program=made.program)
        began = time.process_time()
        judged = certify(model, task, folder)
        cpu = time.process_time() - began
        file = folder / "certificate.json"
        text = file.read_bytes() if isinstance(judged.verdict, Proved) else b""
        again = time.process_time()
        if text:
            check.check(folder)
        check_cpu = time.process_time() - again
    problems = [*task.hard()[:2000], *task.structured(Random(0), 1000)]
    return {
        "model": name,
        "options": options,
        **verdict_to_json(judged.verdict),
        "proof_seconds": judged.proof_seconds,
        "check_seconds": judged.check_seconds,
        "proof_cpu": cpu - check_cpu,
        "check_cpu": check_cpu,
        "claims": judged.claims,
        "bytes": len(text),
        "compressed_bytes": len(gzip.compress(text)),
        "measured_gap": (
            smallest_gap(model, task, problems) if isinstance(judged.verdict, Proved) else None
        ),
    }


def line(text: str, found: dict[str, Any]) -> str:
    """A row in words."""
    proof = f"proof {found['proof_seconds']:6.2f} s ({found['proof_cpu']:.2f})"
    if found["verdict"] != "proved":
        said = found.get("reason") or found["counterexample"]["shown"]
        return f"{text:22} {found['verdict'].upper():8} {proof}  {said}"
    return (
        f"{text:22} PROVED   {proof}  check {found['check_seconds']:6.2f} s"
        f" ({found['check_cpu']:.2f})  margin {found['margin']:.6g} of {found['measured_gap']:.6g}"
        f" measured  {found['claims']} paths  {found['bytes']:,} bytes,"
        f" {found['compressed_bytes']:,} compressed"
    )


def numbers_to_reach(rows: list[dict[str, Any]]) -> list[str]:
    """The targets and the worst of the rows, a line each."""
    by_verdict: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        by_verdict.setdefault(one["verdict"], []).append(one)
    proved, refuted = by_verdict.get("proved", []), by_verdict.get("refuted", [])

    def worst(among: list[dict[str, Any]], key: str, unit: str, limit: float) -> str:
        if not among:
            return "none"
        most = max(among, key=lambda one: one[key])
        return (
            f"{'ok  ' if most[key] < limit else 'OVER'} {most[key]:,.4g} {unit} ({most['model']})"
        )

    found = [
        (
            "verdicts                         "
            f" {', '.join(f'{len(v)} {k}' for k, v in sorted(by_verdict.items()))}"
        ),
        f"slowest proof, under 5 s          {worst(proved, 'proof_cpu', 's of processor time', 5)}",
        (
            "slowest check, under 10 s        "
            f" {worst(proved, 'check_cpu', 's of processor time', 10)}"
        ),
        (
            "slowest refutation, under 5 s    "
            f" {worst(refuted, 'proof_cpu', 's of processor time', 5)}"
        ),
        (
            "certificate, under 1 MB          "
            f" {worst(proved, 'compressed_bytes', 'bytes compressed', 1e6)}"
        ),
    ]
    suites = [kept for kept in read_results() if kept.kind == "mutation"]
    if suites:
        mutants = sum(kept.data["mutants"] for kept in suites)
        violations = sum(len(kept.data["violations"]) for kept in suites)
        word, of = "OVER" if violations else "ok  ", ", ".join(kept.model for kept in suites)
        found.append(
            f"soundness violations, 0           {word} {violations} in {mutants:,} mutants ({of})"
        )
    return found


def mutation_score() -> str:
    """Of the faults that the tests plant in prover and checker, how many are noticed."""
    tests = "fault_planted_in_the_checker or prover_that_forgets_a_rounding"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_check.py",
        "-k",
        tests,
    ]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    killed, survived = (
        sum(map(int, re.findall(rf"(\d+) {word}", said))) for word in ("passed", "failed")
    )
    word = "ok  " if killed and not survived else "OVER"
    return f"faults of prover and checker      {word} {killed} of {killed + survived} noticed"


def committed() -> int:
    """The checker on every committed certificate, a line each; 1 where it rejects one."""
    rejected, whole = 0, time.process_time()
    results = [r for r in read_results() if r.kind == "proved" and "margin" in r.data["verdict"]]
    for found in results:
        began = time.process_time()
        certificate = certificate_file(FOLDER, found.model, found.options)
        if "/seed-" in found.model:
            model, described = load(Path("baselines") / found.model / "model")
            task = described.task
        else:
            made = construct(found.model, **found.options)
            model, task = build(made.program), made.task
        verdict = recheck(model, task, certificate)
        rejected += not isinstance(verdict, Proved)
        print(f"{time.process_time() - began:6.2f} s  {found.model:20} {verdict}", flush=True)
    total = time.process_time() - whole
    print(f"{len(results) - rejected} of {len(results)} certificates accepted, {total:.1f} s")
    return int(rejected > 0)


def main(arguments: list[str]) -> int:
    """One line a construction; NAME may be `name:key=value,key=value`."""
    torch.set_num_threads(1)
    if "--committed" in arguments:
        return committed()
    as_json, rows = "--json" in arguments, []
    names = [a for a in arguments if not a.startswith("-")]
    for text in names or construction_names():
        rows.append(row(*named(text)))
        print(json.dumps(rows[-1], default=str) if as_json else line(text, rows[-1]), flush=True)
    if not as_json:
        print("\n".join(["", *numbers_to_reach(rows), *([] if names else [mutation_score()])]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
