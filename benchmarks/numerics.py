"""What a proof assumes of exp, measured: `python -m benchmarks.numerics [--points N] [--save]`.

Every proof rests on |fl(exp x) - exp x| <= 2^-51 exp x for x <= 0, that is 4 units of 2^-53 exp x.
Here exp is asked for on every path on which a model may compute it, and compared with mpmath in
120 bits: torch with each set of vector instructions of the processor and without, on whole and on
strided tensors, on tails shorter than a vector and on single numbers; torch.compile; torch on CUDA
where there is a device; onnxruntime; V8, which runs the explorer page, through node; and the
C library (Python, numpy). A path that cannot be had here is printed as not measured.

Exit code 1 where a path is worse than assumed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from random import Random

from tinyadder.verify.certify.check.intervals import NUMERICS

UNIT = 2.0**-53
ASSUMED = 4.0
"""2^-51 in units of 2^-53."""
SMALLEST_NORMAL = -708.3964185322641
"""exp x is a normal double from here on."""
BITS = 120
ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).with_name("numerics.json")


def points(count: int, seed: int) -> list[float]:
    """Numbers <= 0 where an exp may be at its worst.

    A third uniform; a third close to multiples of (ln 2) / 64, where argument reductions and tables
    change over; a third of every size down to 2^-60. Beside them whole numbers and halves.
    """
    random, found = Random(seed), [0.0, -0.0, SMALLEST_NORMAL]
    found += [-n / 2 for n in range(1, 1491)]
    for k in range(count):
        if k % 3 == 0:
            found.append(-random.uniform(0, 745))
        elif k % 3 == 1:
            edge = -random.randrange(1, 65_000) * math.log(2) / 64
            found.append(edge * (1 + random.choice((-1, 1)) * 2.0 ** -random.randrange(20, 53)))
        else:
            found.append(-math.ldexp(random.uniform(0.5, 1), -random.randrange(-9, 60)))
    return found


@dataclass(frozen=True)
class Errors:
    """What one path does with the points."""

    normal: float
    """The largest |fl(exp x) - exp x| / (2^-53 exp x) where exp x is a normal double."""
    at: float
    """The x of it."""
    subnormal: float
    """The largest absolute error elsewhere, in units of 2^-1074."""
    nearest: float
    """The share of the results that are the nearest double: paths that differ there are
    different.
    """


def reference(xs: Sequence[float]) -> list[tuple[int, int]]:
    """exp of each x as (n, e): n * 2^e, n of 120 bits."""
    import mpmath

    found = []
    with mpmath.workprec(BITS):
        for x in xs:
            _, mantissa, exponent, _ = mpmath.exp(mpmath.mpf(x))._mpf_
            found.append((int(mantissa), int(exponent)))
    return found


def errors(xs: Sequence[float], true: Sequence[tuple[int, int]], given: Sequence[float]) -> Errors:
    """Compare in integers: nothing is rounded before the last division."""
    worst, at, below, nearest = 0.0, 0.0, 0.0, 0
    for x, (n, e), y in zip(xs, true, given, strict=True):
        if not math.isfinite(y):
            return Errors(math.inf, x, math.inf, 0.0)
        p, q = y.as_integer_ratio()
        scaled, shift = n << max(0, e), max(0, -e)
        gap = abs((p << shift) - scaled * q)  # |y - exp x| in units of 2^-shift / q
        nearest += y == scaled / (1 << shift)
        if x >= SMALLEST_NORMAL:
            worst, at = max((worst, at), (gap / (scaled * q) / UNIT, x))
        else:
            below = max(below, (gap << 1074) / (q << shift))
    return Errors(worst, at, below, nearest / len(xs))


# ---- the paths -----------------------------------------------------------------------------------

TORCH = """
import sys, torch
from tinyadder.machine.layers import softmax1
capability, *ways = sys.argv[1:]
if capability not in ("", torch.backends.cpu.get_cpu_capability().replace(" ", "").lower()):
    sys.exit(f"this processor has {torch.backends.cpu.get_cpu_capability()}")
if "cuda" in ways and not torch.cuda.is_available():
    sys.exit("no CUDA device")
torch.set_num_threads(1)
xs = torch.frombuffer(bytearray(sys.stdin.buffer.read()), dtype=torch.float64)

def strided(x):
    wide = torch.zeros(len(x), 3, dtype=torch.float64)
    wide[:, 1] = x
    return torch.exp(wide[:, 1])

def of_the_machine(x):
    seen, inner = [], torch.exp
    torch.exp = lambda scores: seen.append(inner(scores)) or seen[-1]
    softmax1(x)  # the largest score, 0, is subtracted first
    torch.exp = inner
    return seen[0]

compute = {
    "whole": torch.exp,
    "strided": strided,
    "tails": lambda x: torch.cat([torch.exp(x[k : k + 3].clone()) for k in range(0, len(x), 3)]),
    "single": lambda x: torch.stack([torch.exp(one) for one in x]),
    "softmax1": of_the_machine,
    "compile": lambda x: torch.compile(torch.exp)(x),
    "cuda": lambda x: torch.exp(x.cuda()).cpu(),
}
for way in ways:
    sys.stdout.buffer.write(compute[way](xs).contiguous().numpy().tobytes())
