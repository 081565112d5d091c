"""A program in a stock architecture of Hugging Face's transformers, loaded without remote code.

    AutoModelForCausalLM.from_pretrained(folder)      # LlamaForCausalLM, or GPT2LMHeadModel
    AutoTokenizer.from_pretrained(folder)

What the machine has and the stock class has not, and how it is held:

- the 1 of softmax1: a token <s> in front of the text. It has zeros in every lane of the program,
  and biases are weights on a lane that is 1 on all other tokens: its key scores 0, its value is 0.
- no norm: every token carries a number C so large that it alone decides the norm. x / sqrt(mean of
  squares) is x / C up to a part (|x| / C)^2; the norm's own weight multiplies by C again. LayerNorm
  also takes away the mean: there each lane stands beside its negative, and is read as half of the
  difference.
- slopes: GPT-2 has a learned table of positions, one lane of which counts. LLaMA has none.
- no positions (LLaMA): the base of its rotary positions is so large that every pair of rows turns
  by nothing but the first, which is left empty.
- a gated unit relu(a) b is one of LLaMA's with hidden_act relu. GPT-2's MLP has no gate, so that b
  has to be a constant there.

A head that sums has scores far below 0 and values as far above: 2^-32 is far enough here, so that
values stay small; what LayerNorm's own rounding leaves of a mean of 0 is read with such a weight at
<s>. A LLaMA computes its norms in float32, so all of it is float32, where a program is exact for
shorter texts; a GPT-2 is float64. `convert` tries the result.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, exp, log, log2
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tinyadder.errors import TinyadderError
from tinyadder.escape import markdown
from tinyadder.inspect.circuit import circuit
from tinyadder.io.export import ExportSource
from tinyadder.io.export.hub import text_of, tokenizer_files
from tinyadder.io.files import write_together
from tinyadder.machine.tensors import columns
from tinyadder.machine.transformer import Block, Transformer
from tinyadder.tasks.base import Problem, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Family = Literal["llama", "gpt2"]
START = "<s>"
ROTARY_BASE = 1e300
"""To the power of any fraction of a head it is infinite in float32, and its inverse frequency 0."""
DTYPE = {"llama": torch.float32, "gpt2": torch.float64}
LARGEST = 2.0**100
"""The largest weight; its products with activations have to stay finite in float32."""
QUIET = 2.0**16
"""How far the constant of the norm is above every lane: its square is below the last place."""
LINEAR = 2.0**-32
"""The weight that a head which sums gives to all tokens but <s> together: its relative error."""
POSITIONS = 4096
"""The longest text with its answer, <s> included: rows of GPT-2's table of positions."""
TRIED = 200
"""Problems on which a conversion is tried."""


