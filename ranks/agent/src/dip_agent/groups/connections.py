"""The TCP connections that gloo's backends of this process have opened themselves. Linux only.

Each device of gloo's has a thread that does nothing but wait at an epoll descriptor of the device's, in which are its
connections, also those that are made only when they are first needed. Such a thread is known by how it waits, and by
the library that it runs; what else the process has open, in Python or natively, is in no such descriptor.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .. import system, threads

_WAIT = (64, 10)  # how gloo's thread calls epoll_wait: for so many events, and so many milliseconds
_LIBRARY = re.compile(r"^lib(torch|gloo)[^/]*$")  # of the call; others may have a gloo of their own
PATIENCE = 0.3  # seconds for a thread to come to its wait; one that computes never does

_KNOCK = 0.5  # seconds for a connection within this process

_lock = threading.Lock()  # guards what follows
_known: dict[int, tuple[int, int]] = {}  # gloo's threads, by their ids: when each has started, and its descriptor
_settled: set[tuple[int, int]] = set()  # threads that are none of a group's that is being formed, with their starts


class Connection(NamedTuple):
    """The two ends of one, each as `ADDRESS:PORT`, or `[ADDRESS]:PORT` in IPv6."""

    local: str
    remote: str


def of_gloo() -> list[Connection]:
    """Return the connections that are there. For any thread."""
    found = []
    for connected, connection in _open():
        connected.close()
        found.append(connection)
    return found


def with_port(port: int) -> list[Connection]:
    """Return the process's connections to a port, the one with the lowest descriptor first."""
    found = []
    for connected, connection in _connected((fd, 0) for fd in sorted(system.open_fds())):
        with connected:
            if connected.getpeername()[1] == port:
                found.append(connection)
    return found


def shut_down_any(wanted: set[Connection]) -> int:
    """As `shut_down`, whoever has opened them."""
    return _shut_down(_connected((fd, 0) for fd in sorted(system.open_fds())), wanted)


def shut_down(wanted: set[Connection]) -> int:
    """Shut down those of the connections that are still there; return how many. Whoever waits at them is woken."""
    return _shut_down(_open(), wanted)


def _shut_down(found: Iterable[tuple[socket.socket, Connection]], wanted: set[Connection]) -> int:
    number = 0
    for connected, connection in found:
        with connected:
            if connection in wanted:
                with contextlib.suppress(OSError):  # the other end has been faster
                    connected.shutdown(socket.SHUT_RDWR)
                    number += 1
    return number


def knock(peers: int) -> int:
    """Take the place of peers that do not come, where gloo listens for a group that is being formed; return how often.

    Who waits there has no connection yet that could be shut down. It gets one for each of the numbers by which gloo
    tells its peers apart, all of them closed at once. (A listener's connections begin with theirs: gloo,
    transport/tcp/listener.cc.)
    """
    _loops()
    with _lock:
        forming = [
            (started, number, epoll) for number, (started, epoll) in _known.items() if (number, started) not in _settled
        ]
    if not forming:
        return 0
    _, _, epoll = max(forming)  # the others have been formed since: what comes later is given further numbers of theirs
    number = 0
    for fd, inode in _watched(epoll):
        listener = _duplicate(fd, inode)
        if listener is None:
            continue
        with listener, contextlib.suppress(OSError):
            if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            for peer in range(peers):
                with socket.socket(listener.family, socket.SOCK_STREAM) as other:
                    other.settimeout(_KNOCK)
                    other.connect(listener.getsockname())
                    other.sendall(struct.pack("=q", peer))
                    number += 1
    return number


def _open() -> Iterator[tuple[socket.socket, Connection]]:
    """Yield a duplicate of each of gloo's sockets, to be closed, and its ends."""
    for epoll in _loops():
        yield from _connected(_watched(epoll))


def _connected(numbers: Iterable[tuple[int, int]]) -> Iterator[tuple[socket.socket, Connection]]:
    """Yield a duplicate of each connected socket among descriptors, and its ends. What goes away is left out."""
    for fd, inode in numbers:
        connected = _duplicate(fd, inode)
        if connected is None:
            continue
        try:
            # Of the duplicate: the number itself may be another's by now.
            connection = Connection(_text(connected.getsockname()), _text(connected.getpeername()))
        except OSError:  # it listens, or has been closed by the other end
            connected.close()
            continue
        yield connected, connection


def learn(patience: float = 0.0) -> bool:
    """Get to know gloo's threads while they wait; return whether all could be told from others.

    One that runs, or waits for a processor, cannot, unless it comes to its wait within `patience` seconds. To be called
    when a group has been formed.
    """
    with _lock:
        running = _look(patience)
        _settled.clear()
        _settled.update((number, system.start_time(number)) for number in threads.ids())
        return not running


def _loops() -> set[int]:
    """Return gloo's epoll descriptors."""
    with _lock:
        _look(PATIENCE)
        return {epoll for _, epoll in _known.values() if _is_epoll(epoll)}


def _look(patience: float) -> set[int]:
    """Look for gloo's threads among those that are not known; return those that have run all the time."""
    deadline = time.monotonic() + patience
    for number, (started, _) in list(_known.items()):
        if system.start_time(number) != started:
            del _known[number]
    # Python's own threads are none of gloo's; the one that looks would never be seen to wait.
    pending = threads.ids() - {thread.native_id for thread in threading.enumerate()} - set(_known)
    memory: threads.Memory | None = None
    while pending:
        for number in [number for number in pending if not threads.runs(number)]:
            pending.discard(number)
            arguments = threads.call(number)
            if arguments[2:4] != _WAIT or not _is_epoll(arguments[0]):
                continue
            memory = memory or threads.Memory()
            if any(_LIBRARY.match(os.path.basename(file)) for file in memory.libraries_of(number)):
                _known[number] = (system.start_time(number), arguments[0])
        if not pending or time.monotonic() >= deadline:
            break
        time.sleep(0.001)
    return pending


def _is_epoll(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventpoll]"
    except OSError:
        return False


def _watched(epoll: int) -> list[tuple[int, int]]:
    """Return descriptors that an epoll descriptor watches, each with its inode; 0 where the system does not tell."""
    try:
        with open(f"/proc/self/fdinfo/{epoll}", encoding="ascii", errors="replace") as info:
            lines = [line.split() for line in info if line.startswith("tfd:")]
    except OSError:
        return []
    found = []
    for words in lines:
        inode = next((int(word[4:], 16) for word in words if word.startswith("ino:")), 0)
        found.append((int(words[1]), inode))
    return found


def _duplicate(fd: int, inode: int) -> socket.socket | None:
    """Return a duplicate of a descriptor that is a TCP socket, and still the one with that inode."""
    try:
        copy = os.dup(fd)
    except OSError:
        return None
    try:
        info = os.fstat(copy)
        if stat.S_ISSOCK(info.st_mode) and inode in (0, info.st_ino):
            made = socket.socket(fileno=copy)
            copy = -1
            if made.family in (socket.AF_INET, socket.AF_INET6) and made.type == socket.SOCK_STREAM:
                return made
            made.close()
    except OSError:
        pass
    finally:
        if copy >= 0:
            os.close(copy)
    return None


def _text(address: tuple[str, int]) -> str:
    host, port = address[0].partition("%")[0], address[1]
    if host.startswith("::ffff:") and "." in host:  # both ends are to read alike, whatever family they were given
        host = host[len("::ffff:") :]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
