"""Export a model: ONNX, torch.export, an AdderBoard submission, JSON, a hub folder, a circuit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import file_name
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.errors import TinyadderError
from tinyadder.escape import Markdown
from tinyadder.io.export import FOLDERS, FORMATS, ExportSource, module_of, write
from tinyadder.io.files import check_name
from tinyadder.io.folder import check_writable
from tinyadder.named import Loaded, load_model, summary
from tinyadder.programs import Compiled

STOCK = ("llama", "gpt2")
"""Stock classes of transformers."""


@click.command("export", short_help=__doc__)
@opt.model_argument
@click.option("--to", "kind", type=click.Choice([*FORMATS]), required=True, help="The format.")
@opt.out_option("File (hub, llama, gpt2: folder) to write [default: by NAME].")
@opt.force_option
@click.option(
    "--intermediate", is_flag=True, help="onnx: lanes and attention patterns are outputs too."
)
@click.option("--rotate", type=opt.SEED, help="llama, gpt2: a random basis of the residual stream.")
@click.option("--superpose", type=int, help="llama, gpt2: all lanes in at most so many columns.")
@click.option("--noise", type=click.FloatRange(0, 1), help="llama, gpt2: on each weight, relative.")
@opt.json_option
def command(
    name: str,
    kind: str,
    out: Path | None,
    force: bool,
    intermediate: bool,
    rotate: int | None,
    superpose: int | None,
    noise: float | None,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Write NAME (a construction or a model folder) in another format.

    For example: tinyadder export add10 --to onnx. A hub folder holds what the card, the tokenizer
    and AutoModelForCausalLM need; with --force only these files are replaced.
    """
    _check_options(kind, intermediate, (rotate, superpose, noise))
    loaded = load_model(name, options)
    if kind in STOCK:
        loaded = _compiled_for(kind, loaded, superpose)
    out = out or Path(module_of(kind).FILE.format(check_name(file_name(loaded))))
    _check_out(out, kind, force)
    if loaded.model.config.encoder:
        raise TinyadderError(f"{loaded.name} is an encoder-decoder; only decoders are exported")

    from tinyadder.verify.count import definition, ladder

    counts = ladder(loaded.model)
    first = "board" if kind == "submission" else "nonzero"
    order = [first, *(rung for rung in counts if rung != first)]
    certificate, verdict = _judged(loaded) if kind == "hub" else (None, None)
    source = ExportSource(
        model=loaded.model,
        task=loaded.task,
        name=loaded.name,
        about=summary(loaded),
        program=loaded.program,
        options=loaded.options,
        ladder=[(rung, counts[rung], definition(rung)) for rung in order],
        verdict=verdict,
        certificate=certificate,
        intermediate=intermediate,
        rotate=rotate,
        noise=noise or 0.0,
        columns=loaded.made.glossary() if isinstance(loaded.made, Compiled) else {},
    )
    write(kind, source, out)
    claim = {"claim": counts["board"], "counts": counts} if kind == "submission" else {}
    if as_json:
        echo_json({"model": loaded.name, "format": kind, "file": str(out), **claim})
        return
    echo(f"wrote {out}")
    if kind in STOCK and isinstance(loaded.made, Compiled):
        echo(f"exact to {loaded.made.length} tokens, tried on 200 problems")
        if loaded.made.claims is not None:  # a program that answers about a text
            echo(f"horizon {loaded.made.horizon()}")
    if claim:
        show_table(
            f"claims {counts['board']:,} by the public board's rule; beside it the whole ladder:",
            {"convention": "left", "count": "right", "what it counts": "left"},
            [(rung, f"{count:,}", definition(rung)) for rung, count, _ in source.ladder],
        )


def _compiled_for(kind: str, loaded: Loaded, superpose: int | None) -> Loaded:
    """The construction with the equations that are for this class."""
    from tinyadder.machine.compile import build

    if loaded.made is None:
        if superpose is not None:
            raise TinyadderError("--superpose takes a file that compiles a program")
        return loaded
    made = loaded.made.compiled_for(kind, superpose=superpose)
    if made is loaded.made:
        return loaded
    return replace(
        loaded,
        model=build(made.program),
        program=made.program,
        task=made.task,
        claims=made.claims,
        made=made,
    )


def _check_options(kind: str, intermediate: bool, changed: tuple[float | None, ...]) -> None:
    """Raises `TinyadderError` for an option of another format."""
    if intermediate and kind != "onnx":
        raise TinyadderError("--intermediate belongs to --to onnx")
    if any(value is not None for value in changed) and kind not in STOCK:
        raise TinyadderError("--rotate, --superpose, --noise belong to --to llama and --to gpt2")


def _check_out(out: Path, kind: str, force: bool) -> None:
    """Raises `TinyadderError` where the export cannot be written."""
    if not out.absolute().parent.is_dir():
        raise TinyadderError(f"there is no folder {out.absolute().parent}; choose another --out")
    if kind in FOLDERS:
        check_writable(out, force=force)
    elif out.is_dir():
        raise TinyadderError(f"{out} is a folder; name a file with --out")
    else:
        opt.check_new(out, force)


def _judged(loaded: Loaded) -> tuple[bytes | None, Markdown | None]:
    """The certificate beside the model, if the checker accepts it, and what the checker says."""
    from tinyadder.report.certificates import CERTIFICATE, read_certificate, recheck
    from tinyadder.report.leaderboard import Standing
    from tinyadder.report.tables import markdown_verdict
    from tinyadder.verify.verdict import Proved

    if loaded.folder is None or not (loaded.folder / CERTIFICATE).exists():
        return None, None
    file = loaded.folder / CERTIFICATE
    verdict = recheck(loaded.model, loaded.task, file)
    certificate = read_certificate(file) if isinstance(verdict, Proved) else None
    return certificate, markdown_verdict(Standing(verdict, {}))
