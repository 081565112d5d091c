"""The notebooks from top to bottom: in a kernel to renew them, in this process to test them."""

from __future__ import annotations

import ast
import contextlib
import io
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with the outputs it has now, run in `folder` by the Python that runs this."""
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "image/png" in output.get("data", {}):
            output["data"].pop("text/html", None)  # the same picture once more
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }
    return notebook


def printed_here(notebook: NotebookNode, folder: Path) -> tuple[list[str], int]:
    """What each code cell prints when run in this process, and how many pictures are shown.

    A picture is what a cell ends with, if it is one. Cells are plain Python: no magics.
    """
    names: dict[str, Any] = {"__name__": "notebook"}
    texts, pictures = list[str](), 0
    with contextlib.chdir(folder):
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            tree = ast.parse(cell.source)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(tree, "cell", "exec"), names)
                if isinstance(last, ast.Expr):
                    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
                    pictures += hasattr(value, "_repr_png_")
            texts.append(stream.getvalue())
    return texts, pictures
