"""The lowest and the newest versions of what is required, on every Python: resolved, installed by
uv, and tried.

    python -m benchmarks.versions [--python 3.12] [--resolution lowest-direct] [--torch]

For each Python and each resolution `uv pip compile` must find a set of versions for pyproject.toml.
It is installed into a fresh environment without torch, which PyPI has for Linux only as a build of
gigabytes for graphics cards; then what needs no torch is run: the language, the tasks, the
constructions, single decoding and the command line. `--torch` adds torch 2.13.0 by pip, where a
small wheel of it can be had, and runs fast tests of the machine. Pythons are those uv finds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
PYTHONS, RESOLUTIONS = ("3.11", "3.12", "3.13"), ("lowest-direct", "highest")
EXTRAS = ("plot", "prove", "sweep", "report")
HEAVY = ("torch==", "nvidia-", "triton==", "cuda-", "-e ")
TORCH_TESTS = ("tests/test_machine.py", "tests/test_folder.py", "tests/test_front_door.py")
SMOKE = """
import sys, tinyadder
from tinyadder.cli import main
from tinyadder.construction import construct, construction_names
made = [construct(name) for name in construction_names()]
assert all(len(str(m.program)) and m.task.answer(m.task.hard()[0]) for m in made)
for arguments in (["list"], ["show", "add10"], ["run", "add10", "123", "456"]):
    try:
        main(arguments)
    except SystemExit as left:
        assert left.code == 0, (arguments, left.code)
assert "torch" not in sys.modules
import flint, joblib, matplotlib, hypothesis, safetensors, jinja2, rich
"""


def called(*command: object, folder: Path = ROOT) -> str:
    """What a command prints. Raises click.ClickException with the end of its errors."""
    done = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{' '.join(map(str, command[:4]))}: {done.stderr[-2000:]}")
    return done.stdout


def tried(python: str, resolution: str, torch: bool) -> str:
    """Resolve, install, run; one line of what was found."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "venv"
        compile_ = ("uv", "pip", "compile", "-q", "--no-header", "--no-annotate")
        extras = [word for name in EXTRAS for word in ("--extra", name)]
        project = (
            "--python-version",
            python,
            "--resolution",
            resolution,
            *extras,
            "pyproject.toml",
        )
        every = called(*compile_, *project).splitlines()
        light = [line for line in every if not line.startswith(HEAVY)]
        (Path(scratch) / "light.txt").write_text("\n".join(light) + "\n")
        called("uv", "venv", "-q", "--seed", "--python", python, place)
        inside = place / "bin" / "python"
        install = ("uv", "pip", "install", "-q", "--no-deps", "--python", inside)
        called(*install, "-r", Path(scratch) / "light.txt")
        called(*install, "-e", ROOT)
        called(inside, "-c", SMOKE, folder=Path(scratch))
        tests = ""
        if torch:
            pip = (inside, "-m", "pip", "install", "-q", "--no-deps", "torch==2.13.0")
            called(*pip)
            more = ("pytest", "beartype", "sympy", "networkx", "typing_extensions", "mpmath")
            called(*install, *more, "fsspec", "iniconfig", "pluggy", "setuptools")
            run = (inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TORCH_TESTS)
            tests = called(*run).splitlines()[-1]
    versions = ", ".join(
        line for line in light if line.startswith(("click=", "numpy=", "python-flint=", "rich="))
    )
    return f"{len(light)} packages ({versions}) run{'; ' + tests if tests else ''}"


@click.command()
@click.option("--python", "pythons", multiple=True, default=PYTHONS, show_default=True)
@click.option("--resolution", "resolutions", multiple=True, default=RESOLUTIONS, show_default=True)
@click.option("--torch", is_flag=True, help="Also install torch and run the machine's fast tests.")
def main(pythons: tuple[str, ...], resolutions: tuple[str, ...], torch: bool) -> None:
    """Try the bounds of pyproject.toml; exit code 1 at the first that does not hold."""
    for python in pythons:
        for resolution in resolutions:
            click.echo(f"{python:5} {resolution:14} {tried(python, resolution, torch)}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
