"""What a proof of a trained model assumes of binary32, measured: `python -m benchmarks.numerics32
[--points N] [--seed S]`.

Rows: exp of x <= 0, rsqrt, silu, sigmoid, tanh and the whole of RMSNorm, in units of 2^-24 of the
result; gelu, by erf and by tanh, in units of 2^-24 of the argument; LayerNorm in units of 2^-24 of
the largest argument times the factor that the norm has. On every path torch has here: each set of
vector instructions, whole and strided tensors, tails shorter than a vector, single numbers. The
truth is computed in binary64, whose own error is below 2^-28 of these units. Exit code 1 where a
path is worse than assumed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from tinyadder.verify.certify.check import graph
from tinyadder.verify.certify.check.rounding import ULPS

WIDTH = 4
ASSUMED = {
    **ULPS,
    "sigmoid": graph.ULPS["sigmoid"],
    "tanh": graph.ULPS["tanh"],
    "gelu": graph.OF_ARGUMENT["gelu"],
    "gelu tanh": graph.OF_ARGUMENT["gelu_tanh"],
    "rms norm": WIDTH + 4 + ULPS["rsqrt"],
    "layer norm": WIDTH + 8,
}
"""RMSNorm: n + 2 roundings in the mean and the sum with epsilon, two products, and an rsqrt.
LayerNorm: n + 1 in the mean, one in the difference, and of the rest at least what follows it."""
PATHS = """
import sys, torch
capability, (count, seed, width) = sys.argv[1], map(int, sys.argv[2:])
if torch.backends.cpu.get_cpu_capability().replace(" ", "").lower() != capability:
    sys.exit(f"this processor has {torch.backends.cpu.get_cpu_capability()}")
torch.set_num_threads(1)
generator = torch.Generator().manual_seed(seed)
draw = lambda low, high: torch.empty(count).uniform_(low, high, generator=generator)
below = torch.cat([draw(-87, 0), -(2.0 ** draw(-30, 6.4))])
edges = -torch.arange(1, 8000) * 0.6931471805599453 / 64
below = torch.cat([below, edges[edges > -87]])
positive = 2.0 ** draw(-60, 60)
either = torch.cat([draw(-60, 60), draw(-3, 3), 2.0 ** draw(-30, 0), -(2.0 ** draw(-30, 0))])
rows = torch.randn(count, width, generator=generator) * 2.0 ** draw(-6, 12)[:, None]
norm = torch.nn.RMSNorm(width, eps=1e-6)
layer = torch.nn.LayerNorm(width, eps=1e-5)
factor = lambda x: (x.var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
exact_layer = lambda x: (x - x.mean(-1, keepdim=True)) * factor(x)
shifted = rows + 2.0 ** draw(-6, 12)[:, None]
itself = lambda x: x
gelu = torch.nn.functional.gelu
tanh_gelu = lambda x: gelu(x, approximate="tanh")
normal = lambda x: torch.special.erfc(-x * 0.5**0.5) / 2
inner = lambda x: (8 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)
exact_norm = lambda x: x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
functions = {
    "exp": (torch.exp, torch.exp, below),
    "sigmoid": (torch.sigmoid, torch.sigmoid, either),
    "tanh": (torch.tanh, torch.tanh, either),
    "gelu": (gelu, lambda x: x * normal(x), either, itself),
    "gelu tanh": (tanh_gelu, lambda x: x * torch.sigmoid(inner(x)), either, itself),
    "layer norm": (
        layer, exact_layer, shifted, lambda x: x.abs().amax(-1, keepdim=True) * factor(x)
    ),
    "rsqrt": (torch.rsqrt, lambda x: 1 / x.sqrt(), positive),
    "silu": (torch.nn.functional.silu, lambda x: x / (1 + (-x).exp()), either),
    "rms norm": (norm, exact_norm, rows),
}

def strided(f, x):
    wide = torch.zeros(*x.shape, 3)
    wide[..., 1] = x
    return f(wide[..., 1])

ways = {
    "whole": lambda f, x: f(x),
    "strided": strided,
    "tails of 3": lambda f, x: torch.cat([f(part.clone()) for part in x[: count // 40].split(3)]),
    "single": lambda f, x: torch.stack([f(one.clone()) for one in x[: count // 40]]),
}
with torch.no_grad():
    for name, (computed, exact, x, *scale) in functions.items():
        for way, run in ways.items():
            given = run(computed, x).double()
            true = exact(x[: len(given)].double())
            size = scale[0](x[: len(given)].double()) if scale else true
            error = ((given - true).abs() / size.abs() * 2.0**24).nan_to_num(0)
            print(f"{name}\\t{way}\\t{float(error.max()):.3f}")
"""


def measure(capability: str, count: int, seed: int) -> list[tuple[str, str, float]] | str:
    """(function, way, largest error) in a process with these vector instructions, or why not."""
    done = subprocess.run(
        [sys.executable, "-c", PATHS, capability, str(count), str(seed), str(WIDTH)],
        capture_output=True,
        text=True,
        env={**os.environ, "ATEN_CPU_CAPABILITY": capability},
        check=False,
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1][:90]
    rows = [row.split("\t") for row in done.stdout.splitlines()]
    return [(name, way, float(error)) for name, way, error in rows]


def main(arguments: list[str]) -> int:
    """One line a function and path."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numerics32", description=__doc__)
    parser.add_argument("--points", type=int, default=200_000, help="numbers tried on every path")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    print("largest errors in units of 2^-24 of the result")
    worse = False
    for capability in ("avx512", "avx2", "default"):
        found = measure(capability, given.points, given.seed)
        if isinstance(found, str):
            print(f"{capability:8} not measured: {found}")
            continue
        for name, way, error in found:
            word = "ok" if error <= ASSUMED[name] else "WORSE"
            worse |= error > ASSUMED[name]
            print(
                f"{capability:8} {name:10} {way:11} {error:7.3f} assumed {ASSUMED[name]:3} {word}"
            )
    return int(worse)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
