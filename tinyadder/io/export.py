"""A model in the formats of others: ONNX, torch.export, an AdderBoard submission, JSON, a Hugging
Face-shaped folder.

Every export states the numbers bit for bit; what the model does is the same function in each of
them.
"""

from __future__ import annotations

import json
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tinyadder.errors import MissingExtra, TinyadderError
from tinyadder.escape import Markdown, markdown, markdown_code
from tinyadder.inspect.explorer import model_to_json
from tinyadder.io.files import atomic_write, write_together
from tinyadder.io.folder import model_files, tensors_of
from tinyadder.machine.layers import Options
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.base import Task

Ladder = Sequence[tuple[str, int, str]]
"""Counting rungs: (name, count, definition), the community's rung first."""


class Logits(nn.Module):
    """A `Transformer` as a function of tokens alone: what is left when a graph is exported."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model(tokens)


def exported(model: Transformer) -> torch.export.ExportedProgram:
    """The graph of `model`: tokens [b, t] to logits [b, t, o] for every batch from 1 and every
    length from 2 on.

    The example has a batch of 2: from a batch of 1 the exporter would take the 1 for a constant.
    Strict tracing, since the other one leaves conditions on the batch in the graph that a batch of
    1 does not meet.
    """
    example = torch.zeros(2, 8, dtype=torch.int64, device=model.outputs.device)
    axes = {
        0: torch.export.Dim("batch", min=1, max=65536),
        1: torch.export.Dim("length", min=2, max=4096),
    }
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that caches and numpy are traced as what they compute: they may be
        return torch.export.export(
            Logits(model).eval(), (example,), dynamic_shapes={"tokens": axes}, strict=True
        )


def to_torch_export(model: Transformer, path: Path) -> None:
    """Write `exported(model)` as a .pt2 file; `torch.export.load(path).module()` runs it."""
    program = exported(model)
    with atomic_write(path) as part:
        torch.export.save(program, part)


def to_onnx(model: Transformer, path: Path) -> None:
    """Write ONNX in the model's own precision (float64 for built ones): input `tokens` [b, t],
    output `logits`.

    Raises `MissingExtra` where onnx or onnxscript is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra("ONNX export needs: pip install 'tinyadder[onnx]'") from None
    program = torch.onnx.export(
        exported(model), input_names=["tokens"], output_names=["logits"], dynamo=True, verbose=False
    )
    assert program is not None, "the dynamo exporter returns its program"
    with atomic_write(path) as part:
        program.save(part)


def to_json(model: Transformer, path: Path) -> None:
    """Write the operations of the model as JSON, as the explorer page reads them."""
    text = json.dumps(model_to_json(model), indent=1, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def to_submission(
    model: Transformer, task: Task, path: Path, *, name: str, about: str, ladder: Ladder
) -> None:
    """Write a one-file AdderBoard submission: `build_model()`, `add(model, a, b)`, only torch.

    Raises `TinyadderError` for a task that is not the addition of two decimal numbers and for
    trained options.
    """
    from jinja2 import Environment, FileSystemLoader

    if not isinstance(task, Addition) or task.base != 10 or task.operands != 2:
        raise TinyadderError(
            f"a submission adds two decimal numbers; {name} does task '{task.name}'"
        )
    if model.config.options != Options() or model.embedding.dtype != torch.float64:
        raise TinyadderError(
            f"a submission holds a built float64 model; {name} has trained options"
        )
    config = model.config
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), keep_trailing_newline=True, autoescape=False
    ).get_template("submission.py.jinja")
    heads = [b.heads for b in config.blocks]
    tensors, parameters = [], {key for key, _ in model.named_parameters()}
    for key, tensor in tensors_of(model).items():
        flat = tensor.detach().cpu().reshape(-1).tolist()
        tensors.append(
            (_plain(key), tuple(tensor.shape), {i: v for i, v in enumerate(flat) if v != 0})
        )
    text = template.render(
        name=name,
        about=about,
        task=f"{task.digits}-digit addition",
        ladder=ladder,
        params=ladder[0][1],
        config={
            "vocabulary": list(config.vocabulary),
            "outputs": list(config.outputs),
            "blocks": [(b.heads, b.hidden) for b in config.blocks],
            "tied": config.tied,
            "argmin": config.argmin,
        },
        tensors=tensors,
        parameters={_plain(key) for key in parameters},
        ties=list(config.ties),
        architecture=(
            f"{len(heads)} layers, d={config.width}, heads {heads}, softmax1, ALiBi, gated ReLU,"
            " float64"
        ),
        digits=task.digits + task.padding,
        turn=1 if task.order == "most" else -1,
        steps=task.answer_length,
    )
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def _plain(key: str) -> str:
    """The name of a tensor without torch's parametrization."""
    return key.replace("parametrizations.", "").replace(".original", "")


def to_hub_folder(
    model: Transformer,
    task: Task,
    path: Path,
    *,
    name: str,
    about: str,
    ladder: Ladder,
    verdict: Markdown | None = None,
    certificate: bytes | None = None,
) -> None:
    """Write config.json, model.safetensors, model.json and a model card README.md, as a model hub
    shows them; beside them the certificate that the verdict rests on.

    The card is the model's line of the leaderboard: every count with its convention, the verdict
    with its type.
    """
    counts = "\n".join(f"| {rung} | {count:,} | {meaning} |" for rung, count, meaning in ladder)
    example = task.hard()[0]
    options = ", ".join(f"{key}={value}" for key, value in task.to_json()["options"].items())
    right = task.show_answer(task.answer(example))
    uses = [
        f"{use}: {markdown_code(shlex.join(['tinyadder', verb, '.', *words]))}"
        for use, verb, *words in (
            ("use", "run", task.show(example)),
            ("look inside", "trace", task.show(example)),
            ("judge", "verify"),
            ("prove", "prove"),
        )
    ]
    if certificate is not None:
        uses.append("check the proof: `python -m tinyadder.verify.certify.check .`")
    steps = "\n".join(f"- {use}" for use in uses)
    known = verdict or "none: no certificate lay beside the model"
    card = f"""---
library_name: tinyadder
tags: [tinyadder, interpretability, compiled-transformer]
---
# {markdown(name)}

{markdown(about)}

Task: {markdown(f"{task.name} ({options})")}.
For {markdown_code(task.show(example))} the right answer is {markdown_code(right)}.

Parameters, by convention:

| convention | count | counts |
|---|---|---|
{counts}

Verdict on exactly these weights, this config and this task:

- {known}

In this folder:

{steps}
"""
    config = {"model_type": "tinyadder", "task": task.to_json(), **model.config.to_json()}
    files = model_files(model, task, name=name, options={})
    files |= {
        "config.json": f"{json.dumps(config, indent=2)}\n".encode(),
        "README.md": card.encode(),
    }
    if certificate is not None:
        files["certificate.json"] = certificate
    write_together(path, files, remove=[] if certificate else ["certificate.json"])
