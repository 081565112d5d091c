"""Results made anew: what `tinyadder report --fresh` runs, in this process or one of its own."""

from __future__ import annotations

import json
import multiprocessing
import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tinyadder.construction import construct
from tinyadder.machine.answers import answers
from tinyadder.machine.compile import build
from tinyadder.report.certificates import CERTIFICATE, certificate_file, keep_certificate
from tinyadder.report.leaderboard import Entry
from tinyadder.report.results import Result, result, write_result
from tinyadder.verify.legality import legality
from tinyadder.verify.verdict import Proved, Unknown, verdict_to_json

SAMPLES, EXAMPLES, LEGAL, DECODED = 20_000, 100, 50, 2000
PROOF_SECONDS = 600.0
"""Of wall clock: nothing known takes a tenth of it on an idle machine."""


def measure(entry: Entry, folder: Path, *, seed: int = 0) -> list[Path]:
    """Make the results of one model anew (verified, legality, proved, times) and write them to
    `folder`; returns the files written. A proof brings its certificate.
    """
    from tinyadder.verify.properties import verify

    def keep(kind: str, data: Mapping[str, Any], command: str, seed: int | None = None) -> Path:
        made = result(entry.model, entry.task, entry.name, kind, data, command=command, seed=seed)
        return write_result(made, folder, force=True)

    began = time.perf_counter()
    verified = verify(entry.model, entry.task, count=SAMPLES, examples=EXAMPLES, seed=seed)
    data = {
        "verdict": verdict_to_json(verified.verdict),
        "asked": {part.name: part.asked for part in verified.parts},
        "seconds": time.perf_counter() - began,
    }
    options = f"--count {SAMPLES} --examples {EXAMPLES} --seed {seed}"
    written = [keep("verified", data, f"tinyadder verify {entry.given} {options}", seed)]

    problems = entry.task.uniform(Random(seed), LEGAL)
    findings = [vars(f) for f in legality(entry.model, entry.task, problems, seed=seed)]
    command = f"tinyadder legality {entry.given} --problems {LEGAL} --seed {seed}"
    written.append(keep("legality", {"findings": findings}, command, seed))

    if not entry.trained:
        written.append(prove_again(entry, {}, folder))
    command = f"tinyadder report --fresh --only {entry.name}"
    written.append(keep("times", _times(entry, seed), command, seed))
    return written


def prove_again(entry: Entry, options: Mapping[str, Any], folder: Path) -> Path:
    """Prove the construction at these options anew, and write result and certificate."""
    model, task = entry.at(options)
    data = prove_apart(entry.name, options, certificate_file(folder, entry.name, options))
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    command = shlex.join(["tinyadder", "prove", entry.name, *words])
    made = result(model, task, entry.name, "proved", data, command=command, options=options)
    return write_result(made, folder, force=True)


def prove_apart(
    name: str, options: Mapping[str, Any], kept: Path, seconds: float = PROOF_SECONDS
) -> dict[str, Any]:
    """The checker's verdict on a construction, from a process that is stopped after `seconds`;
    what it says of times is processor time.

    The certificate of a proof goes to `kept`; one of another model is removed from there.
    """
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "judged.json"
        process = multiprocessing.get_context("spawn").Process(
            target=_prove, args=(name, dict(options), Path(place) / "model", data)
        )
        process.start()
        process.join(seconds)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        kept.unlink(missing_ok=True)
        if late or not data.exists():
            stopped = f"the prover stopped, exit code {process.exitcode}"
            reason = f"no verdict within {seconds:g} s" if late else stopped
            return {"verdict": verdict_to_json(Unknown(reason))}
        outcome: dict[str, Any] = json.loads(data.read_text())
        if outcome["verdict"]["verdict"] == "proved":
            keep_certificate(Path(place) / "model" / CERTIFICATE, kept)
    return outcome


def _prove(name: str, options: dict[str, Any], folder: Path, data: Path) -> None:
    """The work of the other process: model and certificate to `folder`, what came out to `data`."""
    from tinyadder.io.folder import save
    from tinyadder.verify.certify.check import check
    from tinyadder.verify.certify.prove import certify

    made = construct(name, **options)
    model = build(made.program)
    save(model, made.task, folder, name=name, options=options)
    began = time.process_time()
    judged = certify(model, made.task, folder)
    whole = time.process_time() - began
    proof = proof_data(judged, folder)
    if isinstance(judged.verdict, Proved):
        began = time.process_time()
        check(folder)
        proof["check_seconds"] = time.process_time() - began
        whole -= proof["check_seconds"]
    data.write_text(json.dumps({**proof, "proof_seconds": whole}))


def proof_data(judged: Any, folder: Path) -> dict[str, Any]:
    """What a result keeps of a proof: verdict, times, size of the certificate in `folder`."""
    file = folder / CERTIFICATE
    verdict = verdict_to_json(judged.verdict)
    if "certificate" in verdict:
        verdict["certificate"] = None  # where it was made; the copy has its place
    return {
        "verdict": verdict,
        "proof_seconds": judged.proof_seconds,
        "check_seconds": judged.check_seconds,
        "certificate_bytes": file.stat().st_size if file.exists() else None,
    }


def sweep_again(entry: Entry, recorded: Result, folder: Path, shards: Path) -> Path:
    """Repeat the exhaustive sweep that made `recorded`, on all cores, from the first problem on."""
    from tinyadder.verify.exhaustive import forget, pack, sweep, sweep_to_json

    model, task = entry.at(recorded.options)
    job = pack(model, task, recorded.limits)
    forget(job, shards)
    data = sweep_to_json(sweep(job, folder=shards, workers=-1))
    asked: dict[str, Any] = {
        "command": recorded.command,
        "options": recorded.options,
        "limits": recorded.limits,
    }
    made = result(model, task, entry.name, recorded.kind, data, **asked)
    return write_result(made, folder, force=True)


def _times(entry: Entry, seed: int) -> dict[str, Any]:
    began = time.perf_counter()
    if not entry.trained:
        build(construct(entry.name).program)
    built = time.perf_counter() - began
    problems = entry.task.uniform(Random(seed), DECODED)
    answers(entry.model, entry.task, problems[:10])
    began = time.perf_counter()
    answers(entry.model, entry.task, problems)
    rate = DECODED / (time.perf_counter() - began)
    return {"build_seconds": None if entry.trained else built, "decoded_per_second": rate}
