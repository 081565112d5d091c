"""Print the leaderboard (our models, and those of others as claimed and measured) as Markdown, a
page or JSON.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._output import echo, echo_json
from tinyadder.named import use_device


@click.command("report", short_help=__doc__)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the Markdown to this file instead of standard output.",
)
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write everything as one page for the browser, with equations and pictures.",
)
@opt.force_option
@click.option("--fresh", is_flag=True, help="Recompute every verdict, recorded sweeps included.")
@click.option(
    "--missing",
    is_flag=True,
    help="Compute the verdicts of models that have none yet.",
)
@click.option("--only", "names", metavar="NAME", multiple=True, help="Measure these models only.")
@opt.seed_option("Seed of the fresh verdicts.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("."),
    show_default=True,
    help="Where results/ and baselines/ are.",
)
@opt.json_option
def command(
    out: Path | None,
    page: Path | None,
    force: bool,
    fresh: bool,
    missing: bool,
    names: tuple[str, ...],
    seed: int,
    root: Path,
    as_json: bool,
) -> None:
    """Count every construction and trained baseline by every convention, with its verdicts.

    Verdicts come from results/, for exactly these weights, config and task. Each certificate is
    checked again, and each counterexample is run again.
    """
    from tinyadder.io.files import lock, write_text
    from tinyadder.report.board import published
    from tinyadder.report.leaderboard import own_models, report_json, row
    from tinyadder.report.measure import measure, sweep_again
    from tinyadder.report.results import read_results
    from tinyadder.report.tables import report_markdown

    opt.check_new(out, force)
    opt.check_new(page, force, "--html")
    use_device("cpu")
    folder = root / "results"
    entries = own_models(root / "baselines")
    wanted = {entry.name for entry in own_models(root / "baselines", names)} if names else None
    results = read_results(folder)
    busy = lock(root / "out" / "report", "tinyadder report", way_out="stop it")
    with busy if fresh or missing else nullcontext():
        for entry in entries if fresh or missing else ():
            known = row(entry, results, folder)
            if (wanted is None or entry.name in wanted) and (fresh or known.of("times") is None):
                echo(f"measuring {entry.name}", err=True)
                measure(entry, folder, seed=seed)
                for result in known.results:
                    if fresh and result.kind == "exhaustive":
                        echo(f"repeating {result.command}", err=True)
                        sweep_again(entry, result, folder, root / "out" / "exhaust")
    if fresh or missing:
        results = read_results(folder)
    rows, board = [row(entry, results, folder) for entry in entries], published(folder)
    if as_json:
        echo_json(report_json(rows, board))
    if out is not None:
        write_text(out, report_markdown(rows, board))
        echo(f"wrote {out}", err=True)
    if page is not None:
        from tinyadder.report.page import report_html

        write_text(page, report_html(entries, rows, board), way_out="choose another --html")
        echo(f"wrote {page}", err=True)
    if out is None and page is None and not as_json:
        echo(report_markdown(rows, board), nl=False)
