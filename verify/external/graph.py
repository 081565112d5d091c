"""A job inside a submission's process: what its model computes, as a list of torch operations.

The graph of `torch.export` (or the module, where it has none) runs once on one text, its tokens
watched. Every number that depends on a token has an index; operations that only move numbers
(views, slices, masks, concatenation) move indices, and what is left is arithmetic: each operation
with the indices and the layout in memory of what it was given. What no token reaches is a constant:
the value that the model computed. The same is done for every pass of the decoding. Nothing here has
to be trusted: the other side runs these operations itself (`tinyadder.verify.certify.aten`) and
compares what it gets with what the model answers.
"""

from __future__ import annotations

import hashlib
import logging
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from tinyadder.verify.external.decoding import Decoder
from tinyadder.verify.external.entry import BrokenContract, LoadedSubmission, ReportProgress
from tinyadder.verify.external.formats import spread
from tinyadder.verify.external.recording import DIGITS, NotRecovered, loaded_torch, modules_in

aten = torch.ops.aten
LARGEST = 1 << 22
"""Numbers of one pass."""
ALIGNED = 16
"""Numbers between two addresses at which torch begins tensors."""
COMPARED = 60
"""Sums on which the other side compares the graph with the model."""
SAME_BITS = 8
"""Texts on which a graph of torch.export is compared with the module here."""


class OperationRefused(BrokenContract):
    """An operation that nothing is known of."""


