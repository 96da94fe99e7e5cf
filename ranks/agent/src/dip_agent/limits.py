"""The limits that a user or a system has set for processes (`ulimit`): which of them is the cause of an error."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable

from . import system, wire

# Descriptors that the node needs for one more process, and those that a process, or the node for a moment, opens.
_FILES_EACH, _FILES_MORE = 7, 26
_THREADS_EACH = 8  # of a process without torch
_LOW_THREADS = 4096
_MEMORY_EACH = 200 << 20  # bytes of address space, beyond what the node has mapped


def shortage(count: int) -> str:
    """Return which limit keeps `count` more processes from being started, "" if none is known to."""
    files = _limit(resource.RLIMIT_NOFILE)
    need = len(system.open_fds()) + count * _FILES_EACH + _FILES_MORE
    if files is not None and files < need:
        return f"{_files(files)}, and {_processes(count)} need about {need}; raise it: ulimit -n {max(1024, 2 * need)}"
    threads = _limit(resource.RLIMIT_NPROC)
    if os.geteuid() == 0 or (threads or 0) > _LOW_THREADS:  # root has no limit; counting takes milliseconds
        threads = None
    if threads is not None and (have := _threads_of_user()) + count * _THREADS_EACH > threads:
        return (
            f"{_threads(threads)}, of which {have} are taken, and {_processes(count)} need about "
            f"{count * _THREADS_EACH}; raise it (ulimit -u), or end something"
        )
    memory = _limit(resource.RLIMIT_AS)
    if memory is not None and (need := _mapped() + _MEMORY_EACH) > memory:
        return f"{_memory(memory)}, and a process needs at least {need >> 20} MiB; raise it: ulimit -v unlimited"
    return ""


def explain(err: BaseException) -> str:
    """Return an error's text, and the limit that may be the cause."""
    code = err.errno if isinstance(err, OSError) else None
    text = wire.text(err)
    hint = ""
    if code in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text:
        hint = _hint(resource.RLIMIT_NOFILE, _files)
    elif code == errno.EAGAIN or "can't start new thread" in text or "Resource temporarily unavailable" in text:
        hint = _hint(resource.RLIMIT_NPROC, _threads)
    elif code == errno.ENOMEM or isinstance(err, MemoryError) or "failed to map segment" in text:
        hint = _hint(resource.RLIMIT_AS, _memory)
    elif code == errno.EFBIG:
        hint = _hint(resource.RLIMIT_FSIZE, lambda limit: f"the limit on files (ulimit -f) is {limit >> 10} KiB")
    return "; ".join(filter(None, (text, hint)))


def _hint(kind: int, words: Callable[[int], str]) -> str:
    limit = _limit(kind)
    return "" if limit is None else words(limit)


def _limit(kind: int) -> int | None:
    soft, _ = resource.getrlimit(kind)
    return None if soft == resource.RLIM_INFINITY else soft


def _files(limit: int) -> str:
    return f"the limit on open files (ulimit -n) is {limit}"


def _threads(limit: int) -> str:
    return f"the limit on processes and threads of this user (ulimit -u) is {limit}"


def _memory(limit: int) -> str:
    return f"the limit on address space (ulimit -v) is {limit >> 20} MiB"


def _processes(count: int) -> str:
    return f"{count} process{'es' if count != 1 else ''}"


def _threads_of_user() -> int:
    """Return how many processes and threads the user has; 0 where the system does not tell."""
    found = 0
    try:
        pids = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return 0
    for pid in pids:
        try:
            if os.stat(f"/proc/{pid}").st_uid == os.getuid():
                found += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            pass
    return found


def _mapped() -> int:
    """Return how many bytes of address space this process has; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0
