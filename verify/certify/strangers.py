"""Prove or refute a stranger's adder: its graph from the sandbox, the search, the checker.

The process of the submission is not believed: its graph is read as data, evaluated here on the
prompts that it was asked about, and compared with the logits that the model gave.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write
from tinyadder.verify.certify import check
from tinyadder.verify.certify.aten import NoRule, Operations, StepLowering, pruned
from tinyadder.verify.certify.boxes import Undecided
from tinyadder.verify.certify.check import graph_texts
from tinyadder.verify.certify.check.certificate import GRAPH_FORMAT, GRAPH_VERSION
from tinyadder.verify.certify.check.files import canonical, number
from tinyadder.verify.certify.check.graph import RULES, Graph, assumed
from tinyadder.verify.certify.check.intervals import Rejected
from tinyadder.verify.certify.graph_boxes import prove_graph
from tinyadder.verify.external.submission import Submission
from tinyadder.verify.verdict import Counterexample, Proved, Refuted, Unknown

DIGITS = 10
"""Of the operands."""
SAME = 1e-4
"""What logits may differ by, in units of the largest: rounding in another order, not more."""


class NoGraph(TinyadderError):
    """What a module computes could not be read, or not with a format that a proof is about."""


class PassData(TypedDict):
    """One pass, as the process of a submission gives it; arrays are bytes of int32."""

    length: int
    row: int
    operations: list[Any]
    read: bytes
    """The indices of the logits."""
    texts: bytes


class FormatData(TypedDict):
    described: str
    passes: list[list[tuple[str, int, list[int]]]]
    smallest: bool
    order: str
    length: int
    digits: list[int]


class OperationsData(TypedDict):
    """The operations of every pass; `reason` says why there is nothing."""

    reason: str
    exported: bool
    why: str
    fused: float
    """How far the logits are, in units of the largest, where torch picks a kernel of attention."""
    dtype: str
    constants: bytes
    passes: list[PassData]
    logits: list[bytes]


class GraphData(OperationsData):
    """What the job `graph` gives."""

    format: FormatData


@dataclass(frozen=True)
class Read:
    """A stranger's model as a graph, compared with what the model answers."""

    graph: dict[str, Any]
    task: dict[str, Any]
    """As a certificate has it."""
    format: str
    exported: bool
    why: str
    """Why torch.export had no graph."""
    compared: int
    """Texts on which graph and model were compared."""
    bits: int
    """Of these: texts whose logits, operation by operation, are the module's to the last bit."""
    apart: float
    """By how much other ones differ at most, in units of the largest logit."""
    first: str
    """The first operation that gave other bits there than here."""
    largest_difference: float
    """Of the steps, computed in binary64, from the module."""
    fused: float
    about: dict[str, Any] = field(default_factory=dict)


def runs(values: np.ndarray) -> list[int]:
    """Integers as [first, step, how many, ..]."""
    found: list[int] = []
    values = values.astype(np.int64)
    k, n = 0, len(values)
    steps = np.diff(values)
    changes = np.flatnonzero(np.diff(steps)) + 1 if n > 2 else np.zeros(0, dtype=np.int64)
    ends = [*changes.tolist(), n - 1]
    at = 0
    while k < n:
        while at < len(ends) - 1 and ends[at] <= k:
            at += 1
        end = ends[at] if k < n - 1 else k
        end = max(end, k)
        step = int(steps[k]) if end > k else 0
        found += [int(values[k]), step, int(end - k + 1)]
        k = end + 1
    return found


def read_graph(submission: Submission, *, seed: int = 0, limit: float = 600.0) -> Read:
    """The graph of a submission. Raises `TinyadderError` with the reason where the process fails,
    and `NoGraph` where there is none.
    """
    with submission.session() as session:
        data: Any = session.ask(
            "tinyadder.verify.external.graph:graph", reply=GraphData, limit=limit, seed=seed
        )
    if data["reason"]:
        raise NoGraph(data["reason"])
    form = data["format"]
    options = format_options(form, [part["row"] for part in data["passes"]])
    return read_data(data, {"name": "sum", "options": options}, form["described"])


