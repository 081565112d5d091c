"""Killed before any file operation, on a full disk, two at once: nothing is lost, nothing half.

In the manner of sqlite's tests: a verb is run once to count its file operations (opening for
writing, making, renaming, removing), then again and again, killed before the first, the second, ...
"""

from __future__ import annotations

import ast
import contextlib
import gc
import io
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tinyadder.cli import main
from tinyadder.errors import TinyadderError
from tinyadder.io.folder import is_model_folder, load

ADD = ("add10", "-o", "digits=1")
RECIPE = """
task = {name = "addition", digits = 1}
model = {width = 8, layers = 1, heads = 1, d_head = 4, hidden = 4}
[data]
examples = 20
validation = 5
test = 5
[train]
steps = 4
batch = 5
warmup = 1
log_every = 1
check_every = 2
checkpoint_every = 1
"""


@dataclass(frozen=True)
class Verb:
    """A command line that writes, and what lies there before it runs."""

    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    """Commands that are run first."""
    files: dict[str, str] = field(default_factory=dict)


OTHER = ("build", "add10", "-o", "digits=2", "--out", "m")
VERBS = {
    "build": Verb(("build", *ADD, "--out", "m")),
    "build --force": Verb(("build", *ADD, "--out", "m", "--force"), (OTHER,)),
    "prove --out": Verb(("prove", *ADD, "--out", "m", "--force"), (OTHER,)),
    "export --to json": Verb(
        ("export", *ADD, "--to", "json", "--out", "x", "--force"), files={"x": "{}"}
    ),
    "export --to submission": Verb(("export", *ADD, "--to", "submission", "--out", "x.py")),
    "export --to hub": Verb(("export", *ADD, "--to", "hub", "--out", "m", "--force"), (OTHER,)),
    "exhaust --save": Verb(("exhaust", *ADD, "--save", "--force")),
    "new": Verb(("new", "mine")),
    "explore": Verb(("explore", *ADD, "--out", "x.html", "--force"), files={"x.html": "</html>"}),
    "plot": Verb(("plot", *ADD, "weights", "--out", "x.svg", "--force"), files={"x.svg": "</svg>"}),
    "train": Verb(("train", "r.toml", "--out", "run"), files={"r.toml": RECIPE}),
    "train --data": Verb(("train", "r.toml", "--data", "d"), files={"r.toml": RECIPE}),
}


def each(*quick: str) -> list[Any]:
    """All verbs; those that are not `quick` run with `pytest -m slow`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in VERBS]


def in_child(folder: Path, arguments: tuple[str, ...], prepare: Callable[[], None]) -> Any:
    """Run `tinyadder ARGUMENTS` in `folder`, in a fork of this process, which has paid for torch.

    The exit status (negative: the signal), and what it said on standard error.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(writing, 2)
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), write_through=True)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), write_through=True)
            os.chdir(folder)
            prepare()
            try:
                main(list(arguments))
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else 0
            except BaseException as error:  # what a user would see as a traceback
                print(f"Traceback {error!r}", file=sys.stderr)
        os._exit(code)
    os.close(writing)
    with open(reading, errors="replace") as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def watch(folder: Path, act: Callable[[int], None], *, removals: bool = True) -> Callable[[], None]:
    """Have `act(k)` called before the k-th operation that changes something in `folder`."""
    count = 0
    changing = {"os.rename", "os.mkdir", "os.link", "os.symlink"}
    changing |= {"os.remove", "os.rmdir"} if removals else set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in changing:
            path = arguments[0]
        else:
            return
        if isinstance(path, bytes | str | os.PathLike) and inside(os.fsdecode(path)):
            count += 1
            act(count)

    def inside(path: str) -> bool:
        return not os.path.isabs(path) or path.startswith(f"{folder}/")

    return lambda: sys.addaudithook(hook)


def kill(at: int) -> Callable[[int], None]:
    return lambda k: os.kill(os.getpid(), signal.SIGKILL) if k == at else None


