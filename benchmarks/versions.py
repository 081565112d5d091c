"""The lowest and the newest versions of every requirement, on every Python: resolved, installed and
tested.

    python -m benchmarks.versions [--python 3.12] [--resolution lowest-direct] [--light] [--save]

For each Python and each resolution, `uv pip compile` must find a set of versions for pyproject.toml
with the extras plot, prove, sweep and report. It is installed into a fresh environment, where two
things are run: the part that needs no torch (language, tasks, constructions, command line), and
the test files in `TESTS`: the language, the machine and what looks inside it, model folders. They
are fast and need none of the heavy extras (onnx, hub, lens, cluster, docs).

Torch comes from PyPI. On Linux that is a build for graphics cards: allow 3 GB of downloads and 6 GB
of disk for each resolution, once for all Pythons. `--light` leaves torch and the tests out.
Pythons are those that uv finds, on PATH for instance. `--save` keeps each row in
benchmarks/versions.json as soon as it is measured, in the place of the one before for the same
Python and resolution, so that a run may be ended and gone on with.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tinyadder.io.files import atomic_write

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "versions.json"
PYTHONS, RESOLUTIONS = ("3.11", "3.12", "3.13"), ("lowest-direct", "highest")
EXTRAS = ("plot", "prove", "sweep", "report")
HEAVY = ("torch==", "nvidia-", "triton==", "cuda-")
NAMED = (
    "click",
    "filelock",
    "hypothesis",
    "jaxtyping",
    "jinja2",
    "joblib",
    "matplotlib",
    "msgspec",
    "numpy",
    "python-flint",
    "rich",
    "safetensors",
    "torch",
)
TEST_TOOLS = ("pytest>=8", "pytest-xdist>=3.5", "beartype>=0.18")
TESTS = (
    "tests/test_dsl.py",
    "tests/test_folder.py",
    "tests/test_gadgets.py",
    "tests/test_machine.py",
    "tests/test_patching.py",
    "tests/test_trace.py",
)
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


def run(*command: object, folder: Path = ROOT) -> str:
    """What a command prints. Raises click.ClickException with the end of its output if it fails."""
    done = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        end = (done.stdout + done.stderr)[-2000:]
        raise click.ClickException(f"{' '.join(map(str, command[:4]))}: {end}")
    return done.stdout


def keep(row: dict[str, Any]) -> None:
    """Write the row into benchmarks/versions.json, in the place of the one it repeats."""
    saved = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    same = (row["python"].rpartition(".")[0], row["resolution"])
    others = [
        old
        for old in saved["rows"]
        if (old["python"].rpartition(".")[0], old["resolution"]) != same
    ]
    rows = sorted([*others, row], key=lambda r: (r["python"], r["resolution"] == "highest"))
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    made = {"command": "python -m benchmarks.versions", "machine": machine, "rows": rows}
    with atomic_write(RESULTS) as path:
        path.write_text(json.dumps(made, indent=1) + "\n")


def try_versions(python: str, resolution: str, light: bool) -> dict[str, Any]:
    """Resolve, install, run: the versions and the closing line of the tests."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, place = Path(scratch), Path(scratch) / "venv"
        extras = [word for name in EXTRAS for word in ("--extra", name)]
        resolve = ("uv", "pip", "compile", "-q", "--no-header", "--no-annotate", "--resolution")
        wanted = run(*resolve, resolution, "--python-version", python, *extras, "pyproject.toml")
        lines = [x for x in wanted.splitlines() if not (light and x.startswith(HEAVY))]
        (folder / "versions.txt").write_text("\n".join(lines) + "\n")
        run("uv", "venv", "-q", "--python", python, place)
        inside = place / "bin" / "python"
        install = ("uv", "pip", "install", "-q", "--python", inside)
        run(*install, "--no-deps", "-r", folder / "versions.txt", "-e", ROOT)
        run(inside, "-c", SMOKE, folder=folder)
        versions = dict(line.split("==") for line in lines)
        row: dict[str, Any] = {
            "python": run(
                inside, "-c", "import platform; print(platform.python_version())"
            ).strip(),
            "resolution": resolution,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "commit": run("git", "rev-parse", "--short", "HEAD").strip(),
            "uv": run("uv", "--version").split()[1],
            "packages": len(lines),
            "versions": {name: versions[name] for name in NAMED if name in versions},
        }
        if not light:
            tools = [*TEST_TOOLS, "--constraint", folder / "versions.txt"]
            run(*install, *tools)
            began = time.monotonic()
            tests = run(inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS)
            row["tests"] = re.sub(r" in .*", "", tests.splitlines()[-1])
            row["seconds"] = round(time.monotonic() - began)
            row["files"] = list(TESTS)
    return row


@click.command()
@click.option("--python", "pythons", multiple=True, default=PYTHONS, show_default=True)
@click.option("--resolution", "resolutions", multiple=True, default=RESOLUTIONS, show_default=True)
@click.option("--light", is_flag=True, help="Without torch, and so without the tests.")
@click.option("--save", is_flag=True, help="Keep the results in benchmarks/versions.json.")
def main(pythons: tuple[str, ...], resolutions: tuple[str, ...], light: bool, save: bool) -> None:
    """Try the bounds of pyproject.toml; exit code 1 at the first that does not hold."""
    for python in pythons:
        for resolution in resolutions:
            row = try_versions(python, resolution, light)
            named = " ".join(f"{name} {version}" for name, version in row["versions"].items())
            click.echo(f"{row['python']:8} {resolution:14} {row.get('tests', 'runs')}: {named}")
            sys.stdout.flush()
            if save and not light:
                keep(row)


if __name__ == "__main__":
    main()
