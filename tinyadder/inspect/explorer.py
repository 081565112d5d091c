"""Any model as JSON for a page, and the self-contained explorer page with a script that runs it.

The page holds the weights as exact doubles and repeats the forward pass of
tinyadder/machine/transformer.py in the browser (pages/machine.js), so that every intermediate value
can be looked at, and every weight changed, without an installation. Where a proof is given, the
page checks it (pages/checker.js).
"""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyadder import escape
from tinyadder.construction import LaneClaim, construction_introduction, construction_names
from tinyadder.dsl import Program
from tinyadder.errors import TinyadderError
from tinyadder.io.files import read_bytes, write_text
from tinyadder.io.folder import DESCRIPTION, WEIGHTS
from tinyadder.machine.layers import Options
from tinyadder.machine.transformer import Block, FeedForward, MultiHeadAttention, Transformer
from tinyadder.named import Loaded, summary
from tinyadder.tasks.addition import DIGITS, Addition
from tinyadder.tasks.base import Problem, Task
from tinyadder.text import Shown

PAGES = Path(__file__).parent / "pages"
EXAMPLES = 24
"""Problems of a model to choose from."""
LARGEST = 1 << 26
"""Bytes of a file that the page takes in."""
CLAIMED = 2
"""Of these, those for which the page knows what the lanes should hold."""
KNOWN = {
    *("softmax", "positions", "context", "rotary_base", "scaled", "projected", "biases", "norm"),
    *("norm_place", "gains", "activation", "gated", "dropout", "repeat", "embedding"),
}
"""The options of a layer that `pages/machine.js` computes with; dropout is only of training."""


@dataclass(frozen=True)
class ProofFiles:
    """The files that the page needs to check a proof itself; the certificate may be missing."""

    weights: bytes
    description: bytes
    certificate: bytes | None = None


@dataclass(frozen=True)
class Exhibit:
    """A model with what a visitor must know: a name, a line about it, problems worth showing."""

    name: str
    about: str
    model: Transformer
    task: Task
    first: Sequence[Problem] = ()
    program: Program | None = None
    """The equations, of a model that has some."""
    introduction: str = ""
    """How it works, in a paragraph."""
    claims: Mapping[str, LaneClaim] | None = None
    proof: ProofFiles | None = None


def exhibit_of(
    loaded: Loaded, first: Sequence[Problem] = (), certificate: bytes | None = None
) -> Exhibit:
    """The exhibit of a model found by name; `first` are the problems worth showing first.

    Without `certificate` it is the one beside the model, if that is a folder with one.
    """
    name, program, introduction = loaded.name, loaded.program, ""
    if program is not None and (loaded.file is not None or name in construction_names()):
        introduction = construction_introduction(str(loaded.file or name))
    return Exhibit(
        name,
        summary(loaded),
        loaded.model,
        loaded.task,
        first,
        program,
        introduction,
        loaded.claims,
        None if program is None else _proof(loaded, certificate),
    )


def _proof(loaded: Loaded, certificate: bytes | None) -> ProofFiles | None:
    """The files of a float64 model: those of its folder, or those that it would be saved as."""
    if loaded.model.embedding.dtype != torch.float64:
        return None
    with TemporaryDirectory() as scratch:
        folder = loaded.folder or Path(scratch) / "model"
        if loaded.folder is None:
            loaded.save(folder)
        beside = folder / "certificate.json"
        if certificate is None and beside.is_file():
            certificate = read_bytes(beside, most=LARGEST)
        weights, description = (
            read_bytes(folder / name, most=LARGEST) for name in (WEIGHTS, DESCRIPTION)
        )
        return ProofFiles(weights, description, certificate)


