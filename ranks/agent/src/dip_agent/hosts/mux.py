"""Many conversations over one connection that may break: the host's end.

The other end is Go, ranks/host/mux, which tells of the frames. Nothing here reads, writes or waits: whoever has the
connection does, and hands over what has come.
"""

from __future__ import annotations

import json
import struct
import time
from collections import deque
from typing import Any, Callable

WINDOW = 1 << 20  # how many bytes of a channel one end takes before its reader has read them
_MAX_SPOOL = 16 << 20  # how many wait for the peer's confirmation before channels have no more room
_MAX_QUEUED = 256 << 10  # how many wait to be sent; few, so that a small message soon has its turn
_ACK_AFTER = 256 << 10  # how many come before they are confirmed
_MAX_PAYLOAD = 64 << 10

# Frames that both ends count.
_OPEN = 1  # JSON
_DATA = 2
_WINDOW = 3  # 4 bytes
_CLOSE = 4
_RESET = 5  # text; on channel 0 the conversation is over
# Frames of the connection of the moment.
_ACK = 6  # 8 bytes
_PING = 7  # 8 bytes
_PONG = 8  # 16 bytes

_HEAD = struct.Struct(">BII")  # kind, channel, length of the payload
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_PONG_TIMES = struct.Struct(">QQ")


class ProtocolError(Exception):
    """The peer does not keep to the protocol."""


def _nothing(*_: object) -> None:
    """Do nothing: nobody has asked to be told."""


class Channel:
    """A conversation. Whoever serves it sets what is to be called."""

    def __init__(self, mux: Mux, number: int, what: Any):
        self._mux = mux
        self.number = number
        self.what = what  # JSON: what the opener said that it is for
        # Gets what comes, in a view that is valid during the call only. `consumed` must follow, then or later.
        self.on_data: Callable[[memoryview], None] = _nothing
        self.on_room: Callable[[], None] = _nothing  # there is room again, after `room` said that there is none
        # Nothing more comes. None: more may be sent. A text: neither end sends any more, and why ("": an ordinary end).
        self.on_end: Callable[[str | None], None] = _nothing
        self._window = WINDOW  # what the peer takes
        self._unread = 0  # what has come and is not consumed
        self._consumed = 0  # for which the peer was given no room yet
        self._in_over = self._out_over = False

    def room(self) -> int:
        """Return how many bytes may be sent now. If there is no room, `on_room` tells when there is again."""
        if self._out_over:
            return 0
        room = min(self._window, self._mux.capacity())
        if not room:
            self._mux.starved[self.number] = self
        return room

    def send(self, data: bytes | memoryview) -> None:
        """Send bytes, as many as there is room for. They are copied."""
        if self._out_over:
            return
        self._window -= len(data)
        for i in range(0, len(data), _MAX_PAYLOAD):
            self._mux.add(_DATA, self.number, data[i : i + _MAX_PAYLOAD] if len(data) > _MAX_PAYLOAD else data)

    def consumed(self, count: int) -> None:
        """Say that bytes which came take no more place here."""
        self._unread -= count
        self._consumed += count
        if self._consumed >= WINDOW // 2 and not self._in_over:
            self._mux.add(_WINDOW, self.number, _U32.pack(self._consumed))
            self._consumed = 0

    def close_write(self) -> None:
        """Say that no more is sent. More may come."""
        if not self._out_over:
            self._out_over = True
            self._mux.add(_CLOSE, self.number)
            self._forget()

    def reset(self, text: str = "") -> None:
        """End both directions. What was sent before arrives; the text tells the peer why."""
        if self._mux.channels.get(self.number) is self:
            self._mux.add(_RESET, self.number, text.encode("utf-8", "backslashreplace")[:_MAX_PAYLOAD])
        self._in_over = self._out_over = True
        self._forget()

    def _forget(self) -> None:
        if self._in_over and self._out_over:
            self._mux.channels.pop(self.number, None)
            self._mux.starved.pop(self.number, None)

    # For the mux.

    def arrive(self, data: memoryview) -> None:
        self._unread += len(data)
        if self._unread + self._consumed > WINDOW:
            raise ProtocolError(f"channel {self.number} got more than it has room for")
        self.on_data(data)

    def widen(self, count: int) -> None:
        self._window += count
        if self._window > WINDOW:
            raise ProtocolError(f"channel {self.number} was given too much room")

    def ended(self, text: str | None) -> None:
        if self._in_over and text is None:
            return
        self._in_over = True
        self._out_over = self._out_over or text is not None
        self._forget()
        self.on_end(text)


