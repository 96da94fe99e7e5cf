"""What a process prints, from `print` or a descriptor to the I/O thread.

Two ways lead into the ring: Python's own streams append to it directly, without a system call; whatever writes to the
descriptors 1 and 2 (C libraries, subprocesses) goes through pipes, which the I/O thread empties into it. To keep the
order of `print(); os.system(); print()`, a Python-level write empties the pipes first.
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
from collections.abc import Iterator

from .interrupts import Interrupts
from .ring import NAMES, STDERR, STDOUT, Chunk, Ring
from .system import libc

MESSAGE = 256 << 10  # bytes of payload in one stream message, about
_READ = 64 << 10


class Output:
    """The ring, the pipes and the lock that makes one sequence of them.

    Writers are any threads; the reader (`chunks`, `ack`, `fall_asleep`) is the I/O thread.
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
        # Reentrant, since a signal handler or a finaliser may print while this very thread prints: `_writing` says so,
        # and `_late` keeps what it printed until the write that it interrupted is done.
        self._lock = threading.RLock()
        self._writing = False
        self._late: list[tuple[int, bytes]] = []
        self._drained = 0  # bytes ever read from the pipes
        self._asleep = False  # the I/O thread must be woken to see new output
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._room = threading.Event()
        self._reader = 0
        self._forked = False
        self._unsent = {STDOUT: bytearray(), STDERR: bytearray()}
        os.register_at_fork(after_in_child=self._after_fork)

    # Any thread.

    def write(self, tag: int, data: bytes | memoryview) -> None:
        """Append `data` to what is printed on `tag`; waits while the server is behind by the size of the ring."""
        if self._forked:
            self._unsent[tag] += data
            if self._unsent[tag].endswith((b"\n", b"\r")):
                self.flush()
            return
        view = memoryview(data).cast("B")
        while True:
            self._interrupts.hold()
            try:
                with self._lock:
                    if self._writing:
                        self._late.append((tag, bytes(view)))
                        return
                    done = self._append(tag, view)
            finally:
                self._interrupts.release()
            view = view[done:]
            if not view or threading.get_ident() == self._reader:
                return  # the reader must never wait for itself
            self._room.wait()

    def flush(self) -> None:
        """Write out the unfinished lines of a forked process; elsewhere there are none."""
        for tag, unsent in self._unsent.items():
            view, self._unsent[tag] = memoryview(unsent), bytearray()
            while view:
                view = view[os.write(tag, view) :]

    def settle(self) -> None:
        """Bring everything that was printed so far, also by C code and by subprocesses that ended, into the ring."""
        libc.fflush(None)
        self._reopen()
        with self._lock:
            target = self._drained + sum(map(_readable, self._tags))
        while self._drained < target:
            self.write(STDOUT, b"")
            if self._drained < target:
                self._room.wait()

    def mark(self) -> int:
        """Return the position behind all that was printed so far."""
        with self._lock:
            self._ring.close_record()
            return self._ring.written

    def wake(self) -> None:
        """Have the I/O thread look at its work."""
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # full of unread wake-ups

    # The I/O thread.

    @property
    def wake_fd(self) -> int:
        """Readable after `wake`."""
        return self._wake_read

    @property
    def pipe_fds(self) -> list[int]:
        """The pipes to wait for: none while there is no room for what they hold."""
        return list(self._tags) if self._ring.room else []

    @property
    def pending(self) -> bool:
        """Whether `chunks` has something."""
        return self._ring.pending

    @property
    def ends_line(self) -> bool:
        """Whether what is pending ends with a line. Only while something is pending."""
        return self._ring.ends_line

    def attach_reader(self) -> None:
        """Name the calling thread as the reader."""
        self._reader = threading.get_ident()

    def clear_wake(self) -> None:
        """Forget the wake-ups so far."""
        try:
            while len(os.read(self._wake_read, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass

    def fall_asleep(self) -> bool:
        """Ask to be woken by the next write. False: there is something already."""
        with self._lock:
            self._asleep = not self._ring.pending
            return self._asleep

    def awake(self) -> None:
        """Spare writers the wake-up until the next `fall_asleep`."""
        self._asleep = False

    def drain(self) -> None:
        """Move what the pipes hold into the ring."""
        self.write(STDOUT, b"")

    def chunks(self, until: int | None = None) -> Iterator[Chunk]:
        """Take what was printed, up to the mark `until` if given."""
        while True:
            with self._lock:
                chunk = self._ring.take(MESSAGE, self._ring.written if until is None else until)
            if chunk is None:
                return
            yield chunk

    def ack(self, seq: int) -> None:
        """Free the room of what the server has."""
        with self._lock:
            self._ring.ack(seq)
            self._room.set()

    # Under the lock.

    def _append(self, tag: int, view: memoryview) -> int:
        self._writing = True
        try:
            self._drain()
            done = self._ring.append(tag, view)
            while self._late:
                late_tag, late = self._late[0]
                taken = self._ring.append(late_tag, memoryview(late))
                if taken < len(late):
                    self._late[0] = (late_tag, late[taken:])
                    break
                del self._late[0]
        finally:
            self._writing = False
        if done < len(view) or not self._ring.room:
            self._room.clear()
        if self._asleep and self._ring.pending:
            self._asleep = False
            self.wake()
        return done

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
                self._ring.append(self._tags[fd], memoryview(data))
                if len(data) < room:
                    break

    def _reopen(self) -> None:
        """Open descriptors 1 and 2 again if user code closed them; where it put something else, that stays."""
        for tag, fd in self._write_fds.items():
            try:
                os.fstat(tag)
            except OSError:
                os.dup2(fd, tag)

    def _after_fork(self) -> None:
        # The child has no I/O thread, and the ring is its parent's: it prints to the pipes like any subprocess, by
        # lines, so that those of several do not mix.
        self._forked = True


class TextStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`: unbuffered, and able to print any string."""

    encoding = "utf-8"
    errors = "backslashreplace"  # lone surrogates must not raise
    newlines = None
    line_buffering = True
    mode = "w"

    def __init__(self, output: Output, tag: int):
        self._output = output
        self._tag = tag
        self.name = f"<{NAMES[tag]}>"
        self.buffer = ByteStream(output, tag)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._output.write(self._tag, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        self._output.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._tag

    def isatty(self) -> bool:
        return False

    def reconfigure(self, **options: object) -> None:
        """Accept what TextIOWrapper's method does; there is nothing to set."""

    def close(self) -> None:
        """Stay open: `sys.stdout.close()` must not silence the cells that follow."""


class ByteStream(io.BufferedIOBase):
    """The `buffer` of a TextStream."""

    mode = "wb"

    def __init__(self, output: Output, tag: int):
        self._output = output
        self._tag = tag
        self.name = f"<{NAMES[tag]}>"

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        self._output.write(self._tag, view if view.c_contiguous else view.tobytes())
        return view.nbytes

    def flush(self) -> None:
        self._output.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._tag

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Stay open, as TextStream does."""


def install(output: Output) -> None:
    """Make our streams Python's standard ones."""
    sys.stdout = sys.__stdout__ = TextStream(output, STDOUT)
    sys.stderr = sys.__stderr__ = TextStream(output, STDERR)


def _readable(fd: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]
