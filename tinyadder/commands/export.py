"""Export a model: ONNX, torch.export, a one-file AdderBoard submission, JSON, a model-hub
folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinyadder.commands._common import (
    Loaded,
    construction_options,
    echo_json,
    json_option,
    load_model,
    name_argument,
    summary,
)
from tinyadder.errors import TinyadderError

FILES = {
    "onnx": "{}.onnx",
    "torch": "{}.pt2",
    "submission": "{}_submission.py",
    "json": "{}.json",
    "hub": "{}-hub",
}


@click.command("export", short_help=__doc__)
@name_argument
@click.option("--to", "kind", type=click.Choice(list(FILES)), required=True, help="The format.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="File (hub: folder) to write [default: by NAME]."
)
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@construction_options
@json_option
def command(
    name: str, kind: str, out: Path | None, force: bool, options: dict[str, Any], as_json: bool
) -> None:
    """Write NAME (a construction or a model folder) in the format of others: tinyadder export add10
    --to onnx.
    """
    loaded = load_model(name, options)
    out = out or Path(FILES[kind].format(loaded.name))
    if out.exists() and not force:
        raise TinyadderError(f"{out} exists; give --force to overwrite it, or another --out")
    if out.is_dir() and kind != "hub":
        raise TinyadderError(f"{out} is a folder; name a file with --out")
    if out.is_dir() and not (out / "model.json").exists():
        raise TinyadderError(
            f"{out} holds something else than a model and is left as it is; choose another --out"
        )
    if not out.absolute().parent.is_dir():
        raise TinyadderError(f"there is no folder {out.absolute().parent}; choose another --out")

    from tinyadder.io import export
    from tinyadder.verify.count import definition, ladder

    if loaded.model.config.encoder:
        raise TinyadderError(f"{loaded.name} is an encoder-decoder; only decoders are exported")
    about = summary(loaded)
    counts = ladder(loaded.model)
    order = ["nonzero", *(rung for rung in counts if rung != "nonzero")]
    rungs = [(rung, counts[rung], definition(rung)) for rung in order]
    try:
        match kind:
            case "onnx":
                export.to_onnx(loaded.model, out)
            case "torch":
                export.to_torch_export(loaded.model, out)
            case "json":
                export.to_json(loaded.model, out)
            case "submission":
                export.to_submission(
                    loaded.model, loaded.task, out, name=loaded.name, about=about, ladder=rungs
                )
            case "hub":
                export.to_hub_folder(
                    loaded.model,
                    loaded.task,
                    out,
                    name=loaded.name,
                    about=about,
                    ladder=rungs,
                    **_proof(loaded),
                )
    except OSError as error:
        raise TinyadderError(
            f"cannot write {out}: {error.strerror}; choose another --out"
        ) from error
    if as_json:
        echo_json({"model": loaded.name, "format": kind, "file": str(out)})
    else:
        click.echo(f"wrote {out}")


def _proof(loaded: Loaded) -> dict[str, Any]:
    """The certificate beside the model, and as Markdown what the checker says of it now."""
    from tinyadder.report.certificates import CERTIFICATE, read_certificate, recheck
    from tinyadder.report.leaderboard import Finding
    from tinyadder.report.tables import markdown_verdict
    from tinyadder.verify.verdict import Proved

    if loaded.folder is None or not (loaded.folder / CERTIFICATE).exists():
        return {}
    judged = recheck(loaded.model, loaded.task, loaded.folder / CERTIFICATE)
    verdict = markdown_verdict(Finding(judged, {}))
    if not isinstance(judged, Proved):
        return {"verdict": verdict}
    return {
        "verdict": verdict,
        "certificate": read_certificate(loaded.folder / CERTIFICATE),
    }
