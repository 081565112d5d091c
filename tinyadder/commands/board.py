"""Judge every submission of a folder and write a table: what is claimed beside what was
measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._output import console, echo, echo_json, show_table, to_json
from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinyadder.verify.external.board import BoardEntry, BoardRow, Tell


@click.command("board", short_help=__doc__)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@opt.path_option(
    "--manifest", "Who made which entry and what is claimed [DIR/board.toml, where there is one]."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/board"),
    show_default=True,
    help="The folder for the tables and the finished rows.",
)
@click.option("--only", "names", metavar="NAME", multiple=True, help="Judge these entries only.")
@opt.seconds_option("For the sums that an entry is asked; counting and legality come on top.", 60.0)
@opt.seed_option("Of the sums.")
@click.option("--again", is_flag=True, help="Judge finished entries again.")
@opt.json_option
def command(
    folder: Path,
    manifest: Path | None,
    out: Path,
    names: tuple[str, ...],
    seconds: float,
    seed: int,
    again: bool,
    as_json: bool,
) -> None:
    """Judge the submissions in DIR: Python files with build_model() and add(model, a, b), or one
    subfolder for each. They are strangers' code: each runs in a limited process of its own.

    Writes board.md, board.html and board.json to OUT, and every finished row as soon as there is
    one: stopped and started again, the command goes on where it was. An entry that crashes, hangs
    or lacks something is a row with the reason. DIR/board.toml may hold tables [[entry]] with
    name, file, author, kind, claim, accuracy, link, repository, commit, path, sha256, notes.
    """
    import jinja2  # noqa: F401 (a missing extra is reported before hours of work)

    from tinyadder.io.files import lock, write_text
    from tinyadder.report.board import board_html, board_json, board_markdown, check_ours
    from tinyadder.verify.external.board import board_entries, judge_board, read_row, row_file

    entries = board_entries(folder, manifest)
    wanted = board_entries(folder, manifest, names) if names else entries
    if out.resolve() == folder.resolve() or out.resolve().is_relative_to(folder.resolve()):
        raise TinyadderError(f"--out {out} is inside of {folder}; it would become an entry")
    check_ours(out)
    echo(
        f"judging {len(wanted)} entries of {folder}: they are code, by whoever wrote them; each"
        " runs in a process of its own with limits on time and memory",
        err=True,
    )
    rows: dict[str, BoardRow] = {}
    with lock(out, "tinyadder board"):
        try:
            for row in judge_board(
                wanted, out, seconds=seconds, seed=seed, again=again, tell=_teller(len(wanted))
            ):
                rows[row.name] = row
        finally:  # stopped by the user, too: the tables show what is finished
            for entry in entries:
                path = row_file(out, entry.name)
                if entry.name not in rows and path.exists():
                    rows[entry.name] = read_row(path)
            shown = [rows[entry.name] for entry in entries if entry.name in rows]
            write_text(out / "board.json", to_json(board_json(shown), indent=1) + "\n")
            write_text(out / "board.md", board_markdown(shown))
            write_text(out / "board.html", board_html(shown))
            echo(f"wrote {out}/   board.md  board.html  board.json", err=True)
    if as_json:
        echo_json(board_json(shown))
    else:
        _show(shown)


def _show(rows: Sequence[BoardRow]) -> None:
    from tinyadder.report.board import (
        RUNGS,
        format_claim,
        format_verdict,
        kind_of_verdict,
        ordered,
        tally,
    )

    show_table(
        f"{len(rows)} entries: {', '.join(f'{count} {word}' for word, count in tally(rows))}",
        {
            "entry": "left",
            "claim": "left",
            **dict.fromkeys(RUNGS, "right"),
            "verdict": "left",
            "": "left",
        },
        [
            (
                row.name,
                format_claim(row),
                *(f"{row.counts[rung]:,}" if rung in row.counts else "" for rung in RUNGS),
                kind_of_verdict(row),
                format_verdict(row),
            )
            for row in ordered(rows)
        ],
    )


def _teller(total: int) -> Tell:
    """Says on standard error which entry is judged, and what came out."""
    from tinyadder.report.board import format_verdict, kind_of_verdict

    screen = console(stderr=True)
    status = screen.status("") if screen.is_terminal else None

    def tell(number: int, entry: BoardEntry, row: BoardRow | None) -> None:
        place = f"{number}/{total} {entry.name}"
        if row is None:
            if status is not None:
                status.update(terminal(f"{place}: judging"))
                status.start()
            return
        if status is not None:
            status.stop()
        took = f" ({row.wall:.0f} s)" if row.wall else ""
        echo(f"{place}: {kind_of_verdict(row)}: {format_verdict(row)}{took}", err=True)

    return tell
