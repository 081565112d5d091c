"""Look inside one run: what each head attends to, which hidden units fire, how every lane changes,
who wins.

    contribution_j = weight_j * value_j,   lane after = lane before + sum of contributions

`run_with_cache` gives every activation of a forward pass under its TransformerLens name; `trace`
reads from it the step that emits one answer token, in plain numbers by lane name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.machine.answers import answers
from tinyadder.machine.config import Config
from tinyadder.machine.transformer import Transformer
from tinyadder.plain import as_int
from tinyadder.tasks.base import Problem, Task
from tinyadder.text import Shown, format_table

Lanes = dict[str, list[float]]
"""The residual stream at one position: lane name -> its components."""


def lane_columns(config: Config, lane: str | SupportsIndex) -> list[int]:
    """The columns of the residual stream that hold `lane`; a column's own number where lanes have
    no names.

    Raises `TinyadderError` for a lane that the model does not have.
    """
    if (column := as_int(lane)) is not None:
        lane = column
        if not 0 <= lane < config.width:
            raise TinyadderError(
                f"no column {lane}; the residual stream has columns 0 .. {config.width - 1}"
            )
        return [lane]
    names = [name for name, _ in config.lanes]
    if lane not in names:
        listed = (
            f"lanes: {', '.join(names)}"
            if names
            else f"lanes have no names; give a column 0 .. {config.width - 1}"
        )
        raise TinyadderError(f"no lane '{lane}' ({listed})" + did_you_mean(str(lane), names))
    first = sum(width for _, width in config.lanes[: names.index(lane)])
    return list(range(first, first + dict(config.lanes)[lane]))


def stream_names(config: Config, place: str | None = None) -> list[str]:
    """TransformerLens names of the residual stream at every place, in the order of the forward
    pass, or of this one.

    Raises `TinyadderError` where `place` is not among them.
    """
    layers = range(len(config.blocks) * config.options.repeat)
    names = [
        "hook_embed",
        *(f"blocks.{i}.hook_resid_{at}" for i in layers for at in ("pre", "mid", "post")),
    ]
    if place is None:
        return names
    if place not in names:
        raise TinyadderError(
            f"'{place}' is not a place of the residual stream" + did_you_mean(place, names)
        )
    return [place]


def activation_names(config: Config) -> list[str]:
    """TransformerLens names of every activation of a decoder, in the order of the forward pass.

    >>> from tinyadder.machine.config import BlockConfig
    >>> small = Config(vocabulary=("0",), width=1, blocks=(BlockConfig(hidden=1),), outputs=(0,))
    >>> activation_names(small)[1:4]
    ['blocks.0.hook_resid_pre', 'blocks.0.hook_resid_mid', 'blocks.0.mlp.hook_pre']
    """
    names = ["hook_embed"]
    for layer, block in enumerate([*config.blocks] * config.options.repeat):
        attention = [
            *(f"attn.hook_{part}" for part in ("q", "k", "v", "attn_scores", "pattern", "z")),
            "hook_attn_out",
        ]
        mlp = ["mlp.hook_pre", "mlp.hook_post", "hook_mlp_out"]
        parts = ["hook_resid_pre", *(attention if block.heads else ()), "hook_resid_mid"]
        parts += [*(mlp if block.hidden else ()), "hook_resid_post"]
        names += [f"blocks.{layer}.{part}" for part in parts]
    return names


SUBLAYERS = {
    **dict.fromkeys(("q", "k", "v", "attn_scores", "pattern", "z"), "attn.hook_"),
    **dict.fromkeys(("pre", "post"), "mlp.hook_"),
}
"""Where the activations with these short names stand; others stand in the block itself."""


class ActivationCache(Shown, dict[str, Tensor]):
    """Every activation of a forward pass by its TransformerLens name, and the residual stream by
    lane name.

    `cache["pattern", 0]` is short for `cache["blocks.0.attn.hook_pattern"]`; layers count from the
    end if negative. Its `print` is a table of names and shapes. Raises `TinyadderError` for a name
    that the model does not have.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def __getitem__(self, key: Any) -> Tensor:
        return super().__getitem__(key) if isinstance(key, str) else self.__missing__(key)

    def __missing__(self, key: Any) -> Tensor:
        if (
            isinstance(key, tuple)
            and len(key) == 2
            and isinstance(key[0], str)
            and (layer := as_int(key[1])) is not None
        ):
            short = key[0]
            layers = len(self.config.blocks) * self.config.options.repeat
            place = f"blocks.{layer + layers if layer < 0 else layer}"
            name = f"{place}.{SUBLAYERS.get(short, 'hook_')}{short}"
            if name in self:
                return self[name]
            shorts = {known.rpartition("hook_")[2] for known in self}
            layer_names = f"layers 0 .. {layers - 1}, names {', '.join(sorted(shorts))}"
            raise TinyadderError(
                f"no activation '{short}' in layer {layer} ({layer_names})"
                + did_you_mean(short, shorts)
            )
        raise TinyadderError(
            f"no activation {key!r:.80}{did_you_mean(str(key), self)} (names: print(cache.keys()); "
            "short ones: ('pattern', 0))"
        )

    def __str__(self) -> str:
        rows = [(name, " ".join(map(str, tensor.shape))) for name, tensor in self.items()]
        return format_table("", {"activation": "left", "shape": "left"}, rows)

    def lane(self, lane: str | SupportsIndex, place: str | None = None) -> Float[Tensor, "b t w"]:
        """A lane at every position, after the last layer or at `place` ("blocks.0.hook_resid_mid").

        Raises `TinyadderError` for a lane or a place that the model does not have.
        """
        (name,) = stream_names(self.config, place or stream_names(self.config)[-1])
        if name not in self:
            raise TinyadderError(
                f"this cache has no '{name}': an encoder-decoder shows no residual stream"
            )
        return self[name][..., lane_columns(self.config, lane)]


