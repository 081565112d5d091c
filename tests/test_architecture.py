"""Who may import whom, what stays light, what no file of the project may contain; each check with a
planted fault.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import TypeCheckError

ROOT = Path(__file__).parents[1]

GROUPS = {
    "errors": r"tinyadder\.(errors|plain)",
    "fields": r"tinyadder\.fields",
    "language": r"tinyadder\.(dsl|lang|lang\.(forms|sublayers|program|printing|serialization))",
    "gadgets": r"tinyadder\.lang\.gadgets",
    "encodings": r"tinyadder\.encodings",
    "construction": r"tinyadder\.construction",
    "tasks": r"tinyadder\.tasks(\..*)?",
    "machine": r"tinyadder\.machine(\.(config|transformer|layers|inference|encoder|tensors))?",
    "compile": r"tinyadder\.machine\.compile",
    "single": r"tinyadder\.machine\.(reference|single)",
    "decode": r"tinyadder\.machine\.decode",
    "answers": r"tinyadder\.machine\.answers",
    "train": r"tinyadder\.train(\..*)?",
    "report": r"tinyadder\.report(\..*)?",
    "commands": r"tinyadder\.(commands(\..*)?|cli|build|__main__)",
    "checker": r"tinyadder\.verify\.certify\.check(\..*)?",
    "program checker": r"tinyadder\.verify\.certify\.programs\.(check|meaning)",
    "verify": r"tinyadder\.verify(\..*)?",
    "constructions": r"tinyadder\.constructions(\..*)?",
    "front": r"tinyadder(\.model)?",
    "programs": r"tinyadder\.programs(\..*)?",
    "library": r"tinyadder(\..*)?",
}
"""The first pattern that fits a module names its group; `library` is the rest of tinyadder."""

CORE = {
    "errors",
    "fields",
    "language",
    "construction",
    "tasks",
    "machine",
    "compile",
    "single",
    "decode",
    "answers",
}

ALLOWED = {
    "errors": set(),
    "fields": {"errors", "msgspec"},
    "language": {"errors", "numpy"},
    "gadgets": {"errors", "language", "numpy"},
    "construction": {"errors", "fields", "language", "tasks"},
    "programs": {"errors", "language", "construction", "tasks", "numpy"},
    "encodings": {"errors"},
    "tasks": {"errors", "fields", "encodings", "numpy", "jaxtyping", "hypothesis"},
    "machine": {"errors", "fields", "numpy", "torch", "jaxtyping"},
    "compile": {"errors", "language", "machine", "numpy", "torch"},
    "single": {"errors", "language", "numpy", "jaxtyping"},
    "decode": {"errors", "machine", "torch", "jaxtyping"},
    "answers": {"errors", "tasks", "machine", "decode", "torch"},
    "library": {*CORE, "gadgets", "encodings", "ANY PACKAGE"},
    "train": {*CORE, "library", "ANY PACKAGE"},
    "constructions": {
        "errors",
        "fields",
        "language",
        "gadgets",
        "construction",
        "programs",
        "tasks",
        "numpy",
    },
    "verify": {*CORE, "library", "checker", "program checker", "ANY PACKAGE"},
    "report": {*CORE, "library", "verify", "checker", "train", "ANY PACKAGE"},
    "checker": set(),
    "program checker": {"checker"},
    "front": {*CORE, "gadgets", "library", "verify", "ANY PACKAGE"},
    "commands": {*GROUPS, "ANY PACKAGE"} - {"constructions"},
}
"""What each group may import besides itself and the standard library, at any level of a file."""


def group(module: str) -> str:
    """The group of a project module, the top-level package of any other."""
    return next(
        (name for name, pattern in GROUPS.items() if re.fullmatch(pattern, module)),
        module.partition(".")[0],
    )


def sources() -> dict[str, str]:
    """Module name -> source, for every file of the three packages."""
    found = {}
    for folder, package in (
        ("tinyadder", ()),
        ("constructions", ("tinyadder",)),
        ("verify", ("tinyadder",)),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            parts = (*package, *path.relative_to(ROOT).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imports(source: str, modules: set[str]) -> Iterator[str]:
    """Every module that a file imports, at any level; `from package import module` names the
    module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in inner)


def forbidden_imports(files: dict[str, str]) -> list[str]:
    """Imports that the table does not allow, as `importer -> imported`."""
    found = []
    for name, source in files.items():
        mine = group(name)
        for imported in imports(source, set(files)):
            theirs = group(imported)
            ours = theirs in GROUPS
            fits = (
                theirs == mine
                or theirs in ALLOWED[mine]
                or (not ours and "ANY PACKAGE" in ALLOWED[mine])
            )
            if not fits and (ours or theirs not in sys.stdlib_module_names):
                found.append(f"{name} -> {imported}")
    return found


def test_every_import_is_allowed_by_the_table():
    assert forbidden_imports(sources()) == []


