"""The smallest adder: 25 nonzero weights, 27 with its two slopes; two layers, three lanes, tied
readout.

The remainder machine of `add10`, squeezed. Position j counts B^-j (slope -ln B in layer 1: far
tokens weigh more; B is the base, n the digits, g = n+1). So a needs no flag at all: its digits keep
weight 1. Digits of b must weigh B^g and those of the answer -B^(2g+1) to land on the same places;
'+' and '=' start these groups, and the MLP multiplies.

- Layer 0, slope -3 ln B: the first tokens hold almost all attention, so what a flag adds stays
  constant behind it: lane `group` is a step function W, 0 in a, B^g - 1 in b, -B^(2g+1) - 1 from
  '=' on. MLP: digit += digit * W.
- Layer 1: X = the weighed sum of the digits = R/B, what is left of a + b. Y = the weighed sum of
  `group` itself. A step summed with weights B^-j is a constant less the tail that is still to come,
  and that tail is place/(B-1): flag size against step (the weight `spread`) is chosen so that the
  constant vanishes. X and Y come from one head, so they share its denominator, and nothing has to
  be small: no query, no key, no bias.
- Readout: argmax over d of d R - d(d+1)/2 place is floor(R/place). Shifted by half the base, that
  is d (R - B/2 place) + d(B-1-d)/2 place: the second column is now zero for the first and the last
  digit, which is one weight fewer than a parabola with its vertex at 0, and the shift is free, as Y
  is wired to both readout lanes.
"""

from fractions import Fraction

import numpy as np

from tinyadder.construction import Construction, LaneClaim
from tinyadder.dsl import (
    MLP,
    Attention,
    Embed,
    Head,
    Program,
    Stream,
    Unembed,
    concat,
    derived,
    relu,
    shared,
    token_value,
)
from tinyadder.errors import TinyadderError
from tinyadder.tasks.addition import DIGITS, Addition

LARGEST = 10**12
"""Largest base^(digits+2) for which it can be proved: the rounding of scores, exponentials and sums
must stay below the smallest distance of a remainder to a boundary, 1/B of a unit of the last place.
"""


def construct(*, digits: int = 10, base: int = 10) -> Construction:
    """Exact while base^(digits+2) <= 10^12: up to 10 decimal digits, 37 bits. Raises
    `TinyadderError` beyond.

    2 base + 5 nonzero weights, and two slopes.
    """
    task = Addition(digits=digits, base=base)
    if base ** (digits + 2) > LARGEST:
        raise TinyadderError(
            f"add10_smallest with {digits} digits in base {base}: float64 keeps it exact while"
            " base^(digits+2) <= 1e12"
        )
    g, start = digits + 1, Fraction(base)
    # token: position, jump of W
    steps = {"+": (g, start**g - 1), "=": (2 * g, -(start ** (2 * g + 1)) - start**g)}
    decay = start**-3  # layer 0 gives token j the share (1 - decay) decay^j of the attention
    flags = {token: jump / decay**at / (1 - decay) for token, (at, jump) in steps.items()}
    # Y = sum over flags of start^-at (flag / spread + jump start / (start-1)), a constant, plus
    # place/(start-1). Not quite zero: it puts the boundary of digit d the part d/B of a last-place
    # unit below the exact remainder.
    constant = -(start**-digits) / (start - 1)
    tails = sum(jump * start**-at for at, jump in steps.values()) * start / (start - 1)
    spread = sum(flags[token] * start**-at for token, (at, _) in steps.items()) / (constant - tails)
    # lifts X above what the query's own token leaves in its lane, digit * W
    gain = 1e9 * float(base) ** (3 * g)
    x = Stream(
        digit=(
            "the digit; after the MLP the digit times 1, B^g, -B^(2g+1) in a, b, answer; at the"
            " query also X and Y"
        ),
        parabola="-d(B-1-d)/B for the readout; at the query the place Y",
        group="flag of '+' and '='; after layer 0 also the step W",
    )
    d = token_value
    names = DIGITS[:base]
    sums = Head(value=concat(gain * x.digit, -(base - 1) / 2 * gain * x.group), slope=-np.log(base))
    program = Program(
        task.vocabulary,
        x,
        Embed(
            digit=derived(d, names),
            parabola=derived(d * (base - 1 - d) / shared(-base), names),
            group={token: float(flag / spread) for token, flag in flags.items()},
        ),
        Attention(group=Head(value=float(spread) * x.group, slope=-3 * np.log(base))),
        MLP(digit=relu(x.digit) * x.group),
        Attention(digit=sums[0] + sums[1], parabola=sums[1]),
        Unembed(tied=names),
    )
    return Construction(program, task, _claims(task, gain))


def _claims(task: Addition, gain: float) -> dict[str, LaneClaim]:
    """What the lanes hold after '=': the remainder in `digit`, its place in `parabola`, the step in
    `group`.
    """
    base, n, g = task.base, task.digits, task.digits + 1
    # attention is spread over weights B^-j, which add up to B/(B-1)
    scale = Fraction(gain) * (base - 1) / base

    def shifted(i: int) -> Fraction:
        """The place at position i, weighed by -1/2, and the half unit that the constant of Y
        amounts to.
        """
        return -(Fraction(base) ** (1 - (i - 2 * g))) / 2 + Fraction(1, 2 * base**n)

    def digit(problem: tuple[int, ...], i: int) -> Fraction | None:
        if i < 2 * g:
            return None
        left = sum(problem) % base ** (n + 1 - (i - 2 * g))
        read = (task.prompt(problem) + task.answer(problem))[i]
        own = 0 if read == "=" else -DIGITS.index(read) * base ** (2 * g + 1)
        return scale * (Fraction(left, base**n) + shifted(i)) + own

    def group(problem: tuple[int, ...], i: int) -> int | None:
        if i in (g, 2 * g):
            return None  # the flag itself stands here
        return 0 if i < g else base**g - 1 if i < 2 * g else -(base ** (2 * g + 1)) - 1

    return {
        "digit": digit,
        "parabola": lambda problem, i: None if i < 2 * g else scale * shifted(i),
        "group": group,
    }
