"""The README does what it says: its Python runs, its commands print what stands below them.

Run this file to renew the outputs in the README: python tests/test_readme.py
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.S)


def commands_of(block: str) -> list[str]:
    """The command lines of a console block."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def printed(command: str, folder: Path) -> str:
    """What a command of the README prints on standard output, run in `folder`."""
    program, *arguments = shlex.split(command)
    if program == "tinyadder":
        arguments = ["-m", "tinyadder", *arguments]
    assert program in ("python", "tinyadder"), command
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert run.returncode in (0, 1) and "Traceback" not in run.stderr, run.stderr
    return run.stdout


def files_of(text: str) -> dict[str, str]:
    """The files that a page shows: Python blocks that begin with a comment `# NAME.py`."""
    blocks = [block for kind, block in BLOCK.findall(text) if kind == "python"]
    return {m[1]: block for block in blocks if (m := re.match(r"# (\w+\.py)\n", block))}


def console(block: str, files: dict[str, str]) -> str:
    """A console block with the outputs its commands have now, in a folder that holds `files`."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_text(content)
        return "\n".join(
            f"$ {command}\n{printed(command, Path(folder))}" for command in commands_of(block)
        )


def renewed(text: str) -> str:
    """The README with every output as it is now."""
    names: dict[str, object] = {}
    output = ""

    def renew(found: re.Match[str]) -> str:
        nonlocal output
        kind, block = found.groups()
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as said:
                exec(block, names)
            output = said.getvalue()
        elif kind == "text":
            block = output
        elif kind == "console":
            block = console(block, files_of(text))
        return f"```{kind}\n{block}```"

    return BLOCK.sub(renew, text)


def test_python_blocks_print_what_stands_below_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = [block for block in BLOCK.findall(README.read_text()) if block[0] in ("python", "text")]
    blocks = [block for block in shown if block[1] not in files_of(README.read_text()).values()]
    assert [kind for kind, _ in blocks] == ["python", "text"] * (len(blocks) // 2)
    for (_, code), (_, expected) in zip(blocks[::2], blocks[1::2], strict=True):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(code, names)
        assert said.getvalue() == expected


@pytest.mark.parametrize(
    "block", [block for kind, block in BLOCK.findall(README.read_text()) if kind == "console"]
)
def test_commands_print_what_stands_below_them(block):
    assert console(block, files_of(README.read_text())) == block, (
        "python tests/test_readme.py renews the README"
    )


def test_the_first_block_builds_and_the_second_tests():
    build, test = [block for kind, block in BLOCK.findall(README.read_text()) if kind == "sh"]
    assert "pip install -e ." in build and build.rstrip().endswith(
        "python -m tinyadder.build add10"
    )
    assert "pip install -e '.[test]'" in test and "pytest" in test


def test_it_fits_on_150_lines():
    assert len(README.read_text().splitlines()) < 150


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        README.write_text(renewed(README.read_text()))
