"""The judge of strangers, measured: `python -m benchmarks.referee [--seconds 60] [FAULT ...]`.

First the public suite, 10,010 sums, on a right one-layer adder of width 15. Then adders with one
fault each in their weights (`benchmarks/faulty_adder.py`): how long the whole verdict takes, by
which part it is refuted, and how long the margin hunt alone takes, without suite, hard cases and
samples. Start of the process and recovery of the format included. `--json` prints the rows as data;
benchmarks/referee.json holds those of docs/strangers.md.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tinyadder.verify.external.judge import HUNT, SUITE, Judge, judge
from tinyadder.verify.external.submission import Submission

SOURCE = Path(__file__).with_name("faulty_adder.py")
FAULTS = {
    "seven nines": "only when a run of 7 or more nines meets a carry",
    "nines wear": "the same; every nine before costs margin",
    "a million": "on one of a million sums; every digit that fits costs margin",
    "a million late": "on one of a million sums; margin is lost from five of six digits on",
    "prefix": "on some of a million sums: the carry's threshold is a millionth off",
    "one step": "on one sum of all 10^20, by one step of float32",
    "without a slope": "on one of 10^8 sums; margins tell nothing before, a silent unit does",
    "hidden sums": "on one of about 10^13 sums; neither margins nor units lead there",
}


def text_of(fault: str) -> str:
    """The source of the adder with this fault."""
    text = SOURCE.read_text(encoding="utf-8")
    changed = text.replace('FAULT = "none"', f'FAULT = "{fault}"')
    assert fault == "none" or changed != text
    return changed


def written(fault: str, folder: Path) -> Submission:
    """The adder with this fault, as a file in `folder`."""
    path = folder / f"{fault.replace(' ', '_')}.py"
    path.write_text(text_of(fault), encoding="utf-8")
    return Submission(path, total=3600)


def suite_row(folder: Path) -> dict[str, Any]:
    """Seconds of the public suite, step by step, on the adder that is right."""
    with written("none", folder).session() as session:
        asked = Judge(session, 600.0)
        began = time.monotonic()
        asked.prepare()
        prepared = time.monotonic()
        asked.part(SUITE, asked.suite_pairs(), greedy=True)
        ended = time.monotonic()
    return {
        "load": os.getloadavg()[0],
        "processors": os.cpu_count(),
        "prepared_seconds": prepared - began,
        "suite_seconds": ended - prepared,
        "right": asked.suite[0],
        "asked": asked.suite[1],
        "sums_per_second": asked.suite[1] / (ended - prepared),
    }


def suite_lines(suite: dict[str, Any]) -> list[str]:
    """The row in words."""
    speed = f"{suite['suite_seconds']:.1f} s ({suite['sums_per_second']:,.0f} sums a second)"
    load = f"load {suite['load']:.0f} on {suite['processors']} processors"
    return [
        f"public suite   {suite['right']:,} of {suite['asked']:,} right in {speed},"
        f" after {suite['prepared_seconds']:.1f} s of start; {load}",
    ]


def fault_row(fault: str, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Both verdicts on one fault."""
    submission = written(fault, folder)
    judged = judge(submission, seconds=seconds, seed=seed)
    began = time.monotonic()
    with submission.session() as session:
        asked = Judge(session, seconds, seed)
        asked.prepare()
        wrong = asked.hunt()
        hunted = time.monotonic() - began
        if wrong is not None:
            wrong = asked.shrink(wrong)
    return {
        "fault": fault,
        "wrong": FAULTS[fault],
        "verdict": judged.line(),
        "by": judged.parts[-1].name if judged.counterexample else None,
        "seconds": judged.seconds,
        "hunt": None if wrong is None else wrong.counterexample.shown,
        "hunt_seconds": hunted,
        "hunt_asked": asked.parts[-1].asked,
        "smallest": asked.smallest and asked.smallest[0],
    }


def main(arguments: list[str]) -> int:
    """The suite, then a line a fault."""
    given = list(arguments)
    seconds, as_json, seed = 60.0, "--json" in arguments, 0
    for option, kind in (("--seconds", float), ("--seed", int)):
        if option in arguments:
            at = arguments.index(option)
            value = kind(arguments[at + 1])
            del arguments[at : at + 2]
            seconds, seed = (value, seed) if kind is float else (seconds, int(value))
    names = [argument for argument in arguments if not argument.startswith("-")]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        suite = suite_row(folder)
        if not as_json:
            print("\n".join(suite_lines(suite)), flush=True)
        rows = []
        for fault in names or FAULTS:
            rows.append(row := fault_row(fault, folder, seconds, seed))
            if not as_json:
                found = f"found {row['hunt']}" if row["hunt"] else "found nothing"
                print(
                    f"{fault:16} {row['wrong']}\n    whole  {row['seconds']:5.1f} s"
                    f"  {row['verdict']}\n    {HUNT}  {row['hunt_seconds']:5.1f} s"
                    f"  {row['hunt_asked']:,} sums, {found}",
                    flush=True,
                )
    if as_json:
        data = {
            "command": "python -m benchmarks.referee " + " ".join(given),
            "date": f"{date.today()}",
            "torch": version("torch"),
            "suite": suite,
            "faults": rows,
        }
        print(json.dumps(data, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
