"""Every verb under a grammar of bad input: an exit code of ours, no traceback, nothing lost.

Property of every command line: it ends with 0, 1, 2, 3 or 4; nothing it prints is a traceback; what
was there is as it was (unless --force was given), and a refused command (2) leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.test_cli import tinyadder
from tinyadder.cli import cli
from tinyadder.plain import short
from tinyadder.report import leaderboard

EXAMPLES = 60
"""Command lines of each verb."""
VERBS = cli.list_commands(click.Context(cli))

INTEGERS = [
    *("1", "2", "0", "-1", "٣", "1e3", "2.5", "nan", "", "0x10", "９", "18446744073709551616"),
    *("9" * 30, "-" + "9" * 30, "9" * 5000),
]
WORDS = [
    *("", " ", "-", "--", "x" * 5000, "..", "'\"", "%s", "{}", "<script>", "\x1b[2J", "ad10"),
    *("🦀", "a\nb", "\udcff", "../../x", "tiny ", "-o", "--json", "٣", "1,000", "2="),
]
NAMES = [
    *("./tiny", "./mine.py", "./junk", "./damaged", "./deep", "file.txt", "syntax.py", "raises.py"),
    *("empty.py", "binary.py", "loop", "", "ad10", "x" * 300, "\udcff", ".."),
]
LIGHT = ["add10", "deriv", "parity_once", "count_occurrences"]
"""Names for the verbs that do little with a construction."""
PATHS = [
    *("", ".", "..", "tiny", "junk", "file.txt", "file.txt/x", "x" * 300, "x/" * 3000),
    *("/proc/none/x", "new.out", "new/dir/out.json", "\udcff", "loop", "\x1b[2J", "bom.jsonl"),
    *("board", "spoilt", "pipe"),
]
OPTIONS = ["digits", "length", "coefficients", "base", "letters", "x", "", "tied", "factor"]
VALUES = [
    *("1", "3", "0", "-1", "true", "null", '"x"', "[1]", "{}", "1e400", "NaN", "[" * 3000, "٣", ""),
    *("9" * 30, "1000000000000", "9" * 5000, "least"),
]
INPUTS = [
    *(b"", b"a\n", b"a", b"\xff\xfe\n", b"\xef\xbb\xbfa\r\nb\r\n", b"\n\n", b"1 2\n" * 3),
    *(b"9" * 6000 + b" 1\n", b"quit\n", b"[" * 9000, b"\x00\n", "٣ ٣\n".encode()),
]

SMALL = {
    "verify": ["--count", "3", "--examples", "2"],
    "evaluate": ["--problems", "3", "--samples", "0"],
    "compare": ["--problems", "3", "--samples", "3"],
    "legality": ["--problems", "3"],
    "claims": ["--problems", "3"],
    "plot": ["--problems", "3"],
    "ablate": ["--no-proof"],
}
"""Sizes that keep a command fast which is not refused; what is drawn comes later and wins."""
NEVER = {"--open", "--scheduler", "--workers", "--threads", "--seconds", "--fresh", "--missing"}
"""Options that start other processes, or hours of work."""

MINE = '''"""One letter, and the letter again."""
import tinyadder as ta
from tinyadder.construction import Construction
from tinyadder.dsl import Embed, Program, Stream, Unembed


def construct():
    task = ta.task(alphabet="ab", lengths=1, answer=lambda word: word, prompt="{}", outputs="ab")
    x = Stream(letter="1 on 'a', -1 on 'b'")
    read = Unembed(argmax={"a": x.letter, "b": -1 * x.letter})
    return Construction(Program(task.vocabulary, x, Embed(letter={"a": 1, "b": -1}), read), task)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder three levels down, with a tiny model and all kinds of files that are none."""
    place = tmp_path_factory.mktemp("bad") / "a" / "b"
    place.mkdir(parents=True)
    (place / "mine.py").write_text(MINE)
    built = tinyadder("build", "./mine.py", "--out", "tiny", cwd=place)
    assert built.returncode == 0, built.stderr
    (place / "junk").mkdir()
    (place / "junk" / "notes.txt").write_text("mine")
    for name, text in (("damaged", b"{"), ("deep", b"[" * 100_000)):
        (place / name).mkdir()
        (place / name / "model.json").write_bytes(text)
        (place / name / "model.safetensors").write_bytes(b"\xff" * 9)
    (place / "file.txt").write_text("1 2\n")
    (place / "syntax.py").write_text("def construct(:\n")
    (place / "raises.py").write_text("raise RuntimeError('at import')\n")
    (place / "empty.py").write_text("")
    (place / "binary.py").write_bytes(bytes(range(256)))
    (place / "bom.jsonl").write_bytes(b'\xef\xbb\xbf{"problem": [12, 34]}\n5\n')
    for name, text in (("board", b""), ("spoilt", b'{"model": "../x", "kind": NaN}\n')):
        (place / name / "results").mkdir(parents=True)
        (place / name / "results" / "add10.jsonl").write_bytes(text)
    os.mkfifo(place / "pipe")
    (place / "bad.toml").write_text("[task]\nname = 'addition'\n[model]\nwidth = 1e9\n")
    os.symlink("loop", place / "loop")
    return place


