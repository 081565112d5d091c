"""Close all open brackets: a stack without a stack. 5k + 5 weights for k kinds, two layers, no
slope, no unembedding.

Layer 0 adds up the depth. Layer 1 weighs every bracket by 3^level, with + if it opens and - if it
closes: a closed pair has one level and cancels, what is left is the stack, and the innermost
bracket outweighs all others together. An opener has its level = the depth behind it, a closer the
depth before it: depth -/+ 1/2 is level - 1/2 for both. '$' is wired to a lane so low that only
silence is lower.
"""

from fractions import Fraction
from math import log, sqrt

import numpy as np

from tinyadder.construction import Construction, LaneClaim
from tinyadder.dsl import Attention, Embed, Head, Program, Stream, Unembed, concat
from tinyadder.errors import TinyadderError
from tinyadder.lang.gadgets import sum_head
from tinyadder.tasks.dyck_completion import DyckCompletion


def construct(*, kinds: int = 2, length: int = 10, depth: int = 6) -> Construction:
    """Exact for beginnings of at most `length` brackets with at most `depth` open, kinds 1 .. 4.

    Raises `TinyadderError` where the rounding of closed pairs could reach what a lone outermost
    bracket weighs.
    """
    task = DyckCompletion(kinds=kinds, length=length, depth=depth)
    tokens = length + depth + 1
    lone = sqrt(3) / (1 + tokens * 3 ** (depth - 0.5))  # the least that an outermost bracket weighs
    if lone / tokens < 1e-11:
        raise TinyadderError(
            f"dyck_k: length={length}, depth={depth} is too deep for float64; 3^depth length^2 <"
            " 1e11"
        )
    x = Stream(
        closer=("how much stands open of each kind, the innermost most", kinds),
        end="below every open bracket, above none",
        kind=("+1 where a bracket of this kind opens, -1 where it closes", kinds),
        depth="brackets open behind this token",
    )
    sign = sum(x.kind[1:], x.kind[0])
    count = sum_head(concat(sign, 0.5 * lone / tokens))
    level = x.depth - sign / 2
    one = np.eye(kinds)
    program = Program(
        task.vocabulary,
        x,
        Embed(
            kind={
                **{a: one[i] for i, a in enumerate(task.openers)},
                **{z: -one[i] for i, z in enumerate(task.closers)},
            }
        ),
        Attention(depth=count[0], end=count[1]),
        Attention(closer=Head(query=1, key=log(3) * level, value=x.kind)),
        Unembed(argmax=(x.closer, x.end)),
    )
    return Construction(program, task, _claims(task, 0.5 * lone / tokens))


def _claims(task: DyckCompletion, faint: float) -> dict[str, LaneClaim]:
    root = Fraction(sqrt(3))

    def kind(problem: str, i: int) -> list[int]:
        read = (task.prompt(problem) + task.answer(problem))[i]
        return [(read == a) - (read == z) for a, z in zip(task.openers, task.closers, strict=True)]

    def depth(problem: str, i: int) -> int:
        return sum(sum(kind(problem, j)) for j in range(i + 1))

    def closer(problem: str, i: int) -> list[Fraction]:
        kinds = [kind(problem, j) for j in range(i + 1)]
        weights = [root ** (2 * depth(problem, j) - sum(kinds[j])) for j in range(i + 1)]
        whole = 1 + sum(weights)
        return [
            sum((w * k[c] for w, k in zip(weights, kinds, strict=True)), Fraction(0)) / whole
            for c in range(task.kinds)
        ]

    return {
        "closer": closer,
        "end": lambda problem, i: (i + 1) * Fraction(faint),
        "kind": kind,
        "depth": depth,
    }
