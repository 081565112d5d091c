"""The pictures in docs/pictures: made by the commands that the pages show for them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import tempfile
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tinyadder.cli import cli
from tinyadder.io.files import atomic_write
from tools.pages import BLOCK, DOCS, ROOT

COLOURS = 96
"""Of a picture: as many as a colour map needs, in a third of the bytes."""
BOARD = "board.json"
"""What `tinyadder report --json` prints, as the leaderboard is drawn from it."""


def commands() -> list[str]:
    """The lines that make a picture, in the order of the pages."""
    return [
        line
        for path in DOCS
        for kind, block in BLOCK.findall(path.read_text(encoding="utf-8"))
        for line in (block.splitlines() if kind == "sh" else ())
        if re.search(r"--out docs/pictures/\w", line)
    ]


def draw(line: str) -> None:
    """Make the picture of one line."""
    words = shlex.split(line)
    target = ROOT / words[words.index("--out") + 1]
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / target.name
        words[words.index("--out") + 1] = str(made)
        if BOARD in words:
            counts = Path(scratch) / BOARD
            counts.write_text(json.dumps(board()), encoding="utf-8")
            words[words.index(BOARD)] = str(counts)
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(io.StringIO()):
            cli.main(words[1:], standalone_mode=False)
        with atomic_write(target) as part:
            part.write_bytes(made.read_bytes())
            shrink(part)


def board() -> dict[str, object]:
    """The counts of every model, as `tinyadder report --json` has them; no verdicts."""
    from tinyadder.report.leaderboard import own_models, report_json, row

    return report_json([row(entry, []) for entry in own_models(ROOT / "baselines")])


def shrink(path: Path) -> None:
    """Write a picture again with few colours; its description stays."""
    image = Image.open(path)
    kept = PngInfo()
    kept.add_itxt("Description", image.info["Description"], zip=True)
    few = image.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    few.save(path, format="png", optimize=True, pnginfo=kept)
