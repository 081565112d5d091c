"""Sequence programs: what every case costs, how far it is exact and what is proved of it.

    python -m benchmarks.programs           the table of docs/programs.md, and programs.json beside
    python -m benchmarks.programs --check   only the programs that Tracr's figures are known of
    python -m benchmarks.programs --lengths long texts: every value compared, programs_lengths.json
    python -m benchmarks.programs --only tracr_sort interpbench_1     cases whose names begin so:
                                            their rows again, the others as they are

Nonzero counts are those of the equations, readout included (Tracr's exclude its un-embedding).
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import torch

from tinyadder.commands.cases import Vector, read_cases, run_case, run_vector
from tinyadder.io.folder import save
from tinyadder.machine.compile import build
from tinyadder.programs import (
    Seq,
    compile,
    everywhere,
    from_graph,
    horizon,
    indices,
    key,
    prefix,
    tokens,
)
from tinyadder.verify.certify.programs.prove import certify_program
from tinyadder.verify.verdict import Proved

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "data" / "program_cases.json"
TABLE, ROWS = ROOT / "docs" / "programs_table.md", ROOT / "benchmarks" / "programs.json"
TRACR = {
    "frac_prevs": (2, 19, 93),
    "length": (1, 29, 131),
    "hist": (1, 29, 119),
    "reverse": (4, 73, 641),
    "sort": (3, 145, 5616),
    "sort_unique": (2, 23, 97),
    "sort_freq": (5, 66, 741),
    "shuffle_dyck2": (8, 55, 792),
}
"""Layers, width and nonzero weights (without un-embedding) that Tracr makes of these programs, at
length 10 (the first five) or 5; its output was measured, not taken from a paper.
"""
SECONDS = 20
"""The most that a proof may take here."""


def named() -> dict[str, tuple[Seq, dict[str, Any]]]:
    """The programs of TRACR: written in the language, or a case of Tracr's own tests."""
    x, i, n = tokens("abcde"), indices(), everywhere().count()
    numbers = tokens(range(1, 11))
    rank = (key(numbers) < numbers).count()
    rank += (prefix() & (key(numbers) == numbers)).count() - 1
    found: dict[str, tuple[Seq, dict[str, Any]]] = {
        "frac_prevs": (prefix().mean(x == "a"), {"length": 10, "answers": "number"}),
        "length": (n, {"length": 10, "vocabulary": "abcde"}),
        "hist": ((key(x) == x).count(), {"length": 10}),
        "reverse": ((key(i) == n - 1 - i).pick(x), {"length": 10}),
        "sort": ((key(rank) == i).pick(numbers), {"length": 10}),
    }
    cases = {case["name"]: case for case in json.loads(CASES.read_text())["cases"]}
    for name, case in (
        ("sort_unique", "tracr_sort_unique_1"),
        ("sort_freq", "tracr_sort_freq"),
        ("shuffle_dyck2", "tracr_shuffle_dyck2_1"),
    ):
        data = cases[case]
        program = from_graph(data["program"], data["vocab"])
        found[name] = program, {"length": data["max_seq_len"], "vocabulary": data["vocab"]}
    return found


