"""The thread that serves the socket while the main thread is busy, and how the two share it.

While the main thread is busy, the I/O thread receives messages, and sends what the main thread posts and the process
prints. It also watches the lifeline, a pipe from the node. A byte there asks for an end in order, since no server is
left to do so. If the pipe closes, the node is gone, and the process ends.

While the main thread has nothing to do, it waits at the socket itself. A short cell that prints nothing is then
received, run and answered without a switch of threads. Both threads wait for the socket's descriptor; the kernel wakes
the main thread if it waits there, and otherwise the I/O thread.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import threading
import time
from _signal import getsignal  # the public one takes every handler for an enum first
from typing import Any

from ..interrupts import Interrupts
from ..output import Output
from ..system import Poller
from ..tasks import Tasks
from ..wire import Message
from .channel import Channel
from .dispatcher import Dispatcher
from .mailbox import Mailbox
from .sender import Sender

log = logging.getLogger(__name__)

_SIGNALS = tuple(map(int, signal.valid_signals()))


class IOThread(threading.Thread):
    """Owns the socket, and shares it with the main thread (`next_request`).

    Whoever holds the *turn*, a lock, may use the socket and whatever else is said to be "under the turn".
    """

    def __init__(self, path: str, key: bytes, output: Output, interrupts: Interrupts, lifeline: int):
        super().__init__(name="dipls I/O", daemon=True)
        self._path = path
        self._key = key
        self._output = output
        self._interrupts = interrupts
        self._lifeline = lifeline
        self._turn = threading.Lock()
        self._channel: Channel  # set by the I/O thread before `_bound`, then used under the turn
        self.mailbox = Mailbox(interrupts)
        self.sender = Sender(output)
        self.dispatcher = Dispatcher(self.mailbox, self.sender, output, interrupts, self._turn)
        self._handlers = list(map(getsignal, _SIGNALS))  # of signals, where the user has set none
        self._bound = threading.Event()
        self._failure: Exception | None = None  # set before `_bound`
        self.tasks: Tasks | None = None  # what goes on while the main thread waits; it sets this as it starts
        self._stopping = False  # set by the main thread, which then wakes this one

    # The main thread.

    def bind(self) -> None:
        """Start the thread and wait until its socket is bound. Raises what kept it from that."""
        self.start()
        self._bound.wait()
        if self._failure is not None:
            raise self._failure

    def next_request(self) -> Message:
        """Send the last reply and wait for the next request. It remains the next one until the mailbox's `done`.

        While user code handles signals, only the I/O thread uses the socket: an exception that a handler raises could
        strike in the middle of a message.
        """
        mailbox = self.mailbox
        while True:
            goes_on = self.tasks is not None and self.tasks.pending
            mailbox.at_socket = not goes_on and list(map(getsignal, _SIGNALS)) == self._handlers
            if mailbox.at_socket:
                self._exchange()
            else:
                self._output.wake()
            if mailbox.requests:
                return mailbox.requests[0]
            if goes_on:
                with self._interrupts.background():
                    self.tasks.between(mailbox.set_waking, mailbox.has_requests)
            else:
                mailbox.wait()

    def reply(self, request: Message, msg_type: str, content: Any) -> None:
        """Have `next_request` or `stop` answer a request after everything printed so far.

        Raises TypeError or ValueError if `content` is not JSON.
        """
        self.mailbox.done(request.id)  # first, so that whoever reads the reply finds the process idle
        self.sender.reply(request, msg_type, content)

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
                self.sender.send_posts()
                self._receive()
                if self.mailbox.lookups:
                    self._output.wake()  # the I/O thread is to end them in time
        except BaseException:
            _give_up()
        finally:
            self._output.receiver = 0

    # Whoever has the turn.

    def _receive(self) -> None:
        """Take all messages that have come."""
        while (message := self._channel.receive()) is not None:
            self.dispatcher.take(message)
        if self.sender.early and self._channel.heard:
            self.sender.start()

    # The thread itself.

    def run(self) -> None:
        # A signal must go to the main thread, to wake it from whatever it waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            channel = self._channel = Channel(self._path, self._key)
            # The main thread's poller first: the kernel wakes the first of those that wait.
            self.mailbox.attach(channel.fd)
            self.sender.channel = channel
            self.dispatcher.attach(channel, threading.get_ident())
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
                self.dispatcher.nudge()
                self.mailbox.end_lookups(time.monotonic())
                self.sender.send_posts()
                self.sender.send_output(at_once=self._stopping)
                if self._stopping and not self.sender.posts and not self._output.pending:
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
            self.sender.give_up()
            self.dispatcher.end()

    def _patience(self) -> float | None:
        """Return how many seconds to wait for events, None for ever."""
        if self.sender.message_waits() or self._stopping:
            return 0
        lookups = list(self.mailbox.lookups.values())  # a copy: the main thread may remove one meanwhile
        due = [*itertools.islice(self.dispatcher.nudges, 1), *(lookup.due for lookup in lookups)]
        if not self.sender.early and not self._output.fall_asleep():
            if self._output.urgent:
                return 0
            due.append(self.sender.next_send)
        return max(0.0, min(due) - time.monotonic()) if due else None


def _give_up() -> None:
    # What may be lost now, somebody waits for; better dead than deaf.
    log.critical("the process can no longer talk to the server", exc_info=True)
    os._exit(1)
