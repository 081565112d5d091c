"""torch.export: a .pt2 file that `torch.export.load(path).module()` runs, without this package."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from tinyadder.io.export import ExportSource
from tinyadder.io.files import atomic_write
from tinyadder.machine.transformer import Transformer

FILE = "{}.pt2"


class Logits(nn.Module):
    """A `Transformer` as a function of tokens alone: what is left when a graph is exported."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens)


def graph(function: nn.Module) -> torch.export.ExportedProgram:
    """The graph of a function of tokens [b, t], for every batch from 1 and every length from 2 on.

    The example has a batch of 2: from a batch of 1 the exporter would take the 1 for a constant.
    Strict tracing, since the other one leaves conditions on the batch in the graph that a batch of
    1 does not meet.
    """
    example = torch.zeros(2, 8, dtype=torch.int64, device=next(function.buffers()).device)
    axes = {
        0: torch.export.Dim("batch", min=1, max=65536),
        1: torch.export.Dim("length", min=2, max=4096),
    }
    with quiet():
        return torch.export.export(
            function.eval(), (example,), dynamic_shapes={"tokens": axes}, strict=True
        )


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings of the exporters: caches and numpy are traced as what they compute, as they may
    be, and nothing here is for the user to act on. Errors are raised all the same.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def write(source: ExportSource, path: Path) -> None:
    """Write the graph from tokens [b, t] to logits [b, t, o]."""
    program = graph(Logits(source.model))
    with atomic_write(path) as part:
        torch.export.save(program, part)
