"""The verifier's own greedy decoding of a stranger's model; used inside its process only.

While the file's `add` works on some pairs, every call that turns integer tokens into logits is
recorded. From these the format is recovered: what stands at each place of each pass (a constant, a
function of one digit of an operand, of a column, or a token chosen before), which logits are read,
which token the choice becomes, how the answer is read off. With that any pairs are decoded in
batches by calls of the model alone. What cannot be recovered raises `NotRecovered` with the reason;
then only the file's own `add` can be asked. Nothing here says what is right.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from types import FunctionType, MethodType
from typing import Any, Literal

import numpy as np

from tinyadder.tasks.pairs import Pair

Add = Callable[[Any, int, int], Any]
Pairs = Sequence[Pair]

DIGITS = 10
"""Digits of an operand."""
RECORDED = 20
"""Pairs that `add` is watched on; a multiple of ten, so that every digit stands in every place."""
COMPARED = 20
"""Pairs on which the passes of our decoding are compared with those of `add`."""
PATIENCE = 3.0
"""Seconds that one sum may take while the format is recovered."""
CLOSE = 1e-4
"""What logits may differ by, in units of the largest of their row: rounding in float32, not more.
"""
SPELLED = 0.6
"""The share of recorded sums whose answer its choices must spell."""
BATCHES = (64, 256, 1024)
LIBRARIES = ("torch", "numpy", "math", "builtins", "mlx", "jax")


class NotRecovered(Exception):
    """How the file decodes could not be recovered; the message says why, in one clause."""


# ---- what arrays of any library hold -------------------------------------------------------------


def _torch() -> Any:
    """The module torch, where the file has imported it."""
    return sys.modules.get("torch")


def _array(value: Any) -> np.ndarray | None:
    """The numbers of a tensor, an array or nested lists; None for anything else."""
    torch = _torch()
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
    torch = _torch()
    if torch is not None and isinstance(value, torch.Tensor):
        return torch.as_tensor(tokens, dtype=value.dtype, device=value.device)
    if isinstance(value, np.ndarray):
        return tokens.astype(value.dtype)
    if isinstance(value, list | tuple):
        return type(value)(tokens.tolist())
    return type(value)(tokens)


def _no_gradients() -> Any:
    torch = _torch()
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
    torch = _torch()
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
    torch = _torch()
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
    torch = _torch()
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
    with recorded(model, add) as recorder, _no_gradients():
        for pair in pairs:
            recorder.calls.clear()
            answer = add(model, *pair)
            runs.append(TracedSum(pair, tuple(recorder.calls), whole(answer)))
    return runs


# ---- the format ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """What stands at one place of a pass, as a table of tokens."""

    kind: Literal["constant", "a", "b", "column", "chosen"]
    index: int
    """Of the digit or column, from the least significant; of the pass whose choice it is."""
    table: tuple[int, ...]
    """By digit; by 10 * digit of a + digit of b; by the choice (-1: never seen); one entry of a
    constant."""

    def __str__(self) -> str:
        if self.kind == "constant":
            return f"token {self.table[0]}"
        if self.kind == "chosen":
            return f"choice {self.index + 1}"
        return f"digit {self.index} of {'a and b' if self.kind == 'column' else self.kind}"


@dataclass(frozen=True)
class Format:
    """How a file feeds its model and reads it."""

    passes: tuple[tuple[Slot, ...], ...]
    rows: tuple[int, ...]
    """Which row of logits each pass is read at; -1 the last."""
    outputs: int | None
    """The first so many logits are compared; None: all."""
    smallest: bool
    """Whether the smallest logit is chosen."""
    order: Literal["most", "least"]
    """Which digit of the answer is chosen first."""
    skip: int
    """Choices before the first digit."""
    length: int | None
    """Digits of the answer; None: up to the stop."""
    base: int
    """10, or 100 where a choice is two digits."""
    digits: tuple[int, ...]
    """By choice: the digit it is, -1 none."""
    stops: frozenset[int]
    """Choices that end the answer."""

    def read(self, choices: Sequence[int]) -> int | None:
        """The number that these choices spell; None where one is no digit."""
        spelled = list(choices[self.skip :])
        if self.length is not None:
            spelled = spelled[: self.length]
        else:
            end = next((i for i, c in enumerate(spelled) if c in self.stops), len(spelled))
            spelled = spelled[:end]
        value, known = 0, [self.digits[c] if 0 <= c < len(self.digits) else -1 for c in spelled]
        if not known or min(known) < 0:
            return None
        for digit in known if self.order == "most" else known[::-1]:
            value = value * self.base + digit
        return value

    @property
    def grows(self) -> bool:
        """Each pass has the text of the one before and its choice."""
        return all(
            after[:-1] == before and after[-1].kind == "chosen" and after[-1].index == k
            for k, (before, after) in enumerate(zip(self.passes, self.passes[1:], strict=False))
        )

    def __str__(self) -> str:
        """One line: the prompt, and how the answer is read."""
        first = self.passes[0]
        places: list[str] = []
        for slot in first:
            operand, index = slot.kind, slot.index
            last = places[-1].split() if places else []
            if operand in ("a", "b", "column") and last[:1] == [operand]:
                places[-1] = f"{operand} {last[1].split('..')[0]}..{index}"
            else:
                places.append(
                    f"{operand} {index}" if operand != "constant" else f"'{slot.table[0]}'"
                )
        way = "grows by its choice" if self.grows else "is filled in"
        return (
            f"prompt of {len(first)} tokens ({' '.join(places)}), {way}, {len(self.passes)} passes,"
            f" {self.order} significant digit first"
        )


def digits_of(numbers: Sequence[int], width: int = DIGITS, base: int = 10) -> np.ndarray:
    """(n, width) digits, least significant first."""
    found = np.zeros((len(numbers), width), dtype=np.int64)
    left = np.array(numbers, dtype=np.int64)
    for i in range(width):
        left, found[:, i] = np.divmod(left, base)
    return found


def spread(count: int, seed: int) -> list[Pair]:
    """`count` pairs (a multiple of ten) in which every digit stands equally often in every place.

    >>> sorted({a % 10 for a, _ in spread(10, 0)}) == list(range(10))
    True
    """
    random = Random(seed)
    columns = []
    for _ in range(2 * DIGITS):
        column = list(range(10)) * (count // 10)
        random.shuffle(column)
        columns.append(column)
    numbers = [
        [sum(columns[shift + i][n] * 10**i for i in range(DIGITS)) for shift in (0, DIGITS)]
        for n in range(count)
    ]
    return [(a, b) for a, b in numbers]


Probe = Callable[[Pairs], list[TracedSum]]


def recover(runs: Sequence[TracedSum], probe: Probe) -> Format:
    """The format that explains every one of these runs; `probe` records others.

    Raises `NotRecovered` where there is none.
    """
    if not all(run.calls for run in runs):
        raise NotRecovered("no call that turns integer tokens into logits was seen")
    steps = max(len(run.calls) for run in runs)
    if steps < 2:
        raise NotRecovered("one pass of the model gives the whole answer")
    if any(
        len({len(run.texts[k]) for run in runs if k < len(run.calls)}) > 1 for k in range(steps)
    ):
        raise NotRecovered("its prompts have different lengths")
    shapes = [
        {call.rows.shape for run in runs for call in run.calls[k : k + 1]} for k in range(steps)
    ]
    if any(len(found) > 1 for found in shapes):
        raise NotRecovered("its passes return logits of different shapes")
    reason = "the tokens it is fed are not its largest logits"
    for rows in _candidate_rows(runs, steps):
        for smallest in (False, True):
            for outputs in (None, 10):
                chosen = _choices(runs, steps, rows, outputs, smallest)
                try:
                    table = _fed(runs, chosen, steps)
                except NotRecovered as why:
                    reason = str(why)
                    continue
                order, skip, length, base, digits, stops = _reading(runs, chosen)
                passes = _passes(runs, chosen, steps, table, probe)
                return Format(
                    passes, rows, outputs, smallest, order, skip, length, base, digits, stops
                )
    raise NotRecovered(reason)


def _candidate_rows(runs: Sequence[TracedSum], steps: int) -> Iterator[tuple[int, ...]]:
    """The last row in every pass; where a text of fixed width is filled in, the row before the
    place that is filled next, or that row itself.
    """
    yield (-1,) * steps
    filled = list[int]()
    for k in range(steps - 1):
        both = [run.texts[k : k + 2] for run in runs if len(run.calls) > k + 1]
        if any(len(before) != len(after) for before, after in both):
            return
        places = {
            p
            for before, after in both
            for p, (one, two) in enumerate(zip(before, after, strict=True))
            if one != two
        }
        if len(places) != 1:
            return
        filled += places
    filled.append(2 * filled[-1] - filled[-2] if len(filled) > 1 else filled[-1] + 1)
    count = len(runs[0].calls[0].rows)
    for shift in (-1, 0):
        rows = tuple(place + shift for place in filled)
        if all(0 <= row < count for row in rows):
            yield rows


def _choices(
    runs: Sequence[TracedSum], steps: int, rows: Sequence[int], outputs: int | None, smallest: bool
) -> np.ndarray:
    """(runs, steps) index of the logit that is chosen; -1 past the end of a run."""
    chosen = np.full((len(runs), steps), -1)
    for n, run in enumerate(runs):
        for k, call in enumerate(run.calls):
            row = call.rows[rows[k]][:outputs]
            chosen[n, k] = (-row if smallest else row).argmax()
    return chosen


def _fed(runs: Sequence[TracedSum], chosen: np.ndarray, steps: int) -> dict[int, int]:
    """Choice -> the token it becomes in the next pass. Raises `NotRecovered` where that is no
    function.
    """
    table: dict[int, int] = {}
    for n, run in enumerate(runs):
        for k in range(len(run.calls) - 1):
            before, after = run.texts[k], run.texts[k + 1]
            if len(after) == len(before) + 1:
                token = after[-1]
            elif len(after) == len(before):
                steps_on = [(r.texts[k], r.texts[k + 1]) for r in runs if len(r.calls) > k + 1]
                places = [p for p in range(len(after)) if any(a[p] != b[p] for a, b in steps_on)]
                if len(places) != 1:
                    raise NotRecovered("from pass to pass more than one token changes")
                token = after[places[0]]
            else:
                raise NotRecovered("its text does not grow by one token a pass")
            if table.setdefault(int(chosen[n, k]), token) != token:
                raise NotRecovered("what is fed back is not the largest logit")
    if len(set(table.values())) < len(table):
        raise NotRecovered("different choices are fed back as the same token")
    shifts = {token - choice for choice, token in table.items()}
    if len(shifts) == 1:  # the choices that did not occur, too
        (shift,) = shifts
        count = runs[0].calls[0].rows.shape[-1]
        table |= {c: c + shift for c in range(count) if c + shift >= 0}
    return table


def _reading(
    runs: Sequence[TracedSum], chosen: np.ndarray
) -> tuple[Literal["most", "least"], int, int | None, int, tuple[int, ...], frozenset[int]]:
    """How the number that `add` returned is spelled by the choices. Raises `NotRecovered`."""
    known = [n for n, run in enumerate(runs) if run.answer is not None and 0 <= run.answer < 10**18]
    if len(known) < len(runs) / 2:
        raise NotRecovered("add returns no whole numbers")
    answers = [int(runs[n].answer or 0) for n in known]
    counts = {len(runs[n].calls) for n in known}
    size = int(chosen.max()) + 1
    orders: tuple[Literal["most", "least"], ...] = ("least", "most")
    for base in (10, 100):
        need = len(_spelled(max(answers), base))
        for skip in (0, 1, 2):
            for length in range(min(counts) - skip, need - 1, -1):
                padded = digits_of(answers, length, base)
                for order in orders:
                    spelled = padded if order == "least" else padded[:, ::-1]
                    choices = chosen[known, skip : skip + length].tolist()
                    pairs = [
                        zip(c, d, strict=True)
                        for c, d in zip(choices, spelled.tolist(), strict=True)
                    ]
                    digits = _one_to_one(pairs, size)
                    if digits is not None:
                        return order, skip, length, base, digits, frozenset()
            for order in orders:
                found = _unpadded(chosen[known], answers, skip, base, order, size)
                if found is not None:
                    return order, skip, None, base, *found
    raise NotRecovered("what add returns is not spelled by the choices of its passes")


def _spelled(number: int, base: int) -> list[int]:
    """Digits, least significant first, at least one."""
    digits = [number % base]
    while number := number // base:
        digits.append(number % base)
    return digits


def _one_to_one(runs: Sequence[Iterable[tuple[int, int]]], size: int) -> tuple[int, ...] | None:
    """The table choice -> digit that most runs spell, every digit by one choice.

    None where it spells less than `SPELLED` of the runs: `add` may alter some answers.
    """
    votes = np.zeros((size, 100), dtype=np.int64)
    lists = [list(run) for run in runs]
    for choice, digit in (pair for pairs in lists for pair in pairs):
        if choice < 0:
            return None
        votes[choice, digit] += 1
    table = np.where(votes.any(1), votes.argmax(1), -1)
    known = table[table >= 0]
    good = sum(all(table[choice] == digit for choice, digit in pairs) for pairs in lists)
    if len(set(known.tolist())) < len(known) or good < SPELLED * len(lists):
        return None
    return tuple(table.tolist())


def _unpadded(
    chosen: np.ndarray,
    answers: Sequence[int],
    skip: int,
    base: int,
    order: Literal["most", "least"],
    size: int,
) -> tuple[tuple[int, ...], frozenset[int]] | None:
    """The table and the stops of answers without leading zeros, each ended by a choice."""
    pairs, stops = list[Iterable[tuple[int, int]]](), set[int]()
    for row, answer in zip(chosen.tolist(), answers, strict=True):
        digits = _spelled(answer, base)[:: 1 if order == "least" else -1]
        spelled, rest = row[skip : skip + len(digits)], row[skip + len(digits) :]
        if len(spelled) < len(digits) or not rest or rest[0] < 0:
            return None
        pairs.append(zip(spelled, digits, strict=True))
        stops.add(rest[0])
    table = _one_to_one(pairs, size)
    if table is None or any(table[stop] >= 0 for stop in stops):
        return None
    return table, frozenset(stops)


def _passes(
    runs: Sequence[TracedSum], chosen: np.ndarray, steps: int, fed: dict[int, int], probe: Probe
) -> tuple[tuple[Slot, ...], ...]:
    """The slots of every pass. Raises `NotRecovered`."""
    size = max(fed, default=0) + 1
    choice_table = tuple(fed.get(c, -1) for c in range(size))
    columns: dict[int, list[TracedSum]] = {}

    def probed() -> list[TracedSum]:
        if 0 not in columns:
            ones = (10**DIGITS - 1) // 9
            columns[0] = probe([(x * ones, y * ones) for x in range(10) for y in range(10)])
        return columns[0]

    found: list[tuple[Slot, ...]] = []
    for k in range(steps):
        those = [n for n, run in enumerate(runs) if k < len(run.calls)]
        texts = np.array([runs[n].texts[k] for n in those])
        before = np.array([runs[n].texts[k - 1] for n in those]) if k else texts[:, :0]
        slots: list[Slot] = []
        for p in range(texts.shape[1]):
            if p < before.shape[1] and (texts[:, p] == before[:, p]).all():
                slots.append(found[k - 1][p])
                continue
            slot = _slot(texts[:, p], [runs[n].pair for n in those])
            if slot is None:
                slot = _chosen(texts[:, p], chosen[those, :k], choice_table)
            if slot is None:
                slot = _column(texts[:, p], [runs[n].pair for n in those], k, p, probed)
            if slot is None:
                raise NotRecovered(
                    f"token {p + 1} of pass {k + 1} is no function of a digit of either number, of"
                    " a column, or of a choice before"
                )
            slots.append(slot)
        found.append(tuple(slots))
    return tuple(found)


def _slot(tokens: np.ndarray, pairs: Pairs) -> Slot | None:
    """A constant, or a function of one digit."""
    if (tokens == tokens[0]).all():
        return Slot("constant", 0, (int(tokens[0]),))
    operands: tuple[Literal["a", "b"], ...] = ("a", "b")
    for which, kind in enumerate(operands):
        digits = digits_of([pair[which] for pair in pairs])
        for index in range(DIGITS):
            table = [set(tokens[digits[:, index] == d].tolist()) for d in range(10)]
            if all(len(tokens_of) == 1 for tokens_of in table):
                return Slot(kind, index, tuple(int(t.pop()) for t in table))
    return None


def _chosen(tokens: np.ndarray, before: np.ndarray, table: tuple[int, ...]) -> Slot | None:
    """A choice of a pass before; the latest that fits."""
    known = np.array(table)
    for step in reversed(range(before.shape[1])):
        if (known[before[:, step]] == tokens).all():
            return Slot("chosen", step, table)
    return None


def _column(
    tokens: np.ndarray, pairs: Pairs, k: int, p: int, probed: Callable[[], list[TracedSum]]
) -> Slot | None:
    """A function of the two digits of one column, read off sums of repeated digits."""
    a, b = (digits_of([pair[which] for pair in pairs]) for which in (0, 1))
    for index in range(DIGITS):
        keys = 10 * a[:, index] + b[:, index]
        if all(len(set(tokens[keys == key].tolist())) == 1 for key in set(keys.tolist())):
            runs = probed()
            if any(len(run.calls) <= k or len(run.texts[k]) <= p for run in runs):
                return None
            table = tuple(run.texts[k][p] for run in runs)
            if (np.array(table)[keys] == tokens).all():
                return Slot("column", index, table)
    return None


# ---- decoding ------------------------------------------------------------------------------------


WIDTH = DIGITS + 1
"""Digits of a sum."""


@dataclass(frozen=True)
class Decoded:
    """What greedy decoding gave, a row a pair."""

    digits: np.ndarray
    """(n, 11) int8 digits of the answer, least significant first; -1 where a choice is no digit.
    An answer that ends early has zeros in front."""
    gaps: np.ndarray
    """(n, 11) float64: the chosen logit less the next best, of the choice that is this digit;
    NaN where there is none."""
    units: np.ndarray | None = None
    """(n, units) the largest that each hidden unit was given, where that was asked for and seen."""

    @property
    def answers(self) -> list[int | None]:
        """The numbers; None where something is no digit."""
        return [
            None if min(row) < 0 else sum(d * 10**i for i, d in enumerate(row))
            for row in self.digits.tolist()
        ]


@dataclass
class Decoder:
    """Decodes pairs by calls of the model alone.

    `rows` gives the logits of any tokens, `decode` the greedy answers of pairs, `forced` what is
    chosen after given answers, all in one pass (where `causal`).
    """

    format: Format
    call: Call
    """A recorded call, whose function and other arguments are used again."""
    batch: int = 1
    causal: bool = False
    """One row of logits a token, which later tokens do not change: a whole answer can be judged in
    one pass."""
    altered: list[tuple[int, int, int | None, int | None]] = field(default_factory=list)
    """(a, b, what `add` returned, what its own passes spell) where these differ although `add`
    made the very passes that we make."""

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (n, rows, outputs) of texts (n, length), in batches of at most `batch`."""
        found = []
        with _no_gradients():
            for start in range(0, len(tokens), self.batch):
                some = tokens[start : start + self.batch]
                given, named = self.call.with_tokens(some)
                logits = logits_in(self.call.function(*given, **named))
                if logits is None or logits.size % len(some):
                    raise NotRecovered("its forward pass takes no batches")
                found.append(logits.reshape(len(some), -1, logits.shape[-1]))
        return np.concatenate(found)

    def tokens(self, step: int, pairs: Pairs, chosen: np.ndarray) -> np.ndarray:
        """The texts (n, length) of pass `step`, given the choices (n, >= step) before."""
        digits = {
            "a": digits_of([a for a, _ in pairs]),
            "b": digits_of([b for _, b in pairs]),
        }
        slots = self.format.passes[step]
        found = np.empty((len(pairs), len(slots)), dtype=np.int64)
        for p, slot in enumerate(slots):
            table = np.array(slot.table)
            if slot.kind == "constant":
                found[:, p] = table[0]
            elif slot.kind == "chosen":
                choice = chosen[:, slot.index]
                fed = table[np.clip(choice, 0, len(table) - 1)]
                # A choice that was never seen to be fed back is fed as it is.
                found[:, p] = np.where((choice < len(table)) & (fed >= 0), fed, choice)
            elif slot.kind == "column":
                found[:, p] = table[10 * digits["a"][:, slot.index] + digits["b"][:, slot.index]]
            else:
                found[:, p] = table[digits[slot.kind][:, slot.index]]
        return found

    def choose(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The choice of each row (..., outputs) and its lead over the next best, NaN where a logit
        is NaN.
        """
        rows = np.asarray(rows[..., : self.format.outputs], dtype=np.float64)
        if self.format.smallest:
            rows = -rows
        choice = rows.argmax(-1)
        best = np.partition(rows, -2, axis=-1)[..., -2:]
        with np.errstate(invalid="ignore"):
            return choice, np.where(np.isnan(rows).any(-1), np.nan, best[..., 1] - best[..., 0])

    def choices(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Greedy choices and their leads, (n, passes), batch by batch."""
        steps = len(self.format.passes)
        chosen = np.full((len(pairs), steps), -1, dtype=np.int64)
        gaps = np.full((len(pairs), steps), np.nan)
        for start in range(0, len(pairs), self.batch):
            some = slice(start, start + self.batch)
            for step in range(steps):
                rows = self.rows(self.tokens(step, pairs[some], chosen[some]))
                row = self.format.rows[step]
                chosen[some, step], gaps[some, step] = self.choose(rows[:, row])
        return chosen, gaps

    def decode(self, pairs: Pairs) -> Decoded:
        """Greedy answers."""
        return self.decoded(*self.choices(pairs))

    def forced(self, pairs: Pairs, answers: Sequence[int], *, units: bool = False) -> Decoded:
        """What is chosen at each digit after the digits of `answers` before it, in one pass; with
        `units` also what the hidden units were given.

        Only where `causal`. Up to the first digit that is not that of the answer this is what
        greedy decoding gives.
        """
        form = self.format
        steps = len(form.passes)
        back = {digit: choice for choice, digit in enumerate(form.digits) if digit >= 0}
        assert form.length is not None, "asked of causal decoders only"
        spelled = digits_of(answers, form.length, form.base)
        if form.order == "most":
            spelled = spelled[:, ::-1]
        chosen = np.zeros((len(pairs), steps), dtype=np.int64)
        chosen[:, : form.length] = np.vectorize(back.__getitem__, otypes=[np.int64])(spelled)
        last = form.length - 1
        logits, given = self._passes(self.tokens(last, pairs, chosen), units)
        choice, gap = self.choose(logits[:, -form.length :])
        return replace(self.decoded(choice, gap), units=given)

    def _passes(self, tokens: np.ndarray, units: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Logits, and what the hidden units were given, where that is the same kind of thing in
        every batch.
        """
        if not units:
            return self.rows(tokens), None
        logits, given = [], []
        for start in range(0, len(tokens), self.batch):
            some = tokens[start : start + self.batch]
            with units_seen(len(some)) as seen:
                logits.append(self.rows(some))
            given.append(np.concatenate(seen, 1) if seen else np.empty((len(some), 0)))
        same = len({part.shape[1] for part in given}) == 1
        return np.concatenate(logits), np.concatenate(given) if same else None

    def decoded(self, chosen: np.ndarray, gaps: np.ndarray) -> Decoded:
        """The answers that choices (n, passes) spell."""
        form, count = self.format, len(chosen)
        table = np.array([*form.digits, -1])
        read = table[np.minimum(chosen[:, form.skip :], len(form.digits))]
        leads = gaps[:, form.skip :]
        if form.length is not None:
            length = np.full(count, form.length)
        else:
            ends = np.isin(chosen[:, form.skip :], list(form.stops))
            length = np.where(ends.any(1), ends.argmax(1), ends.shape[1])
        step = 1 if form.base == 10 else 2
        digits = np.zeros((count, WIDTH), dtype=np.int8)
        found = np.full((count, WIDTH), np.nan)
        for place in range(WIDTH):
            i = place // step
            at = i if form.order == "least" else length - 1 - i
            at = np.clip(np.broadcast_to(at, count), 0, read.shape[1] - 1)
            value = read[np.arange(count), at]
            digit = np.where(value < 0, -1, value // 10 ** (place % step) % 10)
            inside = i < length
            digits[:, place] = np.where(inside, digit, 0)
            lead = leads[np.arange(count), at]
            found[:, place] = np.where(inside, lead, np.nan)
        digits[:, -1][(length == 0) | self._too_long(read, length, step)] = -1
        return Decoded(digits, found)

    def _too_long(self, read: np.ndarray, length: np.ndarray, step: int) -> np.ndarray:
        """Whether a digit that `Decoded` has no place for is not zero."""
        beyond = np.zeros(len(read), dtype=bool)
        for i in range(-(-WIDTH // step), read.shape[1]):
            at = i if self.format.order == "least" else length - 1 - i
            at = np.clip(np.broadcast_to(at, len(read)), 0, read.shape[1] - 1)
            beyond |= (i < length) & (read[np.arange(len(read)), at] != 0)
        return beyond

    @classmethod
    def of(cls, model: Any, add: Add, *, seed: int = 0) -> Decoder:
        """The decoder of this model, compared with `add` on a sample.

        Raises `NotRecovered` with the reason; whatever `add` raises is such a reason, too.
        """
        try:
            return cls._of(model, add, seed)
        except NotRecovered:
            raise
        except Exception as error:
            text = str(error).strip().partition("\n")[0][:120]
            raise NotRecovered(f"{type(error).__name__}: {text}") from error

    @classmethod
    def _of(cls, model: Any, add: Add, seed: int) -> Decoder:
        pairs = spread(RECORDED, seed)
        runs = watch(model, add, pairs[:1])
        if not runs[0].calls:
            raise NotRecovered("no call that turns integer tokens into logits was seen")
        began = time.monotonic()  # the first sum may have warmed something up
        runs += watch(model, add, pairs[1:2])
        if time.monotonic() - began > PATIENCE:
            raise NotRecovered(f"one sum takes more than {PATIENCE:g} s")
        runs += watch(model, add, pairs[2:])
        form = recover(runs, lambda more: watch(model, add, more))
        call = runs[0].calls[0]
        if any(run.cached for run in runs):
            call = replace(call, given=_bare(call), named={}, place=0)
        decoder = cls(form, call)
        decoder._compare(model, add, seed)
        decoder.causal = decoder._is_causal(runs, seed)
        return decoder

    def _compare(self, model: Any, add: Add, seed: int) -> None:
        """Our passes must be those of `add` on pairs it was not watched on; in batches, too, where
        the model takes them. Raises `NotRecovered`.
        """
        runs = watch(model, add, comparison(seed))
        pairs = [run.pair for run in runs]
        for batch in (COMPARED, 1):
            self.batch = batch
            with suppress(Exception):
                chosen, _ = self.choices(pairs)
                if self.same_passes(runs, chosen):
                    break
        else:
            raise NotRecovered("the passes that its tokens spell give other logits when repeated")
        answers = self.decoded(chosen, np.zeros(chosen.shape)).answers
        self.altered = [
            (*run.pair, run.answer, spelled)
            for run, spelled in zip(runs, answers, strict=True)
            if run.answer != spelled
        ]
        if len(self.altered) > len(runs) / 2:
            raise NotRecovered("what add returns is not spelled by the choices of its passes")
        if self.batch > 1:
            self.batch = self._fastest(pairs)

    def same_passes(self, runs: Sequence[TracedSum], chosen: np.ndarray) -> bool:
        """Whether each pass of `add` had the tokens and, but for rounding, the logits of ours."""
        for step in range(len(self.format.passes)):
            those = [n for n, run in enumerate(runs) if step < len(run.calls)]
            if not those:
                break
            texts = self.tokens(step, [runs[n].pair for n in those], chosen[those])
            if any(
                tuple(text) != runs[n].texts[step]
                for text, n in zip(texts.tolist(), those, strict=True)
            ):
                return False
            row = self.format.rows[step]
            ours = self.rows(texts)[:, row]
            theirs = np.stack([runs[n].calls[step].rows[row] for n in those])
            if not alike(ours, theirs):
                return False
        return True

    def _fastest(self, pairs: Pairs) -> int:
        """The batch that decodes most pairs a second."""
        best, most = self.batch, 0.0
        for batch in BATCHES:
            many = (list(pairs) * (batch // len(pairs) + 1))[:batch]
            texts = self.tokens(0, many, np.zeros((batch, 1), dtype=np.int64))
            self.batch, took = batch, float("inf")
            try:
                for _ in range(2):  # the first of a size may be slow
                    began = time.perf_counter()
                    self.rows(texts)
                    took = min(took, time.perf_counter() - began)
            except Exception:
                break
            if batch / took > most:
                best, most = batch, batch / took
        return best

    def _is_causal(self, runs: Sequence[TracedSum], seed: int) -> bool:
        """Whether there is one row of logits a token that no later tokens change, whatever they
        are.
        """
        form = self.format
        if (
            not form.grows
            or form.length is None
            or form.skip
            or form.base != 10
            or set(form.rows) != {-1}
            or set(range(10)) - set(form.digits)
        ):
            return False
        last = form.length - 1
        runs = [run for run in runs if len(run.calls) > last]
        texts = np.array([run.texts[last] for run in runs])
        first = texts.shape[1] - last
        other = np.array([token for token in form.passes[1][-1].table if token >= 0])
        random = np.random.default_rng(seed)
        cut = random.integers(first, texts.shape[1] + 1, len(texts))
        misled = np.where(
            np.arange(texts.shape[1]) >= cut[:, None], random.choice(other, texts.shape), texts
        )
        for given in (texts, misled):
            logits = self.rows(given)
            if logits.shape[1] != texts.shape[1]:
                return False
            for step in range(form.length):
                same = (given == texts)[:, : first + step].all(1)
                ours = logits[same, first + step - 1]
                theirs = [r.calls[step].rows[-1] for r, s in zip(runs, same, strict=True) if s]
                if theirs and not alike(ours, np.stack(theirs)):
                    return False
        return True


def _bare(call: Call) -> tuple[Any, ...]:
    """The tokens alone: without the caches and positions of decoding with a cache."""
    return (call.given[call.place] if isinstance(call.place, int) else call.named[call.place],)


def alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether logits (n, outputs) are the same but for rounding."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape or (np.isfinite(ours) != np.isfinite(theirs)).any():
        return False
    finite = np.isfinite(theirs)
    size = np.where(finite, np.abs(theirs), 0).max(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return bool((np.where(finite, np.abs(ours - theirs), 0) <= CLOSE * size + 1e-30).all())


def comparison(seed: int) -> list[Pair]:
    """Pairs with carries, zeros and nines on which decodings are compared."""
    random = Random(seed + 1)
    top = 10**DIGITS - 1
    fixed = [(0, 0), (top, 1), (top, top), (0, 1), (5 * 10**9, 5 * 10**9), (1, top // 10)]
    lengths = [(random.randint(1, DIGITS), random.randint(1, DIGITS)) for _ in range(8)]
    short = [(random.randrange(10**m), random.randrange(10**n)) for m, n in lengths]
    rest = COMPARED - len(fixed) - len(short)
    return [*fixed, *short, *((random.randrange(top), random.randrange(top)) for _ in range(rest))]
