"""The code behind a model: which literals its values and its forward pass are written with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from torch import nn

from tinyadder.errors import TinyadderError
from tinyadder.machine.transformer import Transformer
from tinyadder.verify.count.literals import Literal, literals

MACHINE = ("tinyadder.machine.transformer", "Transformer")
"""Where the forward pass of our own models is."""
MOST_SOURCE = 2**24
"""Bytes of a source that is read."""


def machine_code(model: nn.Module | None = None) -> list[Literal]:
    """The literals in the forward pass of our own models, followed through imports.

    Of a program (the default), and of any model of the plain family (`Config.plain`), the parts
    that only trained models have (tinyadder/machine/layers.py) are not run and not read; nor is, of
    any, the form that only training takes (tinyadder/machine/fused.py).
    """
    plain = model is None or (isinstance(model, Transformer) and model.config.plain)
    skipped = {"tinyadder.machine.fused"} | ({"tinyadder.machine.layers"} if plain else set())
    coder = isinstance(model, Transformer) and model.config.encoder
    module, root = ("tinyadder.machine.encoder", "EncoderDecoder") if coder else MACHINE
    start = _source(module)
    assert start is not None

    def find(other: str) -> str | None:
        machine = other.startswith("tinyadder.machine.") and other not in skipped
        return _source(other) if machine else None

    return literals(start, [root], find=find, module=module)


def construction_code(name: str, file: Path | None = None) -> list[Literal]:
    """The literals behind a construction: of its equations, of the gadgets in them and of other
    constructions that they are taken from, and of the forward pass. Claims are no weights.

    `file` is the Python file of a construction that is not one of this toolkit.
    """

    def find(other: str) -> str | None:
        followed = other == "tinyadder.lang.gadgets" or other.startswith("tinyadder.constructions.")
        return _source(other) if followed else None

    source = _source(f"tinyadder.constructions.{name}") if file is None else file.read_text()
    assert source is not None
    # Construction(program, task, claims): claims are left unread
    equations = literals(source, ["construct"], unread={"Construction": 2}, find=find)
    return [*equations, *machine_code()]


def file_code(
    file: Path,
    roots: Sequence[Path],
    module: str = "",
    attribute: str = "",
    *,
    whole: bool = False,
) -> list[Literal]:
    """The literals of a submission: of `build_model` and what it uses (with `whole`, of `add`, too;
    of the object `attribute`, all), followed into the modules below the folders `roots`, where its
    imports start.

    Raises `TinyadderError` for a file that is no Python.
    """

    def find(other: str) -> str | None:
        parts = other.split(".")
        if not all(part.isidentifier() for part in parts):
            return None
        for root in roots:
            place = root.joinpath(*parts)
            for path in (place.with_suffix(".py"), place / "__init__.py"):
                if path.is_file() and path.resolve().is_relative_to(root.resolve()):
                    return _text(path)
        return None

    source = _text(file)
    module = f"{module}.__init__" if module and file.name == "__init__.py" else module
    start = ["build_model", "add"] if whole else ["build_model"]
    return literals(source, [attribute] if attribute else start, find=find, module=module)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_SOURCE:
            raise TinyadderError(
                f"{path} has more than {MOST_SOURCE:,} bytes; no source is as long"
            )
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise TinyadderError(f"cannot read {path}: {error}") from error


def _source(module: str) -> str | None:
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:  # a name in a module, not a module in a package
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).read_text()
