"""What a model does with its tokens, operation by operation, as plain data.

Two recordings of the same kind: `executed` watches a forward pass while it runs, `exported` reads
the graph of `torch.export`. Both list only operations on what derives from the tokens; everything
else (weights, positions, masks) is free. A recording can be run again on other tokens: where that
gives other logits than the model, the recording does not explain the model, because something
passed outside of torch (a Python branch, another thread, state kept between passes).

Runs in the process of a submission (`tinyadder.verify.external.worker`); judged by
`tinyadder.verify.external.dataflow`.
"""

from __future__ import annotations

import linecache
import operator
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from tinyadder.verify.external.dataflow import Operation

Forward = Callable[[Tensor], Tensor]
"""One forward pass: tokens as the model takes them -> its logits."""

MOST_OPERATIONS = 20_000
OURS = (str(Path(torch.__file__).parent), str(Path(__file__).resolve().parents[2]))
LEAVING = ("tolist", "numpy", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "storage")
"""Methods that hand a tensor's values to Python without an operation."""
MAKING = ("tensor", "as_tensor", "asarray", "from_numpy", "LongTensor", "IntTensor")


@dataclass(frozen=True)
class _View:
    """A tensor argument of a recorded operation: which part of which recorded memory."""

    value: int
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def of(self, storage: torch.UntypedStorage) -> Tensor:
        empty = torch.empty(0, dtype=self.dtype)
        return empty.set_(storage, self.offset, self.size, self.stride)  # type: ignore[call-overload]


@dataclass
class Recording:
    """The operations of a pass, and what is needed to run them again."""

    operations: list[Operation] = field(default_factory=list)
    logits: int | None = None
    """The value that the logits are; None where they derive from no token."""
    steps: list[tuple[Any, Any, Any, list[int]]] = field(default_factory=list)
    given: dict[int, torch.UntypedStorage] = field(default_factory=dict)
    """Memory that was free until something of the tokens was written into it, as it was then."""
    result: _View | Tensor | None = None

    def again(self, tokens: Tensor) -> Tensor:
        """The logits that the recorded operations give for other tokens of the same shape."""
        held = {0: tokens.clone().untyped_storage()}
        held |= {value: storage.clone() for value, storage in self.given.items()}

        def tensor(part: Any) -> Any:
            return part.of(held[part.value]) if isinstance(part, _View) else part

        for function, given, named, values in self.steps:
            made = function(*tree_map(tensor, given), **tree_map(tensor, named))
            for value, out in zip(values, (x for x in _tensors(made)), strict=True):
                held.setdefault(value, out.untyped_storage())
        made = tensor(self.result)
        assert isinstance(made, Tensor)
        return made


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (part for part in tree_iter(tree) if isinstance(part, Tensor))


