"""Somebody's submission, run in a process of its own: where it lies, and what is asked of it.

A submission is code. It runs in a sandbox (`tinyadder.verify.external.sandbox`), its output thrown
away; what it gives comes as frames over a pipe, bounded, each with the nonce of its request and
checked against the type that the asker expects. It never says what is right.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn, TypedDict

import msgspec

from tinyadder.construction import module_file, submissions_in
from tinyadder.errors import TinyadderError
from tinyadder.escape import terminal
from tinyadder.verify.external.frames import Failure, JobProgress, Reply, Request, Unpacker, packed
from tinyadder.verify.external.sandbox import MOST_PROCESSES, Ended, Limits
from tinyadder.verify.external.worker import Setup

log = logging.getLogger("tinyadder")

SECONDS = 120.0
"""Wall-clock limit of one request; that of the first includes the start of torch."""
TOTAL = 3600.0
"""Limit of a session, all its requests together, on wall-clock and on processor time."""
GIBIBYTES = 6.0
"""Limit on the address space; torch alone maps about 3."""
TAIL = 200
"""Characters of a stranger's message that are shown."""
PACKAGES = Path(str(files("tinyadder"))).resolve().parent
"""Where the process finds this very package."""
START = 60.0
"""Seconds that a process may take to start, before it runs anything of a submission."""
PATIENCE = 2.0
"""Seconds that a process may take to end."""
PROJECT = (".git", "pyproject.toml", "setup.py", "requirements.txt", "README.md")
CONTRACT = "a submission has build_model() and add(model, a, b)"

Watch = Callable[[JobProgress], None]


class OutOfTime(TinyadderError):
    """A limit on time was reached and the process stopped; `last` is what it reported before."""

    last: JobProgress | None = None


class Answers(TypedDict):
    """What the job `add` gives."""

    answers: list[int | str]


class About(TypedDict):
    """What the job `about` gives."""

    kind: str
    """Of the model."""
    module: bool
    """Whether that is a torch module."""
    claimed: int | None
    replaced: list[str]
    """Functions of libraries that the submission has replaced."""
    metadata: dict[str, int | str]


