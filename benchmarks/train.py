"""Step time of every recipe against a loop of nanoGPT's shape (benchmarks/train_nanogpt.py); with
--layers of our models against the same models from torch.nn's own layers.

    python -m benchmarks.train [RECIPE ...] [--set KEY=VALUE ...] [--rounds N] [--out FILE]
    python -m benchmarks.train --layers [--steps N] [--derivax] [--json] [--out FILE]

The last table of docs/training.md is made from benchmarks/train.json, which `--layers --derivax
--out benchmarks/train.json` wrote.

Both sides train on the same batch with the same optimizer in float32 on one thread; times are CPU
seconds, the best of several rounds, the two sides in turn so that a busy machine slows both.
--derivax compares the published configuration too (seconds a step).
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal

import click
import torch
from torch import Tensor, nn

from benchmarks import train_nanogpt
from tinyadder.commands._options import integer_option, json_option, out_option
from tinyadder.io.files import atomic_write
from tinyadder.tasks.derivative import Derivative
from tinyadder.train.data import encode
from tinyadder.train.evaluate import circumstances
from tinyadder.train.models import make_model, parameters_of
from tinyadder.train.recipe import SIZES, TRAINED, ModelRecipe, read_recipe
from tinyadder.train.steps import Batch, answer_loss

TASK = Derivative(exponents=3)
BATCH, PUBLISHED_BATCH = 128, 16
"""Problems of one step; fewer for the published model, which takes seconds for them."""
PAPER = ModelRecipe(
    options=replace(
        TRAINED,
        positions="learned",
        context=80,
        norm="layer",
        norm_place="post",
        activation="relu",
        gated=False,
        biases=True,
    )
)


class Torch(nn.Module):
    """The decoder from nn.TransformerEncoderLayer with a causal mask, or nn.Transformer, with
    learned positions.
    """

    def __init__(self, recipe: ModelRecipe) -> None:
        super().__init__()
        width, vocabulary = recipe.width, len(TASK.vocabulary)
        self.embedding, self.positions = (
            nn.Embedding(vocabulary, width),
            nn.Embedding(recipe.options.context, width),
        )
        shape: dict[str, Any] = {
            "dim_feedforward": recipe.hidden,
            "dropout": 0.0,
            "batch_first": True,
        }
        layer = nn.TransformerEncoderLayer(width, recipe.heads, **shape)
        self.encoder = nn.TransformerEncoder(layer, recipe.layers)
        self.decoder: nn.Module | None = None
        if recipe.kind == "encoder-decoder":
            self.decoder = nn.TransformerDecoder(
                nn.TransformerDecoderLayer(width, recipe.heads, **shape), recipe.layers
            )
        self.unembedding = nn.Linear(width, vocabulary, bias=False)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))

    def forward(self, tokens: Tensor, prompt: int) -> Tensor:
        """Logits after every token; `prompt` tokens belong to the encoder where there is one."""
        if self.decoder is None:
            mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
            return self.unembedding(self.encoder(self.embed(tokens), mask=mask, is_causal=True))
        answer = tokens[:, prompt - 1 :]
        mask = nn.Transformer.generate_square_subsequent_mask(answer.shape[1])
        memory = self.encoder(self.embed(tokens[:, :prompt]))
        logits = self.unembedding(
            self.decoder(self.embed(answer), memory, tgt_mask=mask, tgt_is_causal=True)
        )
        return nn.functional.pad(logits, (0, 0, prompt - 1, 0))


def batch_of(size: int) -> tuple[Batch, int]:
    """Problems whose prompts have one length, and that length."""
    problems = TASK.balanced(Random(1), 60 * size)
    length = len(TASK.prompt((-4, 5, -3, 2)))
    chosen = [p for p in problems if len(TASK.prompt(p)) == length][:size]
    model = make_model(replace(PAPER, width=8), TASK, 1)
    return Batch.of(encode(TASK, chosen), model, torch.device("cpu")), length


def step_time(model: nn.Module, batch: Batch, prompt: int | None, steps: int) -> float:
    """CPU seconds of one optimizer step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    began = time.process_time()
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        logits = (
            model(batch.tokens[:, :-1]) if prompt is None else model(batch.tokens[:, :-1], prompt)
        )
        (answer_loss(logits, batch) / batch.mask.sum()).backward()
        optimizer.step()
    return (time.process_time() - began) / steps


