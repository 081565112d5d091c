"""What is a submission: files, folders, packages, import paths, objects; models of every kind."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from click.testing import CliRunner

from tinyadder.commands.count import command
from tinyadder.construction import is_submission
from tinyadder.errors import TinyadderError
from tinyadder.named import find
from tinyadder.verify.external.submission import Submission, locate

PLAIN = "def build_model(): return object()\ndef add(model, a, b): return a + b\n"
PAIRS = [(1, 2), (9999999999, 9999999999)]
SUMS = [3, 19999999998]


def put(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


SHAPES = {
    "a file": ({"mine.py": PLAIN}, "mine.py"),
    "a file whose name is no module": ({"my entry-2.py": PLAIN}, "my entry-2.py"),
    "a folder with one such file": ({"mine/any.py": PLAIN, "mine/train.py": "1 / 0"}, "mine"),
    "a folder with submission.py among others": (
        {"mine/submission.py": PLAIN, "mine/older.py": PLAIN},
        "mine/",
    ),
    "a package": (
        {
            "mine/__init__.py": "from .work import build_model, add\n",
            "mine/work.py": "from . import parts\n" + PLAIN,
            "mine/parts.py": "",
        },
        "mine",
    ),
    "a package in a folder whose name is no module": (
        {
            "my-entry/__init__.py": "from .work import *\nfrom .work import add\n",
            "my-entry/work.py": PLAIN,
        },
        "my-entry",
    ),
    "a file within a package": (
        {
            "pack/__init__.py": "",
            "pack/deep/__init__.py": "",
            "pack/deep/parts.py": "two = 2",
            "pack/deep/mine.py": "from .parts import two\nfrom pack.deep import parts\n" + PLAIN,
        },
        "pack/deep/mine.py",
    ),
    "an import path": ({"pack/mine.py": PLAIN}, "pack.mine"),
    "an import path of a package": (
        {"pack/__init__.py": "", "pack/mine/__init__.py": PLAIN},
        "pack.mine",
    ),
    "a module beside": (
        {"mine.py": "from parts import *\nfrom parts import add\n", "parts.py": PLAIN},
        "mine.py",
    ),
    "modules of the project around": (
        {
            "README.md": "",
            "model/adder.py": "two = 2",
            "experiments/sweep.py": "three = 3",
            "entries/mine.py": "import os, sys\n"
            "sys.path.insert(0, os.path.join(os.path.dirname(__file__), '..', 'experiments'))\n"
            "import sweep\nfrom model.adder import two\n" + PLAIN,
        },
        "entries/mine.py",
    ),
    "a file with an end for the command line": (
        {"mine.py": PLAIN + "if __name__ == '__main__':\n    raise SystemExit('not asked for')\n"},
        "mine.py",
    ),
    "an object of a file": (
        {
            "mine.py": "class Entry:\n"
            "    def build_model(self): return [], {'params': 7}\n"
            "    def add(self, model, a, b): return a + b\nentry = Entry()\n"
        },
        "mine.py:entry",
    ),
    "a class of a module": (
        {
            "pack/mine.py": "class Entry:\n"
            "    def build_model(self): return self\n"
            "    def add(self, model, a, b): return a + b\n"
        },
        "pack.mine:Entry",
    ),
    "a choice of definitions": (
        {
            "mine.py": "try:\n    import nothing_of_the_kind\nexcept ImportError:\n    "
            + PLAIN.replace("\n", "\n    ")
        },
        "mine.py",
    ),
}


SLOW = {
    "a folder with submission.py among others",
    "a package in a folder whose name is no module",
    "a file with an end for the command line",
    "a class of a module",
    "a choice of definitions",
}
"""Much like others."""


@pytest.mark.parametrize(
    "shape", [pytest.param(s, marks=[pytest.mark.slow] if s in SLOW else []) for s in SHAPES]
)
def test_a_submission_may_be(shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files, name = SHAPES[shape]
    put(tmp_path, files)
    assert is_submission(name)
    assert Submission(name, seconds=30).add(PAIRS) == SUMS


def test_the_same_without_walls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for shape in ("modules of the project around", "a package"):
        files, name = SHAPES[shape]
        put(tmp_path, files)
        assert Submission(name, seconds=30, sandbox=False).add(PAIRS) == SUMS


KINDS = {
    "a plain class": """
class Model:
    def __init__(self): self.weights = [1.0, 10.0]
def build_model(): return Model(), {"params": 2}
def add(model, a, b): return int(a + b * model.weights[0])
""",
    "a dict of lists": """
def build_model(): return {"w": [1, 1]}, {"params": 2}
def add(model, a, b): return model["w"][0] * a + model["w"][1] * b
""",
    "numpy arrays": """
import numpy as np
def build_model(): return np.array([1, 1]), {"params": 2}
def add(model, a, b): return (model * np.array([a, b])).sum()
""",
    "a bundle with its weights beside it": """
import os
import numpy as np
class Bundle:
    def __init__(self, weights, device): self.weights, self.device = weights, device
def build_model():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checkpoints", "w.npz")
    with np.load(beside) as found:
        return Bundle(dict(found), "cpu"), {"params": 2}
