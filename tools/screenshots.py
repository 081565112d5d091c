"""Screenshots of the explorer page, as a wide and a narrow window show it: docs/pictures.

    python -m tools.screenshots

Needs Chromium (apt-get install chromium). The narrow one is a frame, since a window of Chromium is
at least 500 pixels wide.
"""

from __future__ import annotations

import html
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import click
from PIL import Image

from tinyadder.inspect.explorer import exhibit_of, page
from tinyadder.io.files import atomic_write
from tinyadder.named import load_model
from tinyadder.report.certificates import certificate_file, read_certificate
from tools.pages import ROOT

PICTURES = ROOT / "docs" / "pictures"
SHOTS = {
    "explorer": (1600, 1080, "add10", "7485 + 918"),
    "explorer-phone": (400, 1500, "add10_gist", "4999999999 + 0"),
}
"""Name: width and height in pixels, model, problem."""


def chromium() -> str | None:
    """The browser, or None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def screenshot(text: str, width: int, height: int) -> bytes:
    """A PNG of an HTML page. Raises RuntimeError where the browser gives none."""
    browser = chromium()
    if browser is None:
        raise RuntimeError("needs Chromium: apt-get install chromium")
    frame = f"width:{width}px;height:{height}px;border:0"
    body = f'<body style="margin:0"><iframe style="{frame}" srcdoc="{html.escape(text)}"></iframe>'
    with tempfile.TemporaryDirectory() as scratch:
        file, shot = Path(scratch) / "page.html", Path(scratch) / "shot.png"
        file.write_text(f"<!doctype html>{body}", encoding="utf-8")
        flags = "headless no-sandbox disable-gpu disable-background-networking no-first-run"
        command = [browser, *(f"--{flag}" for flag in [*flags.split(), "hide-scrollbars"])]
        command += [f"--user-data-dir={scratch}/user", f"--window-size={max(500, width)},{height}"]
        command += ["--virtual-time-budget=9000", f"--screenshot={shot}", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if not shot.exists():
            raise RuntimeError(f"Chromium made no picture: {done.stderr[-500:]}")
        image = Image.open(shot).crop((0, 0, width, height))
        written = io.BytesIO()
        image.convert("P", palette=Image.Palette.ADAPTIVE, colors=192).save(
            written, format="png", optimize=True
        )
    return written.getvalue()


@click.command()
def main() -> None:
    """Make the screenshots that docs/ shows."""
    for name, (width, height, model, problem) in SHOTS.items():
        loaded = load_model(model, {})
        kept = certificate_file(ROOT / "results", model, {})
        certificate = read_certificate(kept) if kept.is_file() else None
        text = page([exhibit_of(loaded, [loaded.task.parse(problem)], certificate)])
        with atomic_write(PICTURES / f"{name}.png") as part:
            part.write_bytes(screenshot(text, width, height))
        click.echo(f"wrote docs/pictures/{name}.png")


if __name__ == "__main__":
    main()
