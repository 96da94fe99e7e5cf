"""What a process prints, from `print` or a descriptor to the I/O thread.

Two ways lead into the ring: Python's own streams append to it directly, without a system call; whatever writes to the
descriptors 1 and 2 (C libraries, subprocesses) goes through pipes, which the I/O thread empties into it. To keep the
order of `print(); os.system(); print()`, a Python-level write empties the pipes first.

One `print` is several writes. Those that do not end a line only wait in a deque, which costs next to nothing; the end
of the line takes them into the ring together, or the I/O thread does when it next sends.
"""

from __future__ import annotations

import array
import fcntl
import io
import os
import select
import sys
import termios
import threading
from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import Any, Callable, TypeVar

from .interrupts import Interrupts
from .moments import Moments
from .ring import NAMES, SIZE, STDERR, STDOUT, Chunk, Ring
from .system import Bell, libc

_T = TypeVar("_T")

MESSAGE = 256 << 10  # bytes of payload in one stream message, about
_READ = 64 << 10
_LOW = SIZE // 2  # bytes of room below which output is sent at once
_MAX_PIECES = 256  # of an unfinished line, before they are taken into the ring all the same
_MAX_PIECE = 4096  # characters of one of them
# Seconds after a write in which nothing else can have been printed: looking into the pipes costs a system call, and a
# loop that prints need not pay it for each line.
_BACK_TO_BACK = 2e-6


