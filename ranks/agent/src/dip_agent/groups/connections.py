"""The TCP connections that gloo's backends in this process have opened themselves. Linux only.

Each of gloo's devices has a thread that only waits at the device's epoll descriptor. All of the device's connections
are in that descriptor, also those that are opened only when they are first needed. Such a thread is known by how it
waits and by the library that it runs. No other connection of the process is in such a descriptor.
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

_WAIT = (64, 10)  # gloo's thread calls epoll_wait with these numbers: of events, and of milliseconds
_LIBRARY = re.compile(r"^lib(torch|gloo)[^/]*$")  # that calls; other libraries may have a gloo of their own
PATIENCE = 0.3  # seconds to wait until a thread waits; one that computes never does

_KNOCK = 0.5  # seconds for a connection within this process

_lock = threading.Lock()  # guards what follows
_known: dict[int, tuple[int, int]] = {}  # gloo's threads by id: start time and epoll descriptor
_settled: set[tuple[int, int]] = set()  # threads, with their start times, of groups that have been formed


class Connection(NamedTuple):
    """The two ends of a connection, each as `ADDRESS:PORT`, or `[ADDRESS]:PORT` for IPv6."""

    local: str
    remote: str


def of_gloo() -> list[Connection]:
    """Return gloo's connections. For any thread."""
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
    """As `shut_down`, but also shut down connections that are not gloo's."""
    return _shut_down(_connected((fd, 0) for fd in sorted(system.open_fds())), wanted)


def shut_down(wanted: set[Connection]) -> int:
    """Shut down the connections that still exist, which wakes whoever waits at them. Returns how many these were."""
    return _shut_down(_open(), wanted)


def _shut_down(found: Iterable[tuple[socket.socket, Connection]], wanted: set[Connection]) -> int:
    number = 0
    for connected, connection in found:
        with connected:
            if connection in wanted:
                with contextlib.suppress(OSError):  # the other end was faster
                    connected.shutdown(socket.SHUT_RDWR)
                    number += 1
    return number


def knock(peers: int) -> int:
    """Free a thread that waits in gloo for its peers to connect, as a group is formed. Returns how often it knocked.

    The thread has no connection yet that could be shut down. So connect to gloo's listener once for each number by
    which gloo tells its peers apart, and close at once. (A connection begins with that number: gloo,
    transport/tcp/listener.cc.)
    """
    _loops()
    with _lock:
        forming = [
            (started, number, epoll) for number, (started, epoll) in _known.items() if (number, started) not in _settled
        ]
    if not forming:
        return 0
    _, _, epoll = max(forming)  # the youngest; groups that were formed before it are not in `_settled` yet
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
    """Yield each of gloo's sockets as a duplicate, which the caller closes, and its ends."""
    for epoll in _loops():
        yield from _connected(_watched(epoll))


def _connected(numbers: Iterable[tuple[int, int]]) -> Iterator[tuple[socket.socket, Connection]]:
    """Yield each connected socket among descriptors as a duplicate, and its ends. Those that vanish are left out."""
    for fd, inode in numbers:
        connected = _duplicate(fd, inode)
        if connected is None:
            continue
        try:
            # Ask the duplicate: the descriptor's number may mean something else by now.
            connection = Connection(_text(connected.getsockname()), _text(connected.getpeername()))
        except OSError:  # it listens, or has been closed by the other end
            connected.close()
            continue
        yield connected, connection


def learn(patience: float = 0.0) -> bool:
    """Find gloo's threads. Returns whether it is known of every thread whether it is one.

    A thread can be told only while it waits, so one that runs has `patience` seconds to come to that. To be called when
    a group has been formed.
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
    """Look for gloo's threads among the unknown ones. Returns those that ran all the time."""
    deadline = time.monotonic() + patience
    for number, (started, _) in list(_known.items()):
        if system.start_time(number) != started:
            del _known[number]
    # Python's threads are not gloo's, and this one would never be seen waiting.
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
    """Return the descriptors that an epoll descriptor watches, each with its inode, or 0 if the system does not say."""
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
    """Return a duplicate of a descriptor if it is a TCP socket and still has that inode."""
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
    if host.startswith("::ffff:") and "." in host:  # so that both ends read alike, whatever their address families
        host = host[len("::ffff:") :]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