class Mux:
    """All conversations with a session.

    `received` bytes of counted frames have come. Whoever resumes tells the peer so, and `restart` what the peer says.
    """

    def __init__(self, host: bool = True):
        self.on_open: Callable[[Channel], None] = _nothing  # the peer has opened a channel
        self.on_end: Callable[[str], None] = _nothing  # the peer has ended the conversation, and why
        self.channels: dict[int, Channel] = {}
        self.starved: dict[int, Channel] = {}  # that wait for room, in the order in which they asked
        self.received = 0
        self._acked = 0  # of these, the peer knows
        self._last = 0 if host else -1  # the channel that was opened last by us …
        self._peer_last = -1 if host else 0  # … and by the peer
        self._connected = False

        # Counted frames, in order. Positions count from the beginning of the conversation, in bytes.
        self._unacked: deque[bytes] = deque()  # sent
        self._unsent: deque[bytes] = deque()
        self._confirmed = 0  # the position up to which the peer has everything
        self._sent = 0  # the position of the first in `_unsent`
        self._end = 0
        self._plain = bytearray()  # uncounted frames to send

        self._buffer = bytearray(4 * _MAX_PAYLOAD)
        self._view = memoryview(self._buffer)
        self._filled = 0  # bytes of it

    def restart(self, received: int) -> None:
        """Go on over a new connection, with a peer that has received so many bytes."""
        self._ack(received)
        self._unsent = self._unacked + self._unsent
        self._unacked.clear()
        self._sent = self._confirmed
        self._plain.clear()
        self._filled = 0
        self._acked = self.received
        self._connected = True

    def interrupted(self) -> None:
        """Say that there is no connection: the spool takes what is sent, until it is full."""
        self._connected = False
        self._feed()

    def open(self, what: Any) -> Channel:
        """Open a channel; `what` is JSON, and tells the peer what it is for."""
        self._last += 2
        channel = self.channels[self._last] = Channel(self, self._last, what)
        self.add(_OPEN, channel.number, json.dumps(what).encode())
        return channel

    def end(self, text: str = "") -> None:
        """Tell the peer that the conversation is over, and why."""
        self.add(_RESET, 0, text.encode("utf-8", "backslashreplace")[:_MAX_PAYLOAD])

    def ping(self) -> None:
        """Ask whether the peer is there, and confirm what has come."""
        self._add_plain(_PING, _U64.pack(time.monotonic_ns()))
        self._add_ack()

    def capacity(self) -> int:
        """Return how many bytes may be added to what is to be sent."""
        room = _MAX_SPOOL - (self._end - self._confirmed)
        if self._connected:
            room = min(room, _MAX_QUEUED - (self._end - self._sent))
        return max(room, 0)

    def add(self, kind: int, channel: int, payload: bytes | memoryview = b"") -> None:
        """Send a counted frame; it is for channels."""
        self._unsent.append(_HEAD.pack(kind, channel, len(payload)) + payload)
        self._end += _HEAD.size + len(payload)

    def pending(self) -> bool:
        """Tell whether there is something to send."""
        return bool(self._unsent or self._plain)

    def take(self) -> bytes:
        """Return what is to be sent next; whoever takes it sends all of it, or breaks the connection."""
        if not self.pending():
            return b""
        if self._unsent:
            self._add_ack()
        parts = [bytes(self._plain)]
        self._plain.clear()
        size = 0
        while self._unsent and size < _MAX_QUEUED:
            frame = self._unsent.popleft()
            parts.append(frame)
            self._unacked.append(frame)
            size += len(frame)
        self._sent += size
        if self.starved:
            self._feed()
        return b"".join(parts)

    def get_buffer(self) -> memoryview:
        """Return where to put what comes; `buffer_updated` says how much that was."""
        return self._view[self._filled :]

    def buffer_updated(self, count: int) -> None:
        """Take what has come."""
        view, at, end = self._view, 0, self._filled + count
        while end - at >= _HEAD.size:
            kind, number, size = _HEAD.unpack_from(self._buffer, at)
            if size > _MAX_PAYLOAD or not _OPEN <= kind <= _PONG:
                raise ProtocolError(f"a frame of kind {kind} with {size} bytes")
            body = at + _HEAD.size
            if body + size > end:
                break
            at = body + size
            if kind <= _RESET:
                self.received += _HEAD.size + size
            self._arrive(kind, number, view[body:at])
        if at:
            view[: end - at] = view[at:end]
        self._filled = end - at
        if self.received - self._acked >= _ACK_AFTER:
            self._add_ack()

    def _arrive(self, kind: int, number: int, payload: memoryview) -> None:
        channel = self.channels.get(number)  # None: it was closed here while the frame was on its way
        if kind == _DATA:
            if channel:
                channel.arrive(payload)
        elif kind == _WINDOW:
            if channel:
                channel.widen(_U32.unpack(payload)[0])
                self._feed()
        elif kind == _OPEN:
            if number != self._peer_last + 2:
                raise ProtocolError(f"channel {number} was opened out of order")
            self._peer_last = number
            channel = self.channels[number] = Channel(self, number, json.loads(bytes(payload)))
            self.on_open(channel)
        elif kind == _CLOSE:
            if channel:
                channel.ended(None)
        elif kind == _RESET:
            text = bytes(payload).decode("utf-8", "replace")
            if number == 0:
                self.on_end(text)
            elif channel:
                channel.ended(text)
        elif kind == _ACK:
            self._ack(_U64.unpack(payload)[0])
            self._feed()
        elif kind == _PING:
            self._add_plain(_PONG, _PONG_TIMES.pack(_U64.unpack(payload)[0], time.monotonic_ns()))

    def _add_plain(self, kind: int, payload: bytes) -> None:
        self._plain += _HEAD.pack(kind, 0, len(payload)) + payload

    def _add_ack(self) -> None:
        if self._acked < self.received:
            self._add_plain(_ACK, _U64.pack(self.received))
            self._acked = self.received

    def _ack(self, position: int) -> None:
        """Forget what the peer has."""
        if not self._confirmed <= position <= self._sent:
            claim = f"it claims to have {position} bytes, and has been sent {self._confirmed} to {self._sent}"
            raise ProtocolError(claim)
        while self._unacked and self._confirmed + len(self._unacked[0]) <= position:
            self._confirmed += len(self._unacked.popleft())

    def _feed(self) -> None:
        """Tell channels that there is room."""
        for channel in list(self.starved.values()):
            if not self.capacity():
                return
            if self.starved.pop(channel.number, None) and channel.room():
                channel.on_room()
