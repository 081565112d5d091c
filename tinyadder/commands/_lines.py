"""Problems from standard input: as they come, one block after another, in bounded memory."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from tinyadder.errors import TinyadderError

BLOCK = 2**20
"""Bytes that are answered at once where so many wait; a line may not be longer."""
BOM = b"\xef\xbb\xbf"


def standard_input() -> BinaryIO:
    """Raises `TinyadderError` where standard input is closed or is a folder."""
    if sys.stdin is None:
        raise TinyadderError("standard input is closed; give problems, one a line")
    stream: BinaryIO = sys.stdin.buffer
    try:
        if os.path.isdir(stream.fileno()):
            raise TinyadderError("standard input is a folder; give a file of problems, one a line")
    except OSError:
        pass  # a stream of the tests has no file
    return stream


def blocks(stream: BinaryIO) -> Iterator[bytes]:
    r"""What waits in `stream`, about `BLOCK` bytes at most: whole lines, each ending in b"\n".

    Never waits for more while a whole line is there: a program that asks one line and waits for its
    answer gets it. A byte order mark at the beginning is dropped; "\r" ends a line too. A line
    longer than `BLOCK` comes as its beginning and a remark, which no task takes.
    """
    held, first, skipping = b"", True, False
    while read := _available(stream, len(held)):
        held += read
        if first and (len(held) >= len(BOM) or not BOM.startswith(held)):
            held, first = held.removeprefix(BOM), False
        last = held.endswith(b"\r")  # perhaps half of a "\r\n"
        body = (held[:-1] if last else held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        whole, newline, rest = body.rpartition(b"\n")
        held = rest + b"\r" * last
        lines = whole + newline
        if newline and skipping:
            lines, skipping = lines.partition(b"\n")[2], False
        if lines:
            yield lines
        if len(held) > BLOCK:
            if not skipping:
                yield held[:40] + b"... (longer than %d bytes)\n" % BLOCK
            held, skipping = b"", True
    if held and not skipping:
        yield held.removesuffix(b"\r") + b"\n"


def _available(stream: Any, held: int) -> bytes:
    """At least one byte unless the stream has ended, then what more is there without waiting."""
    try:
        parts = [stream.read1(BLOCK)]
        while parts[-1] and sum(map(len, parts)) + held < BLOCK and _ready(stream):
            parts.append(stream.read1(BLOCK))
    except OSError as error:
        raise TinyadderError(f"cannot read standard input: {error.strerror or error}") from error
    return b"".join(parts)


def _ready(stream: Any) -> bool:
    """Whether a read would not wait."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):
        return False
