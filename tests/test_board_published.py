"""What is published of other people's entries is what was measured, with where it came from."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tinyadder.errors import TinyadderError
from tinyadder.report.board import (
    board_json,
    board_sections,
    field_cells,
    format_verdict,
    kind_of_verdict,
    published,
    save_proof,
)
from tinyadder.report.leaderboard import public_field
from tinyadder.verify.external.board import BoardRow, read_manifest

ROOT = Path(__file__).parent.parent
ROWS = published(ROOT / "results")


def test_the_page_shows_the_committed_rows():
    page = (ROOT / "docs" / "board.md").read_text(encoding="utf-8")
    assert board_sections(ROWS) in page, "python -m tools.renew leaderboard"
    board = (ROOT / "LEADERBOARD.md").read_text(encoding="utf-8")
    for cells in field_cells(public_field(), ROWS):
        assert f"| {cells[1]} | {cells[2]} |" in board


def test_every_row_is_of_a_listed_file_and_every_refutation_has_its_command():
    listed = {entry.name: entry for entry in read_manifest(ROOT / "results" / "board.toml")}
    assert len(ROWS) >= 40
    for row in ROWS:
        assert row.listed == listed[row.name]
        assert row.listed.commit and row.listed.sha256 and row.listed.repository
        if row.verdict == "refuted":
            a, b = row.pair
            assert row.got != str(a + b)
            assert row.replay.startswith("tinyadder verify") and f"{a} + {b}" in row.replay


def test_a_proof_is_noted_in_the_row_of_the_very_file(tmp_path):
    folder, theirs = tmp_path / "results", tmp_path / "theirs.py"
    folder.mkdir()
    theirs.write_text("one file")
    digest = hashlib.sha256(theirs.read_bytes()).hexdigest()
    row = next(row for row in ROWS if row.verdict == "sampled")
    wrong = next(row for row in ROWS if row.verdict == "refuted")

    def write(row: BoardRow) -> None:
        listed = replace(row.listed, sha256={row.listed.file: digest})
        data = board_json([replace(row, listed=listed)])
        (folder / "board.json").write_text(json.dumps(data))

    write(row)
    assert save_proof(folder, theirs, "all pairs") == row.name
    (noted,) = published(folder)
    assert kind_of_verdict(noted) == "proved" and format_verdict(noted) == "all pairs"
    write(wrong)
    with pytest.raises(TinyadderError, match="is refuted"):
        save_proof(folder, theirs, "all pairs")
    theirs.write_text("another file")
    with pytest.raises(TinyadderError, match="0 rows of"):
        save_proof(folder, theirs, "all pairs")
