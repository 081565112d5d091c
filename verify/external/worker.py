"""Runs inside the process of a submission: answers requests, one job each, with the model loaded
once.

Started by `tinyadder.verify.external.submission` only. A job is a function `job(entry, report,
**arguments) -> dict` anywhere in the project; it returns plain values (JSON), never a verdict: what
is right is decided on the other side. `report(done, total, extra)` tells how far it is.
"""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Callable
from os import _exit, getpid, read, set_inheritable, write  # as they were before any strange code
from typing import Any

import msgspec
from msgspec.json import decode, encode

from tinyadder.errors import missing_extra
from tinyadder.verify.external.entry import BrokenContract, LoadedSubmission, ReportProgress, load
from tinyadder.verify.external.frames import (
    Failure,
    JobProgress,
    JobResult,
    Request,
    Unpacker,
    packed,
)
from tinyadder.verify.external.sandbox import Limits, enter

REPORT_EVERY = 0.05
"""Seconds between two progress frames that are sent; those in between are dropped."""
MOST_NAMED = 20
"""Functions that a submission has replaced, as far as they are listed."""
LONGEST = 80
"""Characters of an answer that is no integer."""


JOBS: dict[str, str] = {
    "about": "tinyadder.verify.external.worker:about",
    "add": "tinyadder.verify.external.worker:add",
    "observe": "tinyadder.verify.external.observe:observe",
    "record": "tinyadder.verify.external.observe:record",
}
"""Name -> "module:function". A job that is not listed is asked for by "module:function" itself."""


class Setup(msgspec.Struct):
    """The first frame: the submission and its limits."""

    nonce: str
    """Of the first answer, which says that the walls stand."""
    file: str
    roots: list[str]
    module: str
    attribute: str
    adds: bool
    """Whether it must define `add`."""
    limits: Limits
    scratch: str
    namespaces: bool


# ---- jobs ----------------------------------------------------------------------------------------


def about(entry: LoadedSubmission, report: ReportProgress) -> dict[str, Any]:
    """What kind of model it is, what its author claims, and which functions of libraries it has
    replaced.
    """
    from tinyadder.verify.external.tamper import replaced

    kind = type(entry.model)
    torch = sys.modules.get("torch")
    return {
        "kind": f"{kind.__module__}.{kind.__qualname__}"[:LONGEST],
        "module": torch is not None and isinstance(entry.model, torch.nn.Module),
        "claimed": entry.claimed,
        "replaced": replaced(entry.roots)[:MOST_NAMED],
        "metadata": {str(k)[:LONGEST]: plain(v) for k, v in list(entry.metadata.items())[:20]},
    }


def add(entry: LoadedSubmission, report: ReportProgress, pairs: list[list[int]]) -> dict[str, Any]:
    """What the submission's `add` returns for each pair: an integer, or in words what it was."""
    answers: list[int | str] = []
    for a, b in pairs:
        try:
            answers.append(plain(entry.add(entry.model, a, b)))
        except Exception as error:
            answers.append(f"raises {type(error).__name__}")
        report(len(answers), len(pairs), {})
    return {"answers": answers}


def plain(answer: Any) -> int | str:
    """The integer that an answer is (5.0 is 5, so is a tensor of one 5), else the beginning of its
    repr, or its type where the repr would be a stranger's code.
    """
    kind = type(answer).__name__
    for _ in range(2):
        try:
            if not isinstance(answer, bool | str):
                whole = int(answer) if answer == int(answer) else None
                if whole is not None:
                    return whole if abs(whole) < 2**63 else "an integer of more than 63 bits"
        except Exception:
            pass
        if not callable(getattr(answer, "item", None)):
            break
        try:
            answer = answer.item()
        except Exception:
            break
    known = isinstance(answer, bool | float | str | None) and type(answer).__repr__ in BUILT_IN
    if isinstance(answer, str):
        answer = answer[:LONGEST]
    if known:
        return ascii(answer)[:LONGEST]
    return f"not an integer: {kind}"[:LONGEST]


BUILT_IN = {kind.__repr__ for kind in (bool, float, str, type(None))}

# ---- requests ------------------------------------------------------------------------------------


class Channel:
    """Frames in and out, for the process that owns it alone: a fork of it falls silent."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests, self._replies, self._owner = requests, replies, getpid()
        self._unpacker = Unpacker()
        self._ready: list[bytes] = []
        for descriptor in (requests, replies):
            set_inheritable(descriptor, False)

    def own(self) -> None:
        """From here on this process is the one that speaks."""
        self._owner = getpid()

    def _check(self) -> None:
        if getpid() != self._owner:
            _exit(0)

    def receive(self) -> bytes | None:
        """The next body; None when the other side has closed."""
        while not self._ready:
            self._check()
            more = read(self._requests, 2**16)
            if not more:
                return None
            self._ready += self._unpacker.feed(more)
        return self._ready.pop(0)

    def send(self, value: object) -> None:
        """Write one frame. Raises what `packed` does."""
        rest = memoryview(packed(value))
        self._check()
        while rest:
            rest = rest[write(self._replies, rest) :]


def serve(channel: Channel, setup: Setup) -> None:
    """Answer requests until there are no more."""
    entry: LoadedSubmission | None = None
    while body := channel.receive():
        request = decode(body, type=Request)
        try:
            if entry is None:
                entry = load(setup.file, setup.roots, setup.module, setup.attribute, setup.adds)
            function = _job(request.do)
            data = function(entry, _reporter(channel, request.nonce), **request.job)
            channel.send(JobResult(request.nonce, msgspec.Raw(encode(data))))
        except BaseException as error:  # SystemExit and KeyboardInterrupt of the file, too
            channel.send(Failure(request.nonce, _in_words(error, setup.file)))


def _job(name: str) -> Callable[..., dict[str, Any]]:
    module, _, function = JOBS.get(name, name).partition(":")
    return getattr(importlib.import_module(module), function)


def _reporter(channel: Channel, nonce: str) -> ReportProgress:
    last = 0.0

    def report(done: int, total: int | None, extra: dict[str, Any]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_EVERY:
            last = now
            channel.send(JobProgress(nonce, done, total, extra))

    return report


def _in_words(error: BaseException, path: str) -> str:
    """One line: what happened, and where in the file."""
    if isinstance(error, BrokenContract):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return str(missing_extra(error) or f"it needs the package {error.name}, not installed here")
    try:
        text = str(error)
    except BaseException:  # a stranger's exception
        text = ""
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "it asked for more memory than it may use"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path
    ]
    first = text.strip().partition("\n")[0][:160]
    return f"{type(error).__name__}{f': {first}' if first else ''}" + (
        f" (line {lines[-1]})" if lines else ""
    )


def main() -> None:
    """Build the walls, then serve; the pipes (requests, replies, status) are named on the command
    line.
    """
    requests, replies, status = map(int, sys.argv[1:])
    sys.argv = ["submission"]
    channel = Channel(requests, replies)
    setup = decode(channel.receive() or b"", type=Setup)
    enter(setup.limits, setup.scratch, requests, status, setup.namespaces)
    channel.own()
    channel.send(JobResult(setup.nonce, msgspec.Raw(b"{}")))
    serve(channel, setup)
    _exit(0)  # handlers that the file registered for the end are not run


if __name__ == "__main__":
    main()
