"""Files: written whole or not at all, several at one commit point, one writer at a time; read with
a bound.

Whatever a killed run leaves behind has a name that begins with `.tinyadder-`; the next run in that
folder removes it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, BinaryIO

from tinyadder.errors import TinyadderError

SCRATCH = ".tinyadder-"
"""How the names of temporary folders and of lock files begin."""
COMMIT, LOCK = f"{SCRATCH}commit", f"{SCRATCH}lock"
OTHER_OUT = "choose another --out"

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def check_name(name: object) -> str:
    """`name`, which may become part of a path: at most 100 letters, digits, `_ - .`, no `-` or `.`
    first.

    Raises `TinyadderError` for anything else.

    >>> check_name("add10-4.2")
    'add10-4.2'
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise TinyadderError(
            f"{name!r:.60} is no name of a model; expected at most 100 letters, digits, '_', '-',"
            " '.', a letter, a digit or '_' first"
        )
    return name


def below(folder: Path, name: str) -> Path:
    """`folder / name`. Raises `TinyadderError` where `name`, which comes from data, leads out of
    `folder`.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path.resolve() == folder.resolve():
        raise TinyadderError(f"{name!r:.60} does not name a file in {folder}")
    return path


# ---- writing -------------------------------------------------------------------------------------


@contextmanager
def atomic_write(path: Path, *, way_out: str = OTHER_OUT, replace: bool = True) -> Iterator[Path]:
    """A path on the same disk, of the same name, that takes the place of `path` when the block has
    ended well.

    What is there stays as it was until then, and nothing half-written is left where the block
    fails; a killed process leaves a temporary folder that the next one removes. The block writes a
    file. Raises `TinyadderError`, which ends in `way_out`, for whatever keeps it from being
    written: no permission, no space; without `replace`, a file that is there.
    """
    try:
        with _scratch(path.parent) as scratch:
            part = scratch / path.name
            yield part
            _flush(part)
            (os.replace if replace else os.link)(part, path)  # a link refuses to replace
    except OSError as error:
        raise cannot_write(path, error, way_out) from error


def write_text(path: Path, text: str, *, way_out: str = OTHER_OUT, replace: bool = True) -> None:
    """`atomic_write` of UTF-8 text."""
    with atomic_write(path, way_out=way_out, replace=replace) as part:
        part.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str, *, way_out: str = OTHER_OUT) -> None:
    """Append `line`, which ends in a newline, whole or not at all; the folder is made if need be.

    A kill can cut it short: who reads the file leaves out a last line without its newline. Raises
    `TinyadderError` where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as file:
            before, content = file.tell(), line.encode()
            try:
                while content:
                    content = content[file.write(content) :]
            except OSError:
                file.truncate(before)
                if not before:
                    path.unlink()
                raise
    except OSError as error:
        raise cannot_write(path, error, way_out) from error


def write_together(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    remove: Sequence[str] = (),
    way_out: str = OTHER_OUT,
) -> None:
    """Write `files` (name -> content) into `folder` and drop those named in `remove`, at one commit
    point.

    The new files are written to a temporary folder in `folder`; its renaming to `.tinyadder-commit`
    is the commit point. From then on the files belong in the place of the old ones: `recover`,
    which every reader calls, finishes that after a kill. All other files of `folder` stay. Raises
    `TinyadderError` where it cannot be written.
    """
    try:
        with _scratch(folder) as scratch:
            for kind in ("new", "gone"):
                (scratch / kind).mkdir()
            for name, content in files.items():
                part = below(scratch / "new", name)
                part.write_bytes(content)
                _flush(part)
            for name in remove:
                below(scratch / "gone", name).touch()
            with lock(folder, "replacing its files", wait=60):
                _finish(folder)
                os.rename(scratch, folder / COMMIT)
                _finish(folder)
    except OSError as error:
        raise cannot_write(folder, error, way_out) from error


def recover(folder: Path) -> None:
    """Finish a `write_together` that was killed after its commit point. Raises `TinyadderError`
    where that fails.
    """
    if os.path.lexists(folder / COMMIT):
        try:
            with lock(folder, "replacing its files", wait=60):
                _finish(folder)
        except OSError as error:
            raise TinyadderError(
                f"{folder} holds a replacement that was killed half-way and cannot be finished: "
                f"{error.strerror or error}; make the folder writable, or remove {folder / COMMIT}"
            ) from error


def _finish(folder: Path) -> None:
    """Move what was committed into place; the lock is held."""
    commit = folder / COMMIT
    if not os.path.lexists(commit):
        return
    for place in (commit, commit / "new", commit / "gone"):
        if os.path.lexists(place) and not stat.S_ISDIR(place.lstat().st_mode):
            raise OSError(
                f"{place} is not a folder"
            )  # a link would let a stranger's folder move files of others
    for part in _listed(commit / "new"):
        os.replace(part, folder / part.name)
    for mark in _listed(commit / "gone"):
        (folder / mark.name).unlink(missing_ok=True)
    shutil.rmtree(commit)


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def _make(folder: Path) -> list[Path]:
    """Make `folder` and its parents; those that were missing, innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _unmake(made: Sequence[Path]) -> None:
    """Remove what `_make` made as far as it holds nothing."""
    with suppress(OSError):  # not empty: the usual case
        for place in made:
            place.rmdir()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder in `folder`, locked while this process lives, removed at the end if it is
    still there.
    """
    made = _make(folder)
    try:
        _clean_once(folder.absolute())
        scratch, mine = _locked_scratch(folder)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            mine.release()
    finally:
        _unmake(made)


