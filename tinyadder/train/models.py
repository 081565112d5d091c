"""Models to be trained: the project's own `Transformer` with a recipe's sizes and options, and its
initial weights.
"""

from __future__ import annotations

from random import Random

import torch
from torch import nn

from tinyadder.errors import TinyadderError
from tinyadder.machine.config import BlockConfig, Config
from tinyadder.machine.encoder import empty_model
from tinyadder.machine.tensors import items
from tinyadder.machine.transformer import MultiHeadAttention, Transformer
from tinyadder.tasks.base import Task
from tinyadder.train.recipe import ModelRecipe


def config_of(recipe: ModelRecipe, task: Task) -> Config:
    """The `Config` of a decoder or an encoder-decoder for `task`."""
    block = BlockConfig(
        heads=recipe.heads,
        d_head=recipe.d_head,
        d_value=recipe.d_value or recipe.d_head,
        hidden=recipe.hidden,
    )
    coder = recipe.kind == "encoder-decoder"
    outputs = tuple(
        i
        for i, token in enumerate(task.vocabulary)
        if not recipe.outputs or token in recipe.outputs
    )
    return Config(
        vocabulary=task.vocabulary,
        width=recipe.width,
        blocks=(block,) * recipe.layers,
        outputs=outputs,
        unembedding=not recipe.tied,
        tied=recipe.tied,
        options=recipe.options,
        encoder=(block,) * recipe.layers if coder else (),
        separator=task.vocabulary.index(separator_of(task)) if coder else 0,
    )


def separator_of(task: Task) -> str:
    """The token that ends every prompt, and occurs nowhere else in it. Raises `TinyadderError`
    where there is none.
    """
    prompts = [list(task.prompt(problem)) for problem in task.uniform(Random(0), 20)]
    last = prompts[0][-1]
    if any(prompt.index(last) != len(prompt) - 1 if last in prompt else True for prompt in prompts):
        raise TinyadderError(
            f"the prompts of task '{task.name}' do not end in a token of their own, which tells an"
            " encoder-decoder where the answer begins; train a decoder"
        )
    return last


def make_model(recipe: ModelRecipe, task: Task, seed: int) -> Transformer:
    """A model with random initial weights, the same for the same seed."""
    model = empty_model(config_of(recipe, task), getattr(torch, recipe.dtype))
    random = torch.Generator().manual_seed(seed)
    initialise(model, random)
    if recipe.initial == "xavier":
        xavier(model, random)
    attentions = [module for module in model.modules() if isinstance(module, MultiHeadAttention)]
    for attention, slopes in zip(attentions, recipe.slopes, strict=False):
        attention.slopes.copy_(torch.tensor(slopes))
    return model


def initialise(model: Transformer, random: torch.Generator) -> None:
    """Matrices normal with deviation 1/sqrt(inputs), those that write to the stream less by sqrt(2
    layers); biases 0.

    Embeddings are normal with deviation 1 (divided by sqrt(width) where they are the readout too),
    the radius, first angle and step of a circle with deviations 0.5, 1.5 and 0.3 about 2, 0 and 0;
    norms 1, ALiBi slopes 2^-1, 2^-2, ... one a head.
    """
    layers = len(model.blocks) * model.config.options.repeat
    with torch.no_grad():
        for item in items(model):
            if not isinstance(item.tensor, nn.Parameter):
                continue
            match item.kind.role if item.kind else "fixed":
                case "gain":
                    item.tensor.fill_(1.0)
                case "bias":
                    item.tensor.zero_()
                case "table" if item.name == "circle":
                    spread = torch.randn(3, generator=random, dtype=item.tensor.dtype)
                    item.tensor.copy_(spread * torch.tensor([0.5, 1.5, 0.3]))
                    item.tensor[0] += 2
                case "table":
                    std = model.config.width**-0.5 if model.config.tied else 1.0
                    nn.init.normal_(item.tensor, std=std, generator=random)
                case "readout" | "reads":
                    std = item.tensor.shape[-1] ** -0.5
                    nn.init.normal_(item.tensor, std=std, generator=random)
                case "writes":
                    inputs = item.tensor.numel() // model.config.width
                    std = inputs**-0.5 / (2 * layers) ** 0.5
                    nn.init.normal_(item.tensor, std=std, generator=random)
        for attention in model.modules():
            if isinstance(attention, MultiHeadAttention) and attention.options.positions == "alibi":
                attention.slopes.copy_(2.0 ** -torch.arange(1, len(attention.slopes) + 1))
            if isinstance(attention, MultiHeadAttention) and not attention.options.projected:
                columns = torch.arange(attention.wiring[..., 0].numel()) % model.config.width
                attention.wiring.copy_(
                    nn.functional.one_hot(columns, model.config.width).view_as(attention.wiring)
                )


def xavier(model: Transformer, random: torch.Generator) -> None:
    """The matrices of the layers anew: uniform within sqrt(6 / (inputs + outputs)) of 0; the rows
    of all heads are one matrix.
    """
    with torch.no_grad():
        for item in items(model):
            role = item.kind.role if item.kind else "fixed"
            if isinstance(item.tensor, nn.Parameter) and role in ("reads", "writes"):
                sides = (model.config.width, item.tensor.numel() // model.config.width)
                bound = (6 / sum(sides)) ** 0.5
                nn.init.uniform_(item.tensor, -bound, bound, generator=random)


def parameters_of(model: nn.Module) -> int:
    """Entries of all parameters, a shared one once: the rung `stored`."""
    return sum(parameter.numel() for parameter in model.parameters())
