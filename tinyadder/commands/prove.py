"""Prove a model right on every input of its task, with a certificate that a second program checks,
or refute it.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

import click

from tinyadder.commands._models import check_no_result, save_result, shown_model
from tinyadder.commands._options import model_argument, out_option
from tinyadder.commands._output import echo, echo_json
from tinyadder.construction import is_submission
from tinyadder.errors import TinyadderError
from tinyadder.named import load_model


@click.command()
@model_argument
@out_option("Keep model and certificate in this folder.")
@click.option(
    "--save",
    "keep",
    is_flag=True,
    help="Write the verdict to results/, for the leaderboard or the board.",
)
@click.option(
    "--force", is_flag=True, help="Replace a model in the --out folder, or with --save the result."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def command(
    name: str, options: dict[str, Any], out: Path | None, keep: bool, force: bool, as_json: bool
) -> int:
    """Prove NAME right on every input, or refute it.

    NAME is a construction, a model folder, or a submission: a stranger's file, folder or import
    path (pkg.mod) with build_model and add, whose graph is read in a sandbox.

    The verdict is the checker's: `python -m tinyadder.verify.certify.check FOLDER` repeats it
    without torch. Exit code 0 proved, 1 refuted (with a problem the model, run as it is, answers
    wrongly), 4 unknown (with what is missing).
    """
    if is_submission(name):
        if options:
            given = ", ".join(f"-o {key}" for key in options)
            raise TinyadderError(f"{name} is a submission; it takes no {given}")
        return _stranger(name, out, keep, force, as_json)
    from tinyadder.io.folder import check_writable
    from tinyadder.report.certificates import CERTIFICATE, certificate_file, keep_certificate
    from tinyadder.report.measure import proof_data
    from tinyadder.report.results import FOLDER
    from tinyadder.verify.certify.prove import certify
    from tinyadder.verify.verdict import EXIT, Proved, Refuted, verdict_to_json

    if out is not None:
        check_writable(out, force=force)
    loaded = load_model(name, options)
    if keep and not force:
        check_no_result(loaded, "proved", command=["prove", name])
    where = loaded.folder if out is None else out
    with tempfile.TemporaryDirectory() if where is None else nullcontext(str(where)) as place:
        folder = Path(place)
        if loaded.folder is None or out is not None:
            loaded.save(folder, force=force or where is None)
        judged = certify(loaded.model, loaded.task, folder)
        data = proof_data(judged, folder)
        size = data["certificate_bytes"]
        if keep:
            saved = save_result(loaded, "proved", data, command=["prove", name], force=force)
            copy = certificate_file(FOLDER, saved.model, saved.options)
            copy.unlink(missing_ok=True)
            if size is not None:
                keep_certificate(folder / CERTIFICATE, copy)
                echo(f"wrote {copy}", err=True)
    verdict = judged.verdict
    if as_json:
        kept = {} if where is not None or not isinstance(verdict, Proved) else {"certificate": None}
        echo_json(
            {
                "model": shown_model(loaded),
                **verdict_to_json(verdict),
                **kept,
                "numerics": judged.numerics,
                "proof_seconds": judged.proof_seconds,
                "check_seconds": judged.check_seconds,
                "claims": judged.claims,
                "certificate_bytes": size,
            }
        )
        return EXIT[type(verdict)]
    if isinstance(verdict, Proved):
        echo(f"PROVED     {shown_model(loaded)}: {verdict.domain}")
        echo(f"margin     {verdict.margin:.6g} in {judged.unit}, the smallest over all of them")
        kept_at = (
            f"{verdict.certificate}, {size:,} bytes"
            if where is not None
            else "not kept; give --out FOLDER to keep it"
        )
        echo(
            f"checked    {judged.claims:,} {judged.counted}, by tinyadder.verify.certify.check;"
            f" certificate: {kept_at}"
        )
    else:
        echo(str(verdict))
    for key, value in judged.numerics.items():
        echo(f"{key:10} {value}", err=isinstance(verdict, Refuted))
    times = f"proof {judged.proof_seconds:.2f} s" + (
        f", check {judged.check_seconds:.2f} s" if judged.check_seconds else ""
    )
    echo(times, err=True)
    return EXIT[type(verdict)]


def _stranger(name: str, out: Path | None, keep: bool, force: bool, as_json: bool) -> int:
    """The verdict on a submission, with `keep` noted in its row of the board; the exit code."""
    from tinyadder.commands.count import warn
    from tinyadder.report.board import save_proof
    from tinyadder.report.results import FOLDER
    from tinyadder.verify.certify.strangers import prove_submission
    from tinyadder.verify.external.submission import Submission
    from tinyadder.verify.verdict import EXIT, Proved, Refuted, verdict_to_json

    file = None if out is None else out / "certificate.json"
    if file is not None:
        if file.exists() and not force:
            raise TinyadderError(f"{file} exists; choose another --out, or add --force")
        file.parent.mkdir(parents=True, exist_ok=True)
    submission = Submission(name)
    warn(submission.path)
    judged = prove_submission(submission, file)
    verdict = judged.verdict
    if keep and isinstance(verdict, Proved):
        graph = "as exported" if judged.exported else "as it runs"
        proof = f"{verdict.domain}, its graph {graph}; margin {verdict.margin:.3g}"
        row = save_proof(FOLDER, submission.path, f"{proof}; {date.today().isoformat()}")
        echo(f"noted in the row {row} of {FOLDER / 'board.json'}", err=True)
    if as_json:
        echo_json(
            {
                "model": name,
                **verdict_to_json(verdict),
                "about": judged.about,
                "numerics": judged.numerics,
                "proof_seconds": judged.proof_seconds,
                "check_seconds": judged.check_seconds,
                "claims": judged.claims,
                "certificate_bytes": judged.certificate_bytes,
            }
        )
        return EXIT[type(verdict)]
    if isinstance(verdict, Proved):
        kept = verdict.certificate or "not kept; give --out FOLDER to keep it"
        echo(f"PROVED     {name}: {verdict.domain}")
        echo(f"margin     {verdict.margin:.6g} in logits, without a positive factor they share")
        echo(
            f"checked    {judged.claims:,} shortest paths, by tinyadder.verify.certify.check;"
            f" certificate: {kept}, {judged.certificate_bytes:,} bytes"
        )
    else:
        echo(str(verdict))
    for key, value in {**judged.about, **judged.numerics}.items():
        echo(f"{key:10} {value}", err=isinstance(verdict, Refuted))
    times = f"proof {judged.proof_seconds:.2f} s"
    echo(
        times + (f", check {judged.check_seconds:.2f} s" if judged.check_seconds else ""), err=True
    )
    return EXIT[type(verdict)]
