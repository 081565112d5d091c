"""`tinyadder run NAME -` and `chat` as streams: prompt answers, bounded memory, broken pipes."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_cli import tinyadder
from tinyadder.commands import _answering
from tinyadder.commands._answering import Answerer
from tinyadder.commands._lines import BLOCK, blocks
from tinyadder.construction import construct
from tinyadder.tasks.addition import Addition
from tinyadder.tasks.subtraction import Subtraction

RUN = [sys.executable, "-m", "tinyadder", "run"]


# ---- blocks of lines ----------------------------------------------------------------------------


class Trickle(io.RawIOBase):
    """A stream that gives its bytes a few at a time."""

    def __init__(self, parts):
        self.parts = list(parts)

    def read1(self, size):
        return self.parts.pop(0) if self.parts else b""


@given(st.lists(st.binary(max_size=6), max_size=8), st.randoms())
def test_lines_are_those_of_universal_newlines_however_they_arrive(parts, random):
    text = b"".join(part.replace(b"\xef", b"") for part in parts)
    cuts = sorted(random.randint(0, len(text)) for _ in range(3))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = b"".join(blocks(Trickle([piece for piece in pieces if piece])))
    expected = re.split(rb"\r\n|\r|\n", text)
    assert found.split(b"\n")[:-1] == (expected[:-1] if expected[-1] == b"" else expected)


@pytest.mark.parametrize("cut", range(5))
def test_a_byte_order_mark_is_dropped_wherever_it_is_cut(cut):
    text = b"\xef\xbb\xbf1 2\n"
    assert list(blocks(Trickle([p for p in (text[:cut], text[cut:]) if p]))) == [b"1 2\n"]


def test_an_endless_line_takes_no_memory_and_counts_as_one():
    parts = [b"1 2\n", *[b"7" * 2**18] * 12, b"7\n3 4\n"]
    found = list(blocks(Trickle(parts)))
    assert found[0] == b"1 2\n" and found[2] == b"3 4\n" and len(found) == 3
    assert found[1].endswith(b"... (longer than %d bytes)\n" % BLOCK) and len(found[1]) < 100


# ---- answers by whichever way -------------------------------------------------------------------


def test_few_problems_need_no_torch():
    code = (
        "import sys\nfrom tinyadder.cli import main\ntry:\n    main(sys.argv[1:])\n"
        "except SystemExit:\n    print('torch' in sys.modules)"
    )
    for arguments, asked in ((["add10", "1", "2"], ""), (["deriv", "-"], "x^2\n3x\n")):
        run = subprocess.run(
            [sys.executable, "-c", code, "run", *arguments],
            input=asked,
            capture_output=True,
            text=True,
        )
        assert run.stdout.splitlines()[-1] == "False", run.stderr


@pytest.mark.parametrize("name", ["add10", "add10_gist", "subtract", "times_constant", "deriv"])
def test_a_block_of_many_lines_is_answered_as_its_lines_one_by_one(name, monkeypatch):
    task = construct(name).task
    problems = task.structured(Random(1), 6 if name == "deriv" else 60)
    asked = "".join(f"{task.show(problem)}\n" for problem in problems)
    one_by_one = tinyadder("run", name, "-", stdin=asked)
    monkeypatch.setattr(_answering, "START", 0.0)
    monkeypatch.setattr(_answering, "FEW", 0)
    at_once = tinyadder("run", name, "-", stdin=asked)
    assert at_once.stdout == one_by_one.stdout and at_once.stdout
    assert (at_once.returncode, at_once.stderr) == (one_by_one.returncode, one_by_one.stderr)
    assert at_once.returncode == (name == "add10_gist")


def test_where_logits_tie_torch_decides():
    answerer = Answerer("add10", {}, "cpu")
    answerer.single.decode = lambda *_: None
    assert answerer.answers([(1, 2)]) == ["00000000003"] and answerer.loaded is not None


@given(st.lists(st.tuples(st.integers(0, 10**11), st.integers(0, 10**11)), min_size=1, max_size=5))
def test_blocks_of_sums_are_read_as_their_lines_are_or_not_at_all(pairs):
    arrays = Addition().arrays()
    text = "".join(f"{a} + {b}\n" for a, b in pairs).encode()
    found = arrays.read(text)
    if any(max(pair) > 10**10 - 1 for pair in pairs):
        assert found is None
    else:
        assert list(zip(*(n.tolist() for n in found), strict=True)) == pairs
        rows = arrays.rows(found)
        texts = ["".join(Addition().prompt(p)) + "".join(Addition().answer(p)) for p in pairs]
        assert np.array_equal(rows, Addition().encode(texts))
        assert arrays.numbers(rows[:, -11:]).tolist() == [a + b for a, b in pairs]


@pytest.mark.parametrize("text", [b"1 2", b"1 2 3\n", b"\n", b"-1 2\n", b"1 x\n", b"1 2\n\n", b""])
def test_an_unusual_block_is_left_to_be_read_line_by_line(text):
    assert Addition().arrays().read(text) is None


def test_a_difference_below_zero_is_left_to_be_refused():
    assert Subtraction().arrays().read(b"5 3\n3 5\n") is None
    assert Subtraction().arrays().read(b"5 - 3\n") is not None


def test_padding_beyond_int64_has_no_arrays():
    assert Addition(digits=3, padding=20).arrays() is None and Addition(digits=3).arrays()


# ---- processes ----------------------------------------------------------------------------------


def test_a_program_that_asks_and_waits_is_answered_line_by_line():
    with subprocess.Popen(
        [*RUN, "add10", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        for a in (1, 9999999999, 5):
            run.stdin.write(f"{a} 1\n")
            run.stdin.flush()
            assert run.stdout.readline() == f"{a + 1}\n"
        run.stdin.close()
        assert run.wait(60) == 0


def test_a_reader_that_has_enough_ends_it_silently_as_a_signal_would():
    asked = "yes '1 2' | head -n 150000"
    pipe = f"{asked} | {sys.executable} -m tinyadder run add10 - | head -n 1"
    command = pipe + "; echo ${PIPESTATUS[2]}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
    assert (run.stdout, run.stderr) == ("3\n141\n", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize(
    "command", ["run add10 1 2", "run add10 -", "list", "show add10", "chat add10"]
)
def test_a_full_disk_is_one_line_and_no_verdict(command):
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "tinyadder", *command.split()],
            input="1 2\n",
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    errors = [line for line in run.stderr.splitlines() if line.startswith("error")]
    assert run.returncode == 2 and errors == ["error: standard output: No space left on device"]
    assert "Traceback" not in run.stderr and "Exception ignored" not in run.stderr


@pytest.mark.parametrize(
    ("redirect", "said"),
    [
        ("<&-", "error: standard input is closed; give problems, one a line"),
        (">&- < /dev/null", "error: standard output is closed; nothing could be printed"),
    ],
)
def test_closed_streams_are_one_line(redirect, said):
    command = f"{sys.executable} -m tinyadder run add10 - {redirect}"
    run = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (run.returncode, run.stderr.strip()) == (2, said)


def test_what_is_no_utf8_is_refused_and_the_rest_goes_on():
    run = subprocess.run(
        [*RUN, "add10", "-"], input=b"\xff 1\n\xef\xbb\xbf2 2\r\n2 3", capture_output=True
    )
    assert run.stdout == b"5\n" and run.returncode == 2
    first = subprocess.run([*RUN, "add10", "-"], input=b"\xef\xbb\xbf2 2\r\n", capture_output=True)
    assert (first.stdout, first.stderr, first.returncode) == (b"4\n", b"", 0)


@settings(max_examples=20)
@given(st.binary(max_size=40))
def test_chat_and_run_take_any_bytes(data):
    import contextlib
    from unittest import mock

    from tinyadder.cli import main

    for verb in (["chat", "add10"], ["run", "add10", "-"]):
        out, said = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(said),
            mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(data))),
            pytest.raises(SystemExit) as left,
        ):
            main(verb)
        assert left.value.code in (0, 2) and "Traceback" not in said.getvalue()


def test_an_exception_of_ours_is_70_and_never_a_verdict(monkeypatch):
    def broken(*_):
        raise RuntimeError("planted")

    monkeypatch.setattr(Answerer, "answers", broken)
    run = tinyadder("run", "add10", "1", "2")
    assert run.returncode == 70 and "RuntimeError: planted" in run.stderr
    assert run.stderr.splitlines()[-1].startswith("error: this is a bug of tinyadder")