def full(at: int) -> Callable[[int], None]:
    def act(k: int) -> None:
        if k >= at:
            raise OSError(28, "No space left on device")

    return act


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def whole(path: Path) -> bool:
    """Whether a file is all that was to be written, judged by its kind."""
    content = path.read_bytes()
    match path.suffix:
        case ".json":
            json.loads(content)
        case ".jsonl":
            assert content.endswith(b"\n") and all(map(json.loads, content.splitlines()))
        case ".py":
            ast.parse(content)
        case ".html" | ".svg":
            assert content.rstrip().endswith(f"</{path.suffix[1:]}>".encode())
        case ".safetensors":
            assert len(content) > 8 + int.from_bytes(content[:8], "little")
    return True


def check_nothing_half(folder: Path, before: dict[str, bytes]) -> None:
    """What a user finds: whole files, all those of before, models that load."""
    for path in files_in(folder):
        assert ".tinyadder-" in str(path) or whole(path), path
    kept = {path.relative_to(folder).as_posix() for path in files_in(folder)}
    assert {name for name in before if "certificate" not in name} <= kept
    for model in {path.parent for path in folder.rglob("model.*")} | {folder / "m"}:
        if ".tinyadder-" not in str(model) and model.is_dir() and is_model_folder(model):
            load(model)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """The folder that each verb starts from, and how many file operations it takes."""
    made: dict[str, tuple[Path, int]] = {}

    def prepare(name: str) -> tuple[Path, int]:
        if name not in made:
            verb, folder = VERBS[name], tmp_path_factory.mktemp("start") / "here"
            folder.mkdir()
            for file, text in verb.files.items():
                (folder / file).write_text(text)
            for command in verb.before:
                assert in_child(folder, command, lambda: None)[0] == 0
            warm, trial = folder.parent / "warm", folder.parent / "trial"
            shutil.copytree(folder, warm)
            with contextlib.chdir(warm), contextlib.suppress(SystemExit):
                main(list(verb.arguments))  # what it imports is imported once, not in every child
            gc.collect()
            gc.freeze()  # pages that children share are not copied by their garbage collector
            shutil.copytree(folder, trial)
            with open(folder.parent / "count", "w") as counted:
                status, said = in_child(
                    trial, verb.arguments, watch(trial, lambda k: os.write(counted.fileno(), b"."))
                )
            assert status == 0, said
            made[name] = folder, (folder.parent / "count").stat().st_size
        return made[name]

    return prepare


@pytest.mark.parametrize("name", each("build --force", "new", "train --data"))
def test_killed_before_any_file_operation_nothing_is_half_and_the_next_run_finishes(
    name, ready, tmp_path
):
    start, operations = ready(name)
    before = {p.relative_to(start).as_posix(): p.read_bytes() for p in files_in(start)}
    assert operations >= 3
    for at in range(1, operations + 1):
        folder = tmp_path / str(at)
        shutil.copytree(start, folder)
        status, said = in_child(folder, VERBS[name].arguments, watch(folder, kill(at)))
        assert status == -signal.SIGKILL, (at, said)
        check_nothing_half(folder, before)
        again = VERBS[name].arguments
        if name == "train" and (folder / "run/seed-1/checkpoints").exists():
            again = (*again, "--resume")
        status, said = in_child(folder, again, lambda: None)
        assert status == 0 or " exists" in said, (at, said)  # killed when all was done
        check_nothing_half(folder, before)
        if status == 0:  # a run that writes removes what the killed one left
            assert not list(folder.rglob(".tinyadder-*")), at
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", each("export --to submission", "new"))
def test_where_the_disk_fills_up_it_is_one_line_and_what_was_there_stays(name, ready, tmp_path):
    """At operations, and in the middle of files: a limit on their length cuts writes short."""
    start, operations = ready(name)
    before = {p.relative_to(start).as_posix(): p.read_bytes() for p in files_in(start)}
    faults = [watch(tmp_path / "here", full(at), removals=False) for at in range(1, operations, 3)]
    for prepare in [*faults, *(short_files(most) for most in (0, 1, 300, 2000, 9000))]:
        folder = shutil.copytree(start, tmp_path / "here")
        status, said = in_child(folder, VERBS[name].arguments, prepare)
        assert "Traceback" not in said
        if status != 0:  # 0 where the fault hit nothing but the name of a lock's holder
            assert status == 2 and said.splitlines()[-1].startswith("error: cannot write"), said
        check_nothing_half(folder, before)
        assert not list(folder.rglob(".tinyadder-????????"))
        shutil.rmtree(folder)


