"""Parity of n bits in one token: the zigzag of the count, one hinge for every bit. 4n + 3 weights,
one layer.

One layer sums the ones; a table of n hinges maps 0, 1, 2, 3, .. to 0, 1, 0, 1, .. . The price grows
with the number of bits: compare `parity`, which writes the way down and costs the same for any
number.
"""

from tinyadder.construction import Construction
from tinyadder.dsl import MLP, Attention, Embed, Program, Stream, Unembed
from tinyadder.lang.gadgets import mean_head, table_lookup
from tinyadder.tasks.options import check_option
from tinyadder.tasks.parity import Parity

LARGEST = 200
"""The widest that is tested; rounding would allow thousands."""


def construct(*, length: int = 8) -> Construction:
    """Exact for words of `length` bits, 1 to 200. Raises `TinyadderError` beyond."""
    check_option("parity_once", "length", length, 1, LARGEST)
    x = Stream(
        bit="the bit",
        ones="how many ones, at '='",
        odd="0, 1, 0, 1, .. for 0, 1, 2, 3, .. ones",
    )
    task = Parity(length=length, steps=False)
    program = Program(
        task.vocabulary,
        x,
        Embed(bit={"1": 1}),
        Attention(ones=mean_head((length + 3) * x.bit)),  # '=' stands at length + 1
        MLP(odd=table_lookup(x.ones, [k % 2 for k in range(length + 1)])),
        Unembed(argmax={"0": 0.5, "1": x.odd}),
    )
    return Construction(
        program,
        task,
        {
            "bit": lambda problem, i: int(task.prompt(problem)[i] == "1"),
            "ones": lambda problem, i: problem.count("1") if i == length + 1 else None,
            "odd": lambda problem, i: problem.count("1") % 2 if i == length + 1 else None,
        },
    )