ARITHMETIC = {
    *("add", "sub", "rsub", "mul", "div", "neg", "pow", "square", "abs", "sum", "mean"),
    *("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "linear", "native_layer_norm"),
    *("_softmax", "_safe_softmax", "sqrt", "rsqrt", "reciprocal", "exp"),
    *("relu", "sigmoid", "silu", "gelu", "tanh", "amax", "clamp", "clamp_min"),
}
"""Operations that the other side knows, by their names in torch."""
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


SELECTING = {
    *("embedding", "to_copy", "masked_fill", "where", "tril", "triu", "constant_pad_nd"),
}
"""Operations that choose among numbers, in a way of their own; names without underscores."""


class Tape(TorchDispatchMode):
    """Writes down arithmetic on what depends on the tokens."""

    def __init__(self, constants: Constants) -> None:
        super().__init__()
        self.constants, self.count = constants, 0
        self.operations: list[dict[str, Any]] = []
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
            if name.rstrip("_") in ARITHMETIC:
                return self._computed(name.rstrip("_"), args, kwargs, function)
            ids = self._moves(name, args, kwargs, function)
            output = function(*args, **kwargs)
            for tensor, found in zip(_list(output), ids, strict=False):
                if isinstance(tensor, torch.Tensor):
                    if tensor.numel() != found.numel():
                        raise OperationRefused(f"aten.{name} (another shape)")
                    self._put(tensor, found.reshape(tensor.shape))
        return output

    def _computed(self, name: str, args: Any, kwargs: Any, function: Any) -> Any:
        """Run an operation of arithmetic and write it down: every number that it gives is new."""
        self._no_tokens(name, args)
        if function._overloadname == "out":
            raise OperationRefused(f"aten.{name} into another tensor")
        given = [self._given(value) for value in args]
        named = {key: self._given(value) for key, value in kwargs.items()}
        output = function(*args, **kwargs)
        digest, made = hashlib.sha256(), []
        for tensor in _list(output):
            if not isinstance(tensor, torch.Tensor) or tensor.dtype != self.constants.dtype:
                raise OperationRefused(f"aten.{name} (another type of numbers)")
            digest.update(tensor.contiguous().numpy().tobytes())
            self._put(tensor, self._new(tensor.numel()).reshape(tensor.shape))
            made.append(tensor.numel())
        self.operations.append(
            {
                "name": name,
                "overload": function._overloadname,
                "given": given,
                "named": {key: value for key, value in named.items() if value is not None},
                "made": made,
                "digest": digest.hexdigest(),
            }
        )
        return output

    def _no_tokens(self, name: str, args: Any) -> None:
        if any(self._tracked(v) and not v.is_floating_point() for v in args):
            raise OperationRefused(f"aten.{name} on tokens")

    def _given(self, value: Any) -> Any:
        """An argument as data. A tensor: the indices of the part of its storage that it lies in,
        and how it lies there.
        """
        if isinstance(value, torch.Tensor):
            return self._laid_out(value)
        if isinstance(value, list | tuple):
            return [self._given(part) for part in value]
        if isinstance(value, float):
            return {"float": value.hex()}
        if value is None or isinstance(value, bool | int | str):
            return value
        if value == self.constants.dtype:
            return None
        raise OperationRefused(f"the argument {value!s:.40}")

    def _laid_out(self, tensor: torch.Tensor) -> dict[str, Any]:
        if not self._tracked(tensor) and tensor.dtype != self.constants.dtype:
            self.constants.ids(tensor)  # which refuses
            tensor = tensor.to(self.constants.dtype)
        size, stride = list(tensor.size()), list(tensor.stride())
        start = tensor.storage_offset() // ALIGNED * ALIGNED
        offset = tensor.storage_offset() - start
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        extent = last + 1 if tensor.numel() else 0
        if self._tracked(tensor):
            ids = self._ids[self._key(tensor)][start : start + extent]
        else:
            ids = self.constants.ids(tensor.detach().as_strided((extent,), (1,), start))
        return {"ids": _packed(ids), "size": size, "stride": stride, "offset": offset}

    # ---- what only moves numbers -----------------------------------------------------------------

    def _moves(self, name: str, args: Any, kwargs: Any, function: Any) -> list[torch.Tensor]:
        """The indices of what the operation gives."""
        if name not in MOVES | {"embedding", "_to_copy"}:
            self._no_tokens(name, args)
        if name in MOVES:
            return self._moved(name, args, kwargs, function)
        special = getattr(self, f"_{name.strip('_')}", None)
        if name.startswith("__") or name.strip("_") not in SELECTING:
            raise OperationRefused(f"aten.{name}")
        assert special is not None
        return [special(*args, **kwargs)]

    def _moved(self, name: str, args: Any, kwargs: Any, function: Any) -> list[torch.Tensor]:
        """Run the operation on indices. Index and mask arguments stay as they are."""

        def swap(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            if self._tracked(value) or value.is_floating_point():
                return self.ids(value)
            return value

        if name in ("index", "index_select", "gather", "index_put_", "index_put", "masked_select"):
            where = tree_flatten(args[1:3] if name in ("index_select", "gather") else args[1])[0]
            if any(self._tracked(i) for i in where if isinstance(i, torch.Tensor)):
                return [self._looked_up(name, args)]
            if name.startswith("index_put"):
                args = (self.ids(args[0]), args[1], self.ids(args[2]), *args[3:])
                return [function(*args, **kwargs)]
        return _list(function(*tree_map(swap, args), **tree_map(swap, kwargs)))

    def _looked_up(self, name: str, args: Any) -> torch.Tensor:
        if name == "index":
            (tokens,) = args[1] if len(args[1]) == 1 else (None,)
        else:
            tokens = args[2] if name == "index_select" and args[1] == 0 else None
        if tokens is None or self._tracked(args[0]):
            raise OperationRefused(f"aten.{name} by tokens")
        return self._embedding(args[0], tokens)

    def _embedding(self, table: torch.Tensor, tokens: torch.Tensor, *_: Any) -> torch.Tensor:
        """Rows of a table, one for each token: written down as `look`."""
        if self._tracked(table):
            raise OperationRefused("aten.embedding of a table that depends on tokens")
        if not self._tracked(tokens):  # rows at known places
            return self.ids(table)[tokens]
        if int(tokens.min()) < 0:
            raise OperationRefused("a negative index of a table")
        if table.dtype != self.constants.dtype:
            self.constants.ids(table)
            table = table.to(self.constants.dtype)
        table = table.contiguous()
        made = tokens.numel() * table[0].numel()
        self.operations.append(
            {
                "name": "look",
                "overload": "",
                "given": [self._laid_out(table), self._laid_out(tokens)],
                "named": {},
                "made": [made],
                "digest": "",
            }
        )
        return self._new(made).reshape(*tokens.shape, *table.shape[1:])

    def _to_copy(self, x: torch.Tensor, dtype: Any = None, **_: Any) -> torch.Tensor:
        if dtype not in (None, x.dtype) and x.is_floating_point():
            raise OperationRefused(f"a change of the type of numbers to {dtype}")
        if not x.is_floating_point() and dtype is not None and dtype.is_floating_point:
            raise OperationRefused("tokens taken for numbers")
        return self.ids(x)

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


def _list(output: Any) -> list[Any]:
    return list(output) if isinstance(output, tuple | list) else [output]


def _packed(ids: torch.Tensor) -> dict[str, Any]:
    """Indices as text: a run, or the bytes of 32-bit integers."""
    found = ids.to(torch.int32).numpy()
    steps = set(np.diff(found).tolist()) if len(found) < 1 << 20 else {0, 1}
    if len(found) and len(steps) < 2:
        return {"run": [int(found[0]), *(steps or {0}), len(found)]}
    return {"bytes": b64encode(found.tobytes()).decode()}


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


class DecoderPass(torch.nn.Module):
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


def exported(module: torch.nn.Module, texts: torch.Tensor) -> tuple[Any, str]:
    """The graph of `torch.export` as something to call; the module itself, and why, where there is
    none, or one that gives other logits of these texts.
    """
    try:
        program = torch.export.export(module, (texts[:1],), strict=False)
        run = program.module()
        if all(torch.equal(run(text[None]), module(text[None])) for text in texts[:SAME_BITS]):
            return run, ""
        return module, "torch.export changes its bits"
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        return module, f"{type(error).__name__}: {line}"[:160]


def graph(entry: LoadedSubmission, report: ReportProgress, seed: int) -> dict[str, Any]:
    """The format of the decoding, and per pass the operations, or `reason`: why there is none."""
    form = {"described": "", "passes": [], "smallest": False, "order": "", "length": 0}
    empty = {**NOTHING, "format": {**form, "digits": []}}
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
    if loaded_torch() is None:
        raise NotRecovered("its model is not of torch")
    pairs = spread(COMPARED, seed + 7)
    chosen, _ = decoder.choices(pairs)
    count = min(form.length, DIGITS + 1) if form.order == "least" else form.length
    texts = [torch.as_tensor(decoder.tokens(step, pairs, chosen)) for step in range(count)]
    module = DecoderPass(decoder, entry.model)
    return {
        **passes(module, entry.model, texts, form.rows, form.outputs, report),
        "format": {
            "described": str(form),
            "passes": [[[s.kind, s.index, list(s.table)] for s in slots] for slots in form.passes],
            "smallest": form.smallest,
            "order": form.order,
            "length": form.length,
            "digits": list(form.digits),
        },
    }


class OfTokens(torch.nn.Module):
    """A module of token ids (1, length), or of (length) where it takes no batches."""

    def __init__(self, model: torch.nn.Module, text: list[int]) -> None:
        super().__init__()
        self.model, self._flat = model, False
        said = ""
        for flat in (False, True):
            self._flat = flat
            try:
                self(torch.tensor([text]))
                return
            except (IndexError, RuntimeError, ValueError, TypeError) as error:
                said = said or str(error).strip().partition("\n")[0][:120]
        raise OperationRefused(f"its forward pass does not take these token ids: {said}")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return logits_of(self.model(tokens[0] if self._flat else tokens))

    def last(self, tokens: torch.Tensor, batch: int) -> torch.Tensor:
        """The logits (n, outputs) behind each of these texts."""
        found = []
        for some in tokens.split(batch):
            logits = self(some)
            found.append(logits.reshape(len(some), -1, logits.shape[-1])[:, -1])
        return torch.cat(found)


def of_texts(
    entry: LoadedSubmission, report: ReportProgress, texts: list[list[list[int]]]
) -> dict[str, Any]:
    """Per pass, which has texts of one length, the operations of a module that takes tokens and
    gives logits of the next one, or `reason`: why there is none.
    """
    try:
        with torch.no_grad():
            module = OfTokens(entry.module.eval(), texts[0][0])
        read = [torch.tensor(some) for some in texts]
        return {**NOTHING, **passes(module, entry.model, read, [-1] * len(read), None, report)}
    except OperationRefused as error:
        return {**NOTHING, "reason": str(error)[:200]}


def tokens_of(entry: LoadedSubmission, report: ReportProgress) -> dict[str, Any]:
    """What a file says of the tokens of its module: their list by id, and by logit."""
    found = {}
    for name in ("VOCABULARY", "OUTPUTS"):
        given = entry.names.get(name)
        listed = list(given) if isinstance(given, str | list | tuple) else []
        if not all(isinstance(token, str | None) for token in listed):
            raise BrokenContract(f"{name} is no list of tokens (strings)")
        found[name.lower()] = listed
    return found


def greedy(
    entry: LoadedSubmission,
    report: ReportProgress,
    prompts: list[list[int]],
    steps: int,
    fed: list[int],
    batch: int,
) -> dict[str, Any]:
    """What the module chooses after each prompt, all of one length: `steps` logits (-1 behind one
    that is no token), each fed back as the token `fed` has for it (-1 none).
    """
    with torch.no_grad():
        module = OfTokens(entry.module.eval(), prompts[0])
        found = []
        for some in torch.tensor(prompts).split(4096):
            text, over = some, torch.zeros(len(some), dtype=torch.bool)
            rows = []
            for _ in range(steps):
                try:
                    logits = module.last(text, 1 if module._flat else batch)
                except (RuntimeError, IndexError):  # it takes no batches
                    batch = 1
                    logits = module.last(text, batch)
                chosen = logits.argmax(-1)
                rows.append(torch.where(over, -1, chosen))
                token = torch.tensor([*fed, -1])[chosen.clamp(max=len(fed))]
                over = over | (token < 0)
                text = torch.cat([text, token.clamp(min=0)[:, None].to(text.dtype)], 1)
            found += torch.stack(rows, 1).tolist()
            report(len(found), len(prompts), {})
        return {"outputs": int(logits.shape[-1]), "choices": found}


NOTHING: dict[str, Any] = {
    "reason": "",
    "exported": True,
    "why": "",
    "fused": 0.0,
    "dtype": "",
    "constants": b"",
    "passes": [],
    "logits": [],
}


def passes(
    module: torch.nn.Module,
    model: Any,
    texts: list[torch.Tensor],
    rows: Sequence[int],
    outputs: int | None,
    report: ReportProgress,
) -> dict[str, Any]:
    """The operations of each pass, whose texts (n, length) are asked one by one, and the logits of
    the module at its row.

    Raises `OperationRefused`.
    """
    logging.getLogger("torch").setLevel(logging.CRITICAL)
    torch.backends.mha.set_fastpath_enabled(False)
    for part in modules_in(model):
        part.eval()
    constants: Constants | None = None
    found, logits, why, fused = [], [], "", 0.0

    def answers(some: torch.Tensor, row: int) -> torch.Tensor:
        return torch.stack([_row(module(text[None]), row, outputs) for text in some])

    with torch.no_grad():
        for step, (some, row) in enumerate(zip(texts, rows, strict=False)):
            as_called = answers(some, row)
            # attention as its definition: products, a softmax, products
            with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                said = answers(some, row)
                constants = constants or Constants(said.dtype)
                if constants.dtype not in (torch.float32, torch.float64):
                    raise OperationRefused(f"numbers of the type {constants.dtype}")
                run: Any = module
                if not why:
                    run, why = exported(module, some)
                found.append(one_pass(run, some, row, outputs, constants))
            size = float(said.abs().max()) or 1.0
            fused = max(fused, float((as_called - said).abs().max()) / size)
            logits.append(said.numpy().tobytes())
            report(step + 1, len(texts), {})
    assert constants is not None
    return {
        "exported": not why,
        "why": why,
        "fused": fused,
        "dtype": str(constants.dtype).removeprefix("torch."),
        "constants": b"".join(constants.values),
        "passes": found,
        "logits": logits,
    }


def one_pass(
    run: Any, texts: torch.Tensor, row: int, outputs: int | None, constants: Constants
) -> dict[str, Any]:
    """What `run` computes of the first of these texts, (n, length), and where the logits at `row`
    are. Raises `OperationRefused`.
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
        "row": texts.shape[1] - 1 if row == -1 else row,
        "operations": tape.operations,
        "read": read.tobytes(),
        "texts": texts.to(torch.int32).numpy().tobytes(),
    }


def _row(logits: torch.Tensor, row: int, outputs: int | None) -> torch.Tensor:
    return logits.reshape(-1, logits.shape[-1])[row][:outputs]
