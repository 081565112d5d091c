"""A list of torch operations, as the process of a submission wrote it down: run again by torch with
the same layout in memory, so that the bits can be compared with those of the module; and taken
apart into the steps of a graph, whose sums may be added in any order.
"""

from __future__ import annotations

import binascii
from bisect import bisect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

LARGEST = 1 << 22
"""Numbers of one pass."""
ELEMENTWISE = (
    *("neg", "relu", "sigmoid", "silu", "tanh", "exp", "sqrt", "rsqrt", "reciprocal"),
    *("square", "abs"),
)
REDUCING = ("sum", "dot", "max")
"""Steps that make one number of k."""
UNKNOWN = -(1 << 40)
"""The index of a number that no rule says anything of."""


class NoRule(Exception):
    """Operations that cannot be read; the text says which."""


def check(fact: bool, otherwise: str) -> None:
    if not fact:
        raise NoRule(otherwise)


def whole(value: Any, least: int, most: int) -> int:
    check(type(value) is int and least <= value <= most, f"not an integer {least} .. {most}")
    return int(value)


class Laid:
    """A tensor of indices: those of a part of memory, and how the tensor lies in it."""

    def __init__(self, data: Any, constants: int, count: int) -> None:
        check(set(data) == {"ids", "size", "stride", "offset"}, "a tensor has other parts")
        size = [whole(n, 0, LARGEST) for n in data["size"]]
        stride = [whole(n, 0, LARGEST) for n in data["stride"]]
        offset = whole(data["offset"], 0, LARGEST)
        memory = unpacked(data["ids"])
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        check(0 not in size and last < len(memory), "a tensor lies outside of its memory")
        check(int(np.prod(size, dtype=np.int64)) <= LARGEST, "a tensor is too large")
        fits = len(memory) == 0 or (memory.min() >= -constants and memory.max() < count)
        check(bool(fits), "a tensor has numbers that are none yet")
        self.size, self.stride, self.offset = size, stride, offset
        self.memory = torch.from_numpy(memory)

    def ids(self) -> torch.Tensor:
        return self.memory.as_strided(self.size, self.stride, self.offset)


def unpacked(data: Any) -> np.ndarray:
    """Indices from a run, or from the bytes of 32-bit integers."""
    if set(data) == {"run"}:
        first, step, count = data["run"]
        whole(first, -LARGEST, LARGEST)
        return np.arange(whole(count, 1, LARGEST), dtype=np.int64) * whole(step, -9, 9) + first
    check(set(data) == {"bytes"} and type(data["bytes"]) is str, "indices are not as agreed")
    raw = binascii.a2b_base64(data["bytes"].encode())
    check(len(raw) % 4 == 0 and len(raw) <= 4 * LARGEST, "indices are not as agreed")
    return np.frombuffer(raw, np.int32).astype(np.int64)


