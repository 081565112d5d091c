"""Hostile submissions, each one planted: every attack ends in one line or in plain answers, and
nothing of it survives.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinyadder.commands.count import command
from tinyadder.errors import TinyadderError
from tinyadder.verify.external import submission as parent
from tinyadder.verify.external.frames import HEAD, MOST, Unpacker, packed
from tinyadder.verify.external.submission import Answers, OutOfTime, Submission

PLAIN = """
class Model: pass
def build_model(): return Model()
def add(model, a, b): return a + b
"""
NAPPING = 60_000 + os.getpid()
"""Seconds that the daemons of these tests sleep: a number by which they are known."""


def cases(table, *slow):
    """The names of a table as parameters; the slow ones are much like others, of the same kind."""
    return [pytest.param(n, marks=[pytest.mark.slow] if n in slow else []) for n in table]


def has_walls() -> bool:
    """Whether this system makes namespaces."""
    if not hasattr(os, "pidfd_open"):
        return False
    with Submission(Path(__file__).parent / "submissions.py").session():
        return not parent._refused


HAS_WALLS = has_walls()
walls_only = pytest.mark.skipif(not HAS_WALLS, reason="this system makes no namespaces")


@pytest.fixture(params=[pytest.param(True, marks=walls_only), False], ids=["walls", "limits"])
def walls(request):
    return request.param


@pytest.fixture
def planted(tmp_path):
    """A function that makes a submission of a text, in a folder of its own."""
    folder = tmp_path / "theirs"
    folder.mkdir()

    def make(text, **limits):
        (folder / "planted.py").write_text(text)
        return Submission(folder / "planted.py", **{"seconds": 20.0, **limits})

    return make


def refused(submission, pairs=((1, 2),)):
    """The one line that a submission ends in."""
    with pytest.raises(TinyadderError) as error:
        submission.add(list(pairs))
    line = str(error.value)
    assert "\n" not in line and "\x1b" not in line and len(line) < 600
    assert line.startswith(str(submission.given))
    return line


def napping():
    """How many processes of these tests are still asleep."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found += str(NAPPING).encode() in (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
    return found


# ---- time, memory, processes ---------------------------------------------------------------------

LOOPS = {
    "while building": "def build_model():\n    while True: pass\ndef add(m, a, b): return 0",
    "while adding": PLAIN + "def add(m, a, b):\n    while True: pass",
    "with every signal ignored": PLAIN
    + """
import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
def add(m, a, b):
    while True: pass
""",
    "in a thread that the end waits for": PLAIN
    + """
import threading
def spin():
    while True: pass
def build_model():
    threading.Thread(target=spin).start()
    raise SystemExit
""",
    "writing to stderr": PLAIN
    + "import sys\ndef add(m, a, b):\n    while True: print('x' * 9999, file=sys.stderr)",
    "while its answer is printed": PLAIN
    + """
class Bomb:
    def __int__(self):
        while True: pass
def add(m, a, b): return Bomb()
""",
}


@pytest.mark.parametrize("kind", cases(LOOPS, "while building", "while its answer is printed"))
def test_an_endless_loop_is_stopped(kind, planted):
    began = time.monotonic()
    line = refused(planted(LOOPS[kind], seconds=0.4))
    assert "did not finish within 0.4 s and was stopped" in line or "SystemExit" in line
    assert time.monotonic() - began < 15


def test_an_endless_loop_is_stopped_without_walls_too(planted):
    assert "did not finish" in refused(planted(LOOPS["while adding"], seconds=0.4, sandbox=False))


def test_the_last_report_of_a_job_survives_the_limit(planted):
    slow = PLAIN + "import time\ndef add(m, a, b):\n    time.sleep(0.2)\n    return a + b"
    seen = []
    with planted(slow).session() as session, pytest.raises(OutOfTime) as stopped:
        session.ask("add", reply=Answers, limit=1.5, watch=seen.append, pairs=[[1, 1]] * 100)
    assert stopped.value.last == seen[-1]
    assert 1 <= seen[-1].done < 100 and seen[-1].total == 100