def add(model, a, b): return np.array([a, b]) @ model.weights["w"]
""",
    "mlx arrays": """
import mlx.core as mx
def build_model(): return {"w": mx.array([1, 1])}, {"params": 2}
def add(model, a, b):
    total = model["w"] * mx.array([a, b], dtype=mx.int64)
    return total.sum()
""",
    "mlx layers": """
import mlx.core as mx
import mlx.nn as nn
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = mx.array([1.0, 1.0])
    def __call__(self, tokens): return tokens * self.weight
def build_model(): return Model(), {"params": 2}
def add(model, a, b): return a + b + round(float(model(mx.array([0.0, 0.0])).sum()))
""",
    "functions": """
def build_model(): return lambda a, b: a + b
def add(model, a, b): return float(model(a, b))
""",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_may_be(kind, tmp_path):
    if kind.startswith("mlx") and importlib.util.find_spec("mlx") is None:
        pytest.skip("mlx is not installed: pip install 'tinyadder[mlx]'")
    (tmp_path / "checkpoints").mkdir()
    np.savez(tmp_path / "checkpoints" / "w.npz", w=np.array([1, 1]))
    (tmp_path / "mine.py").write_text(KINDS[kind])
    with Submission(tmp_path / "mine.py", seconds=60).session() as session:
        assert session.add(PAIRS) == SUMS
        about = session.about()
        assert about["claimed"] == (None if kind == "functions" else 2) and not about["module"]


@pytest.mark.slow
def test_a_torch_model_chooses_a_device_that_is_there(tmp_path):
    (tmp_path / "mine.py").write_text("""
import torch
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    def forward(self, x): return x * self.w
def build_model():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Model().to(device).eval(), {"params": 2}
@torch.no_grad()
def add(model, a, b):
    x = torch.tensor([a, b], dtype=torch.float64, device=next(model.parameters()).device)
    return model(x).sum()
""")
    with Submission(tmp_path / "mine.py").session() as session:
        assert session.add(PAIRS) == SUMS
        about = session.about()
        assert about == {
            "kind": "submission.Model",
            "module": True,
            "claimed": 2,
            "replaced": [],
            "metadata": {"params": 2},
        }


BAD = {
    "nothing there": ({}, "mine.py", "mine.py is not there; a submission has"),
    "no such module": ({}, "pack.mine", "no module that can be imported from here"),
    "another kind of file": ({"mine.txt": PLAIN}, "mine.txt", "is no Python file"),
    "a folder without one": ({"mine/a.py": "x = 1"}, "mine", "no file in it defines"),
    "a folder with two": ({"mine/a.py": PLAIN, "mine/b.py": PLAIN}, "mine", "(a.py, b.py); name"),
    "an object that is not there": ({"mine.py": PLAIN}, "mine.py:entry", "defines no entry"),
    "an object without add": ({"mine.py": PLAIN + "x = 3"}, "mine.py:x", "no function build_model"),
    "no model": ({"mine.py": PLAIN.replace("object()", "None")}, "mine.py", "a NoneType; expected"),
    "a package that is missing": (
        {"mine.py": "import mlxx\n" + PLAIN},
        "mine.py",
        "it needs the package mlxx, not installed here",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_submission_is_one_line(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files, name, line = BAD[what]
    put(tmp_path, files)
    with pytest.raises(TinyadderError) as error:
        Submission(name, seconds=30).add([(1, 2)])
    assert line in str(error.value) and "\n" not in str(error.value)


def test_nothing_runs_while_a_submission_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = "open('ran', 'w')\n"
    put(
        tmp_path, {"pack/__init__.py": trap, "pack/mine.py": trap + PLAIN, "one/a.py": trap + PLAIN}
    )
    for name in ("pack.mine", "pack/mine.py", "one", "pack.mine:entry"):
        assert is_submission(name)
        assert locate(name).file.suffix == ".py"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["add10", "json", "os.path", "nothing.of.the.kind", "here"])
def test_what_is_another_thing_is_not_taken_for_a_submission(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"here/model.json": "{}", "here/a.py": PLAIN})
    assert not is_submission(name)


def test_of_a_home_folder_only_the_file_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path, {"mine.py": PLAIN, ".ssh/key": "secret", "papers/mine.py": PLAIN})
    put(tmp_path, {"README.md": ""})
    assert locate(str(tmp_path / "mine.py")).visible == [tmp_path / "mine.py"]
    inner = locate(str(tmp_path / "papers" / "mine.py")).visible
    assert tmp_path not in inner and tmp_path / "papers" in inner


def test_the_verbs_take_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"mine/any.py": "def build_model(): 1 / 0\n" + PLAIN.split("\n")[1]})
    result = CliRunner().invoke(command, ["mine"])
    assert str(result.exception) == "mine: ZeroDivisionError: division by zero (line 1)"


def test_verbs_that_take_no_submission_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"mine/any.py": PLAIN})
    with pytest.raises(TinyadderError, match="mine holds a submission"):
        find("mine")
    with pytest.raises(TinyadderError, match="no submission that can be imported from here"):
        find("mine.other")
