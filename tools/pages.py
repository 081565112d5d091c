"""Pages whose code blocks are run: Python prints what stands below it, and so do commands."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README, DOCS = ROOT / "README.md", sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.S)


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """A folder to run a page in, with baselines, benchmarks and results; what it writes goes."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in ("baselines", "benchmarks", "results"):
            Path(name).symlink_to(ROOT / name)
        yield


def commands_of(block: str) -> list[str]:
    """The command lines of a console block."""
    return [line[2:] for line in block.splitlines() if line.startswith("$ ")]


def printed(command: str, folder: Path) -> str:
    """What a command of a page prints on standard output, run in `folder`.

    Raises RuntimeError where it fails otherwise than by a verdict.
    """
    program, *arguments = shlex.split(command)
    if program not in ("python", "tinyadder"):
        raise RuntimeError(f"a page runs {program}; expected python or tinyadder")
    if program == "tinyadder":
        arguments = ["-m", "tinyadder", *arguments]
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    if run.returncode not in (0, 1, 4) or "Traceback" in run.stderr:
        raise RuntimeError(f"{command}: {run.stderr}")
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
    """A page with every output as it is now; its Python runs in the current folder."""
    names: dict[str, object] = {}
    output, shown = "", files_of(text)

    def renew(match: re.Match[str]) -> str:
        nonlocal output
        kind, block = match.groups()
        if block in shown.values():
            output = ""
        elif kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(block, names)
            output = stream.getvalue()
        elif kind == "text":
            block = output
        elif kind == "console":
            block = console(block, files_of(text))
        return f"```{kind}\n{block}```"

    return BLOCK.sub(renew, text)


def settled(text: str) -> str:
    """`text` without what may differ by a few from run to run: how many problems a search asked,
    since hypothesis takes constants from whatever modules are loaded.
    """
    return re.sub(r"(SAMPLED +)[\d,]+( problems)", r"\1..\2", text)