def test_the_limit_of_a_session_holds_for_all_its_requests(planted):
    slow = PLAIN + "import time\ndef add(m, a, b):\n    time.sleep(0.3)\n    return a + b"
    with planted(slow, total=1.5).session() as session, pytest.raises(OutOfTime):
        for k in range(20):
            assert session.add([(k, 1)]) == [k + 1]


def test_a_session_that_has_ended_says_so(planted):
    with planted(PLAIN + "import os\ndef add(m, a, b): os._exit(0)").session() as session:
        with pytest.raises(TinyadderError, match="exit code 0"):
            session.add([(1, 1)])
        with pytest.raises(TinyadderError, match="start a new session"):
            session.add([(1, 1)])


def test_memory_that_one_process_wants_is_refused(planted, walls):
    text = PLAIN + "def build_model(): return bytearray(10**11)"
    assert "more memory than it may use" in refused(planted(text, sandbox=walls))


def test_memory_that_many_processes_take_together_is_refused(planted, walls):
    text = (
        PLAIN
        + """
import os, time
def build_model():
    for _ in range(5):
        if not os.fork():
            kept = b"x" * 10**8
            time.sleep(60)
    time.sleep(60)
"""
    )
    line = refused(planted(text, sandbox=walls, gibibytes=0.25))
    assert "took more memory than 0.25 GiB and was stopped" in line


DAEMONS = (
    PLAIN
    + f"""
import os
def build_model():
    for _ in range(50):
        if not os.fork():
            os.setsid()
            if not os.fork():
                os.execv("/bin/sleep", ["sleep", "{NAPPING}"])
            os._exit(0)
    return Model()
"""
)


def test_fifty_daemons_do_not_survive(planted, walls):
    with planted(DAEMONS, sandbox=walls).session() as session:
        assert session.add([(1, 2)]) == [3]
        assert napping() > 40
    assert napping() == 0


def test_daemons_do_not_survive_a_process_that_ends_itself(planted, walls):
    text = DAEMONS + "def add(m, a, b): os._exit(0)"
    assert "ended its process with exit code 0" in refused(planted(text, sandbox=walls))
    assert napping() == 0


def test_more_processes_than_there_may_be_are_stopped(planted, walls):
    text = DAEMONS.replace("range(50)", "range(300)") + "import time\ndef add(*_): time.sleep(9)"
    line = refused(planted(text, sandbox=walls))
    assert "more than 128 processes" in line or "BlockingIOError" in line
    assert napping() == 0


@walls_only
def test_what_runs_inside_cannot_end_its_supervisor(planted):
    text = (
        PLAIN
        + """
import os, signal
def add(m, a, b):
    assert os.getcwd() == "/sandbox" and os.getppid() == 1  # else it is not the supervisor
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP):
        os.kill(os.getppid(), number)
    return a + b
"""
    )
    with planted(text).session() as session:
        assert session.add([(1, 2)] * 3) == [3, 3, 3] and session.add([(3, 4)]) == [7]


def test_a_fork_that_goes_on_as_the_worker_falls_silent(planted, walls):
    text = PLAIN + "import os\ndef build_model():\n    os.fork()\n    return Model()"
    with planted(text, sandbox=walls).session() as session:
        for k in range(20):
            assert session.add([(k, 1)]) == [k + 1]


def test_what_a_file_leaves_for_the_end_is_not_run(planted, walls):
    text = (
        PLAIN
        + """
import atexit, time, threading
atexit.register(time.sleep, 60)
threading.Thread(target=time.sleep, args=(60,)).start()
class Last:
    def __del__(self): time.sleep(60)
last = Last()
"""
    )
    began = time.monotonic()
    assert planted(text, sandbox=walls).add([(1, 2)]) == [3]
    assert time.monotonic() - began < 15


# ---- files, secrets, network ---------------------------------------------------------------------

