"""The weights of the model, read from `model.safetensors` and `model.json`.

What no rule covers is refused, and whatever the loader of the models would refuse.
"""

from __future__ import annotations

import hashlib
import struct
from functools import reduce
from math import frexp
from operator import add
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tinyadder.verify.certify.check.files import (
    FORMATS,
    LARGEST,
    canonical,
    integer,
    parse,
    read,
    safetensors,
    same,
)
from tinyadder.verify.certify.check.intervals import need

USUAL = {
    "softmax": "softmax1",
    "positions": "alibi",
    "context": 0,
    "rotary_base": 10000.0,
    "embedding": "table",
    "scaled": False,
    "projected": False,
    "biases": True,
    "norm": "none",
    "norm_place": "pre",
    "gains": True,
    "activation": "relu",
    "gated": True,
    "dropout": 0.0,
    "repeat": 1,
}
"""The options of the machine that the rules are about; a description may leave some of them out."""
CONFIG = {
    "lanes": [],
    "unembedding": True,
    "unembedding_bias": False,
    "tied": False,
    "readout_wiring": False,
    "argmin": False,
    "shared": 0,
    "ties": [],
    "options": {},
    "encoder": [],
    "separator": 0,
}
"""What the other parts of a config are where a description leaves them out."""
BLOCK = {"heads": 0, "d_head": 1, "d_value": 1, "hidden": 0}


def filled(given: dict[str, Any], usual: dict[str, Any], needed: set[str]) -> dict[str, Any]:
    """`given`, and what is left out as usual. Other keys are refused."""
    need(needed <= set(given) <= {*needed, *usual}, f"a key is missing or unknown: {[*given]}")
    return {**usual, **given}