def short_files(most: int) -> Callable[[], None]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error of the write, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    return limit


def test_two_builds_into_one_folder_leave_one_of_the_two(tmp_path):
    for _ in range(4):
        readers = []
        for digits in "12":
            child = os.fork()
            if child == 0:
                arguments = ("build", "add10", "-o", f"digits={digits}", "--out", "m", "--force")
                status, said = in_child(tmp_path, arguments, lambda: None)
                os._exit(0 if status == 0 else 1 + ("is in use by" in said))
            readers.append(child)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in readers]
        assert set(ends) <= {0, 2}
        _, described = load(tmp_path / "m")
        assert described.options["digits"] in (1, 2)
        assert not list(tmp_path.rglob(".tinyadder-*"))


def test_two_trainings_into_one_folder_do_not_mix(tmp_path):
    """The second is refused with the name of the first, whichever that is: one run's log."""
    (tmp_path / "r.toml").write_text(RECIPE.replace("steps = 4", "steps = 40"))
    arguments = ("train", "r.toml", "--out", "run")
    children = []
    for _ in "12":
        child = os.fork()
        if child == 0:
            status, said = in_child(tmp_path, arguments, lambda: None)
            refused = "is in use by process" in said and "tinyadder train r.toml" in said
            os._exit(0 if status == 0 else 3 if refused else 1)
        children.append(child)
    ends = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert ends in ([0, 3], [0, 0])  # one after the other where one was slow to start
    lines = (tmp_path / "run/seed-1/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 41))


def test_a_harness_that_kills_nothing_or_misses_operations_would_be_noticed(tmp_path):
    """The planted faults of these tests: a file written in place is seen half and seen lost."""
    (tmp_path / "x.json").write_text("{}")
    status, _ = in_child(tmp_path, ("list",), lambda: None)
    assert status == 0
    seen: list[int] = []
    watcher = watch(tmp_path, seen.append)

    def write_in_place() -> None:
        watcher()
        (tmp_path / "x.json").write_text("{")
        os._exit(10 + len(seen))

    assert in_child(tmp_path, ("list",), write_in_place)[0] == 11
    with pytest.raises(ValueError, match="Expecting"):
        check_nothing_half(tmp_path, {})
    (tmp_path / "x.json").unlink()
    with pytest.raises(AssertionError):
        check_nothing_half(tmp_path, {"x.json": b"{}"})


def test_a_folder_killed_between_two_files_is_finished_by_the_next_reader(tmp_path):
    """The commit point: what was committed is in force, though no file is in its place yet."""
    assert in_child(tmp_path, ("build", *ADD, "--out", "m"), lambda: None)[0] == 0
    assert (
        in_child(tmp_path, ("build", "add10", "-o", "digits=2", "--out", "n"), lambda: None)[0] == 0
    )
    commit = tmp_path / "m" / ".tinyadder-commit"
    (commit / "gone").mkdir(parents=True)
    (commit / "gone" / "certificate.json").touch()
    shutil.copytree(tmp_path / "n", commit / "new", ignore=shutil.ignore_patterns("certificate*"))
    _, described = load(tmp_path / "m")
    assert described.options == {"digits": 2} and sorted(os.listdir(tmp_path / "m")) == [
        "model.json",
        "model.safetensors",
    ]
    (tmp_path / "m" / "model.json").unlink()
    with pytest.raises(TinyadderError, match=r"has no model\.json"):
        load(tmp_path / "m")
