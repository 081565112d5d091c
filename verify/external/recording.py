"""What a stranger's `add` asks its model, recorded; used inside its process only.

While `add` works on some pairs, every call that turns integer tokens into logits is kept: its
tokens, its logits, and what is needed to call it again with others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from tinyadder.tasks.pairs import Pair

Add = Callable[[Any, int, int], Any]
Pairs = Sequence[Pair]

DIGITS = 10
"""Digits of an operand."""
LIBRARIES = ("torch", "numpy", "math", "builtins", "mlx", "jax")


class NotRecovered(Exception):
    """How the file decodes could not be recovered; the message says why, in one clause."""


# ---- what arrays of any library hold -------------------------------------------------------------


def loaded_torch() -> Any:
    """The module torch, where the file has imported it."""
    return sys.modules.get("torch")


def _array(value: Any) -> np.ndarray | None:
    """The numbers of a tensor, an array or nested lists; None for anything else."""
    torch = loaded_torch()
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())
    if isinstance(value, list | tuple) and not value:
        return None
    if isinstance(value, np.ndarray | list | tuple) or hasattr(value, "__array__"):
        with suppress(Exception):
            return np.asarray(value)
    return None


def tokens_in(value: Any) -> np.ndarray | None:
    """Token ids of a text, (length) or (1, length), where `value` holds such; else None."""
    if isinstance(value, str | bytes | dict | int | float | bool) or value is None:
        return None
    found = _array(value)
    return (
        found if found is not None and found.dtype.kind in "iu" and found.ndim in (1, 2) else None
    )


def logits_in(value: Any) -> np.ndarray | None:
    """Logits (..., outputs) in what a call returned: an array, the first of a tuple, `.logits`,
    `["logits"]`.
    """
    if isinstance(value, tuple) and value:
        return logits_in(value[0])
    if isinstance(value, dict):
        return logits_in(value["logits"]) if "logits" in value else None
    inner = getattr(value, "logits", None)
    if inner is not None and not isinstance(value, np.ndarray):
        return logits_in(inner)
    found = _array(value)
    if found is None or found.dtype.kind != "f" or found.ndim < 1 or found.shape[-1] < 2:
        return None
    return found


def _like(value: Any, tokens: np.ndarray) -> Any:
    """`tokens` in the kind of container that `value` is."""
    torch = loaded_torch()
    if torch is not None and isinstance(value, torch.Tensor):
        return torch.as_tensor(tokens, dtype=value.dtype, device=value.device)
    if isinstance(value, np.ndarray):
        return tokens.astype(value.dtype)
    if isinstance(value, list | tuple):
        return type(value)(tokens.tolist())
    return type(value)(tokens)


def no_gradients() -> Any:
    """Within it torch, where it is loaded, keeps no graph for gradients."""
    torch = loaded_torch()
    return nullcontext() if torch is None else torch.no_grad()


GATES = {
    "relu",
    "relu_",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "sigmoid",
    "tanh",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "clamp",
    "clamp_",
    "clip",
    "threshold",
}
"""Names of torch's functions that decide what a hidden unit lets through."""
MOST_UNITS = 256


