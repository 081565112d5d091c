"""Runs inside the process of a submission file: `python -m tinyadder.verify.external.worker
RESULT`, the job as JSON on standard input.

Started by `tinyadder.verify.external.submission` only. The limits are set before a line of the file
is run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

MOST_WRITTEN = 2**26


class BrokenContract(Exception):
    """The file is not a submission."""


def _limit(seconds: float, memory: int) -> None:
    import resource

    cpu = int(seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_WRITTEN, MOST_WRITTEN))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _load(path: str) -> ModuleType:
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location("submission", path)
    if spec is None or spec.loader is None:
        raise BrokenContract("this is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["submission"] = module
    spec.loader.exec_module(module)
    for name in ("build_model", "add"):
        if not callable(getattr(module, name, None)):
            raise BrokenContract(
                f"it defines no function {name}(); a submission has build_model() and add(model,"
                " a, b)"
            )
    return module


def _build(module: ModuleType) -> tuple[Any, dict[str, Any]]:
    """The model and its metadata."""
    built = module.build_model()
    model, metadata = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
    torch = sys.modules.get("torch")  # a file that never imported it has no module to give
    if torch is None or not isinstance(model, torch.nn.Module):
        kind = type(model).__name__
        raise BrokenContract(
            f"build_model() returned a {kind}; expected a torch.nn.Module, or one and its metadata"
        )
    return model, metadata if isinstance(metadata, dict) else {}


# ---- jobs ----------------------------------------------------------------------------------------


def count(path: str, why: bool) -> dict[str, Any]:
    """The ladder of the model, every rung that needs the model itself; tensors of the file's own
    are counted, too.
    """
    module = _load(path)
    model, metadata = _build(module)
    # Here, since it imports torch, which a broken file need not wait for.
    from tinyadder.verify.count import hang_on, ladder, weights

    hang_on(
        model, {name: value for name, value in vars(module).items() if not name.startswith("__")}
    )
    listed = [vars(weight) for weight in weights(model)] if why else []
    claimed = metadata.get("params")
    return {
        "counts": ladder(model),
        "weights": listed,
        "claimed": claimed if isinstance(claimed, int) and not isinstance(claimed, bool) else None,
    }


def add(path: str, pairs: list[list[int]]) -> dict[str, Any]:
    """What the file's `add` returns for each pair; anything but an integer as its repr."""
    module = _load(path)
    model, _ = _build(module)
    return {"answers": [plain(module.add(model, a, b)) for a, b in pairs]}


def plain(answer: Any) -> int | str:
    """An integer as it is (a 0-dimensional integer tensor, too), anything else as the beginning of
    its repr.
    """
    try:
        return repr(answer) if isinstance(answer, bool) else int(answer.__index__())
    except Exception:
        return repr(answer)[:80]


def observe(path: str, pairs: list[list[int]], seed: int) -> dict[str, Any]:
    """What can be seen of the model while the file's `add` runs: see
    `tinyadder.verify.external.observe`.
    """
    module = _load(path)
    model, _ = _build(module)
    from tinyadder.verify.external.observe import observed

    return observed(model, module.add, [(a, b) for a, b in pairs], seed)


JOBS: dict[str, Callable[..., dict[str, Any]]] = {"count": count, "add": add, "observe": observe}


def _said(error: BaseException, path: str) -> str:
    """One line: what happened, and where in the file."""
    if isinstance(error, BrokenContract):
        return str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return "it asked for more memory than it may use"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == path
    ]
    first = str(error).strip().partition("\n")[0][:160]
    return f"{type(error).__name__}{f': {first}' if first else ''}" + (
        f" (line {lines[-1]})" if lines else ""
    )


def main() -> None:
    """Do the job on standard input and write what was found to the file named on the command
    line.
    """
    job = json.load(sys.stdin)
    _limit(job.pop("seconds"), job.pop("bytes"))
    do, path = job.pop("do"), job["path"]
    try:
        text = json.dumps(JOBS[do](**job))
    except BaseException as error:  # SystemExit and KeyboardInterrupt of the file, too
        text = json.dumps({"error": _said(error, path)})
    beside = Path(sys.argv[1]).with_suffix(".part")
    beside.write_text(text)
    os.replace(beside, sys.argv[1])


if __name__ == "__main__":
    main()
