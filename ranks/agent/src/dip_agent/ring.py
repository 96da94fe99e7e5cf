"""The shared memory that holds what a process printed until the server has it on disk.

The node makes it, the process writes it, and after the process's death the node reads what was never acknowledged: a
SIGKILL loses nothing that was printed. Layout, in the machine's own byte order:

    0   written   uint64  position behind the last record
    8   acked     uint64  position behind the last record that the server has
    16  seq       uint64  bytes printed so far (payload only)
    64  data      SIZE bytes, positions modulo SIZE

A record is {tag uint8, 3 bytes of padding, size uint32, seq uint64 = bytes printed before it} and its payload.
Positions only ever rise. A writer stores payload, then header, then `written`, so that whatever `written` covers is
whole at every instant at which the process may die.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections import deque
from typing import NamedTuple

SIZE = 1 << 20
STDOUT, STDERR = 1, 2  # tags, and the descriptors that they stand for
NAMES = {STDOUT: "stdout", STDERR: "stderr"}

_DATA = 64
_RECORD = struct.Struct("=BxxxIQ")
_MAX_PAYLOAD = 64 << 10  # of one record, so that messages of several records can be cut between them

_WRITTEN, _ACKED, _SEQ = range(3)


class Chunk(NamedTuple):
    """A stretch of output of one stream."""

    tag: int
    seq: int  # bytes printed so far, this chunk's included
    data: bytes


def create(name: str, directory: str) -> int:
    """Return the descriptor of a new ring. `name` shows up in the memory maps of the processes that use it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix=name, dir=directory)
        os.unlink(path)
    os.ftruncate(fd, _DATA + SIZE)
    return fd


class Ring:
    """One mapping of a ring. One thread at a time (see `output` for the lock)."""

    def __init__(self, fd: int):
        self._map = mmap.mmap(fd, _DATA + SIZE)
        # Items of this view are stored with one instruction each, so a death never leaves half a position.
        self._marks = memoryview(self._map)[:24].cast("Q")
        self._data = memoryview(self._map)[_DATA:]
        self._taken = 0  # position behind the last record that `take` returned
        self._sent: deque[tuple[int, int]] = deque()  # (seq, position) behind each taken chunk, until acknowledged
        self._open_at = -1  # position of the last record if it may still grow, else -1
        self._open_tag = 0
        self._open_size = 0

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
        """Whether the last byte ends a line (or returns to its begin, as progress bars do)."""
        return self._get(self._marks[_WRITTEN] - 1, 1) in b"\r\n"

    def append(self, tag: int, data: memoryview) -> int:
        """Append as much of `data` as there is room for and return how much that was."""
        done = 0
        while done < len(data):
            taken = self._append_once(tag, data[done : done + _MAX_PAYLOAD])
            if taken == 0:
                break
            done += taken
        return done

    def _append_once(self, tag: int, data: memoryview) -> int:
        written, seq = self._marks[_WRITTEN], self._marks[_SEQ]
        grows = self._open_at >= 0 and self._open_tag == tag and self._open_size < _MAX_PAYLOAD
        if grows:
            at, old = self._open_at, self._open_size
            size = min(len(data), SIZE - (written - self._marks[_ACKED]), _MAX_PAYLOAD - old)
        else:
            at, old = written, 0
            size = min(len(data), self.room)
        if size <= 0:
            return 0
        payload = at + _RECORD.size
        self._put(payload + old, data[:size])
        self._put(at, _RECORD.pack(tag, old + size, seq - old))
        self._open_at, self._open_tag, self._open_size = at, tag, old + size
        self._marks[_WRITTEN] = payload + old + size
        self._marks[_SEQ] = seq + size
        return size

    def close_record(self) -> None:
        """Have the next append begin a new record: nothing that follows is joined to what is there."""
        self._open_at = -1

    def take(self, limit: int, until: int) -> Chunk | None:
        """Return the next stretch of one stream, of about `limit` bytes, from records that begin before `until`."""
        tag, seq, size, parts = 0, 0, 0, []
        while self._taken < until:
            next_tag, next_size, before = self._record(self._taken)
            if parts and (next_tag != tag or size + next_size > limit):
                break
            self._open_at = -1  # the reader stands behind it now, so it must not grow
            payload = self._taken + _RECORD.size
            parts.append(self._get(payload, next_size))
            tag, seq, size = next_tag, before + next_size, size + next_size
            self._taken = payload + next_size
        if not parts:
            return None
        self._sent.append((seq, self._taken))
        return Chunk(tag, seq, b"".join(parts))

    def ack(self, seq: int) -> None:
        """Free what was taken and ends at or before `seq`."""
        while self._sent and self._sent[0][0] <= seq:
            self._marks[_ACKED] = self._sent.popleft()[1]

    def tail(self) -> tuple[list[Chunk], int]:
        """Return what was never acknowledged and the number of bytes ever printed; for the node, after the death."""
        at, end, seq = self._marks[_ACKED], self._marks[_WRITTEN], self._marks[_SEQ]
        chunks: list[Chunk] = []
        while at < end:
            tag, size, before = self._record(at)
            payload = at + _RECORD.size
            # A death between the stores of header and `written` leaves a header that promises too much.
            size = min(size, end - payload)
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
