"""Write down where each node of a program is in the weights, and let the checker judge it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tinyadder.io.files import atomic_write
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.computer import Computer
from tinyadder.tasks.sequences import Sequences
from tinyadder.verify.certify import check as kernel
from tinyadder.verify.certify.check.model import ProgramModel
from tinyadder.verify.certify.programs import computer
from tinyadder.verify.certify.programs.check import check
from tinyadder.verify.verdict import Proved, Unknown, Verdict

NUMERICS = kernel.NUMERICS


def certify_program(model: Transformer, task: Sequences, folder: Path) -> dict[str, Any]:
    """`verdict`, `proof_seconds`, `check_seconds`, `combinations` of the model in `folder`."""
    began = time.perf_counter()
    file = folder / "certificate.json"
    hints = task.graph.get("hints")
    if hints is None:
        file.unlink(missing_ok=True)  # of an earlier model
        verdict: Verdict = Unknown("the program does not say which lane holds which node")
        return {"verdict": verdict, "proof_seconds": 0.0, "check_seconds": None, "combinations": 0}
    starts, at = {}, 0
    for lane, width in model.config.lanes:
        starts[lane], at = at, at + width
    heads = [
        {**hint, "column": starts[hint["lane"]]}
        for hint in hints["heads"]
        if hint["lane"] in starts
    ]
    described = ProgramModel(folder)
    certificate = {
        "format": "tinyadder program proof",
        "model": described.digest(described.to_json()["sha256"]),
        "codes": hints["codes"],
        "heads": heads,
    }
    with atomic_write(file) as part:
        part.write_text(json.dumps(certificate, separators=(",", ":")) + "\n", encoding="utf-8")
    proved = time.perf_counter()
    try:
        checked = check(folder)
    except kernel.Rejected as reason:
        file.unlink()
        verdict = Unknown(f"the checker of programs: {reason}")
        seconds = time.perf_counter() - proved
        return {
            "verdict": verdict,
            "proof_seconds": proved - began,
            "check_seconds": seconds,
            "combinations": 0,
        }
    domain = f"all {checked['problems']:,} texts of at most {checked['length']} tokens"
    if checked["partial"]:
        domain += ", wherever the program has a value (no `pick` selects two positions)"
    if checked["number"]:
        domain += ": the number in the logit lies within a quarter of the least distance of two"
    numerics = "; ".join(f"{key}: {value}" for key, value in NUMERICS.items())
    return {
        "verdict": Proved(domain, str(file), checked["margin"], numerics),
        "proof_seconds": proved - began,
        "check_seconds": time.perf_counter() - proved,
        "combinations": checked["combinations"],
    }


def certify_computer(model: Transformer, task: Computer, folder: Path) -> dict[str, Any]:
    """The same for the computer: the checker finds by itself what every head looks up."""
    began = time.perf_counter()
    file = folder / "certificate.json"
    described = ProgramModel(folder)
    digest = described.digest(described.to_json()["sha256"])
    with atomic_write(file) as part:
        part.write_text(json.dumps({"format": computer.FORMAT, "model": digest}) + "\n")
    found: dict[str, Any] = {"proof_seconds": 0.0, "combinations": 0}
    try:
        checked = computer.check(folder)
    except kernel.Rejected as reason:
        file.unlink()
        found["verdict"] = Unknown(f"the checker of computers: {reason}")
    else:
        domain = (
            f"every program and every input of numbers 0 .. {checked['word'] - 1}, token by token, "
            f"prompt and trace of at most {checked['length']:,} tokens"
        )
        numerics = "; ".join(f"{key}: {value}" for key, value in checked["numerics"].items())
        found["verdict"] = Proved(domain, str(file), checked["margin"], numerics)
        found["combinations"] = checked["cases"] + checked["pairs"]
    return found | {"check_seconds": time.perf_counter() - began}
