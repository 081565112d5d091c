"""Walls around the process that runs a stranger's code, built by that process itself before it
loads any of it.

On Linux: user, mount, network, pid and ipc namespaces of its own (as `unshare` makes them). It sees
the interpreter, the packages and the submission, read-only; a private writable folder; no network,
no process but its own, no device but null, zero, full and random. Where the system forbids that, or
elsewhere: a process with limits only. Either way a supervisor, which never runs a stranger's code,
watches memory and processes from outside and ends all of them with the last.

    parent  -  starter  -  supervisor (pid 1)  -  the stranger's code
    parent  -  supervisor                      -  the stranger's code      (without namespaces)
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

MOST_WRITTEN = 2**26
"""Bytes of one file."""
MOST_PROCESSES = 128
"""Threads count, too, where the system counts them."""
PRIVATE = 2**28
"""Bytes of the private writable folder."""
FOLDER = "/sandbox"
"""Where it is."""
EVERY = 0.05
"""Seconds between two looks at memory and processes."""

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
)
"""What programs need to start, as far as it is there."""
DEVICES = ("null", "zero", "full", "random", "urandom")


class Limits(msgspec.Struct):
    """What the code may use and see."""

    seconds: float
    """Of processor time."""
    memory: int
    """Bytes: of address space for one process, of memory for all together."""
    visible: list[str]
    """Files and folders, besides the interpreter and its packages."""


class Ended(msgspec.Struct):
    """How it ended, said by the supervisor (or, where there are no walls to be had, why not)."""

    code: int = 0
    """Exit code, or minus the signal."""
    why: str = ""
    """"memory" or "processes" where the supervisor ended it."""
    refused: str = ""
    """What the system said instead of making namespaces."""


def enter(limits: Limits, scratch: str, lifeline: int, status: int, namespaces: bool) -> None:
    """Build the walls; returns in the process that is to run the code, and in no other.

    The others live until it ends, until the other end of the pipe `lifeline` is closed, or until a
    limit is broken, and then end everything inside and write `Ended` to `status`. `scratch` is an
    empty folder.
    """
    if namespaces:
        _separate(status)
        try:
            _build(limits, scratch)
            _drop()
        except OSError as error:
            _say(status, Ended(refused=str(error)))
            os._exit(1)
    else:
        with suppress(OSError):
            _call("prctl", _SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    code = os.fork()
    if code:
        _supervise(code, limits.memory, lifeline, status, namespaces)
    os.close(status)
    if namespaces:
        _call("prctl", _SET_DUMPABLE, 1, 0, 0, 0)  # so that it can read its own part of /proc
        os.environ.update(HOME=FOLDER, TMPDIR=FOLDER)
        os.chdir(FOLDER)
    else:
        with suppress(OSError):
            _drop()
        os.setsid()
        os.environ.update(HOME=scratch, TMPDIR=scratch)
        os.chdir(scratch)
    cpu = int(limits.seconds) + 1
    _limit(resource.RLIMIT_CPU, cpu)
    _limit(resource.RLIMIT_AS, limits.memory)
    _limit(resource.RLIMIT_FSIZE, MOST_WRITTEN)
    _limit(resource.RLIMIT_CORE, 0)
    if namespaces:  # elsewhere it counts all of the user's processes
        _limit(resource.RLIMIT_NPROC, MOST_PROCESSES)


def _limit(what: int, most: int) -> None:
    """Set a limit, no higher than one that is there."""
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):  # macOS refuses some
        resource.setrlimit(what, (most, most))


# ---- system calls that Python has no function for ------------------------------------------------

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND = 1, 2, 4, 8, 32, 4096
_REC, _PRIVATE, _DETACH = 16384, 1 << 18, 2
_SET_DUMPABLE, _CAPBSET_DROP, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 4, 24, 36, 38
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_CAPABILITY_VERSION = 0x20080522


def _call(name: str, *given: object) -> int:
    """A function of the C library. Raises `OSError` where it fails."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        raise OSError(f"this system has no {name}")
    plain = [os.fsencode(value) if isinstance(value, str) else value for value in given]
    result = function(*[ctypes.c_long(v) if isinstance(v, int) else v for v in plain])
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _call("mount", source, target, kind, flags, data)


