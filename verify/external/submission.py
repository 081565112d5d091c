"""Somebody's submission file: `build_model()` and `add(model, a, b)` in one Python file, run in a
sandbox.

The file is code. It runs in a process of its own, with a limit on time and memory, in an empty
folder, its output thrown away; what it gives is read from one JSON file. That keeps accidents away,
not malice: the process may read and write what its user may. Community contract: `build_model`
returns the model, or the model and a dict of metadata (whose `params` is what its author claims).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError

SECONDS = 120.0
"""Wall-clock limit of one call, the start of torch included."""
GIBIBYTES = 6.0
"""Limit on the address space; torch alone maps about 3."""
TAIL = 200
PACKAGES = Path(str(files("tinyadder"))).resolve().parent
"""Where the process finds this very package."""


@dataclass(frozen=True)
class Submission:
    """A submission file and the limits it runs under."""

    path: Path
    seconds: float = SECONDS
    gibibytes: float = GIBIBYTES

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise TinyadderError(
                f"{self.path} is not a file; a submission is one Python file with build_model() and"
                " add()"
            )

    @property
    def source(self) -> str:
        """The text of the file. Raises `TinyadderError` where it is none."""
        try:
            return self.path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise TinyadderError(f"cannot read {self.path}: {error}") from error

    def ask(self, do: str, **job: Any) -> dict[str, Any]:
        """Run the job `do` of `tinyadder.verify.external.worker` on this file in a process of its
        own and return what it found.

        Raises `TinyadderError`, one line, for a file that crashes, hangs, takes too much memory,
        breaks the contract or leaves garbage.
        """
        limits = {"seconds": self.seconds, "bytes": int(self.gibibytes * 2**30)}
        given = json.dumps({"do": do, "path": str(self.path.resolve()), **limits, **job})
        with tempfile.TemporaryDirectory(prefix="submission-") as folder:
            found, errors = Path(folder) / "found.json", Path(folder) / "errors.txt"
            code = self._run(given, Path(folder), found, errors)
            try:
                data = json.loads(found.read_bytes())
            except FileNotFoundError:
                raise TinyadderError(f"{self.path} {_ended(code, errors)}") from None
            except (ValueError, RecursionError):
                raise TinyadderError(
                    f"{self.path}: what its process left behind is no JSON"
                ) from None
        if not isinstance(data, dict) or "error" in data:
            said = (
                data.get("error", "")
                if isinstance(data, dict)
                else "its process left something else than a result"
            )
            raise TinyadderError(f"{self.path}: {said}")
        return data

    def _run(self, given: str, folder: Path, found: Path, errors: Path) -> int:
        allowed = ("PATH", "HOME", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR", "TEMP")
        environment = {name: os.environ[name] for name in allowed if name in os.environ}
        environment |= {"PYTHONPATH": str(PACKAGES), "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        (folder / "work").mkdir()
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "tinyadder.verify.external.worker", str(found)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                cwd=folder / "work",
                env=environment,
                start_new_session=True,
            )
            try:
                process.communicate(given.encode(), timeout=self.seconds)
            except subprocess.TimeoutExpired:
                raise TinyadderError(
                    f"{self.path} did not finish within {self.seconds:g} s and was stopped"
                ) from None
            finally:
                _stop(process)
        return process.returncode

    def add(self, pairs: Sequence[tuple[int, int]]) -> list[int | str]:
        """What `add(model, a, b)` returns for each pair: an integer, or the repr of what is
        none.
        """
        found = self.ask("add", pairs=[list(pair) for pair in pairs])["answers"]
        if not isinstance(found, list) or len(found) != len(pairs):
            raise TinyadderError(
                f"{self.path}: its process left something else than {len(pairs)} answers"
            )
        return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


def _ended(code: int, errors: Path) -> str:
    """In words, how a process ended that left no result."""
    if code == -signal.SIGXCPU:
        return "used up its processor time and was stopped"
    lines = errors.read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
    how = f"was ended by signal {-code}" if code < 0 else f"ended its process with exit code {code}"
    return how + (f": {lines[-1][:TAIL]}" if lines else " and said nothing")
