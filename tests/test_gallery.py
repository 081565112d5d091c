"""The gallery: a page for every kind of picture, with pictures that say what the commands below
them draw today.

Pixels differ between versions of fonts, so the words of a picture are compared: its description,
where every title, label and printed value stands. Numbers may differ as sums do between machines.
"""

from __future__ import annotations

import re

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tinyadder.cli import cli
from tinyadder.inspect.plot import KINDS
from tools.gallery import BOARD, commands, draw
from tools.pages import BLOCK, DOCS, ROOT

GALLERY = ROOT / "docs" / "gallery"
PICTURES = ROOT / "docs" / "pictures"
NUMBER = re.compile(r"-?[\d,]*\.?\d+(?:e-?\d+)?")


def description(path) -> str:
    image = Image.open(path)
    assert isinstance(image.text["Description"], str)
    return image.text["Description"]


def like(one: str, other: str) -> bool:
    """Whether two texts have the same words, and numbers within 1 %."""
    numbers = [[float(n.replace(",", "") or 0) for n in NUMBER.findall(t)] for t in (one, other)]
    same = NUMBER.sub("#", one) == NUMBER.sub("#", other)
    return same and numbers[0] == pytest.approx(numbers[1], rel=0.01)


def drawn(line: str, tmp_path, monkeypatch) -> str:
    """The words of the picture that a line makes; nothing is painted."""
    said = []

    def only_words(figure, path, *, metadata, **_):
        said.append(metadata["Description"])
        path.write_text("")

    monkeypatch.setattr(Figure, "savefig", only_words)
    monkeypatch.chdir(ROOT)
    words = line.split()
    words[words.index("--out") + 1] = str(tmp_path / "picture.png")
    cli.main(words[1:], standalone_mode=False)
    return said[0]


SLOW = ("accuracy.png", "proof.png", "proof-95.png")
"""Many problems are decoded, a proof is searched."""
LINES = [
    pytest.param(line, id=name, marks=pytest.mark.slow if name in SLOW else ())
    for line in commands()
    if BOARD not in line and (name := line.rpartition("/")[2])
]


@pytest.mark.parametrize("line", LINES)
def test_a_picture_says_what_its_command_draws(line, tmp_path, monkeypatch):
    kept = description(PICTURES / line.rpartition("/")[2])
    assert like(kept, drawn(line, tmp_path, monkeypatch)), "python -m tools.renew pictures"


def test_a_picture_that_is_no_longer_true_would_be_noticed():
    told = description(PICTURES / "logits.png")
    assert like(told, told) and like("wins by 0.73001", "wins by 0.73")
    assert not like(told, told.replace("0.73", "0.75"))
    assert not like(told, told.replace("wins over", "loses to"))


@pytest.mark.slow
def test_the_leaderboard_is_that_of_today(tmp_path, monkeypatch):
    (line,) = [line for line in commands() if BOARD in line]
    before = description(PICTURES / "leaderboard.png")
    kept = (PICTURES / "leaderboard.png").read_bytes()
    try:
        draw(line)
        assert like(before, description(PICTURES / "leaderboard.png"))
    finally:
        (PICTURES / "leaderboard.png").write_bytes(kept)


def test_every_kind_has_one_page_with_its_picture_and_command():
    assert {page.stem for page in GALLERY.glob("*.md")} == {*KINDS, "index"}
    for kind in KINDS:
        text = (GALLERY / f"{kind}.md").read_text()
        shown = re.findall(r"\]\(\.\./pictures/([\w-]+\.png)\)", text)
        made = [
            line for k, block in BLOCK.findall(text) if k == "sh" for line in block.splitlines()
        ]
        assert made and [line.rpartition("/")[2] for line in made] == shown
        assert all(line.split()[3] == kind for line in made), kind


def test_the_pictures_are_small():
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 1_500_000
    assert max(path.stat().st_size for path in PICTURES.iterdir()) < 150_000


def test_every_page_of_the_gallery_is_one_of_the_docs():
    assert {*GALLERY.glob("*.md")} <= {*DOCS}
