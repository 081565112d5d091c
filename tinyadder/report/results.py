"""Verdicts as committed files: `results/<model>.<kind>.json`, one finding with what produced it.

A result names the model by the SHA-256 of its weights (the one in `model.json`), so a result of
older weights is never shown for newer ones.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.io.files import atomic_write
from tinyadder.io.folder import weights_digest
from tinyadder.machine.transformer import Transformer

FOLDER = Path("results")


@dataclass(frozen=True)
class Result:
    """One verdict and its circumstances."""

    model: str
    options: dict[str, Any]
    kind: str
    """Which check: "exhaustive", "sampled", "proved", "legality", ..."""
    sha256: str
    data: dict[str, Any]
    """What was found; a verdict stands under "verdict", with its type."""
    command: str
    seed: int | None
    date: str
    versions: dict[str, str]


def result(
    model: Transformer,
    name: str,
    options: Mapping[str, Any],
    kind: str,
    data: Mapping[str, Any],
    *,
    command: str,
    seed: int | None = None,
) -> Result:
    """A result of today, on this machine."""
    from importlib.metadata import version

    versions = {package: version(package) for package in ("tinyadder", "torch", "numpy")}
    versions |= {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Result(
        name, dict(options), kind, weights_digest(model), dict(data), command, seed, today, versions
    )


def write_result(
    found: Result, folder: Path = FOLDER, *, label: str = "", force: bool = False
) -> Path:
    """Write `found` to `<model>.<kind><label>.json`; an existing file is left as it is unless
    `force` is given.

    Raises `TinyadderError` where the file exists, or cannot be written.
    """
    path = folder / f"{found.model.replace('/', '-')}.{found.kind}{label}.json"
    if path.exists() and not force:
        raise TinyadderError(f"{path} holds a result already; give --force to replace it")
    with atomic_write(path, way_out="free some space, or mend the permissions") as part:
        part.write_text(json.dumps(vars(found), indent=1, ensure_ascii=False) + "\n")
    return path


def read_results(folder: Path = FOLDER) -> list[Result]:
    """Every result in `folder`, by file name. Raises `TinyadderError` for a file that holds
    something else.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Result(**json.loads(path.read_text())))
        except (ValueError, TypeError) as error:
            raise TinyadderError(
                f"{path} does not hold a result: {error}; remove it or make it again"
            ) from error
    return found
