"""The leaderboard in words and tables: `LEADERBOARD.md`, the tables of the README, verdicts as all
of them word them.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinyadder.escape import Markdown, markdown, markdown_code, markdown_table
from tinyadder.report.board import FIELD_HEADS, field_cells, listed_and_measured, tally
from tinyadder.report.leaderboard import (
    FIELD_DATE,
    STRONGEST,
    LeaderboardRow,
    Standing,
    public_field,
    recipe_of,
)
from tinyadder.verify.count import definition
from tinyadder.verify.external.board import BoardRow
from tinyadder.verify.verdict import Exhaustive, Proved, Refuted, Sampled, counted

SHOWN = (
    "nonzero",
    "nonzero + positional",
    "with wiring",
    "ties written out",
    "stored",
    "board",
    "distinct",
    "stored + buffers",
    "strict",
)
"""The rungs of the table of counts; the JSON has all of them."""
README_COUNTS = ("nonzero", "nonzero + positional", "board")


def report_markdown(rows: Sequence[LeaderboardRow], board: Sequence[BoardRow] = ()) -> str:
    """`LEADERBOARD.md`: conventions, counts, verdicts, the public field with what `board` measured
    of it.
    """
    built, trained = [r for r in rows if not r.trained], [r for r in rows if r.trained]
    parts = [
        "# Leaderboard",
        "`tinyadder report` makes this page from the models in this repository and the results in "
        "`results/`; `tinyadder report --json` prints the same as data. Proved: the checker "
        "accepted the certificate in `results/certificates/` when this page was made. Refuted: the "
        "counterexample was run again. Exhaustive and sampled verdicts are as recorded, each with "
        "the command that repeats it.",
        "A parameter count means nothing without its convention. The conventions here:",
        markdown_table(
            ("convention", "counts"),
            [(rung, Markdown(definition(rung))) for rung in (rows[0].counts if rows else {})],
        ),
        "## Built models",
        counts_table(built),
        verdict_table(built),
    ]
    free, within = [r for r in trained if not r.given], [r for r in trained if r.given]
    if free:
        parts += ["## Trained models", TRAINED, counts_table(free), trained_table(free)]
    if within:
        parts += ["## Models trained in a given structure", WITHIN]
        parts += [counts_table(within), trained_table(within)]
    if trained:
        parts += proved_sections(free, within)
    parts += [
        "## The public field, claimed and measured",
        *field_sections(board),
    ]
    return "\n\n".join(parts) + "\n"


def field_sections(board: Sequence[BoardRow]) -> list[str]:
    """What others say of their own adders beside what was measured of them."""
    listed = [row for _, row in listed_and_measured(public_field(), board) if row and row.verdict]
    counted = ", ".join(f"{count} {word}" for word, count in tally(listed))
    measured = (
        f" {len(listed)} of these entries were at hand and measured here ({counted}); the others "
        "are claims alone. Commands, commits and hashes, and entries that are not on that list: "
        "[the board, measured](docs/board.md)."
        if listed
        else " Nothing of it was measured here."
    )
    return [
        f"Adders of others as listed on {FIELD_DATE}: what their authors say, and what "
        f"`tinyadder board` measured of one file each, on a CPU.{measured}",
        markdown_table(FIELD_HEADS, field_cells(public_field(), board)),
    ]


def counts_table(rows: Sequence[LeaderboardRow]) -> str:
    """One line a model, one column a convention, by task and then by `nonzero + positional`; seeds
    on one line.
    """
    return markdown_table(
        ("model", "task", *SHOWN),
        [
            (
                g.label,
                g.rows[0].task,
                *(mean_and_worst([r.counts[rung] for r in g.rows], whole) for rung in SHOWN),
            )
            for g in groups(rows)
        ],
    )


# ---- several seeds of a recipe -------------------------------------------------------------------

TRAINED = (
    "The seeds of a recipe share one line: the mean, and the worst where they differ (the largest "
    "count, the lowest accuracy or rate). Exact match is by greedy decoding. Held-out problems did "
    "not occur in training; hard cases may have. A model that another of its recipe was trained on "
    "from is a stage of that one and has no line: seed 2 of addition10-small-tuned goes on from "
    "seed 1. `tinyadder report --json` and [baselines](baselines/README.md) have every seed."
)


WITHIN = (
    "The equations come from a construction, and training finds numbers for them "
    "([what was given](docs/training.md#the-ladder-what-was-given)); these are not models trained "
    "from random initialisation."
)


def proved_sections(free: Sequence[LeaderboardRow], within: Sequence[LeaderboardRow]) -> list[str]:
    """The trained models that are proved: those from random initialisation and those in a given
    structure in tables of their own, for they are different claims.
    """
    parts = [
        "## Trained and proved",
        "Trained models of which the checker accepted a certificate. Trained from random "
        "initialisation: architecture and task were given, nothing else. Trained in a given "
        "structure: which numbers there are, where they stand, and what the table names. Seeds "
        "that were tried and are not kept as models are told in docs/training.md.",
    ]
    for title, rows in (
        ("Trained from random initialisation", free),
        ("Trained in a given structure", within),
    ):
        proved = [g for g in groups(rows) if any(r.strongest == "proved" for r in g.rows)]
        parts += [
            f"### {title}",
            markdown_table(PROVED_HEADS, [_proved_cells(group) for group in proved])
            if proved
            else "None so far.",
        ]
    return parts


PROVED_HEADS = (
    "recipe",
    "given",
    "nonzero",
    "seeds proved, of those kept",
    "what is proved",
    "training CPU s",
    "proof CPU s",
)


def _proved_cells(group: Group) -> tuple[str, ...]:
    proved = [row for row in group.rows if row.strongest == "proved"]
    seconds = [
        measured["training cpu seconds"]
        for row in proved
        if (measured := row.evaluation) and measured["training cpu seconds"] is not None
    ]
    proofs = [
        proof.data["proof_seconds"]
        for row in proved
        if (proof := row.of("proved")) and "proof_seconds" in proof.data
    ]
    return (
        group.name,
        proved[0].given or "architecture, task",
        mean_and_worst([row.counts["nonzero"] for row in proved], whole),
        f"{len(proved)} of {len(group.rows)}",
        joined([markdown_verdict(proved[0].verdicts()[0])]),
        mean_and_worst(seconds, whole) if seconds else "",
        mean_and_worst(proofs, whole) if proofs else "",
    )


@dataclass(frozen=True)
class Group:
    """What stands on one line: one model, or the seeds of one recipe."""

    name: str
    rows: tuple[LeaderboardRow, ...]

    @property
    def seeds(self) -> list[str]:
        """The seeds, where the models have some."""
        return [row.name.rpartition("/seed-")[2] for row in self.rows if row.name != self.name]

    @property
    def label(self) -> str:
        """`add10`, `addition10-tiny (seed 1)`, `addition3-reversed (5 seeds)`."""
        seeds = self.seeds
        if not seeds:
            return self.name
        return f"{self.name} ({f'seed {seeds[0]}' if len(seeds) == 1 else f'{len(seeds)} seeds'})"

    @property
    def strongest(self) -> str:
        """The strongest verdict of the seed of which least is known; one refuted is enough."""
        words = [row.strongest for row in self.rows]
        return "refuted" if "refuted" in words else max(words, key=STRONGEST.index)

    def lines(self) -> list[Markdown]:
        """The verdicts in words, as Markdown; seeds with a verdict of the same type share a line,
        with the words of the first.
        """
        if len(self.rows) == 1:
            return [markdown_verdict(finding) for finding in self.rows[0].verdicts()]
        alike: dict[tuple[str, str], list[str]] = {}
        for seed, row in zip(self.seeds, self.rows, strict=True):
            first = next(iter(row.verdicts()), None)
            kind, where, text = ("none yet", "", "") if first is None else verdict_words(first)
            alike.setdefault((kind, where), []).append(
                f"seed {seed}" + (f": {text}" if text else "")
            )
        return [
            Markdown(
                f"**{kind}**"
                + markdown(f"{where}, {len(texts)} of {len(self.rows)} seeds; {texts[0]}")
            )
            for (kind, where), texts in alike.items()
        ]


def groups(rows: Sequence[LeaderboardRow]) -> list[Group]:
    """The rows with the seeds of each recipe together, by task, then by `nonzero + positional`."""
    rows_by_name: dict[str, list[LeaderboardRow]] = {}
    for row in rows:
        rows_by_name.setdefault(recipe_of(row.name), []).append(row)
    ordered = [Group(name, tuple(members)) for name, members in rows_by_name.items()]
    return sorted(
        ordered, key=lambda g: (g.rows[0].task, g.rows[0].counts["nonzero + positional"], g.name)
    )


def mean_and_worst(
    values: Sequence[float], say: Callable[[float], str], *, lowest: bool = False
) -> str:
    """`7,118 (worst 7,120)`, or the mean alone where one cannot tell them apart; lowest: small is
    bad.
    """
    mean, worst = say(statistics.fmean(values)), say(min(values) if lowest else max(values))
    return mean if mean == worst else f"{mean} (worst {worst})"


def whole(value: float) -> str:
    """`7,120`."""
    return f"{value:,.0f}"


def percent(rate: float) -> str:
    """`99.99%`, cut and not rounded: 100.00% means that none was wrong.

    >>> percent(0.99999), percent(1.0)
    ('99.99%', '100.00%')
    """
    return f"{math.floor(rate * 10_000) / 100:.2f}%"


def mean_counts(
    models: Sequence[tuple[str, bool, Mapping[str, int]]],
) -> dict[str, tuple[bool, dict[str, float]]]:
    """(name, trained, counts) of models -> (built, counts) by name, the mean over the seeds of a
    recipe.

    >>> mean_counts([("a/seed-1", True, {"nonzero": 3}), ("a/seed-2", True, {"nonzero": 4})])
    {'a': (False, {'nonzero': 3.5})}
    """
    by_name: dict[str, list[tuple[bool, Mapping[str, int]]]] = {}
    for name, trained, counts in models:
        by_name.setdefault(recipe_of(name), []).append((not trained, counts))
    return {
        name: (
            seeds[0][0],
            {rung: statistics.fmean(counts[rung] for _, counts in seeds) for rung in seeds[0][1]},
        )
        for name, seeds in by_name.items()
    }


def trained_table(rows: Sequence[LeaderboardRow]) -> str:
    """One line a recipe: verdicts of its seeds, mean and worst accuracies, legality, costs."""
    heads = (
        "recipe",
        "verdicts",
        "held-out exact",
        "hard cases exact",
        "legality",
        "training CPU s",
        "answers/s",
    )
    return markdown_table(heads, [_trained_cells(group) for group in groups(rows)])


def _trained_cells(group: Group) -> tuple[str, ...]:
    judged = [row.evaluation for row in group.rows if row.evaluation]
    rates = [times.data["decoded_per_second"] for row in group.rows if (times := row.of("times"))]
    costs = [
        standing["training cpu seconds"]
        for standing in judged
        if standing["training cpu seconds"] is not None
    ]
    return (
        group.label,
        joined(group.lines()),
        *(
            mean_and_worst([standing[part]["exact"] for standing in judged], percent, lowest=True)
            if judged
            else ""
            for part in ("held out", "hard cases")
        ),
        "; ".join(dict.fromkeys(_legal(row) for row in group.rows)),
        mean_and_worst(costs, whole) if costs else "",
        mean_and_worst(rates, whole, lowest=True) if rates else "",
    )


def verdict_table(rows: Sequence[LeaderboardRow]) -> str:
    """One line a model: the verdicts with their types, the proved margin, legality, times."""
    ordered = sorted(rows, key=lambda r: (r.task, r.counts["nonzero + positional"], r.name))
    heads = (
        "model",
        "verdicts",
        "proved margin (logits)",
        "legality",
        "build s",
        "answers/s",
        "proof CPU s",
        "check CPU s",
    )
    return markdown_table(heads, [_verdict_cells(r) for r in ordered])


def _verdict_cells(row: LeaderboardRow) -> tuple[str, ...]:
    verdicts = row.verdicts()
    proofs = [f.verdict for f in verdicts if isinstance(f.verdict, Proved) and not f.options]
    times, proof = row.of("times"), row.of("proved")
    seconds = times.data if times else {}
    proof_seconds = proof.data if proof and proofs else {}
    return (
        row.name,
        joined([markdown_verdict(finding) for finding in verdicts]),
        f"{proofs[0].margin:.3g}" if proofs else "",
        _legal(row),
        _number(seconds.get("build_seconds"), ".3f"),
        _number(seconds.get("decoded_per_second"), ",.0f"),
        _number(proof_seconds.get("proof_seconds"), ".2f"),
        _number(proof_seconds.get("check_seconds"), ".2f"),
    )


NO_SPECIFICATION = "has no specification automaton"
"""What the prover says of a task that nobody wrote the right answers down for; the JSON keeps its
whole sentence.
"""
_LONG = re.compile(r"\d{1,3}(?:,\d{3}){3,}")


def _short(match: re.Match[str]) -> str:
    """10^20 for a 1 with twenty zeros; other long numbers with three digits, after "about"."""
    digits = match[0].replace(",", "")
    return f"10^{len(digits) - 1}" if digits.strip("0") == "1" else f"about {float(digits):.3g}"


def format_share(share: Mapping[str, Any] | None) -> str:
    """How many problems are wrong, in words."""
    if share is None:
        return ""
    if "share" in share:
        low, high = share["share"]
        return f"; between {low:.3g} and {high:.3g} of all problems are wrong"
    return f"; {share['wrong']:,} of {share['count']:,} are wrong ({share['domain']})"


def verdict_words(finding: Standing) -> tuple[str, str, str]:
    """(type, about what, what) of a verdict, in a few words; not escaped for any context."""
    verdict, kind = finding.verdict, type(finding.verdict).__name__.lower()
    options = ", ".join(f"{key}={value}" for key, value in finding.options.items())
    where = f" with {options}" if options else ""
    if isinstance(verdict, Refuted):
        example = verdict.counterexample
        expected, got = example.answers()
        only = f" (only {example.only})" if example.only else ""
        text = f"{example.shown} gives {got}, not {expected}{only}{format_share(finding.share)}"
    elif isinstance(verdict, Proved):
        text = _LONG.sub(_short, verdict.domain)
    elif isinstance(verdict, Exhaustive):
        if finding.of is not None:
            where += f" on a part ({_LONG.sub(_short, format(finding.of, ','))} in all)"
        text = counted(verdict.count, verdict.domain)
    elif isinstance(verdict, Sampled):
        text = f"{verdict.count:,}, 0 wrong"
    else:
        where += " whether right on all"
        known = NO_SPECIFICATION in verdict.reason
        text = "no specification for this task" if known else verdict.reason
    return kind, where, text


def format_verdict(finding: Standing) -> str:
    """A verdict in a few words, its type first; not escaped."""
    kind, where, text = verdict_words(finding)
    return f"{kind}{where}: {text}"


def markdown_verdict(finding: Standing) -> Markdown:
    """A verdict in a few words as Markdown, its type in bold."""
    kind, where, text = verdict_words(finding)
    return Markdown(f"**{kind}**{markdown(f'{where}: {text}')}")


def joined(lines: Sequence[Markdown]) -> Markdown:
    """Verdicts in one cell."""
    return Markdown("; ".join(lines) or "none yet")


def _legal(row: LeaderboardRow) -> str:
    legal = row.of("legality")
    if legal is None:
        return "not checked"
    findings = legal.data["findings"]
    failing = [f["check"] for f in findings if f["passed"] is False]
    unseen = [f["check"] for f in findings if f["passed"] is None]
    text = f"{sum(f['passed'] is True for f in findings)} of {len(findings)} pass"
    text += f"; fails {', '.join(failing)}" if failing else ""
    return text + (f"; does not apply: {', '.join(unseen)}" if unseen else "")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def readme(text: str, rows: Sequence[LeaderboardRow]) -> str:
    """The README with its table of adders as it is now, where it has the marks for it."""
    return between_marks(text, "ten-digit addition", adders_table(rows))


def adders_table(rows: Sequence[LeaderboardRow]) -> str:
    """Who adds two ten-digit numbers, written or trained: three conventions and what is known."""
    ten = re.compile(r"addition \(digits 10, base 10, order \w+, operands 2\b")
    adders = sorted(
        groups([r for r in rows if ten.match(r.task)]),
        key=lambda g: g.rows[0].counts[README_COUNTS[1]],
    )
    cells = []
    for g in adders:
        known = joined(g.lines()[: len(g.rows)])
        cells.append(
            (
                Markdown(markdown_code(g.name) + markdown(g.label.removeprefix(g.name))),
                "training in a given structure"
                if g.rows[0].given
                else "training"
                if g.rows[0].trained
                else "hand",
                *(
                    mean_and_worst([r.counts[rung] for r in g.rows], whole)
                    for rung in README_COUNTS
                ),
                Markdown(re.sub(r" problems of addition \(.*?\)", " pairs", known)),
            )
        )
    heads = ("ten-digit addition", "made by", *README_COUNTS, "verdict")
    return markdown_table(heads, cells)


def between_marks(text: str, name: str, table: str) -> str:
    """`text` with what stands between the two marks of this name replaced; unchanged where it has
    no such marks.

    >>> between_marks("<!-- a -->old<!-- /a -->", "a", "new")
    '<!-- a -->\\nnew\\n<!-- /a -->'
    """
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    start, end = text.find(opening), text.find(closing)
    if start < 0 or end < start:
        return text
    return f"{text[: start + len(opening)]}\n{table}\n{text[end:]}"
