"""The documentation site: Sphinx with MyST and the theme furo.

Sphinx, because it reads docstrings and is the tool that numpy, PyTorch and most of the field keep
alive; MyST, so that pages stay Markdown that reads well without a site. Build it with

    python -m sphinx -W --keep-going -b html docs out/site
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tinyadder import __version__  # noqa: E402
from tinyadder.inspect.explorer import exhibit_of, page  # noqa: E402
from tinyadder.named import load_model  # noqa: E402

project, author, release = "tinyadder", "The tinyadder authors", __version__
copyright = "2026, the tinyadder authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = f"tinyadder {release}"
exclude_patterns = ["pictures"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing",  # links out of docs/: tests/test_docs.py checks every one
    "toc.not_included",
    "misc.highlighting_failure",  # console blocks with the output of commands
]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True


def as_restructured_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code` and indented formulas: mark both for Sphinx."""
    text = re.sub(r"`([^`]+)`", lambda m: f"``{' '.join(m[1].split())}``", "\n".join(lines))
    found, block = [], False
    for line in text.split("\n"):
        indented = line.startswith("    ")
        if indented and not block:
            found += ["", "::", ""]
        block = indented or (block and not line.strip())
        parts = re.split(r"(``.*?``)", line)
        plain = [re.sub(r"([*|_])", r"\\\1", part) for part in parts[::2]]
        parts[::2] = plain if not indented and not line.startswith(">>>") else parts[::2]
        found.append("".join(parts))
    lines[:] = found


EXPLORED = ("add10", "add10_gist", "deriv", "baselines/addition10-tiny/seed-1/model")


def write_explorer(app, exception):
    """The explorer as a page of the site, with two adders, a derivative and a trained model."""
    if exception is None and app.builder.name == "html":
        names = [name if "/" not in name else str(ROOT / name) for name in EXPLORED]
        exhibits = [exhibit_of(load_model(name, {})) for name in names]
        Path(app.outdir, "explorer.html").write_text(page(exhibits), encoding="utf-8")


def setup(app):
    """Sphinx's entry point."""
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("build-finished", write_explorer)
