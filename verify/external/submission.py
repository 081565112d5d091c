"""Somebody's submission, run in a process of its own: where it lies, and what is asked of it.

A submission is code. It runs in a sandbox (`tinyadder.verify.external.sandbox`), its output thrown
away; what it gives comes as frames over a pipe, bounded, each with the nonce of its request and
checked against the type that the asker expects. It never says what is right.
"""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.machinery import PathFinder
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict

import msgspec

from tinyadder.construction import defined
from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal
from tinyadder.verify.external.frames import Answer, Failure, Progress, Request, Unpacker, packed
from tinyadder.verify.external.worker import Setup

SECONDS = 120.0
"""Wall-clock limit of one request; that of the first includes the start of torch."""
TOTAL = 3600.0
"""The same of a session, all its requests together."""
GIBIBYTES = 6.0
"""Limit on the address space; torch alone maps about 3."""
TAIL = 200
"""Characters of a stranger's message that are shown."""
PACKAGES = Path(str(files("tinyadder"))).resolve().parent
"""Where the process finds this very package."""
CONTRACT = "a submission has build_model() and add(model, a, b)"

Watch = Callable[[Progress], None]


class OutOfTime(TinyadderError):
    """A limit on time was reached and the process stopped; `last` is what it reported before."""

    last: Progress | None = None


class Answers(TypedDict):
    """What the job `add` gives."""

    answers: list[int | str]


@dataclass(frozen=True)
class Place:
    """Where the code of a submission lies; found without running any of it."""

    file: Path
    """The file that defines `build_model` and `add`."""
    root: Path
    """The folder that its imports start from."""
    module: str
    """Its dotted name there, "" for a file that is in no package."""
    attribute: str = ""
    """The object of the module that has both, "" for the module itself."""