@dataclass(frozen=True)
class Layout:
    """Where the lanes of a program lie in the hidden states of the stock model."""

    family: Family
    lanes: int
    heads: int
    head_dim: int
    units: int
    layers: int
    constant: float
    """C, what decides the norm."""
    quiet: float
    """A logit below every other."""
    raised: dict[tuple[int, int], float]
    """(layer, head) -> what is added to its scores, and divided out of its values as e^that."""
    basis: Tensor
    """[lanes + 2, lanes + 2], orthogonal: directions of the lanes, of `one` and `position`."""
    width: int = field(init=False)

    def __post_init__(self) -> None:
        width = self.heads * self.head_dim  # GPT-2 knows no other
        if self.family == "llama":  # a power of 4, so that norms multiply by powers of 2 only
            width = 4 ** ceil(log2(self.lanes + 2) / 2)
            width = max(width, self.heads)  # a multiple of the heads, as the class wants
        object.__setattr__(self, "width", width)

    @property
    def one(self) -> int:
        """The lane that is 1 on every token but <s>."""
        return self.lanes

    @property
    def position(self) -> int:
        """The lane that counts tokens (GPT-2)."""
        return self.lanes + 1

    def written(self, lanes: Tensor) -> Tensor:
        """[.., lanes of the program (with `one`, `position`)] -> [.., width]: what a token or a
        sublayer adds to the hidden states.
        """
        count = self.lanes + (2 if self.family == "gpt2" else 1)
        turned = (lanes @ self.basis[: lanes.shape[-1]])[..., :count]
        stream = lanes.new_zeros(*lanes.shape[:-1], self.width)
        stream[..., :count] = turned
        if self.family == "gpt2":
            stream[..., self.width // 2 : self.width // 2 + count] = -turned
        return stream

    def read(self, rows: Tensor, bias: Tensor | None = None) -> Tensor:
        """[.., lanes] -> [.., width]: the weights that read the same from normed hidden states; a
        bias is a weight on the lane `one`.
        """
        whole = rows.new_zeros(*rows.shape[:-1], self.lanes + 2)
        whole[..., : rows.shape[-1]] = rows
        if bias is not None:
            whole[..., self.one] += bias
        return self.written(whole) / (2 if self.family == "gpt2" else 1)

    def directions(self, names: Sequence[str]) -> dict[str, list[float]]:
        """The direction in the hidden states of each lane of the program, and of `one`."""
        rows = self.written(torch.eye(self.lanes + 1).double())
        return dict(zip([*names, "(1 on every token but <s>)"], rows.tolist(), strict=True))

    def normed(self) -> Tensor:
        """The weight of every norm: what C became is C again."""
        size = 2 if self.family == "gpt2" else 1
        return torch.full((self.width,), self.constant * (size / self.width) ** 0.5)


def convert(
    model: Transformer,
    task: Task,
    family: Family,
    *,
    problems: Sequence[Problem] | None = None,
    rotate: int | None = None,
    noise: float = 0.0,
) -> tuple[PreTrainedModel, Layout]:
    """The model as a stock LLaMA (float32) or GPT-2 (float64) of transformers, tried on `problems`
    (default: 200, half of them hard), and where its lanes are.

    For those who test methods of interpretability: `rotate` (a seed) turns the lanes by a random
    orthogonal matrix, so that no lane is a neuron of the residual stream; `noise` multiplies every
    weight of attention and MLP by 1 + noise times a standard normal number.

    Raises `TinyadderError` with the part that the class cannot hold, or with the first problem that
    it answers wrongly: it is exact for shorter texts than the program.
    """
    import transformers

    if problems is None:
        random, half = Random(0), TRIED // 2
        hard = task.hard()
        problems = [*random.sample(hard, min(half, len(hard))), *task.structured(random, half)]
    prompts = [task.prompt(problem) for problem in problems]
    longest = max(map(len, prompts)) + task.answer_length
    if longest >= POSITIONS:
        raise TinyadderError(
            f"a text with its answer has {longest} tokens, and the stock model reads "
            f"{POSITIONS - 1}; compile with a shorter length"
        )
    layout = _layout(model, prompts, longest, family, rotate)
    weights = _weights(model, layout)
    largest = max(float(weight.abs().max()) for weight in weights.values())
    if not largest < LARGEST:
        raise TinyadderError(
            f"a weight of {largest:.3g} does not fit float32; compile with a shorter length"
        )
    config = transformers.AutoConfig.for_model(**_config(model, task, layout))
    dtype = DTYPE[family]
    stock = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    drawn = torch.Generator().manual_seed(0 if rotate is None else rotate)
    for name, weight in weights.items():
        if noise and ("attn" in name or "mlp" in name):
            weight *= 1 + noise * torch.randn(weight.shape, generator=drawn, dtype=weight.dtype)
    state = {name: weight.to(dtype) for name, weight in weights.items()}
    missing = stock.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and not missing.missing_keys, missing
    stock.eval()
    wrong = _wrong(stock, model, task, problems)
    if wrong:
        problem, got = wrong[0]
        raise TinyadderError(
            f"as a {family} it answers {len(wrong)} of {len(problems)} problems wrongly, first "
            f"{task.show(problem)} by {task.show_answer(got)!r}; compile for shorter texts"
        )
    return stock, layout


def blocks_of(model: Transformer) -> list[Block]:
    """The layers."""
    return [block for block in model.blocks if isinstance(block, Block)]


def tensor(module: torch.nn.Module, name: str) -> Tensor:
    """A weight of a module that has biases and gates."""
    value = getattr(module, name)
    assert isinstance(value, Tensor)
    return value


def _layout(
    model: Transformer,
    prompts: Sequence[Sequence[str]],
    longest: int,
    family: Family,
    rotate: int | None,
) -> Layout:
    """Sizes, and how large lanes, logits and attention become on these prompts."""
    if not model.config.plain:
        raise TinyadderError(
            "only programs are converted; this model has options of a trained one"
            f" ({model.config.chosen or 'an encoder'})"
        )
    logits = 1.0
    largest = 1.0 + longest  # positions are a lane, too
    ids = {token: i for i, token in enumerate(model.config.vocabulary)}
    attended: dict[tuple[int, int], float] = {}

    def seen(name: str, value: Tensor) -> Tensor:
        nonlocal largest
        if "hook_pattern" in name:
            for h, most in enumerate(value.sum(-1).amax(dim=(0, 2)).tolist()):
                key = int(name.split(".")[1]), h
                attended[key] = max(attended.get(key, 0.0), most)
        if "hook_resid" in name:
            largest = max(largest, float(value.abs().max()))
        return value

    with torch.no_grad():
        for prompt in prompts:
            output = model(torch.tensor([[ids[token] for token in prompt]]), hook=seen)
            logits = max(logits, float(output.abs().max()))
    keys = values = 1
    blocks = blocks_of(model)
    for depth, block in enumerate(blocks):
        _check(block, depth, family)
        if block.attention is not None:
            keys = max(keys, tensor(block.attention, "query").shape[1])
            values = max(values, tensor(block.attention, "value").shape[1])
    heads = max([1, *(tensor(b.attention, "query").shape[0] for b in blocks if b.attention)])
    units = max([1, *(tensor(b.mlp, "gate").shape[0] for b in blocks if b.mlp)])
    if family == "llama":
        heads = 2 ** ceil(log2(heads))
        head_dim = 4 ** max(1, ceil(log2(max(keys + 3, values)) / 2))  # its root is a power of 2
    else:
        needed = 2 * (model.config.width + 3)
        head_dim = max(keys + 3, values, ceil(needed / heads))
        head_dim += head_dim * heads % 2
    constant = 2.0 ** ceil(log2(largest * QUIET))
    if constant > 2.0**60:
        raise TinyadderError(
            f"a lane holds {largest:.3g}; what is {QUIET:g} times larger has no square in float32"
        )
    sizes = (model.config.width, heads, head_dim, units, len(model.blocks))
    quiet = -(2.0 ** ceil(log2(4 * logits)))
    raised = {at: log(LINEAR / most) for at, most in attended.items() if 0 < most < LINEAR}
    basis = torch.eye(model.config.width + 2).double()
    if rotate is not None:
        count = len(basis) - (family == "llama")  # a LLaMA has no lane `position`
        random = torch.Generator().manual_seed(rotate)
        drawn = torch.randn(count, count, generator=random, dtype=torch.float64)
        basis[:count, :count] = torch.linalg.qr(drawn)[0]
    return Layout(family, *sizes, constant, quiet, raised, basis)


def _check(block: Block, depth: int, family: Family) -> None:
    """Raises `TinyadderError` with the part of a block that the family cannot hold."""
    slopes = None if block.attention is None else block.attention.slopes
    if family == "llama" and slopes is not None and bool((slopes != 0).any()):
        raise TinyadderError(
            f"layer {depth} tells near from far by an ALiBi slope, and a LLaMA has nothing for "
            "that; gpt2 has (a table of positions)"
        )
    if family == "gpt2" and block.mlp is not None:
        gated = (tensor(block.mlp, "up") != 0).any(dim=1).nonzero()[:, 0].tolist()
        if gated:
            raise TinyadderError(
                f"unit {gated[0]} of layer {depth} multiplies two values, and a GPT-2 has no gate; "
                "llama has"
            )


def _config(model: Transformer, task: Task, layout: Layout) -> dict[str, Any]:
    """config.json."""
    vocabulary = model.config.vocabulary
    end = None if task.end is None else vocabulary.index(task.end)
    common = {
        "model_type": layout.family,
        "vocab_size": len(vocabulary) + 1,
        "bos_token_id": len(vocabulary),
        "eos_token_id": end,
        "pad_token_id": None,
        "tie_word_embeddings": False,
        "dtype": str(DTYPE[layout.family]).removeprefix("torch."),
    }
    if layout.family == "llama":
        return common | {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": layout.width,
            "intermediate_size": layout.units,
            "num_hidden_layers": layout.layers,
            "num_attention_heads": layout.heads,
            "num_key_value_heads": layout.heads,
            "head_dim": layout.head_dim,
            "hidden_act": "relu",
            "rms_norm_eps": 0.0,
            "max_position_embeddings": POSITIONS,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
        }
    return common | {
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": layout.width,
        "n_inner": layout.units,
        "n_layer": layout.layers,
        "n_head": layout.heads,
        "n_positions": POSITIONS,
        "activation_function": "relu",
        "layer_norm_epsilon": 0.0,
        "scale_attn_weights": False,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _weights(model: Transformer, layout: Layout) -> dict[str, Tensor]:
    """The state of the stock class, float64."""
    with torch.no_grad():
        embedding = _embedding(model, layout)
        rows = model.unembed_matrix().detach().double()
        bias = rows.new_zeros(len(rows))
        if model.config.unembedding_bias:
            bias = model.unembedding_bias.detach().double()
        sign = -1.0 if model.config.argmin else 1.0
        readout = rows.new_zeros(len(embedding), layout.width)
        readout[:] = layout.read(
            rows.new_zeros(1, layout.lanes), torch.tensor([layout.quiet]).double()
        )
        readout[model.outputs] = layout.read(sign * rows, sign * bias)
        build = _llama if layout.family == "llama" else _gpt2
        weights = build(model, layout, embedding)
        return weights | {"lm_head.weight": readout}


def _embedding(model: Transformer, layout: Layout) -> Tensor:
    """Tokens and <s> -> hidden states: the lanes, `one`, and C on every token."""
    embedding = model.embedding.detach().double()
    lanes = embedding.new_zeros(len(embedding) + 1, layout.lanes + 1)
    lanes[:-1, :-1], lanes[:-1, layout.one] = embedding, 1.0
    rows = layout.written(lanes)
    rows[:, layout.width // 2 - 1 if layout.family == "gpt2" else -1] = layout.constant
    if layout.family == "gpt2":
        rows[:, -1] = -layout.constant
    return rows


def _attention_rows(block: Block, depth: int, layout: Layout) -> tuple[Tensor, ...]:
    """Query, key, value [head, head_dim, width] and output [width, head, head_dim]."""
    shape = (layout.heads, layout.head_dim, layout.width)
    query, key, value = (torch.zeros(shape).double() for _ in range(3))
    output = torch.zeros(layout.width, layout.heads, layout.head_dim).double()
    attention = block.attention
    if attention is None:
        return query, key, value, output
    count, rows = tensor(attention, "query").shape[:2]
    half = layout.head_dim // 2
    # the first pair of rows of a LLaMA turns with the position; it stays empty
    free = [r for r in range(layout.head_dim) if layout.family == "gpt2" or r % half]
    for name, to, places in (
        ("query", query, free),
        ("key", key, free),
        ("value", value, [*range(layout.head_dim)]),
    ):
        read = layout.read(tensor(attention, name), tensor(attention, f"{name}_bias"))
        to[:count, places[: read.shape[1]]] = read
    wiring = layout.written(attention.wiring)  # [h, v, width]
    output[:, :count, : wiring.shape[1]] = wiring.permute(2, 0, 1)
    one, position = (torch.eye(layout.lanes + 2).double()[k] for k in (layout.one, layout.position))
    for h, slope in enumerate(attention.slopes.tolist()):
        raised = layout.raised.get((depth, h), 0.0)
        value[h] *= exp(-raised)
        products = [(one, raised * one)]
        if slope:  # slope (j - i)
            products += [(one, slope * position), (position, -slope * one)]
        for row, (here, there) in zip(free[rows:], products, strict=False):
            query[h, row], key[h, row] = layout.read(here), layout.read(there)
    if layout.family == "llama":
        query *= layout.head_dim**0.5
    return query, key, value, output


def _mlp_rows(block: Block, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Gate, up [units, width] and down [width, units]."""
    gate, up = (torch.zeros(layout.units, layout.width).double() for _ in range(2))
    down = torch.zeros(layout.width, layout.units).double()
    if block.mlp is not None:
        n = len(tensor(block.mlp, "gate"))
        gate[:n] = layout.read(tensor(block.mlp, "gate"), tensor(block.mlp, "gate_bias"))
        up[:n] = layout.read(tensor(block.mlp, "up"), tensor(block.mlp, "up_bias"))
        down[:, :n] = layout.written(tensor(block.mlp, "down").T).T
        if layout.family == "gpt2":
            down[:, :n] *= tensor(block.mlp, "up_bias")
    return gate, up, down


def _llama(model: Transformer, layout: Layout, embedding: Tensor) -> dict[str, Tensor]:
    weights = {"model.embed_tokens.weight": embedding, "model.norm.weight": layout.normed()}
    for depth, block in enumerate(blocks_of(model)):
        name = f"model.layers.{depth}."
        *projections, output = _attention_rows(block, depth, layout)
        for letter, rows in zip("qkv", projections, strict=True):
            weights[f"{name}self_attn.{letter}_proj.weight"] = rows.flatten(0, 1)
        weights[f"{name}self_attn.o_proj.weight"] = output.flatten(1)
        for kind, rows in zip(("gate", "up", "down"), _mlp_rows(block, layout), strict=True):
            weights[f"{name}mlp.{kind}_proj.weight"] = rows
        weights[f"{name}input_layernorm.weight"] = layout.normed()
        weights[f"{name}post_attention_layernorm.weight"] = layout.normed()
    return weights


def _gpt2(model: Transformer, layout: Layout, embedding: Tensor) -> dict[str, Tensor]:
    lanes = torch.zeros(POSITIONS, layout.lanes + 2).double()
    lanes[:, layout.position] = torch.arange(POSITIONS)
    nothing = torch.zeros(layout.width)
    weights = {
        "transformer.wte.weight": embedding,
        "transformer.wpe.weight": layout.written(lanes),
        "transformer.ln_f.weight": layout.normed(),
        "transformer.ln_f.bias": nothing,
    }
    for depth, block in enumerate(blocks_of(model)):
        name = f"transformer.h.{depth}."
        *projections, output = _attention_rows(block, depth, layout)
        gate, _, down = _mlp_rows(block, layout)
        # stock GPT-2 keeps its matrices as [in, out]
        weights[f"{name}attn.c_attn.weight"] = torch.cat([r.flatten(0, 1) for r in projections]).T
        weights[f"{name}attn.c_attn.bias"] = torch.zeros(3 * layout.width)
        weights[f"{name}attn.c_proj.weight"] = output.flatten(1).T
        weights[f"{name}attn.c_proj.bias"] = nothing
        weights[f"{name}mlp.c_fc.weight"], weights[f"{name}mlp.c_proj.weight"] = gate.T, down.T
        weights[f"{name}mlp.c_fc.bias"] = torch.zeros(layout.units)
        weights[f"{name}mlp.c_proj.bias"] = nothing
        for norm in ("ln_1", "ln_2"):
            weights[f"{name}{norm}.weight"] = layout.normed()
            weights[f"{name}{norm}.bias"] = nothing
    return weights


def _wrong(
    stock: PreTrainedModel, model: Transformer, task: Task, problems: Sequence[Problem]
) -> list[tuple[Problem, list[str]]]:
    """The problems that the stock model, decoding greedily, answers wrongly, with its answers."""
    vocabulary = model.config.vocabulary
    ids = {token: i for i, token in enumerate(vocabulary)}
    wrong = []
    for problem in problems:
        text = [len(vocabulary), *(ids[token] for token in task.prompt(problem))]
        given: list[str] = []
        while len(given) < task.answer_length and (not given or given[-1] != task.end):
            with torch.no_grad():
                best = int(stock(torch.tensor([text])).logits[0, -1].argmax())
            text.append(best)
            given.append(vocabulary[best] if best < len(vocabulary) else START)
        if tuple(given) != tuple(task.answer(problem)):
            wrong.append((problem, given))
    return wrong


@dataclass(frozen=True)
class Stock:
    """One of the families as a format of export."""

    family: Family

    @property
    def FILE(self) -> str:
        return f"{{}}-{self.family}"

    def write(self, source: ExportSource, path: Path) -> None:
        """Write the folder at one commit point; in one that is there, other files stay."""
        from safetensors.torch import save

        stock, layout = convert(
            source.model, source.task, self.family, rotate=source.rotate, noise=source.noise
        )
        settings = {
            "config.json": stock.config.to_dict(),
            **tokenizer_files(source.task, source.model.config, start=START),
            "lanes.json": layout.directions(columns(source.model)),
            "circuit.json": {
                "rotate": source.rotate,
                "noise": source.noise,
                "columns": source.columns,
                **circuit(source.model, source.task, source.name).to_json(),
            },
        }
        files = {name: json.dumps(data, indent=2).encode() for name, data in settings.items()}
        state = {name: weight.contiguous() for name, weight in stock.state_dict().items()}
        files["model.safetensors"] = save(state, metadata={"format": "pt"})
        files["README.md"] = self._card(source).encode()
        write_together(path, files)

    def _card(self, source: ExportSource) -> str:
        ((example, _),) = source.examples(1)
        dtype = str(DTYPE[self.family]).removeprefix("torch.")
        name = {"llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}[self.family]
        return f"""---
library_name: transformers
tags: [tinyadder, interpretability, compiled-transformer]
---
# {markdown(source.name)}

{markdown(source.about)}

The program as a stock `{name}` in {dtype}, without remote code. Tried on up to {TRIED} problems,
half of them hard, all right; no verdict on the program holds for this form of it. `{START}` stands
in front of every text. The ground truth: `lanes.json` has the direction of every column of the
program in the hidden states, `circuit.json` what each column holds, from which layer to which, and
the nodes and edges of the circuit.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
prompt = tokenizer({text_of(source.task, source.task.prompt(example))!a}, return_tensors="pt")
tokens = model.generate(**prompt, max_new_tokens={source.task.answer_length}, do_sample=False)
print(tokenizer.decode(tokens[0, prompt.input_ids.shape[1]:]))
```
"""


FAMILIES = {"llama": Stock("llama"), "gpt2": Stock("gpt2")}
