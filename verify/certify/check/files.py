"""Reading the files of strangers: bounded, strict, nothing that two readers read in two ways."""

from __future__ import annotations

import json
import struct
from math import isfinite, prod
from pathlib import Path
from typing import Any

from tinyadder.verify.certify.check.intervals import need

LARGEST = 1 << 26
"""Bytes of a file."""


def read(path: Path) -> bytes:
    """The bytes of a file that is not too large."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    need(len(data) <= LARGEST, f"{path.name} has more than {LARGEST} bytes")
    return data


def parse(data: bytes, *, fractions: bool = True) -> Any:
    """JSON in UTF-8. No key twice, no NaN and no infinity, no mark at the beginning; without
    `fractions` no number with a point or an exponent, which two readers write in two ways.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        need(len(found) == len(pairs), "a key of the JSON occurs twice")
        return found

    def refuse(constant: str) -> Any:
        need(False, f"the JSON holds {constant}")

    return json.loads(
        data.decode("utf-8"),
        object_pairs_hook=unique,
        parse_constant=refuse,
        parse_float=None if fractions else refuse,
    )


def canonical(data: Any) -> bytes:
    """The bytes that hashes are of: keys in the order of their code points, no blanks, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def integer(value: Any, low: int, high: int) -> int:
    """The integer low .. high that `value` is; True is none."""
    need(type(value) is int and low <= value <= high, f"not an integer {low} .. {high}")
    return value


def same(value: Any, other: Any) -> bool:
    """Equal and of the same type: True is not 1, and 1.0 neither."""
    return canonical(value) == canonical(other)


def number(text: Any) -> float:
    """The float64 that a certificate writes as Python's `float.hex` does."""
    need(type(text) is str, "not a number")
    value = float.fromhex(text)
    need(isfinite(value) and value.hex() == text, "not a finite number, written as float.hex does")
    return value


FORMATS = {"float32": ("F32", "f", 4), "float64": ("F64", "d", 8)}
"""Name in safetensors, in `struct`, and bytes of a number."""


def safetensors(data: bytes, dtype: str) -> dict[str, tuple[list[int], list[float]]]:
    """name -> (shape, numbers): 8 bytes length of the header, JSON, little-endian numbers.

    All are of one type. Tensors lie one behind the other without gaps. Blanks may follow the JSON,
    nothing else.
    """
    need(dtype in FORMATS, f"no rules for numbers of type {dtype!r:.20}")
    kind, letter, step = FORMATS[dtype]
    need(len(data) >= 8, "the file of weights is truncated")
    (length,) = struct.unpack("<Q", data[:8])
    header, body, end, found = data[8 : 8 + length], data[8 + length :], 0, {}
    need(len(header) == length and header[:1] == b"{", "the header of the weights is damaged")
    need(header.rstrip(b" ")[-1:] == b"}", "the header of the weights is padded")
    entries = parse(header)
    about = entries.pop("__metadata__", {})
    need(
        all(type(text) is str for text in about.values()), "the metadata of the weights is no text"
    )
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        need(set(entry) == {"dtype", "shape", "data_offsets"}, f"tensor '{name}' has other entries")
        shape, (start, stop) = entry["shape"], entry["data_offsets"]
        size = prod(integer(n, 0, LARGEST) for n in shape)
        fits = same(start, end) and same(stop, end + step * size) and stop <= len(body)
        need(entry["dtype"] == kind and fits, f"tensor '{name}' is damaged")
        found[name], end = (shape, list(struct.unpack(f"<{size}{letter}", body[start:stop]))), stop
    need(end == len(body), "the file of weights is truncated or too long")
    return found
