"""How often a stranger's adder is wrong: an estimate with a confidence interval.

Uniform random sums meet a rare failure rarely, and most failures have to do with carries. So the
10^20 pairs are divided by the longest run of columns that a carry goes through, 0 to 10 (strata).
How many pairs each has is counted exactly, sums are drawn uniformly within each, every stratum as
often as the others; the estimate weights each stratum's share of wrong answers by its size.

Two intervals, each at half of the error allowed, both always right together with the stated
confidence at least; what is reported is their intersection:

- strata: the exact (Clopper-Pearson) interval of each stratum, at 1 / 11 of the error each, added
  with the weights;
- uniform: the exact interval of sums drawn uniformly from all pairs.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from itertools import accumulate
from random import Random
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.tasks.pairs import Pair
from tinyadder.text import Shown
from tinyadder.verify.external.judge import SECONDS, Judge, OutOfBudget
from tinyadder.verify.external.recording import DIGITS
from tinyadder.verify.external.submission import Submission
from tinyadder.verify.properties import Progress

STRATA = DIGITS + 1
CONFIDENCE = 0.95
TRUSTED = 50
"""Sums that the file's own `add` must get wrong as well before the verifier's decoding counts
alone."""
ALL = 10 ** (2 * DIGITS)

SumState = tuple[int, int, int]
"""Carry into the column, length of its run so far, longest run so far."""


def _step(state: SumState, column_sum: int) -> SumState:
    carry, run, longest = state
    carry = int(column_sum + carry >= 10)
    run = run + 1 if carry else 0
    return carry, run, max(longest, run)


@cache
def count(columns: int, state: SumState, chain: int) -> int:
    """How many ways there are to fill this many more columns so that the longest run is `chain`.

    >>> sum(count(10, (0, 0, 0), chain) for chain in range(11)) == 10**20
    True
    """
    if state[2] > chain:
        return 0
    if columns == 0:
        return int(state[2] == chain)
    return sum(
        _pairs(total) * count(columns - 1, _step(state, total), chain) for total in range(19)
    )


def _pairs(total: int) -> int:
    """Pairs of digits with this sum."""
    return 10 - abs(9 - total)


def size(chain: int) -> int:
    """Pairs of ten-digit numbers whose longest run of carries is `chain`."""
    return count(DIGITS, (0, 0, 0), chain)


@cache
def _ways(columns: int, state: SumState, chain: int) -> list[int]:
    """By the sum of the next column, the ways to go on, added up."""
    ways = (_pairs(s) * count(columns - 1, _step(state, s), chain) for s in range(19))
    return list(accumulate(ways))


def drawn(random: Random, chain: int) -> Pair:
    """A pair of the stratum, each equally likely."""
    state, a, b = (0, 0, 0), 0, 0
    for column in range(DIGITS):
        ways = _ways(DIGITS - column, state, chain)
        total = bisect_right(ways, random.randrange(ways[-1]))
        first = random.randint(max(0, total - 9), min(9, total))
        a, b = a + first * 10**column, b + (total - first) * 10**column
        state = _step(state, total)
    return a, b


def chain_of(pair: Pair) -> int:
    """The longest run of columns that a carry goes through.

    >>> [chain_of(pair) for pair in ((1, 2), (5, 5), (95, 5), (505, 505))]
    [0, 1, 2, 1]
    """
    a, b = pair
    state = (0, 0, 0)
    for column in range(DIGITS):
        state = _step(state, a // 10**column % 10 + b // 10**column % 10)
    return state[2]


def exact_interval(wrong: int, asked: int, error: float) -> tuple[float, float]:
    """The Clopper-Pearson interval of a share, of which `wrong` of `asked` were seen: each end
    misses with a probability of at most error / 2.

    The ends solve P(X >= wrong) = error / 2 and P(X <= wrong) = error / 2 for a binomial X; found
    by bisection, the outer end of the last bracket. Source: Clopper and Pearson, Biometrika 26
    (1934).

    >>> [round(end, 4) for end in exact_interval(0, 100, 0.05)], exact_interval(0, 0, 0.05)
    ([0.0, 0.0362], (0.0, 1.0))
    """
    low = 1 - _upper(asked - wrong, asked, error / 2) if wrong else 0.0
    return low, 1.0 if wrong == asked else _upper(wrong, asked, error / 2)


def _upper(wrong: int, asked: int, tail: float) -> float:
    """The smallest share (of a bisection) at which at most `wrong` of `asked` are that unlikely."""
    if wrong == asked:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if _at_most(wrong, asked, middle) < tail else (middle, high)
    return high


def _at_most(wrong: int, asked: int, share: float) -> float:
    """P(X <= wrong), X binomial (asked, share): the side of the tail is added up term by term."""
    if share >= 1:
        return 0.0
    below = wrong < asked * share
    k = wrong if below else wrong + 1
    term = math.exp(
        math.lgamma(asked + 1)
        - math.lgamma(k + 1)
        - math.lgamma(asked - k + 1)
        + k * math.log(share)
        + (asked - k) * math.log1p(-share)
    )
    total, odds = 0.0, share / (1 - share)
    while term > total * 1e-18 and 0 <= k <= asked:
        total += term
        term *= k / ((asked - k + 1) * odds) if below else (asked - k) / (k + 1) * odds
        k += -1 if below else 1
    return total if below else 1 - total


@dataclass(frozen=True)
class Stratum:
    """The pairs whose longest run of carries is `chain`, and what was seen of them."""

    chain: int
    pairs: int
    """How many there are."""
    asked: int
    wrong: int


@dataclass(frozen=True, repr=False)
class Estimate(Shown):
    """How often an adder is wrong, as a share of all 10^20 pairs."""

    share: float
    low: float
    high: float
    confidence: float
    strata: tuple[Stratum, ...]
    uniform: tuple[int, int]
    """Asked of all pairs alike, and wrong among them; they are counted in the strata, too."""
    example: Pair | None
    """A pair that it gets wrong."""
    decoding: str
    sums_per_second: float
    seconds: float
    seed: int

    @property
    def asked(self) -> int:
        return sum(stratum.asked for stratum in self.strata)

    @property
    def wrong(self) -> int:
        return sum(stratum.wrong for stratum in self.strata)

    def lines(self) -> list[str]:
        """The interval, then what it rests on."""
        between = f"between {self.low:.3g} and {self.high:.3g} ({self.confidence:.0%} confidence)"
        found = [f"wrong      about {self.share:.3g} of all pairs, {between}"]
        if self.example is not None:
            a, b = self.example
            found.append(f"example    {a} + {b}")
        found.append(f"asked      {self.asked:,} sums, {self.wrong:,} wrong, seed {self.seed}")
        for s in self.strata:
            part = f"{s.pairs / ALL:9.3g} of all pairs"
            seen = f"{s.asked:>7,} asked, {s.wrong:,} wrong"
            found.append(f"           longest run of carries {s.chain:>2}: {part}, {seen}")
        speed = f"{self.sums_per_second:,.0f} sums a second, {self.seconds:.1f} s"
        return [*found, f"decoding   {self.decoding}", f"speed      {speed}"]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def interval(
    strata: Sequence[Stratum], uniform: tuple[int, int], error: float
) -> tuple[float, float]:
    """The share of all pairs that are wrong, with a probability of at least 1 - error."""
    ends = [exact_interval(s.wrong, s.asked, error / 2 / len(strata)) for s in strata]
    low, high = (
        sum(s.pairs / ALL * end[side] for s, end in zip(strata, ends, strict=True))
        for side in (0, 1)
    )
    asked, wrong = uniform
    other = exact_interval(wrong, asked, error / 2)
    return max(low, other[0]), min(high, other[1])


def estimate(
    submission: Submission,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    sums: int | None = None,
    progress: Progress | None = None,
) -> Estimate:
    """Ask sums of every stratum, and uniform ones, for about `seconds` (or until there are `sums`),
    and estimate.

    Wrong is what the verifier's decoding gets wrong; of the first `TRUSTED` such sums the file's
    own `add` is asked, and where it is right on one, on all. Raises `TinyadderError`, one line,
    as `judge` does, and where no answer came in time.
    """
    if seconds <= 0 or not 0 < confidence < 1:
        raise TinyadderError(
            f"seconds={seconds:g}, confidence={confidence:g}; expected more than 0, and less than 1"
            " for the confidence"
        )
    with submission.session() as session:
        return _estimate(Judge(session, seconds, seed), confidence, sums, progress)


def _estimate(
    asked: Judge, confidence: float, sums: int | None, progress: Progress | None
) -> Estimate:
    random, began = Random(asked.seed), time.monotonic()
    seen, wrong = [0] * STRATA, [0] * STRATA
    uniform = [0, 0]
    example: Pair | None = None
    told = progress or (lambda name, done, total: None)
    with suppress(OutOfBudget):
        asked.prepare()
        while sums is None or sum(seen) < sums:
            each = max(
                1, asked.sizes["draft" if asked.causal else "greedy" if asked.own else "add"] // 24
            )
            some = [drawn(random, chain) for chain in range(STRATA) for _ in range(each)]
            every = [
                (random.randrange(10**DIGITS), random.randrange(10**DIGITS))
                for _ in range(each * STRATA)
            ]
            bad = confirmed(asked, asked.wrong([*some, *every]))
            example = example or next(iter(sorted(bad, key=sum)), None)
            for pair in (*some, *every):
                seen[chain_of(pair)] += 1
            for pair in bad:
                wrong[chain_of(pair)] += 1
            uniform[0] += len(every)
            uniform[1] += sum(pair in bad for pair in every)
            done = time.monotonic() - began
            told("estimate", int(min(done, asked.seconds)), int(asked.seconds))
    if not sum(seen):
        raise TinyadderError(f"not one answer within {asked.seconds:g} s")
    strata = tuple(Stratum(c, size(c), seen[c], wrong[c]) for c in range(STRATA))
    share = sum(s.pairs / ALL * s.wrong / s.asked for s in strata if s.asked)
    low, high = interval(strata, (uniform[0], uniform[1]), 1 - confidence)
    return Estimate(
        share=share,
        low=low,
        high=high,
        confidence=confidence,
        strata=strata,
        uniform=(uniform[0], uniform[1]),
        example=example,
        decoding=asked.described(),
        sums_per_second=asked.asked / asked.busy if asked.busy else 0.0,
        seconds=time.monotonic() - began,
        seed=asked.seed,
    )


def confirmed(asked: Judge, wrong: Sequence[Pair]) -> set[Pair]:
    """Those of `wrong` that count: of the first `TRUSTED` the file's own `add` is asked."""
    if not asked.own:
        return set(wrong)
    found = set[Pair]()
    for pair in wrong:
        if len(asked.trusted) >= TRUSTED and not asked.unconfirmed:
            found.add(pair)
        elif asked.confirmed(pair) is not None:
            found.add(pair)
            asked.trusted.add(pair)
    return found
