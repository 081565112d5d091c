"""A one-file AdderBoard submission: `build_model()`, `add(model, a, b)`, needs only torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from tinyadder.errors import TinyadderError
from tinyadder.io.export import ExportSource
from tinyadder.io.files import write_text
from tinyadder.machine.tensors import items, plain_name, stored_scalars
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition

FILE = "{}_submission.py"


def write(source: ExportSource, path: Path) -> None:
    """Write the file.

    Raises `TinyadderError` for a task that is not the addition of two decimal numbers, for trained
    options, and for anything that would not be plain Python literals in the file.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    model, task, config = source.model, source.task, source.model.config
    if not isinstance(task, Addition) or task.base != 10 or task.operands != 2:
        raise TinyadderError(
            f"a submission adds two decimal numbers; {source.name} does task '{task.name}'"
        )
    if not config.plain or model.embedding.dtype != torch.float64:
        raise TinyadderError(
            f"a submission holds a built float64 model; {source.name} has"
            f" {config.chosen or f'dtype={model.embedding.dtype}'}"
        )
    # Whatever is put into the file is a Python literal: strings from data cannot become code.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,
        finalize=_literal,
    )
    heads = [block.heads for block in config.blocks]
    counts = "\n".join(f"  {rung:<24} {count:>6}   {text}" for rung, count, text in source.ladder)
    parts = parts_of(model)
    text = environment.get_template("submission.py.jinja").render(
        about=f"{source.name}: {task.digits}-digit addition, written by the tinyadder toolkit as an"
        f" AdderBoard submission.\n\n{source.about}\n\nParameters, by convention (the first is the"
        f" board's rule, which counts what this file stores):\n{counts}\n",
        metadata={
            "name": source.name,
            "author": "tinyadder",
            "params": len(parts.stored),
            "architecture": f"{len(heads)} layers, d={config.width}, heads {heads}, softmax1, "
            "ALiBi, gated ReLU, float64",
            "tricks": ["weights written as equations", "softmax1", "ALiBi", "float64"],
        },
        config={
            "vocabulary": list(config.vocabulary),
            "outputs": [config.vocabulary[output] for output in config.outputs],
            "blocks": [(block.heads > 0, block.hidden > 0) for block in config.blocks],
            "routed": list(parts.routes),
            "tied": config.tied,
            "argmin": config.argmin,
        },
        parts=parts,
        tables=[name for name, _, _ in parts.formulas],
        columns=[indices for _, indices, _ in parts.formulas],
        most=max((len(indices) for _, indices, _ in parts.formulas), default=0),
        shared=config.shared,
        digits=task.digits + task.padding,
        limit=task.digits,
        turn=1 if task.order == "most" else -1,
        steps=task.answer_length,
    )
    write_text(path, text)


@dataclass(frozen=True)
class Parts:
    """What the weights of a submission are made of."""

    stored: list[float]
    """The parameters of the file."""
    shapes: dict[str, tuple[int, ...]]
    """Of every parameter of the model."""
    places: dict[str, dict[int, int]]
    """Tensor -> flat index -> which of the stored weights stands there."""
    ones: dict[str, list[int]]
    minus_ones: dict[str, list[int]]
    """Tensor -> flat indices of 1 and of -1, which are not stored."""
    formulas: list[tuple[str, tuple[int, ...], Code]]
    """(tensor, flat indices, the values there as an expression over `d`, `shared`, `scalars`)."""
    slopes: dict[str, list[float]]
    routes: dict[str, list[int]]
    """Tensor of wiring -> flat indices of its ones, an index as often as its entry says."""


class Code(str):
    """Python that was made from a formula, not from text."""


def parts_of(model: Transformer) -> Parts:
    """The weights of a model taken apart; put together again they have the same bits."""
    shared = model.shared.detach().tolist() if model.config.shared else []
    formulas = [(name, indices, Code(text)) for name, indices, text in model.derived.columns]
    parts = Parts(stored_scalars(model), {}, {}, {}, {}, formulas, {}, {})
    number = {value: k for k, value in enumerate(parts.stored) if k >= len(shared)}
    parameters = {plain_name(name) for name, _ in model.named_parameters()}
    ties = {(name, index): source for name, index, source in model.config.ties}
    for item in items(model):
        name, flat = item.name, item.tensor.detach().cpu().reshape(-1).tolist()
        if name.endswith("slopes"):
            parts.slopes[name] = flat
            continue
        if name == "shared":
            continue
        parts.shapes[name] = tuple(item.tensor.shape)
        if name not in parameters:
            parts.routes[name] = [i for i, v in enumerate(flat) for _ in range(int(v))]
            continue
        computed = model.derived.entries(name)
        tied = {i for tensor, i in ties if tensor == name}
        plain = {i: v for i, v in enumerate(flat) if v != 0 and i not in computed | tied}
        kinds = {
            "places": {
                **{i: number[v] for i, v in plain.items() if abs(v) != 1},
                **{i: ties[name, i] for i in sorted(tied)},
            },
            "ones": [i for i, v in plain.items() if v == 1],
            "minus_ones": [i for i, v in plain.items() if v == -1],
        }
        for kind, entries in kinds.items():
            if entries:
                getattr(parts, kind)[name] = entries
    return parts


def _literal(value: object) -> str:
    """Python that evaluates to `value`, plain data, and does nothing else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{_literal(item)}, ' for item in value).rstrip()})"
    if isinstance(value, Code):
        return str(value)
    if type(value) not in (str, int, float, bool):
        raise TinyadderError(f"a {type(value).__name__} cannot be part of a submission file")
    if isinstance(value, str) and "\n" in value:
        return (
            "(\n" + "\n".join(f"    {line!a}" for line in value.splitlines(keepends=True)) + "\n)"
        )
    return ascii(value)
