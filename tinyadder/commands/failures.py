"""Count how many problems of its task a wrong adder answers wrongly, as a proved interval; of a
submission an estimate.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import save_result, shown_model
from tinyadder.commands._output import echo, echo_json, progress_bars
from tinyadder.construction import is_submission
from tinyadder.errors import TinyadderError
from tinyadder.named import load_model


@click.command("failures", short_help=__doc__)
@opt.model_argument
@opt.save_option
@opt.force_option
@opt.seconds_option("Of a submission: the time for the estimate [60].")
@opt.seed_option("Of a submission: of the samples [0].", None)
@opt.json_option
def command(
    name: str,
    options: dict[str, Any],
    save: bool,
    force: bool,
    seconds: float | None,
    seed: int | None,
    as_json: bool,
) -> int:
    """Count how many problems NAME (a construction or a model folder) answers wrongly, out of all
    there are.

    Of a submission (a stranger's file, folder or import path) the share of wrong answers is
    estimated: sums are drawn for every length of carry chains, and an exact confidence interval is
    given.

    The interval holds for every execution of the floating-point program that the printed numerics
    allow; what rounding can turn either way makes it wide. For models that decide by one number
    which depends on the text: adders that subtract the digits written so far from the sum. Exit
    code 0 no failure, 1 failures, 2 unknown: another model.
    """
    if is_submission(name):
        opt.check_submission_options(name, {"-o": options, "--save": save})
        return _stranger(name, seconds or 60.0, seed or 0, as_json)
    opt.check_own_options(name, {"--seconds": seconds, "--seed": seed})
    from tinyadder.verify.certify.check import NUMERICS
    from tinyadder.verify.certify.failures import count_failures
    from tinyadder.verify.certify.network import Unsupported
    from tinyadder.verify.certify.spec import NoSpecification

    loaded = load_model(name, options)
    try:
        result = count_failures(loaded.model, loaded.task)
    except (Unsupported, NoSpecification) as reason:
        raise TinyadderError(
            f"UNKNOWN how many problems {shown_model(loaded)} fails: {reason}"
        ) from reason
    share = [result.low / result.problems, result.high / result.problems]
    data = {**asdict(result), "share": share, "numerics": NUMERICS}
    if as_json:
        echo_json({"model": shown_model(loaded), **data})
    else:
        echo(f"wrong      {_interval(result.low, result.high)} of {result.problems:,} problems")
        echo(f"share      {share[0]:.6g} .. {share[1]:.6g}")
        for one in result.sets:
            echo(
                f"           answer token {one.position + 1}, right '{one.token}':"
                f" {_interval(one.low, one.high)}"
            )
        if result.overlap:
            echo(f"overlap    at most {result.overlap:,} problems are wrong at two of these")
        for key, value in NUMERICS.items():
            echo(f"{key:10} {value}", err=True)
        echo(f"{result.seconds:.1f} s", err=True)
    if save:
        save_result(loaded, "failures", data, command=["failures", name], force=force)
    return 1 if result.high else 0


def _stranger(name: str, seconds: float, seed: int, as_json: bool) -> int:
    """The estimate of a submission; exit code 1 where a sum came out wrong."""
    from tinyadder.commands.count import warn
    from tinyadder.verify.external.estimate import estimate
    from tinyadder.verify.external.submission import Submission

    submission = Submission(name)
    warn(submission.path)
    with progress_bars() as progress:
        result = estimate(submission, seconds=seconds, seed=seed, progress=progress)
    if as_json:
        echo_json({"model": name, **result.to_json()})
    else:
        echo("\n".join(result.lines()))
    return 1 if result.wrong else 0


def _interval(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} .. {high:,}"