@contextmanager
def units_seen(count: int) -> Iterator[list[np.ndarray]]:
    """Yields a list that fills with what hidden units are given in passes over `count` texts:
    (count, units), the largest over the text. Empty for models that are not torch's.
    """
    seen: list[np.ndarray] = []
    torch = loaded_torch()
    if torch is None:
        yield seen
        return

    class Watching(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
        def __torch_function__(
            self, function: Any, types: Any, given: Any = (), named: Any = None
        ) -> Any:
            value = given[0] if given else None
            if getattr(function, "__name__", "") in GATES and isinstance(value, torch.Tensor):
                room = MOST_UNITS - sum(units.shape[1] for units in seen)
                fits = value.ndim > 1 and len(value) == count and value.shape[-1] <= room
                if fits and value.numel() and value.is_floating_point():
                    largest = value.detach().reshape(count, -1, value.shape[-1]).amax(1)
                    seen.append(largest.double().numpy())
            return function(*given, **(named or {}))

    with Watching():
        yield seen


# ---- recording -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One outermost call that turned the tokens of one text into logits."""

    tokens: tuple[int, ...]
    rows: np.ndarray
    """(rows, outputs)"""
    function: Callable[..., Any]
    """The function as it was before it was watched."""
    given: tuple[Any, ...]
    named: dict[str, Any]
    place: int | str
    """Where among the arguments the tokens stand."""

    def with_tokens(self, tokens: np.ndarray) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments with these tokens (n, length), for n = 1 in the shape of the call."""
        own = self.given[self.place] if isinstance(self.place, int) else self.named[self.place]
        shape = _array(own)
        assert shape is not None, "it held tokens when it was recorded"
        put = _like(own, tokens[0] if shape.ndim == 1 and len(tokens) == 1 else tokens)
        if isinstance(self.place, int):
            given = list(self.given)
            given[self.place] = put
            return tuple(given), self.named
        return self.given, {**self.named, self.place: put}


class Recorder:
    """Keeps the outermost calls; a call inside another one that is kept is forgotten."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            before = len(self.calls)
            held: list[tuple[int | str, Any]] = [*enumerate(given), *named.items()]
            places = [(place, found) for place, v in held if (found := tokens_in(v)) is not None]
            output = function(*given, **named)
            if not places:
                return output
            place, tokens = places[0]
            logits = logits_in(output)
            if logits is None or (tokens.ndim == 2 and len(tokens) != 1):
                return output
            del self.calls[before:]
            rows = np.array(logits.reshape(-1, logits.shape[-1]))
            text = tuple(tokens.reshape(-1).tolist())
            self.calls.append(Call(text, rows, function, given, named, place))
            return output

        return called


def modules_in(model: Any) -> list[Any]:
    """The torch modules that a model is, or holds in a dict or its attributes; their parts, too."""
    torch = loaded_torch()
    if torch is None:
        return []
    held = [model]
    if not isinstance(model, torch.nn.Module):
        named = model if isinstance(model, dict) else getattr(model, "__dict__", {})
        held = list(model if isinstance(model, list | tuple) else named.values())
    return [p for part in held if isinstance(part, torch.nn.Module) for p in part.modules()]


def _watchable(model: Any, add: Add) -> list[tuple[Any, str, Callable[..., Any]]]:
    """(owner, name, function) of everything that may be the forward pass: `forward` of each module,
    the model's own methods, functions beside `add`.
    """
    found: list[tuple[Any, str, Callable[..., Any]]] = []
    torch = loaded_torch()
    module = torch.nn.Module if torch is not None else ()
    for part in modules_in(model):
        if not isinstance(part, torch.nn.Embedding):
            found.append((part, "forward", part.forward))
    inherited = set(dir(torch.nn.Module)) if torch is not None and isinstance(model, module) else ()
    for name in dir(type(model)):
        if name.startswith("_") or name in inherited or (name == "forward" and inherited):
            continue
        with suppress(Exception):
            method = getattr(model, name)
            if isinstance(method, MethodType) and method.__self__ is model:
                found.append((model, name, method))
    for name, value in getattr(add, "__globals__", {}).items():
        if (
            isinstance(value, FunctionType)
            and value is not add
            and name not in ("add", "build_model")
            and not str(value.__module__).startswith(LIBRARIES)
        ):
            found.append((add.__globals__, name, value))  # type: ignore[attr-defined]
    return found


@contextmanager
def wrapped(
    model: Any, add: Add, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Put `wrap(function)` in the place of every function that may be the forward pass; all is as
    before afterwards.
    """
    undo = list[Callable[[], None]]()
    kind = type(model)
    try:
        for owner, name, function in _watchable(model, add):
            with suppress(Exception):
                if isinstance(owner, dict):
                    owner[name] = wrap(function)
                    undo.append(lambda o=owner, n=name, f=function: o.__setitem__(n, f))  # type: ignore[misc]
                else:
                    object.__setattr__(owner, name, wrap(function))
                    undo.append(lambda o=owner, n=name: object.__delattr__(o, n))  # type: ignore[misc]
        plain_call = kind.__dict__.get("__call__")
        if isinstance(plain_call, FunctionType):
            bound = wrap(MethodType(plain_call, model))
            with suppress(TypeError):
                model.__class__ = type(
                    kind.__name__, (kind,), {"__call__": lambda self, *g, **k: bound(*g, **k)}
                )
        yield
    finally:
        if type(model) is not kind:
            model.__class__ = kind
        for back in reversed(undo):
            with suppress(Exception):
                back()


@contextmanager
def recorded(model: Any, add: Add) -> Iterator[Recorder]:
    """Watch every call that may be a forward pass."""
    recorder = Recorder()
    with wrapped(model, add, recorder.wrap):
        yield recorder


def whole(answer: Any) -> int | None:
    """The integer that an answer equals, be it a float or a tensor of one number; else None."""
    with suppress(Exception):
        value = answer.item() if hasattr(answer, "item") else answer
        if not isinstance(value, bool | str) and value == int(value):
            return int(value)
    return None


@dataclass(frozen=True)
class TracedSum:
    """The passes of one sum, and what `add` returned for it."""

    pair: Pair
    calls: tuple[Call, ...]
    answer: int | None

    @cached_property
    def texts(self) -> tuple[tuple[int, ...], ...]:
        """The whole text at each pass, also where a cache saved feeding it again."""
        texts = [call.tokens for call in self.calls]
        if len(texts) > 1 and len(texts[0]) > 1 and all(len(text) == 1 for text in texts[1:]):
            for k in range(1, len(texts)):
                texts[k] = texts[k - 1] + texts[k]
        return tuple(texts)

    @property
    def cached(self) -> bool:
        """Whether the passes after the first were given the last token only."""
        return len(self.calls) > 1 and self.texts[1] != self.calls[1].tokens


def watch(model: Any, add: Add, pairs: Pairs) -> list[TracedSum]:
    """The runs of `add` on these pairs. What `add` raises passes through."""
    runs = []
    with recorded(model, add) as recorder, no_gradients():
        for pair in pairs:
            recorder.calls.clear()
            answer = add(model, *pair)
            runs.append(TracedSum(pair, tuple(recorder.calls), whole(answer)))
    return runs