def compare(
    recipe: ModelRecipe, batch_size: int, steps: int, rounds: int
) -> dict[str, float | int | str]:
    """Our step time, torch's, their ratio, and tokens per second."""
    batch, prompt = batch_of(batch_size)
    ours, theirs = make_model(recipe, TASK, 1), Torch(recipe)
    for model, length in ((ours, None), (theirs, prompt)):
        step_time(model, batch, length, 1)
    times = [
        (step_time(ours, batch, None, steps), step_time(theirs, batch, prompt, steps))
        for _ in range(rounds)
    ]
    mine, torch_s = (min(column) for column in zip(*times, strict=True))
    return {
        "kind": recipe.kind,
        "batch": batch_size,
        "parameters": parameters_of(ours),
        "torch parameters": parameters_of(theirs),
        "ms": round(1000 * mine, 2),
        "torch ms": round(1000 * torch_s, 2),
        "ratio": round(mine / torch_s, 3),
        "tokens/s": round(batch.tokens.numel() / mine),
    }


def sizes(published: bool) -> list[tuple[str, ModelRecipe, int]]:
    """(name, model, problems in a batch) of every row, the largest last."""

    def of(kind: Literal["decoder", "encoder-decoder"], size: str) -> ModelRecipe:
        return replace(PAPER, kind=kind, size=size, **SIZES[size])  # type: ignore[arg-type]

    found = [(size, of("decoder", size), BATCH) for size in ("xsmall", "small", "medium")]
    found += [(size, of("encoder-decoder", size), BATCH) for size in ("xsmall", "small")]
    scaled = read_recipe("derivative-encoder-decoder")
    context = PAPER.options.context
    learned = replace(scaled.model.options, positions="learned", context=context)
    found.append(
        (
            f"recipe {scaled.name}",
            replace(scaled.model, options=learned),
            BATCH,
        )
    )
    if published:
        found.append(("derivax, as published", of("encoder-decoder", "derivax"), PUBLISHED_BATCH))
    return found


@click.command
@click.argument("recipes", nargs=-1)
@click.option("--layers", is_flag=True, help="Compare with torch.nn's layers instead.")
@click.option("--set", "settings", multiple=True, help="A value instead of the recipes'.")
@integer_option("--steps", default=5, help="Optimizer steps a round.")
@integer_option("--rounds", default=3, help="Rounds; the best counts.")
@click.option(
    "--derivax", is_flag=True, help="Also the published encoder-decoder, 15.8 M parameters."
)
@out_option("Also write the rows as JSON to this file.")
@json_option
def main(
    recipes: tuple[str, ...],
    layers: bool,
    settings: tuple[str, ...],
    steps: int,
    rounds: int,
    derivax: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare training steps with a loop of nanoGPT's shape, or with torch.nn's layers."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    if layers:
        given = f" --layers --steps {steps} --rounds {rounds}" + " --derivax" * derivax
        found = (
            {"size": name, **compare(recipe, batch, steps if batch == BATCH else 1, rounds)}
            for name, recipe, batch in sizes(derivax)
        )
    else:
        words = [*recipes, *(f"--set {text}" for text in settings), f"--rounds {rounds}"]
        given = "".join(f" {word}" for word in words)
        found = (
            train_nanogpt.compare(name, rounds, settings)
            for name in recipes or train_nanogpt.committed()
        )
    for row in found:
        rows.append(row)
        if not as_json:
            click.echo("  ".join(f"{key} {value}" for key, value in row.items()))
    result = {
        "command": f"python -m benchmarks.train{given}",
        **circumstances(),
        "machine": (
            f"{os.cpu_count()} CPU cores ({platform.machine()}) shared with other work, one thread"
        ),
        "rows": rows,
    }
    if as_json:
        click.echo(json.dumps(result, indent=1))
    if out is not None:
        with atomic_write(out) as part:
            part.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