class Operations:
    """The operations of one pass; `constants` is how many numbers no token reaches."""

    def __init__(self, data: Any, length: int, constants: int) -> None:
        self.length, self.count, self.constants = length, length, constants
        self.steps: list[tuple[str, str, list[Any], dict[str, Any], list[int]]] = []
        self.digests: list[str] = []
        for operation in data:
            name, overload = operation["name"], operation["overload"]
            check(name == "look" or name in LOWERED, f"no rule covers aten.{name!s:.40}")
            given = [self._read(value) for value in operation["given"]]
            named = {str(key): self._read(value) for key, value in operation["named"].items()}
            made = [whole(n, 0, LARGEST) for n in operation["made"]]
            if name != "look":
                tensors = [v for v in [*given, *named.values()] if isinstance(v, Laid)]
                used = [int(t.ids().clamp(min=-1).max()) for t in tensors]
                tokens = any(bool(((t.ids() >= 0) & (t.ids() < length)).any()) for t in tensors)
                check(bool(used) and not tokens, f"aten.{name} on tokens")
            self.steps.append((name, str(overload), given, named, made))
            self.digests.append(str(operation["digest"]))
            self.count += sum(made)
            check(self.count <= LARGEST, f"more than {LARGEST:,} numbers depend on the tokens")

    def _read(self, value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"float"}:
            return float.fromhex(value["float"])
        if isinstance(value, dict):
            return Laid(value, self.constants, self.count)
        if isinstance(value, list):
            return [self._read(part) for part in value]
        check(value is None or isinstance(value, bool | int | str), "an argument of another kind")
        return value

    # ---- run again by torch ----------------------------------------------------------------------

    def run(
        self, constants: torch.Tensor, text: Sequence[int], seen: Callable[..., None] | None = None
    ) -> torch.Tensor:
        """Every number of the pass (count) on a text; `seen` is told what each operation gives."""
        pool = torch.empty(len(constants) + self.count, dtype=constants.dtype)
        pool[: len(constants)] = constants.flip(0)
        pool[len(constants) :][: self.length] = torch.tensor(text, dtype=constants.dtype)
        at = len(constants) + self.length
        tokens = torch.tensor(text)

        def there(value: Any) -> Any:
            if isinstance(value, list):
                return [there(part) for part in value]
            if not isinstance(value, Laid):
                return value
            memory = pool[value.memory + len(constants)]
            return memory.as_strided(value.size, value.stride, value.offset)

        for n, (name, overload, given, named, made) in enumerate(self.steps):
            if name == "look":
                table, which = given
                rows = there(table)[self._tokens(which, tokens, constants)]
                results: Sequence[torch.Tensor] = [rows]
            else:
                function = getattr(getattr(torch.ops.aten, name), overload)
                output = function(
                    *(there(v) for v in given), **{key: there(v) for key, v in named.items()}
                )
                results = output if isinstance(output, tuple | list) else [output]
            check(len(results) == len(made), f"aten.{name} gives another number of tensors")
            for tensor, numel in zip(results, made, strict=True):
                fits = tensor.numel() == numel and tensor.dtype == constants.dtype
                check(fits, f"aten.{name} gives another tensor here")
                pool[at : at + numel] = tensor.reshape(-1)
                at += numel
            if seen is not None:
                seen(n, results)
        return pool[len(constants) :]

    @staticmethod
    def _tokens(which: Laid, tokens: torch.Tensor, constants: torch.Tensor) -> torch.Tensor:
        ids = which.ids()
        known = torch.where(ids < 0, constants[(-1 - ids).clamp(min=0)], 0).long()
        return torch.where(ids < 0, known, tokens[ids.clamp(min=0)])


