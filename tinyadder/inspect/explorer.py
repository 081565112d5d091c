"""Any model as JSON for a page, and the self-contained explorer page with a small script that runs
it.

The page holds the weights as exact doubles and repeats the forward pass of
tinyadder/machine/transformer.py in the browser (tinyadder/inspect/pages/machine.js), so that every
intermediate value can be looked at without an installation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.machine.transformer import Block, FeedForward, MultiHeadAttention, Transformer
from tinyadder.tasks.addition import DIGITS, Addition
from tinyadder.tasks.base import Problem, Task

PAGES = Path(__file__).parent / "pages"
EXAMPLES = 60


@dataclass(frozen=True)
class Exhibit:
    """A model with what a visitor must know: its name, one line about it, its task, problems worth
    showing first.
    """

    name: str
    about: str
    model: Transformer
    task: Task
    first: Sequence[Problem] = ()


def model_to_json(model: Transformer) -> dict[str, Any]:
    """Every number of `model` in the order in which it is used; rows are [bias, columns, weights].

    Raises `TinyadderError` for a model that is not a causal decoder of this toolkit.
    """
    if not isinstance(model, Transformer) or model.config.encoder:
        raise TinyadderError(
            f"a {type(model).__name__} cannot be shown; expected a decoder without an encoder"
        )
    config, options = model.config, asdict(model.config.options)
    return {
        "vocabulary": list(config.vocabulary),
        "outputs": list(config.outputs),
        "lanes": [list(lane) for lane in config.lanes] or [["stream", config.width]],
        "width": config.width,
        "sign": -1 if config.argmin else 1,
        "float32": model.embedding.dtype == torch.float32,
        "options": {**options, "post": options["norm_place"] == "post"},
        "embed": [_row(row)[1:] for row in _array(model.embedding)],
        "positions": _array(model.positions).tolist()
        if config.options.positions == "learned"
        else None,
        "blocks": [_block(block) for block in model.blocks if isinstance(block, Block)],
        "norm": _norm(model.final_norm),
        "readout": _rows(
            model.unembed_matrix(), model.unembedding_bias if config.unembedding_bias else None
        ),
    }


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _row(weights: np.ndarray, bias: float = 0.0) -> list[Any]:
    """[bias, columns, weights] with the non-zero weights; columns None where most are non-zero."""
    columns = np.flatnonzero(weights)
    if 2 * len(columns) > len(weights):
        return [bias, None, weights.tolist()]
    return [bias, columns.tolist(), weights[columns].tolist()]


def _rows(weights: Tensor, bias: Tensor | None) -> list[list[Any]]:
    matrix = _array(weights)
    biases = np.zeros(len(matrix)) if bias is None else _array(bias)
    return [_row(row, float(b)) for row, b in zip(matrix, biases, strict=True)]


def _norm(module: torch.nn.Module | None) -> dict[str, Any] | None:
    if module is None:
        return None
    gain: Any = module.weight
    bias = getattr(module, "bias", None)
    return {
        "gain": _array(gain).tolist(),
        "bias": None if bias is None else _array(bias).tolist(),
    }


def _block(block: Block) -> dict[str, Any]:
    found: dict[str, Any] = {"attention": None, "mlp": None}
    if isinstance(block.attention, MultiHeadAttention):
        attention, heads = block.attention, []
        for h in range(len(attention.slopes)):
            bias = {name: getattr(attention, f"{name}_bias") for name in ("query", "key", "value")}
            heads.append(
                {
                    **{
                        name: _rows(getattr(attention, name)[h], None if b is None else b[h])
                        for name, b in bias.items()
                    },
                    "slope": float(attention.slopes[h]),
                    "write": [_row(row)[1:] for row in _array(attention.wiring[h])],
                }
            )
        found["attention"] = {"heads": heads, "norm": _norm(block.attention_norm)}
    if isinstance(block.mlp, FeedForward):
        mlp = block.mlp
        rows = {
            name: _rows(getattr(mlp, name), getattr(mlp, f"{name}_bias"))
            for name in ("gate", "up")[: 1 + mlp.options.gated]
        }
        found["mlp"] = {
            "gate": rows["gate"],
            "up": rows.get("up"),
            "down": [_row(row)[1:] for row in _array(mlp.down).T],
            "norm": _norm(block.mlp_norm),
        }
    return found


def _writing(task: Task, problems: Sequence[Problem]) -> dict[str, Any]:
    """How the page writes a prompt: addition by its options; other tasks as head + text + tail
    where that holds.
    """
    if isinstance(task, Addition):
        return {"kind": "addition", **asdict(task), "symbols": DIGITS[: task.base]}
    prompts, texts = ["".join(task.prompt(p)) for p in problems], [task.show(p) for p in problems]
    head, found, tail = prompts[0].partition(texts[0])
    if found and all(p == head + text + tail for p, text in zip(prompts, texts, strict=True)):
        return {"kind": "text", "head": head, "tail": tail}
    return {"kind": "examples"}


def exhibit_to_json(exhibit: Exhibit) -> dict[str, Any]:
    """The model with its task: prompt format, length of answers, and problems to choose from with
    right answers.
    """
    task = exhibit.task
    hard = task.hard()
    problems = [
        *exhibit.first,
        *hard[:: max(1, len(hard) // EXAMPLES)],
        *task.structured(Random(0), EXAMPLES // 4),
    ]
    problems = list(dict.fromkeys(problems))[:EXAMPLES]
    return {
        "name": exhibit.name,
        "about": exhibit.about,
        "end": task.end,
        "answer_length": task.answer_length,
        "writing": _writing(task, problems),
        "examples": [[task.show(p), list(task.prompt(p)), list(task.answer(p))] for p in problems],
        **model_to_json(exhibit.model),
    }


def _shortest(data: Any, float32: bool) -> Any:
    """Numbers with as few digits as tell them apart: integers without '.0', float32 as float32."""
    if isinstance(data, Mapping):
        return {key: _shortest(value, float32) for key, value in data.items()}
    if isinstance(data, list):
        return [_shortest(value, float32) for value in data]
    if isinstance(data, float):
        if data.is_integer() and abs(data) < 2**53:
            return int(data)
        return float(str(np.float32(data))) if float32 else data
    return data


def page(exhibits: Sequence[Exhibit]) -> str:
    """The explorer as one HTML text: no network, no other file. Raises `TinyadderError` if nothing
    is to be shown.
    """
    if not exhibits:
        raise TinyadderError("the explorer needs at least one model")
    models = [_shortest(data, data["float32"]) for data in map(exhibit_to_json, exhibits)]
    text = json.dumps(models, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace(
        "</", "<\\/"
    )
    html = (PAGES / "explorer.html").read_text()
    for mark, content in (
        ("/*machine*/", (PAGES / "machine.js").read_text()),
        ("/*explorer*/", (PAGES / "explorer.js").read_text()),
        ("/*style*/", (PAGES / "explorer.css").read_text()),
        ("/*models*/", text),
    ):
        html = html.replace(mark, content, 1)
    return html