def source_line() -> str:
    """The innermost line of a file that is neither torch's nor this project's: `name:12: text`."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(OURS) and not path.startswith("<frozen"):
            return _shown_line(path, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def _shown_line(path: str, number: int) -> str:
    return f"{Path(path).name}:{number}: {linecache.getline(path, number).strip()[:120]}"


# ---- a pass that is watched ----------------------------------------------------------------------


class _Watch(TorchDispatchMode):
    """Records every operation that reads memory which derives from the tokens."""

    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.recording = Recording()
        self.tokens = tokens.reshape(-1).tolist()
        self.kept = [tokens.untyped_storage()]  # alive, so that no address is used twice
        self.values = {tokens.untyped_storage()._cdata: 0}
        self.next = 1
        self.inside = 0  # within an operation that is recorded as one

    def value(self, tensor: Tensor) -> int | None:
        return self.values.get(tensor.untyped_storage()._cdata)

    def begin(self, made: Any) -> None:
        """A forward pass that takes a list makes a tensor of it: that is the tokens, too."""
        whole = isinstance(made, Tensor) and not made.is_floating_point()
        if whole and made.reshape(-1).tolist() == self.tokens:
            self.kept.append(made.untyped_storage())
            self.values[made.untyped_storage()._cdata] = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        if self.inside or all(self.value(x) is None for x in _tensors((given, named))):
            return function(*given, **named)
        return self.record(function, str(function), _by_name(function, given, named), given, named)

    def record(
        self, function: Any, name: str, arguments: dict[str, Any], given: Any, named: Any
    ) -> Any:
        """Call `function` and note what it read and wrote."""
        if len(self.recording.operations) >= MOST_OPERATIONS:
            raise RuntimeError(f"more than {MOST_OPERATIONS:,} operations on what the tokens give")
        parts = tree_map(self.part, (given, named))  # before the call, which may write over them
        written = _written(function, arguments)
        for tensor in written:
            if self.value(tensor) is None:
                storage = tensor.untyped_storage()
                self.recording.given[self.new(tensor)] = storage.clone()
        reads = {key: self.read(part) for key, part in arguments.items()}
        parts = tree_map(self.part, (given, named)) if written else parts
        self.inside += 1
        try:
            made = function(*given, **named)
        finally:
            self.inside -= 1
        outs = list(_tensors(made))
        values = [self.known(x) for x in outs]
        self.recording.steps.append((function, *parts, values))
        self.recording.operations.append(
            Operation(
                name,
                {key: found for key, found in reads.items() if found},
                _options(arguments),
                sorted({self.known(x) for x in written} | set(values)),
                [(value, _kind(x)) for value, x in zip(values, outs, strict=True)],
                source_line(),
            )
        )
        return made

    def known(self, tensor: Tensor) -> int:
        value = self.value(tensor)
        return self.new(tensor) if value is None else value

    def new(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        self.kept.append(storage)
        self.values[storage._cdata] = self.next
        self.next += 1
        return self.next - 1

    def part(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        value = self.value(x)
        if value is None:
            return x.clone() if x.layout is torch.strided else x
        return _View(value, x.dtype, tuple(x.shape), x.stride(), int(x.storage_offset()))

    def read(self, argument: Any) -> list[int | str]:
        """The values in one argument; a free tensor as `free`, the numbers 0, 1, ... as `range`."""
        found: list[int | str] = []
        for x in _tensors(argument):
            value = self.value(x)
            found.append(value if value is not None else "range" if _is_range(x) else "free")
        return found


def _is_range(x: Tensor) -> bool:
    count = x.numel()
    return 2 <= count == x.shape[-1] and x.reshape(-1).tolist() == list(range(count))


def _kind(x: Any) -> str:
    return str(x.dtype).removeprefix("torch.") if isinstance(x, Tensor) else type(x).__name__


def _by_name(function: Any, given: Any, named: Any) -> dict[str, Any]:
    names = [argument.name for argument in function._schema.arguments]
    return {**dict(zip(names, given, strict=False)), **named}


def _written(function: Any, arguments: dict[str, Any]) -> list[Tensor]:
    schema = getattr(function, "_schema", None)
    return [
        x
        for argument in (schema.arguments if schema else ())
        if argument.alias_info is not None and argument.alias_info.is_write
        for x in _tensors(arguments.get(argument.name))
    ]


def _options(arguments: dict[str, Any]) -> dict[str, str]:
    """The arguments that are no tensors, as short text."""
    return {
        name: str(part)[:40]
        for name, part in arguments.items()
        if part is not None and not any(True for _ in _tensors(part)) and not isinstance(part, list)
    }


class _Python(TorchFunctionMode):
    """Records as one operation what torch would take apart (`one_hot`), and what leaves torch."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        name = getattr(function, "__name__", "")
        read = [x for x in _tensors((given, named)) if self.watch.value(x) is not None]
        if self.watch.inside or not read:
            made = function(*given, **named)
            if name in MAKING and not self.watch.inside:
                self.watch.begin(made)
            return made
        if name == "one_hot":
            return self.watch.record(function, name, {"self": given[0]}, given, named)
        if name in LEAVING:
            self.watch.recording.operations.append(
                Operation(
                    f"Tensor.{name}",
                    {"self": [self.watch.value(x) for x in read]},  # type: ignore[misc]
                    {},
                    [],
                    [],
                    source_line(),
                )
            )
            self.watch.inside += 1
            try:
                return function(*given, **named)
            finally:
                self.watch.inside -= 1
        return function(*given, **named)


