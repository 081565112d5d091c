"""Which functions of libraries a submission has replaced; used inside its process only.

What is found was replaced; what is not found may have been replaced with more cunning.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from types import FunctionType
from typing import Any

PLACES = (
    "torch",
    "torch.Tensor",
    "torch.nn.Module",
    "torch.nn.Linear",
    "torch.nn.Embedding",
    "torch.nn.functional",
    "numpy",
    "math",
    "msgspec.json",
)


def replaced(roots: Sequence[str]) -> list[str]:
    """The names, such as "torch.nn.functional.softmax", that stand for code from below `roots`."""
    places: dict[str, Any] = {"builtins": builtins, "os": os, "json": json}
    places |= {name: found for name in PLACES if (found := _found(name)) is not None}
    places |= {n: m for n, m in list(sys.modules.items()) if n.startswith("tinyadder.")}
    paths = sysconfig.get_paths()
    trusted = [Path(paths[name]) for name in ("stdlib", "purelib", "platlib")]
    trusted.append(Path(str(files("tinyadder"))))

    def theirs(file: str) -> bool:
        path = Path(file)
        return any(map(path.is_relative_to, roots)) and not any(map(path.is_relative_to, trusted))

    return sorted(
        f"{place}.{name}"
        for place, holder in places.items()
        for name, value in list(vars(holder).items())
        if any(theirs(file) for file in _files(value))
    )


def _found(name: str) -> Any:
    """A module that is loaded, or an attribute of one."""
    if name in sys.modules:
        return sys.modules[name]
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None)


def _files(value: object) -> Iterator[str]:
    """Where the code of a function, or of the type of a callable object, was written."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, FunctionType):
        yield value.__code__.co_filename
        yield str(value.__globals__.get("__file__", ""))
    elif callable(value):
        kind = value if isinstance(value, type) else type(value)
        module = sys.modules.get(kind.__module__) if isinstance(kind.__module__, str) else None
        yield str(getattr(module, "__file__", ""))