@dataclass(frozen=True)
class CodePlace:
    """Where the code of a submission lies; found without running any of it."""

    file: Path
    """The file that defines `build_model` and `add`."""
    roots: tuple[Path, ...]
    """The folders that its imports start from: its own, and that of the project it lies in."""
    module: str
    """Its dotted name in the first, "" for a file that is in no package."""
    attribute: str = ""
    """The object of the module that has both, "" for the module itself."""

    @property
    def visible(self) -> list[Path]:
        """What its process may read: its folders, of a home folder (or /) only the file."""
        open_to_all = (Path("/"), Path.home())
        return [self.file, *(root for root in self.roots if root not in open_to_all)]


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
    sandbox: bool = True
    """False: a process with limits, without namespaces, as where the system makes none."""
    adds: bool = True
    """False: it needs no `add`; it is judged on a task that the asker names."""

    def __post_init__(self) -> None:
        _ = self.place

    @cached_property
    def place(self) -> CodePlace:
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

    def ask(self, do: str, *, reply: Any, **job: Any) -> Any:
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
        self._submission, self._name = submission, str(submission.given)
        self._end = time.monotonic() + submission.total
        try:
            self._start(submission.sandbox and not _refused)
        except _NoNamespaces as error:
            _refused.append(str(error))
            self._start(False)

    def _start(self, namespaces: bool) -> None:
        """Start the process and wait until its walls stand."""
        if not namespaces:
            _warn(_refused[0] if _refused else "it was asked not to be used")
        submission, place = self._submission, self._submission.place
        self._unpacker, self._errors, self._status = Unpacker(), bytearray(), b""
        self._ready: list[bytes] = []
        self._last: JobProgress | None = None
        self._closed = self._running = False
        self._folder = tempfile.TemporaryDirectory(prefix="submission-", ignore_cleanup_errors=True)
        scratch = Path(self._folder.name) / "scratch"
        scratch.mkdir()
        theirs, self._requests = os.pipe()
        pipes = [os.pipe(), os.pipe(), os.pipe()]
        self._replies, self._said, self._stderr = (ours for ours, _ in pipes)
        passed = (theirs, pipes[0][1], pipes[1][1])
        worker = "tinyadder.verify.external.worker"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", worker, *map(str, passed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=pipes[2][1],
            pass_fds=passed,
            cwd=scratch,
            env=_environment(),
            start_new_session=True,
        )
        for descriptor in (*passed, pipes[2][1]):
            os.close(descriptor)
        os.set_blocking(self._requests, False)
        nonce = secrets.token_hex(16)
        setup = Setup(
            nonce=nonce,
            file=str(place.file),
            roots=[str(root) for root in place.roots],
            module=place.module,
            attribute=place.attribute,
            adds=submission.adds,
            limits=Limits(
                submission.total,
                int(submission.gibibytes * 2**30),
                [str(path) for path in place.visible],
            ),
            scratch=str(scratch),
            namespaces=namespaces,
        )
        self._unsent = packed(setup)
        self._answer(nonce, dict[str, Any], START, None)
        self._running = True

    def ask(
        self,
        do: str,
        *,
        reply: Any,
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
        if self._closed:
            raise TinyadderError(f"{self._name}: its process has ended; start a new session")
        nonce = secrets.token_hex(16)
        self._unsent += packed(Request(nonce, do, job))
        return self._answer(
            nonce, reply, self._submission.seconds if limit is None else limit, watch
        )

    def add(self, pairs: Sequence[tuple[int, int]], watch: Watch | None = None) -> list[int | str]:
        """What `add(model, a, b)` returns for each pair: an integer, or in words what it was
        instead.
        """
        job = [list(pair) for pair in pairs]
        found: Answers = self.ask("add", reply=Answers, watch=watch, pairs=job)
        if len(found["answers"]) != len(pairs):
            self._broken(f"{len(found['answers'])} answers to {len(pairs)} questions")
        return found["answers"]

    def about(self) -> About:
        """What it is, without any sum."""
        found: About = self.ask("about", reply=About)
        return found

    def close(self) -> None:
        """End the process and whatever it started."""
        if self._closed:
            return
        self._closed = True
        os.close(self._requests)  # which the supervisor sees
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(PATIENCE)
                break
            except subprocess.TimeoutExpired:  # a fork of ours may still hold the pipe
                os.killpg(self._process.pid, number)
        self._process.wait()
        for descriptor in (self._replies, self._said, self._stderr):
            os.close(descriptor)
        self._folder.cleanup()

    def _answer(self, nonce: str, reply: Any, seconds: float, watch: Watch | None) -> Any:
        """The result that bears the nonce."""
        self._last = None
        for body in self._bodies(seconds):
            answer: Reply = self._read(body, Reply)
            if answer.nonce != nonce:
                self._broken("an answer that was not asked for")
            if isinstance(answer, Failure):
                raise TinyadderError(f"{self._name}: {terminal(answer.error[:TAIL])}")
            if not isinstance(answer, JobProgress):
                return self._read(bytes(answer.data), reply)
            answer.extra = _shown(answer.extra)
            self._last = answer
            if watch is not None:
                watch(answer)
        raise AssertionError("not reached")

    def _read(self, body: bytes, kind: Any) -> Any:
        try:
            if kind is Reply:
                return msgspec.json.decode(body, type=kind)
            return msgspec.convert(_shown(msgspec.json.decode(body)), kind, str_keys=True)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return self._broken(f"something else than a result: {error}")

    def _broken(self, why: str) -> NoReturn:
        self.close()
        raise TinyadderError(f"{self._name}: its process sent {terminal(why[:TAIL])}")

    def _bodies(self, seconds: float) -> Iterator[bytes]:
        """Frames as they arrive, while what is unsent is sent. Raises `TinyadderError` at the end
        of the process or of the time.
        """
        end = min(time.monotonic() + seconds, self._end)
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(self._stderr, selectors.EVENT_READ)
            selector.register(self._requests, selectors.EVENT_WRITE)
            while True:
                while self._ready:
                    yield self._ready.pop(0)
                left = end - time.monotonic()
                if left <= 0:
                    self._out_of_time(seconds)
                for key, _ in selector.select(min(left, 1.0)):
                    self._move(key.fd, selector)

    def _out_of_time(self, seconds: float) -> NoReturn:
        self.close()
        error = OutOfTime(f"{self._name} did not finish within {seconds:g} s and was stopped")
        error.last = self._last
        raise error

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
        if descriptor == self._stderr:
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

    def _ended(self) -> NoReturn:
        """Raise, in words, how a process ended that gave no answer."""
        said = _rest(self._said)
        self._errors += _rest(self._stderr)
        lines = self._errors[-4000:].decode(errors="replace").strip().splitlines()
        self.close()
        last = f": {terminal(lines[-1][:TAIL])}" if lines else " and said nothing"
        if not said:
            how = "closed its pipe" if self._running else "could not be started"
            raise TinyadderError(f"{self._name}: its process {how}{last}")
        ended = msgspec.json.decode(said, type=Ended)
        if ended.refused:
            raise _NoNamespaces(terminal(ended.refused))
        if ended.why:
            most = {
                "memory": f"more memory than {self._submission.gibibytes:g} GiB",
                "processes": f"more than {MOST_PROCESSES} processes",
            }[ended.why]
            raise TinyadderError(f"{self._name} took {most} and was stopped")
        if ended.code == -signal.SIGXCPU:
            raise TinyadderError(f"{self._name} used up its processor time and was stopped")
        how = f"ended its process with exit code {ended.code}"
        if ended.code < 0:
            how = f"was ended by signal {-ended.code}"
        raise TinyadderError(f"{self._name} {how}{last}")


def _shown(value: Any) -> Any:
    """The same JSON value, no string of which commands a terminal or begins a line."""
    if isinstance(value, str):
        return value if value.isprintable() else terminal(value)
    if isinstance(value, list):
        return [_shown(part) for part in value]
    if isinstance(value, dict):
        return {terminal(name): _shown(part) for name, part in value.items()}
    return value


class _NoNamespaces(TinyadderError):
    """The system does not make the walls that were asked for."""


_refused: list[str] = []
"""Why this system makes no namespaces, once that is known."""


@cache
def _warn(why: str) -> None:
    log.warning(
        "no sandbox (%s): submissions run with limits on time and memory, but with your rights to"
        " files and network; docs/security.md says what that means",
        why,
    )


def _environment() -> dict[str, str]:
    """What the process is told: nothing of the user's but where programs are."""
    allowed = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in allowed if name in os.environ} | {
        "PYTHONPATH": str(PACKAGES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def _rest(descriptor: int) -> bytes:
    """What a pipe still gives within a short time."""
    found, end = b"", time.monotonic() + PATIENCE
    while len(found) < 2**16 and (left := end - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        more = os.read(descriptor, 2**12)
        if not more:
            break
        found += more
    return found


# ---- where the code lies -------------------------------------------------------------------------


def locate(given: str) -> CodePlace:
    """Find a file, folder or import path, each with or without `:NAME`, without running anything.

    Raises `TinyadderError` where there is none, or no telling which.
    """
    name, attribute = given, ""
    if not Path(given).exists() and ":" in given:
        name, _, attribute = given.rpartition(":")
    path = Path(name)
    if path.is_dir():
        return _place(_file_of(path), attribute)
    if path.is_file() and path.suffix == ".py":
        return _place(path, attribute)
    if path.exists() or name.endswith(".py"):
        what = "is no Python file (.py)" if path.exists() else "is not there"
        raise TinyadderError(f"{given} {what}; {CONTRACT}")
    file = module_file(name)
    if file is None:
        raise TinyadderError(
            f"{given} is no Python file, no folder, and no module that can be imported from here"
            f" (pkg.mod); {CONTRACT}"
        )
    return _place(file, attribute)


def _file_of(folder: Path) -> Path:
    """The file of a folder that defines a submission."""
    found = submissions_in(folder)
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found[:5])
        raise TinyadderError(f"{folder}: several files define a submission ({names}); name one")
    raise TinyadderError(f"{folder}: no file in it defines a submission; {CONTRACT}")


def _place(file: Path, attribute: str) -> CodePlace:
    """The place of a file, with its name within the packages that it lies in."""
    file = file.resolve()
    root, parts = file.parent, [] if file.name == "__init__.py" else [file.stem]
    while (root / "__init__.py").is_file() and root.name.isidentifier():
        parts, root = [root.name, *parts], root.parent
    module = "" if root == file.parent else ".".join(parts)
    project = _project(root)
    roots = [root, project, *(folder for folder in [project / "src"] if folder.is_dir())]
    return CodePlace(file, tuple(dict.fromkeys(roots)), module, attribute)


def _project(folder: Path) -> Path:
    """The nearest folder around this one that looks like a project, itself where none does."""
    for outer in (folder, *folder.parents[:3]):
        if outer != Path.home() and any((outer / name).exists() for name in PROJECT):
            return outer
    return folder
