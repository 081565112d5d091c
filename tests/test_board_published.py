"""What is published of other people's entries is what was measured, with where it came from."""

from pathlib import Path

from tinyadder.report.board import board_sections, field_cells, published
from tinyadder.report.leaderboard import public_field
from tinyadder.verify.external.board import read_manifest

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
