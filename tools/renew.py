"""Renew what is generated and committed: `python -m tools.renew`, see its --help.

Needs the extra `test`. Files are written where their content changed, and named.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import click

from tinyadder.io.files import write_text
from tools.pages import DOCS, README, ROOT, renewed, scratch

RESULTS = ROOT / "results"
PARTS = 4
"""Of the leaderboard, made side by side: certificates are checked in each."""


def put(path: Path, text: str) -> None:
    """Write `text` to `path` if that is not its content already."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
        click.echo(f"wrote {path.relative_to(ROOT)}")


def proofs() -> None:
    from tinyadder.report.leaderboard import own_models
    from tinyadder.report.measure import prove_again
    from tinyadder.report.results import read_results

    entries = {entry.name: entry for entry in own_models(Path("no baselines"))}
    for result in read_results(RESULTS):
        if result.kind == "proved" and result.model in entries:
            click.echo(f"proving {result.model} {result.options or ''}")
            prove_again(entries[result.model], result.options, RESULTS)


def leaderboard() -> None:
    from joblib import Parallel, delayed

    from tinyadder.report.board import board_sections, published
    from tinyadder.report.leaderboard import LeaderboardRow, own_models, row
    from tinyadder.report.results import read_results
    from tinyadder.report.tables import between_marks, readme, report_markdown

    results = read_results(RESULTS)

    def part(k: int) -> list[LeaderboardRow]:
        """Every row at k, k + PARTS, ..; models are made here, since they cannot be sent."""
        return [row(entry, results, RESULTS) for entry in own_models(ROOT / "baselines")[k::PARTS]]

    made = Parallel(n_jobs=PARTS)(delayed(part)(k) for k in range(PARTS))
    rows = [one for several in zip_longest(*made) for one in several if one is not None]
    board = published(RESULTS)
    put(ROOT / "LEADERBOARD.md", report_markdown(rows, board))
    page = ROOT / "docs" / "board.md"
    text = page.read_text(encoding="utf-8")
    put(page, between_marks(text, "the board, measured", board_sections(board)))
    put(README, readme(README.read_text(encoding="utf-8"), rows))


def counterexamples() -> None:
    from tinyadder.tasks.counterexamples import FILE, recorded
    from tools.counterexamples import in_results, text

    put(ROOT / "tinyadder" / "data" / FILE, text(recorded(), in_results()))


def architecture() -> None:
    from tools.architecture import drawn, picture

    page = ROOT / "docs" / "architecture.md"
    put(page, drawn(page.read_text(encoding="utf-8")))
    put(ROOT / "docs" / "pictures" / "architecture.svg", picture())


def baselines() -> None:
    from benchmarks.baselines import page

    put(ROOT / "baselines" / "README.md", page())


def pictures() -> None:
    from tools.gallery import commands, draw

    for line in commands():
        click.echo(line)
        draw(line)


def screenshots() -> None:
    from tools.screenshots import chromium, main

    if chromium() is None:
        click.echo("left as they are: needs Chromium (apt-get install chromium)")
    else:
        main.main([], standalone_mode=False)


def page(path: Path) -> None:
    """Renew the outputs in one page."""
    with scratch():
        text = renewed(path.read_text(encoding="utf-8"))
    put(path, text)


def notebook(path: Path) -> None:
    """Renew the outputs in one notebook."""
    import nbformat

    from tools.notebooks import executed

    nbformat.write(executed(nbformat.read(path, as_version=4), path.parent), path)
    click.echo(f"wrote {path.relative_to(ROOT)}")


def pages() -> None:
    for path in (README, *DOCS):
        page(path)


def notebooks() -> None:
    from tools.notebooks import NOTEBOOKS

    for path in NOTEBOOKS:
        notebook(path)


STEPS: dict[str, Callable[[], None]] = {
    step.__name__: step
    for step in (
        proofs,
        counterexamples,
        leaderboard,
        architecture,
        baselines,
        pictures,
        screenshots,
        pages,
        notebooks,
    )
}
"""In an order in which nothing is read before it is renewed."""


@click.command()
@click.argument("what", nargs=-1)
def main(what: tuple[str, ...]) -> None:
    """Renew what is generated and committed; without WHAT all but the proofs.

    \b
    proofs       every proof in results/ and its certificate (minutes)
    counterexamples  those in results/ become hard cases: tinyadder/data/counterexamples.json
    leaderboard  LEADERBOARD.md, docs/board.md, the README's table: certificates are checked again
    architecture the table and the picture of docs/architecture.md
    baselines    baselines/README.md
    pictures     docs/pictures, by the commands that docs/ shows for them
    screenshots  of the explorer, in docs/pictures; needs Chromium
    pages        outputs in README.md and docs/
    notebooks    outputs in notebooks/
    FILE         outputs in this page or notebook only
    """
    files = [ROOT / word for word in what if word not in STEPS]
    for path in files:
        if path.suffix not in (".md", ".ipynb") or not path.is_file():
            steps = ", ".join(STEPS)
            raise click.UsageError(f"{path} is no page or notebook; expected a file, or {steps}")
    for path in files:
        (page if path.suffix == ".md" else notebook)(path)
    for name, step in STEPS.items():
        if name in what or (not what and name != "proofs"):
            click.echo(f"{name}:")
            step()


if __name__ == "__main__":
    main()
