"""The threads of this process that Python knows nothing of: started by libraries, in C++ or Rust. Linux only.

A fork has none of them, and hangs at the first use of what waits for one. Some libraries see to that themselves.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import time
from typing import NamedTuple

_PATIENCE = 1.0  # seconds for a thread to come to rest; until then nobody can tell whose it is
_STACK = 1 << 16  # bytes of a stack that are looked at, at most: a thread that waits has a few kilobytes

# Those that see to a fork: OpenBLAS ends its threads before it, jemalloc starts others after it, and so does numexpr at
# its first use. Most files are named after the library; numexpr's is in a folder of that name.
_SAFE_LIBRARY = re.compile(r"openblas[^/]*$|/numexpr/")
_SAFE_NAMES = frozenset({"jemalloc_bg_thd"})

_EVERYBODYS = re.compile(r"^(ld|lib(c|m|pthread|stdc\+\+|gcc_s|python[\d.]+))[-.]|^python[\d.]*$|^\[")


class Thread(NamedTuple):
    """A native thread."""

    id: int
    name: str  # as it calls itself; most have the program's
    libraries: tuple[str, ...]  # their files, the outermost frame's first; none if they cannot be told

    def __str__(self) -> str:
        return os.path.basename(self.libraries[0]) if self.libraries else self.name

    @property
    def survives_fork(self) -> bool:
        """Whether the library that it belongs to works in a fork all the same."""
        return self.name in _SAFE_NAMES or bool(self.libraries and _SAFE_LIBRARY.search(self.libraries[0]))


def ids() -> set[int]:
    """Return the ids of all threads, Python's included."""
    try:
        return set(map(int, os.listdir("/proc/self/task")))
    except OSError:
        return set()


def native(known: set[int]) -> list[Thread]:
    """Return the native threads that are not in `known`. May wait until those that run have come to rest."""
    pythons = {thread.native_id for thread in threading.enumerate()}
    found = []
    deadline = time.monotonic() + _PATIENCE
    for number in sorted(ids() - known - pythons):
        thread = _look_at(number)
        while thread is not None and not thread.libraries and _runs(number) and time.monotonic() < deadline:
            time.sleep(0.002)
            thread = _look_at(number)
        if thread is not None:
            found.append(thread)
    return found


def _look_at(number: int) -> Thread | None:
    """Describe a thread; None if it has ended."""
    name = _read(number, "comm")
    return Thread(number, name, _libraries(number)) if name else None


def _runs(number: int) -> bool:
    return _read(number, "syscall") == "running"


def _libraries(number: int) -> tuple[str, ...]:
    """Return the libraries into which the words on a waiting thread's stack point: they are where its calls return."""
    words = _read(number, "syscall").split()
    if len(words) < 3:
        return ()  # it runs, or this system does not tell
    pointer = int(words[-2], 16)
    code: list[tuple[int, int, str]] = []
    end = 0
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            place, access, _, _, _, *path = line.rstrip("\n").split(maxsplit=5)
            first, last = (int(bound, 16) for bound in place.split("-"))
            if "x" in access and path:
                code.append((first, last, path[0]))
            elif first <= pointer < last:
                end = last
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ()
    try:
        stack = os.pread(memory, min(end - pointer, _STACK) // 8 * 8, pointer) if end else b""
    except OSError:
        stack = b""
    finally:
        os.close(memory)
    found: dict[str, None] = {}
    for (word,) in struct.iter_unpack("P", stack[: len(stack) // 8 * 8]):
        for first, last, library in code:
            if first <= word < last and not _EVERYBODYS.search(os.path.basename(library)):
                found.pop(library, None)
                found[library] = None
    return tuple(reversed(found))


def _read(number: int, what: str) -> str:
    try:
        with open(f"/proc/self/task/{number}/{what}", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