class StepLowering:
    """Takes operations apart into the steps of a graph. Numbers of steps are numbered from 0, the
    tokens first; constants are negative. What operations bring along as arguments is added to
    `constants`, and its index to `brought`.
    """

    def __init__(
        self, operations: Operations, constants: list[np.floating], brought: dict[bytes, int]
    ) -> None:
        self.constants, self._brought = constants, brought
        self.length = self.count = operations.length
        self.steps: list[tuple[str, int, list[np.ndarray]]] = []
        self.starts: list[int] = []
        """The number of the first result of each step."""
        self.number = torch.full((operations.count,), UNKNOWN)
        """What is here the index of each number of the operations."""
        self.number[: self.count] = torch.arange(self.count)
        at = self.count
        for name, _, given, named, made in operations.steps:
            given = [self.ids(v) if isinstance(v, Laid) else v for v in given]
            named = {key: self.ids(v) if isinstance(v, Laid) else v for key, v in named.items()}
            found = self._look(*given) if name == "look" else LOWERED[name](self, *given, **named)
            check(found.numel() == made[0], f"aten.{name} gives another number of numbers")
            self.number[at : at + made[0]] = found.reshape(-1)
            at += sum(made)

    def ids(self, tensor: Laid) -> torch.Tensor:
        ids = tensor.ids()
        found = torch.where(ids >= 0, self.number[ids.clamp(min=0)], ids)
        # memory between the numbers of a tensor is not read
        check(bool((found != UNKNOWN).all()), "a number that no rule says anything of is read")
        return found

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Indices of operations as indices of steps."""
        found = np.where(ids >= 0, self.number.numpy()[np.maximum(ids, 0)], ids)
        check(bool((found != UNKNOWN).all()), "a number that no rule says anything of is read")
        return found

    def _number(self, value: float) -> torch.Tensor:
        """The index of a constant that an operation has as an argument."""
        number = type(self.constants[0])(value)
        key = number.tobytes()
        if key not in self._brought:
            self.constants.append(number)
            self._brought[key] = -len(self.constants)
        return torch.tensor(self._brought[key])

    def _masked(self, ids: torch.Tensor) -> torch.Tensor:
        """Where minus infinity stands."""
        infinite = np.flatnonzero([c == -np.inf for c in self.constants])
        return torch.isin(ids, torch.from_numpy(-1 - infinite))

    def _step(self, op: str, *operands: torch.Tensor, k: int = 1) -> torch.Tensor:
        """One step: the operands are lists of indices, broadcast against each other."""
        operands = tuple(torch.broadcast_tensors(*operands)) if k == 1 else operands
        count = operands[0].numel() // (1 if op == "softmax" else k)
        shape = operands[0].shape if k == 1 or op == "softmax" else (count,)
        lists = [o.reshape(-1).to(torch.int32).numpy().copy() for o in operands]
        self.steps.append((op, k, lists))
        self.starts.append(self.count)
        self.count += count
        check(self.count <= LARGEST, f"more than {LARGEST:,} numbers depend on the tokens")
        return torch.arange(self.count - count, self.count).reshape(shape)

    # ---- each operation --------------------------------------------------------------------------

    def _look(self, table: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        columns = table.reshape(len(table), -1).T  # (columns, tokens of the vocabulary)
        which = tokens.reshape(-1)
        check(bool((columns < 0).all()), "a table that depends on tokens")
        found = torch.empty(len(which), len(columns), dtype=torch.int64)
        for n, token in enumerate(which.tolist()):
            if token < 0:
                row = int(self.constants[-1 - token])
                check(0 <= row < len(table), "a row beyond a table")
                found[n] = columns[:, row]
        ours = which >= 0
        if bool(ours.any()):
            rows = columns[None].expand(int(ours.sum()), -1, -1).reshape(-1, len(table))
            index = which[ours][:, None].expand(-1, len(columns))
            lists = [rows.reshape(-1), index.reshape(-1)]
            self.steps.append(("look", len(table), [o.to(torch.int32).numpy() for o in lists]))
            self.starts.append(self.count)
            self.count += index.numel()
            found[ours] = torch.arange(self.count - index.numel(), self.count).reshape(index.shape)
        return found

    def _operand(self, value: Any) -> torch.Tensor:
        return value if isinstance(value, torch.Tensor) else self._number(float(value))

    def _binary(self, op: str, a: Any, b: Any) -> torch.Tensor:
        return self._step(op, self._operand(a), self._operand(b))

    def _add(self, a: Any, b: Any, *, alpha: Any = 1) -> torch.Tensor:
        check(alpha == 1, "aten.add with alpha")
        a, b = torch.broadcast_tensors(self._operand(a), self._operand(b))
        return self._added("add", *((b, a) if bool(self._masked(b).any()) else (a, b)))

    def _added(self, op: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Minus infinity and a constant is itself. With a number of the text it stays a step, of
        which the checker asks that the number is finite.
        """
        folded = self._masked(a) & (b < 0)
        if not bool(folded.any()):
            return self._step(op, a, b)
        return torch.where(folded, a, self._step(op, a.where(~folded, b), b))

    def _sub(self, a: Any, b: Any, *, alpha: Any = 1) -> torch.Tensor:
        check(alpha == 1, "aten.sub with alpha")
        a, b = torch.broadcast_tensors(self._operand(a), self._operand(b))
        return self._added("sub", a, b)

    def _exp(self, x: torch.Tensor) -> torch.Tensor:
        masked = self._masked(x)
        zero = self._number(0.0)
        return torch.where(masked, zero, self._step("exp", x.where(~masked, zero)))

    def _rsub(self, a: Any, b: Any, alpha: Any = 1) -> torch.Tensor:
        return self._sub(b, a, alpha=alpha)

    def _mul(self, a: Any, b: Any) -> torch.Tensor:
        both = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor)
        if both and a.shape == b.shape and bool((a == b).all()) and bool((a >= 0).all()):
            return self._step("square", a)
        return self._binary("mul", a, b)

    def _div(self, a: Any, b: Any, *, rounding_mode: Any = None) -> torch.Tensor:
        check(rounding_mode is None, "aten.div with a rounding mode")
        found = self._written_out(a, b)
        return self._binary("div", a, b) if found is None else found

    def _written_out(self, a: Any, b: Any) -> torch.Tensor | None:
        """The step that exp(s - max s) / sum exp(s - max s) is; None where it is none."""
        rows = isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.ndim > 0
        if not rows or b.shape != (*a.shape[:-1], 1):
            return None
        scores = []
        for row, total in zip(
            a.reshape(-1, a.shape[-1]).tolist(), b.reshape(-1).tolist(), strict=True
        ):
            if self._made(total) != ("sum", row):
                return None
            found, tops = [], set()
            for one in row:
                op, power = self._made(one)
                if op == "" and self.constants[-1 - one] == 0:  # masked
                    found.append(int(self._number(-np.inf)))
                    continue
                less, parts = self._made(power[0]) if op == "exp" else ("", [])
                if less != "sub":
                    return None
                found.append(self._one_infinity(parts[0]))
                tops.add(parts[1])
            op, given = self._made(tops.pop()) if len(tops) == 1 else ("", [])
            if op != "max" or [self._one_infinity(s) for s in given] != found:
                return None
            scores.append(found)
        step = self._step("softmax", torch.tensor(scores).reshape(-1), k=a.shape[-1])
        return step.reshape(a.shape)

    def _one_infinity(self, a: int) -> int:
        """Another minus infinity as the one that is an argument."""
        return int(self._number(-np.inf)) if a < 0 and self.constants[-1 - a] == -np.inf else a

    def _made(self, number: int) -> tuple[str, list[int]]:
        """The step that gives a number, and what it is given there."""
        if number < self.length:
            return "", []
        at = bisect(self.starts, number) - 1
        op, k, operands = self.steps[at]
        lane = number - self.starts[at]
        if op in ("look", "softmax"):
            return op, []
        return op, [int(i) for o in operands for i in o[lane * k : lane * k + k]]

    def _amax(self, x: torch.Tensor, dim: Any = (), keepdim: bool = False) -> torch.Tensor:
        return self._reduced("max", x, dim)

    def _clamp(self, x: torch.Tensor, min: Any = None, max: Any = None) -> torch.Tensor:
        check(min == 0 and max is None, "aten.clamp but to what is above 0")
        return self._step("relu", x)

    def _clamp_min(self, x: torch.Tensor, min: Any) -> torch.Tensor:
        return self._clamp(x, min)

    def _pow(self, x: Any, exponent: Any) -> torch.Tensor:
        known = {2: "square", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
        number = isinstance(exponent, int | float) and isinstance(x, torch.Tensor)
        check(number and exponent in known, f"aten.pow to {exponent!s:.20}")
        return self._step(known[exponent], x)

    def _gelu(self, x: torch.Tensor, *, approximate: str = "none") -> torch.Tensor:
        return self._step("gelu" if approximate == "none" else "gelu_tanh", x)

    def _sum(self, x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> torch.Tensor:
        return self._reduced("sum", x, dim)

    def _reduced(self, op: str, x: torch.Tensor, dim: Any) -> torch.Tensor:
        every = list(range(x.ndim))
        given = [dim] if isinstance(dim, int) else dim
        dims = every if not given else [d % x.ndim for d in given]
        rest = [d for d in every if d not in dims]
        ids = x.permute(*rest, *dims).reshape(*[x.shape[d] for d in rest], -1)
        return self._step(op, ids.contiguous(), k=ids.shape[-1])

    def _mean(self, x: torch.Tensor, dim: Any = None, keepdim: bool = False) -> torch.Tensor:
        total = self._sum(x, dim)
        return self._step("div", total, self._number(float(x.numel() // max(1, total.numel()))))

    def _product(self, a: torch.Tensor, b: torch.Tensor, bias: Any = None) -> torch.Tensor:
        """(B, n, k) and (B, k, m), bias broadcast to (B, n, m)."""
        batch, n, k = a.shape
        m = b.shape[-1]
        left = a[:, :, None, :].expand(batch, n, m, k).reshape(-1, k)
        right = b.transpose(1, 2)[:, None].expand(batch, n, m, k).reshape(-1, k)
        if bias is not None:
            one = self._number(1.0)
            left = torch.cat([left, one.expand(len(left), 1)], 1)
            right = torch.cat([right, bias.expand(batch, n, m).reshape(-1, 1)], 1)
            k += 1
        return self._step("dot", left.contiguous(), right.contiguous(), k=k).reshape(batch, n, m)

    def _mm(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._product(a[None], b[None])

    def _bmm(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._product(a, b)

    def _mv(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._product(a[None], b[None, :, None])

    def _dot(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return self._product(a[None, None], b[None, :, None])

    def _addmm(self, c: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> torch.Tensor:
        check((alpha, beta) == (1, 1), "aten.addmm with alpha or beta")
        return self._product(a[None], b[None], c)

    def _baddbmm(self, c: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> torch.Tensor:
        check((alpha, beta) == (1, 1), "aten.baddbmm with alpha or beta")
        return self._product(a, b, c)

    def _linear(self, x: Any, weight: Any, bias: Any = None) -> torch.Tensor:
        return self._product(x.reshape(1, -1, x.shape[-1]), weight.T[None], bias)

    def _softmax(self, x: torch.Tensor, dim: int, half_to_float: bool = False) -> torch.Tensor:
        ids = x.movedim(dim, -1)
        found = self._step("softmax", ids.contiguous(), k=ids.shape[-1])
        return found.reshape(ids.shape).movedim(-1, dim)

    def _native_layer_norm(
        self, x: torch.Tensor, shape: Any, weight: Any, bias: Any, eps: float
    ) -> torch.Tensor:
        """By its definition: (x - mean) / sqrt(mean of squares + eps) * weight + bias."""
        k = int(np.prod(shape))
        count = self._number(float(k))
        ids = x.reshape(-1, k)
        mean = self._step("div", self._step("sum", ids.contiguous(), k=k), count)
        away = self._step("sub", ids, mean[:, None])
        square = self._step("square", away)
        spread = self._step("div", self._step("sum", square.contiguous(), k=k), count)
        factor = self._step("rsqrt", self._step("add", spread, self._number(eps)))
        found = self._step("mul", away, factor[:, None])
        if weight is not None:
            found = self._step("mul", found, weight.reshape(1, k))
        if bias is not None:
            found = self._step("add", found, bias.reshape(1, k))
        return found


def elementwise(op: str) -> Callable[..., torch.Tensor]:
    return lambda lowering, x: lowering._step(op, x)


LOWERED: dict[str, Callable[..., torch.Tensor]] = {
    **{op: elementwise(op) for op in ELEMENTWISE},
    "exp": StepLowering._exp,
    **{
        name: getattr(StepLowering, f"_{name.strip('_')}")
        for name in (
            *("add", "sub", "rsub", "mul", "div", "pow", "gelu", "sum", "mean", "linear"),
            *("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "native_layer_norm", "_softmax"),
            *("amax", "clamp", "clamp_min"),
        )
    },
    "_safe_softmax": StepLowering._softmax,
}
"""Operations of torch that are steps of a graph."""


def pruned(
    steps: list[tuple[str, int, list[np.ndarray]]], length: int, row: np.ndarray
) -> dict[str, Any]:
    """Only what these logits need, numbered anew; the first `length` indices are the tokens."""
    starts, total = [], length
    for op, k, operands in steps:
        starts.append(total)
        total += len(operands[-1]) // (k if op in REDUCING else 1)
    needed = np.zeros(total, dtype=bool)
    needed[:length] = True
    needed[row[row >= 0]] = True
    kept: list[tuple[tuple[str, int, list[np.ndarray]], np.ndarray]] = []
    for (op, k, operands), start in zip(reversed(steps), reversed(starts), strict=True):
        lanes = len(operands[-1]) // (k if op in REDUCING else 1)
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
        found_steps.append({"op": op, "k": k, "operands": renamed})
        number[which] = np.arange(count, count + len(which))
        count += len(which)
    logits = np.where(row >= 0, number[np.maximum(row, 0)], row).astype(np.int32)
    return {"steps": found_steps, "logits": logits}