PLANTED = [
    ("tinyadder.machine.compile", "import tinyadder.constructions.add10"),
    ("tinyadder.io.folder", "def f():\n    from tinyadder.verify.count import nonzero"),
    ("tinyadder.dsl", "import torch"),
    ("tinyadder.inspect.trace", "from tinyadder.model import Model"),
    ("tinyadder.verify.properties", "from tinyadder import load"),
    ("tinyadder.machine.transformer", "from tinyadder.dsl import Program"),
    ("tinyadder.machine.decode", "from tinyadder import tasks"),
    ("tinyadder.inspect.trace", "from tinyadder.commands._common import find"),
    ("tinyadder.constructions.add10", "from tinyadder.machine.transformer import softmax1"),
    ("tinyadder.constructions.add10", "import scipy"),
    ("tinyadder.verify.count", "import constructions"),
    ("tinyadder.verify.count", "from tinyadder.cli import main"),
    ("tinyadder.verify.certify.check", "import numpy"),
    ("tinyadder.verify.certify.check", "from tinyadder.verify.certify.forms import Form"),
    ("tinyadder.verify.certify.check.forward", "from tinyadder.verify.certify.machine import View"),
    ("tinyadder.commands.show", "from tinyadder.constructions.add10 import construct"),
]


@pytest.mark.parametrize(("module", "line"), PLANTED)
def test_a_planted_import_is_noticed(module, line):
    files = {**sources(), module: line}
    assert any(found.startswith(f"{module} -> ") for found in forbidden_imports(files))


HEAVY = ("torch", "matplotlib", "hypothesis", "flint", "scipy", "joblib")


def loaded_by(code: str) -> list[str]:
    """Heavy packages in memory after `code` ran in a fresh interpreter."""
    code += f"\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return ast.literal_eval(run.stdout.splitlines()[-1])


def test_tinyadder_its_verbs_and_its_constructions_import_nothing_heavy():
    names = [
        name
        for name in sources()
        if group(name)
        in ("commands", "constructions", "language", "tasks", "construction", "errors")
        and name not in ("tinyadder.__main__",)
    ]
    assert {
        "tinyadder.commands.run",
        "tinyadder.constructions.add10",
        "tinyadder.tasks.addition",
    } <= set(names)
    assert loaded_by("import tinyadder\n" + "\n".join(f"import {name}" for name in names)) == []


def test_a_heavy_import_would_be_noticed():
    assert loaded_by("import tinyadder.machine.transformer") == ["torch"]


# ---- what no file contains -----------------------------------------------------------------------

TEXTS = {".py", ".md", ".toml", ".json", ".ipynb", ".html", ".csv", ".txt", ".yml", ".yaml", ""}
SKIPPED = {".git", ".venv", "out", "build", "__pycache__", "node_modules"}


def texts() -> dict[str, str]:
    """Path -> content of every text file of the project."""
    found = {}
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(
            part in SKIPPED or part.endswith((".egg-info", "_cache")) or part == ".hypothesis"
            for part in parts
        )
        if path.is_file() and path.suffix in TEXTS and not hidden:
            found["/".join(parts)] = path.read_text(encoding="utf-8")
    return found


# Patterns in two halves, so that this file does not contain what it looks for.
UNSAFE = re.compile(
    r"\bimport pick"
    + r"le\b|\bpick"
    + r"le\.|torch\.(load|sa"
    + r"ve)\(|allow_pick"
    + r"le=True|\bdi"
    + r"ll\b"
)
PLACES = re.compile(r"(?<![\w.~<])/(work|opt|root|home)" + r"/\w|\.\./sha" + r"red")


@pytest.mark.parametrize(
    "pattern", [UNSAFE, PLACES], ids=["files that run code when loaded", "places of one machine"]
)
def test_no_file_contains(pattern):
    found = {
        path: match.group() for path, text in texts().items() if (match := pattern.search(text))
    }
    assert found == {}


def test_what_is_looked_for_would_be_found():
    for planted in ("import pick" + "le", "x = torch.lo" + "ad(path)", "torch.sa" + "ve(x, y)"):
        assert UNSAFE.search(planted)
    for planted in (
        "see /wo" + "rk/main",
        'open("../sha' + 'red/x")',
        "/ho" + "me/me/x",
        "'/op" + "t/ve/bin'",
    ):
        assert PLACES.search(planted)
    assert {"README.md", ".ci/run", "pyproject.toml", "constructions/add10.py"} <= texts().keys()


# ---- shapes --------------------------------------------------------------------------------------


def test_a_tensor_of_the_wrong_shape_is_noticed_by_the_signature():
    import torch

    from tinyadder.machine.config import BlockConfig, Config
    from tinyadder.machine.transformer import Transformer

    model = Transformer(
        Config(vocabulary=("0", "1"), width=2, blocks=(BlockConfig(heads=1),), outputs=(0,))
    )
    with pytest.raises(TypeCheckError):
        model(torch.zeros(3, dtype=torch.long))
    with pytest.raises(TypeCheckError):
        model(torch.zeros(1, 3))
