"""What a model keeps outside its parameters: buffers, attributes, names of its file, positions.

A place of memory counts once, whoever shows it. What only says where attention may look is no
number: 0 and -inf, a causal mask of ones. A table of positions that a formula gives counts by its
base, not by its entries. What a file writes down to fill a model (a dict of tensors, a list of
floats) and the model then holds is one number, not two.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinyadder.machine.tensors import BUFFERS, POSITIONAL, WIRING, kind_of, stored_name
from tinyadder.machine.transformer import Transformer

POSITIONAL_NAMES = re.compile(
    r"slope|alibi|pos(?!t)|rope|rotary|inv_freq|freqs|theta|(^|[._])(pe|sin|cos)($|[._])",
    re.IGNORECASE,
)
"""Names under which foreign models keep what they know of positions."""
BASES = re.compile(r"theta|(rope|rotary)\w*base", re.IGNORECASE)
"""Names of a base that may be a whole number."""
GLOBALS = "_globals_of_the_file"
FORBIDDING = -1e3
"""A mask of 0 and one number at most this forbids, as 0 and -inf do."""
FEWEST = 5
"""Entries of a line that a recurrence of two terms says something about."""

KeptBeside = tuple[str, str, Tensor, Tensor]
"""(first rung, name, flat indices, values) of what counts of one tensor."""


# ---- every place of memory once ------------------------------------------------------------------


def unique(
    tensors: Iterable[tuple[str, Tensor]], dead: Mapping[str, list[int]]
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(name, flat indices, their values), every scalar of memory once however many tensors show
    it; without the entries named in `dead`.
    """
    seen: dict[int, Tensor] = {}
    for name, tensor in tensors:
        storage = tensor.untyped_storage()
        size = storage.nbytes() // tensor.element_size()
        taken = seen.setdefault(storage.data_ptr(), torch.zeros(size, dtype=torch.bool))
        places = (
            torch.arange(size)
            .as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
            .reshape(-1)
        )
        fresh = ~taken[places]
        fresh[dead.get(name, [])] = False
        index = fresh.nonzero()[:, 0]
        _, first = np.unique(places[index].numpy(), return_index=True)
        index = index[np.sort(first)]
        taken[places] = True
        yield name, index, tensor.detach().cpu().reshape(-1)[index]


def placeholders(module: nn.Module) -> dict[str, list[int]]:
    """Entries of parameters that are never read because a shared weight stands there: name -> flat
    indices.
    """
    result: dict[str, list[int]] = {}
    for name, index, _ in module.config.ties if isinstance(module, Transformer) else ():
        result.setdefault(stored_name(name), []).append(index)
    return result


# ---- numbers in any object -----------------------------------------------------------------------


def as_module(model: Any) -> nn.Module:
    """`model`; or, of anything else than a torch module (an object, a dict, arrays of numpy or
    MLX), a module whose parameters are the floating-point numbers in it.
    """
    if isinstance(model, nn.Module):
        return model
    held = nn.Module()
    for name, tensor in numbers_in(type(model).__name__, model, floats=True):
        held._parameters[name] = nn.Parameter(tensor, requires_grad=False)
    return held


