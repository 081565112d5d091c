"""The notebooks run from top to bottom, and the text they show is what they print today.

`python -m tools.renew notebooks` renews the outputs.
"""

from __future__ import annotations

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.notebooks import NOTEBOOKS, executed, printed_here
from tools.pages import settled


def printed(notebook: NotebookNode) -> list[str]:
    """What each code cell prints; pictures are left out, their bytes depend on the fonts of the
    machine.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(o.text for o in cell.outputs if o.output_type == "stream") for cell in cells]


def pictures(notebook: NotebookNode) -> int:
    """How many pictures the cells show."""
    return sum(
        "image/png" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )


def test_they_are_numbered():
    numbers = [path.stem.partition("_")[0] for path in NOTEBOOKS]
    assert numbers == [str(k) for k in range(1, len(NOTEBOOKS) + 1)] and len(numbers) >= 6


SLOW = ("8_judge_a_stranger",)
"""Those that start a sandbox for every command."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_and_prints_what_it_shows(path):
    shown = nbformat.read(path, as_version=4)
    texts, count = printed_here(shown, path.parent)
    assert [*map(settled, texts)] == [*map(settled, printed(shown))], (
        "python -m tools.renew notebooks"
    )
    assert count == pictures(shown) and (count > 0 or path.stem in SLOW)
    assert path.stat().st_size < 500_000


def test_a_notebook_with_an_error_would_be_noticed(tmp_path):
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("from tinyadder.inspect.plot import no_such_picture")]
    )
    with pytest.raises(CellExecutionError):
        executed(broken, tmp_path)
    with pytest.raises(ImportError):
        printed_here(broken, tmp_path)


def test_an_output_that_is_no_longer_true_would_be_noticed(tmp_path):
    cell = nbformat.v4.new_code_cell("print(2 + 2)\n5")
    cell.outputs = [nbformat.v4.new_output("stream", text="5\n")]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert printed_here(notebook, tmp_path) == (["4\n"], 0) != (printed(notebook), 0)
