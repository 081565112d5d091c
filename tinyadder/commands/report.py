"""Write LEADERBOARD.md and LEADERBOARD.json (and a page): our models as measured, the public field
as claimed.
"""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyadder.commands._common import echo_json, json_option, use_device
from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write

if TYPE_CHECKING:
    from tinyadder.report.results import Result

PAGE = "<title>tinyadder: report</title>"
"""What says that a file is a page of this command, which may be made anew."""


@click.command("report", short_help=__doc__)
@click.option(
    "--fresh", is_flag=True, help="Make all verdicts anew, the sweeps recorded in results/ too."
)
@click.option(
    "--missing",
    is_flag=True,
    help="Like --fresh, for models without results for their present weights.",
)
@click.option("--only", "names", metavar="NAME", multiple=True, help="Measure these models only.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the fresh verdicts.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("."),
    show_default=True,
    help="Where results/, baselines/ and README.md are, and the leaderboard goes.",
)
@click.option(
    "--html",
    "page",
    metavar="[FILE]",
    type=click.Path(path_type=Path, dir_okay=False),
    is_flag=False,
    flag_value="",
    help=(
        "Also write everything as one page for the browser, with equations and pictures [FILE:"
        " ROOT/out/report.html]."
    ),
)
@json_option
def command(
    fresh: bool,
    missing: bool,
    names: tuple[str, ...],
    seed: int,
    root: Path,
    page: Path | None,
    as_json: bool,
) -> None:
    """Count every construction and trained baseline by every convention, and put the verdicts
    beside the counts.

    The tables between the marks of README.md, where it has them, are made anew as well.
    """
    from tinyadder.report import leaderboard
    from tinyadder.report import tables as leaderboard_tables
    from tinyadder.report.results import read_results

    if page == Path(""):
        page = root / "out" / "report.html"
    if page is not None and page.exists() and PAGE not in page.read_text(errors="replace"):
        raise TinyadderError(
            f"{page} holds something else than a report and is left as it is; choose another FILE"
        )
    use_device("cpu")
    models = leaderboard.own_models(root / "baselines")
    results = read_results(root / "results")
    wanted = {model.name for model in leaderboard.own_models(root / "baselines", names)}
    for model in models:
        known = leaderboard.row(model, results).of("times") if missing and not fresh else None
        if model.name in wanted and known is None and (fresh or missing):
            click.echo(f"measuring {model.name}", err=True)
            leaderboard.measure(model, root / "results", seed=seed)
            if fresh:
                repeat_sweeps([found for found in results if found.model == model.name], root)
    results = read_results(root / "results")
    rows = [leaderboard.row(model, results) for model in models]
    data = leaderboard.report_json(rows)
    if as_json:
        echo_json(data)
    _write(root / "LEADERBOARD.json", json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    _write(root / "LEADERBOARD.md", leaderboard_tables.report_markdown(rows))
    if page is not None:
        from tinyadder.report.page import report_html

        page.parent.mkdir(parents=True, exist_ok=True)
        _write(page, report_html(models, rows))
    readme = root / "README.md"
    if readme.is_file():
        text = readme.read_text()
        made = leaderboard_tables.readme(text, rows)
        if made != text:
            _write(readme, made)


def repeat_sweeps(results: list[Result], root: Path) -> None:
    """Repeat the exhaustive sweeps among `results`, each by the command that it records, on all
    cores.
    """
    from tinyadder.commands.exhaust import command as exhaust

    for found in results:
        program, *arguments = found.command.split()
        if [program, *arguments[:1]] == ["tinyadder", "exhaust"]:
            click.echo(f"repeating {found.command}", err=True)
            with chdir(root):
                options = ["--save", "--force", "--restart", "--workers", "-1"]
                exhaust.main([*arguments[1:], *options], standalone_mode=False)


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as part:
        part.write_text(text)
    click.echo(f"wrote {path}", err=True)
