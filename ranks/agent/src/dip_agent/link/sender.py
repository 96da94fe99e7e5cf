"""What waits to be sent: messages, and what the process prints, in the order in which they were made."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..moments import Moments
from ..output import Output
from ..ring import NAMES
from ..wire import NO_METADATA, NO_PARENT, Message, encode
from .channel import Channel

COALESCE = 0.010  # seconds for which output is collected after the first bytes have left
_LINE = 0.002  # seconds to wait for the rest of a line: `print` writes a text and its newline one by one


class _Post(NamedTuple):
    """Something to send once all output before `position` has been sent."""

    position: int
    type: str  # "" if only the parent of the following output changes
    content: bytes
    parent: bytes
    buffers: Sequence[bytes]
    moments: Moments | None  # of the request that the message or the output answers


class Sender:
    """Sends what threads post and print.

    Any thread posts: adding to a deque is one step for Python. Whoever has the turn (see `IOThread`) sends.
    """

    channel: Channel  # set by the I/O thread before anybody can have the turn

    def __init__(self, output: Output):
        self._output = output
        self.posts: deque[_Post] = deque()
        # Under the turn.
        self.early = True  # the server has yet to say hello: until then output stays in the ring
        self._unheard = False  # it is the end, and no server has asked for it
        self._sent = 0  # bytes of output
        self._parent = NO_PARENT  # header of the request under which output goes
        self._moments: Moments | None = None  # of that request
        # For the I/O thread.
        self.next_send = 0.0  # output waits for this moment (time.monotonic)
        self._line_awaited = False

    # Any thread.

    def post(self, msg_type: str, content: Any, parent: bytes, buffers: Sequence[bytes] = ()) -> None:
        """Send a message after everything printed so far.

        Raises TypeError or ValueError if `content` is not JSON.
        """
        self.posts.append(_Post(self._output.mark(), msg_type, encode(content), parent, buffers, None))
        self._output.wake()

    # The main thread, which sends these itself before it next waits.

    def reply(self, request: Message, msg_type: str, content: Any) -> None:
        """Have a request answered after everything printed so far.

        Raises TypeError or ValueError if `content` is not JSON.
        """
        self.posts.append(_Post(self._output.mark(), msg_type, encode(content), request.header, (), request.moments))

    def set_parent(self, request: Message) -> None:
        """Have what is printed from now on go under `request`."""
        self.posts.append(_Post(self._output.mark(), "", b"", request.header, (), request.moments))

    # Under the turn.

    def start(self) -> None:
        """Let output go, for the server has spoken."""
        self.early = False
        self._output.wake()  # what was printed so far has waited for this

    def give_up(self) -> None:
        """Send what there is, and note that the process is to end without a server.

        Who prints from now on shall not wait for one. It may be there, though, when only the node has lost its guard.
        It hears of the process's end, and not of what that has interrupted.
        """
        self.send_posts()
        self._unheard, self.early = True, False
        self._output.ack(self._sent)

    def send_posts(self) -> None:
        """Send all that is posted, and the output that came before it."""
        while self.posts:
            post = self.posts.popleft()
            self._send_output(post.position)
            if not post.type:
                self._parent, self._moments = post.parent, post.moments
                continue
            if self._unheard:
                continue
            metadata = NO_METADATA
            if post.moments is not None:
                post.moments.sent = time.monotonic_ns()
                metadata = encode({"trace": post.moments.to_json()})
            self.channel.send(post.type, post.content, post.parent, post.buffers, metadata)

    def _send_output(self, until: int) -> None:
        for chunk in self._output.chunks(until):
            content = encode({"name": NAMES[chunk.tag], "seq": chunk.seq})
            if self._moments is not None and not self._moments.streamed:
                self._moments.streamed = time.monotonic_ns()
            self.channel.send("stream", content, self._parent, [chunk.data])
            self._sent = chunk.seq
            if self._unheard:
                self._output.ack(chunk.seq)

    # The I/O thread, under the turn.

    def send_output(self, at_once: bool) -> None:
        """Send what was printed, if its time has come or `at_once`."""
        if not self._output.pending or self.early:
            return
        now = time.monotonic()
        if now < self.next_send and not self._output.urgent and not at_once:
            return
        if not self._output.ends_line and not self._line_awaited:
            self._line_awaited = True
            self.next_send = now + _LINE
            return
        self._line_awaited = False
        until = self._output.take_in()
        self.send_posts()  # before `until` there may be output that is to follow what has been posted meanwhile
        self._send_output(until)
        self.next_send = now + COALESCE

    def message_waits(self) -> bool:
        """Whether a message is posted. A change of parent alone waits for the output that it is about."""
        return any(post.type for post in list(self.posts))  # a copy: others may post meanwhile