class Output:
    """The ring, the pipes and the lock that makes one sequence of them.

    Writers are any threads; the reader is who has the turn at the socket, or, where it sleeps, the I/O thread.
    """

    def __init__(self, ring: Ring, read_fds: dict[int, int], write_fds: dict[int, int], interrupts: Interrupts):
        """`read_fds` and `write_fds` are the ends of the pipes by tag; the read ends must not block."""
        self._ring = ring
        self._read_fds = read_fds
        self._write_fds = write_fds
        self._interrupts = interrupts
        self._tags = {fd: tag for tag, fd in read_fds.items()}
        self._poll = select.poll()
        for fd in self._tags:
            self._poll.register(fd, select.POLLIN)
        # Reentrant, since a signal handler or a finaliser may print while this very thread moves output: `_moving` says
        # so, and leaves what it printed to the move that it interrupted.
        self._lock = threading.RLock()
        self._moving = False
        self.pieces: dict[int, deque[str]] = {STDOUT: deque(), STDERR: deque()}  # appended to without the lock
        self._backlog: deque[tuple[int, memoryview]] = deque()  # what found no room in the ring, in order
        self._moved_at = 0.0  # when output was last moved (monotonic)
        self._moments: Moments | None = None  # of the request that has not printed yet
        self._silent = 0  # the ring's position while it has not
        self._drained = 0  # bytes ever read from the pipes
        self.asleep = False  # the I/O thread must be woken to see new output
        self._roused = False  # it has been woken because room runs low
        self.bell = Bell()  # that `wake` rings
        self._room = threading.Event()
        self._reader = 0  # the I/O thread
        self.receiver = 0  # another thread that must not wait for room, since it is to receive what makes it
        self._forked = False
        self._forking: list[bool] = []  # `_moving` before a fork that is going on
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child
        )

    # Any thread.

    def order(self) -> None:
        """Take in what was printed by other ways before the piece of text that comes next."""
        if monotonic() - self._moved_at > _BACK_TO_BACK or self.pieces[STDOUT] or self.pieces[STDERR]:
            self.flush(drain=True)

    def flush(self, drain: bool = False) -> None:
        """Take the text printed so far, then what the pipes hold if `drain`, into the ring.

        Waits while the text finds no room, which is while the server is behind by the size of the ring.
        """
        while not self._move(drain) and threading.get_ident() not in (self._reader, self.receiver):
            self._room.wait()

    def write(self, tag: int, data: bytes | memoryview) -> None:
        """Print bytes; waits as `flush` does."""
        self.flush(drain=True)
        with self._lock:
            self._backlog.append((tag, memoryview(bytes(data))))
        self.flush()

    def settle(self) -> None:
        """Bring everything that was printed so far, also by C code and by subprocesses that ended, into the ring."""
        libc.fflush(None)
        self._reopen()
        self.flush()
        with self._lock:  # or what the I/O thread reads in between is in neither of the two
            target = self._drained + sum(_readable(fd) for fd, _ in self._poll.poll(0))
        while self._drained < target:
            self._move(drain=True)
            if self._drained < target:
                self._room.wait()

    def mark(self) -> int:
        """Return the position behind all that was printed so far."""
        self.flush(drain=True)
        position = self._alone(self._ring.close_record)
        return self._ring.written if position is None else position

    def watch(self, moments: Moments | None) -> None:
        """Note in `moments`, if given, when the next output is in the ring."""
        self._moments, self._silent = moments, self._ring.written

    def wake(self) -> None:
        """Have the I/O thread look at its work."""
        self.asleep = False
        self.bell.ring()

    # The I/O thread.

    @property
    def pipe_fds(self) -> list[int]:
        """The pipes to wait for: none while there is no room for what they hold."""
        return list(self._tags) if self._ring.room else []

    @property
    def pending(self) -> bool:
        """Whether `chunks` has something."""
        return self._ring.pending or any(self.pieces.values())

    @property
    def ends_line(self) -> bool:
        """Whether what is pending ends with a line. Only while something is pending."""
        return not any(self.pieces.values()) and self._ring.ends_line

    @property
    def urgent(self) -> bool:
        """Whether writers wait, or soon will: more output is not worth collecting first."""
        return self._ring.room < _LOW

    def attach_reader(self) -> None:
        """Name the calling thread as the reader."""
        self._reader = threading.get_ident()

    def fall_asleep(self) -> bool:
        """Ask to be woken by the next write. False: there is something already."""
        # First the flag, then the look: a writer does it the other way round, so one of the two sees the other.
        self.asleep = True
        if self.pending:
            self.asleep = False
        return self.asleep

    def awake(self) -> None:
        """Spare writers the wake-up until the next `fall_asleep`, or until room runs low."""
        self.asleep = self._roused = False

    def drain(self) -> None:
        """Move what the pipes hold into the ring."""
        self._move(drain=True)

    def take_in(self) -> int:
        """Bring the text printed so far into the ring and return the position behind it."""
        self._move()
        return self._ring.written

    def chunks(self, until: int) -> Iterator[Chunk]:
        """Take what was printed up to a position."""
        while True:
            chunk = self._alone(self._ring.take, MESSAGE, until)
            if chunk is None:
                return
            yield chunk

    def ack(self, seq: int) -> None:
        """Free the room of what the server has."""
        self._alone(self._ring.ack, seq)
        self._room.set()

    # Under the lock.

    def _alone(self, use: Callable[..., _T], *args: Any) -> _T | None:
        """Use the ring while nobody else does, a signal handler or a finaliser that strikes meanwhile included."""
        if self._forked:
            return None
        self._interrupts.hold()
        try:
            with self._lock:
                if self._moving:
                    return None  # this is what strikes
                self._moving = True
                try:
                    return use(*args)
                finally:
                    self._moving = False
                    if any(self.pieces.values()):
                        self.wake()  # to take in what they have printed
        finally:
            self._interrupts.release()

    def _move(self, drain: bool = False) -> bool:
        """Move text, then what the pipes hold if `drain`, into the ring, and say whether all the text found room."""
        if self._forked:
            self._print_directly()
            return True
        self._interrupts.hold()
        try:
            with self._lock:
                if self._moving:
                    return True  # the move that this one interrupted goes on with it
                self._moving = True
                try:
                    done = self._move_text()
                    if drain and done:
                        self._drain()
                finally:
                    self._moving = False
                    self._moved_at = monotonic()
                if self._moments is not None and self._ring.written != self._silent:
                    self._moments.printed = int(self._moved_at * 1e9)
                    self._moments = None
                room = self._ring.room
                if not done or not room:
                    self._room.clear()
                if self._ring.pending and (self.asleep or (room < _LOW and not self._roused)):
                    self._roused = True
                    self.wake()
                return done
        finally:
            self._interrupts.release()

    def _move_text(self) -> bool:
        while True:
            while self._backlog:
                tag, view = self._backlog[0]
                taken = self._ring.append(tag, view)
                if taken < len(view):
                    self._backlog[0] = (tag, view[taken:])
                    return False
                self._backlog.popleft()
            for tag, pieces in self.pieces.items():
                if pieces:
                    data = _encode(pieces)
                    taken = self._ring.append(tag, data)
                    if taken < len(data):
                        self._backlog.append((tag, memoryview(data)[taken:]))
                    break
            else:
                return True

    def _drain(self) -> None:
        for fd, _ in self._poll.poll(0):
            while True:
                room = min(self._ring.room, _READ)
                if not room:
                    return
                try:
                    data = os.read(fd, room)
                except BlockingIOError:
                    break
                self._drained += len(data)
                self._ring.append(self._tags[fd], data)
                if len(data) < room:
                    break

    def _reopen(self) -> None:
        """Open descriptors 1 and 2 again if user code closed them; where it put something else, that stays."""
        for tag, fd in self._write_fds.items():
            try:
                os.fstat(tag)
            except OSError:
                os.dup2(fd, tag)

    # A forked process.

    def _before_fork(self) -> None:
        # What finalisers print until the child knows what it is would be written by both into the one ring.
        self._interrupts.hold()
        self._lock.acquire()
        self._forking.append(self._moving)
        self._moving = True

    def _after_fork(self) -> None:
        self._moving = self._forking.pop()
        self._lock.release()
        if any(self.pieces.values()):
            self.wake()
        self._interrupts.release_unseen()

    def _after_fork_in_child(self) -> None:
        # The child has no I/O thread, and the ring is its parent's: it prints to the pipes like any subprocess, by
        # lines, so that those of several do not mix. What its parent had not finished is its parent's to print.
        self._forked = True
        self.asleep = False
        self._backlog.clear()
        for pieces in self.pieces.values():
            pieces.clear()
        self._after_fork()

    def _print_directly(self) -> None:
        for tag, pieces in self.pieces.items():
            if pieces:
                self._backlog.append((tag, memoryview(_encode(pieces))))
        while self._backlog:
            tag, view = self._backlog.popleft()
            while view:
                view = view[os.write(tag, view) :]