@dataclass(frozen=True)
class Submission:
    """A submission and the limits it runs under.

    `given` is a Python file, a folder (a package, or with one file that defines a submission), or
    the import path of a module (`pkg.mod`); each may be followed by `:NAME`, an object there that
    has `build_model` and `add`.
    """

    given: str | Path
    seconds: float = SECONDS
    gibibytes: float = GIBIBYTES
    total: float = TOTAL

    def __post_init__(self) -> None:
        _ = self.place

    @cached_property
    def place(self) -> Place:
        """Where the code lies. Raises `TinyadderError` where there is none."""
        return locate(str(self.given))

    @property
    def path(self) -> Path:
        """The file that defines `build_model` and `add`."""
        return self.place.file

    @property
    def source(self) -> str:
        """The text of the file. Raises `TinyadderError` where it is none."""
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TinyadderError(f"cannot read {self.path}: {error}") from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One process that has the model loaded once and answers many requests."""
        session = Session(self)
        try:
            yield session
        finally:
            session.close()

    def ask(self, do: str, *, reply: Any = dict[str, Any], **job: Any) -> Any:
        """One request to a process of its own: see `Session.ask`."""
        with self.session() as session:
            return session.ask(do, reply=reply, **job)

    def add(self, pairs: Sequence[tuple[int, int]]) -> list[int | str]:
        """What `add(model, a, b)` returns for each pair: an integer, or in words what it was
        instead.
        """
        with self.session() as session:
            return session.add(pairs)


class Session:
    """The process of a submission. Whatever it started ends with it."""

    def __init__(self, submission: Submission) -> None:
        self._name, self._seconds = str(submission.given), submission.seconds
        self._end = time.monotonic() + submission.total
        self._unpacker, self._errors = Unpacker(), bytearray()
        self._ready: list[bytes] = []
        self._last: Progress | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="submission-")
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        allowed = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR", "TEMP")
        environment = {name: os.environ[name] for name in allowed if name in os.environ}
        environment |= {
            "PYTHONPATH": str(PACKAGES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
        }
        worker = "tinyadder.verify.external.worker"
        self._process = subprocess.Popen(
            [sys.executable, "-m", worker, str(requests), str(replies)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(requests, replies),
            cwd=self._folder.name,
            env=environment,
            start_new_session=True,
        )
        os.close(requests)
        os.close(replies)
        os.set_blocking(self._requests, False)
        place = submission.place
        setup = Setup(
            str(place.file),
            str(place.root),
            place.module,
            place.attribute,
            submission.total,
            int(submission.gibibytes * 2**30),
        )
        self._unsent = packed(setup)

    def ask(
        self,
        do: str,
        *,
        reply: Any = dict[str, Any],
        limit: float | None = None,
        watch: Watch | None = None,
        **job: Any,
    ) -> Any:
        """Run the job `do` (a name in `tinyadder.verify.external.worker.JOBS`, or "module:function"
        of one) with these arguments on the loaded model, and return what it found.

        `reply` is the type that the result must have (a TypedDict, a msgspec.Struct, ..), `limit`
        the seconds it may take [the submission's], `watch` is called with what the job reports on
        its way. Raises `TinyadderError`, one line, for a submission that crashes, takes too much
        memory, breaks the contract or answers with something else, and `OutOfTime` (with the last
        report in `last`) for one that takes too long.
        """
        if self._process.poll() is not None or self._requests < 0:
            raise TinyadderError(f"{self._name}: its process has ended; start a new session")
        nonce = secrets.token_hex(16)
        self._unsent += packed(Request(nonce, do, job))
        self._last = None
        for body in self._bodies(self._seconds if limit is None else limit):
            answer = self._checked(body, Answer)
            if answer.nonce != nonce:
                self._broken("an answer that was not asked for")
            if isinstance(answer, Failure):
                raise TinyadderError(f"{self._name}: {terminal(answer.error[:TAIL])}")
            if not isinstance(answer, Progress):
                return self._checked(bytes(answer.data), reply)
            self._last = answer
            if watch is not None:
                watch(answer)
        raise AssertionError("not reached")

    def add(self, pairs: Sequence[tuple[int, int]], watch: Watch | None = None) -> list[int | str]:
        """What `add(model, a, b)` returns for each pair: an integer, or in words what it was
        instead.
        """
        job = [list(pair) for pair in pairs]
        found: Answers = self.ask("add", reply=Answers, watch=watch, pairs=job)
        if len(found["answers"]) != len(pairs):
            self._broken(f"{len(found['answers'])} answers to {len(pairs)} questions")
        return found["answers"]

    def close(self) -> None:
        """End the process and whatever it started."""
        if self._requests < 0:
            return
        os.close(self._requests)
        self._requests = -1
        _stop(self._process)
        os.close(self._replies)
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._folder.cleanup()

    def _checked(self, body: bytes, kind: Any) -> Any:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return self._broken(f"something else than a result: {error}")

    def _broken(self, why: str) -> Any:
        self.close()
        raise TinyadderError(f"{self._name}: its process sent {terminal(why[:TAIL])}")

    def _bodies(self, seconds: float) -> Iterator[bytes]:
        """Frames as they arrive, while what is unsent is sent. Raises `TinyadderError` at the end
        of the process or of the time.
        """
        end = min(time.monotonic() + seconds, self._end)
        assert self._process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(self._process.stderr, selectors.EVENT_READ)
            selector.register(self._requests, selectors.EVENT_WRITE)
            while True:
                while self._ready:
                    yield self._ready.pop(0)
                left = end - time.monotonic()
                if left <= 0:
                    self.close()
                    stopped = OutOfTime(
                        f"{self._name} did not finish within {seconds:g} s and was stopped"
                    )
                    stopped.last = self._last
                    raise stopped
                for key, _ in selector.select(min(left, 1.0)):
                    self._move(key.fd, selector)

    def _move(self, descriptor: int, selector: selectors.BaseSelector) -> None:
        """Read or write what can be read or written now."""
        if descriptor == self._requests:
            try:
                self._unsent = self._unsent[os.write(descriptor, self._unsent) :]
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._unsent = b""
            if not self._unsent:
                selector.unregister(descriptor)
            return
        more = os.read(descriptor, 2**16)
        if descriptor != self._replies:
            self._errors += more
            del self._errors[:-4000]
            if not more:
                selector.unregister(descriptor)
        elif more:
            try:
                self._ready += self._unpacker.feed(more)
            except ValueError as error:
                self._broken(str(error))
        else:
            self._ended()

    def _ended(self) -> None:
        """Raise, in words, how a process ended that left no answer."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._broken("nothing more and went on")
        stderr = self._process.stderr
        assert stderr is not None
        os.set_blocking(stderr.fileno(), False)
        self._errors += stderr.read() or b""
        lines = self._errors[-4000:].decode(errors="replace").strip().splitlines()
        self.close()
        if code == -signal.SIGXCPU:
            raise TinyadderError(f"{self._name} used up its processor time and was stopped")
        how = f"ended its process with exit code {code}"
        if code < 0:
            how = f"was ended by signal {-code}"
        last = f": {terminal(lines[-1][:TAIL])}" if lines else " and said nothing"
        raise TinyadderError(f"{self._name} {how}{last}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


# ---- where the code lies -------------------------------------------------------------------------


def locate(given: str) -> Place:
    """Find a file, folder or import path, each with or without `:NAME`, without running anything.

    Raises `TinyadderError` where there is none, or no telling which.
    """
    name, attribute = given, ""
    if not Path(given).exists() and ":" in given:
        name, _, attribute = given.rpartition(":")
    path = Path(name)
    if path.is_dir():
        return _named(_file_of(path), attribute)
    if path.is_file():
        if path.suffix != ".py":
            raise TinyadderError(f"{given} is no Python file (.py); {CONTRACT}")
        return _named(path, attribute)
    parts = name.split(".")
    if name.endswith(".py") or not all(part.isidentifier() for part in parts):
        raise TinyadderError(f"{given} is not a file, folder or import path (pkg.mod); {CONTRACT}")
    places: list[str] | None = [str(Path.cwd()), *sys.path]
    for k in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: k + 1]), places)
        if spec is None:
            raise TinyadderError(f"there is no module {name} here or among the installed packages")
        places = list(spec.submodule_search_locations or [])
    assert spec is not None
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise TinyadderError(f"the module {name} is no Python file; {CONTRACT}")
    return _named(Path(spec.origin), attribute)


def _named(file: Path, attribute: str) -> Place:
    """The dotted name of a file within the packages that it lies in."""
    file = file.resolve()
    root, parts = file.parent, [] if file.name == "__init__.py" else [file.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        parts, root = [root.name, *parts], root.parent
    alone = root == file.parent
    return Place(file, root, "" if alone else ".".join(parts), attribute)


def _file_of(folder: Path) -> Path:
    """The file of a folder that defines a submission."""
    found = [
        path for path in sorted(folder.glob("*.py")) if {"build_model", "add"} <= _defined(path)
    ]
    if len(found) > 1:
        preferred = [path for path in found if path.stem in ("__init__", "submission")]
        if len(preferred) != 1:
            names = ", ".join(path.name for path in found[:5])
            raise TinyadderError(f"{folder}: several files define a submission ({names}): name one")
        found = preferred
    if not found:
        raise TinyadderError(f"{folder}: no file in it defines a submission; {CONTRACT}")
    return found[0]


def _defined(path: Path) -> set[str]:
    try:
        return defined(path)
    except TinyadderError:
        return set()
