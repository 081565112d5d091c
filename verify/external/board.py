"""A folder of submissions, judged one after the other: what is in it, what is kept of each.

An entry is a Python file, or a folder with one; a manifest may say who made it and what is claimed.
Whatever an entry does (crash, hang, lack a package), its row says so and the run goes on. A
finished row is one JSON file, and is used again while the files of the entry, the code that judges
and the time it had are the same.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shlex
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

from msgspec import Meta

from tinyadder.errors import TinyadderError, did_you_mean
from tinyadder.fields import Between, from_json
from tinyadder.io.files import NAME, below, read_bytes, write_text
from tinyadder.verify.external.submission import PACKAGES, Submission

MANIFEST = "board.toml"
"""In the folder of the entries, unless another file is given."""
ROWS = "entries"
"""The folder of finished rows."""
LONGEST_MANIFEST = 4 * 2**20
LONGEST_ROW = 2**20
MOST_FILES, MOST_BYTES = 2_000, 256 * 2**20
"""Of one entry."""
PROBED = 12
"""Sums that the checks of legality watch."""
LOADING_SECONDS = 120.0
"""What the start of an entry may take: torch and other packages are slow to load on a busy
machine."""
DEEPEST = 4
"""Folders below that of an entry in which its Python file is looked for."""
LONGEST_SOURCE = 16 * 2**20
SKIPPED = {"__pycache__", ".git"}
DEFINES = re.compile(r"^\s*(async )?def add\(", re.MULTILINE)

ShortText = Annotated[str, Meta(max_length=2000)]
Count = Annotated[int, Between(0, 10**9)]
Operand = Annotated[int, Between(0, 10**10)]


@dataclass(frozen=True)
class Listed:
    """What a manifest says of an entry: `[[entry]]` with these keys, all but `name` optional."""

    name: str
    file: ShortText = ""
    """What is judged, from the folder of the entries: a Python file, or a folder with one. The
    name, or the name and ".py", unless given."""
    author: ShortText = ""
    kind: Literal["hand-coded", "trained", ""] = ""
    claim: Count | None = None
    """How many parameters its author counts."""
    accuracy: ShortText = ""
    """What its author measured, in the author's words."""
    link: ShortText = ""
    repository: ShortText = ""
    commit: ShortText = ""
    path: ShortText = ""
    """Where the copy that was judged came from."""
    sha256: dict[str, str] = field(default_factory=dict)
    """File, from the folder of the entries -> its hash, in hexadecimal digits."""
    adapter: Annotated[str, Meta(max_length=20_000)] = ""
    """Code that is not the author's and calls an entry without `add`."""
    notes: ShortText = ""


@dataclass(frozen=True)
class BoardEntry:
    """One entry of a folder, found without running any of it."""

    listed: Listed
    path: Path
    """A Python file, or the folder that should have one."""
    reason: str = ""
    """Why it cannot be judged, where that is known already."""
    digest: str = ""
    """Of all its files."""
    file: str = ""
    """The path from the folder of the entries."""

    @property
    def name(self) -> str:
        """Of the manifest, or of its file or folder."""
        return self.listed.name


@dataclass(frozen=True)
class BoardFinding:
    """What one check of legality found."""

    check: str
    passed: bool | None
    said: str


