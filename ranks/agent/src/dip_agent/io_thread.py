"""The socket of a process, and the thread that serves it while the main thread is busy.

The I/O thread answers interrupt, status and stack requests, hands the others to the main thread, and sends what that
posts and what the process prints, in the order in which that was made. It also watches the lifeline, a pipe from the
node: a byte asks for an end in order when there is no server any more to do so, and if the pipe closes, the node is
gone, and the process ends.

While the main thread has nothing to do, it waits at the socket itself: a cell that soon ends without having printed
anything is received, run and answered without a switch of threads. Both wait for the socket's descriptor. The kernel
wakes the main thread if it waits, else the I/O thread, whatever keeps the other: a cell, a signal handler, a full ring.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import queue
import signal
import threading
import time
from _signal import getsignal  # the public one takes every handler for an enum first
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple

from . import stacks
from .beside import Beside, Pull
from .channel import Channel
from .ending import Ending
from .interrupts import Interrupts
from .moments import Moments
from .output import Output
from .ring import NAMES
from .system import Bell, Poller
from .wire import NO_METADATA, NO_PARENT, Message, encode, failure, unknown

log = logging.getLogger(__name__)

COALESCE = 0.010  # seconds for which output is collected after the first bytes have left
NUDGES = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between looks at whether the main thread has seen an interrupt
LINE = 0.002  # seconds that an unfinished line is waited for: `print` writes a text and its newline one by one

_SIGNALS = tuple(map(int, signal.valid_signals()))


# What the main thread serves, first in, first out.
_FOR_MAIN = frozenset(
    {
        "hello",
        "execute_request",
        "push_request",
        "push_commit",
        "pull_request",
        "app_request",
        "mend_request",
        "shutdown_request",
    }
)
# What the main thread serves while it has nothing else to do, and gives up as soon as it has.
_FOR_IDLE = frozenset({"complete_request", "inspect_request", "variables_request"})
LOOKUP_TIME = 0.3  # seconds that such a request may take if it does not say
LOOKUP_AGAIN = 0.1  # seconds after which one that an interrupt has not ended is interrupted again


class _Post(NamedTuple):
    """Something to send once all output before `position` has been sent."""

    position: int
    type: str  # "" if only the parent of the following output changes
    content: bytes
    parent: bytes
    buffers: Sequence[bytes]
    moments: Moments | None  # of the request, which the message or the output answers


@dataclass
class _Lookup:
    """A request that the main thread serves only while it is idle."""

    due: float  # when to interrupt it (time.monotonic)


class IOThread(threading.Thread):
    """Has the channel, and shares it with the main thread (`next_request`)."""

    def __init__(self, path: str, key: bytes, output: Output, interrupts: Interrupts, lifeline: int):
        super().__init__(name="dipls I/O", daemon=True)
        self.started = False  # the main thread sets this when the app has joined or failed
        self.ending: Ending | None = None  # set by the main thread, which then looks at `hurried`
        self.hurried = False  # the end was asked for again, as by a server that waits no longer
        self._ends = False  # it was asked for
        self._path = path
        self._key = key
        self._output = output
        self._interrupts = interrupts
        self._lifeline = lifeline
        self._posts: deque[_Post] = deque()
        self._bound = threading.Event()
        self._failure: Exception | None = None
        self._stopping = False
        self._handlers = list(map(getsignal, _SIGNALS))  # of signals, where the user has set none
        self._main_poller = Poller()
        self._at_socket = False  # where the main thread waits: there, or at `_calls`
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._bell = Bell()  # that calls it from the socket
        self._turn = threading.Lock()  # guards what follows
        self._channel: Channel
        self._requests: deque[Message] = deque()  # for the main thread, which alone takes them
        self._tasks: set[str] = set()  # requests that the main thread has, but for lookups
        self._lookups: dict[str, _Lookup] = {}
        self._next_send = 0.0  # output waits for this moment (time.monotonic)
        self._line_awaited = False
        self._sent = 0  # bytes of output
        self._unheard = False  # the server is gone
        self._nudges: deque[float] = deque()  # moments at which to look, after an interrupt
        self._parent = NO_PARENT  # header of the request under which output goes
        self._moments: Moments | None = None  # of that request
        self._at_once: dict[str, Callable[[dict[str, Any]], None]] = {}
        self._answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self._later: dict[str, Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], None]] = {}
        self._beside: Beside | None = None

    # The main thread.

    def serve_at_once(self, msg_type: str, handler: Callable[[dict[str, Any]], None]) -> None:
        """Have the content of messages of a type, which have no answer, handed to `handler` by who receives them."""
        self._at_once[msg_type] = handler

    def answer_at_once(self, msg_type: str, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Have who receives requests of a type answer with what `handler`, which runs no user code, makes of them."""
        self._answers[msg_type] = handler

    def answer_later(
        self, msg_type: str, handler: Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], None]
    ) -> None:
        """As `answer_at_once`, but `handler` calls what it is given with its answer, at any time and on any thread."""
        self._later[msg_type] = handler

    def pull_beside(self, pull: Pull) -> None:
        """Have pulls that need not wait for the main thread served by `pull`, on other threads."""
        self._beside = Beside(pull, self.post, self._hand_back)

    def bind(self) -> None:
        """Start the thread and wait until its socket is bound. Raises what kept it from that."""
        self.start()
        self._bound.wait()
        if self._failure is not None:
            raise self._failure

    def next_request(self) -> Message:
        """Send the reply to the request before and wait for the next one, which is the same until `done` is called.

        Where the user handles signals, the I/O thread is left alone with the socket: what a handler raises would strike
        between two halves of a message.
        """
        while True:
            self._at_socket = list(map(getsignal, _SIGNALS)) == self._handlers
            if self._at_socket:
                self._exchange()
            else:
                self._output.wake()
            if self._requests:
                return self._requests[0]
            if not self._at_socket:
                self._calls.get()
            elif self._bell.fd in self._main_poller.wait(None):
                self._bell.clear()

    def post(self, msg_type: str, content: Any, parent: bytes, buffers: Sequence[bytes] = ()) -> None:
        """Send a message after everything printed so far.

        Raises TypeError or ValueError if `content` is not JSON.
        """
        self._posts.append(_Post(self._output.mark(), msg_type, encode(content), parent, buffers, None))
        self._output.wake()

    def reply(self, request: Message, msg_type: str, content: Any) -> None:
        """Have `next_request` or `stop` answer a request after everything printed so far.

        Raises TypeError or ValueError if `content` is not JSON.
        """
        self.done(request.id)  # first, so that who reads the reply finds the process idle
        self._posts.append(_Post(self._output.mark(), msg_type, encode(content), request.header, (), request.moments))

    def done(self, request: str) -> None:
        """Note that the main thread has no more to do for a request than to send what it has posted."""
        if self._requests and self._requests[0].id == request:
            self._requests.popleft()
        self._tasks.discard(request)
        self._lookups.pop(request, None)

    def set_parent(self, request: Message) -> None:
        """Have what is printed from now on go under `request`."""
        self._posts.append(_Post(self._output.mark(), "", b"", request.header, (), request.moments))

    def stop(self) -> None:
        """Send what was posted and printed, close the socket and wait for the thread's end."""
        self._stopping = True
        self._output.wake()
        self.join()

    def _exchange(self) -> None:
        """Send what waits and receive what has come."""
        self._output.receiver = threading.get_ident()
        try:
            with self._turn:
                self._send_posts()
                self._receive()
                if self._lookups:
                    self._output.wake()  # the I/O thread is to end them in time
        except BaseException:
            _give_up()
        finally:
            self._output.receiver = 0

    # The thread itself.

    def run(self) -> None:
        # A signal must go to the main thread, to wake it from whatever it waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            channel = self._channel = Channel(self._path, self._key)
            # The main thread first: of those who wait for the same, the kernel wakes the first.
            self._main_poller.add(channel.fd, shared=True)
            self._main_poller.add(self._bell.fd)
        except Exception as err:
            self._failure = err
            return
        finally:
            self._bound.set()
        self._output.attach_reader()
        try:
            self._loop(channel)
        except BaseException:
            _give_up()
        channel.close()

    def _loop(self, channel: Channel) -> None:
        poller = Poller()
        poller.add(channel.fd, shared=True)
        poller.add(self._output.bell.fd)
        poller.add(self._lifeline)
        watched: set[int] = set()
        while True:
            with self._turn:
                self._receive()
                self._nudge()
                self._end_lookups(time.monotonic())
                self._send_posts()
                self._send_when_due()
                if self._stopping and not self._posts and not self._output.pending:
                    return
                patience = 0 if channel.readable else self._patience()
            wanted = set(self._output.pipe_fds)
            for fd in watched - wanted:
                poller.remove(fd)
            for fd in wanted - watched:
                poller.add(fd)
            watched = wanted
            ready = poller.wait(patience)
            self._output.awake()
            if self._output.bell.fd in ready:
                self._output.bell.clear()
            if self._lifeline in ready:
                self._on_lifeline()
            if not watched.isdisjoint(ready):
                self._output.drain()

    def _on_lifeline(self) -> None:
        if not os.read(self._lifeline, 1):
            os._exit(1)  # the node is gone, and with it everyone who could hear us
        with self._turn:
            self._unheard = True
            self._output.ack(self._sent)  # who prints shall not wait for a server
            if not self._ends:
                self._interrupt("")
            self._dispatch(Message("shutdown_request", "lifeline", NO_PARENT, "", {}, []))

    def _hurry(self) -> None:
        """See to it that an end that waits does so no longer."""
        self.hurried = True
        if self.ending is not None:
            self.ending.hurry()
            self._nudge_later()

    def _interrupt(self, parent: str) -> None:
        if self._beside is not None and self._beside.cancel(parent):
            return
        self._interrupts.request(parent)
        self._nudge_later()

    def _nudge_later(self) -> None:
        self._nudges = deque(time.monotonic() + delay for delay in itertools.accumulate(NUDGES))

    def _receive(self) -> None:
        """Take all messages that have come."""
        early = self._early
        while (message := self._channel.receive()) is not None:
            self._dispatch(message)
        if early and not self._early:
            self._output.wake()  # what was printed so far has waited for this

    @property
    def _early(self) -> bool:
        """Whether the server has yet to say hello: until then output stays in the ring."""
        return not self._channel.heard and not self._unheard

    def _nudge(self) -> None:
        if self._nudges and time.monotonic() >= self._nudges[0]:
            self._nudges.popleft()
            if not self._interrupts.nudge():
                self._nudges.clear()

    def _end_lookups(self, due: float) -> None:
        """Interrupt the lookups that were to have ended by the moment `due`.

        User code may swallow that, so it is done again until they have ended.
        """
        for request, lookup in list(self._lookups.items()):
            if lookup.due <= due:
                self._interrupts.request(request, group=False)
                lookup.due = time.monotonic() + LOOKUP_AGAIN

    def _patience(self) -> float | None:
        """Return how many seconds to wait for events, None for ever."""
        if self._posts_due() or self._stopping:
            return 0
        due = [*itertools.islice(self._nudges, 1), *(lookup.due for lookup in list(self._lookups.values()))]
        if not self._early and not self._output.fall_asleep():
            if self._output.urgent:
                return 0
            due.append(self._next_send)
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _posts_due(self) -> bool:
        # A change of parent alone waits for the output that it is about.
        return any(post.type for post in list(self._posts))

    def _send_posts(self) -> None:
        while self._posts:
            post = self._posts.popleft()
            self._send_output(post.position)
            if not post.type:
                self._parent, self._moments = post.parent, post.moments
                continue
            metadata = NO_METADATA
            if post.moments is not None:
                post.moments.sent = time.monotonic_ns()
                metadata = encode({"trace": post.moments.to_json()})
            self._channel.send(post.type, post.content, post.parent, post.buffers, metadata)

    def _send_when_due(self) -> None:
        if not self._output.pending or self._early:
            return
        now = time.monotonic()
        if now < self._next_send and not self._output.urgent and not self._stopping:
            return
        if not self._output.ends_line and not self._line_awaited:
            self._line_awaited = True
            self._next_send = now + LINE
            return
        self._line_awaited = False
        until = self._output.take_in()
        self._send_posts()  # before `until` there may be output that is to follow what has been posted meanwhile
        self._send_output(until)
        self._next_send = now + COALESCE

    def _send_output(self, until: int) -> None:
        for chunk in self._output.chunks(until):
            content = encode({"name": NAMES[chunk.tag], "seq": chunk.seq})
            if self._moments is not None and not self._moments.streamed:
                self._moments.streamed = time.monotonic_ns()
            self._channel.send("stream", content, self._parent, [chunk.data])
            self._sent = chunk.seq
            if self._unheard:
                self._output.ack(chunk.seq)

    def _dispatch(self, message: Message) -> None:
        content = message.content
        if message.type == "shutdown_request" and self._ends:
            self._hurry()
        elif message.type == "pull_request" and self._tasks and self._beside is not None and self._beside.take(message):
            pass
        elif message.type in _FOR_MAIN:
            self._ends = self._ends or message.type == "shutdown_request"
            self._tasks.add(message.id)
            self._hand_over(message)
            self._end_lookups(math.inf)
        elif message.type in _FOR_IDLE:
            self._look_up(message)
        elif message.type == "interrupt_request":
            self._interrupt(str(content.get("parent", "")))
            self._answer(message, "interrupt_reply", {})
        elif message.type == "status_request":
            self._answer(message, "status", self._state())
        elif message.type == "stack_request":
            self._answer(message, "stack_reply", {"threads": stacks.threads(self.ident)})
        elif message.type == "stream_ack":
            seq = content.get("seq")
            if isinstance(seq, int):
                self._output.ack(seq)
        elif message.type in self._answers:
            try:
                reply = self._answers[message.type](content)
            except Exception as err:  # of ours, or of a library's that is not as we know it: no reason to end
                log.exception("%s failed", message.type)
                reply = failure(err)
            self._answer(message, message.type.replace("_request", "_reply"), reply)
        elif message.type in self._later:
            self._have_answered(message, self._later[message.type])
        elif message.type in self._at_once:
            self._at_once[message.type](content)
        else:
            log.warning("unknown message type %r", message.type)
            if message.type.endswith("_request"):
                self._channel.send(*unknown(message), message.header)

    def _have_answered(
        self, message: Message, handler: Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], None]
    ) -> None:
        """Have a request answered after everything printed so far."""
        reply_type = message.type.replace("_request", "_reply")

        def answer(content: dict[str, Any]) -> None:
            self.post(reply_type, {"status": "ok", **content}, message.header)

        try:
            handler(message.content, answer)
        except Exception as err:  # as above
            log.exception("%s failed", message.type)
            answer(failure(err))

    def _look_up(self, message: Message) -> None:
        if not self.started or self._tasks:
            self._channel.send(
                message.type.replace("_request", "_reply"), encode({"status": "aborted"}), message.header
            )
            return
        timeout = message.content.get("timeout")
        seconds = timeout if isinstance(timeout, (int, float)) else LOOKUP_TIME
        self._lookups[message.id] = _Lookup(time.monotonic() + seconds)
        self._hand_over(message)

    def _hand_over(self, message: Message) -> None:
        """Queue a request for the main thread, and wake that if it waits. It looks at the queue before it does."""
        self._interrupts.queued(message.id)
        self._requests.append(message)
        if threading.current_thread() is threading.main_thread():
            return
        if self._at_socket:
            self._bell.ring()
        else:
            self._calls.put(None)

    def _hand_back(self, message: Message) -> None:
        """Have the main thread serve a request that another one could not."""
        with self._turn:
            self._tasks.add(message.id)
            self._hand_over(message)

    def _answer(self, request: Message, msg_type: str, content: dict[str, Any]) -> None:
        self._channel.send(msg_type, encode({"status": "ok", **content}), request.header)

    def _state(self) -> dict[str, Any]:
        if not self.started:
            return {"execution_state": "starting", "msg_id": ""}
        if self.ending is not None:
            return {"execution_state": "ending", "msg_id": "", "waits_for": self.ending.waits_for()}
        running = self._interrupts.running
        return {"execution_state": "idle" if running is None else "busy", "msg_id": running or ""}


def _give_up() -> None:
    # What may be lost now, somebody waits for; better dead than deaf.
    log.critical("the process can no longer talk to the server", exc_info=True)
    os._exit(1)
