"""The native threads of this process: libraries in C++ or Rust have started them, and Python does not know them.

A fork has none of them, and hangs as soon as something waits for one. Some libraries prevent that. Linux only.
"""

from __future__ import annotations

import bisect
import os
import re
import struct
import threading
import time
from typing import NamedTuple

_PATIENCE = 1.0  # seconds to wait for a thread that runs: whose it is can be told only while it waits
_STACK = 1 << 16  # bytes to look at of a stack, at most. A waiting thread's has a few kilobytes

# Libraries that survive a fork. OpenBLAS ends its threads before it. jemalloc starts new ones after it, and numexpr at
# its first use. Most files are named after the library; numexpr's is in a folder of that name.
_SAFE_LIBRARY = re.compile(r"openblas[^/]*$|/numexpr/")
_SAFE_NAMES = frozenset({"jemalloc_bg_thd"})

_EVERYBODYS = re.compile(r"^(ld|lib(c|m|pthread|stdc\+\+|gcc_s|python[\d.]+))[-.]|^python[\d.]*$|^\[")


class Thread(NamedTuple):
    """A native thread."""

    id: int
    name: str  # the program's, unless the library has given it another
    libraries: tuple[str, ...]  # files, the outermost frame's first; empty if they are not known

    def __str__(self) -> str:
        return os.path.basename(self.libraries[0]) if self.libraries else self.name

    @property
    def survives_fork(self) -> bool:
        """Whether its library works in a fork all the same."""
        return self.name in _SAFE_NAMES or bool(self.libraries and _SAFE_LIBRARY.search(self.libraries[0]))


def ids() -> set[int]:
    """Return the ids of all threads, Python's included."""
    try:
        return set(map(int, os.listdir("/proc/self/task")))
    except OSError:
        return set()


def native(known: set[int]) -> list[Thread]:
    """Return the native threads that are not in `known`. If one runs, wait a moment until it waits."""
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
    """Whether a thread runs at the moment. Where it is can be told only while it waits."""
    return _read(number, "syscall") == "running"


def call(number: int) -> tuple[int, ...]:
    """Return the arguments of the system call that a thread waits in. Empty if it runs or the system does not tell."""
    words = _read(number, "syscall").split()
    # The call's number, its six arguments, the stack pointer, the program counter.
    return tuple(int(word, 16) for word in words[1:-2]) if len(words) == 9 else ()


class Memory:
    """The memory map of this process."""

    def __init__(self) -> None:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            self._lines = maps.readlines()
        self._firsts = [int(line[: line.index("-")], 16) for line in self._lines]  # addresses, ascending
        self._mappings: dict[int, tuple[int, str, bool]] = {}  # what `_mapping` has returned, by line

    def libraries_of(self, number: int) -> tuple[str, ...]:
        """Return the libraries whose functions a waiting thread is in, outermost first.

        They are those into whose code words on its stack point, such as return addresses. Empty if the thread runs or
        the system does not tell.
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
        """Return the end address of a mapping, its file, and whether that is code of a library."""
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