class _MountAttributes(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns"))


def _bind(source: str, target: str) -> None:
    """Show a file or folder, with what is mounted in it, at another place, read-only."""
    _mount(source, target, None, _BIND | _REC)
    wanted = _MountAttributes(set=_RDONLY | _NOSUID | _NODEV)
    size = ctypes.sizeof(wanted)
    _call("syscall", _MOUNT_SETATTR, _AT_FDCWD, target, _AT_RECURSIVE, ctypes.byref(wanted), size)


# ---- namespaces ----------------------------------------------------------------------------------


def _separate(status: int) -> None:
    """Go on as process 1 of new namespaces; the process before waits for it and ends."""
    user, group = os.getuid(), os.getgid()
    try:
        _call("unshare", _NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"1000 {user} 1")
        Path("/proc/self/gid_map").write_text(f"1000 {group} 1")
        child = os.fork()
    except OSError as error:
        _say(status, Ended(refused=str(error)))
        os._exit(1)
    if child:
        os.closerange(0, 2**10)
        os.waitpid(child, 0)
        os._exit(0)


def _build(limits: Limits, root: str) -> None:
    """Make the file system that the code sees, and give up the rights that it took."""
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("none", root, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    for name, size in ((FOLDER, PRIVATE), ("/tmp", PRIVATE), ("/dev/shm", PRIVATE // 4)):
        os.makedirs(root + name)
        _mount("none", root + name, "tmpfs", _NOSUID | _NODEV, f"size={size},mode=1777")
    for name in DEVICES:
        Path(root + f"/dev/{name}").touch()
        _mount(f"/dev/{name}", root + f"/dev/{name}", None, _BIND)
    os.symlink("/proc/self/fd", root + "/dev/fd")
    os.makedirs(root + "/proc")
    with suppress(OSError):  # where a container hides parts of its own, there is none
        _mount("proc", root + "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
        with suppress(OSError):
            Path(root + "/proc/sys/user/max_user_namespaces").write_text("0")
        _mount(
            "none", root + "/proc", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | _NOEXEC
        )
    for name in _shown(limits.visible):
        _show(name, root)
    os.makedirs(root + "/etc", exist_ok=True)
    Path(root + "/etc/passwd").write_text(f"sandbox:x:1000:1000::{FOLDER}:/bin/false\n")
    os.chdir(root)
    _call("pivot_root", ".", ".")
    _call("umount2", ".", _DETACH)
    _mount("none", "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir("/")


def _shown(visible: Sequence[str]) -> Iterator[str]:
    """What is bound, outer folders first, without what lies in one that is."""
    wanted = [*SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, *visible]
    done: list[Path] = []
    for path in sorted({Path(name) for name in wanted if name.startswith("/")}):
        if path.exists() and not any(path.is_relative_to(outer) for outer in done):
            done.append(path)
            yield str(path)


def _show(name: str, root: str) -> None:
    target = root + name
    if os.path.islink(name) and name in SYSTEM:  # /lib -> usr/lib
        os.symlink(os.readlink(name), target)
        return
    if os.path.isdir(name):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    _bind(name, target)


def _drop() -> None:
    """No capability left, none to be had again, and no other process looks into this one."""
    for capability in range(64):
        with suppress(OSError):
            _call("prctl", _CAPBSET_DROP, capability, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    _call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))
    _call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call("prctl", _SET_DUMPABLE, 0, 0, 0, 0)


# ---- the supervisor ------------------------------------------------------------------------------


def _supervise(child: int, memory: int, lifeline: int, status: int, alone: bool) -> NoReturn:
    """Wait for the child, the end of the lifeline or a broken limit; then end everything."""
    for descriptor in range(2**10):
        if descriptor not in (lifeline, status):
            with suppress(OSError):
                os.close(descriptor)
    ended = Ended()
    watch = select.poll()
    watch.register(lifeline, 0)  # only whether the other side is still there
    if hasattr(os, "pidfd_open"):
        watch.register(os.pidfd_open(child), select.POLLIN)
    stop: list[int] = []
    if not alone:  # without a handler, process 1 cannot be reached from inside
        signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    while True:
        if any(descriptor == lifeline for descriptor, _ in watch.poll(EVERY * 1000)) or stop:
            break
        codes = dict(_reaped())
        if child in codes:
            ended.code = codes[child]
            break
        inside = list(_processes() if alone else _descendants(os.getpid()))
        ended.why = _excess(inside, memory)
        if ended.why:
            break
    _end_all(child, alone)
    with suppress(OSError):
        _say(status, ended)
    os._exit(0)


def _reaped() -> Iterator[tuple[int, int]]:
    """The processes that have ended, each with its exit code or minus its signal."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended[0], os.waitstatus_to_exitcode(ended[1])


def _excess(inside: Sequence[int], memory: int) -> str:
    """The limit that these processes break together, "" for none."""
    if len(inside) > MOST_PROCESSES:
        return "processes"
    page, used = os.sysconf("SC_PAGE_SIZE"), 0
    for pid in inside:
        with suppress(OSError, ValueError, IndexError):
            used += page * int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    return "memory" if used > memory else ""


def _processes() -> list[int]:
    """Every process that can be seen, without this one."""
    with suppress(OSError):
        return [int(n) for n in os.listdir("/proc") if n.isdigit() and int(n) != os.getpid()]
    return []


def _descendants(root: int) -> Iterator[int]:
    """What a process started, and what these started, down to the last (Linux only)."""
    children: dict[int, list[int]] = {}
    for pid in _processes():
        with suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(pid)
    waiting = [root]
    while waiting:
        found = children.get(waiting.pop(), [])
        waiting += found
        yield from found


def _end_all(child: int, alone: bool) -> None:
    """Kill what is inside, until nothing is left."""
    if alone:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        return
    end = time.monotonic() + 5
    left = [child]
    while left and time.monotonic() < end:
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        list(_reaped())
        left = list(_descendants(os.getpid()))


def _say(status: int, ended: Ended) -> None:
    os.write(status, msgspec.json.encode(ended))