def executed(call: Forward, tokens: Tensor) -> Recording:
    """The operations of one pass over `tokens`."""
    tokens = tokens.clone()
    watch = _Watch(tokens)
    with torch.no_grad(), watch, _Python(watch):
        logits = call(tokens)
    recording = watch.recording
    recording.logits = watch.value(logits)
    recording.result = watch.part(logits)
    return recording


# ---- torch.export --------------------------------------------------------------------------------


class _Pass(nn.Module):
    """A call as a module, for torch.export: parameters and buffers are found as attributes."""

    def __init__(self, model: Any, call: Forward) -> None:
        super().__init__()
        self.model = model
        self.call = call

    def forward(self, tokens: Tensor) -> Tensor:
        return self.call(tokens)


@dataclass
class Exported:
    """The graph as plain data, how it was had, and the graph as something to call."""

    operations: list[Operation]
    logits: int | None
    how: str
    call: Forward


def exported(model: Any, call: Forward, tokens: Tensor) -> Exported | str:
    """The graph of one pass; a string, the reason and the line, where none can be had.

    Tried in this order: for any batch and length, for any length, by the strict tracer.
    """
    any_size = torch.export.Dim.AUTO
    free = {"tokens": {0: any_size, 1: any_size}}
    ways: list[tuple[Tensor, dict[str, Any]]] = [
        (tokens.expand(2, -1).contiguous(), {"dynamic_shapes": free, "strict": False}),
        (tokens, {"dynamic_shapes": free, "strict": False}),
        (tokens, {"strict": True}),
    ]
    reason = ""
    for given, options in ways:
        try:
            with torch.no_grad():
                program = torch.export.export(_Pass(model, call).eval(), (given,), **options)
            again, sizes = _alone(program.module(), len(given)), _sizes(program)
            if len(given) > 1 and (isinstance(sizes[0], int) or not _same(again, call, tokens)):
                continue  # a graph for a batch of two is none for one text
            operations, logits = _graph(program)
            return Exported(operations, logits, _how(sizes, options["strict"]), again)
        except Exception as error:
            if len(given) == 1 and not reason:
                reason = _reason(error)
    return reason


def _alone(module: Forward, batch: int) -> Forward:
    """A graph for batches, asked for one text."""
    return module if batch == 1 else lambda tokens: module(tokens.expand(batch, -1))[:1]


def _same(one: Forward, other: Forward, tokens: Tensor) -> bool:
    with torch.no_grad():
        logits = other(tokens)
        return logits.shape == (made := one(tokens)).shape and torch.allclose(made, logits)


def _sizes(program: Any) -> tuple[Any, ...]:
    """Batch and length of the tokens in a graph: a number where the graph is for this one only."""
    names = [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind.name == "USER_INPUT"
    ]
    (tokens,) = (node for node in program.graph.nodes if node.name in names)
    return tuple(tokens.meta["val"].shape)


def _how(sizes: tuple[Any, ...], strict: bool) -> str:
    named = zip(("batch", "length"), sizes, strict=False)
    said = " and ".join(f"{name} {n}" if isinstance(n, int) else f"any {name}" for name, n in named)
    return said + (", strict" if strict else "")


def _reason(error: BaseException) -> str:
    """One line: what torch.export said, and the line of the file where it stopped."""
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if not frame.filename.startswith(OURS)]
    where = f" ({_shown_line(frames[-1].filename, frames[-1].lineno or 0)})" if frames else ""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said[:160]}{where}"


def _graph(program: Any) -> tuple[list[Operation], int | None]:
    graph = _Graph(
        {
            spec.arg.name
            for spec in program.graph_signature.input_specs
            if spec.kind.name == "USER_INPUT"
        }
    )
    for node in program.graph.nodes:
        graph.read(node)
    return graph.operations, graph.logits