@dataclass(frozen=True)
class BoardRow:
    """What was measured of one entry, beside what is claimed."""

    listed: Listed
    digest: str
    version: str
    """Of the code that judged."""
    seconds: float
    """That the hunt for a wrong sum might take."""
    seed: int
    date: str
    reason: str = ""
    """Why there is no verdict; empty where there is one."""
    verdict: str = ""
    """`refuted`, `sampled`, ...: the type."""
    text: str = ""
    """The verdict in words."""
    pair: tuple[Operand, Operand] | None = None
    """The shortest sum found that comes out wrong."""
    got: str = ""
    """What comes out instead."""
    by: str = ""
    """By whose decoding: the entry's own `add`, or the verifier's of its passes."""
    replay: str = ""
    """The command that asks it again."""
    proof: str = ""
    """What a proof says of all pairs, where there is one (`tinyadder prove FILE --save`)."""
    margin: float | None = None
    """Smallest distance seen between the logit chosen and the next."""
    per_second: float | None = None
    """Sums."""
    suite: tuple[Count, Count] | None = None
    """Right answers to the public suite, and how many of it were asked."""
    decoding: str = ""
    """By whose decoding most sums were asked, and the format found."""
    asked: dict[str, Count] = field(default_factory=dict)
    """Class of sums -> how many were asked."""
    counts: dict[str, Count] = field(default_factory=dict)
    """Rung of the ladder -> count."""
    claim: str = ""
    """Which rungs give what is claimed."""
    legality: tuple[BoardFinding, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    """Step that could not be made -> why."""
    wall: float = 0.0
    """Seconds that all of it took."""

    @property
    def name(self) -> str:
        """Of the entry."""
        return self.listed.name


# ---- what is in the folder -----------------------------------------------------------------------


def read_manifest(path: Path) -> list[Listed]:
    """The entries that a TOML manifest lists. Raises `TinyadderError`, which names the entry and
    the key, for what does not fit.
    """
    try:
        data = tomllib.loads(read_bytes(path, most=LONGEST_MANIFEST).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise TinyadderError(f"{path} is no TOML: {error}") from None
    given = data.get("entry", [])
    if data.keys() - {"entry"} or not isinstance(given, list):
        key = next(iter(data.keys() - {"entry"}), "entry")
        raise TinyadderError(f"{path} has '{key:.40}', expected [[entry]] tables only")
    entries = [
        from_json(Listed, one, f"{path}: entry {number}") for number, one in enumerate(given, 1)
    ]
    names = [entry.name for entry in entries]
    for number, name in enumerate(names, 1):
        if not NAME.fullmatch(name):
            raise TinyadderError(
                f"{path}: entry {number} has the name {name!r:.60}; expected at most 100 letters,"
                " digits, '_', '-', '.', no '-' or '.' first"
            )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise TinyadderError(f"{path} lists '{twice}' twice; every entry has a name of its own")
    return entries


def board_entries(
    folder: Path, manifest: Path | None = None, only: Sequence[str] = ()
) -> list[BoardEntry]:
    """The entries of `folder`, those of the manifest first (`folder/board.toml` unless given), then
    the files and subfolders it does not list, by name.

    A Python file that defines no `add` is an entry of a subfolder only (with the reason). Raises
    `TinyadderError` for a folder without entries, a manifest that does not fit, and a name in
    `only` that is none of the entries.
    """
    if not folder.is_dir():
        raise TinyadderError(f"{folder} is no folder; give the folder that holds the entries")
    own = folder / MANIFEST
    listed = read_manifest(manifest or own) if manifest or os.path.lexists(own) else []
    entries = [_listed_entry(folder, one) for one in listed]
    taken = {path for entry in entries for path in (entry.path, *entry.path.parents)}
    for path in sorted(folder.iterdir()):
        if path not in taken and not path.name.startswith(".") and path.name not in SKIPPED:
            entries += _unlisted(folder, path)
    if not entries:
        raise TinyadderError(
            f"{folder} has no entry; expected Python files with build_model() and add(model, a, b),"
            " or one subfolder for each"
        )
    for name in only:
        names = [entry.name for entry in entries]
        if name not in names:
            raise TinyadderError(f"{folder} has no entry '{name}'{did_you_mean(name, names)}")
    wanted = [entry for entry in entries if not only or entry.name in only]
    return [
        _hashed(folder, replace(entry, file=str(entry.path.relative_to(folder))))
        for entry in wanted
    ]


def _listed_entry(folder: Path, listed: Listed) -> BoardEntry:
    if listed.file:
        path = below(folder, listed.file)
    else:
        path = folder / listed.name
        path = path if path.exists() else folder / f"{listed.name}.py"
    if not path.exists():
        return BoardEntry(listed, path, f"{path.relative_to(folder)} is not in the folder")
    if path.is_dir():
        found = _submissions_in(path)
        if len(found) != 1:
            return BoardEntry(listed, path, _which(path, found))
        path = found[0]
    for name, expected in listed.sha256.items():
        given = below(folder, name)
        actual = _sha256(given) if given.is_file() else "missing"
        if actual != expected.lower():
            reason = f"{name} is not the file of the manifest (sha256 {actual:.12}, not "
            return BoardEntry(listed, path, f"{reason}{expected:.12})")
    return BoardEntry(listed, path)


def _unlisted(folder: Path, path: Path) -> list[BoardEntry]:
    """The entries that a file or subfolder without a line in the manifest holds."""
    if path.is_dir():
        found = _submissions_in(path)
        if not found:
            return [BoardEntry(Listed(path.name), path, _which(path, found))]
        if len(found) == 1:
            return [BoardEntry(Listed(path.name), found[0])]
        names = [str(one.relative_to(folder).with_suffix("")) for one in found]
        return [BoardEntry(Listed(name), one) for name, one in zip(names, found, strict=True)]
    return [BoardEntry(Listed(path.stem), path)] if _is_submission(path) else []


def _which(path: Path, found: Sequence[Path]) -> str:
    if not found:
        return f"no Python file in {path.name} defines add(model, a, b)"
    names = ", ".join(str(one.relative_to(path)) for one in found[:4])
    return f"several files in {path.name} define add ({names}); name one in the manifest"


def _submissions_in(folder: Path) -> list[Path]:
    """The Python files that define `add`, those nearest to the top only; one named submission.py
    alone where several are equally near.
    """
    level = [folder]
    for _ in range(DEEPEST + 1):
        inside = [path for one in level for path in _listing(one)]
        found = [path for path in inside if _is_submission(path)]
        if found:
            preferred = [path for path in found if path.stem == "submission"]
            return preferred if len(preferred) == 1 else found
        level = [path for path in inside if path.is_dir() and not path.is_symlink()]
    return []


def _listing(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())[:MOST_FILES]
    except OSError:
        return []
    return [path for path in inside if path.name not in SKIPPED]


def _is_submission(path: Path) -> bool:
    """Whether the file defines `add` and `build_model`, as far as can be seen without running
    it.
    """
    if path.suffix != ".py" or not path.is_file():
        return False
    text = _text(path)
    try:
        names = set(_names(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return DEFINES.search(text) is not None  # no Python: it gets a row with the reason
    return {"add", "build_model"} <= names or (
        "*" in names and not names.isdisjoint({"add", "build_model"})
    )


def _names(block: ast.AST) -> Iterator[str]:
    """What a block of code binds at the top level of its file, in conditions and the like too."""
    for node in ast.iter_child_nodes(block):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, ast.Lambda):
            yield from _names(node)


def _text(path: Path) -> str:
    """The text of a Python file, as far as it is read; empty where it cannot be."""
    try:
        return read_bytes(path, most=LONGEST_SOURCE).decode("utf-8", "replace")
    except TinyadderError:
        return ""


# ---- hashes --------------------------------------------------------------------------------------


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hashed(folder: Path, entry: BoardEntry) -> BoardEntry:
    """The entry with the hash of its files: all of its subfolder, or a file in `folder` itself and
    what stands beside it under a name that it mentions.
    """
    total, seen = hashlib.sha256(), 0
    try:
        for number, path in enumerate(_files_of(folder, entry.path)):
            seen += path.stat().st_size
            if number >= MOST_FILES or seen > MOST_BYTES:
                reason = f"it is more than {MOST_FILES:,} files or {MOST_BYTES >> 20} MiB"
                return replace(entry, reason=entry.reason or reason)
            total.update(f"{path.relative_to(folder)}\0{_sha256(path)}\0".encode())
    except (OSError, UnicodeEncodeError) as error:
        return replace(entry, reason=entry.reason or f"cannot read its files: {error}")
    return replace(entry, digest=total.hexdigest())


def _files_of(folder: Path, path: Path) -> Iterator[Path]:
    top = path
    while top.parent != folder and top.parent != top:
        top = top.parent
    if top.is_dir():
        yield from _below(top)
    elif top.is_file():
        yield top
        text = _text(top)
        for beside in sorted(folder.iterdir()):
            name = beside.stem if beside.suffix == ".py" else beside.name
            if beside not in (top, folder / MANIFEST) and name in text:
                yield from _below(beside)


def _below(path: Path) -> Iterator[Path]:
    if path.is_symlink() or path.name in SKIPPED:
        return
    if path.is_dir():
        for inside in sorted(path.iterdir()):
            yield from _below(inside)
    elif path.is_file():
        yield path


@cache
def judge_version() -> str:
    """The version of tinyadder, and a hash of the code that judges."""
    root = Path(str(files("tinyadder"))) / "verify"
    code = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if "certify" not in path.parts:
            code.update(path.read_bytes())
    return f"{version('tinyadder')}+{code.hexdigest()[:12]}"


# ---- one entry -----------------------------------------------------------------------------------


def measure(entry: BoardEntry, row: BoardRow) -> BoardRow:
    """`row` with what can be found out about the entry; what cannot has its reason in it.

    Every step runs the entry in a process of its own. No exception of the entry or of a step leaves
    this function, but a stop by the user does.
    """
    started = time.monotonic()
    for step, function in STEPS.items():
        try:
            row = replace(row, **function(entry, row))
        except TinyadderError as error:
            row = replace(row, failed={**row.failed, step: _reason(error, entry)})
        except Exception as error:  # a bug of ours must not end the run of all entries
            text = f"tinyadder failed ({type(error).__name__}: {error!s:.200}); please report it"
            row = replace(row, failed={**row.failed, step: text})
    reason = "" if row.verdict else row.failed.get("verdict", "no verdict")
    return replace(row, reason=reason, wall=round(time.monotonic() - started, 1))


def _reason(error: TinyadderError, entry: BoardEntry) -> str:
    """The message without the paths of this machine."""
    text = str(error).removeprefix(f"{entry.path}").removeprefix(":")
    return text.replace(f"{entry.path.parent}/", "").replace(f"{PACKAGES}/", "").strip()[:400]


Measuring = Callable[[BoardEntry, BoardRow], dict[str, Any]]


def _verdict(entry: BoardEntry, row: BoardRow) -> dict[str, Any]:
    from tinyadder.verify.external.judge import judge

    found = judge(
        Submission(entry.path), seconds=row.seconds, seed=row.seed, loading=LOADING_SECONDS
    )
    wrong = found.counterexample
    margin = found.smallest[0] if found.smallest else None
    return {
        "verdict": type(found.verdict).__name__.lower(),
        "text": found.line(),
        "pair": wrong and tuple(wrong.problem),
        "got": wrong.answers()[1] if wrong else "",
        "by": wrong.only if wrong else "",
        "replay": _replay(entry, wrong.shown) if wrong else "",
        "margin": margin,
        "per_second": round(found.sums_per_second, 1),
        "suite": found.suite if found.suite[1] else None,
        "decoding": found.decoding,
        "asked": {part.name: part.asked for part in found.parts},
    }


def _replay(entry: BoardEntry, shown: str) -> str:
    """The command line that asks one sum again, from the folder of the entries."""
    return shlex.join(["tinyadder", "verify", entry.file, "--problem", shown])


def _counts(entry: BoardEntry, row: BoardRow) -> dict[str, Any]:
    from tinyadder.verify.count.claims import matched
    from tinyadder.verify.count.foreign import count_submission

    submission = Submission(entry.path)
    with submission.session() as session:
        found = dict(count_submission(session, submission.place).counts)
    own = found.pop("claimed", None)
    claim = own if row.listed.claim is None else row.listed.claim
    return {"counts": found, "claim": "" if claim is None else str(matched(claim, found))}


def _legality(entry: BoardEntry, row: BoardRow) -> dict[str, Any]:
    from tinyadder.verify.external.legality import foreign_legality

    random = Random(row.seed)
    pairs = [(random.randrange(10**10), random.randrange(10**10)) for _ in range(PROBED)]
    found = foreign_legality(Submission(entry.path), pairs, seed=row.seed)
    return {"legality": tuple(BoardFinding(f.check, f.passed, f.said) for f in found)}


STEPS: dict[str, Measuring] = {"verdict": _verdict, "counts": _counts, "legality": _legality}
"""What is done with an entry, in this order: fields of its row."""

Tell = Callable[[int, BoardEntry, BoardRow | None], None]
"""Called with the number of an entry, the entry, and None before, its row after it is judged."""

# ---- all entries ---------------------------------------------------------------------------------


def row_file(out: Path, name: str) -> Path:
    """Where the row of an entry is kept: under its name, or its hash where that is no file name."""
    if NAME.fullmatch(name):
        return out / ROWS / f"{name}.json"
    return out / ROWS / f"entry-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def read_row(path: Path) -> BoardRow:
    """The row in a file. Raises `TinyadderError` where there is none."""
    try:
        data = json.loads(read_bytes(path, most=LONGEST_ROW))
    except (ValueError, RecursionError) as error:
        raise TinyadderError(
            f"{path} is no row of a board ({error}); remove it, or choose another --out"
        ) from None
    return from_json(BoardRow, data, str(path))


def judge_board(
    entries: Sequence[BoardEntry],
    out: Path,
    *,
    seconds: float,
    seed: int = 0,
    again: bool = False,
    tell: Tell = lambda number, entry, row: None,
) -> Iterator[BoardRow]:
    """The rows of the entries, one after the other, each kept in `out` as soon as it is finished.

    A row that is there already is used again where it holds for the same files, code, seconds and
    seed, unless `again`. `tell` is called for an entry before it is judged (row None) and after.
    Raises `TinyadderError` for a file in a row's place that is none, before anything is judged.
    """
    known = {}
    for entry in entries:
        path = row_file(out, entry.name)
        if os.path.lexists(path):
            known[entry.name] = read_row(path)
    for number, entry in enumerate(entries, 1):
        fresh = BoardRow(
            entry.listed, entry.digest, judge_version(), seconds, seed, time.strftime("%Y-%m-%d")
        )
        before = known.get(entry.name)
        if entry.reason:
            row = replace(fresh, reason=entry.reason)
            write_text(row_file(out, entry.name), row_json(row))
        elif before is not None and not again and _holds(before, fresh):
            row = replace(before, listed=entry.listed)
        else:
            tell(number, entry, None)
            row = measure(entry, fresh)
            write_text(row_file(out, entry.name), row_json(row))
        tell(number, entry, row)
        yield row


def _holds(before: BoardRow, fresh: BoardRow) -> bool:
    return all(
        getattr(before, key) == getattr(fresh, key)
        for key in ("digest", "version", "seconds", "seed")
    ) and (before.listed.claim == fresh.listed.claim)


def row_json(row: BoardRow) -> str:
    """A row as JSON; see `read_row`."""
    return json.dumps(asdict(row), indent=1, ensure_ascii=True) + "\n"
