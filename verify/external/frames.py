"""What the two sides say to each other: JSON values, each with its length in front, over a pipe.

Written and read by msgspec, whose encoder is compiled: code that replaces functions of `json` does
not reach it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.json import encode

MOST = 2**24
"""Bytes of one frame. A longer one is refused before it is read."""
HEAD = 4
"""Bytes of the length, the most significant first."""


class Request(msgspec.Struct):
    """Run the job `do` with these arguments; the answer repeats the nonce."""

    nonce: str
    do: str
    job: dict[str, Any]


class JobProgress(msgspec.Struct, tag="progress"):
    """How far a job is: `done` of `total` (None: unknown), and what it wants to be known by now."""

    nonce: str
    done: int
    total: int | None
    extra: dict[str, Any]


class JobResult(msgspec.Struct, tag="result"):
    """What a job returned; the asker checks it against the type that it expects."""

    nonce: str
    data: msgspec.Raw


class Failure(msgspec.Struct, tag="failure"):
    """What went wrong, in words of the other side."""

    nonce: str
    error: str


Reply = JobProgress | JobResult | Failure


def packed(value: object) -> bytes:
    """The frame of a value. Raises `TypeError`, `ValueError` or `RecursionError` for what is not
    JSON, and `ValueError` for what is too long.
    """
    body = encode(value)
    if len(body) > MOST:
        raise ValueError(f"{len(body):,} bytes; the limit is {MOST:,}")
    return len(body).to_bytes(HEAD, "big") + body


class Unpacker:
    """Frames from the bytes of a pipe, however they are cut."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, more: bytes) -> list[bytes]:
        """The bodies that are complete by now. Raises `ValueError` for a length over the limit."""
        self._bytes += more
        complete = []
        while len(self._bytes) >= HEAD:
            end = HEAD + int.from_bytes(self._bytes[:HEAD], "big")
            if end > HEAD + MOST:
                raise ValueError(f"a frame of {end - HEAD:,} bytes; the limit is {MOST:,}")
            if len(self._bytes) < end:
                break
            complete.append(bytes(self._bytes[HEAD:end]))
            del self._bytes[:end]
        return complete
