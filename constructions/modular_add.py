"""(a + b) mod p with residues as tokens: a mean, a sigmoid, a parabola. 2p + 4 weights, no MLP,
tied readout.

Training finds circles and Fourier components for this task; adding and subtracting p is cheaper.
Layer 0 averages what stands before '=' (two residues, six with softmax1's own: times 6 it is the
sum). Layer 1 needs a threshold: softmax1 of equal scores s is 5 e^s / (1 + 5 e^s), so with s = 80
(sum - p + 1/2) it takes away p exactly when the sum reaches p. Then logit_d = d y - d^2 / 2 by the
embedding of d, whose second lane meets -1/2 at '='.
"""

from fractions import Fraction

from tinyadder.construction import Construction
from tinyadder.dsl import Attention, Embed, Program, Stream, Unembed
from tinyadder.lang.gadgets import mean_head, threshold_head
from tinyadder.tasks.modular_addition import ModularAddition


def construct(*, modulus: int = 113) -> Construction:
    """Exact for every modulus 2 .. 1000. Raises `TinyadderError` beyond."""
    task = ModularAddition(modulus=modulus)
    x = Stream(
        residue="the residue; a + b, then (a + b) mod p at '='", square="its square; -1/2 at '='"
    )
    d = range(1, modulus)
    program = Program(
        task.vocabulary,
        x,
        Embed(residue={str(i): i for i in d}, square={**{str(i): i * i for i in d}, "=": -0.5}),
        Attention(residue=mean_head(6 * x.residue)),
        Attention(residue=threshold_head(x.residue, -modulus, at=modulus - 0.5, sharpness=80)),
        Unembed(tied=[str(i) for i in range(modulus)]),
    )
    return Construction(
        program,
        task,
        {
            "residue": lambda problem, i: sum(problem) % modulus if i == 4 else None,
            "square": lambda problem, i: {
                1: problem[0] ** 2,
                3: problem[1] ** 2,
                4: Fraction(-1, 2),
            }.get(i, 0),
        },
    )