@torch.inference_mode()
def run_with_cache(
    model: Transformer, tokens: Int[Tensor, "b t"]
) -> tuple[Float[Tensor, "b t o"], ActivationCache]:
    """Logits of a forward pass and every activation by its TransformerLens name
    (`blocks.0.attn.hook_pattern`).
    """
    cache = ActivationCache(model.config)

    def keep(name: str, value: Tensor) -> Tensor:
        cache[name] = value
        return value

    return model(tokens, hook=keep), cache


@dataclass(frozen=True)
class AttendedToken:
    """One token that a query attends to; `value` and `contribution` have one number per value row
    of the head.
    """

    position: int
    token: str
    score: float
    """q . k + slope * (j - i), before softmax1."""
    weight: float
    value: list[float]
    contribution: list[float]


@dataclass(frozen=True)
class HeadStep:
    """One head at one query."""

    head: int
    lanes: list[str]
    """The lanes it adds to."""
    query: list[float]
    nothing: float
    """The weight of attending to nothing, 1 / (1 + sum exp(score)); 0 for a plain softmax."""
    tokens: list[AttendedToken]
    """Every token up to the query."""
    output: list[float]
    rows: list[list[str]]
    """For each value row the lanes (or lane[i]) that it is added to."""


@dataclass(frozen=True)
class UnitStep:
    """One hidden unit: activation(gate) * up, and what its down weights add to each lane (or
    lane[i]).
    """

    unit: int
    gate: float
    up: float
    output: float
    added: dict[str, float]


@dataclass(frozen=True)
class SublayerStep:
    """One attention or MLP at one position: the lanes before and after, and its heads or units."""

    layer: int
    kind: str
    before: Lanes
    after: Lanes
    heads: list[HeadStep]
    units: list[UnitStep]


@dataclass(frozen=True)
class AnswerStep:
    """The forward pass that emits one answer token."""

    text: list[str]
    """The tokens read; the last one is the query."""
    index: int
    """Which answer token is emitted, counted from 0."""
    answer: list[str]
    """The model's whole answer, by greedy decoding."""
    right: list[str] | None
    """None where the right answer is not known."""
    embedded: Lanes
    sublayers: list[SublayerStep]
    logits: dict[str, float]
    chosen: str
    runner_up: str
    margin: float
    """Logit of the chosen token minus that of the runner-up."""


def trace(model: Transformer, task: Task, problem: Problem, index: SupportsIndex) -> AnswerStep:
    """The step that emits answer token `index` (from 0) when `model` answers `problem` greedily.

    Raises `TinyadderError` if the answer has no such token.
    """
    (answer,) = answers(model, task, [problem])
    number = as_int(index)
    if number is None or not 0 <= number < len(answer):
        raise TinyadderError(
            f"the answer {''.join(answer)} has tokens 0 .. {len(answer) - 1}, there is no {index}"
        )
    return _step(model, task, problem, answer, number)


def trace_all(model: Transformer, task: Task, problem: Problem) -> list[AnswerStep]:
    """Every step of the answer to `problem`."""
    (answer,) = answers(model, task, [problem])
    return [_step(model, task, problem, answer, index) for index in range(len(answer))]


