"""The sum of two numbers in the format of a stranger's decoding, as automata: one for each pass.

A pass is a list of places; what stands at a place is a constant token, a digit of a or b, both
digits of a column, or a digit of the sum, each as a table of tokens. What the model must choose
next is a digit of the sum, by the index of a logit. The columns are read from the least significant
one; the state is the sum of the column so far, with what was carried into it.
"""

from __future__ import annotations

from typing import Any

from tinyadder.verify.certify.check.files import integer
from tinyadder.verify.certify.check.intervals import need
from tinyadder.verify.certify.check.specifications import Automaton, automaton

KINDS = {"constant": 1, "a": 10, "b": 10, "column": 100, "sum": 10}
"""What may stand at a place, and how many entries its table has: by digit; by 10 * digit of a +
digit of b."""


def passes(options: Any) -> list[Automaton]:
    """The specification of each pass: all texts up to the query, and the right choice behind.

    `options` has `digits` (of the operands), and `passes`: lists of [kind, index, table] with the
    choice last. Raises `Rejected` for a format that leaves out a digit or has one twice.
    """
    need(set(options) == {"digits", "passes", "smallest"}, "the format has other parts")
    digits = integer(options["digits"], 1, 100)
    need(type(options["smallest"]) is bool, "smallest is neither true nor false")
    found, written = [], []
    for places in options["passes"]:
        for kind, index, table in places:
            need(kind in KINDS, f"a place of kind {kind!r:.20}")
            integer(index, 0, digits)
            need(len(table) == KINDS[kind], "a table of another size")
            for token in table:
                integer(token, 0, 1 << 20)
        written.append(places[-1][1])
        need(places[-1][0] == "sum", "what is chosen is no digit of the sum")
        found.append(one(digits, places))
    need(sorted(written) == list(range(digits + 1)), "the passes do not write every digit once")
    return found


def one(digits: int, places: list[list[Any]]) -> Automaton:
    """The texts of one pass."""
    stages: list[tuple[int, Any]] = []
    for position, (kind, _, (token, *_)) in enumerate(places):
        if kind == "constant":
            stages.append((position, lambda s, t=str(token): [(t, s)]))
    for n in range(digits + 1):
        here = [
            (p, kind, table)
            for p, (kind, index, table) in enumerate(places)
            if kind != "constant" and index == n
        ]
        read = sorted((kind, p, table) for p, kind, table in here if kind != "sum")
        kinds = [kind for kind, _, _ in read]
        need(
            kinds == [] if n == digits else kinds in (["a", "b"], ["column"]),
            f"the digits of column {n} do not stand once each in a pass",
        )
        chosen = [(p, table) for p, kind, table in here if kind == "sum"]
        need(len(chosen) <= 1, f"digit {n} of the sum stands twice in a pass")
        for last, (kind, position, table) in zip(
            [False] * (len(read) - 1) + [True], read, strict=False
        ):
            carries = last and not chosen
            stages.append((position, reading(kind, table, carries)))
        for position, table in chosen:
            stages.append((position, writing(table)))
    # every carry out of the last column has been written: it is 0 or 1 before, 0 behind
    return automaton(len(places) - 1, stages, 0)


def reading(kind: str, table: list[int], carries: bool) -> Any:
    """A digit, or both of a column, is added to the state; where nothing is written in the column,
    what is carried goes on.
    """

    def step(state: int) -> list[tuple[str, int]]:
        entries = enumerate(table)
        added = [(t, d if kind != "column" else d // 10 + d % 10) for d, t in entries]
        moves = {(str(t), (state + d) // 10 if carries else state + d) for t, d in added}
        need(len({t for t, _ in moves}) == len(moves), "one token stands for two digits")
        return sorted(moves)

    return step


def writing(table: list[int]) -> Any:
    """The digit of the sum, and the carry goes on."""
    need(len(set(table)) == 10, "two digits of the sum are one token")
    return lambda state: [(str(table[state % 10]), state // 10)]
