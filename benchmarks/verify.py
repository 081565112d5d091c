"""Proof time, check time, margins, certificate sizes of the constructions: `python -m benchmarks.verify [NAME ...]`.

Times are those of this machine, wall clock and CPU. `measured` is the smallest logit gap that the model itself shows on
random and hard problems (teacher-forced); what is proved cannot be larger. `--json` prints the rows as data.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import torch

from tinyadder.compile import build
from tinyadder.construction import construct, construction_names
from tinyadder.folder import save
from tinyadder.tasks.base import Problem, Task
from tinyadder.transformer import Transformer
from verify.certify.prove import certify
from verify.verdict import Proved, verdict_to_json


def smallest_gap(model: Transformer, task: Task, problems: list[Problem]) -> float:
    """The smallest logit gap between the right token and the next best, over all answer tokens of `problems`."""
    outputs, smallest = model.outputs.tolist(), float("inf")
    by_length: dict[tuple[int, int], list[list[str]]] = {}
    for problem in problems:
        prompt, answer = task.prompt(problem), task.answer(problem)
        by_length.setdefault((len(prompt), len(answer)), []).append([*prompt, *answer])
    for (start, _), texts in by_length.items():
        tokens = torch.from_numpy(task.encode(texts))
        with torch.inference_mode():
            logits = model(tokens[:, :-1])[:, start - 1 :]
        right = tokens[:, start:].apply_(outputs.index)[..., None]
        gap = logits.gather(2, right)[..., 0] - logits.scatter(2, right, -torch.inf).amax(2)
        smallest = min(smallest, float(gap.min()))
    return smallest


def named(text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a construction from `name:key=value,key=value`."""
    name, _, given = text.partition(":")
    return name, {k: json.loads(v) for k, _, v in (part.partition("=") for part in given.split(",") if part)}


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
        size = len(gzip.compress(file.read_bytes())) if file.exists() else None
    problems = [*task.hard()[:2000], *task.sample(Random(0), 1000)]
    return {
        "model": name, "options": options, **verdict_to_json(judged.verdict), "proof_seconds": judged.proof_seconds,
        "check_seconds": judged.check_seconds, "cpu_seconds": cpu, "claims": judged.claims, "compressed_bytes": size,
        "measured_gap": smallest_gap(model, task, problems) if isinstance(judged.verdict, Proved) else None,
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    """One line a construction; NAME may be `name:key=value,key=value`."""
    torch.set_num_threads(1)
    as_json = "--json" in arguments
    names = [a for a in arguments if not a.startswith("-")] or construction_names()
    for text in names:
        found = row(*named(text))
        if as_json:
            print(json.dumps(found, default=str), flush=True)
        elif found["verdict"] == "proved":
            print(
                f"{text:22} PROVED   proof {found['proof_seconds']:6.2f} s  check {found['check_seconds']:6.2f} s  "
                f"(cpu {found['cpu_seconds']:.2f} s)  margin {found['margin']:.6g} "
                f"of {found['measured_gap']:.6g} measured  "
                f"{found['claims']} paths  {found['compressed_bytes']:,} bytes compressed",
                flush=True,
            )
        else:
            said = found.get("reason") or found["counterexample"]["shown"]
            print(f"{text:22} {found['verdict'].upper():8} {found['proof_seconds']:6.2f} s  {said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
