"""A job inside a submission's process: what its model computes, as a list of operations on numbers.

The graph of `torch.export` (or the module, where it has none) runs once on one text, its tokens
watched. Every number that depends on a token has an index; operations that only move numbers
(views, slices, masks, concatenation) move indices, and what is left is arithmetic on lists of
indices. What no token reaches is a constant: the value that the model computed. The same is done
for every pass of the decoding. Nothing here has to be trusted: the other side compares what it gets
with what the model answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from tinyadder.verify.external.decoding import (
    DIGITS,
    Decoder,
    NotRecovered,
    _torch,
    modules_in,
    spread,
)
from tinyadder.verify.external.entry import LoadedSubmission, ReportProgress

aten = torch.ops.aten
LARGEST = 1 << 22
"""Numbers of one pass."""
COMPARED = 60
"""Sums on which the other side compares the graph with the model."""


class OperationRefused(Exception):
    """An operation that nothing is known of."""


ELEMENTWISE: dict[str, str] = {
    "neg": "neg",
    "relu": "relu",
    "relu_": "relu",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "silu_": "silu",
    "tanh": "tanh",
    "exp": "exp",
    "sqrt": "sqrt",
    "rsqrt": "rsqrt",
    "reciprocal": "reciprocal",
    "square": "square",
    "abs": "abs",
}
MOVES = {
    "view",
    "_unsafe_view",
    "reshape",
    "permute",
    "transpose",
    "t",
    "expand",
    "unsqueeze",
    "squeeze",
    "slice",
    "select",
    "clone",
    "detach",
    "alias",
    "contiguous",
    "cat",
    "stack",
    "index",
    "index_select",
    "gather",
    "split",
    "split_with_sizes",
    "chunk",
    "unbind",
    "repeat",
    "flip",
    "roll",
    "as_strided",
    "lift_fresh",
    "select_scatter",
    "slice_scatter",
    "unfold",
    "diagonal",
    "narrow",
    "_reshape_alias",
    "lift_fresh_copy",
    "expand_copy",
    "view_copy",
    "index_put_",
    "index_put",
    "copy_",
    "copy",
    "squeeze_",
    "unsqueeze_",
    "repeat_interleave",
    "masked_select",
    "_index_put_impl_",
    "movedim",
    "swapaxes",
}
"""Operations that take numbers from one place to another."""


SHAPES = {
    "_assert_tensor_metadata",
    "sym_size",
    "sym_numel",
    "ones_like",
    "zeros_like",
    "full_like",
    "empty_like",
    "new_zeros",
    "new_ones",
    "new_full",
    "new_empty",
}
"""Operations that look at no number of a tensor."""


class Tape(TorchDispatchMode):
    """Writes down arithmetic on what depends on the tokens."""

    def __init__(self, constants: Constants) -> None:
        super().__init__()
        self.constants, self.count = constants, 0
        self.steps: list[Any] = []
        self._ids: dict[int, torch.Tensor] = {}
        """Storage -> the index of each of its numbers."""
        self._kept: list[torch.Tensor] = []

    # ---- indices ---------------------------------------------------------------------------------

    def watch(self, tokens: torch.Tensor) -> None:
        """The first indices are those of these tokens."""
        self._put(tokens, self._new(tokens.numel()).reshape(tokens.shape))

    def _new(self, count: int) -> torch.Tensor:
        self.count += count
        if self.count > LARGEST:
            raise OperationRefused(f"more than {LARGEST:,} numbers depend on the tokens")
        return torch.arange(self.count - count, self.count)

    def _tracked(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and self._key(value) in self._ids

    @staticmethod
    def _key(tensor: torch.Tensor) -> int:
        return tensor.untyped_storage()._cdata

    def _put(self, tensor: torch.Tensor, ids: torch.Tensor) -> None:
        key = self._key(tensor)
        if key not in self._ids:
            size = tensor.untyped_storage().nbytes() // tensor.element_size()
            self._ids[key] = torch.zeros(size, dtype=torch.int64)
            self._kept.append(tensor)
        self._view(tensor).copy_(ids)

    def _view(self, tensor: torch.Tensor) -> torch.Tensor:
        shadow = self._ids[self._key(tensor)]
        return shadow.as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())

    def ids(self, value: Any) -> torch.Tensor:
        """The indices of a tensor's numbers (or of one number): negative ones are constants."""
        if self._tracked(value):
            return self._view(value).clone()
        tensor = torch.as_tensor(value) if not isinstance(value, torch.Tensor) else value
        return self.constants.ids(tensor)

    # ---- operations ------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        flat, _ = tree_flatten((args, kwargs))
        if not any(self._tracked(v) for v in flat):
            return function(*args, **kwargs)
        name = function._schema.name.partition("::")[2]
        if name in SHAPES:
            return function(*args, **kwargs)
        with torch.utils._python_dispatch._disable_current_modes():
            written = function._schema.is_mutable
            if written and not self._tracked(args[0]):
                self._put(args[0], self.ids(args[0]))
            ids = self._operation(name, args, kwargs, function)
            output = function(*args, **kwargs)
            outs = output if isinstance(output, tuple | list) else (output,)
            for tensor, found in zip(outs, ids, strict=False):
                if isinstance(tensor, torch.Tensor) and found is not None:
                    if tensor.numel() != found.numel():
                        raise OperationRefused(f"aten.{name} (another shape)")
                    self._put(tensor, found.reshape(tensor.shape))
        return output

    def _operation(
        self, name: str, args: Any, kwargs: Any, function: Any
    ) -> list[torch.Tensor | None]:
        """The indices of what the operation gives."""
        for value in args:
            integers = self._tracked(value) and not value.is_floating_point()
            if integers and name not in MOVES | {"embedding", "_to_copy"}:
                raise OperationRefused(f"aten.{name} on tokens")
        if name in MOVES:
            return self._moved(args, kwargs, function)
        if name in ELEMENTWISE:
            return [self._step(ELEMENTWISE[name], self.ids(args[0]))]
        special = getattr(self, f"_{name.strip('_')}", None)
        if special is None or name.startswith("__"):
            raise OperationRefused(f"aten.{name}")
        found = special(*args, **kwargs)
        return found if isinstance(found, list) else [found]

    def _moved(self, args: Any, kwargs: Any, function: Any) -> list[torch.Tensor | None]:
        """Run the operation on indices. Index and mask arguments stay as they are."""

        def swap(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            if self._tracked(value) or value.is_floating_point():
                return self.ids(value)
            return value

        name = function._schema.name.partition("::")[2]
        if name in ("index", "index_select", "gather", "index_put_", "index_put", "masked_select"):
            where = tree_flatten(args[1:3] if name in ("index_select", "gather") else args[1])[0]
            if any(self._tracked(i) for i in where if isinstance(i, torch.Tensor)):
                return [self._looked_up(name, args)]
            if name.startswith("index_put"):
                args = (self.ids(args[0]), args[1], self.ids(args[2]), *args[3:])
                found = function(*args, **kwargs)
                return [found]
        out = function(*tree_map(swap, args), **tree_map(swap, kwargs))
        return list(out) if isinstance(out, tuple | list) else [out]

    def _looked_up(self, name: str, args: Any) -> torch.Tensor:
        if name == "index":
            (tokens,) = args[1] if len(args[1]) == 1 else (None,)
        else:
            tokens = args[2] if name == "index_select" and args[1] == 0 else None
        if tokens is None or self._tracked(args[0]):
            raise OperationRefused(f"aten.{name} by tokens")
        return self._embedding(args[0], tokens)

    def _step(self, op: str, *operands: torch.Tensor, k: int = 1) -> torch.Tensor:
        """One line of the tape: the operands are lists of indices, broadcast against each other."""
        operands = torch.broadcast_tensors(*operands) if k == 1 else operands
        count = operands[0].numel() // (1 if op == "softmax" else k)
        shape = operands[0].shape if k == 1 or op == "softmax" else (count,)
        lists = [o.reshape(-1).to(torch.int32).numpy().copy() for o in operands]
        self.steps.append((op, k, lists))
        return self._new(count).reshape(shape)

    # ---- each operation of arithmetic ------------------------------------------------------------

    def _embedding(self, table: torch.Tensor, tokens: torch.Tensor, *_: Any) -> torch.Tensor:
        if self._tracked(table):
            raise OperationRefused("aten.embedding of a table that depends on tokens")
        flat = table.reshape(len(table), -1)
        columns = self.ids(flat).T  # (columns, tokens of the vocabulary)
        which = self.ids(tokens).reshape(-1)
        rows = columns[None].expand(len(which), -1, -1)
        index = which[:, None].expand(-1, len(columns))
        size = rows.reshape(-1, len(table))
        operands = [
            size.reshape(-1).to(torch.int32).numpy().copy(),
            index.reshape(-1).to(torch.int32).numpy().copy(),
        ]
        self.steps.append(("look", len(table), operands))
        return self._new(index.numel()).reshape(*tokens.shape, *table.shape[1:])

    def _to_copy(self, x: torch.Tensor, dtype: Any = None, **_: Any) -> torch.Tensor:
        if dtype not in (None, x.dtype) and x.is_floating_point():
            raise OperationRefused(f"a change of the type of numbers to {dtype}")
        if not x.is_floating_point() and dtype is not None and dtype.is_floating_point:
            raise OperationRefused("tokens taken for numbers")
        return self.ids(x)

    def _binary(self, op: str, a: Any, b: Any) -> torch.Tensor:
        dtype = next(v.dtype for v in (a, b) if isinstance(v, torch.Tensor))
        a, b = (v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=dtype) for v in (a, b))
        return self._step(op, self.ids(a), self.ids(b))

    def _add(self, a: Any, b: Any, *, alpha: Any = 1) -> torch.Tensor:
        if alpha != 1:
            raise OperationRefused("aten.add with alpha")
        return self._binary("add", a, b)

    def _sub(self, a: Any, b: Any, *, alpha: Any = 1) -> torch.Tensor:
        if alpha != 1:
            raise OperationRefused("aten.sub with alpha")
        return self._binary("sub", a, b)

    def _rsub(self, a: Any, b: Any, alpha: Any = 1) -> torch.Tensor:
        return self._sub(b, a, alpha=alpha)

    def _mul(self, a: Any, b: Any) -> torch.Tensor:
        same = isinstance(b, torch.Tensor) and self._tracked(a) and self._tracked(b)
        if same and a.shape == b.shape and bool((self.ids(a) == self.ids(b)).all()):
            return self._step("square", self.ids(a))
        return self._binary("mul", a, b)

    def _div(self, a: Any, b: Any, *, rounding_mode: Any = None) -> torch.Tensor:
        if rounding_mode is not None:
            raise OperationRefused("aten.div with a rounding mode")
        return self._binary("div", a, b)

    def _pow(self, x: Any, exponent: Any) -> torch.Tensor:
        known = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
        if not isinstance(exponent, int | float) or exponent not in known:
            raise OperationRefused(f"aten.pow to {exponent}")
        return self._step(known[exponent], self.ids(x))

    def _gelu(self, x: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
        return self._step("gelu" if approximate == "none" else "gelu_tanh", self.ids(x))

    def _grouped(self, x: torch.Tensor, dims: Any) -> tuple[torch.Tensor, int, list[int]]:
        """Indices with the reduced axes last."""
        every = list(range(x.ndim))
        dims = every if dims is None or dims == [] else [d % x.ndim for d in dims]
        rest = [d for d in every if d not in dims]
        ids = self.ids(x).permute(*rest, *dims).reshape(*[x.shape[d] for d in rest], -1)
        return ids, ids.shape[-1], rest

    def _sum(self, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> torch.Tensor:
        ids, k, _rest = self._grouped(x, [dim] if isinstance(dim, int) else dim)
        return self._step("sum", ids.contiguous(), k=k)

    def _mean(self, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> torch.Tensor:
        total = self._sum(x, dim)
        k = x.numel() // max(1, total.numel())
        return self._step("div", total, self.ids(torch.tensor(float(k), dtype=x.dtype)))

    def _dot(self, a: torch.Tensor, b: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """(B, n, k) and (B, k, m), bias broadcast to (B, n, m)."""
        batch, n, k = a.shape
        m = b.shape[-1]
        left = a[:, :, None, :].expand(batch, n, m, k).reshape(-1, k)
        right = b.transpose(1, 2)[:, None].expand(batch, n, m, k).reshape(-1, k)
        if bias is not None:
            one = self.constants.ids(torch.ones((), dtype=self.constants.dtype))
            left = torch.cat([left, one.expand(len(left), 1)], 1)
            right = torch.cat([right, bias.expand(batch, n, m).reshape(-1, 1)], 1)
            k += 1
        return self._step("dot", left.contiguous(), right.contiguous(), k=k).reshape(batch, n, m)

    def _mm(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._dot(self.ids(a)[None], self.ids(b)[None], None)[0]

    def _bmm(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._dot(self.ids(a), self.ids(b), None)

    def _mv(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._dot(self.ids(a)[None], self.ids(b)[None, :, None], None)[0, :, 0]

    def _dot_(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._dot(self.ids(a)[None, None], self.ids(b)[None, :, None], None)[0, 0, 0]

    def _addmm(self, c: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> torch.Tensor:
        if (alpha, beta) != (1, 1):
            raise OperationRefused("aten.addmm with alpha or beta")
        return self._dot(self.ids(a)[None], self.ids(b)[None], self.ids(c))[0]

    def _baddbmm(self, c: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> torch.Tensor:
        if (alpha, beta) != (1, 1):
            raise OperationRefused("aten.baddbmm with alpha or beta")
        return self._dot(self.ids(a), self.ids(b), self.ids(c))

    def _linear(self, x: Any, weight: Any, bias: Any = None) -> torch.Tensor:
        flat = self.ids(x).reshape(1, -1, x.shape[-1])
        found = self._dot(flat, self.ids(weight).T[None], None if bias is None else self.ids(bias))
        return found.reshape(*x.shape[:-1], -1)

    def _softmax(self, x: torch.Tensor, dim: int, *_: Any) -> torch.Tensor:
        ids = self.ids(x).movedim(dim, -1)
        found = self._step("softmax", ids.contiguous(), k=ids.shape[-1])
        return found.reshape(ids.shape).movedim(-1, dim)

    def _safe_softmax(self, x: torch.Tensor, dim: int, *_: Any) -> torch.Tensor:
        return self._softmax(x, dim)

    def _masked_fill(self, x: Any, mask: torch.Tensor, value: Any) -> torch.Tensor:
        if self._tracked(mask):
            raise OperationRefused("aten.masked_fill with a mask that depends on tokens")
        filler = self.ids(torch.as_tensor(value, dtype=x.dtype))
        return torch.where(mask, filler, self.ids(x))

    def _where(self, mask: torch.Tensor, a: Any, b: Any) -> torch.Tensor:
        if self._tracked(mask):
            raise OperationRefused("aten.where with a condition that depends on tokens")
        return torch.where(mask, self.ids(a), self.ids(b))

    def _triangle(self, x: torch.Tensor, keep: Callable[..., Any], diagonal: int) -> torch.Tensor:
        mask = keep(torch.ones(x.shape[-2:], dtype=torch.bool), diagonal)
        return torch.where(mask, self.ids(x), self.ids(torch.zeros((), dtype=x.dtype)))

    def _tril(self, x: torch.Tensor, diagonal: int = 0) -> torch.Tensor:
        return self._triangle(x, torch.tril, diagonal)

    def _triu(self, x: torch.Tensor, diagonal: int = 0) -> torch.Tensor:
        return self._triangle(x, torch.triu, diagonal)

    def _constant_pad_nd(self, x: torch.Tensor, pad: Any, value: float = 0.0) -> torch.Tensor:
        # indices of constants are negative: pad with that of the value
        filler = int(self.ids(torch.tensor(value, dtype=x.dtype)))
        return torch.nn.functional.pad(self.ids(x), pad, value=filler)

    def _native_layer_norm(
        self, x: torch.Tensor, shape: Any, weight: Any, bias: Any, eps: float
    ) -> list[torch.Tensor | None]:
        """By its definition: (x - mean) / sqrt(mean of squares + eps) * weight + bias."""
        k = int(np.prod(shape))
        number = lambda v: self.ids(torch.tensor(v, dtype=x.dtype))  # noqa: E731
        ids = self.ids(x).reshape(-1, k)
        mean = self._step("div", self._step("sum", ids.contiguous(), k=k), number(float(k)))
        away = self._step("sub", ids, mean[:, None])
        square = self._step("square", away)
        spread = self._step("div", self._step("sum", square.contiguous(), k=k), number(float(k)))
        factor = self._step("rsqrt", self._step("add", spread, number(eps)))
        found = self._step("mul", away, factor[:, None])
        if weight is not None:
            found = self._step("mul", found, self.ids(weight).reshape(1, k))
        if bias is not None:
            found = self._step("add", found, self.ids(bias).reshape(1, k))
        return [found.reshape(x.shape), None, None]


class Constants:
    """Numbers that no token reaches, of one type; equal tensors are kept once."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.values, self.count = dtype, list[bytes](), 0
        self._known: dict[bytes, int] = {}

    def ids(self, tensor: torch.Tensor) -> torch.Tensor:
        """-1 - (index among the constants)."""
        if tensor.dtype != self.dtype:
            if tensor.is_floating_point() and tensor.numel() > 1:
                raise OperationRefused(f"numbers of the types {self.dtype} and {tensor.dtype}")
            tensor = tensor.to(self.dtype)
        flat = np.ascontiguousarray(tensor.detach().reshape(-1).numpy()).tobytes()
        if flat not in self._known:
            self._known[flat] = self.count
            self.values.append(flat)
            self.count += tensor.numel()
        first = self._known[flat]
        return -1 - torch.arange(first, first + tensor.numel()).reshape(tensor.shape)


GraphStep = tuple[str, int, list[np.ndarray]]


def pruned(steps: list[GraphStep], length: int, row: np.ndarray) -> dict[str, Any]:
    """Only what these logits need, numbered anew; the first `length` indices are the tokens."""
    starts, total = [], length
    for op, k, operands in steps:
        starts.append(total)
        total += len(operands[-1]) // (k if op in ("sum", "dot") else 1)
    needed = np.zeros(total, dtype=bool)
    needed[:length] = True
    needed[row[row >= 0]] = True
    kept: list[tuple[GraphStep, np.ndarray]] = []
    for (op, k, operands), start in zip(reversed(steps), reversed(starts), strict=True):
        lanes = len(operands[-1]) // (k if op in ("sum", "dot") else 1)
        here = needed[start : start + lanes]
        if op == "softmax":
            here = needed[start : start + lanes] = np.repeat(here.reshape(-1, k).any(1), k)
        some = []
        for operand in operands:
            found = operand.reshape(lanes, -1)[here].reshape(-1)
            needed[found[found >= 0]] = True
            some.append(found)
        if here.any():
            kept.append(((op, k, some), np.flatnonzero(here) + start))
    number = np.full(total, -1, dtype=np.int32)
    number[:length] = np.arange(length)
    count, found_steps = length, []
    for (op, k, operands), which in reversed(kept):
        renamed = [np.where(x >= 0, number[np.maximum(x, 0)], x).astype(np.int32) for x in operands]
        found_steps.append({"op": op, "k": k, "operands": [x.tobytes() for x in renamed]})
        number[which] = np.arange(count, count + len(which))
        count += len(which)
    logits = np.where(row >= 0, number[np.maximum(row, 0)], row).astype(np.int32)
    return {"steps": found_steps, "logits": logits.tobytes()}


def logits_of(output: Any) -> torch.Tensor:
    """The tensor of logits in what a call returned."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    if isinstance(output, dict):
        output = output.get("logits")
    output = getattr(output, "logits", output)
    if not isinstance(output, torch.Tensor):
        raise OperationRefused(f"logits that are a {type(output).__name__}")
    return output


class Pass(torch.nn.Module):
    """One pass of the decoding as a module: tokens in, logits out."""

    def __init__(self, decoder: Decoder, model: Any) -> None:
        super().__init__()
        if isinstance(model, torch.nn.Module):
            self.model = model
        call = self._call = decoder.call
        held = call.given[call.place] if isinstance(call.place, int) else call.named[call.place]
        self._flat = np.ndim(np.asarray(held)) == 1

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        call, place = self._call, self._call.place
        put = tokens[0] if self._flat else tokens
        given, named = list(call.given), dict(call.named)
        if isinstance(place, int):
            given[place] = put
        else:
            named[place] = put
        return logits_of(call.function(*given, **named))


def exported(module: Pass, tokens: torch.Tensor) -> tuple[Any, str]:
    """The graph of `torch.export` as something to call; the module itself, and why, where there is
    none.
    """
    try:
        program = torch.export.export(module, (tokens,), strict=False)
        return program.module(), ""
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        return module, f"{type(error).__name__}: {line}"[:160]


def graph(entry: LoadedSubmission, report: ReportProgress, seed: int) -> dict[str, Any]:
    """The format of the decoding, and per pass the steps, or `reason`: why there is none."""
    form = {"described": "", "passes": [], "smallest": False, "order": "", "length": 0}
    empty = {"reason": "", "exported": True, "why": "", "dtype": "", "constants": b""}
    empty |= {"passes": [], "logits": [], "format": {**form, "digits": []}}
    try:
        return {**empty, **_graph(entry, report, seed)}
    except (NotRecovered, OperationRefused) as error:
        return {**empty, "reason": str(error)[:200]}


def _graph(entry: LoadedSubmission, report: ReportProgress, seed: int) -> dict[str, Any]:
    decoder = Decoder.of(entry.model, entry.add, seed=seed)
    form = decoder.format
    if form.length is None:
        raise NotRecovered("its answers have no fixed length")
    if form.skip or form.base != 10:
        raise NotRecovered("its choices are not one digit each")
    if _torch() is None:
        raise NotRecovered("its model is not of torch")
    logging.getLogger("torch").setLevel(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)
    for module in modules_in(entry.model):
        module.eval()
    module = Pass(decoder, entry.model)
    pairs = spread(COMPARED, seed + 7)
    chosen, _ = decoder.choices(pairs)
    constants: Constants | None = None
    passes, logits, why = [], [], ""
    # attention as its definition: products, a softmax, products
    with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        for step in range(min(form.length, DIGITS + 1) if form.order == "least" else form.length):
            texts = torch.as_tensor(decoder.tokens(step, pairs, chosen))
            answers = torch.stack(
                [_row(module(text[None]), form.rows[step], form.outputs) for text in texts]
            )
            constants = constants or Constants(answers.dtype)
            if constants.dtype not in (torch.float32, torch.float64):
                raise OperationRefused(f"numbers of the type {constants.dtype}")
            run = module
            if not why:
                run, why = exported(module, texts[:1])
            passes.append(one_pass(run, texts, form.rows[step], form.outputs, constants))
            logits.append(answers.double().numpy().tobytes())
            report(step + 1, len(form.passes), {})
    assert constants is not None
    return {
        "exported": not why,
        "why": why,
        "dtype": str(constants.dtype).removeprefix("torch."),
        "constants": b"".join(constants.values),
        "passes": passes,
        "logits": logits,
        "format": {
            "described": str(form),
            "passes": [[[s.kind, s.index, list(s.table)] for s in slots] for slots in form.passes],
            "smallest": form.smallest,
            "order": form.order,
            "length": form.length,
            "digits": list(form.digits),
        },
    }


def one_pass(
    run: Any, texts: torch.Tensor, row: int, outputs: int | None, constants: Constants
) -> dict[str, Any]:
    """What `run` computes of the first of these texts, (n, length), as far as the logits at `row`
    need it. Raises `OperationRefused`.
    """
    tape, tokens = Tape(constants), texts[:1].clone()
    tape.watch(tokens)
    with tape:
        output = run(tokens)
    if not tape._tracked(output):
        raise OperationRefused("logits that no token reaches")
    read = _row(tape.ids(output), row, outputs).to(torch.int32).numpy()
    return {
        "length": texts.shape[1],
        "row": row % (output.numel() // output.shape[-1]),
        **pruned(tape.steps, texts.shape[1], read),
        "texts": texts.to(torch.int32).numpy().tobytes(),
    }


def _row(logits: torch.Tensor, row: int, outputs: int | None) -> torch.Tensor:
    return logits.reshape(-1, logits.shape[-1])[row][:outputs]