def numbers_in(
    name: str, value: Any, *, floats: bool, seen: set[int] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Floating-point arrays in `value`, through dicts, lists and unregistered modules; with
    `floats` Python's own floats, too, and through any object.
    """
    seen = set() if seen is None else seen
    if isinstance(value, float):
        if floats:
            yield name, torch.tensor(value, dtype=torch.float64)
        return
    if value is None or isinstance(value, str | bytes | int | type | ModuleType):
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    array = _array(value)
    inner: Iterable[tuple[Any, Any]] = ()
    if array is not None:
        yield name, array
    elif isinstance(value, nn.Module):
        for key, tensor in chain(value.named_parameters(), value.named_buffers()):
            if tensor.is_floating_point():
                yield f"{name}.{key}", tensor
    elif isinstance(value, list | tuple) and all(type(item) in (int, float) for item in value):
        if floats and any(type(item) is float for item in value):
            yield name, torch.tensor(value, dtype=torch.float64)
    elif isinstance(value, list | tuple):
        inner = enumerate(value)
    elif isinstance(value, dict):
        inner = list(value.items())
    elif floats and hasattr(value, "__dict__") and not callable(value):
        inner = list(vars(value).items())
    for key, item in inner:
        yield from numbers_in(f"{name}.{key}", item, floats=floats, seen=seen)


def _array(value: Any) -> Tensor | None:
    """A floating-point array of torch, numpy, or whoever speaks its language, as a tensor."""
    if isinstance(value, Tensor):
        value = torch.view_as_real(value) if value.is_complex() else value
        return value if value.is_floating_point() else None
    if isinstance(value, np.generic):
        value = np.array(value)
    if not isinstance(value, np.ndarray):
        if not hasattr(value, "__array__") or isinstance(value, dict | list | tuple):
            return None
        try:
            value = np.array(value)
        except Exception:
            return None
    if value.dtype.kind != "f" or value.dtype.itemsize > 8:
        return None
    writable = value if value.flags.writeable else value.copy()
    return torch.from_numpy(writable)


# ---- what hangs on a module ----------------------------------------------------------------------


def hang_on(module: nn.Module, names: Mapping[str, Any]) -> None:
    """Let the ladder see what a file keeps in its own names, as if the model kept it."""
    object.__setattr__(module, GLOBALS, dict(names))


def names_of_files(names: Mapping[str, Any], roots: Iterable[Path]) -> dict[str, Any]:
    """The names of a file, and those of the modules below `roots` that were imported with it."""
    found = {name: value for name, value in names.items() if not name.startswith("__")}
    folders = [root for root in roots if root not in (Path("/"), Path.home())]
    for module_name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or "site-packages" in file or vars(module) is names:
            continue
        if any(Path(file).is_relative_to(folder) for folder in folders):
            own = vars(module).items()
            found |= {f"{module_name}.{k}": v for k, v in own if not k.startswith("__")}
    return found


def other_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Floating-point tensors that are no parameters: buffers, and arrays that hang on a module
    unregistered.
    """
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            yield name, buffer
    seen: set[int] = set()
    for path, part in module.named_modules():
        for name, value in list(vars(part).items()):
            if not name.startswith("_"):
                where = f"{path}.{name}" if path else name
                yield from numbers_in(where, value, floats=False, seen=seen)


def loose_numbers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What stands beside the tensors of a foreign model: Python's floats on its modules (not on
    those of torch itself), and arrays and collections of floats among the names of its file.
    """
    if isinstance(module, Transformer):
        return
    seen = set(map(id, (*module.modules(), *module.parameters())))
    for path, part in module.named_modules():
        if type(part).__module__.partition(".")[0] != "torch":
            for name, value in list(vars(part).items()):
                base = isinstance(value, float) and POSITIONAL_NAMES.search(name)
                if not name.startswith("_") and not base and not isinstance(value, Tensor):
                    where = f"{path}.{name}" if path else name
                    yield from numbers_in(where, value, floats=True, seen=seen)
    for name, value in vars(module).get(GLOBALS, {}).items():
        if not isinstance(value, float):
            yield from numbers_in(name, value, floats=True, seen=seen)


def bases(module: nn.Module) -> list[tuple[str, float]]:
    """The numbers that positions of a foreign model are computed from: plain floats with the name
    of a position (`self.rope_theta = 3.0`) on its modules.
    """
    if isinstance(module, Transformer):
        return []
    return [
        (f"{path}.{name}" if path else name, float(value))
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if (isinstance(value, float) and POSITIONAL_NAMES.search(name))
        or (type(value) is int and BASES.search(name))
        if value not in (0, 1)
    ]


def kept_beside(module: nn.Module) -> Iterator[KeptBeside]:
    """(first rung, name, flat indices, values) of what counts of the tensors that are no
    parameters, each place of memory once.
    """
    tensors = dict(other_tensors(module))
    names = {name for name, _ in module.named_parameters()}
    given = [name.rpartition(".")[0] for name, _ in bases(module)]
    tables = set[str]()
    for name, index, values in unique(chain(module.named_parameters(), tensors.items()), {}):
        if name in names:
            continue
        rung = first_rung(module, name, tensors[name])
        keep = torch.ones_like(index, dtype=torch.bool)
        if not isinstance(module, Transformer):
            table = table_of(name, tensors[name])
            if table is not None:
                above = any(not path or f"{table}.".startswith(f"{path}.") for path in given)
                counted = above or table in tables
                keep = torch.zeros_like(keep)
                keep[values.nonzero()[:1, 0]] = not counted
                tables.add(table)
            else:
                keep = _numbers(tensors[name])[index]
        yield rung, name, index[keep], values[keep]


def computed_tables(module: nn.Module) -> int:
    """Tables of positions beside the parameters that count as one base each."""
    if isinstance(module, Transformer):
        return 0
    tensors = dict(other_tensors(module))
    found = (
        len(index)
        for _, name, index, _ in kept_beside(module)
        if table_of(name, tensors[name]) is not None
    )
    return sum(found)


def first_rung(module: nn.Module, name: str, tensor: Tensor) -> str:
    """The rung that counts a tensor that is no parameter first."""
    if isinstance(module, Transformer):
        kind = kind_of(name)
        return BUFFERS if kind is None else kind.rung
    if POSITIONAL_NAMES.search(name):
        return POSITIONAL
    routes = bool(((tensor == 0) | (tensor == 1)).all()) and not _is_causal_mask(tensor)
    return WIRING if routes else BUFFERS


# ---- masks and tables ----------------------------------------------------------------------------


def _numbers(tensor: Tensor) -> Tensor:
    """Which entries (flat) are numbers: all, but of a mask only those that neither allow (0) nor
    forbid (-inf).
    """
    flat = tensor.detach().cpu().reshape(-1)
    if _is_causal_mask(tensor):
        return torch.zeros_like(flat, dtype=torch.bool)
    odd = flat[flat != 0].unique()
    forbids = len(odd) == 1 and tensor.ndim > 1 and bool(odd[0] <= FORBIDDING)
    if forbids or bool((flat == -torch.inf).any()):
        return (flat != 0) & (flat != -torch.inf) & (not forbids)
    return torch.ones_like(flat, dtype=torch.bool)


def _is_causal_mask(tensor: Tensor) -> bool:
    if tensor.ndim < 2 or not FEWEST - 1 <= tensor.shape[-1] == tensor.shape[-2]:
        return False
    ones = torch.ones_like(tensor)
    return (
        torch.equal(tensor, ones.tril())
        or torch.equal(tensor, ones.triu())
        or torch.equal(tensor, ones.triu(1))
    )


def table_of(name: str, tensor: Tensor) -> str | None:
    """The table of positions that a tensor is (a part of): sine and cosine are one. None for a
    tensor without the name of a position, or one that no formula gives.

    >>> angles = torch.outer(torch.arange(34.0), 3.0 ** -torch.arange(2.0))
    >>> table_of("attn.cos_cached", angles.cos()), table_of("attn.pos", torch.rand(34, 2))
    ('attn._cached', None)
    """
    if not POSITIONAL_NAMES.search(name) or not by_formula(tensor):
        return None
    path, _, leaf = name.rpartition(".")
    return f"{path}.{re.sub('cos|sin', '', leaf)}"


def by_formula(tensor: Tensor) -> bool:
    """Whether the lines along one axis follow x[t+2] = a x[t+1] + b x[t], as sines, geometric
    series and straight lines do; and are long enough for that to mean anything.
    """
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        return False
    whole = tensor.detach().cpu().double()
    return any(_recurrent(whole, axis) for axis in range(whole.ndim))


def _recurrent(tensor: Tensor, axis: int) -> bool:
    lines = tensor.movedim(axis, -1).reshape(-1, tensor.shape[axis])[:4096]
    if lines.shape[1] < FEWEST or not bool(lines.count_nonzero()):
        return False
    known = torch.stack([lines[:, 1:-1], lines[:, :-2]], -1)
    next_one = lines[:, 2:, None]
    fitted = known @ torch.linalg.lstsq(known, next_one, driver="gelsd").solution
    size = lines.abs().amax(-1).clamp(min=1e-300)
    return bool(((fitted - next_one).abs().amax((-2, -1)) <= 1e-4 * size).all())


# ---- the same number written twice ---------------------------------------------------------------


class Known:
    """The numbers that are counted already, as often as they occur."""

    def __init__(self) -> None:
        self._counted = Counter[float]()

    def add(self, values: Iterable[float]) -> None:
        """Count all of these, whatever is counted already."""
        self._counted.update(values)

    def new(self, values: Iterable[float]) -> list[bool]:
        """Which of these are not there yet; from now on all of them are."""
        left, fresh, result = Counter(self._counted), Counter[float](), []
        for value in values:
            keys = (value, _single(value))
            key = next((k for k in keys if left[k] > 0), None)
            result.append(key is None)
            if key is None:
                fresh[value] += 1
            else:
                left[key] -= 1
        self._counted += fresh
        return result


def _single(value: float) -> float:
    """The float32 nearest to a number, as a float."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))