def tree(place: Path) -> dict[str, bytes]:
    """Every file below `place` with its content, every folder."""
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(place.rglob("*"))
        if path.name != "__pycache__" and path.suffix != ".pyc"
    }


def forget(place: Path, before: dict[str, bytes]) -> None:
    """Bring `place` back to what it was."""
    for name in sorted(tree(place).keys() - before.keys(), reverse=True):
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in before.items():
        path = place / name
        if path.is_file() and path.read_bytes() != content:
            path.write_bytes(content)


def value_of(parameter: click.Parameter, verb: str) -> st.SearchStrategy[str]:
    """A value, mostly bad, for an option or argument of this type."""
    if "-o" in parameter.opts:
        return st.builds("{}={}".format, st.sampled_from(OPTIONS), st.sampled_from(VALUES)) | (
            st.sampled_from(WORDS)
        )
    if isinstance(parameter.type, click.types.IntParamType):
        return st.sampled_from(INTEGERS)
    if isinstance(parameter.type, click.Choice):
        choices = [str(c) for c in parameter.type.choices if c not in ("onnx", "torch")]
        return st.sampled_from([*choices, *WORDS])
    if isinstance(parameter.type, click.Path):
        return st.sampled_from(PATHS)
    if parameter.name in ("name", "names", "task"):
        light = verb in ("chat", "count", "list", "run", "show", "trace")
        return st.sampled_from([*NAMES, *LIGHT] if light else NAMES)
    if parameter.name == "recipe":
        return st.sampled_from(["bad.toml", "binary.py", *WORDS, *PATHS])
    return st.sampled_from([*WORDS, *INTEGERS]) | st.text(max_size=8)


@st.composite
def command_lines(draw, verb: str) -> list[str]:
    """A command line of `verb`: its arguments, up to three options, sometimes one too many."""
    command = cli.get_command(click.Context(cli), verb)
    words = [verb, *SMALL.get(verb, [])]
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and p.opts[0] not in NEVER]
    for option in draw(st.lists(st.sampled_from(options), max_size=3)) if options else []:
        words.append(draw(st.sampled_from(option.opts)))
        words += [] if option.is_flag else [draw(value_of(option, verb))]
    for argument in arguments:
        count = 1 if argument.nargs == 1 else draw(st.integers(0, 2))
        words += [draw(value_of(argument, verb)) for _ in range(count)]
    return words + draw(st.lists(st.sampled_from(WORDS), max_size=1))


def check(place: Path, words: list[str], stdin: bytes) -> None:
    before = tree(place)
    try:
        run = tinyadder(*words, cwd=place, stdin=stdin)
        after = tree(place)
        said = f"{[short(word) for word in words]} -> {run.returncode}\n{run.stderr[-600:]}"
        assert run.returncode in {0, 1, 2, 3, 4}, said
        assert "Traceback" not in run.stdout + run.stderr, said
        assert all(c.isprintable() or c in "\n\t" for c in run.stderr), said
        if run.returncode == 2:
            lines = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
            assert verb_reads_lines(words) or len(lines) == 1, said
            assert after == before, said
        if "--force" not in words:
            assert before.items() <= after.items(), said
    finally:
        forget(place, before)


def verb_reads_lines(words: list[str]) -> bool:
    """`run NAME -` and `chat` answer bad lines one by one and go on."""
    return words[0] in ("run", "chat")


@pytest.mark.parametrize("verb", VERBS)
def test_no_input_breaks_a_verb_or_a_file(verb, folder, monkeypatch):
    # `report` counts and judges every model there is, which takes minutes
    monkeypatch.setattr(leaderboard, "construction_names", lambda: ["parity_once"])

    @settings(
        max_examples=int(os.environ.get("N", "60")),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(command_lines(verb), st.sampled_from(INPUTS))
    def tried(words, stdin):
        check(folder, words, stdin)

    tried()


def test_the_property_finds_what_is_planted(folder, monkeypatch):
    from tinyadder.commands import show

    def careless(*_, **__):
        Path("left.txt").write_text("")
        raise KeyError("planted")

    monkeypatch.setattr(show.command, "callback", careless)
    with pytest.raises(AssertionError, match="-> 70"):
        check(folder, ["show", "add10"], b"")
    assert not (folder / "left.txt").exists()


@pytest.mark.parametrize(
    "verb", ["ablate", "claims", "compare", "evaluate", "legality", "train", "verify"]
)
@pytest.mark.parametrize("seed", ["-1", str(2**31), "9" * 30, "x"])
def test_a_seed_that_no_generator_takes_is_refused(verb, seed):
    run = tinyadder(verb, "add10", "--seed", seed)
    assert run.returncode == 2 and "'--seed'" in run.stderr and len(run.stderr.splitlines()) == 1