def read_data(data: Any, task: dict[str, Any], described: str) -> Read:
    """The graph in what the process of a submission gave, compared with the module's logits."""
    kind = {"float32": np.float32, "float64": np.float64}.get(data["dtype"])
    if kind is None:
        raise NoGraph(f"its numbers are of the type {data['dtype']}")
    given = np.frombuffer(data["constants"], kind)
    constants, brought = [*given], dict[bytes, int]()
    passes, compared, same, apart, first = [], 0, 0, 0.0, ""
    try:
        for part, said in zip(data["passes"], data["logits"], strict=True):
            texts = np.frombuffer(part["texts"], np.int32).reshape(-1, part["length"])
            theirs = np.frombuffer(said, kind).reshape(len(texts), -1)
            operations = Operations(part["operations"], part["length"], len(given))
            read = np.frombuffer(part["read"], np.int32)
            ours, other = run_again(operations, given, texts, read)
            first = first or other
            equal = (ours.view(np.uint8) == theirs.view(np.uint8)).reshape(len(texts), -1).all(1)
            compared, same = compared + len(texts), same + int(equal.sum())
            apart = max(apart, differ(ours, theirs))
            lowered = StepLowering(operations, constants, brought)
            steps = pruned(lowered.steps, part["length"], lowered.read(read))
            passes.append({**part, **steps, "texts": texts, "said": theirs})
    except (
        NoRule,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        said = str(error).strip().partition("\n")[0]
        raise NoGraph(said if isinstance(error, NoRule) else f"its graph is none: {said}") from None
    if apart > SAME:
        raise NoGraph(
            f"its graph gives other logits than the module: off by {apart:.1e} of the largest"
            + (f", first at {first}" if first else "")
        )
    number_of = np.zeros(len(constants), int)
    passes = used(passes, len(constants), number_of)
    numbers = np.array(constants, kind)[number_of >= 0]
    graph = {
        "dtype": data["dtype"],
        "constants": [float(x).hex() if np.isfinite(x) else str(float(x)) for x in numbers],
        "passes": [
            {
                "length": part["length"],
                "row": part["row"],
                "steps": [
                    [step["op"], step["k"], *(runs(o) for o in step["operands"])]
                    for step in part["steps"]
                ],
                "logits": runs(part["logits"]),
            }
            for part in passes
        ],
    }
    worst = 0.0
    for part in passes:
        ours = evaluate(numbers.astype(np.float64), part, part["texts"])
        worst = max(worst, differ(ours, part["said"]))
    if worst > SAME:
        raise NoGraph(
            f"its steps give other logits than the module: off by {worst:.1e} of the largest"
        )
    return Read(
        graph,
        task,
        described,
        data["exported"],
        data["why"],
        compared,
        same,
        apart,
        first,
        worst,
        data["fused"],
    )


def run_again(
    operations: Operations, constants: np.ndarray, texts: np.ndarray, read: np.ndarray
) -> tuple[np.ndarray, str]:
    """The logits of texts (n, length) by the operations, run by torch here one text after the
    other, as the module was; and which operation is the first that gives other bits of the first
    text than there.
    """
    numbers, first, found = torch.from_numpy(constants.copy()), "", []
    which = torch.from_numpy(read.astype(np.int64))
    threads = torch.get_num_threads()

    def seen(n: int, results: Sequence[torch.Tensor]) -> None:
        nonlocal first
        digest = hashlib.sha256()
        for tensor in results:
            digest.update(tensor.contiguous().numpy().tobytes())
        if not first and operations.digests[n] not in ("", digest.hexdigest()):
            first = f"aten.{operations.steps[n][0]}"

    torch.set_num_threads(1)  # as in the process of a submission
    try:
        with torch.no_grad():
            for n, text in enumerate(texts.tolist()):
                values = operations.run(numbers, text, None if n else seen)
                logits = torch.where(
                    which >= 0, values[which.clamp(min=0)], numbers[(-1 - which).clamp(min=0)]
                )
                found.append(logits.numpy())
    finally:
        torch.set_num_threads(threads)
    return np.stack(found), first


def differ(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of logits (n, outputs) in units of the largest of their row."""
    size = np.abs(theirs).max(1, keepdims=True).astype(np.float64) + 1e-30
    with np.errstate(invalid="ignore"):
        off = np.abs(ours.astype(np.float64) - theirs) / size
    return float(np.nan_to_num(off, nan=np.inf).max())


def used(passes: list[Any], count: int, number: np.ndarray) -> list[Any]:
    """The passes with constants numbered as if there were only those that are used; `number` is
    filled with the new number of each, -1 for what is not used.
    """
    lists = [
        o
        for part in passes
        for o in (part["logits"], *(o for step in part["steps"] for o in step["operands"]))
    ]
    needed = np.zeros(count, dtype=bool)
    for ids in lists:
        needed[-1 - ids[ids < 0]] = True
    number[:] = np.where(needed, np.cumsum(needed) - 1, -1)

    def renamed(ids: np.ndarray) -> np.ndarray:
        mapped = -1 - number[np.maximum(-1 - ids, 0)] if count else ids
        return np.where(ids < 0, mapped, ids).astype(np.int32)

    return [
        {
            **part,
            "logits": renamed(part["logits"]),
            "steps": [
                {**step, "operands": [renamed(o) for o in step["operands"]]}
                for step in part["steps"]
            ],
        }
        for part in passes
    ]


def evaluate(constants: np.ndarray, part: Any, texts: np.ndarray) -> np.ndarray:
    """The logits of texts (n, length) by the steps of a pass, in float64."""
    columns: list[np.ndarray] = [texts.T.astype(np.float64)]

    def take(ids: np.ndarray) -> np.ndarray:
        values = np.concatenate(columns)
        columns[:] = [values]
        return np.where(
            ids[:, None] >= 0,
            values[np.maximum(ids, 0)],
            constants[np.maximum(-1 - ids, 0)][:, None],
        )

    with np.errstate(all="ignore"):
        for step in part["steps"]:
            k, op = step["k"], step["op"]
            lists = step["operands"]
            if op == "look":
                table = constants[-1 - lists[0]].reshape(-1, k)
                tokens = texts[:, lists[1]].T
                found = np.take_along_axis(table, tokens.astype(np.int64), 1)
            else:
                found = FUNCTIONS[op](k, *(take(ids) for ids in lists))
            columns.append(found)
    return take(part["logits"]).T


def _softmax(k: int, x: np.ndarray) -> np.ndarray:
    grouped = x.reshape(-1, k, x.shape[1])
    e = np.exp(grouped - grouped.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).reshape(x.shape)


def _erf(x: np.ndarray) -> np.ndarray:
    return torch.erf(torch.as_tensor(np.ascontiguousarray(x))).numpy()


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "add": lambda k, a, b: a + b,
    "sub": lambda k, a, b: a - b,
    "mul": lambda k, a, b: a * b,
    "div": lambda k, a, b: a / b,
    "neg": lambda k, a: -a,
    "abs": lambda k, a: np.abs(a),
    "square": lambda k, a: a * a,
    "sqrt": lambda k, a: np.sqrt(a),
    "rsqrt": lambda k, a: 1 / np.sqrt(a),
    "reciprocal": lambda k, a: 1 / a,
    "exp": lambda k, a: np.exp(a),
    "relu": lambda k, a: np.maximum(a, 0),
    "sigmoid": lambda k, a: 1 / (1 + np.exp(-a)),
    "tanh": lambda k, a: np.tanh(a),
    "silu": lambda k, a: a / (1 + np.exp(-a)),
    "gelu": lambda k, a: a * 0.5 * (1 + _erf(a / np.sqrt(2))),
    "gelu_tanh": lambda k, a: a * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3))),
    "sum": lambda k, a: a.reshape(-1, k, a.shape[1]).sum(1),
    "dot": lambda k, a, b: (a * b).reshape(-1, k, a.shape[1]).sum(1),
    "max": lambda k, a: a.reshape(-1, k, a.shape[1]).max(1),
    "softmax": _softmax,
}
"""Every operation of a graph, in float64."""


def format_options(form: Any, rows: list[int]) -> dict[str, Any]:
    """The format of a decoding as options of the checker's task `sum`. Raises `TinyadderError` for
    what it cannot say.
    """
    length, most = form["length"], form["order"] == "most"
    choices = {digit: choice for choice, digit in enumerate(form["digits"]) if digit >= 0}
    if set(choices) != set(range(10)):
        raise NoGraph("not every digit is known to be a choice")
    if most and length != DIGITS + 1:
        raise NoGraph(f"its answers have {length} digits, not {DIGITS + 1}")

    def power(step: int) -> int:
        return length - 1 - step if most else step

    passes = []
    for step, row in enumerate(rows):
        places: list[list[Any]] = []
        for kind, index, table in form["passes"][step][: row + 1]:
            if kind == "chosen":
                fed = [
                    table[choices[d]]
                    if choices[d] < len(table) and table[choices[d]] >= 0
                    else choices[d]
                    for d in range(10)
                ]
                places.append(["sum", power(index), fed])
            else:
                places.append([kind, 0 if kind == "constant" else index, list(table)])
        places.append(["sum", power(step), [choices[d] for d in range(10)]])
        passes.append(places)
    return {"digits": DIGITS, "smallest": form["smallest"], "passes": passes}


def seal(certificate: dict[str, Any]) -> bytes:
    """The bytes of a certificate, with the digest that binds it together."""
    certificate["sha256"] = hashlib.sha256(canonical(certificate)).hexdigest()
    return canonical(certificate)


def certificate_of(read: Read, parts: list[dict[str, Any]] | None) -> bytes:
    """The certificate that these trees make; without trees that every text is gone through."""
    margin = None if parts is None else min(number(part["margin"]) for part in parts).hex()
    return seal(
        {
            "format": GRAPH_FORMAT,
            "version": GRAPH_VERSION,
            "about": read.about,
            "graph": read.graph,
            "task": read.task,
            "numerics": assumed(Graph(read.graph).rounding),
            "rules": [*(graph_texts.RULES if parts is None else RULES)],
            "parts": parts,
            "margin": margin,
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
        }
    )


@dataclass(frozen=True)
class StrangerJudged:
    """The verdict on a stranger's adder, what it is about, and what it cost."""

    verdict: Proved | Refuted | Unknown
    about: dict[str, str]
    """The graph, the format, the loop: what the verdict is about."""
    numerics: dict[str, str]
    proof_seconds: float
    check_seconds: float | None = None
    exported: bool = False
    """Whether `torch.export` gave the graph."""
    claims: int | None = None
    counted: str = "shortest paths"
    """What the checker's claims are."""
    unit: str = "logits"
    certificate_bytes: int | None = None


OWN_ADD = (
    "the verifier's own greedy loop in this format; the file's add is compared with it on 40 sums"
)


def about(read: Read, decoding: str = OWN_ADD) -> dict[str, str]:
    """What a verdict on a graph is about, in words."""
    way = "torch.export" if read.exported else f"one run each, watched ({read.why})"
    passes = len(read.graph["passes"])
    return {
        "graph": f"of the forward pass, by {way}; {passes} passes",
        "bits": bits_in_words(read),
        "format": read.format,
        "decoding": decoding,
        "attention": "as products, a softmax and products, not as a fused kernel"
        + (
            f" (with the one that torch picks, logits differ by {read.fused:.1e} of the largest)"
            if read.fused
            else ""
        ),
    }


def bits_in_words(read: Read) -> str:
    """On how many texts the operations, run by torch, are the module to the last bit."""
    if read.bits == read.compared:
        return (
            "its operations, run one by one by torch, give the module's logits to the last bit on"
            f" {read.compared:,} of {read.compared:,} texts"
        )
    return (
        f"its operations, run one by one by torch, give the module's logits to the last bit on"
        f" {read.bits:,} of {read.compared:,} texts, on the others to {read.apart:.1e} of the"
        f" largest{f', first at {read.first}' if read.first else ''}; assumed: a rounding that the"
        " rules cover"
    )


def prove_submission(
    submission: Submission, file: Path | None = None, *, jobs: int = -1, seed: int = 0
) -> StrangerJudged:
    """Prove a stranger's adder right on all pairs of ten-digit numbers, or refute it by a sum that
    its own `add` gets wrong. With `file` the certificate is kept there.

    Raises `TinyadderError`, one line, for a submission that breaks its contract or its limits.
    """
    began = time.perf_counter()
    try:
        read = read_graph(submission, seed=seed)
    except NoGraph as reason:
        spent = time.perf_counter() - began
        return StrangerJudged(Unknown(str(reason)), {}, {}, spent)
    what, numerics = about(read), assumed(Graph(read.graph).rounding)
    try:
        parts = prove_graph(read.graph, read.task, jobs)
    except Undecided as undecided:
        verdict = replayed(submission, read, undecided)
        return StrangerJudged(verdict, what, numerics, time.perf_counter() - began)
    except Rejected as reason:
        verdict = Unknown(str(reason))
        return StrangerJudged(verdict, what, numerics, time.perf_counter() - began)
    domain = f"all {10 ** (2 * DIGITS):,} pairs of numbers of at most {DIGITS} digits"
    return certified(replace(read, about=what), parts, domain, file, began)


def certified(
    read: Read,
    parts: list[dict[str, Any]] | None,
    domain: str,
    file: Path | None,
    began: float,
) -> StrangerJudged:
    """What the checker says of the certificate of these trees, or of every text by itself."""
    numerics = assumed(Graph(read.graph).rounding)
    data = certificate_of(read, parts)
    proved = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        path = file or Path(place) / "certificate.json"
        with atomic_write(path) as part:
            part.write_bytes(data + b"\n")
        try:
            checked = check.check(path.parent, path)
        except Rejected as reason:
            path.unlink()
            verdict = Unknown(f"the checker rejected the certificate: {reason}")
            return StrangerJudged(verdict, read.about, numerics, proved - began)
    assumptions = "; ".join(f"{key}: {value}" for key, value in numerics.items())
    return StrangerJudged(
        Proved(domain, None if file is None else str(file), checked["margin"], assumptions),
        read.about,
        numerics,
        proved - began,
        time.perf_counter() - proved,
        read.exported,
        checked["claims"],
        checked["counted"],
        checked["unit"],
        len(data),
    )


def replayed(submission: Submission, read: Read, undecided: Undecided) -> Refuted | Unknown:
    """Texts of an undecided branch, asked as sums: refuted by the first that `add` gets wrong."""
    pairs = sorted({pair_of(read.task["options"], text) for text in undecided.texts})
    wrong: list[tuple[int, int, int | str]] = []
    if pairs:
        answers = submission.add(pairs)
        wrong = [(*p, got) for p, got in zip(pairs, answers, strict=True) if got != sum(p)]
    if not wrong:
        return Unknown(f"{undecided.reason}; {len(pairs)} sums of that kind come out right")
    a, b, got = wrong[0]
    right = str(a + b)
    return Refuted(Counterexample((a, b), f"{a} + {b}", right, str(got), "by the file's own add"))


def pair_of(options: dict[str, Any], text: list[str]) -> tuple[int, int]:
    """The numbers that stand in the text of a pass."""
    places = next(p for p in options["passes"] if len(p) == len(text))
    a = b = 0
    for (kind, n, table), token in zip(places, text, strict=True):
        if kind in ("a", "b", "column"):
            entry = table.index(int(token))
            if kind == "column":
                a, b = a + entry // 10 * 10**n, b + entry % 10 * 10**n
            elif kind == "a":
                a += entry * 10**n
            else:
                b += entry * 10**n
    return a, b
