"""ONNX: the model in its own precision, and in the metadata all that running it takes.

Input `tokens` [b, t] (ids), output `logits` [b, t, o]. The metadata, each value JSON:

    tinyadder.name, tinyadder.task        what the model is, and what it computes
    tinyadder.vocabulary                  the tokens, in the order of their ids
    tinyadder.outputs                     the id of the token that each logit is of
    tinyadder.examples                    problems as written, tokens of the prompt, answers as read
    tinyadder.answer_length, tinyadder.end   the most tokens of an answer; the token that ends one
    tinyadder.decoding                    the rule, in words
    tinyadder.lanes                       lanes of the residual stream: name and width

With `ExportSource.intermediate` there are more outputs: the attention pattern of every layer,
`blocks.0.attn.hook_pattern` [b, h, t, s], and the residual stream behind every layer, one output a
lane, `blocks.0.lane.NAME` [b, t, width] (`blocks.0.hook_resid_post` where lanes have no names).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinyadder.errors import MissingExtra
from tinyadder.io.export import ExportSource
from tinyadder.io.export.torch_export import Logits, graph, quiet
from tinyadder.io.files import atomic_write
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.custom import as_data

FILE = "{}.onnx"
EXAMPLES = 20
TAGGING = (
    "One pass over the prompt: token n of the answer is the one of `outputs` at the argmax of the "
    "logits n positions behind the first letter of the word."
)
DECODING = (
    "Begin with the tokens of the prompt. Take the logits of the last position; the next token is "
    "the one of `outputs` at their argmax; append it. Go on until the token `end` or, where that "
    "is null, until `answer_length` tokens are appended."
)


def metadata(source: ExportSource) -> dict[str, Any]:
    """What a program that knows only the file needs to ask the model and to read its answers."""
    task, config = source.task, source.model.config
    read_at = task.read_at(task.hard()[0])
    return {
        "name": source.name,
        "task": as_data(task).to_json(),
        "vocabulary": list(config.vocabulary),
        "outputs": list(config.outputs),
        "examples": [
            [task.show(problem), list(task.prompt(problem)), answer]
            for problem, answer in source.examples(EXAMPLES)
        ],
        "answer_length": task.answer_length,
        "end": task.end,
        "decoding": DECODING if read_at is None else TAGGING,
        "lanes": [list(lane) for lane in config.lanes],
    }


class Activations(nn.Module):
    """Tokens to logits, attention patterns and lanes; `names` has the names of these outputs."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model, config = model, model.config
        self.widths = [width for _, width in config.lanes]
        self.names = ["logits"]
        self.hooks: list[str] = []
        for layer, block in enumerate([*config.blocks] * config.options.repeat):
            pattern, stream = f"blocks.{layer}.attn.hook_pattern", f"blocks.{layer}.hook_resid_post"
            self.hooks += [pattern, stream] if block.heads else [stream]
            lanes = [f"blocks.{layer}.lane.{name}" for name, _ in config.lanes]
            self.names += [*([pattern] if block.heads else []), *(lanes or [stream])]

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        kept: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor) -> Tensor:
            kept[name] = value
            return value

        outputs = [self.model(tokens, hook=keep)]
        for name in self.hooks:
            whole = name.endswith("pattern") or not self.widths
            outputs += [kept[name]] if whole else kept[name].split(self.widths, -1)
        return tuple(outputs)


def write(source: ExportSource, path: Path) -> None:
    """Write the model. Raises `MissingExtra` where onnx or onnxscript is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtra("ONNX export needs: pip install 'tinyadder[onnx]'") from None
    function = Activations(source.model) if source.intermediate else Logits(source.model)
    names = function.names if isinstance(function, Activations) else ["logits"]
    with quiet():
        program = torch.onnx.export(
            graph(function), input_names=["tokens"], output_names=names, dynamo=True, verbose=False
        )
    assert program is not None, "the dynamo exporter returns its program"
    for key, value in metadata(source).items():
        program.model.metadata_props[f"tinyadder.{key}"] = json.dumps(value, ensure_ascii=True)
    with atomic_write(path) as part:
        program.save(part)