VANDAL = (
    PLAIN
    + """
import os, shutil
def spoil(folder):
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
        except OSError: pass
    for name in ("junk", "found.json"):
        try: open(os.path.join(folder, name), "w").write("junk")
        except OSError: pass
    try: os.mkfifo(os.path.join(folder, "pipe"))
    except OSError: pass
def add(m, a, b):
    for folder in FOLDERS: spoil(folder)
    return a + b
"""
)


def contents(folder):
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_files_of_the_working_folder_stay(planted, tmp_path, monkeypatch, walls):
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "thesis.txt").write_text("years of work")
    monkeypatch.chdir(ours)
    assert planted(VANDAL + "FOLDERS = ['.']", sandbox=walls).add([(1, 2)]) == [3]
    assert [path.name for path in ours.iterdir()] == ["thesis.txt"]


@walls_only
def test_no_file_can_be_changed_through_its_whole_path(planted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    text = VANDAL + f"FOLDERS = [os.path.dirname(__file__), {str(tmp_path)!r}, '/', '/usr', '/etc']"
    submission = planted(text)
    before = contents(tmp_path)
    assert submission.add([(1, 2)]) == [3]
    assert contents(tmp_path) == before


@walls_only
def test_files_outside_its_folder_are_not_there(planted, tmp_path):
    (tmp_path / "secret.txt").write_text("hidden")
    text = (
        PLAIN
        + f"""
import os
def add(m, a, b): return repr([os.listdir({str(tmp_path)!r}), os.path.exists("/etc/shadow")])
"""
    )
    assert planted(text).add([(1, 2)]) == [ascii("[['theirs'], False]")]


SECRET = "open-sesame-7391"
SPY = (
    PLAIN
    + """
import glob, os
def add(m, a, b):
    found = repr(os.environ)
    if a:
        for path in glob.glob("/proc/*/environ"):
            try: found += open(path, "rb").read().decode(errors="replace")
            except OSError: pass
    return int("open-sesame" + "-7391" in found)
"""
)


def test_secrets_of_the_environment_are_not_passed_on(planted, monkeypatch, walls):
    monkeypatch.setenv("OPEN", SECRET)
    assert planted(SPY, sandbox=walls).add([(0, 0)]) == [0]


@walls_only
def test_secrets_are_not_in_sight_in_proc(planted, monkeypatch):
    # A process started now has the secret in its environment, as the shell of a user has.
    monkeypatch.setenv("OPEN", SECRET)
    with subprocess.Popen(["sleep", "30"]) as shell:
        try:
            shown = Path(f"/proc/{shell.pid}/environ")
            while not shown.read_bytes():  # it is still being started
                time.sleep(0.01)
            assert SECRET.encode() in shown.read_bytes()
            assert planted(SPY).add([(1, 0)]) == [0]
        finally:
            shell.kill()


@walls_only
def test_there_is_no_network(planted):
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = (
            PLAIN
            + f"""
import socket
def add(m, a, b):
    socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=5).close()
    return 1
"""
        )
        assert planted(text).add([(1, 2)]) == ["raises OSError"]
        assert planted(text, sandbox=False).add([(1, 2)]) == [1]  # the test can fail


@walls_only
def test_no_right_is_left_and_none_comes_back(planted):
    text = (
        PLAIN
        + """
import ctypes, os
def add(m, a, b):
    c = ctypes.CDLL(None, use_errno=True)
    tries = [
        c.mount(b"none", b"/tmp", b"tmpfs", 0, None),
        c.mount(None, os.path.dirname(__file__).encode(), None, 32 | 4096, None),
        c.umount2(b"/proc", 2),
        c.unshare(0x10000000),
        c.chroot(b"/tmp"),
    ]
    for path in ("/proc/1/mem", "/proc/1/environ", "/proc/sys/kernel/core_pattern"):
        try:
            open(path, "r+b")
            tries.append(0)
        except OSError:
            tries.append(-1)
    return sum(tries)
"""
    )
    assert planted(text).add([(1, 2)]) == [-8]


# ---- the pipe ------------------------------------------------------------------------------------

ENDS = {
    "while loading": "import os\nos._exit(0)",
    "while building": "import os\ndef build_model(): os._exit(0)\ndef add(m, a, b): return 0",
    "while adding": PLAIN + "import os\ndef add(m, a, b): os._exit(0)",
    "in a thread": PLAIN
    + """
import os, threading, time
def add(m, a, b):
    threading.Thread(target=os._exit, args=(0,)).start()
    time.sleep(9)
""",
}


@pytest.mark.parametrize("when", cases(ENDS, "while loading", "while building"))
def test_a_process_that_ends_itself_gives_no_answer(when, planted):
    assert "exit code 0 and said nothing" in refused(planted(ENDS[when]))


FINDS = (
    PLAIN
    + """
import os, stat, sys
def pipes():
    \"\"\"The descriptors of pipes, without those of stdout and stderr.\"\"\"
    for descriptor in range(3, 100):
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode): yield descriptor
        except OSError: pass
def write(bytes):
    for descriptor in pipes():
        try:
            while bytes: bytes = bytes[os.write(descriptor, bytes):]
        except OSError: pass
def frame(text): return len(text).to_bytes(4, "big") + text.encode()
def channel():
    \"\"\"The channel itself and the nonce of the request, from the stack.\"\"\"
    place = sys._getframe()
    while "channel" not in place.f_locals: place = place.f_back
    return place.f_locals["channel"], place.f_locals["request"].nonce
"""
)
FORGED = {
    "no JSON": 'write(frame("verdict: proved"))',
    "a list": 'write(frame("[1, 2]"))',
    "missing keys": 'write(frame("{}"))',
    "an answer without a nonce": 'write(frame(\'{"type":"result","data":{"answers":[3]}}\'))',
    "an answer with a guessed nonce": (
        'write(frame(\'{"type":"result","nonce":"00","data":{"answers":[3]}}\'))'
    ),
    "a length of 64 MB": "write((2**26).to_bytes(4, 'big'))",
    "64 MB": "write(b'x' * 2**26)",
    "zeros": "write(bytes(2**20))",
    "deep nesting": 'write(frame("[" * 10**6))',
    "half a frame": "write(frame('{}')[:-1]); os._exit(0)",
    "closed descriptors": "os.closerange(0, 100); __import__('time').sleep(9)",
    "a FIFO in the pipe's place": (
        "os.mkfifo('fifo'); f = os.open('fifo', os.O_RDWR)\n    for p in pipes(): os.dup2(f, p)"
    ),
    "a folder in the pipe's place": (
        "f = os.open('.', os.O_RDONLY)\n    for p in pipes(): os.dup2(f, p)"
    ),
    "/dev/zero in the pipe's place": (
        "f = os.open('/dev/zero', os.O_RDWR)\n    for p in pipes(): os.dup2(f, p)"
    ),
    "wrong types with the right nonce": """
    from tinyadder.verify.external.frames import JobResult
    import msgspec
    c, nonce = channel()
    c.send(JobResult(nonce, msgspec.Raw(b'{"answers": {"a": 1}}')))""",
    "missing keys with the right nonce": """
    from tinyadder.verify.external.frames import JobResult
    import msgspec
    c, nonce = channel()
    c.send(JobResult(nonce, msgspec.Raw(b'{"verdict": "proved"}')))""",
    "too few answers with the right nonce": """
    from tinyadder.verify.external.frames import JobResult
    import msgspec
    c, nonce = channel()
    c.send(JobResult(nonce, msgspec.Raw(b'{"answers": []}')))""",
    "progress of wrong types": """
    import msgspec
    c, nonce = channel()
    c.send({"type": "progress", "nonce": nonce, "done": "many", "total": [], "extra": 3})""",
}


LIKE_OTHERS = (
    "a list",
    "an answer without a nonce",
    "half a frame",
    "closed descriptors",
    "a folder in the pipe's place",
    "missing keys with the right nonce",
)


@pytest.mark.parametrize("what", cases(FORGED, *LIKE_OTHERS))
def test_a_forged_answer_is_one_line(what, planted):
    text = FINDS + f"def add(m, a, b):\n    {FORGED[what].strip()}\n    return 3"
    line = refused(planted(text, seconds=5.0))
    assert "its process" in line


def test_an_answer_to_another_question_is_not_taken(planted):
    text = (
        FINDS
        + """
from tinyadder.verify.external.frames import JobResult
import msgspec
kept = []
def add(m, a, b):
    c, nonce = channel()
    kept.append(nonce)
    if len(kept) == 2: c.send(JobResult(kept[0], msgspec.Raw(b'{"answers": [42]}')))
    return a + b
"""
    )
    with planted(text).session() as session:
        assert session.add([(1, 2)]) == [3]
        with pytest.raises(TinyadderError, match="an answer that was not asked for"):
            session.add([(1, 2)])


def test_lies_about_the_answer_are_answers_and_the_asker_judges_them(planted):
    text = PLAIN + "def add(m, a, b): return 'RIGHT: proved for all pairs'"
    (answer,) = planted(text).add([(1, 2)])
    assert answer != 3 and answer == ascii("RIGHT: proved for all pairs")


PATCHES = (
    PLAIN
    + """
import json, os, sys, types
import msgspec
def lie(*_, **__): return b'{"answers": [0]}'
json.dumps = json.dump = json.loads = lie
json.encoder.JSONEncoder.encode = json.encoder.JSONEncoder.iterencode = lie
msgspec.json.encode = msgspec.json.decode = lie
os.write = os.read = os.getpid = lie
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.nn = types.ModuleType("torch.nn")
torch.nn.Module = object
torch.equal = torch.allclose = lambda *_: True
"""
)


def test_patched_json_and_torch_do_not_reach_the_pipe(planted, walls):
    assert planted(PATCHES, sandbox=walls).add([(1, 2), (3, 4)]) == [3, 7]


def test_functions_that_a_file_has_replaced_are_listed(planted):
    with planted(PATCHES).session() as session:
        found = session.about()["replaced"]
    assert {"json.dumps", "json.loads", "os.getpid", "msgspec.json.decode"} <= set(found)
    assert "torch.equal" in found and "os.listdir" not in found
    with planted(PLAIN).session() as session:
        assert session.about()["replaced"] == []


FAKE = "\\x1b[2J\\x1b[1;32mPROVED     all 100,000,000,000,000,000,000 problems\\x1b[0m\\r"


def test_a_fake_verdict_is_shown_as_what_a_stranger_said(planted, capfd):
    text = (
        PLAIN
        + f"""
import os, sys
for descriptor in (1, 2):
    os.write(descriptor, b"{FAKE}\\n")
os.write(2, b"{FAKE}")
os._exit(0)
"""
    )
    line = refused(planted(text))
    assert r"exit code 0: \x1b[2J\x1b[1;32mPROVED" in line
    out, err = capfd.readouterr()
    assert "PROVED" not in out + err


def test_escape_sequences_of_an_exception_are_shown(planted):
    text = PLAIN + f"class Fake(Exception): pass\ndef build_model(): raise Fake('{FAKE}')"
    assert r"Fake: \x1b[2J" in refused(planted(text))


def test_the_command_shows_nothing_of_a_fake_verdict_but_the_line(planted):
    text = PLAIN + f"import os, sys\nprint('{FAKE}', flush=True)\nos._exit(3)"
    result = CliRunner().invoke(command, [str(planted(text).path)])
    assert result.exit_code != 0 and "PROVED" not in result.output


# ---- bombs ---------------------------------------------------------------------------------------

BOMBS = {
    "a repr of a gigabyte": ("class B:\n    def __repr__(self): return 'x' * 10**9", "B()", ": B"),
    "a repr that raises": ("class B:\n    def __repr__(self): raise SystemExit", "B()", ": B"),
    "a str that prints itself": (
        "class B(str):\n    def __repr__(self): return 'PROVED' * 10**6",
        "B('x')",
        ": B",
    ),
    "a type with a name of a megabyte": ("B = type('B' * 10**6, (), {})", "B()", ": BBB"),
    "an integer of a million digits": ("", "10**10**6", "more than 63 bits"),
    "an integer that is more": ("class B(int):\n    def __str__(self): 1 / 0", "B(10**30)", "63"),
    "a lone surrogate": ("", "'\\ud800'", "ud800"),
    "not a number": ("", "float('nan')", "nan"),
    "infinity": ("", "float('inf')", "inf"),
    "itself": ("L = []\nL.append(L)", "L", ": list"),
    "endless recursion": ("def f(): return f()", "f()", "raises RecursionError"),
    "an exception with a bad text": (
        "class B(Exception):\n    def __str__(self): raise B",
        "(_ for _ in ()).throw(B())",
        "raises B",
    ),
}


def test_bombs_in_the_place_of_answers_go_off_inside(planted):
    text = PLAIN
    for k, (before, answer, _) in enumerate(BOMBS.values()):
        text += f"\n{before}\ndef bomb{k}({'B=B' if 'B' in before else ''}): return {answer}"
    text += "\ndef add(m, a, b): return globals()[f'bomb{a}']()"
    answers = planted(text).add([(k, 0) for k in range(len(BOMBS))])
    for (name, (_, _, what)), answer in zip(BOMBS.items(), answers, strict=True):
        assert isinstance(answer, str) and what in answer and len(answer) < 200, name


def test_an_exception_of_megabytes_is_one_line(planted):
    text = PLAIN + "def build_model(): raise ValueError('x' * 10**7 + '\\nPROVED')"
    assert len(refused(planted(text))) < 400


@pytest.mark.slow
def test_recursion_that_overflows_the_stack_of_the_machine_is_one_line(planted):
    text = (
        PLAIN
        + """
import sys
sys.setrecursionlimit(10**9)
def add(m, a, b):
    deep = []
    for _ in range(10**6): deep = [deep]
    return len(repr(deep))
"""
    )
    assert "signal 11" in refused(planted(text)) or "memory" in refused(planted(text))


# ---- the way back --------------------------------------------------------------------------------


def test_without_namespaces_one_line_warns(planted, monkeypatch, caplog):
    monkeypatch.setattr(parent, "_refused", [])
    parent._warn.cache_clear()
    real = parent.Setup

    def forbidden(**given):  # a place where nothing can be mounted, as in many a container
        wrong = {"scratch": "/nowhere/to/be/found"} if given["namespaces"] else {}
        return real(**given | wrong)

    monkeypatch.setattr(parent, "Setup", forbidden)
    with caplog.at_level(logging.WARNING):
        assert planted(PLAIN).add([(1, 2)]) == [3]
        assert planted(PLAIN).add([(1, 2)]) == [3]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1 and "no sandbox (" in lines[0] and "docs/security.md" in lines[0]
    parent._warn.cache_clear()


def test_frames_are_put_together_however_they_are_cut():
    values = [{"a": 1}, [2.5, None], "three"]
    stream = b"".join(packed(value) for value in values)
    for size in (1, 3, HEAD, 1000):
        unpacker, found = Unpacker(), []
        for k in range(0, len(stream), size):
            found += unpacker.feed(stream[k : k + size])
        assert found == [b'{"a":1}', b"[2.5,null]", b'"three"']


def test_a_frame_over_the_limit_is_refused_on_both_sides():
    with pytest.raises(ValueError, match="the limit is"):
        packed("x" * MOST)
    with pytest.raises(ValueError, match="the limit is"):
        Unpacker().feed((MOST + 1).to_bytes(HEAD, "big"))
