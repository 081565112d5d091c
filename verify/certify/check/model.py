"""The numbers of the model, read from `model.safetensors` and `model.json`; what no rule covers is
refused.
"""

from __future__ import annotations

import hashlib
import json
import struct
from functools import reduce
from math import frexp, prod
from operator import add
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tinyadder.verify.certify.check.intervals import need

USUAL = {
    "options": {
        "softmax": "softmax1",
        "positions": "alibi",
        "context": 0,
        "rotary_base": 10000.0,
        "scaled": False,
        "projected": False,
        "biases": True,
        "norm": "none",
        "norm_place": "pre",
        "activation": "relu",
        "gated": True,
        "dropout": 0.0,
        "repeat": 1,
    },
    "encoder": [],
    "separator": 0,
}
"""Parts of the description that must be what written programs have, if they are there."""
SIZES = {"heads", "d_head", "d_value", "hidden"}


class Model:
    """Every array as nested lists of floats; `layers` have those of attention and MLP, empty where
    there is none.
    """

    def __init__(self, folder: Path) -> None:
        data, described = (
            (folder / "model.safetensors").read_bytes(),
            json.loads((folder / "model.json").read_bytes()),
        )
        need(
            hashlib.sha256(data).hexdigest() == described["weights"]["sha256"],
            "the weights are not of model.json",
        )
        need(described["dtype"] == "float64", "the model is not float64")
        self.task, config = described["task"], described["config"]
        for name, usual in USUAL.items():
            need(config.pop(name, usual) == usual, f"the model has '{name}' that no rule covers")
        self.tensors = read_safetensors(data)
        self.vocabulary, self.width, self.argmin = (
            config.pop(n) for n in ("vocabulary", "width", "argmin")
        )
        ids, blocks, shared = (config.pop(n) for n in ("outputs", "blocks", "shared"))
        self.outputs = [self.vocabulary[t] for t in ids]
        need(
            len(set(self.vocabulary)) == len(self.vocabulary),
            "a token occurs twice in the vocabulary",
        )
        need(len(set(self.outputs)) == len(ids), "an output occurs twice")
        self.unread = set(self.tensors)
        self.ties: dict[str, dict[int, float]] = {}
        numbers = self.array("shared", shared) if shared else []
        for name, at, source in config.pop("ties"):
            self.ties.setdefault(name, {})[at] = numbers[source]
        self.embedding = self.array("embedding", len(self.vocabulary), self.width)
        self.layers = [self.layer(f"blocks.{depth}", sizes) for depth, sizes in enumerate(blocks)]
        o = len(ids)
        parts = [self.array("unembedding", o, self.width)] if config.pop("unembedding") else []
        self.readout_bias = (
            self.array("unembedding_bias", o) if config.pop("unembedding_bias") else [0.0] * o
        )
        parts += [[self.embedding[t] for t in ids]] if config.pop("tied") else []
        parts += (
            [self.array("readout_wiring", o, self.width)] if config.pop("readout_wiring") else []
        )
        # additions of two doubles, from left to right: `sum` of floats is compensated from Python
        # 3.12 on
        self.readout = [
            [reduce(add, column) for column in zip(*rows, strict=True)]
            for rows in zip(*parts, strict=True)
        ]
        config.pop("lanes", None)
        need(
            not config and not self.ties,
            f"the description has more than the rules cover: {[*config, *self.ties]}",
        )
        need(
            not self.unread,
            f"the file of weights has tensors that the machine does not: {self.unread}",
        )

    def layer(self, place: str, sizes: dict[str, int]) -> Any:
        need(set(sizes) == SIZES, "a block has sizes that no rule covers")
        heads, hidden, width, found = sizes["heads"], sizes["hidden"], self.width, SimpleNamespace()
        attention = {"slopes": [heads], "wiring": [heads, sizes["d_value"], width]}
        for name, rows in (("query", "d_head"), ("key", "d_head"), ("value", "d_value")):
            attention |= {name: [heads, sizes[rows], width], f"{name}_bias": [heads, sizes[rows]]}
        mlp = {
            "gate": [hidden, width],
            "gate_bias": [hidden],
            "up": [hidden, width],
            "up_bias": [hidden],
        }
        mlp["down"] = [width, hidden]
        for part, there, arrays in (("attention", heads, attention), ("mlp", hidden, mlp)):
            for name, shape in arrays.items():
                setattr(found, name, self.array(f"{place}.{part}.{name}", *shape) if there else [])
        return found

    def array(self, name: str, *shape: int) -> list:
        """A tensor as nested lists, its tied entries read from the shared numbers."""
        path, _, leaf = name.rpartition(".")
        original = (
            f"{path}.parametrizations.{leaf}.original"
            if path
            else f"parametrizations.{leaf}.original"
        )
        key = original if original in self.tensors else name
        need(
            key in self.tensors and self.tensors[key][0] == list(shape),
            f"tensor '{name}' is missing or misshapen",
        )
        self.unread.discard(key)
        tied = self.ties.pop(name, {})
        flat: list = [tied.get(at, x) for at, x in enumerate(self.tensors[key][1])]
        need(set(tied) <= set(range(len(flat))), f"tensor '{name}' is tied where it has no entry")
        for x in flat:
            need(x == 0 or 2.0**-1000 < abs(x) < 2.0**1000, f"tensor '{name}' holds {x}")
        for n in reversed(shape[1:]):
            flat = [flat[k : k + n] for k in range(0, len(flat), n)]
        return flat

    def logit(self, token: str) -> tuple[list[float], float]:
        """Weights and bias of the logit of a token: of its negative where the smallest readout
        wins.
        """
        o, sign = self.outputs.index(token), -1.0 if self.argmin else 1.0
        return [sign * w for w in self.readout[o]], sign * self.readout_bias[o]

    def to_json(self) -> dict[str, Any]:
        """SHA-256 over names, shapes and little-endian bytes; shape and non-zero entries of each
        tensor.
        """
        digest, tensors = hashlib.sha256(), {}
        for name, (shape, flat) in sorted(self.tensors.items()):
            digest.update(f"{name} {shape}\n".encode() + struct.pack(f"<{len(flat)}d", *flat))
            tensors[name] = {
                "shape": shape,
                "entries": {str(k): x.hex() for k, x in enumerate(flat) if x},
            }
        return {"sha256": digest.hexdigest(), "tensors": tensors}


def no_overflow(model: Model, length: int) -> None:
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


def read_safetensors(data: bytes) -> dict[str, tuple[list[int], list[float]]]:
    """name -> (shape, numbers): 8 bytes length of the header, the header (JSON), little-endian
    float64.
    """
    need(len(data) >= 8, "the file of weights is truncated")
    (length,) = struct.unpack("<Q", data[:8])
    header, body, end, found = json.loads(data[8 : 8 + length]), data[8 + length :], 0, {}
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (start, stop), count = entry["data_offsets"], prod(entry["shape"])
        need(
            entry["dtype"] == "F64" and start == end == stop - 8 * count,
            f"tensor '{name}' is damaged",
        )
        found[name], end = (
            (entry["shape"], list(struct.unpack(f"<{count}d", body[start:stop]))),
            stop,
        )
    need(end == len(body), "the file of weights is truncated or too long")
    return found
