"""Program -> Transformer: the one place where lanes become columns and forms become rows of
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import torch

from tinyadder.dsl import MLP, Attention, Program
from tinyadder.errors import TinyadderError
from tinyadder.lang.forms import AffineRow, Shared, Weight
from tinyadder.machine.config import BlockConfig, Config
from tinyadder.machine.tensors import items
from tinyadder.machine.transformer import Derived, Transformer

MOST = 10**8
"""Dense entries of all tensors of a program: its equations may be short and its heads many."""


class _Tensors:
    """Dense float64 arrays by parameter name, and the entries that are read from shared weights
    instead.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.shared: list[Shared] = []
        self.ties: list[tuple[str, int, int]] = []
        self.entries = 0

    def new(self, name: str, *shape: int) -> None:
        self.entries += prod(shape)
        if self.entries > MOST:
            raise TinyadderError(f"a program of more than {MOST:,} dense weights; make it smaller")
        self.arrays[name] = np.zeros(shape)

    def put(self, name: str, index: tuple[int, ...], number: Weight) -> None:
        if isinstance(number, Shared):
            if number not in self.shared:
                self.shared.append(number)
            flat = int(np.ravel_multi_index(index, self.arrays[name].shape))
            self.ties.append((name, flat, self.shared.index(number)))
        else:
            self.arrays[name][index] = number

    def put_row(
        self, name: str, index: tuple[int, ...], row: AffineRow, columns: dict[tuple[str, int], int]
    ) -> None:
        for column, weight in row.weights:
            self.put(name, (*index, columns[column]), weight)
        if row.bias != 0:
            self.put(f"{name}_bias", index, row.bias)


def build(program: Program, *, device: str | torch.device = "cpu") -> Transformer:
    """The float64 module that computes `program`; every number of the equations is one entry of one
    parameter.
    """
    t = _Tensors()
    columns, vocabulary = (
        program.stream.columns(),
        {token: i for i, token in enumerate(program.vocabulary)},
    )
    t.new("embedding", len(vocabulary), program.stream.width)
    for lane, table in program.embed.lanes.items():
        for token, weights in table.items():
            for i, weight in enumerate(_fill(weights, program.stream[lane].width)):
                t.put("embedding", (vocabulary[token], columns[lane, i]), weight)
    blocks = [
        _block(t, f"blocks.{layer}", program, attention, mlp)
        for layer, (attention, mlp) in enumerate(program.blocks)
    ]
    config = Config(
        vocabulary=program.vocabulary,
        width=program.stream.width,
        blocks=tuple(blocks),
        outputs=tuple(vocabulary[token] for token in program.output_tokens),
        lanes=tuple((lane.name, lane.width) for lane in program.stream.lanes.values()),
        argmin=program.unembed.argmin,
    )
    config = _readout(t, config, program)
    model = Transformer(replace(config, shared=len(t.shared), ties=tuple(t.ties)))
    t.arrays["shared"] = np.array([number.value for number in t.shared])
    _load(model, t.arrays)
    model.derived = _derived(t, program)
    return model.to(device).eval()


def _derived(t: _Tensors, program: Program) -> Derived:
    """Where the formulas of the program stand, and from which scalars they are computed."""
    columns, width = program.stream.columns(), program.stream.width
    rows = {token: i for i, token in enumerate(program.vocabulary)}
    own = [scalar for scalar in program.derived_scalars if scalar not in t.shared]

    def name(scalar: Shared) -> str:
        if scalar in t.shared:
            return f"shared[{t.shared.index(scalar)}]"
        return f"scalars[{own.index(scalar)}]"

    columns_of = [
        (tensor, tuple(row * width + columns[lane, 0] for row in at), column.formula.text(name))
        for tensor, written in (
            ("embedding", program.embed.derived),
            ("unembedding", program.unembed.derived),
        )
        for lane, column in written.items()
        for at in [
            [rows[token] for token in column.tokens]
            if tensor == "embedding"
            else range(len(column.tokens))
        ]
    ]
    return Derived(tuple(columns_of), tuple(scalar.value for scalar in own))


def _fill(weights: Sequence[Weight], width: int) -> list[Weight]:
    return list(weights) * width if len(weights) == 1 else list(weights)


def _block(
    t: _Tensors, name: str, program: Program, attention: Attention | None, mlp: MLP | None
) -> BlockConfig:
    width, columns = program.stream.width, program.stream.columns()
    sizes = BlockConfig()
    if attention:
        heads = attention.heads
        sizes = BlockConfig(
            heads=len(heads),
            d_head=max(h.query.width for h in heads),
            d_value=max(h.value.width for h in heads),
        )
        place = f"{name}.attention"
        for rows, count in (
            ("query", sizes.d_head),
            ("key", sizes.d_head),
            ("value", sizes.d_value),
        ):
            t.new(f"{place}.{rows}", len(heads), count, width)
            t.new(f"{place}.{rows}_bias", len(heads), count)
            for index, head in enumerate(heads):
                for i, row in enumerate(getattr(head, rows).rows):
                    t.put_row(f"{place}.{rows}", (index, i), row, columns)
        t.arrays[f"{place}.slopes"] = np.array([head.slope for head in heads])
        t.new(f"{place}.wiring", len(heads), sizes.d_value, width)
        for lane, output in attention.lanes.items():
            for i in range(program.stream[lane].width):
                for head, row in output.parts[i if output.width > 1 else 0]:
                    t.arrays[f"{place}.wiring"][heads.index(head), row, columns[lane, i]] += 1
    if mlp:
        units = mlp.units
        sizes = replace(sizes, hidden=len(units))
        place = f"{name}.mlp"
        for rows in ("gate", "up"):
            t.new(f"{place}.{rows}", len(units), width)
            t.new(f"{place}.{rows}_bias", len(units))
            for index, unit in enumerate(units):
                t.put_row(f"{place}.{rows}", (index,), getattr(unit, rows), columns)
        t.new(f"{place}.down", width, len(units))
        position = {id(unit): index for index, unit in enumerate(units)}
        for lane, written in mlp.lanes.items():
            for i in range(program.stream[lane].width):
                for unit, down in written.parts[i if written.width > 1 else 0]:
                    t.put(f"{place}.down", (columns[lane, i], position[id(unit)]), down)
    return sizes


def _readout(t: _Tensors, config: Config, program: Program) -> Config:
    unembed, columns = program.unembed, program.stream.columns()
    rows = (
        [unembed.form.rows[0]] * len(config.outputs)
        if unembed.form.width == 1
        else unembed.form.rows
    )
    if unembed.wired:
        t.new("readout_wiring", len(rows), config.width)
        for i, row in enumerate(rows):
            t.arrays["readout_wiring"][i, columns[row.weights[0][0]]] = 1
        return replace(config, unembedding=False, readout_wiring=True)
    weights = any(row.weights for row in rows)
    bias = any(row.bias != 0 for row in rows)
    if weights or not unembed.tied:
        t.new("unembedding", len(config.outputs), config.width)
    if bias:
        t.new("unembedding_bias", len(config.outputs))
    for i, row in enumerate(rows):
        for column, weight in row.weights:
            t.put("unembedding", (i, columns[column]), weight)
        if row.bias != 0:
            t.put("unembedding_bias", (i,), row.bias)
    return replace(
        config,
        unembedding=weights or not unembed.tied,
        unembedding_bias=bias,
        tied=bool(unembed.tied),
    )


def _load(model: Transformer, arrays: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        for item in items(model):
            item.tensor.copy_(torch.from_numpy(arrays[item.name]))
