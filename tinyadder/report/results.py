"""What was found, as committed data: one file of JSON lines for each construction or recipe in
`results/`, one line a finding, with the command that makes it again.

A finding names its model by `tinyadder.io.digest.model_digest`, so that it is never shown for other
weights, another config or another task. Certificates of proofs lie beside (`certificates.py`).
Nothing here is trusted further than its form: a reader checks what can be checked.
"""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import lexists
from pathlib import Path
from typing import Any

from tinyadder.errors import TinyadderError
from tinyadder.io.digest import model_digest
from tinyadder.io.files import check_name, lock, write_text
from tinyadder.io.text import parse_json, read_text
from tinyadder.machine.transformer import Transformer
from tinyadder.tasks.base import Task
from tinyadder.verify.verdict import verdict_from_json

FOLDER = Path("results")
LARGEST = 2**24
"""Bytes of a file of results; a larger one is not read."""


@dataclass(frozen=True)
class Result:
    """One finding and its circumstances."""

    model: str
    kind: str
    """Which check: "verified", "exhaustive", "proved", "legality", "times", ..."""
    digest: str
    """Of weights, config and task."""
    data: dict[str, Any]
    """What was found; a verdict stands under "verdict", with its type."""
    command: str
    """What makes it again. For people: nothing runs it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the construction, where they are not its defaults."""
    limits: dict[str, int] = field(default_factory=dict)
    """The part of the task's domain that was looked at, where it was not the whole."""
    seed: int | None = None
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a newer finding must share to take the place of this one; the order in the file."""
        options, limits = (json.dumps(part, sort_keys=True) for part in (self.options, self.limits))
        return self.model, self.kind, options, limits


def result(
    model: Transformer,
    task: Task,
    name: str,
    kind: str,
    data: Mapping[str, Any],
    *,
    command: str,
    options: Mapping[str, Any] | None = None,
    limits: Mapping[str, int] | None = None,
    seed: int | None = None,
) -> Result:
    """A finding of today, on this machine."""
    from importlib.metadata import version

    versions = {package: version(package) for package in ("tinyadder", "torch", "numpy")}
    versions |= {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
    return Result(
        name,
        kind,
        model_digest(model, task),
        dict(data),
        command,
        dict(options or {}),
        dict(limits or {}),
        seed,
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        versions,
    )


def results_file(folder: Path, model: str) -> Path:
    """Where the findings about `model` are; seeds of a recipe share a file.

    >>> results_file(Path("results"), "addition3-reversed/seed-1").name
    'addition3-reversed.jsonl'

    Raises `TinyadderError` for what is no name of a model.
    """
    return folder / f"{check_model_name(model).partition('/')[0]}.jsonl"


def check_model_name(model: str) -> str:
    """`model`, which becomes part of a path. Raises `TinyadderError` for what is no name of one."""
    recipe, slash, seed = model.partition("/")
    for part in (recipe, seed) if slash else (recipe,):
        check_name(part)
    return model


def write_result(result: Result, folder: Path = FOLDER, *, force: bool = False) -> Path:
    """Write `result` into its file; one with the same key is left as it is unless `force` is given.

    Raises `TinyadderError` where there is one, or the file cannot be read or written.
    """
    path = results_file(folder, result.model)
    with lock(folder, "writing a result", wait=60, way_out="try again"):
        known = _known(path)
        if not force:
            _refuse_known(result, path, known)
        known[result.key] = result
        lines = [json.dumps(vars(known[key]), ensure_ascii=False) + "\n" for key in sorted(known)]
        write_text(path, "".join(lines), way_out="free some space, or mend the permissions")
    return path


def check_new(result: Result, folder: Path = FOLDER) -> None:
    """Raises `TinyadderError` where `write_result` would: asked before long work."""
    path = results_file(folder, result.model)
    _refuse_known(result, path, _known(path))


def _known(path: Path) -> dict[tuple[str, str, str, str], Result]:
    return {one.key: one for one in _read(path)} if lexists(path) else {}


def _refuse_known(result: Result, path: Path, known: Mapping[tuple, Result]) -> None:
    if result.key in known:
        about = "".join(f", {k}={v}" for k, v in {**result.options, **result.limits}.items())
        raise TinyadderError(
            f"{path} holds a result '{result.kind}' of {result.model}{about} already; "
            "give --force to replace it"
        )


def read_results(folder: Path = FOLDER) -> list[Result]:
    """Every finding in `folder`. Raises `TinyadderError` for a line that is none."""
    return [result for path in sorted(folder.glob("*.jsonl")) for result in _read(path)]


def find_result(model: str, kind: str, folder: Path = FOLDER) -> Result:
    """The finding of this kind about a model at its default options and the whole domain.

    Raises `TinyadderError` where there is none.
    """
    for result in _read(results_file(folder, model)):
        if (result.model, result.kind, result.options, result.limits) == (model, kind, {}, {}):
            return result
    raise TinyadderError(f"{folder} has no result '{kind}' of {model}")


def _read(path: Path) -> list[Result]:
    results = []
    lines = read_text(path, most=LARGEST).split("\n")
    for number, line in enumerate(filter(None, lines), start=1):
        try:
            one = Result(**parse_json(line, "it"))
            need(vars(one), RESULT)
            need(one.data, DATA)
            if "verdict" in one.data:
                verdict_from_json(one.data["verdict"])
            if results_file(path.parent, one.model) != path:
                raise ValueError(f"a result of {one.model} stands in another model's file")
        except (ValueError, TypeError, RecursionError) as error:
            raise TinyadderError(
                f"{path}, line {number} does not hold a result: {error}; remove it or make it again"
            ) from error
        results.append(one)
    return results


# ---- the schema of the data --------------------------------------------------------------------

Schema = type | tuple[type, ...] | Mapping[str, Any] | list[Any]
"""Types that a value may have, the schemas of the entries of a mapping, or [schema of all]."""

NUMBER = (int, float)
MAYBE = (int, float, type(None))
RESULT: Schema = {
    **dict.fromkeys(("model", "kind", "digest", "command", "date"), str),
    **dict.fromkeys(("data", "options", "limits", "versions"), dict),
    "seed": (int, type(None)),
}
DATA: Schema = {
    "findings": [{"check": str, "passed": (bool, type(None)), "said": str}],
    "build_seconds": MAYBE,
    "decoded_per_second": NUMBER,
    "proof_seconds": MAYBE,
    "check_seconds": MAYBE,
    "certificate_bytes": (int, type(None)),
    "share": [NUMBER],
    "wrong": int,
    "count": int,
    "domain": str,
}
"""Of what pages and tables read."""


def need(value: Any, schema: Schema, place: str = "the result") -> None:
    """Raise TypeError unless `value` fits; entries without a schema may be anything.

    >>> need({"wrong": "0"}, {"wrong": int})
    Traceback (most recent call last):
    TypeError: wrong is '0', expected int
    """
    if isinstance(schema, Mapping):
        need(value, dict, place)
        for name in schema.keys() & value.keys():
            need(value[name], schema[name], name)
    elif isinstance(schema, list):
        need(value, list, place)
        for one in value:
            need(one, schema[0], place)
    else:
        kinds = schema if isinstance(schema, tuple) else (schema,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise TypeError(f"{place} is {value!r:.40}, expected {expected}")