def model_to_json(model: Transformer) -> dict[str, Any]:
    """Every weight of `model` in the order in which it is used; rows are [bias, columns, weights].

    Raises `TinyadderError` for a model that is not a causal decoder of this toolkit.
    """
    if not isinstance(model, Transformer) or model.config.encoder:
        raise TinyadderError(
            f"a {type(model).__name__} cannot be shown; expected a decoder without an encoder"
        )
    config = model.config
    return {
        "vocabulary": list(config.vocabulary),
        "outputs": list(config.outputs),
        "lanes": [list(lane) for lane in config.lanes] or [["x", config.width]],
        "width": config.width,
        "sign": -1 if config.argmin else 1,
        "float32": model.embedding.dtype != torch.float64,
        "options": _options(config.options),
        "ties": [list(tie) for tie in config.ties],
        **_embedding(model),
        "positions": _array(model.positions).tolist()
        if config.options.positions == "learned"
        else None,
        "blocks": [
            _block(block, config.blocks[layer].options)
            for layer, block in enumerate(model.blocks)
            if isinstance(block, Block)
        ],
        "norm": _norm(model.final_norm),
        "readout": {
            "unembedding": _rows(model.unembedding, None) if config.unembedding else None,
            "bias": _array(model.unembedding_bias).tolist() if config.unembedding_bias else None,
            "tied": config.tied,
            "wiring": _rows(model.readout_wiring, None) if config.readout_wiring else None,
        },
    }


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _row(weights: np.ndarray, bias: float = 0.0) -> list[Any]:
    """[bias, columns, weights] with the nonzero weights; columns None where most are nonzero."""
    columns = np.flatnonzero(weights)
    if 2 * len(columns) > len(weights):
        return [bias, None, weights.tolist()]
    return [bias, columns.tolist(), weights[columns].tolist()]


def _rows(weights: Tensor, bias: Tensor | None) -> list[list[Any]]:
    matrix = _array(weights)
    biases = np.zeros(len(matrix)) if bias is None else _array(bias)
    return [_row(row, float(b)) for row, b in zip(matrix, biases, strict=True)]


def _embedding(model: Transformer) -> dict[str, Any]:
    """The table, or the numbers of the circle that the page makes the table of."""
    if model.config.options.embedding == "circle":
        numbers, places = _array(model.circle).tolist(), model.places.tolist()
        return {"embed": None, "circle": {"numbers": numbers, "places": places}}
    return {"embed": [_row(row)[1:] for row in _array(model.embedding)], "circle": None}


def _norm(module: torch.nn.Module | None) -> dict[str, Any] | None:
    if module is None:
        return None
    arrays = {name: _array(parameter).tolist() for name, parameter in module.named_parameters()}
    centered = isinstance(module, torch.nn.LayerNorm)
    return {"gain": arrays.get("weight"), "bias": arrays.get("bias"), "centered": centered}


def _options(options: Options) -> dict[str, Any]:
    """Raises `TinyadderError` for an option that the page does not know, unless it is as usual."""
    usual = asdict(Options())
    for name, value in asdict(options).items():
        if name not in KNOWN and value != usual[name]:
            raise TinyadderError(f"the explorer does not know the option '{name}' of this model")
    return {**asdict(options), "post": options.norm_place == "post"}


def _block(block: Block, own: Options | None) -> dict[str, Any]:
    """`own` are the options of this layer alone, if it has some."""
    options = None if own is None else _options(own)
    data: dict[str, Any] = {"attention": None, "mlp": None, "options": options}
    if isinstance(block.attention, MultiHeadAttention):
        attention, heads = block.attention, []
        for h in range(len(attention.slopes)):
            bias = {name: getattr(attention, f"{name}_bias") for name in ("query", "key", "value")}
            rows = {
                part: _rows(getattr(attention, part)[h], None if b is None else b[h])
                for part, b in bias.items()
            }
            write = [_row(row)[1:] for row in _array(attention.wiring[h])]
            waves = (
                _array(attention.waves[h]).tolist()
                if attention.options.positions == "waves"
                else None
            )
            slope = float(attention.slopes[h])
            heads.append({**rows, "slope": slope, "waves": waves, "write": write})
        data["attention"] = {"heads": heads, "norm": _norm(block.attention_norm)}
    if isinstance(block.mlp, FeedForward):
        mlp = block.mlp
        rows = {
            name: _rows(getattr(mlp, name), getattr(mlp, f"{name}_bias"))
            for name in ("gate", "up")[: 1 + mlp.options.gated]
        }
        data["mlp"] = {
            "gate": rows["gate"],
            "up": rows.get("up"),
            "down": [_row(row)[1:] for row in _array(mlp.down).T],
            "norm": _norm(block.mlp_norm),
        }
    return data


