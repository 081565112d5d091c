"""The notebooks run from top to bottom, and the text they show is what they print today.

`python -m tools.renew notebooks` renews the outputs.
"""

from __future__ import annotations

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.notebooks import NOTEBOOKS, executed


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


def test_there_are_the_six():
    assert [path.stem.partition("_")[0] for path in NOTEBOOKS] == list("123456")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_shows(path):
    shown = nbformat.read(path, as_version=4)
    now = executed(nbformat.read(path, as_version=4), path.parent)
    assert printed(now) == printed(shown), "python -m tools.renew notebooks"
    assert pictures(now) == pictures(shown) > 0
    assert path.stat().st_size < 500_000


def test_a_notebook_with_an_error_would_be_noticed(tmp_path):
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("from tinyadder.inspect.plot import no_such_picture")]
    )
    with pytest.raises(CellExecutionError):
        executed(broken, tmp_path)
