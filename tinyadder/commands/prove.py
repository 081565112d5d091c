"""Prove a model right on every input of its task, with a certificate that a second program checks,
or refute it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import check_no_result, save_result, shown_model
from tinyadder.commands._output import echo, echo_json
from tinyadder.construction import is_submission
from tinyadder.errors import TinyadderError
from tinyadder.named import Loaded, load_model

if TYPE_CHECKING:
    from tinyadder.verify.certify.prove import TimedVerdict
    from tinyadder.verify.certify.strangers import StrangerJudged
    from tinyadder.verify.verdict import Proved

NOT_KEPT = "not kept; give --out FOLDER to keep it"


@click.command()
@opt.model_argument
@opt.out_option("Keep model and certificate in this folder.")
@opt.save_option
@opt.force_option
@click.option(
    "--task",
    metavar="TASK",
    help="Take NAME as any torch module, a file with build_model(), and prove it on this task"
    " (comparison, rewriting, ..., or FILE.py that defines one); -o gives the task's options.",
)
@opt.json_option
def command(
    name: str,
    options: dict[str, Any],
    out: Path | None,
    save: bool,
    force: bool,
    task: str | None,
    as_json: bool,
) -> int:
    """Prove NAME right on every input, or refute it.

    NAME is a construction, a model folder, or a submission: a stranger's file, folder or import
    path (pkg.mod) with build_model and add, whose graph is read in a sandbox. With --task it is a
    file whose build_model() gives any torch module of token ids.

    The verdict is the checker's: `python -m tinyadder.verify.certify.check FOLDER` repeats it
    without torch. Exit code 0 proved, 1 refuted (with a problem the model, run as it is, answers
    wrongly), 4 unknown (with what is missing).
    """
    if task is not None:
        if save:
            raise TinyadderError("--save keeps verdicts on adders and on models of ours, not these")
        return _module(name, task, options, out, force, as_json)
    if is_submission(name):
        opt.check_submission_options(name, {"-o": options})
        return _stranger(name, out, save, force, as_json)
    from tinyadder.io.folder import check_writable
    from tinyadder.report.certificates import CERTIFICATE, certificate_file, keep_certificate
    from tinyadder.report.measure import proof_data
    from tinyadder.report.results import FOLDER
    from tinyadder.verify.certify.prove import certify
    from tinyadder.verify.verdict import EXIT, Proved, Unknown, verdict_to_json

    if out is not None:
        check_writable(out, force=force)
    loaded = load_model(name, options)
    if save and not force:
        check_no_result(loaded, "proved", command=["prove", name])
    where = loaded.folder if out is None else out
    with tempfile.TemporaryDirectory() if where is None else nullcontext(str(where)) as place:
        folder = Path(place)
        if loaded.folder is None or out is not None:
            loaded.save(folder, force=force or where is None)
        judged = certify(loaded.model, loaded.task, folder)
        data = proof_data(judged, folder)
        size = data["certificate_bytes"]
        if save:
            saved = save_result(loaded, "proved", data, command=["prove", name], force=force)
            copy = certificate_file(FOLDER, saved.model, saved.options)
            copy.unlink(missing_ok=True)
            if size is not None:
                keep_certificate(folder / CERTIFICATE, copy)
                echo(f"wrote {copy}", err=True)
    verdict = judged.verdict
    if isinstance(verdict, Unknown) and not loaded.model.config.plain and not save:
        # no rule for this family of models: as any torch module, by its graph
        by_graph = _by_graph(loaded, _place_of_certificate(out and out / "graph", force))
        return _shown_judgement(shown_model(loaded), by_graph, as_json)
    if as_json:
        kept = {} if where is not None or not isinstance(verdict, Proved) else {"certificate": None}
        echo_json(
            {
                "model": shown_model(loaded),
                **verdict_to_json(verdict),
                **kept,
                **_costs(judged),
                "certificate_bytes": size,
            }
        )
        return EXIT[type(verdict)]
    if isinstance(verdict, Proved):
        file = NOT_KEPT if where is None else f"{verdict.certificate}, {size:,} bytes"
        _show_proof(
            shown_model(loaded),
            verdict,
            f"{judged.unit}, the smallest over all of them",
            f"{judged.claims:,} {judged.counted}",
            file,
        )
    else:
        echo(str(verdict))
    _show_costs(judged, judged.numerics)
    return EXIT[type(verdict)]


def _stranger(name: str, out: Path | None, save: bool, force: bool, as_json: bool) -> int:
    """The verdict on a submission, with `save` noted in its row of the board; the exit code."""
    from tinyadder.commands.count import warn
    from tinyadder.report.board import save_proof
    from tinyadder.report.results import FOLDER
    from tinyadder.verify.certify.strangers import prove_submission
    from tinyadder.verify.external.submission import Submission
    from tinyadder.verify.verdict import Proved

    file = _place_of_certificate(out, force)
    submission = Submission(name)
    warn(submission.path)
    judged = prove_submission(submission, file)
    verdict = judged.verdict
    if save and isinstance(verdict, Proved):
        graph = "as exported" if judged.exported else "as it runs"
        proof = f"{verdict.domain}, its graph {graph}; margin {verdict.margin:.3g}"
        row = save_proof(FOLDER, submission.path, f"{proof}; {date.today().isoformat()}")
        echo(f"noted in the row {row} of {FOLDER / 'board.json'}", err=True)
    return _shown_judgement(name, judged, as_json)


def _module(
    name: str, task: str, options: dict[str, Any], out: Path | None, force: bool, as_json: bool
) -> int:
    """The verdict on any module, on a task; the exit code."""
    from tinyadder.commands.count import warn
    from tinyadder.named import task_of
    from tinyadder.verify.certify.modules import prove_module, tokens_in
    from tinyadder.verify.external.submission import Submission

    judged_on = task_of(task, options)
    file = _place_of_certificate(out, force)
    submission = Submission(name, adds=False)
    warn(submission.path)
    with submission.session() as session:
        judged = prove_module(session.ask, tokens_in(session.ask, judged_on), file)
    return _shown_judgement(name, judged, as_json)


def _by_graph(loaded: Loaded, file: Path | None) -> StrangerJudged:
    """The verdict on a model of ours whose family no rule covers, read as any module."""
    from tinyadder.verify.certify.modules import TokenTexts, local, prove_module
    from tinyadder.verify.external.entry import LoadedSubmission

    model, vocabulary = loaded.model.eval(), loaded.task.vocabulary
    outputs = [vocabulary[n] for n in model.config.outputs]
    texts = TokenTexts(loaded.task, vocabulary, outputs)
    entry = LoadedSubmission("", [], {}, model, {}, lambda *_: None)
    return prove_module(local(entry), texts, file)


def _place_of_certificate(out: Path | None, force: bool) -> Path | None:
    """Where the certificate of a graph goes; a folder is made for it."""
    file = None if out is None else out / "certificate.json"
    if file is not None:
        opt.check_new(file, force)
        if (file.parent / "model.json").exists():
            raise TinyadderError(
                f"{out} holds a model, which this is not about; choose another --out"
            )
        file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _shown_judgement(name: str, judged: StrangerJudged, as_json: bool) -> int:
    """Print a verdict on a graph; the exit code."""
    from tinyadder.verify.verdict import EXIT, Proved, verdict_to_json

    verdict = judged.verdict
    if as_json:
        echo_json(
            {
                "model": name,
                **verdict_to_json(verdict),
                "about": judged.about,
                **_costs(judged),
                "certificate_bytes": judged.certificate_bytes,
            }
        )
        return EXIT[type(verdict)]
    if isinstance(verdict, Proved):
        _show_proof(
            name,
            verdict,
            judged.unit,
            f"{judged.claims:,} {judged.counted}",
            f"{verdict.certificate or NOT_KEPT}, {judged.certificate_bytes:,} bytes",
        )
    else:
        echo(str(verdict))
    _show_costs(judged, {**judged.about, **judged.numerics})
    return EXIT[type(verdict)]


def _costs(judged: TimedVerdict | StrangerJudged) -> dict[str, Any]:
    """What is assumed of the machine, what was checked and what it cost, as JSON."""
    return {
        "numerics": judged.numerics,
        "proof_seconds": judged.proof_seconds,
        "check_seconds": judged.check_seconds,
        "claims": judged.claims,
    }


def _show_proof(model: str, proved: Proved, unit: str, checked: str, certificate: str) -> None:
    """What is proved, by what margin (in `unit`), and what the checker checked."""
    echo(f"PROVED     {model}: {proved.domain}")
    echo(f"margin     {proved.margin:.6g} in {unit}")
    echo(f"checked    {checked}, by tinyadder.verify.certify.check; certificate: {certificate}")


def _show_costs(judged: TimedVerdict | StrangerJudged, notes: Mapping[str, str]) -> None:
    """What the verdict is about and assumes, on standard error if it is refuted; and the times."""
    from tinyadder.verify.verdict import Refuted

    for key, value in notes.items():
        echo(f"{key:10} {value}", err=isinstance(judged.verdict, Refuted))
    check = f", check {judged.check_seconds:.2f} s" if judged.check_seconds else ""
    echo(f"proof {judged.proof_seconds:.2f} s{check}", err=True)