class _Graph:
    """Reads an exported graph node by node, as `_Watch` sees a pass operation by operation."""

    def __init__(self, tokens: set[str]) -> None:
        self.tokens = tokens
        self.operations: list[Operation] = []
        self.logits: int | None = None
        self.values: dict[Any, Any] = {}  # node -> its value, or of several results a list
        self.base: dict[Any, Any] = {}  # a view, or what was written in place -> where it is
        self.ranges: set[Any] = set()
        self.next = 1

    def root(self, node: Any) -> Any:
        while node in self.base:
            node = self.base[node]
        return node

    def value(self, node: Any) -> Any:
        return self.values.get(self.root(node))

    def read(self, node: Any) -> None:
        if node.op == "placeholder" and node.name in self.tokens:
            self.values[node] = 0
        elif node.op == "output":
            outs = [x for x in tree_iter(node.args) if isinstance(x, torch.fx.Node)]
            found = [self.value(x) for x in outs if self.value(x) is not None]
            self.logits = found[-1] if found else None
        elif node.op == "call_function" and node.target is operator.getitem:
            several = self.value(node.args[0])
            if isinstance(several, list):
                self.values[node] = several[node.args[1]]
            elif several is not None:
                self.base[node] = node.args[0]
        elif node.op == "call_function":
            self.call(node)

    def call(self, node: Any) -> None:
        schema = getattr(node.target, "_schema", None)
        names = [argument.name for argument in schema.arguments] if schema else []
        names += [f"argument {i}" for i in range(len(names), len(node.args))]
        arguments = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        name = str(node.target) if schema else getattr(node.target, "__name__", "?")
        written = [
            x
            for argument in (schema.arguments if schema else ())
            if argument.alias_info is not None and argument.alias_info.is_write
            for x in _nodes(arguments.get(argument.name))
        ]
        views = [
            arguments[argument.name]
            for argument in (schema.arguments if schema else ())
            if argument.alias_info is not None and argument.name in arguments
        ]
        reads = {key: self.parts(part) for key, part in arguments.items()}
        if views and isinstance(views[0], torch.fx.Node):
            self.base[node] = views[0]
        if not any(isinstance(x, int) for found in reads.values() for x in found):
            if name.startswith("aten.arange") or (views and views[0] in self.ranges):
                self.ranges.add(node)
            return
        if name.startswith("aten.sym_"):  # the length is no token
            return
        if node in self.base:
            if self.value(node) is None:
                self.values[self.root(node)] = self.new()
            outs = [(self.value(node), _kind(node.meta.get("val")))]
        else:
            made = node.meta.get("val")
            several = isinstance(made, tuple | list)
            values = [self.new() for _ in made] if several else [self.new()]
            self.values[node] = values if several else values[0]
            outs = [
                (value, _kind(x))
                for value, x in zip(values, made if several else [made], strict=True)
            ]
        self.operations.append(
            Operation(
                name,
                {key: found for key, found in reads.items() if found},
                {
                    key: str(part)[:40]
                    for key, part in arguments.items()
                    if part is not None and not reads[key] and not isinstance(part, list)
                },
                sorted(
                    {value for value, _ in outs}
                    | {self.value(x) for x in written if isinstance(self.value(x), int)}
                ),
                outs,
                _traced_line(node.meta.get("stack_trace") or ""),
            )
        )

    def new(self) -> int:
        self.next += 1
        return self.next - 1

    def parts(self, argument: Any) -> list[int | str]:
        found: list[int | str] = []
        for node in _nodes(argument):
            value = self.value(node)
            if isinstance(value, list):
                found += value
            elif value is not None:
                found.append(value)
            elif isinstance(node.meta.get("val"), Tensor):
                found.append("range" if node in self.ranges else "free")
        return found


def _nodes(tree: Any) -> list[Any]:
    return [x for x in tree_iter(tree) if isinstance(x, torch.fx.Node)]


def _traced_line(trace: str) -> str:
    """The innermost line of a foreign file in the stack trace of a node."""
    found = ""
    for line in trace.splitlines():
        head, _, rest = line.strip().partition('", line ')
        if head.startswith('File "') and not head[6:].startswith(OURS):
            found = _shown_line(head[6:], int(rest.partition(",")[0]))
    return found
