"""A weight counts once on every rung, wherever a file keeps it; what only says where attention may
look, and what a formula gives, is not counted entry by entry.
"""

import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tinyadder.verify.count import as_module, ladder
from tinyadder.verify.count.beside import by_formula
from tinyadder.verify.count.code import file_code
from tinyadder.verify.count.foreign import count
from tinyadder.verify.external.entry import load

HEAD = "import torch\nfrom torch import nn\n"
TAIL = "\n\ndef add(model, a, b):\n    return a + b\n"


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A function that counts a submission of this text, in this process, with files beside it."""

    def count_text(text, files=None, whole=False):
        for name, content in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        file = tmp_path / "entry.py"
        file.write_text(HEAD + text + TAIL)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(sys, "modules", dict(sys.modules))
        code = file_code(file, [tmp_path], whole=whole)
        entry = load(str(file), [str(tmp_path)], "", "")
        given = [(literal.value, literal.written) for literal in code]
        return count(entry, None, True, [str(tmp_path)], given)["counts"]

    return count_text


def rungs(counts, *names):
    return tuple(counts[name] for name in names)


BESIDE = ("stored", "stored + buffers", "strict")


@pytest.mark.parametrize(
    "text",
    [
        "W = torch.tensor([[0.5, 2.5]])\nBUILD = lambda: nn.ParameterList([W.clone()])",
        "W = [[0.5, 2.5]]\nBUILD = lambda: nn.ParameterList([torch.tensor(W)])",
        "W = {'w': torch.tensor([0.5, 2.5])}\nBUILD = lambda: nn.ParameterList([W['w'] + 0])",
        "BUILD = lambda: nn.ParameterList([torch.tensor([0.5, 2.5], dtype=torch.float64)])",
    ],
    ids=["global tensor", "global list", "state dict", "inline"],
)
def test_a_weight_that_a_file_writes_down_counts_once(counted, text):
    counts = counted(text + "\ndef build_model():\n    return BUILD()")
    assert rungs(counts, *BESIDE) == (2, 2, 2)


def test_a_number_of_the_forward_pass_is_another_than_the_weight_it_equals(counted):
    text = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5]))

    def forward(self, x):
        return x * self.weight + torch.tensor([0.5])


def build_model():
    return Model()
"""
    assert rungs(counted(text), *BESIDE) == (1, 1, 2)


def test_a_table_that_one_number_fills_is_as_many_weights_as_it_stores(counted):
    text = "def build_model():\n    return nn.ParameterList([torch.full((5,), 2.5)])"
    assert rungs(counted(text), *BESIDE) == (5, 5, 5)


def test_what_a_weight_is_computed_from_counts_beside_it(counted):
    text = "def build_model():\n    return nn.ParameterList([torch.tensor([2.5]) * 3.5])"
    assert rungs(counted(text), *BESIDE) == (1, 1, 3)


@pytest.mark.parametrize(
    ("imported", "used"),
    [
        ("from values import GAIN", "GAIN"),
        ("import values", "values.GAIN"),
        ("import values as v", "v.GAIN"),
        ("from values import *", "GAIN"),
    ],
)
def test_local_modules_are_followed(counted, imported, used):
    text = f"{imported}\ndef build_model():\n    return nn.ParameterList([torch.ones(1) + {used}])"
    counts = counted(text, {"values.py": "GAIN, WIDTH = 4.5, 3\nUNUSED = 7.5\n"})
    assert rungs(counts, *BESIDE) == (1, 1, 2)


def test_packages_and_what_they_import_in_turn_are_followed(counted):
    text = "from parts.model import build_model"
    model = """
import torch
from torch import nn
from . import numbers

def build_model():
    return nn.ParameterList([torch.ones(numbers.WIDTH) + numbers.SIZE])
"""
    parts = {"__init__": "", "model": model, "numbers": "SIZE = 12.5\nWIDTH = 2\n"}
    counts = counted(text, {f"parts/{name}.py": content for name, content in parts.items()})
    assert rungs(counts, *BESIDE) == (2, 2, 3)


def test_a_table_in_a_local_module_that_the_model_reads_is_counted(counted):
    text = """
import table

class Model(nn.Module):
    def forward(self, x):
        return table.ROWS[x]

def build_model():
    return Model()
"""
    counts = counted(text, {"table.py": "import torch\nROWS = torch.tensor([2.5, 3.5, 4.5])\n"})
    assert rungs(counts, *BESIDE) == (0, 3, 3)


def test_weights_in_a_file_beside_are_counted(counted):
    text = """
import json
from pathlib import Path

def build_model():
    return json.loads((Path(__file__).parent / "weights.json").read_text())
"""
    held = json.dumps({"gain": 1.5, "rows": [[0.25, 1.0], [2.0, -3.5]], "width": 2})
    counts = counted(text, {"weights.json": held}, whole=True)
    assert rungs(counts, "stored", "nonzero", "distinct", "strict") == (5, 5, 5, 5)


class Plain:
    """A model that is no torch module."""

    def __init__(self):
        self.rows = np.arange(6.0).reshape(2, 3)
        self.view = self.rows[0]
        self.layers = [{"gain": 2.5}, {"gain": np.float32(0.5)}]
        self.width, self.name = 3, "plain"