def _locked_scratch(folder: Path) -> tuple[Path, Any]:
    from filelock import FileLock, Timeout

    for _ in range(
        100
    ):  # until another process's `clean` did not come between the making and the locking
        scratch = Path(mkdtemp(prefix=SCRATCH, dir=folder))
        mine = FileLock(scratch / LOCK, timeout=0)
        try:
            mine.acquire()
            return scratch, mine
        except (FileNotFoundError, Timeout):
            continue
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
    raise OSError("other processes keep removing its temporary folders")


def clean(folder: Path) -> None:
    """Remove what processes that no longer live left in `folder`: temporary folders, a lock.

    Those of living ones are locked, and stay.
    """
    from filelock import FileLock, Timeout

    _clean_scratch(folder)
    if os.path.lexists(folder / LOCK):
        with suppress(OSError, Timeout), FileLock(folder / LOCK, timeout=0):
            (folder / LOCK).unlink()


def _clean_scratch(folder: Path) -> None:
    from filelock import FileLock, Timeout

    for path in folder.glob(f"{SCRATCH}????????"):
        if stat.S_ISDIR(path.lstat().st_mode):
            with suppress(OSError, Timeout), FileLock(path / LOCK, timeout=0):
                shutil.rmtree(path, ignore_errors=True)


@cache
def _clean_once(folder: Path) -> None:
    """`_clean_scratch`, once a process: folders of many shards are listed one time only."""
    _clean_scratch(folder)


def _flush(path: Path) -> None:
    """Have the content on the disk before its name."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def cannot_write(path: Path, error: OSError, way_out: str) -> TinyadderError:
    """The error for a path that cannot be written: why, and the way out."""
    return TinyadderError(f"cannot write {path}: {error.strerror or error}; {way_out}")


# ---- one at a time -------------------------------------------------------------------------------


@contextmanager
def lock(folder: Path, doing: str, *, wait: float = 0, way_out: str = OTHER_OUT) -> Iterator[None]:
    """Hold `folder` (made if need be) against other processes that `lock` it too, for at most one
    at a time.

    `doing` says what for: `tinyadder train addition10`. The lock ends with the process, however
    that ends. Raises `TinyadderError`, which names the holder, where another process still holds it
    after `wait` seconds.
    """
    from filelock import FileLock, Timeout

    path, made = folder / LOCK, list[Path]()
    held = FileLock(path, thread_local=False)
    try:
        made = _make(folder)
        held.acquire(timeout=wait)
    except Timeout:
        raise TinyadderError(
            f"{folder} is in use by {_holder(path)}; wait for it, or {way_out}"
        ) from None
    except OSError as error:
        _unmake(made)
        raise cannot_write(folder, error, way_out) from error
    try:
        _clean_once(folder.absolute())
        with suppress(OSError):  # a full disk: the lock holds all the same, without a name
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            path.write_text(
                f"process {os.getpid()} on {socket.gethostname()} since {since}: {doing}\n"
            )
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # whoever waits for it sees that this file is gone, and makes a new one
        held.release()
        _unmake(made)


def _holder(path: Path) -> str:
    """Who holds the lock. Whoever has just taken it needs a moment to write its name."""
    for _ in range(20):
        with suppress(TinyadderError):
            text = read_bytes(path, most=1000).decode("utf-8", "replace").strip()
            if name := "".join(c for c in text if c.isprintable()):
                return name
        time.sleep(0.05)
    return "another process"


# ---- reading -------------------------------------------------------------------------------------


def check_regular(path: Path, *, most: int, folder: Path | None = None) -> None:
    """Raise `TinyadderError` unless `path` is a file of at most `most` bytes: for a directory, a
    pipe, a device, a longer file, and with `folder` for a link out of it. Nothing is opened.
    """
    try:
        if folder is not None and not path.resolve().is_relative_to(folder.resolve()):
            raise TinyadderError(f"{path} is a link out of its folder; put the file itself there")
        _regular(path, os.stat(path), most)
    except (OSError, RuntimeError) as error:  # RuntimeError: a circle of links, before Python 3.13
        raise _cannot_read(path, error) from error


def read_bytes(path: Path, *, most: int, folder: Path | None = None) -> bytes:
    """The content of a file that passes `check_regular`. Raises `TinyadderError` for others, and
    for what is missing or unreadable.
    """
    with opened(path, most=most, folder=folder) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise too_long(path, most)
    return content


@contextmanager
def opened(path: Path, *, most: int, folder: Path | None = None) -> Iterator[BinaryIO]:
    """A file that passes `check_regular`, open for reading. Raises `TinyadderError` for others,
    and for what is missing or unreadable.
    """
    check_regular(path, most=most, folder=folder)
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            _regular(path, os.fstat(file.fileno()), most)
            yield file
    except OSError as error:
        raise _cannot_read(path, error) from error


def _without_waiting(name: str, flags: int) -> int:
    """For `open`: a pipe that took the file's place in the meantime is not waited for."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _cannot_read(path: Path, error: Exception) -> TinyadderError:
    return TinyadderError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}")


def _regular(path: Path, status: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise TinyadderError(f"cannot read {path}: it is {kind}, not a file")
    if status.st_size > most:
        raise too_long(path, most)


def too_long(path: Path, most: int) -> TinyadderError:
    """The error for a file of more than `most` bytes."""
    return TinyadderError(
        f"{path} is longer than {most:,} bytes, the most that is read of such a file"
    )
