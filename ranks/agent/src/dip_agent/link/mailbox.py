"""The requests that wait for the main thread, and how it waits for them."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Callable

from ..interrupts import Interrupts
from ..system import Bell, Poller
from ..wire import Message

_AGAIN = 0.1  # seconds until a lookup that an interrupt has not ended is interrupted again


@dataclass
class _Lookup:
    """A request that the main thread serves only while it has nothing else to do."""

    due: float  # when to interrupt it (time.monotonic)


class Mailbox:
    """Requests for the main thread, first in, first out.

    Whoever has the turn (see `IOThread`) puts them in. Only the main thread takes them out, and it needs no lock for
    that, since adding to a deque, a set or a dict and removing from one is one step for Python.
    """

    def __init__(self, interrupts: Interrupts):
        self._interrupts = interrupts
        self.requests: deque[Message] = deque()
        self.tasks: set[str] = set()  # ids of requests that are no lookups, waiting or running
        self.lookups: dict[str, _Lookup] = {}  # by id, waiting or running
        # Written by the main thread before it waits.
        self.at_socket = False  # it waits at the socket and `_bell`; otherwise at `_calls`
        self._poller = Poller()
        self._bell = Bell()
        self._calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        # Wakes a main thread that lets tasks go on while it waits; None: it does not.
        self.wake_tasks: Callable[[], None] | None = None

    # Under the turn.

    def add_task(self, request: Message) -> None:
        """Have a request served in its turn. Lookups give way to it."""
        self.tasks.add(request.id)
        self._put(request)
        if self.lookups:
            self.end_lookups(math.inf)

    def add_lookup(self, request: Message, seconds: float) -> None:
        """Have a request served that is interrupted after some seconds, or as soon as there is a task."""
        self.lookups[request.id] = _Lookup(time.monotonic() + seconds)
        self._put(request)

    def _put(self, request: Message) -> None:
        self._interrupts.queued(request.id)
        self.requests.append(request)
        if threading.current_thread() is threading.main_thread():
            return  # it looks at `requests` before it waits
        wake_tasks = self.wake_tasks  # the main thread looks at `requests` after it has changed this
        if self.at_socket:
            self._bell.ring()
        elif wake_tasks is not None:
            wake_tasks()
        else:
            self._calls.put(None)

    def end_lookups(self, due: float) -> None:
        """Interrupt the lookups that were to have ended by the moment `due`.

        User code may swallow an interrupt, so this is repeated until they have ended.
        """
        for request, lookup in list(self.lookups.items()):  # a copy: the main thread may remove one meanwhile
            if lookup.due <= due:
                self._interrupts.request(request, group=False)
                lookup.due = time.monotonic() + _AGAIN

    # The I/O thread.

    def attach(self, fd: int) -> None:
        """Have the main thread wait at the socket's descriptor, too. Called once, before the main thread waits."""
        self._poller.add(fd, shared=True)
        self._poller.add(self._bell.fd)

    # The main thread.

    def wait(self) -> None:
        """Wait for a request, or, at the socket, for a message. May return without either."""
        if not self.at_socket:
            self._calls.get()
        elif self._bell.fd in self._poller.wait(None):
            self._bell.clear()

    def set_waking(self, wake: Callable[[], None] | None) -> None:
        """Have `wake` called for each request that is put in, in place of what ends `wait`."""
        self.wake_tasks = wake

    def has_requests(self) -> bool:
        """Return whether a request waits."""
        return bool(self.requests)

    def done(self, request: str) -> None:
        """Note that a request needs nothing more than that its reply is sent."""
        if self.requests and self.requests[0].id == request:
            self.requests.popleft()
        self.tasks.discard(request)
        self.lookups.pop(request, None)
