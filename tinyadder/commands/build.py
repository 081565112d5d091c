"""Build a construction: compile, count, verify, prove, and write a model folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import shown_model
from tinyadder.commands._output import console, echo, echo_json
from tinyadder.construction import construct, model_name
from tinyadder.io.folder import check_writable, holds, model_files, save
from tinyadder.named import Loaded, load_model

if TYPE_CHECKING:
    from tinyadder.verify.properties import Verification
    from tinyadder.verify.verdict import Verdict

QUICK_SAMPLES, QUICK_EXAMPLES = 20_000, 100
"""How much the quick verification after a build asks beyond the public suite and the hard list."""
QUICK_TEXTS = 1000
"""The most texts that a build proves one by one, in about ten seconds."""


@click.command("build", short_help=__doc__)
@opt.model_argument
@opt.out_option("The folder to write; out/NAME unless given.")
@opt.force_option
@opt.device_option
@opt.json_option
def command(
    name: str, options: dict[str, Any], out: Path | None, force: bool, device: str, as_json: bool
) -> int:
    """Build NAME (a construction, or a file such as ./mine.py): compile, count, verify quickly,
    prove, and write a folder.

    If the folder already holds the same model it is left unchanged; a different one is replaced
    only with --force. Exit code 0: built, and not refuted (which may be without a proof). 1: built,
    and wrong, with the counterexample.
    """
    folder = out or Path("out") / model_name(name)
    construct(name, **options)  # a wrong NAME or option is reported before the folder is looked at
    check_writable(folder, force=True)
    loaded = load_model(name, options, device)
    assert loaded.program is not None, "a construction has a program"
    what: dict[str, Any] = {"name": loaded.name, "options": options, "program": loaded.program}
    unchanged = holds(folder, model_files(loaded.model, loaded.task, **what))
    if not unchanged:
        save(loaded.model, loaded.task, folder, **what, force=force)

    from tinyadder.verify.certify.prove import certify
    from tinyadder.verify.count import ladder
    from tinyadder.verify.properties import verify

    counts = ladder(loaded.model)
    say = (lambda label, text: None) if as_json else _say
    say("built", _built(loaded))
    say("counted", " · ".join(f"{rung} {count:,}" for rung, count in counts.items()))
    with console(stderr=True).status("verifying") as status:
        verification = verify(
            loaded.model,
            loaded.task,
            count=QUICK_SAMPLES,
            examples=QUICK_EXAMPLES,
            progress=lambda part, done, total: status.update(
                f"verifying: {part} {done:,} of {total:,}"
            ),
        )
        say("refuted" if verification.report else "verified", _verified(verification))
        status.update("proving")
        proof = None
        if not verification.report:
            proof = certify(loaded.model, loaded.task, folder, QUICK_TEXTS).verdict
    if proof is not None:
        say(*_proved(proof))
    say(
        "unchanged" if unchanged else "wrote",
        f"{folder}/   {'  '.join(sorted(path.name for path in folder.iterdir()))}",
    )
    wrong = type(proof or verification.verdict).__name__ == "Refuted"
    shown = verification.report.counterexample.shown if verification.report else _example(loaded)
    look = f"tinyadder trace {folder} {shlex.quote(shown)}"
    say(
        "next",
        f"tinyadder verify {folder}   ·   {look}"
        if wrong
        else f"tinyadder show {folder}   ·   {look}",
    )
    if as_json:
        echo_json(_json(loaded, folder, counts, verification, proof) | {"unchanged": unchanged})
    return int(wrong)


def _example(loaded: Loaded) -> str:
    return loaded.task.show(loaded.task.uniform(Random(0), 1)[0])


def _proved(proof: Verdict) -> tuple[str, str]:
    label, _, text = str(proof).partition(" ")
    return label.lower(), text.strip()


def _say(label: str, text: str) -> None:
    echo(f"{label:9} {text}")


def _built(loaded: Loaded) -> str:
    program = loaded.program
    assert program is not None
    heads = sum(len(attention.heads) for attention, _ in program.blocks if attention)
    units = sum(len(mlp.units) for _, mlp in program.blocks if mlp)
    sizes = ((len(program.blocks), "layer"), (heads, "head"), (units, "hidden unit"))
    parts = [f"{count} {word}{'s' * (count != 1)}" for count, word in sizes]
    return " · ".join([shown_model(loaded), *parts, "lanes " + " ".join(program.stream.lanes)])


def _verified(verification: Verification) -> str:
    if verification.report is not None:
        return str(verification.report.counterexample)
    parts = " · ".join(f"{part.name} {part.asked:,}" for part in verification.parts)
    return f"{parts}: 0 wrong   ({type(verification.verdict).__name__.lower()})"


def _json(
    loaded: Loaded,
    folder: Path,
    counts: dict[str, int],
    verification: Verification,
    proof: Verdict | None,
) -> dict[str, Any]:
    from tinyadder.verify.verdict import verdict_to_json

    return {
        "model": loaded.name,
        "options": loaded.options,
        "folder": str(folder),
        "counts": counts,
        "parts": [vars(part) for part in verification.parts],
        "verdict": verdict_to_json(verification.verdict),
        "proof": None if proof is None else verdict_to_json(proof),
    }