"""

NODE = """
const bytes = require("fs").readFileSync(0);
const xs = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
process.stdout.write(Buffer.from(Float64Array.from(xs, Math.exp).buffer));
"""


class NotHere(Exception):
    """A path that this machine does not have."""


def asked(command: Sequence[str], xs: Sequence[float], **environment: str) -> list[float]:
    """What a program answers that reads doubles and writes doubles."""
    done = subprocess.run(
        command,
        input=struct.pack(f"<{len(xs)}d", *xs),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise NotHere(lines[-1][:90])
    return list(struct.unpack(f"<{len(done.stdout) // 8}d", done.stdout))


def onnxruntime_path(xs: Sequence[float]) -> list[float]:
    """One Exp node."""
    if not all(find_spec(name) for name in ("onnx", "onnxruntime")):
        raise NotHere("onnx and onnxruntime are not installed")
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    double = TensorProto.DOUBLE
    ends = [helper.make_tensor_value_info(name, double, [None]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Exp", ["x"], ["y"])], "exp", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": np.array(xs)})[0].tolist()


def node_path(xs: Sequence[float]) -> list[float]:
    """Math.exp of V8."""
    if shutil.which("node") is None:
        raise NotHere("node is not installed")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "exp.js"
        script.write_text(NODE)
        return asked(["node", str(script)], xs)


def numpy_path(xs: Sequence[float]) -> list[float]:
    import numpy as np

    return np.exp(np.array(xs)).tolist()


WAYS = {
    "whole": "whole tensor",
    "strided": "strided tensor",
    "tails": "tails of 3",
    "single": "single numbers",
}
TORCHES = {
    ("avx512", tuple(WAYS)): "torch, AVX-512",
    ("avx2", tuple(WAYS)): "torch, AVX2",
    ("default", tuple(WAYS)): "torch, no vectors",
    ("", ("softmax1",)): "torch, in the machine",
    ("", ("compile",)): "torch.compile",
    ("", ("cuda",)): "torch, CUDA",
}
"""(vector instructions, as torch's own variable names them; ways): what it is called."""
OTHERS: dict[str, Callable[[Sequence[float]], list[float]]] = {
    "onnxruntime": onnxruntime_path,
    "V8 (node)": node_path,
    "numpy": numpy_path,
    "C library (Python)": lambda xs: [math.exp(x) for x in xs],
}


def answers(xs: Sequence[float]) -> Iterator[tuple[str, list[float] | str]]:
    """By path: what it gives for each number, or why it was not measured."""
    for (capability, ways), name in TORCHES.items():
        chosen = {"ATEN_CPU_CAPABILITY": capability} if capability else {}
        try:
            found = asked([sys.executable, "-c", TORCH, capability, *ways], xs, **chosen)
        except NotHere as reason:
            yield name, str(reason)
            continue
        for k, way in enumerate(ways):
            one = f"{name}, {WAYS[way]}" if way in WAYS else name
            yield one, found[k * len(xs) : (k + 1) * len(xs)]
    for name, path in OTHERS.items():
        try:
            yield name, path(xs)
        except NotHere as reason:
            yield name, str(reason)


def measure(count: int, seed: int) -> dict[str, Errors | str]:
    """By path: its largest errors, or why it was not measured."""
    xs = points(count, seed)
    true = reference(xs)
    return {
        name: given if isinstance(given, str) else errors(xs, true, given)
        for name, given in answers(xs)
    }


def line(name: str, found: Errors | str) -> str:
    """One path in words."""
    if isinstance(found, str):
        return f"{name:34} not measured: {found}"
    word = "ok   " if found.normal <= ASSUMED else "WORSE"
    return (
        f"{name:34} {word} {found.normal:.3f} at x = {found.at:<20.14g} nearest in "
        f"{found.nearest:.2%}; subnormal: off by {found.subnormal:.3g} of 2^-1074"
    )


def main(arguments: Sequence[str]) -> int:
    """One line a path, then what is assumed and what is outside."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numerics", description=__doc__)
    parser.add_argument("--points", type=int, default=40_000, help="numbers tried on every path")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help=f"write {KEPT.name}")
    given = parser.parse_args(arguments)
    found = measure(given.points, given.seed)
    print("largest error of exp x, x <= 0, in units of 2^-53 exp x; assumed: 4 (2^-51 exp x)")
    for name, one in found.items():
        print(line(name, one))
    for key, assumed in NUMERICS.items():
        print(f"{key:11} {assumed}")
    if given.save:
        data = {
            "command": f"python -m benchmarks.numerics --points {given.points} --seed {given.seed}",
            "date": datetime.now(UTC).date().isoformat(),
            "python": platform.python_version(),
            "assumed": ASSUMED,
            "paths": {k: v if isinstance(v, str) else vars(v) for k, v in found.items()},
        }
        KEPT.write_text(json.dumps(data, indent=1) + "\n")
    measured = [one for one in found.values() if not isinstance(one, str)]
    return int(any(one.normal > ASSUMED or one.subnormal > 2.0**52 for one in measured))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
