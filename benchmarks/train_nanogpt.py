"""Step time of every committed recipe against a loop of nanoGPT's shape, in one run.

The other side is plain torch as in Karpathy's nanoGPT: the recipe's width, heads and number of
layers (of both towers), one product for query, key and value, torch's fused attention, GELU units
of four times the width, LayerNorm, learned positions, a tied readout, AdamW, gradients clipped;
every text padded to the longest of the data, the loss on all tokens. Ours is a step of `tinyadder
train` with all that the recipe asks for. Both get the same batches of problems in turn; times are
CPU seconds of one thread, the best of several rounds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tinyadder.train.data import Examples
from tinyadder.train.loop import Run
from tinyadder.train.models import parameters_of
from tinyadder.train.recipe import ModelRecipe, read_recipe, recipe_names

LARGE = ("derivax",)
"""Recipes whose step takes a minute: measured only when they are named."""
BATCHES = 8


class Layer(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, inner = heads, heads * max(1, width // heads)
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.rows, self.back = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.rows(self.before_attention(x)).chunk(3, -1)
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.back(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.before_mlp(x))))


class NanoGPT(nn.Module):
    """A decoder of nanoGPT's shape with the sizes of a recipe."""

    def __init__(self, recipe: ModelRecipe, tokens: int, longest: int) -> None:
        super().__init__()
        towers = 2 if recipe.kind == "encoder-decoder" else 1
        count = recipe.layers * recipe.options.repeat * towers
        self.embedding = nn.Embedding(tokens, recipe.width)
        self.positions = nn.Embedding(longest, recipe.width)
        self.layers = nn.ModuleList(Layer(recipe.width, recipe.heads) for _ in range(count))
        self.norm = nn.LayerNorm(recipe.width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.embedding.weight.T


def nanogpt_step(model: NanoGPT, longest: int) -> Callable[[Examples], None]:
    """A step on the problems of a batch, padded to `longest` tokens."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

    def step(examples: Examples) -> None:
        missing = longest - examples.tokens.shape[1]
        tokens = functional.pad(torch.from_numpy(examples.tokens), (0, missing))
        logits = model(tokens[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def cpu_seconds(step: Callable[[Examples], None], batches: Sequence[Examples]) -> float:
    """Of one step, on average over the batches."""
    began = time.process_time()
    for batch in batches:
        step(batch)
    return (time.process_time() - began) / len(batches)


def compare(name: str, rounds: int, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Milliseconds a step of the recipe `name` with these settings, of the other loop, and the
    ratio.
    """
    few = ("examples=4000", "validation=20", "test=20")
    recipe = read_recipe(name, [*few, *settings])
    with tempfile.TemporaryDirectory() as folder:
        run = Run(recipe, 1, Path(folder))
    batches = [run.dealer.batch(step) for step in range(BATCHES)]
    longest = max(batch.tokens.shape[1] for batch in batches)
    other = NanoGPT(recipe.model, len(recipe.task.vocabulary), longest)
    theirs = nanogpt_step(other, longest)

    def ours(examples: Examples) -> None:
        run.state.stepper.advance(examples, recipe.train.warmup + 1)

    for batch in batches:  # compiles, where the recipe asks for it, for every length
        ours(batch)
    theirs(batches[0])
    times = [(cpu_seconds(ours, batches), cpu_seconds(theirs, batches)) for _ in range(rounds)]
    mine, plain = (min(column) for column in zip(*times, strict=True))
    return {
        "recipe": name,
        "settings": list(settings),
        "parameters": parameters_of(run.model),
        "nanoGPT parameters": parameters_of(other),
        "batch": recipe.train.batch,
        "ms": round(1000 * mine, 2),
        "nanoGPT ms": round(1000 * plain, 2),
        "ratio": round(mine / plain, 3),
    }


def committed() -> list[str]:
    """The recipes that are measured where none is named."""
    return [name for name in recipe_names() if name not in LARGE]
