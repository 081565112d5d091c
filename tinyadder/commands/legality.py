"""Check that a model is an autoregressive transformer that does the work itself; also for
submission files.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import echo, echo_json
from tinyadder.construction import is_submission
from tinyadder.named import load_model


@click.command("legality", short_help=__doc__)
@opt.model_argument
@click.option(
    "--problems", "count", type=click.IntRange(2), help="Problems to try [200, of a submission 12]."
)
@opt.seed_option("Seed of the problems and of the random tokens.")
@opt.seconds_option("Time limit for a submission file.", 120.0)
@opt.device_option
@opt.json_option
def command(
    name: str,
    options: dict[str, Any],
    count: int | None,
    seed: int,
    seconds: float,
    device: str,
    as_json: bool,
) -> int:
    """Check NAME: prefix consistency, one token a pass, feedback, attention ablation, buffers,
    dtype, decode honesty, weight swap. Of a submission (somebody's code, in a process of its
    own) also: does `add` return what the model says, what is done with the tokens, operation by
    operation, is a state kept, is attention used. See docs/legality.md.
    """
    if is_submission(name):
        from tinyadder.commands.count import warn
        from tinyadder.verify.external.legality import foreign_legality
        from tinyadder.verify.external.submission import Submission

        opt.check_submission_options(name, {"-o": options})
        submission = Submission(Path(name), seconds=seconds)
        warn(submission.path)
        random = Random(seed)
        pairs = [(random.randrange(10**10), random.randrange(10**10)) for _ in range(count or 12)]
        shown, findings = name, foreign_legality(submission, pairs, seed=seed)
    else:
        from tinyadder.verify.legality import legality

        loaded = load_model(name, options, device)
        problems = loaded.task.uniform(Random(seed), count or 200)
        findings = legality(loaded.model, loaded.task, problems, seed=seed)
        shown = shown_model(loaded)
    failed = [finding for finding in findings if finding.passed is False]
    if as_json:
        echo_json(
            {
                "model": shown,
                "legal": not failed,
                "findings": [vars(finding) for finding in findings],
            }
        )
    else:
        for finding in findings:
            echo(str(finding))
        unseen = sum(finding.passed is None for finding in findings)
        summary = (
            f"{len(failed)} of {len(findings)} checks fail"
            if failed
            else f"no check of {len(findings)} fails"
        )
        echo(f"{shown}: {summary}" + (f", {unseen} could not be observed" if unseen else ""))
    return 1 if failed else 0
