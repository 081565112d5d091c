"""Write the explorer: one page that runs models in the browser and shows every intermediate
value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._models import LONGEST, file_name
from tinyadder.commands._output import echo, echo_json
from tinyadder.construction import construction_names
from tinyadder.errors import TinyadderError
from tinyadder.io.files import write_text
from tinyadder.named import load_model

DEFAULT = ("add10", "add10_gist", "deriv")
FAMOUS = {
    "add10": ("7485 918",),
    "add10_gist": ("4999999999 0", "5193798811 1806201129"),
    "deriv": ("-3x^3+4x^2-4",),
}
"""Problems that a visitor should meet first; for add10_gist its known wrong answers."""


@click.command("explore", short_help=__doc__)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@opt.out_option("File to write [default: NAME-explorer.html; explorer.html without a NAME].")
@opt.force_option
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@opt.construction_options
@opt.json_option
def command(
    names: tuple[str, ...],
    out: Path | None,
    force: bool,
    show: bool,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Write a page for the NAMEs (constructions or model folders): tinyadder explore add10
    add10_gist.

    Without a NAME: add10, add10_gist (showing a sum it gets wrong), deriv, and the smallest trained
    baseline at hand. The page needs no network: type a problem, step through the program,
    select a cell to see the sum behind it, change a weight, check the proof.
    """
    if out is not None:
        opt.check_new(out, force)
    if options and len(names) != 1:
        raise TinyadderError(
            "options such as --digits belong to one construction; give exactly one NAME with them"
        )

    from tinyadder.inspect.explorer import exhibit_of, page
    from tinyadder.report.certificates import certificate_file, read_certificate
    from tinyadder.report.results import FOLDER

    models = [load_model(name, options) for name in names or _default_names()]
    if out is None:
        called = "-".join(map(file_name, models))[:LONGEST] if names else ""
        out = Path(f"{called}-explorer.html".lstrip("-"))
        opt.check_new(out, force)
    exhibits = []
    for loaded in models:
        known = loaded.folder is None and loaded.file is None
        famous = FAMOUS.get(loaded.name, ()) if known and not options else ()
        kept = certificate_file(FOLDER, loaded.name, loaded.options)
        certificate = read_certificate(kept) if known and kept.is_file() else None
        first = [loaded.task.parse(text) for text in famous]
        exhibits.append(exhibit_of(loaded, first, certificate))
    text = page(exhibits)
    write_text(out, text)
    if as_json:
        echo_json(
            {"file": str(out), "models": [e.name for e in exhibits], "bytes": len(text.encode())}
        )
    else:
        echo(
            f"wrote {out}   {len(text.encode()) / 1000:.0f} kB,"
            f" {', '.join(e.name for e in exhibits)}"
        )
    if show:
        click.launch(str(out))


def _default_names() -> list[str]:
    """The constructions of the default page, and the smallest trained baseline in ./baselines if
    there is one.
    """
    trained = sorted(
        Path("baselines").rglob("model.safetensors"), key=lambda path: (path.stat().st_size, path)
    )
    return [
        *(name for name in DEFAULT if name in construction_names()),
        *(str(path.parent) for path in trained[:1]),
    ]
