"""Every text that somebody else may have written is read with a bound and strictly: what is no such
text is one clear line that names it, and a byte order mark changes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.test_bad_input import MINE
from tests.test_cli import tinyadder
from tinyadder.errors import TinyadderError
from tinyadder.io import text
from tinyadder.io.text import parse_json, read_lines
from tinyadder.train.log import Log, read_log

BASELINE = Path(__file__).parent.parent / "baselines" / "addition10-tiny" / "seed-1"


@dataclass(frozen=True)
class Input:
    """A file that a verb reads: where it lies, a sound content, and who reads it."""

    file: str
    sound: str
    words: tuple[str, ...]
    stdin: str = ""


CASE: dict[str, Any] = {
    "name": "same",
    "attention": "causal",
    "encoding": "categorical",
    "vocab": ["a", "b"],
    "max_seq_len": 2,
    "source": "this test",
    "program": {"nodes": [{"id": "t", "op": "tokens", "inputs": []}], "output": "t"},
    "vectors": [{"input": ["a", "b"], "output": ["a", "b"]}],
}
PROBLEMS = '{"problem": "a"}\n{"problem": "b"}\n'
RECIPE = "[task]\nname = 'addition'\ndigits = 1\n[data]\nexamples = 2\nvalidation = 1\n"
LOG = '{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1}\n'
PICTURE = ("--out", "x.svg", "--force")
ROOT = ("report", "--root", "root", "--json")
INPUTS = {
    "problems": Input(
        "p.jsonl", PROBLEMS, ("evaluate", "./mine.py", "--file", "p.jsonl", "--samples", "0")
    ),
    "log": Input("run/log.jsonl", LOG, ("plot", "run/model", "curves", *PICTURE)),
    "report": Input("r.json", "", ("plot", "r.json", "leaderboard", *PICTURE)),
    "results": Input("root/results/parity_once.jsonl", "", ROOT),
    "evaluation": Input("root/baselines/one/seed-1/evaluation.json", "", ROOT),
    "recipe": Input("r.toml", RECIPE, ("train", "r.toml", "--data", "d", "--force")),
    "answers": Input(
        "answers.txt", "a\nb\n", ("run", "./mine.py", "-", "--answers", "answers.txt"), "a\nb\n"
    ),
    "cases": Input("cases.json", json.dumps({"cases": [CASE]}), ("cases", "cases.json")),
    "construction": Input("mine.py", MINE, ("show", "./mine.py")),
    "model": Input("run/model/model.json", "", ("show", "run/model")),
}
JSON = ("problems", "log", "report", "results", "evaluation", "cases", "model")
CONTENTS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "deep": (b"[" * 100_000 + b"\n", (*JSON, "recipe", "construction")),
    "deep in a value": (b'{"problem": ' + b"[" * 100_000 + b"\n", JSON),
    "a deep table": (b"x = " + b"[" * 20_000, ("recipe",)),
    "a number of 5,000 digits": (b'{"step": ' + b"9" * 5000 + b"}\n", (*JSON, "recipe")),
    "a value of 5,000 digits": (b"x = " + b"9" * 5000, ("recipe",)),
    "a number above all": (b'{"step": 1e999, "problem": 1e999, "cases": 1e999}\n', JSON),
    "no number": (b'{"step": NaN}\n', JSON),
    "no object": (b"12\n", JSON),
    "a number of 900 digits": (b'{"step": 1, "loss": ' + b"9" * 900 + b"}\n", ("log",)),
    "wrong types": (b'{"problem": {"a": []}, "step": [], "cases": {"a": 1}, "models": 3}\n', JSON),
    "no text": (b"\xff\xfe\n", tuple(INPUTS)),
    "an endless line": (b'{"problem": "' + b"a" * (2**20 + 1) + b'"}\n', JSON),
    "a pipe": (b"", tuple(INPUTS)),
    "a device": (b"", tuple(INPUTS)),
    "a folder": (b"", tuple(INPUTS)),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    """A folder in which every input is sound."""
    from tinyadder.report import leaderboard

    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr(leaderboard, "construction_names", lambda: ["parity_once"])
    place = tmp_path_factory.mktemp("inputs")
    (place / "mine.py").write_text(MINE)
    shutil.copytree(BASELINE, place / "root/baselines/one/seed-1")

    def run(*words: str) -> str:
        found = tinyadder(*words, cwd=place)
        assert found.returncode == 0, found.stderr
        return found.stdout

    run("build", "./mine.py", "--out", "run/model")
    run("exhaust", "parity_once", "--save")
    shutil.copytree(place / "results", place / "root/results")
    for given in INPUTS.values():
        if given.sound:
            (place / given.file).write_text(given.sound)
    (place / "r.json").write_text(run(*ROOT))
    return place


@pytest.mark.parametrize(
    ("kind", "content"), [(kind, name) for name, (_, kinds) in CONTENTS.items() for kind in kinds]
)
def test_a_text_that_is_none_is_one_line_that_names_it(kind, content, place, tmp_path):
    given = INPUTS[kind]
    path = place / given.file
    path.rename(tmp_path / "kept")
    try:
        if content == "a pipe":
            os.mkfifo(path)
        elif content == "a device":
            path.symlink_to("/dev/zero")
        elif content == "a folder":
            path.mkdir()
        else:
            path.write_bytes(CONTENTS[content][0])
        run = tinyadder(*given.words, cwd=place, stdin=given.stdin)
    finally:
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        (tmp_path / "kept").rename(path)
    assert run.returncode == 2, (run.returncode, run.stdout[-300:], run.stderr[-600:])
    (line,) = (one for one in run.stderr.splitlines() if one.startswith("error: "))
    assert path.stem in line or "run" in line
    assert len(line) < 400 and line.isprintable(), line


@pytest.mark.parametrize("kind", [kind for kind in INPUTS if kind not in ("model", "results")])
def test_a_byte_order_mark_changes_nothing(kind, place):
    given = INPUTS[kind]
    path = place / given.file
    content = path.read_bytes()
    plain = tinyadder(*given.words, cwd=place, stdin=given.stdin)
    try:
        path.write_bytes(b"\xef\xbb\xbf" + content)
        marked = tinyadder(*given.words, cwd=place, stdin=given.stdin)
    finally:
        path.write_bytes(content)
    assert plain.returncode == marked.returncode == 0, plain.stderr + marked.stderr
    if kind not in ("problems", "cases"):  # these say how long they took
        assert marked.stdout == plain.stdout


# ---- the reader, and the log -------------------------------------------------------------------


def test_a_file_that_grows_while_it_is_read_is_not_read_for_ever(tmp_path):
    (tmp_path / "x").write_text("one\ntwo\nthree\n")
    lines = read_lines(tmp_path / "x", most=14)
    assert next(lines) == "one"
    with open(tmp_path / "x", "a") as file:
        file.write("four\n" * 10_000)
    with pytest.raises(TinyadderError, match="longer than 14 bytes"):
        list(lines)


@pytest.mark.parametrize("word", ["1" * 1001, "-" + "1" * 1001, "1e999", "NaN", "-Infinity", "["])
def test_numbers_that_are_none_are_refused_and_those_at_the_bound_are_not(word):
    with pytest.raises(TinyadderError, match="x is not sound JSON"):
        parse_json(f'{{"a": {word}}}', "x")
    largest = "1" * text.MOST_DIGITS
    assert parse_json(f"[{largest}, 1e308, -0.5]", "x") == [int(largest), 1e308, -0.5]


def test_a_line_of_a_log_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    log = Log(tmp_path)
    log.write({"step": 1, "loss": 2.0})
    with open(log.path, "a") as file:
        file.write('{"step": 2, "lo')  # killed
    assert read_log(log.path) == [{"step": 1, "loss": 2.0}]
    log.cut(5)
    log.write({"step": 2, "loss": 1.0})
    assert [line["step"] for line in read_log(log.path)] == [1, 2]

    class Full:
        """A file on a disk that has room for one more byte."""

        def __init__(self, *arguments, **named):
            self.file = plain(*arguments, **named)
            self.size = self.file.tell()

        def __enter__(self):
            return self.file.__enter__() and self

        def __exit__(self, *left):
            return self.file.__exit__(*left)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            if self.file.tell() > self.size:
                raise OSError(28, "No space left on device")
            return self.file.write(content[:1])

    plain, before = open, log.path.read_bytes()
    for there in (True, False):
        monkeypatch.setattr("builtins.open", Full)
        with pytest.raises(TinyadderError, match=r"cannot write .*log\.jsonl: No space left"):
            log.write({"step": 3, "loss": 1.0})
        monkeypatch.undo()
        assert log.path.exists() == there and (not there or log.path.read_bytes() == before)
        log.path.unlink(missing_ok=True)
