"""What a session may leave on a host: processes, and names of shared memory. It is found and ended here.

It does for a host what ranks/host/guard.go does for the machine of the server.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable

from .. import system

KILL_PATIENCE = 5.0  # seconds for processes that SIGKILL does not end: they hang in the kernel, or are another user's
JANITOR_PATIENCE = 3.0  # seconds for processes that free the shared memory of dead ones; torch's takes two
_LOOK_PATIENCE = 1.0  # seconds; reading the maps of a process that hangs in the kernel may hang, too
_KILL_PAUSE = 0.02

_SHARED = "/dev/shm/"
# Names that libraries make up. Memory that a user has named may be meant to stay. See ranks/host/shared_linux.go.
_LIBRARY_NAME = re.compile(
    r"psm_[0-9a-f]{8}|sem\.(mp|loky)-[0-9A-Za-z_-]+|torch_\d+_\d+_\d+|nccl-[0-9A-Za-z]{6}|cuda\.shm\.[0-9a-f.]+"
)


@dataclass(frozen=True)
class Running:
    """A process as /proc/PID/stat has it."""

    pid: int
    parent: int
    started: int
    ended: bool  # but not reaped


def everybody() -> list[Running]:
    """Return all processes that can be seen."""
    return [found for name in os.listdir("/proc") if name.isdigit() and (found := look_at(int(name)))]


def look_at(pid: int) -> Running | None:
    """Return a process, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    fields = line[line.rindex(b")") + 2 :].split()
    # If only its first thread has ended, it looks like a zombie, but others run on.
    ended = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return Running(pid, int(fields[1]), int(fields[19]), ended)


def below(roots: Iterable[int]) -> list[Running]:
    """Return the living processes that descend from others."""
    children: dict[int, list[Running]] = {}
    for process in everybody():
        children.setdefault(process.parent, []).append(process)
    found = [child for root in roots for child in children.get(root, [])]
    for process in found:
        found.extend(children.get(process.pid, []))
    return [process for process in found if not process.ended]


def kill_all(left: Callable[[], list[Running]], pause: Callable[[float], None]) -> bool:
    """Kill what `left` returns until that is nothing, or it does not end; return whether it is nothing.

    `pause` waits so many seconds at most, and reaps what has ended.
    """
    due = time.monotonic() + KILL_PATIENCE
    foreign: set[int] = set()
    while True:
        pause(0)
        doomed = [process for process in left() if process.pid not in foreign]
        if not doomed:
            return True
        if time.monotonic() > due:
            return False
        for process in doomed:
            if not system.kill(process.pid, process.started):
                foreign.add(process.pid)
        pause(_KILL_PAUSE)


def no_janitors(processes: list[Running]) -> list[Running]:
    """Leave out those that free the shared memory of others, and then end by themselves."""
    return [process for process in processes if not system.is_janitor(process.pid)]


def complain(text: str) -> None:
    """Say something on standard error, which leads to the launcher: that may be gone."""
    with contextlib.suppress(OSError):
        print(f"dipls: {text}", file=sys.stderr, flush=True)


def kill_session(session: str) -> None:
    """Kill what is left of a session all of whose guards were killed."""
    for process in everybody():
        if _of_session(process.pid, session) and not system.is_janitor(process.pid):
            system.kill(process.pid, process.started)


def _of_session(pid: int, session: str) -> bool:
    """Whether a process has inherited the session's mark or, if it is a plain fork, memory with the session's name."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/environ", "rb") as file:
            if f"\0{system.MARK}={session}/".encode() in b"\0" + file.read():
                return True
        with open(f"/proc/{pid}/maps", "rb") as file:
            return f"/memfd:dipls:{session}:".encode() in file.read()
    return False


class SharedMemory:
    """The names in /dev/shm that processes of a session use. Those that are left at the end are removed."""

    def __init__(self) -> None:
        self._before = set(_names())  # is not the session's
        self._seen: set[int] = set()

    def note(self, processes: Callable[[], list[Running]]) -> None:
        """Look at what processes use now: when they have ended, nobody can tell. It takes a second at most."""

        def look() -> None:
            for process in processes():
                self._seen.update(_used_by(process.pid))

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        looking.join(_LOOK_PATIENCE)

    def free(self) -> None:
        """Remove what has a library's name, is ours, was not there before, and is used by nobody any more."""
        left = {inode: name for name, inode in _names() if inode in self._seen and (name, inode) not in self._before}
        if left:
            for process in everybody():
                for inode in _used_by(process.pid):
                    left.pop(inode, None)
        for name in left.values():
            with contextlib.suppress(OSError):  # somebody was quicker
                os.unlink(_SHARED + name)


def _names() -> list[tuple[str, int]]:
    """Return our files in /dev/shm that have a library's name, with their inodes."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(_SHARED):
            with contextlib.suppress(OSError):
                info = os.lstat(_SHARED + name)
                if _LIBRARY_NAME.fullmatch(name) and stat.S_ISREG(info.st_mode) and info.st_uid == os.geteuid():
                    found.append((name, info.st_ino))
    return found


def _used_by(pid: int) -> set[int]:
    """Return the inodes of files in /dev/shm that a process has mapped or opened."""
    found = set()
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:  # 7f…-7f… rw-s 00000000 00:17 63 /dev/shm/psm_0f3a9c21
            fields = line.split()
            if len(fields) > 5 and fields[5].startswith(_SHARED):
                found.add(int(fields[4]))
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                link = f"/proc/{pid}/fd/{fd}"
                if os.readlink(link).startswith(_SHARED):
                    found.add(os.stat(link).st_ino)
    return found
