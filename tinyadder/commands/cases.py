"""Compile every program in a file of cases, run its test vectors through the model, and print a
table.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import click

from tinyadder.commands import _options as opt
from tinyadder.commands._output import echo, echo_json, show_table
from tinyadder.errors import TinyadderError
from tinyadder.fields import Between, from_json
from tinyadder.io.text import read_json
from tinyadder.plain import short

REFUSALS: frozenset[str] = frozenset()
"""Cases that are known to be refused; any other refusal is a failure."""


@dataclass(frozen=True, kw_only=True)
class Vector:
    """What a program must give for an input; None where nothing is owed."""

    input: tuple[Any, ...]
    output: tuple[Any, ...]

    def __post_init__(self) -> None:
        _check_tokens(self.input, "input")
        _check_tokens(self.output, "output")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A program of the file, what it is compiled for, and its vectors."""

    name: str
    program: dict[str, Any]
    vocab: tuple[Any, ...]
    max_seq_len: Annotated[int, Between(1, 1000)]
    attention: Literal["bidirectional", "causal"]
    encoding: Literal["categorical", "numerical"]
    vectors: tuple[Vector, ...]

    def __post_init__(self) -> None:
        _check_tokens(self.vocab, "vocab")


def _check_tokens(tokens: Any, where: str) -> None:
    for token in tokens:
        if isinstance(token, list | tuple):
            _check_tokens(token, where)
        elif not isinstance(token, str | bool | int | float | None):
            raise TinyadderError(f"{where} holds {short(token)}, expected numbers and words")


def read_cases(file: Path) -> list[Case]:
    """Raises `TinyadderError` for what is no file of cases."""
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("cases"), list):
        raise TinyadderError(f"{file} is not a file of cases ({{'cases': [...]}})")
    return [_read_case(case, f"{file}: case {n}") for n, case in enumerate(data["cases"], 1)]


def _read_case(data: Any, where: str) -> Case:
    """What the file says of source and licence is for people."""
    known = {field.name for field in fields(Case)}
    if isinstance(data, dict) and isinstance(data.get("vectors"), list):
        vectors = [
            {k: v for k, v in one.items() if k != "origin"} if isinstance(one, dict) else one
            for one in data["vectors"]
        ]
        data = {key: value for key, value in data.items() if key in known} | {"vectors": vectors}
    return from_json(Case, data, where)


@click.command("cases", short_help=__doc__)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--only", metavar="NAME", multiple=True, help="Only cases whose name contains NAME.")
@opt.json_option
def command(file: Path, only: tuple[str, ...], as_json: bool) -> int:
    """Compile the programs in FILE (the graph format of program_cases.json) and run all their
    vectors.

    A vector is right where every answer is: the line that holds it within a quarter of the gap to
    the next value, its
    token that of the value, the value the expected one. Exit code 1 on a wrong vector or a refusal
    that is not known.
    """
    chosen = [case for case in read_cases(file) if not only or any(n in case.name for n in only)]
    if not chosen:
        raise TinyadderError(f"no case of {file} has a name that contains {' or '.join(only)}")
    import torch

    torch.set_num_threads(1)
    rows = [run_case(case) for case in chosen]
    bad = [r for r in rows if r["wrong"] or (r["refused"] and r["case"] not in REFUSALS)]
    if as_json:
        echo_json({"file": file.name, "cases": rows, "wrong": [r["case"] for r in bad]})
    else:
        _show(file, rows, bad)
    return int(bool(bad))


def _show(file: Path, rows: list[dict[str, Any]], bad: list[dict[str, Any]]) -> None:
    columns = (
        "case",
        "copies",
        "layers",
        "heads",
        "width",
        "nonzero",
        "seconds",
        "deviation",
        "vectors",
    )
    heading = {name: "left" if name == "case" else "right" for name in columns} | {
        "verdict": "left"
    }
    show_table(
        f"{file.name}: {len(rows)} programs",
        heading,
        [
            [
                r["case"],
                *[
                    ""
                    if r[c] is None
                    else f"{r[c]:.2g}"
                    if c in ("seconds", "deviation")
                    else str(r[c])
                    for c in columns[1:]
                ],
                f"REFUSED {r['refused']}"
                if r["refused"]
                else f"{r['wrong']} wrong, first {r['first']}"
                if r["wrong"]
                else "right",
            ]
            for r in rows
        ],
    )
    vectors = sum(r["vectors"] for r in rows)
    echo(
        f"{len(rows)} programs, {vectors:,} vectors: {sum(r['wrong'] for r in rows):,} vectors "
        "wrong, "
        f"{sum(bool(r['refused']) for r in rows)} programs refused, {len(bad)} cases failed"
    )


