"""How fast the explorer page answers, in headless Chromium: its size, the time until it shows the
first answer, and per model the median and the longest time to decode a problem of its list and draw
every number.

    python -m benchmarks.explorer [NAME ...]
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import click

MEASURE = """<pre id="times"></pre><script>
const shown = performance.now();
const found = MODELS.map((model) => {
  chooseModel(model.name);
  const times = model.examples.slice(0, 20).map(([text]) => {
    const began = performance.now();
    ask(text);
    document.body.offsetHeight; // the layout as well
    return performance.now() - began;
  }).sort((a, b) => a - b);
  return [model.name, times.length, times[times.length >> 1], times[times.length - 1]];
});
document.getElementById("times").textContent = JSON.stringify([shown, found]);
</script>"""


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Measure the page of NAMEs (default: that of `tinyadder explore` here)."""
    from tinyadder.cli import cli

    browser = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        raise click.UsageError("needs Chromium: apt-get install chromium")
    with TemporaryDirectory() as folder:
        page = Path(folder) / "explorer.html"
        cli.main(["explore", *names, "--out", str(page)], standalone_mode=False)
        page.write_text(page.read_text().replace("</body>", MEASURE + "</body>"))
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={folder}/user",
            "--dump-dom",
        ]
        done = subprocess.run(
            [browser, *flags, page.as_uri()],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    times = re.search(r'<pre id="times">(.*?)</pre>', done.stdout, re.S)
    if times is None:
        raise click.ClickException("the browser did not run the page")
    first, models = json.loads(html.unescape(times[1]))
    click.echo(f"first answer shown after {first:,.0f} ms")
    for name, asked, median, longest in models:
        click.echo(
            f"{name:24} {asked} problems, milliseconds an answer: median {median:,.0f}, longest"
            f" {longest:,.0f}"
        )


if __name__ == "__main__":
    main()
