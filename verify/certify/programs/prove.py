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
from tinyadder.verify.certify.programs.texts import MOST_TEXTS
from tinyadder.verify.verdict import Proved, Unknown

ASSUMED = "; ".join(f"{key}: {value}" for key, value in kernel.NUMERICS.items())


def certify_program(
    model: Transformer, task: Sequences, folder: Path, most_texts: int = MOST_TEXTS
) -> dict[str, Any]:
    """`verdict`, `proof_seconds`, `check_seconds`, `combinations`, `counted` of the model in
    `folder`.

    By columns, for all texts at once; where that fails text by text, if there are no more than
    `most_texts`.
    """
    began = time.perf_counter()
    file = folder / "certificate.json"
    described = ProgramModel(folder)
    certificate = {
        "format": "tinyadder program proof",
        "model": described.digest(described.to_json()["sha256"]),
    }
    ways: list[dict[str, Any]] = []
    hints = task.graph.get("hints")
    if hints is not None:
        ways.append({"codes": hints["codes"], "heads": placed(hints["heads"], model)})
    many = sum(len(task.letters) ** n for n in range(1, task.length + 1))
    if many <= most_texts and not task.steps:
        ways.append({"rule": "TEXT"})
    proved = time.perf_counter()
    found: dict[str, Any] = {"proof_seconds": proved - began, "check_seconds": None}
    reasons = [] if hints else ["the program does not say which lane holds which node"]
    for way in ways:
        with atomic_write(file) as part:
            text = json.dumps({**certificate, **way}, separators=(",", ":"))
            part.write_text(text + "\n", encoding="utf-8")
        try:
            checked = check(folder)
        except kernel.Rejected as reason:
            reasons.append(f"the checker of programs: {reason}")
            continue
        found["check_seconds"] = time.perf_counter() - proved
        return found | {
            "verdict": Proved(stated(checked), str(file), checked["margin"], ASSUMED),
            "combinations": checked["combinations"],
            "counted": checked["counted"],
        }
    file.unlink(missing_ok=True)  # of an earlier model
    found["check_seconds"] = time.perf_counter() - proved if ways else None
    verdict = Unknown("; ".join(reasons))
    return found | {"verdict": verdict, "combinations": 0, "counted": "combinations of values"}


def placed(heads: list[dict[str, Any]], model: Transformer) -> list[dict[str, Any]]:
    """The hints, each with the column of its lane; those of lanes that were left out are too."""
    starts, at = {}, 0
    for lane, width in model.config.lanes:
        starts[lane], at = at, at + width
    return [{**hint, "column": starts[hint["lane"]]} for hint in heads if hint["lane"] in starts]


def stated(checked: dict[str, Any]) -> str:
    """What is proved, in words."""
    domain = f"all {checked['problems']:,} texts of at most {checked['length']} tokens"
    if checked["partial"]:
        domain += ", wherever the program has a value (no `pick` selects two positions)"
    if checked["number"]:
        domain += ": the number in the logit lies within a quarter of the least distance of two"
    return domain


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
