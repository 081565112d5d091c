"""Matrices of small whole numbers: transposed, added, multiplied, their rank, or the eigenvalues of
symmetric ones of two rows.

    ^ V2 V2 1 2 3 4 =               ->  V2 V2 1 3 2 4 $                   transpose
    ^ V2 V2 1 2 3 4 V2 V2 1 0 0 1 =  ->  V2 V2 2 2 3 5 $                   sum
    ^ V2 V2 1 2 2 4 =               ->  1 $                               rank
    ^ V2 V2 1 2 2 1 =               ->  V2 + 300 E-2 - 100 E-2 $          eigenvalues, largest first

Entries are one token each; eigenvalues are rounded to three significant digits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from random import Random
from typing import Annotated, Any, Literal

from tinyadder.encodings import Bounded, Encoding, Floats, Matrices, Vectors
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between
from tinyadder.plain import short
from tinyadder.tasks.base import Draw, Task
from tinyadder.tasks.problems import short_text, whole_numbers

MatrixRows = tuple[tuple[int, ...], ...]
MatrixProblem = tuple[MatrixRows, ...]
"""One matrix, or two that are added or multiplied."""


def rank(rows: MatrixRows) -> int:
    """The rank, by Gauss's elimination in fractions.

    >>> rank(((1, 2), (2, 4))), rank(((1, 2), (2, 5)))
    (1, 2)
    """
    left, pivots = [list(map(Fraction, row)) for row in rows], 0
    for column in range(len(rows[0])):
        pivot = next((row for row in left[pivots:] if row[column]), None)
        if pivot is None:
            continue
        left.remove(pivot)
        left.insert(pivots, pivot)
        for row in left[pivots + 1 :]:
            factor = row[column] / pivot[column]
            row[:] = [a - factor * b for a, b in zip(row, pivot, strict=True)]
        pivots += 1
    return pivots


def eigenvalues(rows: MatrixRows) -> tuple[Fraction, Fraction]:
    """Those of a symmetric matrix [[a, b], [b, d]], the larger first, to about 30 digits:
    (a + d +- sqrt((a - d)^2 + 4 b^2)) / 2.
    """
    (a, b), (_, d) = rows
    scale = 10**30
    root = Fraction(isqrt(((a - d) ** 2 + 4 * b * b) * scale * scale), scale)
    return (a + d + root) / 2, (a + d - root) / 2


@dataclass(frozen=True)
class Matrix(Task):
    """`operation` on matrices of `rows` x `rows` entries -largest .. largest."""

    operation: Literal["transpose", "sum", "product", "rank", "eigenvalues"] = "transpose"
    rows: Annotated[int, Between(1, 10)] = 2
    largest: Annotated[int, Between(1, 1000)] = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.operation == "eigenvalues" and self.rows != 2:
            raise TinyadderError(
                f"matrix: eigenvalues of {self.rows} rows; expected rows=2, whose eigenvalues are a"
                " formula"
            )

    @property
    def _count(self) -> int:
        return 2 if self.operation in ("sum", "product") else 1

    @property
    def _read(self) -> Matrices:
        return Matrices(Bounded(-self.largest, self.largest))

    @property
    def _written(self) -> Encoding:
        n = self.largest
        most = {"sum": 2 * n, "product": self.rows * n * n, "rank": self.rows}
        entry = Bounded(-most.get(self.operation, n), most.get(self.operation, n))
        if self.operation == "eigenvalues":
            return Vectors(Floats("P1000"))
        return entry if self.operation == "rank" else Matrices(entry)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(("^", "=", "$", *self._read.vocabulary, *self._written.vocabulary))
        )

    @property
    def end(self) -> str:
        return "$"

    @property
    def answer_length(self) -> int:
        one = (tuple(range(self.rows)),) * self.rows
        return len(self.answer((one,) * self._count)) if self.operation != "eigenvalues" else 8

    def prompt(self, problem: MatrixProblem) -> tuple[str, ...]:
        return ("^", *(t for rows in problem for t in self._read.encode(rows)), "=")

    def result(self, problem: MatrixProblem) -> Any:
        """What is asked for, exactly."""
        first, columns = problem[0], tuple(zip(*problem[-1], strict=True))
        match self.operation:
            case "transpose":
                return columns
            case "sum":
                return tuple(
                    tuple(a + b for a, b in zip(*pair, strict=True))
                    for pair in zip(*problem, strict=True)
                )
            case "product":
                return tuple(
                    tuple(
                        sum(a * b for a, b in zip(row, column, strict=True)) for column in columns
                    )
                    for row in first
                )
            case "rank":
                return rank(first)
        return eigenvalues(first)

    def answer(self, problem: MatrixProblem) -> tuple[str, ...]:
        return (*self._written.encode(self.result(problem)), self.end)

    def error(self, problem: MatrixProblem, answer: Sequence[str]) -> float | None:
        """|emitted - exact| / |exact| of the eigenvalues, as vectors."""
        if self.operation != "eigenvalues":
            return None
        right = self.result(problem)
        try:
            emitted = self._written.decode([token for token in answer if token != self.end])
        except TinyadderError:
            return float("inf")
        if len(emitted) != len(right):
            return float("inf")
        size = sum(abs(float(r)) ** 2 for r in right) ** 0.5
        away = sum(abs(f - float(r)) ** 2 for f, r in zip(emitted, right, strict=True)) ** 0.5
        return away / size if size else (0.0 if away == 0 else float("inf"))

    # ---- to and from people

    def _takes(self) -> str:
        return f"this task takes {self.show(self.uniform(Random(0), 1)[0])}"

    def check(self, problem: Any) -> MatrixProblem:
        shape = f"{self._count} of {self.rows} x {self.rows}"
        if isinstance(problem, str | bytes) or not hasattr(problem, "__len__"):
            raise TinyadderError(f"{short(problem)} is no matrices, {shape}; {self._takes()}")
        if len(problem) != self._count or any(
            not hasattr(rows, "__len__") or len(rows) != self.rows for rows in problem
        ):
            raise TinyadderError(f"{short(problem)} is not {shape}; {self._takes()}")
        limits = [(-self.largest, self.largest)] * self.rows
        matrices = tuple(
            tuple(whole_numbers(row, limits, self._takes()) for row in rows) for rows in problem
        )
        if self.operation == "eigenvalues" and matrices[0][0][1] != matrices[0][1][0]:
            raise TinyadderError(f"{short(problem)} is not symmetric; {self._takes()}")
        return matrices

    def parse(self, text: str) -> MatrixProblem:
        """Matrices as lists of rows: [[1, 2], [3, 4]]."""
        try:
            matrices = json.loads("[" + text.strip().replace("]]", "]],").rstrip(", ") + "]")
        except (ValueError, RecursionError):
            raise TinyadderError(
                f"'{short_text(text)}' is no list of rows; {self._takes()}"
            ) from None
        return self.check(matrices)

    def show(self, problem: MatrixProblem) -> str:
        return " ".join(str([list(row) for row in rows]) for rows in problem)

    def show_answer(self, answer: Sequence[str]) -> str:
        try:
            value = self._written.decode([token for token in answer if token != self.end])
        except TinyadderError:
            return " ".join(answer)
        if isinstance(value, tuple):
            return str([list(row) if isinstance(row, tuple) else row for row in value])
        return str(value)

    # ---- distributions

    def split_key(self, problem: MatrixProblem) -> MatrixProblem:
        """The matrices; either may come first in a sum, and transposing changes no rank and not
        more than the order of two equal diagonals' eigenvalues.
        """
        if self.operation == "sum":
            return tuple(sorted(problem))
        if self.operation == "eigenvalues":
            (a, b), (_, d) = problem[0]
            return ((min(a, d), abs(b), max(a, d)),), ()
        return problem

    def distinct_key(self, problem: MatrixProblem) -> MatrixProblem:
        return tuple(sorted(problem)) if self.operation == "sum" else problem

    def traits(self, problem: MatrixProblem) -> Mapping[str, int]:
        return {"rank": rank(problem[0])} if self.operation == "rank" else {}

    def _drawn(self, random: Random, entry: Draw) -> MatrixProblem:
        matrices = []
        for _ in range(self._count):
            rows = [[entry(random) for _ in range(self.rows)] for _ in range(self.rows)]
            if self.operation == "eigenvalues":
                rows[1][0] = rows[0][1]
            matrices.append(tuple(map(tuple, rows)))
        return tuple(matrices)

    def uniform(self, random: Random, count: int) -> list[MatrixProblem]:
        n = self.largest
        return [self._drawn(random, lambda r: r.randint(-n, n)) for _ in range(count)]

    def balanced(self, random: Random, count: int) -> list[MatrixProblem]:
        """For the rank every rank equally often, by products of two thin matrices; else uniform."""
        if self.operation != "rank":
            return self.uniform(random, count)
        return [self._of_rank(random, random.randint(0, self.rows)) for _ in range(count)]

    def _of_rank(self, random: Random, wanted: int) -> MatrixProblem:
        """A matrix whose rows are small combinations of `wanted` rows; its rank is at most that."""
        n, rows = self.largest, list[tuple[int, ...]]()
        for at in range(self.rows):
            if at < wanted or not rows:
                most = n if wanted else 0
                rows.append(tuple(random.randint(-most, most) for _ in range(self.rows)))
            else:
                factor, row = random.choice((-1, 0, 1)), random.choice(rows[: max(1, wanted)])
                rows.append(tuple(factor * entry for entry in row))
        random.shuffle(rows)
        return (tuple(rows),)

    def draws(self) -> list[Draw]:
        """Sparse matrices, matrices of the largest entries, and of low rank where that is asked."""
        n = self.largest
        draws: list[Draw] = [
            lambda random: self._drawn(random, lambda r: r.choice((0, 0, 0, 1, -1, n))),
            lambda random: self._drawn(random, lambda r: r.choice((n, -n, n - 1))),
        ]
        if self.operation == "rank":
            draws.append(lambda random: self.balanced(random, 1)[0])
        return draws

    def hard(self) -> list[MatrixProblem]:
        """Zero, one, all entries the largest or smallest, and one entry alone."""
        n, size = self.largest, range(self.rows)
        one = tuple(tuple(int(i == j) for j in size) for i in size)
        matrices = [one, *(((c,) * self.rows,) * self.rows for c in (0, 1, n, -n))]
        matrices += [tuple(tuple(n * (i == j == k) for j in size) for i in size) for k in size]
        if self._count == 1:
            return [(rows,) for rows in matrices]
        return [(a, b) for a in matrices for b in matrices]


TASK = Matrix
