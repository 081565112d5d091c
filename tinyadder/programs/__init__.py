"""Sequence programs that compile into transformers: write the algorithm, get the weights.

>>> from tinyadder.programs import compile, key, tokens
>>> x = tokens("abc")
>>> hist = (key(x) == x).count()
>>> hist("abcab")
[2, 2, 1, 2, 2]
>>> made = compile(hist, length=10)
>>> made.program.nonzero, made.copies
(38, 1)
"""

from tinyadder.programs.compiler import Compiled, Horizon, compile, horizon
from tinyadder.programs.graph import from_graph
from tinyadder.programs.language import (
    Selector,
    Seq,
    constant,
    everywhere,
    indices,
    key,
    lift,
    maximum,
    minimum,
    prefix,
    tokens,
    where,
)
from tinyadder.programs.values import Refused

__all__ = [
    "Compiled",
    "Horizon",
    "Refused",
    "Selector",
    "Seq",
    "compile",
    "constant",
    "everywhere",
    "from_graph",
    "horizon",
    "indices",
    "key",
    "lift",
    "maximum",
    "minimum",
    "prefix",
    "tokens",
    "where",
]