def _step(
    model: Transformer, task: Task, problem: Problem, answer: Sequence[str], index: int
) -> AnswerStep:
    read = task.read_at(problem)
    text = (
        [*task.prompt(problem), *answer[:index]]
        if read is None
        else [*task.prompt(problem)[: read[index] + 1]]
    )
    tokens = torch.from_numpy(task.encode([text])).to(model.outputs.device)
    logits, cache = run_with_cache(model, tokens)
    look = _Look(model, {name: value[0].cpu() for name, value in cache.items()}, text)
    return AnswerStep(
        text=text,
        index=index,
        answer=list(answer),
        right=None if (right := task.expected(problem)) is None else list(right),
        embedded=look.lanes("blocks.0.hook_resid_pre")
        if len(model.blocks)
        else look.lanes("hook_embed"),
        sublayers=[step for layer in range(look.layers) for step in look.block(layer)],
        **_decision(
            [model.config.vocabulary[i] for i in model.config.outputs], logits[0, -1].cpu()
        ),
    )


def _decision(tokens: list[str], logits: Float[Tensor, " o"]) -> dict[str, Any]:
    order = logits.argsort(descending=True, stable=True).tolist()
    best, second = order[0], order[min(1, len(order) - 1)]
    return {
        "logits": dict(zip(tokens, logits.tolist(), strict=True)),
        "chosen": tokens[int(logits.argmax())],
        "runner_up": tokens[second],
        "margin": float(logits[best] - logits[second]),
    }


class _Look:
    """Reads the activations of one text (cached, without their batch axis) at its last position."""

    def __init__(self, model: Transformer, cache: dict[str, Tensor], text: list[str]) -> None:
        self.model, self.cache, self.text = model, cache, text
        self.layers = len(model.blocks) * model.config.options.repeat
        named = model.config.lanes or (("stream", model.config.width),)
        self.columns = [(lane, i, width) for lane, width in named for i in range(width)]

    def lanes(self, name: str) -> Lanes:
        result: Lanes = {}
        for (lane, _, _), value in zip(self.columns, self.cache[name][-1].tolist(), strict=True):
            result.setdefault(lane, []).append(value)
        return result

    def column(self, index: int) -> str:
        lane, i, width = self.columns[index]
        return lane if width == 1 else f"{lane}[{i}]"

    def block(self, layer: int) -> list[SublayerStep]:
        block: Any = self.model.blocks[layer % len(self.model.blocks)]
        name = f"blocks.{layer}."
        pre, mid, post = (
            self.lanes(f"{name}hook_resid_{place}") for place in ("pre", "mid", "post")
        )
        steps = []
        if block.attention is not None:
            heads = [
                self.head(block.attention, name, h) for h in range(len(block.attention.slopes))
            ]
            steps.append(SublayerStep(layer, "attention", pre, mid, heads, []))
        if block.mlp is not None:
            steps.append(SublayerStep(layer, "mlp", mid, post, [], self.units(block, name)))
        return steps

    def head(self, attention: Any, name: str, head: int) -> HeadStep:
        of = {
            key: self.cache[f"{name}attn.hook_{key}"][head]
            for key in ("q", "v", "attn_scores", "pattern", "z")
        }
        scores, weights = of["attn_scores"][-1], of["pattern"][-1]
        highest = scores.max().clamp(min=0)
        nothing = torch.exp(-highest) / (torch.exp(-highest) + torch.exp(scores - highest).sum())
        attended = [
            AttendedToken(j, token, score, weight, value, [weight * v for v in value])
            for j, (token, score, weight, value) in enumerate(
                zip(self.text, scores.tolist(), weights.tolist(), of["v"].tolist(), strict=True)
            )
        ]
        written = [row.nonzero()[:, 0].tolist() for row in attention.wiring[head].detach().cpu()]
        lanes = list(
            dict.fromkeys(
                self.columns[column][0] for column in sorted({c for row in written for c in row})
            )
        )
        softmax1 = attention.options.softmax == "softmax1"
        return HeadStep(
            head=head,
            lanes=lanes,
            query=of["q"][-1].tolist(),
            nothing=float(nothing) if softmax1 else 0.0,
            tokens=attended,
            output=of["z"][-1].tolist(),
            rows=[[self.column(column) for column in row] for row in written],
        )

    def units(self, block: Any, name: str) -> list[UnitStep]:
        mlp, gate, post = (
            block.mlp,
            *(self.cache[f"{name}mlp.hook_{key}"][-1] for key in ("pre", "post")),
        )
        read = self.cache[f"{name}hook_resid_mid"][None, -1:].to(self.model.outputs.device)
        with torch.inference_mode():
            gated = mlp.options.gated
            up = (
                mlp.project("up", block.before(block.mlp_norm, read))[0, 0].cpu()
                if gated
                else torch.ones_like(gate)
            )
        down = mlp.down.detach().cpu()
        return [
            UnitStep(
                unit,
                float(gate[unit]),
                float(up[unit]),
                float(post[unit]),
                {
                    self.column(c): float(down[c, unit] * post[unit])
                    for c in down[:, unit].nonzero()[:, 0].tolist()
                },
            )
            for unit in range(len(gate))
        ]
