"""What a process prints, on its way from `print` or a descriptor to the sender.

Two ways lead into the ring. Python's own streams append to it directly, without a system call. What is written to the
descriptors 1 and 2 (by C libraries, by subprocesses) goes through pipes, which the I/O thread empties into the ring. To
keep the order of `print(); os.system(); print()`, a write of Python's empties the pipes first.

One `print` is several writes. A write that does not end a line only waits in a deque, which costs next to nothing. The
end of the line moves all of them into the ring; if it does not come, the I/O thread does so when it next sends.
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

MESSAGE = 256 << 10  # about how many bytes of payload one stream message has at most
_READ = 64 << 10
_LOW = SIZE // 2  # bytes of room in the ring below which output is sent at once
_MAX_PIECES = 256  # of an unfinished line; more are moved into the ring all the same
_MAX_PIECE = 4096  # characters of a piece that may wait
# Seconds after a write in which nothing else can have been printed. Looking into the pipes costs a system call, which a
# loop that prints need not pay for each line.
_BACK_TO_BACK = 2e-6


class Output:
    """The ring, the pipes, and the lock that makes one sequence of what comes by either.

    Any thread writes. Whoever has the turn (see `link.io_thread`) takes output out and frees its room. Only the I/O
    thread sleeps until there is output, and is woken by writers.
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
        # Reentrant, since a signal handler or a finaliser may print while its own thread moves output. `_moving` tells
        # it so, and the move that it has interrupted then takes what it prints.
        self._lock = threading.RLock()
        self._moving = False
        self.pieces: dict[int, deque[str]] = {STDOUT: deque(), STDERR: deque()}  # appended to without the lock
        self._backlog: deque[tuple[int, memoryview]] = deque()  # what found no room in the ring, in order
        self._moved_at = 0.0  # when output was last moved (monotonic)
        self._moments: Moments | None = None  # of the request that runs, as long as it has not printed
        self._silent = 0  # the ring's position as long as it has not
        self._drained = 0  # bytes ever read from the pipes
        self.asleep = False  # the I/O thread does not see new output unless it is woken
        self._roused = False  # the I/O thread was woken because room runs low
        self.bell = Bell()  # wakes the I/O thread
        self._room = threading.Event()  # writers may look for room again
        self._reader = 0  # the I/O thread, which must not wait for room
        self.receiver = 0  # another thread that must not: it is receiving, and what it receives makes room
        self._forked = False  # this is a process that user code has forked
        self._forking: list[bool] = []  # `_moving` before each fork that is going on
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._after_fork_in_child
        )

    # Any thread.

    def order(self) -> None:
        """Move what was printed in other ways so far, so that it stands before the piece of text that comes next."""
        if monotonic() - self._moved_at > _BACK_TO_BACK or self.pieces[STDOUT] or self.pieces[STDERR]:
            self.flush(drain=True)

    def flush(self, drain: bool = False) -> None:
        """Move the text printed so far into the ring, and then, if `drain`, what the pipes hold.

        Waits while there is no room for the text, that is, while the server is behind by the size of the ring.
        """
        while not self._move(drain) and threading.get_ident() not in (self._reader, self.receiver):
            self._room.wait()

    def write(self, tag: int, data: bytes | memoryview) -> None:
        """Print bytes. Waits as `flush` does."""
        self.flush(drain=True)
        with self._lock:
            self._backlog.append((tag, memoryview(bytes(data))))
        self.flush()

    def settle(self) -> None:
        """Move everything that was printed so far into the ring, also by C code and by subprocesses that have ended."""
        libc.fflush(None)
        self._reopen()
        self.flush()
        with self._lock:  # otherwise what the I/O thread reads in between would be in neither number
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
        """Have `moments`, if given, note when the next output comes into the ring."""
        self._moments, self._silent = moments, self._ring.written

    def wake(self) -> None:
        """Have the I/O thread look at its work."""
        self.asleep = False
        self.bell.ring()

    # The I/O thread.

    @property
    def pipe_fds(self) -> list[int]:
        """The pipes to wait for. There are none while there is no room for what they hold."""
        return list(self._tags) if self._ring.room else []

    @property
    def pending(self) -> bool:
        """Whether `chunks` has something."""
        return self._ring.pending or any(self.pieces.values())

    @property
    def ends_line(self) -> bool:
        """Whether what is pending ends with a whole line. To be asked only while something is pending."""
        return not any(self.pieces.values()) and self._ring.ends_line

    @property
    def urgent(self) -> bool:
        """Whether writers wait for room, or soon will, so that output is to be sent at once."""
        return self._ring.room < _LOW

    def attach_reader(self) -> None:
        """Name the calling thread as the reader."""
        self._reader = threading.get_ident()

    def fall_asleep(self) -> bool:
        """Ask to be woken by the next write. Returns False if there is output already."""
        # First set the flag, then look. A writer first prints, then looks at the flag: one of the two sees the other.
        self.asleep = True
        if self.pending:
            self.asleep = False
        return self.asleep

    def awake(self) -> None:
        """Spare writers from waking the I/O thread until the next `fall_asleep`, or until room runs low."""
        self.asleep = self._roused = False

    def drain(self) -> None:
        """Move what the pipes hold into the ring."""
        self._move(drain=True)

    def take_in(self) -> int:
        """Move the text printed so far into the ring and return the position behind it."""
        self._move()
        return self._ring.written

    # Under the turn.

    def chunks(self, until: int) -> Iterator[Chunk]:
        """Take what was printed up to a position."""
        while True:
            chunk = self._alone(self._ring.take, MESSAGE, until)
            if chunk is None:
                return
            yield chunk

    def ack(self, seq: int) -> None:
        """Free the room of the output that the server has, which ends at or before `seq`."""
        self._alone(self._ring.ack, seq)
        self._room.set()

    # Under the lock.

    def _alone(self, use: Callable[..., _T], *args: Any) -> _T | None:
        """Use the ring while nobody else does: no other thread, and no signal handler or finaliser in this one.

        Returns None without doing so in such a handler or finaliser, and in a forked process.
        """
        if self._forked:
            return None
        self._interrupts.hold()
        try:
            with self._lock:
                if self._moving:
                    return None  # a handler or finaliser has interrupted the use
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
        """Move text into the ring and then, if `drain`, what the pipes hold. Returns whether all text found room."""
        if self._forked:
            self._print_directly()
            return True
        self._interrupts.hold()
        try:
            with self._lock:
                if self._moving:
                    return True  # the move that was interrupted goes on with what is new
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
        """Open descriptors 1 and 2 again if user code has closed them. What it has put in their place stays."""
        for tag, fd in self._write_fds.items():
            try:
                os.fstat(tag)
            except OSError:
                os.dup2(fd, tag)

    # A forked process.

    def _before_fork(self) -> None:
        # What finalisers print before the child knows that it is one must not be written into its parent's ring.
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
        # The child has no I/O thread, and the ring is its parent's. It prints to the pipes as any subprocess does, line
        # by line, so that the lines of several do not mix. What its parent had yet to print is left to its parent.
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
    """What text and byte streams have in common."""

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
        """Stay open, since `sys.stdout.close()` must not silence the cells that follow."""


class TextStream(_Stream, io.TextIOBase):
    """`sys.stdout` or `sys.stderr`. It can print any string."""

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
        """Accept what TextIOWrapper.reconfigure accepts, and do nothing."""


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
    """Take the pieces of text that are there. Other threads may append more meanwhile."""
    text = "".join([pieces.popleft() for _ in range(len(pieces))])
    return text.encode("utf-8", "backslashreplace")


def _readable(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