@pytest.mark.parametrize(
    ("model", "stored", "nonzero"),
    [
        (Plain(), 6 + 2, 5 + 2),
        ({"w": np.ones((2, 2)), "b": [0.5, 0.25], "steps": 7}, 6, 6),
        ({"w": torch.ones(3), "deep": {"list": [torch.zeros(2), 3.5]}}, 6, 4),
        (np.ones(4, dtype=np.float32), 4, 4),
    ],
    ids=["object", "numpy and lists", "tensors", "array"],
)
def test_any_object_is_counted_by_the_numbers_in_it(model, stored, nonzero):
    assert rungs(ladder(as_module(model)), "stored", "nonzero") == (stored, nonzero)


def test_tied_arrays_of_numpy_count_once():
    shared = np.ones(3)
    assert ladder(as_module({"query": shared, "key": shared[:2]}))["stored"] == 3


class Module(nn.Module):
    """An honest module with its numbers in every kind of place."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.again = self.layer.weight  # tied
        self.register_buffer("table", torch.tensor([0.5, 0.25]))
        self.plain = torch.tensor([1.5])
        self.inside = [nn.Linear(1, 1, bias=False)]  # not registered
        self.gain = 3.5
        self.norm = nn.LayerNorm(2)  # its eps is torch's


def test_buffers_attributes_and_unregistered_modules_count_beside():
    counts = ladder(Module())
    assert rungs(counts, "numel", "stored") == (12, 12)
    assert counts["stored + buffers"] == 12 + 2 + 1 + 1 + 1


def angles(length=34, pairs=2):
    return torch.outer(torch.arange(float(length)), 3.0 ** -torch.arange(float(pairs)))


@pytest.mark.parametrize(
    ("beside", "positions"),
    [
        ({"pe": torch.cat([angles().sin(), angles().cos()], 1)}, 1),
        ({"cos_cached": angles().cos(), "sin_cached": angles().sin(), "rope_theta": 3.0}, 1),
        ({"rope_cos": angles().cos(), "rope_sin": angles().sin()}, 1),
        ({"inv_freq": 3.0 ** -torch.arange(8.0)}, 1),
        ({"alibi": -torch.arange(34.0)}, 1),
        ({"rope_theta": 10_000}, 1),
        ({"pos_table": torch.rand(34, 2, generator=torch.Generator().manual_seed(1))}, 68),
        ({"slopes": torch.tensor([0.7, 0.9])}, 2),
    ],
    ids=["sinusoids", "with base", "rotary", "frequencies", "line", "base", "no formula", "slopes"],
)
def test_positions_count_by_their_base(beside, positions):
    model = nn.Linear(2, 2, bias=False)
    before = ladder(model)
    for name, value in beside.items():
        if isinstance(value, torch.Tensor):
            model.register_buffer(name, value)
        else:
            setattr(model, name, value)
    after = ladder(model)
    assert after["nonzero + positional"] - before["nonzero + positional"] == positions
    assert after["stored + buffers"] - before["stored + buffers"] == positions
    assert after["board"] == before["board"]


def test_a_learned_table_of_positions_is_counted_by_the_board():
    model = nn.Module()
    model.pos = nn.Parameter(angles().sin())
    assert ladder(model)["board"] == 68


def test_a_recurrence_is_no_accident():
    generator = torch.Generator().manual_seed(0)
    assert not by_formula(torch.rand(34, 2, generator=generator))
    assert not by_formula(torch.rand(4, 1, generator=generator)) and not by_formula(torch.zeros(9))


@pytest.mark.parametrize(
    ("mask", "numbers"),
    [
        (torch.full((4, 4), -torch.inf).triu(1), 0),
        (torch.full((4, 4), -1e9).triu(1), 0),
        (torch.ones(4, 4).tril(), 0),
        (torch.tensor([[0.0, -torch.inf], [80.0, 0.0]]), 1),
        (torch.full((4, 4), -30.0).triu(1), 16),
    ],
    ids=["-inf", "-1e9", "ones", "with a number", "a bias"],
)
def test_a_mask_is_no_number(mask, numbers):
    model = nn.Linear(2, 2, bias=False)
    model.register_buffer("mask", mask)
    assert ladder(model)["stored + buffers"] == 4 + numbers


def test_the_number_that_masks_is_no_literal(counted):
    text = """
class Model(nn.Module):
    def forward(self, x):
        x = x.masked_fill(x > 0, -1e9) + torch.full((3, 3), float("-inf")).triu(1)
        return x.masked_fill(x > 0, -30.0)

def build_model():
    return Model()
"""
    assert counted(text)["strict"] == 1


def test_of_a_table_that_forward_computes_the_scalars_are_counted(counted):
    text = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.scalars = nn.Parameter(torch.tensor([1000.0, 0.001]))

    def forward(self, tokens):
        d = torch.arange(10)
        table = torch.stack([self.scalars[0] - self.scalars[1] * d * d, -d], -1)
        return table[tokens] @ table.T

def build_model():
    return Model()
"""
    counts = counted(text)
    assert set(rungs(counts, "numel", "stored", "board", "nonzero", "strict")) == {2}
