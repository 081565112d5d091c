"""The README does what it says: its Python runs, its commands print what stands below them.

`python -m tools.renew pages` renews the outputs.
"""

from __future__ import annotations

import contextlib
import io

import pytest

from tools.pages import BLOCK, README, commands_of, console, files_of


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
    assert console(block, files_of(README.read_text())) == block, "python -m tools.renew pages"


def test_the_first_block_builds_and_the_second_tests():
    build, test = [block for kind, block in BLOCK.findall(README.read_text()) if kind == "sh"]
    assert "pip install -e '.[plot,prove,sweep,report]'" in build and build.rstrip().endswith(
        "python -m tinyadder.build add10"
    )
    assert "pip install -e '.[test]'" in test and "pytest" in test


def test_a_file_that_is_shown_is_used():
    text = README.read_text()
    commands = [line for kind, block in BLOCK.findall(text) for line in commands_of(block)]
    assert files_of(text)
    assert all(any(f"./{name}" in command for command in commands) for name in files_of(text))


def test_it_fits_on_150_lines():
    assert len(README.read_text().splitlines()) < 150