class _Stream:
    """What both kinds of streams have in common."""

    def __init__(self, output: Output, tag: int):
        self._output = output
        self._tag = tag
        self.name = f"<{NAMES[tag]}>"

    def flush(self) -> None:
        self._output.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._tag

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Stay open: `sys.stdout.close()` must not silence the cells that follow."""


class TextStream(_Stream, io.TextIOBase):
    """`sys.stdout` or `sys.stderr`: able to print any string."""

    encoding = "utf-8"
    errors = "backslashreplace"  # lone surrogates must not raise
    newlines = None
    line_buffering = True
    mode = "w"

    def __init__(self, output: Output, tag: int):
        super().__init__(output, tag)
        self._pieces = output.pieces[tag]
        self.buffer = ByteStream(output, tag)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        output, pieces = self._output, self._pieces
        if not pieces:
            output.order()
        pieces.append(text)
        if "\n" in text or len(pieces) > _MAX_PIECES or len(text) > _MAX_PIECE:
            output.flush()
        elif output.asleep:
            output.wake()
        return len(text)

    def reconfigure(self, **options: object) -> None:
        """Accept what TextIOWrapper's method does; there is nothing to set."""


class ByteStream(_Stream, io.BufferedIOBase):
    """The `buffer` of a TextStream."""

    mode = "wb"

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        self._output.write(self._tag, view)
        return view.nbytes


def install(output: Output) -> None:
    """Make our streams Python's standard ones."""
    sys.stdout = sys.__stdout__ = TextStream(output, STDOUT)
    sys.stderr = sys.__stderr__ = TextStream(output, STDERR)


def _encode(pieces: deque[str]) -> bytes:
    """Take all pieces of text; other threads may append more meanwhile."""
    text = "".join([pieces.popleft() for _ in range(len(pieces))])
    return text.encode("utf-8", "backslashreplace")


def _readable(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