def verdict(made: Any) -> str:
    """What can be proved of the compiled program by columns within the time, or why not."""

    def late(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            model = build(made.program)
            save(model, made.task, folder, name="case", options={})
            judged = certify_program(model, made.task, folder, 0)["verdict"]
            if isinstance(judged, Proved):
                return "proved"
            return f"unknown: {judged.reason.removeprefix('the checker of programs: ')}"
    except TimeoutError:
        return f"not within {SECONDS} s"
    finally:
        signal.alarm(0)


def measure(program: Seq, options: dict[str, Any]) -> dict[str, Any]:
    """Sizes, seconds to compile, verdict."""
    compile(program, **options)  # what is imported for the first time does not count
    began = time.perf_counter()
    made = compile(program, **options)
    return {
        "layers": len(made.program.blocks),
        "width": made.program.stream.width,
        "nonzero": made.program.nonzero,
        "copies": made.copies,
        "seconds": round(time.perf_counter() - began, 4),
        "verdict": verdict(made),
    }


def compared() -> list[str]:
    """The rows of the table beside Tracr's figures."""
    lines = [
        "| program | Tracr: layers, width, nonzero | here: layers, width, nonzero | copies"
        " | compile | horizon | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ratios = []
    for name, (program, options) in named().items():
        row = measure(program, options)
        layers, width, nonzero = TRACR[name]
        reach = horizon(program, causal=options.get("causal", False), limit=200)
        shown = f"{reach.length}" if reach.reason else f">= {reach.length}"
        ratios.append(nonzero / row["nonzero"])
        lines.append(
            f"| {name} | {layers}, {width}, {nonzero:,} | {row['layers']}, {row['width']}, "
            f"{row['nonzero']:,} | {row['copies'] + 1} | {1000 * row['seconds']:.0f} ms | {shown} "
            f"| {row['verdict']} |"
        )
    lines.append("")
    lines.append(f"Median of Tracr's nonzero weights over ours: {statistics.median(ratios):.1f}.")
    return lines


def measured(case: Any) -> dict[str, Any]:
    """The row of a case."""
    made = compile(
        from_graph(case.program, case.vocab),
        length=case.max_seq_len,
        causal=case.attention == "causal",
        answers="number" if case.encoding == "numerical" else "tokens",
        vocabulary=case.vocab,
    )
    return run_case(case) | {"verdict": verdict(made)}


def every_case(only: Sequence[str] = ("",)) -> tuple[list[str], list[dict[str, Any]]]:
    """The rows of all cases, and their data; of cases whose names do not begin with one of `only`
    as they are in the file.
    """
    kept = {} if "" in only else {row["case"]: row for row in json.loads(ROWS.read_text())}
    rows = []
    for case in read_cases(CASES):
        again = case.name not in kept or case.name.startswith(tuple(only))
        rows.append(measured(case) if again else kept[case.name])
        if again:
            print(case.name, rows[-1]["verdict"], flush=True)
    lines = [
        "| case | copies | layers | heads | width | nonzero | seconds | vectors right | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        right = f"{row['vectors'] - row['wrong']} of {row['vectors']}"
        lines.append(
            f"| {row['case']} | {row['copies'] + 1} | {row['layers']} | {row['heads']} "
            f"| {row['width']} | {row['nonzero']} | {row['seconds']:.3f} | {right} "
            f"| {row['verdict'].replace('|', '/')} |"
        )
    return lines, rows


# ---- long texts ----------------------------------------------------------------------------------


def long() -> dict[str, tuple[Seq, int, dict[str, Any]]]:
    """name -> (program, length, options of compile)."""
    x, i, n = tokens("abcde"), indices(), everywhere().count()
    numbers = tokens(range(1000))
    rank = (key(numbers) < numbers).count()
    chain = x
    for _ in range(8):
        chain = (key(i) == i - 1).pick(chain, default="a")
    return {
        "length": (n, 1000, {"vocabulary": "abcde"}),
        "histogram": ((key(x) == x).count(), 1000, {}),
        "reverse": ((key(i) == n - 1 - i).pick(x), 1000, {}),
        "sort (unique keys)": ((key(rank) == i).pick(numbers, default=0), 1000, {}),
        "fraction of previous tokens": (prefix().mean(x == "a"), 1000, {"answers": "number"}),
        "chain of 8 lookups": (chain, 400, {"causal": True}),
    }


def long_texts(name: str, length: int, random: Random) -> list[list[Any]]:
    """Texts of this length and some shorter ones; without repetition where keys are unique."""
    lengths = [length, length, length, length - 1, length // 2, 2, 1]
    if name.startswith("sort"):
        found = [random.sample(range(1000), n) for n in lengths]
        return [[*range(length)], [*range(length)][::-1], *found]
    found = [random.choices([*"abcde"], k=n) for n in lengths]
    return [["a"] * length, [*"ab"] * (length // 2), *found]


def long_row(name: str, seed: int) -> dict[str, Any]:
    """Compile for the length, and compare every value at every position with the meaning."""
    program, length, options = long()[name]
    start = time.perf_counter()
    made = compile(program, length=length, **options)
    seconds = time.perf_counter() - start
    model = build(made.program)
    values = wrong = 0
    for text in long_texts(name, length, Random(seed)):
        meaning = program(text, causal=made.causal)
        # a vector of the case format holds no fractions
        output = tuple(float(v) if isinstance(v, Fraction) else v for v in meaning)
        _, right = run_vector(made, model, Vector(input=tuple(text), output=output))
        values += len(meaning)
        wrong += not right
    limit = 2 * length
    reached = horizon(program, causal=made.causal, limit=limit)
    return {
        "program": name,
        "length": length,
        "layers": len(made.program.blocks),
        "seconds": round(seconds, 3),
        "values": values,
        "texts wrong": wrong,
        "horizon": str(reached),
    }


def lengths(seed: int = 0) -> None:
    """The table of long texts, as programs_lengths.json and on the screen."""
    rows = []
    for name in long():
        rows.append(long_row(name, seed))
        print(*(f"{key} {value}" for key, value in rows[-1].items()), sep=", ", flush=True)
    made = {
        "command": "python -m benchmarks.programs --lengths",
        "seed": seed,
        "date": time.strftime("%Y-%m-%d"),
        "version": version("tinyadder"),
        "rows": rows,
    }
    (ROOT / "benchmarks" / "programs_lengths.json").write_text(json.dumps(made, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Only the programs of Tracr's table.")
    parser.add_argument("--lengths", action="store_true", help="Only the long texts.")
    parser.add_argument("--only", nargs="+", default=[""], help="Cases whose names begin so.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.lengths:
        lengths()
        return
    if "" in options.only:
        lines = compared()
        print("\n".join(lines))
    else:  # the first table as it is
        lines = TABLE.read_text().split("\n\n", 2)[2].split("\n\n| case")[0].split("\n")
    if options.check:
        return
    table, rows = every_case(options.only)
    nonzero = [row["nonzero"] for row in rows]
    proved = sum(row["verdict"] == "proved" for row in rows)
    lines += ["", *table, ""]
    lines.append(
        f"{len(rows)} cases: median nonzero {statistics.median(nonzero):.0f}, {proved} proved for "
        f"every text, {sum(row['wrong'] for row in rows)} vectors wrong."
    )
    TABLE.write_text(
        "# Programs: the table\n\nMade by `python -m benchmarks.programs`.\n\n"
        + "\n".join(lines)
        + "\n"
    )
    ROWS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
