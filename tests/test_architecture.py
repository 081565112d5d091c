"""Who may import whom, what stays light, what no file of the project may contain; each check with a
planted fault.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest
from jaxtyping import TypeCheckError

from tools.architecture import (
    ROOT,
    TABLE,
    arrows,
    circles,
    defined_twice,
    drawn,
    floors,
    forbidden_imports,
    picture,
    room_of,
    sources,
)


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
    ("tinyadder.inspect.trace", "from tinyadder.commands._output import echo"),
    ("tinyadder.constructions.add10", "from tinyadder.machine.transformer import softmax1"),
    ("tinyadder.constructions.add10", "import scipy"),
    ("tinyadder.verify.count", "import tinyadder.constructions.add10"),
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


def test_a_room_imports_only_rooms_above_its_line_in_the_table():
    above: set[str] = set()
    for room in TABLE:
        assert set(room.imports) <= above, room.name
        above.add(room.name)


def test_every_module_has_a_room_and_every_room_a_module():
    rooms = {room_of(name) for name in sources()}
    assert rooms == set(TABLE)


def test_no_modules_import_one_another_in_a_circle():
    assert circles(sources()) == []


def test_a_planted_circle_is_noticed():
    planted = {
        "tinyadder.errors": "import tinyadder.plain",
        "tinyadder.plain": "from tinyadder.escape import html",
        "tinyadder.escape": "if TYPE_CHECKING:\n    import tinyadder.errors",
    }
    files = sources()
    assert circles({**files, **planted}) == []
    for line in ("def late():\n    import tinyadder.errors", "from tinyadder import errors"):
        planted["tinyadder.escape"] = line
        (circle,) = circles({**files, **planted})
        assert sorted(circle) == sorted(planted)


def test_the_picture_and_the_page_are_those_of_the_table():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert page == drawn(page), "python -m tools.renew architecture"
    drawing = ROOT / "docs" / "pictures" / "architecture.svg"
    assert drawing.read_text(encoding="utf-8") == picture(), "python -m tools.renew architecture"


def test_every_arrow_of_the_picture_points_down():
    height = {name: floor for floor, names in enumerate(floors()) for name in names}
    assert len(arrows()) > 20 and set(height) == {room.name for room in TABLE}
    assert all(height[upper] > height[lower] for upper, lower in arrows())


SAID_TWICE = {
    "Ball": "one thing: python-flint's arb, in the prover and in the exact evaluation",
    "Lanes": "one thing, the values of lanes: lists in a trace, arrays in the reference",
    "Step": "of an automaton, in the prover and in the checker, which share no code",
}
"""Names of types that stand twice, and why."""


def test_the_name_of_a_class_means_one_thing():
    assert set(defined_twice(sources())) == set(SAID_TWICE)


@pytest.mark.parametrize("line", ["class Head:\n    pass", "Head = list[int]"])
def test_a_planted_second_class_of_a_name_is_noticed(line):
    files = {**sources(), "tinyadder.plain": line}
    found = defined_twice(files).keys() - SAID_TWICE
    assert found == {"Head"}


LIGHT = ("basics", "language", "tasks", "construction", "constructions", "commands")
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
        if (room := room_of(name)) and room.name in LIGHT and name != "tinyadder.__main__"
    ]
    assert {
        "tinyadder.commands.run",
        "tinyadder.constructions.add10",
        "tinyadder.tasks.addition",
    } <= set(names)
    assert loaded_by("import tinyadder\n" + "\n".join(f"import {name}" for name in names)) == []


def test_a_heavy_import_would_be_noticed():
    assert loaded_by("import tinyadder.machine.transformer") == ["torch"]


def test_every_file_that_contributors_are_sent_to_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r"[`(]((?:constructions|docs|tests|tinyadder|verify)/[\w./]+)[`)]", text)
    )
    assert len(named) > 20
    missing = {path for path in named if "NAME" not in path and not (ROOT / path).exists()}
    assert missing == set()


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


UNFORMATTED = re.compile("# fmt: " + "(skip|off)")


@pytest.mark.parametrize(
    "pattern",
    [UNSAFE, PLACES, UNFORMATTED],
    ids=["files that run code when loaded", "places of one machine", "lines left unformatted"],
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
    assert UNFORMATTED.search("x = 1  # fmt: " + "skip")
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
