"""A one-file AdderBoard submission: `build_model()`, `add(model, a, b)`, needs only torch."""

from __future__ import annotations

from pathlib import Path

import torch

from tinyadder.errors import TinyadderError
from tinyadder.io.export import Source
from tinyadder.io.files import write_text
from tinyadder.machine.tensors import items, plain_name
from tinyadder.tasks.addition import Addition

FILE = "{}_submission.py"


def write(source: Source, path: Path) -> None:
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
            f"a submission holds a built float64 model; {source.name} has trained options"
        )
    # Whatever is put into the file is a Python literal: strings from data cannot become code.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,
        finalize=_literal,
    )
    tensors = {}
    for item in items(model):
        flat = item.tensor.detach().cpu().reshape(-1).tolist()
        nonzero = {i: v for i, v in enumerate(flat) if v != 0}
        tensors[item.name] = (tuple(item.tensor.shape), nonzero)
    heads = [block.heads for block in config.blocks]
    counts = "\n".join(f"  {rung:<24} {count:>6}   {text}" for rung, count, text in source.ladder)
    text = environment.get_template("submission.py.jinja").render(
        about=f"{source.name}: {task.digits}-digit addition, written by the tinyadder toolkit as an"
        f" AdderBoard submission.\n\n{source.about}\n\nParameters, by convention (counted from the"
        f" tensors; the first is the community's rule):\n{counts}\n",
        metadata={
            "name": source.name,
            "author": "tinyadder",
            "params": source.ladder[0][1],
            "architecture": f"{len(heads)} layers, d={config.width}, heads {heads}, softmax1, "
            "ALiBi, gated ReLU, float64",
            "tricks": ["weights written as equations", "softmax1", "ALiBi", "float64"],
        },
        config={
            "vocabulary": list(config.vocabulary),
            "outputs": list(config.outputs),
            "blocks": [(block.heads, block.hidden) for block in config.blocks],
            "tied": config.tied,
            "argmin": config.argmin,
        },
        tensors=tensors,
        parameters=sorted(plain_name(name) for name, _ in model.named_parameters()),
        ties=list(config.ties),
        digits=task.digits + task.padding,
        limit=task.digits,
        turn=1 if task.order == "most" else -1,
        steps=task.answer_length,
    )
    write_text(path, text)


def _literal(value: object) -> str:
    """Python that evaluates to `value`, plain data, and does nothing else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{_literal(item)}, ' for item in value).rstrip()})"
    if type(value) not in (str, int, float, bool):
        raise TinyadderError(f"a {type(value).__name__} cannot be part of a submission file")
    if isinstance(value, str) and "\n" in value:
        return (
            "(\n" + "\n".join(f"    {line!a}" for line in value.splitlines(keepends=True)) + "\n)"
        )
    return ascii(value)
