"""A submission written for an accelerator is judged on a machine without one."""

import pytest

from tinyadder.errors import TinyadderError
from tinyadder.verify.external.submission import Submission

FOR_AN_ACCELERATOR = """
import torch
from torch import nn
from beside import table

DEVICE = torch.device("cuda")


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 10)
        self.register_buffer("places", torch.zeros(3, device=DEVICE))

    def forward(self, tokens):
        return self.embedding(tokens) + torch.arange(10, device=tokens.device) + table


def build_model():
    return Model().cuda().to("mps").to(DEVICE, torch.float32)


def add(model, a, b):
    assert model(torch.tensor([[a % 10, b % 10]], device=DEVICE).to(0)).cpu().shape == (1, 2, 10)
    return a + b
"""


def test_what_asks_for_an_accelerator_gets_the_cpu(tmp_path):
    (tmp_path / "beside.py").write_text("import torch\ntable = torch.ones(10, device='cuda')\n")
    (tmp_path / "entry.py").write_text(FOR_AN_ACCELERATOR)
    assert Submission(tmp_path / "entry.py").add([(1, 2), (30, 4)]) == [3, 34]


def test_another_error_stays_what_it_is(tmp_path):
    (tmp_path / "entry.py").write_text(
        "raise RuntimeError('a device of rhetoric')\n" + FOR_AN_ACCELERATOR
    )
    with pytest.raises(TinyadderError, match="RuntimeError: a device of rhetoric"):
        Submission(tmp_path / "entry.py").add([(1, 2)])
