"""The mutation suite: `python -m benchmarks.mutation [NAME ...]`, every stored number of a model
changed in every way.

Each mutant is put to the tests and to the prover, neither knowing of the other. What must hold:
proved (by the checker) implies that no test fails; refuted implies a problem that the mutant
answers wrongly when asked again. Writes a line of `results/NAME.jsonl` (over an old one with
--force); returns 1 where the two contradict each other. A run that was stopped goes on. NAME may be
`name:key=value,key=value`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from benchmarks.verify import named
from tinyadder.construction import construct
from tinyadder.machine.compile import build
from tinyadder.report.results import result, write_result
from tinyadder.verify.mutate import VERDICTS, run_suite, summary

NAMES = ("add10", "add10_95", "add10_smallest")
FOLDER = Path("out/mutation")
SEED = 0


def main(arguments: list[str]) -> int:
    """One summary a model."""
    torch.set_num_threads(1)
    failed = False
    for text in [a for a in arguments if not a.startswith("-")] or NAMES:
        name, options = named(text)
        made = construct(name, **options)
        model = build(made.program)

        def progress(done: int, every: int, text: str = text) -> None:
            if done % 50 == 0 or done == every:
                print(f"{text}: {done} of {every}", file=sys.stderr, flush=True)

        found = summary(run_suite(model, made.task, FOLDER, SEED, progress))
        said = ", ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS)
        print(
            f"{text}: {found['mutants']} mutants: {said}; {len(found['violations'])} violations of"
            " the invariant"
        )
        print(f"  proved right without: {'; '.join(found['redundant']) or 'none'}")
        for line in (*found["violations"], *found["undecided"]):
            print(f"  {line}")
        failed |= bool(found["violations"])
        made_by = f"python -m benchmarks.mutation {text}"
        made_here = result(
            model, made.task, name, "mutation", found, command=made_by, options=options, seed=SEED
        )
        print(f"  {write_result(made_here, force='--force' in arguments)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
