"""Files are written whole or not at all, several at one commit point, by one process at a time;
read with a bound.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinyadder.errors import TinyadderError
from tinyadder.io.files import (
    atomic_write,
    below,
    check_name,
    clean,
    lock,
    read_bytes,
    recover,
    write_text,
    write_together,
)

HOLD = "import sys, time; from pathlib import Path; from tinyadder.io.files import lock\n"
HOLD += (
    "with lock(Path(sys.argv[1]), 'tinyadder train x'): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path / "run"`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path, holder):
    said = (
        rf"run is in use by process {holder.pid} on .* since .*: tinyadder train x; wait for it, or"
        r" choose another"
    )
    with pytest.raises(TinyadderError, match=said), lock(tmp_path / "run", "this test"):
        pass
    holder.kill()  # as a power cut would: no chance to clean up
    holder.wait()
    with lock(tmp_path / "run", "this test"):
        assert f"process {os.getpid()} " in (tmp_path / "run" / ".tinyadder-lock").read_text()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_lock_waits_as_long_as_it_is_told(tmp_path, holder):
    began = time.monotonic()
    with (
        pytest.raises(TinyadderError, match="is in use by"),
        lock(tmp_path / "run", "this test", wait=0.3),
    ):
        pass
    assert time.monotonic() - began >= 0.3


def test_an_error_under_the_lock_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(BrokenPipeError), lock(tmp_path / "run", "this test"):
        raise BrokenPipeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    dead = tmp_path / ".tinyadder-abcdefgh"
    dead.mkdir()
    (dead / "half").write_text("half")
    (tmp_path / ".tinyadder-notes.txt").write_text("mine")
    with atomic_write(tmp_path / "file") as part:
        clean(tmp_path)
        part.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == [".tinyadder-notes.txt", "file"]


def test_a_failed_write_leaves_no_folders_behind(tmp_path):
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a" / "b" / "file"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_several_files_are_replaced_and_the_others_stay(tmp_path):
    for name in ("one", "two", "certificate", "notes"):
        (tmp_path / name).write_text("old")
    write_together(
        tmp_path, {"one": b"new", "three": b"new"}, remove=["certificate", "never there"]
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "one": "new",
        "two": "old",
        "three": "new",
        "notes": "old",
    }


def test_a_planted_commit_moves_no_files_of_others(tmp_path):
    """A stranger's folder with a link for a commit would empty the folder that it points to."""
    private, model = tmp_path / "private", tmp_path / "model"
    private.mkdir()
    (private / "key").write_text("secret")
    (model / ".tinyadder-commit").mkdir(parents=True)
    (model / ".tinyadder-commit" / "new").symlink_to(private)
    with pytest.raises(TinyadderError, match="killed half-way and cannot be finished"):
        recover(model)
    assert (private / "key").read_text() == "secret" and not (model / "key").exists()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", ".", "a/../../x"])
def test_a_path_from_data_stays_below_its_folder(name, tmp_path):
    with pytest.raises(TinyadderError, match="does not name a file in"):
        below(tmp_path, name)
    assert below(tmp_path, "a.json") == tmp_path / "a.json"


def test_a_link_does_not_lead_out_of_a_folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    with pytest.raises(TinyadderError, match="does not name a file in"):
        below(tmp_path / "in", "link/x")


@pytest.mark.parametrize(
    "name", ["", "a" * 101, "a/b", "..", "-x", ".x", "a b", 'x"+1', "a\n", "é", "\x1b[2J", None, 3]
)
def test_names_that_could_be_more_than_a_name_are_refused(name):
    with pytest.raises(
        TinyadderError, match="is no name of a model; expected at most 100 letters"
    ) as refused:
        check_name(name)
    assert str(refused.value).isprintable()
    assert check_name("addition10-tiny_4.2") == "addition10-tiny_4.2"


def test_only_regular_files_of_bounded_length_are_read(tmp_path):
    write_text(tmp_path / "file", "0123456789")
    assert read_bytes(tmp_path / "file", most=10) == b"0123456789"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, said in [
        ("pipe", "it is a pipe, socket or device, not a file"),
        ("zero", "it is a pipe, socket or device, not a file"),
        ("", "it is a folder, not a file"),
        ("circle", "cannot read .*circle"),
        ("none", "cannot read .*none: No such file"),
    ]:
        with pytest.raises(TinyadderError, match=said):
            read_bytes(tmp_path / name, most=10)
    with pytest.raises(TinyadderError, match="is longer than 9 bytes"):
        read_bytes(tmp_path / "file", most=9)


def test_a_link_out_of_the_folder_is_not_read_where_a_folder_is_given(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").symlink_to(tmp_path / "secret")
    with pytest.raises(TinyadderError, match="is a link out of its folder"):
        read_bytes(tmp_path / "model" / "weights", most=10, folder=tmp_path / "model")
    (tmp_path / "model" / "inside").write_text("fine")
    (tmp_path / "model" / "link").symlink_to(tmp_path / "model" / "inside")
    assert read_bytes(tmp_path / "model" / "link", most=10, folder=tmp_path / "model") == b"fine"


def test_endless_files_of_no_length_are_not_read_to_the_end():
    """Files of /proc say that they hold nothing, and may hold anything."""
    with pytest.raises(TinyadderError, match="is longer than 5 bytes"):
        read_bytes(Path("/proc/self/maps"), most=5)