def changed(given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """What is not as usual: so a digest stays as it is when an option is added to the machine."""
    return {key: x for key, x in given.items() if key not in usual or not same(x, usual[key])}


class ModelFiles:
    """What the two files of a model say, and the names by which a certificate knows them.

    `config` is what decides what the weights mean, without what is as usual.
    """

    def __init__(self, folder: Path) -> None:
        data, described = read(folder / "model.safetensors"), parse(read(folder / "model.json"))
        need(
            hashlib.sha256(data).hexdigest() == described["weights"]["sha256"],
            "the weights are not of model.json",
        )
        known = described["format"] == "tinyadder model" and same(described["version"], 1)
        need(known, "model.json has another format")
        self.task, self.dtype = described["task"], described["dtype"]
        self.tensors = safetensors(data, self.dtype)
        needed = {"vocabulary", "width", "blocks", "outputs"}
        self.given = filled(described["config"], CONFIG, needed)
        self.options = filled(self.given["options"], USUAL, set())
        self.blocks = [filled(block, BLOCK, set()) for block in self.given["blocks"]]
        for block in self.blocks:
            for name, size in block.items():
                integer(size, 0 if name in ("heads", "hidden") else 1, LARGEST)
        self.vocabulary = self.given["vocabulary"]
        self.width = integer(self.given["width"], 1, LARGEST)
        words = all(type(token) is str for token in self.vocabulary)
        need(words and len(set(self.vocabulary)) == len(self.vocabulary), "a token occurs twice")
        ids = [integer(t, 0, len(self.vocabulary) - 1) for t in self.given["outputs"]]
        need(0 < len(set(ids)) == len(ids), "an output occurs twice, or there is none")
        self.ids, self.outputs = ids, [self.vocabulary[t] for t in ids]
        for lane, width in self.given["lanes"]:
            need(type(lane) is str, "a lane has no name")
            integer(width, 1, LARGEST)
        for name in ("unembedding", "unembedding_bias", "tied", "readout_wiring", "argmin"):
            need(type(self.given[name]) is bool, f"'{name}' is neither true nor false")
        integer(self.given["shared"], 0, LARGEST)
        options, blocks = changed(self.options, USUAL), [changed(b, BLOCK) for b in self.blocks]
        self.config = changed({**self.given, "options": options}, CONFIG) | {"blocks": blocks}
        self.plain: dict[str, str] = {}

    def to_json(self) -> dict[str, Any]:
        """SHA-256 over names, types, shapes, bytes; shape and entries that are not zero."""
        digest, tensors, letter = hashlib.sha256(), {}, FORMATS[self.dtype][1]
        for name, key in sorted((name, key) for key, name in self.plain.items()):
            shape, flat = self.tensors[key]
            digest.update(f"{name} torch.{self.dtype} {shape}\n".encode())
            digest.update(struct.pack(f"<{len(flat)}{letter}", *flat))
            entries = {str(k): x.hex() for k, x in enumerate(flat) if x}
            tensors[name] = {"shape": shape, "entries": entries}
        return {"sha256": digest.hexdigest(), "tensors": tensors}

    def digest(self, weights: str) -> str:
        """SHA-256 over all that decides whether the answers are right."""
        whole = {"weights": weights, "config": self.config, "task": self.task}
        return hashlib.sha256(canonical(whole)).hexdigest()


class ProgramModel(ModelFiles):
    """A written program, every array as nested lists of floats.

    `layers` have those of attention and MLP, empty where there is none.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        config = self.given
        need(self.dtype == "float64", "the model is not float64")
        for name, usual in USUAL.items():
            need(same(self.options[name], usual), f"the model has '{name}' that no rule covers")
        need(not config["encoder"] and same(config["separator"], 0), "no rule covers an encoder")
        self.argmin = config["argmin"]
        self.ties: dict[str, dict[int, float]] = {}
        shared = self.array("shared", config["shared"]) if config["shared"] else []
        for name, at, source in config["ties"]:
            tied = self.ties.setdefault(name, {})
            need(integer(at, 0, LARGEST) not in tied, f"tensor '{name}' is tied twice at one place")
            tied[at] = shared[integer(source, 0, len(shared) - 1)]
        self.embedding = self.array("embedding", len(self.vocabulary), self.width)
        self.layers = [self.layer(f"blocks.{depth}", b) for depth, b in enumerate(self.blocks)]
        self.read_out(config)
        need(not self.ties, f"tensors are tied that the model does not have: {[*self.ties]}")
        need(
            set(self.plain) == set(self.tensors),
            f"the weights hold other tensors: {set(self.tensors) - set(self.plain)}",
        )

    def read_out(self, config: dict[str, Any]) -> None:
        """The readout as one matrix, its parts added up as the model does."""
        o, width, parts = len(self.ids), self.width, []
        if config["unembedding"]:
            parts.append(self.array("unembedding", o, width))
        bias = config["unembedding_bias"]
        self.readout_bias = self.array("unembedding_bias", o) if bias else [0.0] * o
        if config["tied"]:
            parts.append([self.embedding[t] for t in self.ids])
        if config["readout_wiring"]:
            parts.append(self.array("readout_wiring", o, width))
        need(len(parts) > 0, "the model has no readout")
        # from left to right: `sum` of floats is compensated from Python 3.12 on
        added = [zip(*rows, strict=True) for rows in zip(*parts, strict=True)]
        self.readout = [[reduce(add, column) for column in columns] for columns in added]

    def layer(self, place: str, sizes: dict[str, int]) -> Any:
        heads, hidden, width = sizes["heads"], sizes["hidden"], self.width
        attention = {"slopes": [heads], "wiring": [heads, sizes["d_value"], width]}
        for name, rows in (("query", "d_head"), ("key", "d_head"), ("value", "d_value")):
            attention |= {
                name: [heads, sizes[rows], width],
                f"{name}_bias": [heads, sizes[rows]],
            }
        mlp = {"gate": [hidden, width], "gate_bias": [hidden]}
        mlp |= {"up": [hidden, width], "up_bias": [hidden], "down": [width, hidden]}
        found = SimpleNamespace()
        for part, there, arrays in (("attention", heads, attention), ("mlp", hidden, mlp)):
            for name, shape in arrays.items():
                array = self.array(f"{place}.{part}.{name}", *shape) if there else []
                setattr(found, name, array)
        return found

    def array(self, name: str, *shape: int) -> list:
        """A tensor as nested lists, its tied entries read from the shared numbers."""
        path, dot, leaf = name.rpartition(".")
        tied = self.ties.pop(name, {})
        key = f"{path}{dot}parametrizations.{leaf}.original" if tied else name
        there = key in self.tensors and same(self.tensors[key][0], list(shape))
        need(there, f"tensor '{name}' is missing or misshapen")
        self.plain[key] = name
        flat: list = [tied.get(at, x) for at, x in enumerate(self.tensors[key][1])]
        need(all(at < len(flat) for at in tied), f"tensor '{name}' is tied where it has no entry")
        for x in flat:
            need(x == 0 or 2.0**-1000 < abs(x) < 2.0**1000, f"tensor '{name}' holds {x}")
        for n in reversed(shape[1:]):
            flat = [flat[k : k + n] for k in range(0, len(flat), n)]
        return flat

    def logit(self, token: str) -> tuple[list[float], float]:
        """Weights and bias of the logit of a token: negated where the smallest readout wins."""
        o, sign = self.outputs.index(token), -1.0 if self.argmin else 1.0
        return [sign * w for w in self.readout[o]], sign * self.readout_bias[o]


def no_overflow(model: ProgramModel, length: int) -> None:
    """Every number of the forward pass stays below 2^1000: by exponents e with |x| < 2^e, for
    columns of the stream.
    """

    def bound(weights: list[float], column: list[int], bias: float = 0.0) -> int:
        """n terms below 2^e each are below 2^(e + bits of n), rounding included, in any order."""
        terms = [
            frexp(bias)[1],
            *(frexp(w)[1] + e for w, e in zip(weights, column, strict=True) if w),
        ]
        found = max(terms) + len(terms).bit_length()
        need(found < 1000, "a number may overflow")
        return found

    def bounds(rows: list[list[float]], column: list[int], biases: list[float]) -> list[int]:
        return [bound(row, column, b) for row, b in zip(rows, biases, strict=True)]

    column = [max(frexp(row[k])[1] for row in model.embedding) for k in range(model.width)]
    for layer in model.layers:
        heads: list[int] = []
        for h, slope in enumerate(layer.slopes):
            query, key, value = (
                bounds(getattr(layer, name)[h], column, getattr(layer, f"{name}_bias")[h])
                for name in ("query", "key", "value")
            )
            bound(
                [1.0] * len(query), [q + k for q, k in zip(query, key, strict=True)], slope * length
            )
            heads += [v + 1 for v in value]
        wires = [row for head in layer.wiring for row in head]
        column = [
            bound([1.0, *(row[k] for row in wires)], [e, *heads]) for k, e in enumerate(column)
        ]
        gates, ups = (
            bounds(getattr(layer, n), column, getattr(layer, f"{n}_bias")) for n in ("gate", "up")
        )
        units = [bound([1.0], [g + u]) for g, u in zip(gates, ups, strict=True)]
        if layer.down:
            column = [
                bound([1.0, *down], [e, *units]) for down, e in zip(layer.down, column, strict=True)
            ]
    for row, bias in zip(model.readout, model.readout_bias, strict=True):
        bound(row, column, bias)
