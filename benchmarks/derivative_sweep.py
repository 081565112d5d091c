"""Every polynomial of a derivative construction, truly autoregressive to the end token, and the
smallest logit gap.

    python -m benchmarks.derivative_sweep deriv --save

Each polynomial is decoded from its prompt alone, greedily, every token fed back, and compared with
the exact oracle. Its right text is then run once more, teacher-forced, for the gap: the logit of
the right token less the largest other. Shards are ranges of indices of `task.domain()`; a finished
one is a file in --folder, never redone for the same program.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from tinyadder.io.files import atomic_write

SHARD = 60_000
BATCH = 1000


def check(model: Any, task: Any, problems: list[Any]) -> dict[str, Any]:
    """Wrong problems among `problems` (decoded alone), tokens emitted, and the smallest
    teacher-forced logit gap.
    """
    from tinyadder.machine.answers import answers
    from tinyadder.tasks.lengths import by_length

    emitted = answers(model, task, problems, batch=BATCH)
    right = [task.answer(problem) for problem in problems]
    wrong = [
        task.show(p) for p, got, want in zip(problems, emitted, right, strict=True) if got != want
    ]
    pairs = [
        (task.prompt(problem), answer) for problem, answer in zip(problems, right, strict=True)
    ]
    gap = min(
        smallest_gap(model, task, ["".join(pairs[i]) for i in group], len(pairs[group[0]][0]))
        for group in by_length(pairs, BATCH)
    )
    return {"wrong": len(wrong), "first": wrong[:10], "tokens": sum(map(len, emitted)), "gap": gap}


def smallest_gap(model: Any, task: Any, texts: list[str], start: int) -> float:
    """min over texts and positions from `start` on of (logit of the token that stands there -
    largest other logit).
    """
    import torch

    tokens = torch.from_numpy(task.encode(texts))
    with torch.inference_mode():
        logits = model(tokens[:, :-1])[:, start - 1 :]
    stands = tokens[:, start:, None] == model.outputs
    own = logits.masked_fill(~stands, -torch.inf).amax(-1)
    return float((own - logits.masked_fill(stands, -torch.inf).amax(-1)).min())


def program_digest(made: Any) -> str:
    """A digest of the equations and the task: shards and results with another one belong to another
    program.
    """
    from tinyadder.lang.serialization import program_to_json

    said = json.dumps([program_to_json(made.program), made.task.to_json()], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def put(path: Path, data: dict[str, Any]) -> None:
    """Write `data` as JSON."""
    with atomic_write(path) as part:
        part.write_text(json.dumps(data, indent=1) + "\n")


@click.command()
@click.argument("name")
@click.option(
    "--folder", default=Path("out/sweep"), type=click.Path(path_type=Path), help="Finished shards."
)
@click.option(
    "--limit", default=None, type=int, help="Only the first LIMIT polynomials; the result says so."
)
@click.option("--save", is_flag=True, help="Write the verdict to results/NAME.jsonl.")
@click.option("--force", is_flag=True, help="With --save: replace the result that is there.")
def main(name: str, folder: Path, limit: int | None, save: bool, force: bool) -> None:
    """Sweep the whole domain of construction NAME, on one core, resumable."""
    import torch

    from tinyadder.construction import construct
    from tinyadder.machine.compile import build
    from tinyadder.report.results import result, write_result
    from tinyadder.verify.verdict import Exhaustive, verdict_to_json

    torch.set_num_threads(1)
    made = construct(name)
    model, task, domain = build(made.program), made.task, made.task.domain()
    if domain is None:
        raise click.UsageError(f"the task of {name} has no domain that can be counted off")
    size = min(domain.size, limit or domain.size)
    digest = program_digest(made)
    place = folder / f"{name}-{digest}"
    place.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(0, size, SHARD):
        stop = min(start + SHARD, size)
        path = place / f"{start}-{stop}.json"
        if not path.exists():
            began = time.perf_counter()
            found = check(model, task, [domain.problem(i) for i in range(start, stop)])
            put(
                path,
                {
                    "start": start,
                    "stop": stop,
                    **found,
                    "seconds": round(time.perf_counter() - began, 2),
                },
            )
        shards.append(json.loads(path.read_text()))
        click.echo(f"{stop:,} of {size:,}, wrong {sum(s['wrong'] for s in shards)}", err=True)
    wrong = sum(s["wrong"] for s in shards)
    said = f"python -m benchmarks.derivative_sweep {name} --save" + (
        f" --limit {limit}" if limit else ""
    )
    data = {
        "domain": domain.name,
        "count": size,
        "wrong": wrong,
        "first_wrong": [w for s in shards for w in s["first"]][:10],
        "decoded": size,
        "tokens": sum(s["tokens"] for s in shards),
        "smallest_logit_gap": min(s["gap"] for s in shards),
        "method": (
            "every problem decoded greedily, token by token, from its prompt to the end token, in"
            f" batches of {BATCH}; the gap from its right text, teacher-forced"
        ),
        "seconds": round(sum(s["seconds"] for s in shards), 1),
    }
    if size == domain.size and not wrong:
        data["verdict"] = verdict_to_json(Exhaustive(domain.name, domain.size))
    click.echo(json.dumps(data, indent=1))
    if save:
        kept = result(model, task, name, "exhaustive-decoded", data, command=said)
        click.echo(f"wrote {write_result(kept, force=force)}", err=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
