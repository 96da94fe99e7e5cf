"""The threads of this process that Python knows nothing of: started by libraries, in C++ or Rust. Linux only.

A fork has none of them, and hangs at the first use of what waits for one. Some libraries see to that themselves.
"""

from __future__ import annotations

import bisect
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
    unknown = ids() - known - pythons
    if not unknown:
        return []
    found = []
    memory = Memory()
    deadline = time.monotonic() + _PATIENCE
    for number in sorted(unknown):
        while runs(number) and time.monotonic() < deadline:
            time.sleep(0.002)
        if name := _read(number, "comm"):  # otherwise it has ended
            found.append(Thread(number, name, memory.libraries_of(number)))
    return found


def runs(number: int) -> bool:
    """Whether a thread runs at the moment, so that nobody can tell where it is."""
    return _read(number, "syscall") == "running"


def call(number: int) -> tuple[int, ...]:
    """Return the arguments of the system call that a thread waits in; none if it runs, or the system does not tell."""
    words = _read(number, "syscall").split()
    # The number of the call is followed by six arguments, the stack's place and the program's.
    return tuple(int(word, 16) for word in words[1:-2]) if len(words) == 9 else ()


class Memory:
    """What is mapped where in this process."""

    def __init__(self) -> None:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            self._lines = maps.readlines()
        self._firsts = [int(line[: line.index("-")], 16) for line in self._lines]  # addresses, ascending
        self._mappings: dict[int, tuple[int, str, bool]] = {}  # what `_mapping` has told, by line

    def libraries_of(self, number: int) -> tuple[str, ...]:
        """Return the libraries into which the words on a waiting thread's stack point, where its calls return.

        The outermost comes first. None if it runs, or the system does not tell.
        """
        words = _read(number, "syscall").split()
        if len(words) < 3:
            return ()
        pointer = int(words[-2], 16)
        end, _, _ = self._at(pointer)
        try:
            memory = os.open("/proc/self/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return ()
        try:
            stack = os.pread(memory, max(0, min(end - pointer, _STACK)), pointer)
        except OSError:
            stack = b""
        finally:
            os.close(memory)
        found: dict[str, None] = {}
        for (word,) in struct.iter_unpack("P", stack[: len(stack) // 8 * 8]):
            _, file, is_code = self._at(word)
            if is_code:
                found.pop(file, None)
                found[file] = None
        return tuple(reversed(found))

    def _at(self, address: int) -> tuple[int, str, bool]:
        index = bisect.bisect_right(self._firsts, address) - 1
        if index < 0:
            return 0, "", False
        mapping = self._mappings.get(index) or self._mapping(index)
        return mapping if address < mapping[0] else (0, "", False)

    def _mapping(self, index: int) -> tuple[int, str, bool]:
        """Return the end of what a line tells of, its file, and whether that is somebody's code."""
        place, access, _, _, _, *path = self._lines[index].rstrip("\n").split(maxsplit=5)
        file = path[0] if path else ""
        is_code = "x" in access and file != "" and not _EVERYBODYS.search(os.path.basename(file))
        mapping = self._mappings[index] = int(place.partition("-")[2], 16), file, is_code
        return mapping


def _read(number: int, what: str) -> str:
    try:
        with open(f"/proc/self/task/{number}/{what}", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
