"""A model as a circuit (a graph of parts and weights): ground truth for circuit discovery.

Nodes are the lanes of the embedding, the heads, the hidden units and the logits. There is an edge
exactly if the product of the sender's output weights and the receiver's input weights is not zero;
its weight is the Frobenius norm of that product. Nothing else carries information, so a method that
ranks edges can itself be scored. Names are those of edge attribution patching (Syed et al. 2023;
Hanna et al. 2024): `input`, `a0.h1`, `m0`, `logits`, `a0.h1->a1.h0<v>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.machine.tensors import columns
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Problem, Task
from tinyadder.text import Shown, format_table

PAIRS, ROUNDS = 20, 20
"""How many pairs of prompts by default, and how often problems are drawn to find them."""


@dataclass(frozen=True)
class Node:
    """A part of the model: `input.LANE`, `a0.h1`, `m0.n3` or `logits`."""

    name: str
    kind: str
    """lane, head, unit or logits."""
    layer: int | None
    writes: tuple[str, ...]
    """The lanes it adds to: for an embedding lane itself, for the logits none."""

    @property
    def coarse(self) -> str:
        """The node that circuit-discovery tools know: all lanes are `input`, all units `m0`."""
        return "input" if self.kind == "lane" else self.name.partition(".n")[0]


@dataclass(frozen=True)
class Edge:
    """`receiver` reads what `sender` wrote; `channel` is q, k or v if it is a head, else empty."""

    sender: str
    receiver: str
    channel: str
    weight: float


@dataclass(frozen=True)
class PromptPair:
    """Two token sequences of equal length with different next tokens, for activation patching.

    The answer token is read at the last position.
    """

    clean: list[str]
    corrupted: list[str]
    answer: str
    corrupted_answer: str


@dataclass(frozen=True, repr=False)
class Circuit(Shown):
    """Nodes and edges of a model, and pairs of clean and corrupted prompts of its task."""

    model: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    pairs: tuple[PromptPair, ...]

    def coarse(self) -> set[str]:
        """The edges as circuit-discovery tools name them: `input->a0.h1<q>`, `a0.h1->m0`."""
        coarse = {node.name: node.coarse for node in self.nodes}
        return {
            f"{coarse[edge.sender]}->{coarse[edge.receiver]}"
            + (f"<{edge.channel}>" if edge.channel else "")
            for edge in self.edges
        }

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"format": "tinyadder circuit", "version": 1, **asdict(self)}

    def __str__(self) -> str:
        rows = [(e.sender, e.channel, e.receiver, f"{e.weight:.6g}") for e in self.edges]
        columns = {"sender": "left", "": "left", "receiver": "left", "weight": "right"}
        title = f"{self.model}: {len(self.nodes)} nodes, {len(self.edges)} edges"
        return format_table(title, columns, rows)


@dataclass(frozen=True)
class _LaneWriter:
    node: Node
    matrix: Tensor
    """[column, what it writes from]."""


def circuit(model: Transformer, task: Task, name: str, *, pairs: int = PAIRS) -> Circuit:
    """The circuit of `model`, with `pairs` pairs of prompts of `task`.

    Raises `TinyadderError` for a model with norms (every head then reads every column) or an
    encoder.
    """
    config = model.config
    normed = any(config.options_of(block).norm != "none" for block in config.blocks)
    if config.encoder or normed or config.options.norm != "none":  # the last: the final norm
        part = "an encoder" if config.encoder else "norms"
        raise TinyadderError(f"{name} has {part}: who reads what is not in the weights alone")
    lanes = columns(model)
    writers, edges = [*_embedding(model, lanes)], list[Edge]()
    for layer, block in enumerate([*model.blocks] * config.options.repeat):
        attention, mlp = block.attention, block.mlp
        if attention is not None:
            heads = list[_LaneWriter]()
            for h in range(len(attention.slopes)):
                written = attention.wiring[h].T
                node = Node(f"a{layer}.h{h}", "head", layer, _names(written, lanes))
                for channel, rows in (("q", "query"), ("k", "key"), ("v", "value")):
                    edges += _edges(writers, node, channel, getattr(attention, rows)[h])
                bias = attention.value_bias
                live = attention.value[h].abs().sum(1) + (0 if bias is None else bias[h].abs())
                heads.append(_LaneWriter(node, written * (live != 0)))
            writers += heads
        if mlp is not None:
            units = list[_LaneWriter]()
            for n in range(len(mlp.gate)):
                written = mlp.down[:, n : n + 1]
                node = Node(f"m{layer}.n{n}", "unit", layer, _names(written, lanes))
                read = [mlp.gate[n], mlp.up[n]] if mlp.options.gated else [mlp.gate[n]]
                edges += _edges(writers, node, "", torch.stack(read))
                units.append(_LaneWriter(node, written))
            writers += units
    logits = Node("logits", "logits", None, ())
    edges += _edges(writers, logits, "", model.unembed_matrix())
    nodes = (*(writer.node for writer in writers), logits)
    return Circuit(name, nodes, tuple(edges), tuple(prompt_pairs(task, pairs)))


def _embedding(model: Transformer, lanes: Sequence[str]) -> Iterator[_LaneWriter]:
    table = model.embedding.detach()
    if model.config.options.positions in ("learned", "sinusoidal"):
        table = torch.cat([table, model.position_rows(0, model.config.options.context or 1)])
    for column, lane in enumerate(lanes):
        if bool(table[:, column].any()):
            matrix = torch.zeros(len(lanes), len(table), dtype=table.dtype)
            matrix[column] = table[:, column]
            yield _LaneWriter(Node(f"input.{lane}", "lane", None, (lane,)), matrix)


def _names(written: Tensor, lanes: Sequence[str]) -> tuple[str, ...]:
    return tuple(lanes[i] for i in written.detach().abs().sum(1).nonzero()[:, 0].tolist())


def _edges(
    writers: Sequence[_LaneWriter], node: Node, channel: str, rows: Tensor
) -> Iterator[Edge]:
    for writer in writers:
        through = (rows.detach().abs() @ writer.matrix.detach().abs()).sum()
        if bool(through):
            weight = torch.linalg.matrix_norm(rows.detach() @ writer.matrix.detach())
            yield Edge(writer.node.name, node.name, channel, float(weight))


def prompt_pairs(task: Task, count: int, *, seed: int = 0) -> list[PromptPair]:
    """Pairs of prompts of equal length, up to the first answer token in which they differ.

    Fewer than `count` if problems drawn at random do not give that many.
    """
    random = Random(seed)
    pairs_by_prompt = dict[tuple[str, ...], PromptPair]()
    for _ in range(ROUNDS):
        problems: list[Problem] = [
            *task.structured(random, 4 * count),
            *task.uniform(random, 4 * count),
        ]
        random.shuffle(problems)
        for first, second in zip(problems, reversed(problems), strict=True):
            pair = _pair(task, first, second)
            if pair is not None and len(pairs_by_prompt) < count:
                pairs_by_prompt.setdefault(tuple(pair.clean), pair)
        if len(pairs_by_prompt) == count:
            break
    return list(pairs_by_prompt.values())


def _pair(task: Task, first: Problem, second: Problem) -> PromptPair | None:
    texts = [task.forced(problem) for problem in (first, second)]
    answers = [task.answer(problem) for problem in (first, second)]
    if texts[0][1] != texts[1][1]:
        return None
    for k, (right, other) in enumerate(zip(*answers, strict=False)):
        if right != other:
            end = texts[0][1] + k + 1
            return PromptPair([*texts[0][0][:end]], [*texts[1][0][:end]], right, other)
    return None
