"""Load a submission: its code, its model, its `add`. Used inside its process only.

Community contract: `build_model()` returns the model, or the model and a dict of metadata (whose
`params` is what its author claims); `add(model, a, b)` returns the sum. The model is a torch module
or any other object: what it is made of is its author's affair.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyadder.verify.external.devices import asks_for_a_device, put_all_on_the_cpu

if TYPE_CHECKING:
    from torch import nn

NO_MODEL = (type(None), bool, int, float, str, bytes)
ReportProgress = Callable[[int, int | None, dict[str, Any]], None]
"""How a job says what is done, of how much, and what else it knows."""
EXPECTED = "expected a model (a torch module, an object, arrays), or a model and its metadata"


class BrokenContract(Exception):
    """What was loaded is not a submission; the text says why."""


@dataclass(frozen=True)
class LoadedSubmission:
    """A submission, loaded: what the jobs of `tinyadder.verify.external.worker` get."""

    file: str
    """The file that defines it."""
    roots: list[str]
    """The folders that its imports start from."""
    names: dict[str, Any]
    """What its module (or object) defines."""
    model: Any
    metadata: dict[str, Any]
    add: Callable[[Any, int, int], Any]

    @property
    def claimed(self) -> int | None:
        """The number of parameters that the metadata claims."""
        found = self.metadata.get("params")
        return found if isinstance(found, int) and not isinstance(found, bool) else None

    @property
    def module(self) -> nn.Module:
        """The model. Raises `BrokenContract` where it is no torch module."""
        torch = sys.modules.get("torch")  # a file that never imported it has no module to give
        if torch is None or not isinstance(self.model, torch.nn.Module):
            kind = type(self.model).__name__
            raise BrokenContract(f"its model is a {kind}; this needs a torch.nn.Module")
        return self.model


def load(
    file: str, roots: list[str], module: str, attribute: str, adds: bool = True
) -> LoadedSubmission:
    """Import `module` (dotted) of `file`, build the model.

    `roots` are the folders that imports start from; `module` is "" for a file in no package;
    `attribute` names an object of the module that has `build_model` and `add`, "" the module
    itself; without `adds` it needs no `add`. Code that asks torch for an accelerator that this
    machine lacks is loaded once more, on the CPU. Raises `BrokenContract`, and whatever the code
    raises.
    """
    sys.path[:0] = roots
    before = set(sys.modules)
    try:
        return _load(file, roots, module, attribute, adds)
    except Exception as error:
        if not asks_for_a_device(error):
            raise
    put_all_on_the_cpu()
    for name in set(sys.modules) - before:
        if _is_below(sys.modules[name], roots):
            del sys.modules[name]
    return _load(file, roots, module, attribute, adds)


def _is_below(module: Any, roots: list[str]) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and any(Path(file).is_relative_to(root) for root in roots)


def _load(file: str, roots: list[str], module: str, attribute: str, adds: bool) -> LoadedSubmission:
    found = _import(file, module)
    if attribute:
        if not hasattr(found, attribute):
            raise BrokenContract(f"{Path(file).name} defines no {attribute}")
        found = getattr(found, attribute)
        found = found() if isinstance(found, type) else found
    for name in ("build_model", "add") if adds else ("build_model",):
        if not callable(getattr(found, name, None)):
            contract = "build_model() and add(model, a, b)" if adds else "build_model()"
            raise BrokenContract(f"it defines no function {name}(); a submission has {contract}")
    built = found.build_model()
    model, metadata = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
    if isinstance(model, NO_MODEL):
        raise BrokenContract(f"build_model() returned a {type(model).__name__}; {EXPECTED}")
    return LoadedSubmission(
        file,
        roots,
        vars(found),
        model,
        metadata if isinstance(metadata, dict) else {},
        getattr(found, "add", _no_sum),
    )


def _no_sum(model: Any, a: int, b: int) -> Any:
    raise BrokenContract("it defines no function add()")


def _import(file: str, module: str) -> Any:
    """The module of a file, inside its packages where it has some."""
    if module:
        return importlib.import_module(module)
    package = [str(Path(file).parent)] if Path(file).name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(
        "submission", file, submodule_search_locations=package
    )
    if spec is None or spec.loader is None:
        raise BrokenContract("this is no Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["submission"] = loaded
    spec.loader.exec_module(loaded)
    return loaded