def _writing(task: Task, problems: Sequence[Problem]) -> dict[str, Any]:
    """How the page writes a prompt from what a visitor types.

    Addition by its options. Others as head + text + tail, or as numbers padded with zeros, where
    the problems given are all written so; else they are only to be chosen.
    """
    if isinstance(task, Addition):
        return {"kind": "addition", **asdict(task), "symbols": DIGITS[: task.base]}
    prompts, texts = [list(task.prompt(p)) for p in problems], [task.show(p) for p in problems]
    head, word, tail = "".join(prompts[0]).partition(texts[0])
    pairs = list(zip(prompts, texts, strict=True))
    if word and all(prompt == [*head, *text, *tail] for prompt, text in pairs):
        return {
            "kind": "text",
            "head": head,
            "tail": tail,
            "task": task.name,
            "options": task.to_json()["options"],
        }
    between, widths = (
        re.split(r"[0-9]+", "".join(prompts[0])),
        [len(n) for n in _numbers(prompts[0])],
    )

    def padded(text: str) -> str:
        numbers = re.findall("[0-9]+", text)
        if len(numbers) != len(widths):
            return ""
        filled = [n.zfill(width) for n, width in zip(numbers, widths, strict=True)]
        return "".join(part for pair in zip(between, [*filled, ""], strict=True) for part in pair)

    if all("".join(prompt) == padded(text) for prompt, text in pairs) and all(
        len(t) == 1 for t in task.vocabulary
    ):
        symbols = "".join(
            sorted({token for prompt in prompts for token in prompt if token in DIGITS[:10]})
        )
        kind = {"kind": "numbers", "between": between, "widths": widths, "symbols": symbols}
        return {**kind, "task": task.name, "options": task.to_json()["options"]}
    return {"kind": "examples"}


def _numbers(tokens: Sequence[str]) -> list[str]:
    return re.findall("[0-9]+", "".join(tokens))


