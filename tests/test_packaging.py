"""What is installed: a wheel and an sdist, in an environment of their own, in a hostile folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import tinyadder as ta

ROOT = Path(__file__).parents[1]
HOSTILE = ("verify", "constructions", "benchmarks", "torch_utils", "commands", "lang")
"""Files that every clone of a public collection of adders has, or could have."""
EXAMPLE = """
import contextlib, io, runpy, sys
import tinyadder as ta
print(ta.__file__)
m = ta.load("add10")
assert m.generate("123+456") == "579"
logits, cache = m.run_with_cache("123+456")
assert cache["pattern", 0] is cache["blocks.0.attn.hook_pattern"]
assert cache.lane("rest").shape == (1, 23, 1)
print(m.count()["nonzero"], m.trace("123+456")[8].chosen)
print(ta.load("./vowels.py").generate("abcde"))

def printed(module, *arguments):
    "What `python -m MODULE ARGUMENTS` prints; one process, since most of its time is imports."
    sys.argv = [module, *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return out.getvalue()

assert "proved" in printed("tinyadder.build", "add10", "-o", "digits=2")
assert "PROVED" in printed("tinyadder.verify.certify.check", "out/add10").upper()
assert printed("tinyadder", "run", "out/add10", "12", "34") == "46\\n"
assert "EXHAUSTIVE" in printed("tinyadder", "verify", "out/add10")
assert "PROVED" in printed("tinyadder", "prove", "out/add10")
assert "wrote" in printed("tinyadder", "export", "add10", "-o", "digits=2", "--to", "json")
"""


def called(*command, folder):
    """What a command prints, without our own import path; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of an sdist and of the wheel that was built from it."""
    source, out = tmp_path_factory.mktemp("source") / "tinyadder", tmp_path_factory.mktemp("dist")
    kept = ("tinyadder", "constructions", "verify", "pyproject.toml", "README.md", "LICENSE")
    source.mkdir()
    for name in kept:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    called(sys.executable, "-m", "build", "--no-isolation", "-o", out, ".", folder=source)
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The Python of a fresh environment with the wheel; what it depends on is taken from ours."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    called(sys.executable, "-m", "venv", "--without-pip", place, folder=built)
    python = place / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    install = ("pip", "--python", python, "install", "--no-deps", "--no-index", "-q", wheel)
    called(sys.executable, "-m", *install, folder=built)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    # A path in a .pth file: packages are found there, editable installs (.pth files there) are not.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def hostile(tmp_path):
    for name in HOSTILE:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the {name}.py of this folder')\n")
    return tmp_path


def test_a_wheel_owns_one_import_name_and_holds_every_file(built):
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "tinyadder",
        f"tinyadder-{ta.__version__}.dist-info",
    }
    here = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in (
            ("tinyadder", "tinyadder"),
            ("constructions", "tinyadder/constructions"),
            ("verify", "tinyadder/verify"),
        )
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert here <= set(names), here - set(names)


def test_an_sdist_holds_copies_and_no_links(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    assert any(member.name.endswith("tinyadder/constructions/add10.py") for member in members)


def test_an_installed_toolkit_works_in_a_folder_of_files_with_its_names(installed, hostile):
    command = installed.parent / "tinyadder"
    shutil.copy(ROOT / "tests" / "circuits" / "vowels.py", hostile)
    assert called(command, "--version", folder=hostile) == f"tinyadder, version {ta.__version__}\n"
    where, *said = called(installed, "-c", EXAMPLE, folder=hostile).splitlines()
    assert Path(where).is_relative_to(installed.parents[1])
    assert said == ["40 5", "2"]


def test_a_hostile_file_would_be_noticed(installed, hostile):
    done = subprocess.run(
        [str(installed), "-c", "import verify"], cwd=hostile, capture_output=True, text=True
    )
    assert done.returncode == 1 and "the verify.py of this folder" in done.stderr


def test_the_version_stands_in_one_place():
    assert '\nversion = "' not in (ROOT / "pyproject.toml").read_text()
    assert f"## {ta.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {ta.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_pre_commit_has_the_ruff_of_the_constraints():
    (version,) = [
        line.partition("==")[2]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.startswith("ruff==")
    ]
    assert f"rev: v{version}\n" in (ROOT / ".pre-commit-config.yaml").read_text()