def run_case(case: Case) -> dict[str, Any]:
    """Compile one case and run its vectors; what the table shows."""
    from tinyadder.machine.compile import build
    from tinyadder.programs import compile, from_graph

    row: dict[str, Any] = dict.fromkeys(
        ("copies", "layers", "heads", "width", "nonzero", "seconds", "deviation")
    )
    row |= {
        "case": case.name,
        "refused": None,
        "wrong": 0,
        "first": None,
        "vectors": len(case.vectors),
    }
    start = time.perf_counter()
    try:
        program = from_graph(case.program, case.vocab)
        answers = "number" if case.encoding == "numerical" else "tokens"
        made = compile(
            program,
            length=case.max_seq_len,
            causal=case.attention == "causal",
            answers=answers,
            vocabulary=case.vocab,
        )
    except TinyadderError as error:
        return row | {"refused": str(error), "seconds": time.perf_counter() - start}
    row |= {
        "seconds": time.perf_counter() - start,
        "copies": made.copies,
        "layers": len(made.program.blocks),
        "heads": sum(len(a.heads) for a, _ in made.program.blocks if a),
        "width": made.program.stream.width,
        "nonzero": made.program.nonzero,
        "deviation": 0.0,
    }
    model = build(made.program)
    for vector in case.vectors:
        said = str(vector.input)
        try:
            deviation, right = run_vector(made, model, vector)
        except TinyadderError as error:  # a text that the program does not read
            deviation, right, said = 0.0, False, f"{vector.input}: {error}"
        row["deviation"] = max(row["deviation"], deviation)
        if not right:
            row["wrong"] += 1
            row["first"] = row["first"] or said
    return row


def run_vector(made: Any, model: Any, vector: Vector) -> tuple[float, bool]:
    """(largest distance of the raw answer from the code of the expected value, whether every
    answer is right).
    """
    import torch

    from tinyadder.programs.functions import is_number, rational

    low, vocabulary = made.lowering, made.program.vocabulary
    text = [rational(token) for token in vector.input]
    ids = torch.tensor([[vocabulary.index(token) for token in made.prompt(text)]])
    kept: dict[str, Any] = {}

    def keep(name: str, value: Any) -> Any:
        kept[name] = value
        return value

    with torch.inference_mode():
        logits = model(ids, hook=keep)[0, -len(text) :]
    last = (
        "hook_embed" if not len(model.blocks) else f"blocks.{len(model.blocks) - 1}.hook_resid_post"
    )
    stream = kept[last][0, -len(text) :]
    places = {lane.name: n for n, lane in enumerate(made.program.stream.lanes.values())}
    columns = {lane: places[column] for lane, column in made.column_of.items()}
    answers = made.task.graph["outputs"]
    values = list(answers) if answers else None
    codes = sorted(low.code(v) for v in values) if values else []
    gap = min((b - a for a, b in itertools.pairwise(codes)), default=Fraction(1))
    held = low.values.support(made.source)
    numbers = sorted(map(Fraction, filter(is_number, held))) if isinstance(held, tuple) else []
    spread = min((float(b - a) for a, b in itertools.pairwise(numbers)), default=1.0)
    worst, right = 0.0, len(vector.output) == len(text)
    for place, expected in enumerate(map(rational, vector.output)):
        if expected is None:  # nothing is owed here
            continue
        raw = float(low.answer.bias) + sum(
            float(w) * stream[place, columns[name]].item() for name, w in low.answer.terms
        )
        if values is None:
            away = abs(raw - float(expected))
            right &= away <= _slack(expected, spread) and abs(
                logits[place, 0].item() - raw
            ) <= 1e-9 * max(1, abs(raw))
        else:
            nearest = (
                min(values, key=lambda v: (_distance(v, expected), str(v)))
                if is_number(expected)
                else expected
            )
            known = nearest in answers and (
                not is_number(expected) or _distance(nearest, expected) <= 1e-9
            )
            if not known:
                return worst, False
            away = abs(raw - float(low.code(nearest)))
            chosen = made.program.output_tokens[int(logits[place].argmax())]
            right &= away <= float(gap) / 4 and chosen == answers[nearest]
        worst = max(worst, away)
    return worst, bool(right)


def _distance(value: Any, expected: Any) -> float:
    return abs(float(value - expected)) if isinstance(value, int | Fraction) else float("inf")


def _slack(expected: Any, gap: float) -> float:
    """How far a number may be from the expected one: 1e-6, relative where it is large, but never
    more than a quarter of the gap to another value.
    """
    return min(1e-6 * max(1.0, abs(float(expected))), gap / 4)
