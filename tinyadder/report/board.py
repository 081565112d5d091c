"""The board: entries of others, what is claimed beside what was measured; Markdown, a page, JSON.

Everything that an entry or a manifest says is escaped for the place where it stands. A figure that
was not measured is an empty cell, and an entry without a verdict has its reason.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tinyadder.errors import TinyadderError
from tinyadder.escape import Markdown, markdown, markdown_code, markdown_table, terminal
from tinyadder.fields import from_json
from tinyadder.io.files import atomic_write, read_bytes
from tinyadder.verify.external.board import BoardRow

MADE_BY = "tinyadder board"
"""Stands in everything that is written, so that nothing else is ever replaced."""
LARGEST = 64 * 2**20
RUNGS = ("board", "stored", "nonzero", "strict")
"""The rungs that the tables show; the JSON has all of them."""
BY_ADD = "by the file's own add"
NOT_JUDGED = "not judged"
PAGES = ("board.md", "board.html", "board.json")


# ---- files that we wrote -------------------------------------------------------------------------


def check_ours(folder: Path) -> None:
    """Raise `TinyadderError` where a page of `folder` is not one that this module wrote."""
    for name in PAGES:
        path = folder / name
        if path.is_symlink() or path.exists():
            beginning = read_bytes(path, most=LARGEST)[:400].decode("utf-8", "replace")
            if MADE_BY not in beginning:
                raise TinyadderError(
                    f"{path} was not written by {MADE_BY}; choose another --out, or move it away"
                )


def read_board(path: Path) -> list[BoardRow]:
    """The rows of a `board.json`. Raises `TinyadderError` for anything else."""
    try:
        data = json.loads(read_bytes(path, most=LARGEST))
        rows = data["rows"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise TinyadderError(f"{path} holds no board: {error!r:.80}") from None
    return [from_json(BoardRow, one, f"{path}: row {n}") for n, one in enumerate(rows, 1)]


def published(folder: Path) -> list[BoardRow]:
    """The rows of the board in a folder of results; none where it holds no board."""
    path = folder / "board.json"
    return read_board(path) if path.exists() else []


def save_proof(folder: Path, file: Path, proof: str) -> str:
    """Note a proof in the row of the board whose file has the bytes of `file`; the row's name.

    Raises `TinyadderError` where no row has, or one was found wrong.
    """
    digest = hashlib.sha256(read_bytes(file, most=LARGEST)).hexdigest()
    rows = published(folder)
    those = [row for row in rows if row.listed.sha256.get(row.listed.file) == digest]
    if len(those) != 1:
        raise TinyadderError(
            f"{file}: {len(those)} rows of {folder / 'board.json'} are of this file"
        )
    (row,) = those
    if row.pair is not None:
        raise TinyadderError(f"{row.name} is refuted; a proof of it is a bug of tinyadder")
    noted = [replace(one, proof=proof) if one is row else one for one in rows]
    with atomic_write(folder / "board.json") as part:
        text = json.dumps(board_json(noted), indent=1, ensure_ascii=False)
        part.write_text(text + "\n", encoding="utf-8")
    return row.name


def board_json(rows: Sequence[BoardRow]) -> dict[str, Any]:
    """Everything, as plain data."""
    return {"made by": MADE_BY, "rows": [asdict(row) for row in rows]}


# ---- in words ------------------------------------------------------------------------------------


def kind_of_verdict(row: BoardRow) -> str:
    """`proved`, `refuted`, `sampled`, .. or `not judged`."""
    return "proved" if row.proof else row.verdict or NOT_JUDGED


def format_verdict(row: BoardRow) -> str:
    """The verdict in a few words, without its type; not escaped."""
    if row.proof:
        return row.proof
    if row.pair is not None:
        a, b = row.pair
        only = "" if row.by in ("", BY_ADD) else f" ({row.by})"
        return f"{a} + {b} gives {row.got}, not {a + b}{only}"
    if row.verdict == "sampled":
        return f"{sum(row.asked.values()):,} sums asked, 0 wrong"
    return row.text if row.verdict else row.reason


def format_suite(row: BoardRow) -> str:
    """`10,009 of 10,010`: right answers to the public suite."""
    return "" if row.suite is None else f"{row.suite[0]:,} of {row.suite[1]:,}"


def format_legality(row: BoardRow) -> str:
    """`8 of 9 pass; fails: dtype; not observed: feedback`; not escaped."""
    if not row.legality:
        return row.failed.get("legality", "") if row.verdict else ""
    failing = [finding.check for finding in row.legality if finding.passed is False]
    unseen = [finding.check for finding in row.legality if finding.passed is None]
    text = f"{sum(f.passed is True for f in row.legality)} of {len(row.legality)} pass"
    text += f"; fails {', '.join(failing)}" if failing else ""
    return text + (f"; not observed: {', '.join(unseen)}" if unseen else "")


def format_claim(row: BoardRow) -> str:
    """`claims 57: equals board, stored and 4 more`, the rungs that say most first; not escaped."""
    if not row.counts or not row.claim:
        return "" if row.listed.claim is None else f"claims {row.listed.claim:,}"
    claim, equals, rungs = row.claim.partition(": equals ")
    if not equals:
        return row.claim
    names = sorted(rungs.split(", "), key=lambda rung: rung not in RUNGS)
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{claim}: equals {', '.join(names[:2])}{more}"


def _rung(row: BoardRow, rung: str) -> str:
    return f"{row.counts[rung]:,}" if rung in row.counts else ""


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def link(row: BoardRow) -> str:
    """Where the entry is published, if that is an address one may follow."""
    parts = urlsplit(row.listed.link)
    return row.listed.link if parts.scheme in ("http", "https") and parts.netloc else ""


def ordered(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """By what is claimed, then by name; entries without a claim last."""
    return sorted(
        rows,
        key=lambda row: (row.listed.claim is None, row.listed.claim or 0, row.name),
    )


def tally(rows: Sequence[BoardRow]) -> list[tuple[str, int]]:
    """(type of verdict, entries), the most frequent first."""
    return Counter(kind_of_verdict(row) for row in rows).most_common()


# ---- the public field ----------------------------------------------------------------------------

NOT_AT_HAND = "not measured: no copy that runs was at hand"
FIELD_HEADS = (
    "claimed parameters",
    "kind",
    "author",
    "claimed accuracy",
    "public suite",
    "which rung",
    "board",
    "stored",
    "strict",
    "verdict",
    "smallest margin",
)


def listed_and_measured(
    field: Sequence[Mapping[str, str]], rows: Sequence[BoardRow]
) -> list[tuple[Mapping[str, str], BoardRow | None]]:
    """Every line of the public list with the row of the entry that it is about: same author, kind
    and claim.
    """
    known: dict[tuple[str, str, int | None], BoardRow] = {
        (r.listed.author.lower(), r.listed.kind, r.listed.claim): r for r in rows
    }
    return [
        (one, known.get((one["author"].lower(), one["category"], claimed_number(one))))
        for one in field
    ]


def claimed_number(listed: Mapping[str, str]) -> int | None:
    """The number of parameters that the public list gives, without its marks.

    >>> claimed_number({"params_claimed": "1,644*"})
    1644
    """
    digits = listed["params_claimed"].replace(",", "").rstrip("*")
    return int(digits) if digits.isdecimal() else None


def field_cells(
    field: Sequence[Mapping[str, str]], rows: Sequence[BoardRow]
) -> list[tuple[str, ...]]:
    """The cells of `FIELD_HEADS` for every line of the public list; not escaped."""
    return [
        (
            *(one[key] for key in ("params_claimed", "category", "author", "accuracy_claimed")),
            *(("", "", "", "", "", NOT_AT_HAND, "") if row is None else _measured(row)),
        )
        for one, row in listed_and_measured(field, rows)
    ]


def _measured(row: BoardRow) -> tuple[str, ...]:
    return (
        format_suite(row),
        format_claim(row).partition(": ")[2],
        *(_rung(row, rung) for rung in ("board", "stored", "strict")),
        f"{kind_of_verdict(row)}: {format_verdict(row)}",
        _figure(row.margin, ".3g"),
    )


# ---- Markdown ------------------------------------------------------------------------------------

HEADS = (
    "entry",
    "author",
    "kind",
    "claim",
    *RUNGS,
    "claimed accuracy",
    "public suite",
    "verdict",
    "smallest margin",
    "legality",
    "sums/s",
)


def _name(row: BoardRow) -> Markdown:
    address = link(row)
    if not address:
        return markdown(row.name)
    safe = "".join(c if c.isascii() and c not in "()<>|\\ `" else "" for c in address)
    return Markdown(f"[{markdown(row.name)}]({safe})")


def markdown_verdict(row: BoardRow) -> Markdown:
    """The verdict in a few words as Markdown, its type in bold."""
    return Markdown(f"**{kind_of_verdict(row)}**{markdown(f': {format_verdict(row)}')}")


def board_table(rows: Sequence[BoardRow]) -> str:
    """One line an entry: what is claimed beside what was measured."""
    return markdown_table(
        HEADS,
        [
            (
                _name(row),
                row.listed.author,
                row.listed.kind,
                format_claim(row),
                *(_rung(row, rung) for rung in RUNGS),
                row.listed.accuracy,
                format_suite(row),
                markdown_verdict(row),
                _figure(row.margin, ".3g"),
                format_legality(row),
                _figure(row.per_second, ",.0f"),
            )
            for row in ordered(rows)
        ],
    )


def replay_list(rows: Sequence[BoardRow]) -> str:
    """The commands that ask every counterexample again, as a list."""
    return "\n".join(
        f"- {markdown(row.name)}: {markdown(format_verdict(row))}: {markdown_code(row.replay)}"
        for row in ordered(rows)
        if row.replay
    )


def source_table(rows: Sequence[BoardRow]) -> str:
    """Where each file came from: repository, commit, path, hash, notes."""
    cells = []
    for row in ordered(rows):
        listed = row.listed
        hashes = [
            Markdown(f"{markdown(Path(name).name)} {markdown_code(value[:16])}")
            for name, value in listed.sha256.items()
        ][:3]
        cells.append(
            (
                row.name,
                listed.repository,
                listed.commit[:12],
                listed.path,
                Markdown(", ".join(hashes)),
                listed.notes,
            )
        )
    return markdown_table(
        ("entry", "repository", "commit", "path", "sha256 begins", "notes"), cells
    )


def board_markdown(rows: Sequence[BoardRow]) -> str:
    """`board.md`: the table, every refutation with its command, where the files came from."""
    return f"<!-- made by {MADE_BY} -->\n\n# The board, measured\n\n{board_sections(rows)}\n"


def board_sections(rows: Sequence[BoardRow]) -> str:
    """The page below its heading."""
    counted = ", ".join(f"{count} {word}" for word, count in tally(rows))
    how = sorted({f"judge {row.version}, {row.seconds:g} s, {row.date}" for row in rows})
    parts = [
        f"{len(rows)} entries: {counted}. Measured with {markdown('; '.join(how))}.",
        EXPLAINED,
        board_table(rows),
    ]
    if replays := replay_list(rows):
        parts += ["## Every refutation, asked again by one line", REPLAYED, replays]
    if any(row.listed.repository for row in rows):
        parts += ["## Where the files came from", source_table(rows)]
    return "\n\n".join(parts)


EXPLAINED = (
    "A row is about one file at one commit, run here on a CPU, asked through its own `add`. "
    "**refuted**: that `add` gives a wrong sum for the pair shown. **sampled**: so many sums were "
    "asked, none was wrong; that is no proof. **proved**: the graph of the module, decoded in the "
    "format of its `add`, is right on all pairs; docs/proofs.md says what that assumes. *claim*: "
    "what its author counts, and which of our conventions (rungs) give that number. *smallest "
    "margin*: of the logit that is chosen over the next, among the sums asked. *legality*: checks "
    "of whether it is an autoregressive transformer that does the work itself; what could not be "
    "observed is said."
)
REPLAYED = "From the folder of the entries:"


# ---- a page --------------------------------------------------------------------------------------


def board_html(rows: Sequence[BoardRow]) -> str:
    """The same as one HTML file: no network, sorted by its headings where scripts run."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    shown = [
        {
            "row": row,
            "link": link(row),
            "kind": kind_of_verdict(row),
            "verdict": format_verdict(row),
            "suite": format_suite(row),
            "claim": format_claim(row),
            "legality": format_legality(row),
            "counts": [(rung, row.counts.get(rung)) for rung in RUNGS],
            "ladder": list(row.counts.items()),
        }
        for row in ordered(rows)
    ]
    return environment.get_template("board.html.jinja").render(
        made_by=MADE_BY, rows=shown, rungs=RUNGS, tally=tally(rows)
    )


def _visible(value: Any) -> Any:
    """For the template: what does not print is written out, before HTML is escaped."""
    return terminal(value, keep="\n\t") if type(value) is str else value
