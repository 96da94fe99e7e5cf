"""The shared memory that holds what a process printed until the server has it on disk.

The node makes it and the process writes it. After the process's death the node reads what was never acknowledged, so
that a SIGKILL loses nothing that was printed. Layout, in the machine's own byte order:

    0   written   uint64  position behind the last record
    8   acked     uint64  position behind the last record that the server has
    16  seq       uint64  bytes printed so far (payload only), those of an open record not counted
    64  data      SIZE bytes, positions modulo SIZE

A record is {tag uint8, 3 bytes of padding, size uint32, seq uint64 = bytes printed before it} and its payload.
Positions only ever rise. A writer stores payload, then header, then `written`: whenever the process dies, all that
lies before `written` is whole.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections import deque
from typing import NamedTuple

SIZE = 1 << 20
STDOUT, STDERR = 1, 2  # tags; they equal the descriptors' numbers
NAMES = {STDOUT: "stdout", STDERR: "stderr"}

_DATA = 64
_RECORD = struct.Struct("=BxxxIQ")
_OPEN = (1 << 32) - 1
_MAX_PAYLOAD = 64 << 10  # of one record, so that messages of several records can be cut between them

_WRITTEN, _ACKED, _SEQ = range(3)


class Chunk(NamedTuple):
    """A stretch of output of one stream."""

    tag: int
    seq: int  # bytes printed so far, this chunk's included
    data: bytes


def create(name: str, directory: str) -> int:
    """Return the descriptor of a new ring. `name` shows in the memory maps of the processes that use it."""
    fd = nameless(name, directory)
    os.ftruncate(fd, _DATA + SIZE)
    return fd


def nameless(name: str, directory: str) -> int:
    """Return the descriptor of a new file that has no name in any directory."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix=name, dir=directory)
        os.unlink(path)
    return fd


class Ring:
    """One mapping of a ring. One thread at a time may use it; `Output` has the lock."""

    def __init__(self, fd: int):
        self._map = mmap.mmap(fd, _DATA + SIZE)
        # An item of this view is stored by one instruction, so that a death never leaves half a position.
        self._marks = memoryview(self._map)[:24].cast("Q")
        self._data = memoryview(self._map)[_DATA:]
        self._taken = 0  # position behind the last record that `take` returned
        self._sent: deque[tuple[int, int]] = deque()  # (seq, position) behind each taken chunk, until acknowledged
        # The writer's state: its position and the open record.
        self._end = self._marks[_WRITTEN]
        self._open_tag = 0  # 0: no record is open
        self._open_at = 0  # position of its header
        self._open_room = 0  # bytes that it can take at least

    @property
    def written(self) -> int:
        """The position behind the last record."""
        return self._marks[_WRITTEN]

    @property
    def pending(self) -> bool:
        """Whether there is something to take."""
        return self._taken != self._marks[_WRITTEN]

    @property
    def room(self) -> int:
        """How many bytes of payload a new record can hold at least."""
        return max(0, SIZE - (self._marks[_WRITTEN] - self._marks[_ACKED]) - _RECORD.size)

    @property
    def ends_line(self) -> bool:
        """Whether the last byte is a newline, or a carriage return as progress bars print."""
        return self._get(self._marks[_WRITTEN] - 1, 1) in b"\r\n"

    def append(self, tag: int, data: bytes | memoryview) -> int:
        """Append as much of `data` as there is room for. Returns how many bytes that were."""
        size, offset = len(data), self._end % SIZE
        if tag == self._open_tag and size <= self._open_room and offset + size <= SIZE:  # the usual case
            self._data[offset : offset + size] = data
            self._open_room -= size
            self._end += size
            self._marks[_WRITTEN] = self._end
            return size
        view, done = memoryview(data), 0
        while done < size:
            taken = self._append_to_record(tag, view[done:])
            if taken == 0:
                break
            done += taken
        return done

    def _append_to_record(self, tag: int, data: memoryview) -> int:
        if tag != self._open_tag or self._end - self._open_at - _RECORD.size >= _MAX_PAYLOAD:
            self.close_record()
            if not self.room:
                return 0
            self._put(self._end, _RECORD.pack(tag, _OPEN, self._marks[_SEQ]))
            self._open_tag, self._open_at = tag, self._end
            start = self._end + _RECORD.size
        else:
            start = self._end
        free = SIZE - (start - self._marks[_ACKED])
        size = min(len(data), free, self._open_at + _RECORD.size + _MAX_PAYLOAD - start)
        if size <= 0:
            return 0
        self._put(start, data[:size])
        self._end = start + size
        self._open_room = min(free, self._open_at + _RECORD.size + _MAX_PAYLOAD - start) - size
        self._marks[_WRITTEN] = self._end
        return size

    def close_record(self) -> int:
        """Have the next append begin a new record. Returns the position behind what is there."""
        if self._open_tag:
            seq, size = self._marks[_SEQ], self._end - self._open_at - _RECORD.size
            self._put(self._open_at, _RECORD.pack(self._open_tag, size, seq))
            self._marks[_SEQ] = seq + size
            self._open_tag = 0
        return self._marks[_WRITTEN]

    def take(self, limit: int, until: int) -> Chunk | None:
        """Return the next stretch of one stream, of about `limit` bytes, from records that begin before `until`."""
        tag, seq, size, parts = 0, 0, 0, []
        self.close_record()  # a record that was taken must not grow
        while self._taken < until:
            next_tag, next_size, before = self._record(self._taken)
            if parts and (next_tag != tag or size + next_size > limit):
                break
            payload = self._taken + _RECORD.size
            parts.append(self._get(payload, next_size))
            tag, seq, size = next_tag, before + next_size, size + next_size
            self._taken = payload + next_size
        if not parts:
            return None
        self._sent.append((seq, self._taken))
        return Chunk(tag, seq, b"".join(parts))

    def ack(self, seq: int) -> None:
        """Free the room of what was taken and ends at or before `seq`."""
        while self._sent and self._sent[0][0] <= seq:
            self._marks[_ACKED] = self._sent.popleft()[1]

    def tail(self) -> tuple[list[Chunk], int]:
        """Return what was never acknowledged, and how many bytes were ever printed. For the node, after the death."""
        at, end, seq = self._marks[_ACKED], self._marks[_WRITTEN], self._marks[_SEQ]
        chunks: list[Chunk] = []
        while at < end:
            tag, size, before = self._record(at)
            payload = at + _RECORD.size
            size = min(size, end - payload)  # the last one may be open
            chunks.append(Chunk(tag, before + size, self._get(payload, size)))
            at, seq = payload + size, before + size
        return chunks, seq

    def close(self) -> None:
        """Unmap the memory."""
        self._marks.release()
        self._data.release()
        self._map.close()

    def _record(self, at: int) -> tuple[int, int, int]:
        return _RECORD.unpack(self._get(at, _RECORD.size))

    def _put(self, at: int, data: bytes | memoryview) -> None:
        offset = at % SIZE
        first = min(len(data), SIZE - offset)
        self._data[offset : offset + first] = data[:first]
        self._data[: len(data) - first] = data[first:]

    def _get(self, at: int, size: int) -> bytes:
        offset = at % SIZE
        first = min(size, SIZE - offset)
        return bytes(self._data[offset : offset + first]) + bytes(self._data[: size - first])
