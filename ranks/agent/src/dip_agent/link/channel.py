"""The ROUTER socket of a process and the one peer that it talks to."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import zmq

from ..wire import MAX_MESSAGE, NO_METADATA, NO_PARENT, BadMessage, Codec, Message

log = logging.getLogger(__name__)

FLUSH_MS = 1000  # how long closing waits for the peer to take the last messages

# As plain numbers: to combine ZeroMQ's enums takes longer than to send a frame.
_EVENTS, _POLLIN, _NOBLOCK, _SNDMORE = map(int, (zmq.EVENTS, zmq.POLLIN, zmq.NOBLOCK, zmq.SNDMORE))


class Channel:
    """A bound ROUTER socket. Not thread-safe: of several threads, one at a time may use it.

    Replies go to the peer whose message verified last. A socket without limits on what it queues never blocks and never
    drops; `output` is what bounds how much a process can have in flight.
    """

    def __init__(self, path: str, key: bytes):
        """Bind `ipc://PATH`. Raises zmq.ZMQError, which names the path, if it cannot."""
        self._path = path
        self._codec = Codec(key)
        self._peer: bytes | None = None
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        self.socket.setsockopt(zmq.LINGER, FLUSH_MS)
        mask = os.umask(0o077)
        try:
            self.socket.bind(f"ipc://{path}")
        finally:
            os.umask(mask)

    @property
    def fd(self) -> int:
        """A descriptor to wait for: it gets readable when something comes after `readable` has been false."""
        return self.socket.getsockopt(zmq.FD)

    @property
    def readable(self) -> bool:
        """Whether there is something to receive. To be asked before every wait for `fd`."""
        return bool(self.socket.getsockopt(_EVENTS) & _POLLIN)

    @property
    def heard(self) -> bool:
        """Whether a peer has spoken, to whom messages can be sent."""
        return self._peer is not None

    def receive(self) -> Message | None:
        """Return the next good message that is there, or None. Bad ones are logged and dropped."""
        # To try and fail would cost an exception, and give away Python's global lock just when the main thread wakes.
        while self.readable:
            identity, *frames = self._frames()
            try:
                message = self._codec.unpack(frames)
            except BadMessage as err:
                log.warning("dropped a message: %s", err)
                continue
            self._peer = identity
            return message
        return None

    def _frames(self) -> list[bytes]:
        frames = []
        while True:
            frame = self.socket.recv(_NOBLOCK, copy=False)  # knows by itself whether it is the last one
            frames.append(frame.bytes)
            if not frame.more:
                return frames

    def send(
        self,
        msg_type: str,
        content: bytes,
        parent: bytes = NO_PARENT,
        buffers: Sequence[bytes] = (),
        metadata: bytes = NO_METADATA,
    ) -> None:
        """Queue a message for the peer. Before a peer has spoken there is nobody to send to, and it is dropped."""
        if self._peer is None:
            log.warning("dropped %s: nobody has said hello yet", msg_type)
            return
        *frames, last = self._codec.pack(msg_type, content, parent, buffers, metadata)
        self.socket.send(self._peer, _SNDMORE)
        for frame in frames:
            self.socket.send(frame, _SNDMORE)
        self.socket.send(last)

    def close(self) -> None:
        """Close the socket and remove its file, waiting up to FLUSH_MS for the last messages to leave."""
        self.socket.close()
        self._context.term()
        try:
            os.unlink(self._path)  # libzmq does so only in some versions
        except FileNotFoundError:
            pass