def exhibit_to_json(exhibit: Exhibit) -> dict[str, Any]:
    """The model with all that the page shows: problems with right answers, equations, proof."""
    task = exhibit.task
    hard = task.hard()
    samples = task.structured(Random(0), EXAMPLES // 4)
    first = exhibit.first or sorted(
        task.uniform(Random(0), EXAMPLES // 4), key=lambda p: _variety(task, p), reverse=True
    )
    problems = [*first, *samples, *hard[:: max(1, len(hard) // (EXAMPLES // 2))]]
    problems = list(dict.fromkeys(problems))[:EXAMPLES]
    reads = task.read_at(problems[0])
    meanings = (
        {lane.name: lane.meaning for lane in exhibit.program.stream.lanes.values()}
        if exhibit.program
        else {}
    )
    return {
        "name": exhibit.name,
        "about": exhibit.about,
        "introduction": exhibit.introduction,
        "task": task.name,
        "end": task.end,
        "answer_length": task.answer_length,
        "reads": None if reads is None else reads.start,
        "writing": _writing(task, problems),
        "places": task.remainder(problems[0], 0) is not None,
        "examples": [_example(task, p) for p in problems],
        "meanings": meanings,
        "equations": list(_equations(exhibit.program)) if exhibit.program else None,
        "claims": list(_claims(exhibit, problems[:CLAIMED])) if exhibit.claims else [],
        "proof": None
        if exhibit.proof is None
        else [_packed(file) for file in asdict(exhibit.proof).values()],
        **model_to_json(exhibit.model),
    }


def _variety(task: Task, problem: Problem) -> tuple[int, int]:
    """How many different tokens its answer and its prompt have: the page opens on one with many."""
    return len(set(task.expected(problem) or ())), len(set(task.prompt(problem)))


def _example(task: Task, problem: Problem) -> list[Any]:
    """[as written, prompt, right answer or None], tokens as a string where all are characters."""
    right = task.expected(problem)
    return [
        task.show(problem),
        _tokens(task.prompt(problem)),
        None if right is None else _tokens(right),
    ]


def _tokens(tokens: Sequence[str]) -> str | list[str]:
    return "".join(tokens) if all(len(token) == 1 for token in tokens) else list(tokens)


def _equations(program: Program) -> Iterator[tuple[str, str, int]]:
    """(sublayer, equation, price); sublayers: "embed", "0 attention", "0 mlp", .., "logits"."""
    for section, text, weights in program.lines():
        if section.startswith("layer"):
            is_attention = re.search(r"(^|\+= )head [0-9]+", text) is not None
            section = f"{section.split()[1]} {'attention' if is_attention else 'mlp'}"
        yield section, text, len(weights)


def _claims(exhibit: Exhibit, problems: Sequence[Problem]) -> Iterator[list[dict[str, float]]]:
    """Per problem and answer token: what the lanes that are read out should hold there."""
    assert exhibit.claims is not None, "asked for claims only"
    task, columns = exhibit.task, (_array(exhibit.model.unembed_matrix()) != 0).any(axis=0)
    lanes, at = [], 0
    for lane, width in exhibit.model.config.lanes:
        if width == 1 and columns[at] and lane in exhibit.claims:
            lanes.append(lane)
        at += width
    for problem in problems:
        first = task.forced(problem)[1]
        steps = []
        for position in range(first, first + len(task.answer(problem))):
            values = {lane: exhibit.claims[lane](problem, position) for lane in lanes}
            steps.append(
                {
                    lane: float(v)
                    for lane, v in values.items()
                    if v is not None and not isinstance(v, Sequence)
                }
            )
        yield steps


def _packed(file: bytes | None) -> str | None:
    """A file for the page: gzip in base64."""
    return None if file is None else base64.b64encode(gzip.compress(file, 9, mtime=0)).decode()


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


def page(exhibits: Sequence[Exhibit], problem: str = "") -> str:
    """The explorer as one HTML text: no network, no other file.

    It opens on `problem` (as `Task.show` writes it). Raises `TinyadderError` if nothing is to be
    shown.
    """
    if not exhibits:
        raise TinyadderError("the explorer needs at least one model")
    models = [_shortest(data, data["float32"]) for data in map(exhibit_to_json, exhibits)]
    html = (PAGES / "explorer.html").read_text()
    for mark, content in (
        ("/*machine*/", _compact((PAGES / "machine.js").read_text())),
        ("/*checker*/", _packed((PAGES / "checker.js").read_bytes()) or ""),
        ("/*explorer*/", _compact((PAGES / "explorer.js").read_text())),
        ("/*style*/", (PAGES / "explorer.css").read_text()),
        ("/*models*/", escape.script_json({"models": models, "problem": problem})),
    ):
        html = html.replace(mark, content, 1)
    return html


def _compact(script: str) -> str:
    """A script without indentation and without lines that are comments."""
    lines = (line.strip() for line in script.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


class Explorer(Shown):
    """The explorer page for a notebook: a cell with this value shows it in a frame."""

    def __init__(self, exhibits: Sequence[Exhibit], problem: str = "", height: int = 900) -> None:
        self.page, self.height = page(exhibits, problem), height
        self.names = [exhibit.name for exhibit in exhibits]

    def __str__(self) -> str:
        return f"explorer of {', '.join(self.names)}; .save('FILE.html') writes it"

    def save(self, path: str | Path) -> None:
        """Write the page to a file that any browser opens."""
        write_text(Path(path), self.page)

    def _repr_html_(self) -> str:
        frame = (
            f'style="width: 100%; height: {self.height:d}px; border: 0" title="tinyadder explorer"'
        )
        return (
            f'<iframe {frame} sandbox="allow-scripts" srcdoc="{escape.html(self.page)}"></iframe>'
        )
