"""Ask a model hard problems, look for a wrong answer, and say what is known: a verdict."""

from __future__ import annotations

from shlex import join
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import echo, echo_json, progress_bars
from tinyadder.construction import is_submission
from tinyadder.named import Loaded, load_model

if TYPE_CHECKING:
    from tinyadder.verify.properties import Verification


@click.command("verify", short_help=__doc__)
@opt.model_argument
@click.option(
    "--count",
    type=click.IntRange(1),
    help="Structured problems to decode [200,000; of a submission 20,000].",
)
@opt.seconds_option("Of a submission: the time for the whole verdict [60].")
@click.option("--problem", metavar="'A + B'", help="Of a submission: ask this sum only.")
@click.option(
    "--examples",
    type=click.IntRange(1),
    help="Problems of the hypothesis search [500].",
)
@opt.seed_option("Seed of the samples and the search.")
@opt.task_option
@opt.device_option
@opt.json_option
def command(
    name: str,
    options: dict[str, Any],
    seconds: float | None,
    problem: str | None,
    count: int | None,
    examples: int | None,
    seed: int,
    task: str | None,
    device: str,
    as_json: bool,
) -> int:
    """Ask NAME the public suite, hard cases, structured samples and a search.

    NAME is a construction, a model folder, or a submission: a stranger's file, folder or import
    path (pkg.mod) with build_model and add, which is run in a sandbox.

    Small tasks are asked every problem. Every answer is decoded greedily from the prompt alone. A
    wrong answer is shrunk and explained. Of a submission the search is a margin hunt, and what was
    asked when the time is over makes the verdict. Exit code 1 if the model is wrong.
    """
    if is_submission(name):
        refused = {"-o": options, "--task": task, "--device": device != "cpu"}
        opt.check_submission_options(name, {**refused, "--examples": examples})
        return _stranger(name, count, seconds, problem, seed, as_json)
    opt.check_own_options(name, {"--seconds": seconds, "--problem": problem})
    from tinyadder.verify.properties import verify
    from tinyadder.verify.verdict import verdict_to_json

    loaded = load_model(name, options, device, task)
    with progress_bars() as progress:
        result = verify(
            loaded.model,
            loaded.task,
            count=count or 200_000,
            seed=seed,
            examples=examples or 500,
            progress=progress,
        )
    if as_json:
        echo_json(
            {
                "model": shown_model(loaded),
                **verdict_to_json(result.verdict),
                "parts": [vars(part) for part in result.parts],
                "report": result.report and result.report.to_json(),
                "replay": replay(loaded, result),
            }
        )
    else:
        echo("\n".join(result.lines(replay(loaded, result))))
    return 1 if result.report else 0


def _stranger(
    name: str,
    count: int | None,
    seconds: float | None,
    problem: str | None,
    seed: int,
    as_json: bool,
) -> int:
    """The verdict on a submission; the exit code."""
    from tinyadder.commands.count import warn
    from tinyadder.verify.external.judge import SECONDS, STRUCTURED, TASK, ask_one, judge, stated
    from tinyadder.verify.external.submission import Submission
    from tinyadder.verify.verdict import EXIT, Refuted, verdict_to_json

    seconds = SECONDS if seconds is None else seconds
    submission = Submission(name)
    if problem is not None:
        a, b = TASK.parse(problem)
        warn(submission.path)
        verdict = ask_one(submission, (a, b), seconds=seconds)
        if as_json:
            echo_json({"model": name, **verdict_to_json(verdict)})
        else:
            right = f"right      {a} + {b} = {a + b}"
            echo(stated(verdict.counterexample) if isinstance(verdict, Refuted) else right)
        return EXIT[type(verdict)]
    warn(submission.path)
    with progress_bars() as progress:
        result = judge(
            submission,
            seconds=seconds,
            seed=seed,
            structured=count or STRUCTURED,
            progress=progress,
        )
    wrong = result.counterexample
    again = None if wrong is None else _asked_again(name, wrong.shown)
    if as_json:
        echo_json({"model": name, **result.to_json(), "replay": again})
    else:
        echo("\n".join(result.lines(again)))
    return EXIT[type(result.verdict)]


def _asked_again(name: str, problem: str) -> str:
    """The command line that asks a submission one sum."""
    return join(["tinyadder", "verify", name, "--problem", problem])


def replay(loaded: Loaded, result: Verification) -> str | None:
    """The command line that asks the counterexample again."""
    if result.report is None:
        return None
    name = str(loaded.folder or loaded.file or loaded.name)
    options = [word for key, value in loaded.options.items() for word in ("-o", f"{key}={value}")]
    given = [] if loaded.folder is not None else options
    return join(["tinyadder", "run", name, *given, result.report.counterexample.shown])
