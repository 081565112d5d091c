"""Parity of any number of bits, one step a token: y_k = y_(k-1) xor b_k. 20 weights and 1 slope at
every length.

A transformer of fixed depth that must answer at once needs more weights for more bits
(parity_once); writing down the parity of every beginning takes two: the last one written, and the
next bit. '^' and '=' start the same falling lane u (r^p at place p), so that places of the word and
of the answer can be compared: the query at place k-1 looks for the key nearest to r^k, score -l (r
u_q - u_k)^2. Nothing but bit k is there: the answer has only come to k-1.

Positions: '^' at 0, bit p at p, '=' at g = length+1, answer p at g+p. u = r^p, r = e^(-2/g), lies
in e^-2 .. 1, so the nearest key leads by l (1-r)^2 r^(2p) >= l (1-r)^2 e^-4 = 60, and the 1 of
softmax1 by more.
"""

from fractions import Fraction
from math import exp

from tinyadder.construction import Construction, LaneClaim, token_claim
from tinyadder.dsl import MLP, Attention, Embed, Head, Program, Stream, Unembed, relu
from tinyadder.lang.gadgets import match_head, square
from tinyadder.tasks.options import check_option
from tinyadder.tasks.parity import Parity

LARGEST = 1000
"""The widest that is tested; nothing in the construction ends there."""


def construct(*, length: int = 16) -> Construction:
    """Exact for words of `length` bits, tried up to 1000. Raises `TinyadderError` beyond."""
    check_option("parity", "length", length, 1, LARGEST)
    x = Stream(
        bit="the bit, also of the answer so far; then without what both bits have in common, twice",
        start="where places are counted from",
        place="u = r^p at place p of the word or of the answer",
        square="u^2",
        next="the bit of the word at the place after this one",
    )
    g = length + 1
    r = exp(-2 / g)
    sharp = 60 * exp(4) / (1 - r) ** 2
    starts = {"^": 1, "=": 1 - r**g}
    program = Program(
        Parity(length=length).vocabulary,
        x,
        Embed(bit={"1": 1}, start=starts),
        Attention(place=Head(query=1, key=-45, value=exp(45) * x.start, slope=2 / g)),
        MLP(square=square(x.place)),
        Attention(next=match_head(r * x.place, x.place, x.square, x.bit, sharpness=sharp)),
        MLP(bit=-2 * relu(x.bit) * x.next),
        Unembed(argmax={"0": 0.5, "1": x.bit + x.next}),
    )
    task = Parity(length=length)

    return Construction(program, task, _claims(task, starts))


def _claims(task: Parity, starts: dict[str, float]) -> dict[str, LaneClaim]:
    """Places everywhere, bits from '=' on."""
    g = task.length + 1

    def following(problem: str, i: int) -> int | None:
        return int(problem[i - g]) if i >= g else None

    def uncommon(problem: str, i: int) -> int | None:
        after = following(problem, i)
        return (
            None
            if after is None
            else (i > g and int(task.answer(problem)[i - g - 1])) * (1 - 2 * after)
        )

    def place(problem: str, i: int) -> Fraction:
        return Fraction(exp(-2 / g * (i if i < g else i - g)))

    return {
        "bit": uncommon,
        "start": token_claim(task, starts),
        "place": place,
        "square": lambda problem, i: place(problem, i) ** 2,
        "next": following,
    }
