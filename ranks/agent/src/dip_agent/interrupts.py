"""SIGINT becomes KeyboardInterrupt for the request that it is meant for, and for no other."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from _signal import getsignal  # the public ones take every handler for an enum first
from _signal import signal as set_handler
from collections.abc import Iterator
from types import FrameType

STARTING = "starting"  # the pseudo request that runs while the app joins

# By it the main thread is woken to look at a SIGINT that it has: a second one would be one more to a handler of the
# user's. Nobody is harmed by it who does not handle it.
_NUDGE = signal.SIGURG


class Interrupts:
    """Which request runs, which ones shall be interrupted, and the handler that decides when the signal is there.

    `queued`, `request`, `nudge` and `broke` are for whoever receives messages, in one thread at a time; everything else
    belongs to the main thread, where Python also runs the handlers. So between "that request runs" and "raise" nothing
    can come: a late signal finds another request and is ignored.
    """

    def __init__(self) -> None:
        self.running: str | None = None
        self.broken = False  # so were the waits of the request that ran last, which was interrupted
        self._failed = False  # a wait has, since it was broken
        self._lock = threading.Lock()  # guards _queued and _wanted
        self._queued: set[str] = set()
        self._wanted: set[str] = set()  # requests that shall be interrupted, queued ones included
        self._own = 0  # signals that `request` sent and the handler has not seen
        self._seen = True  # the handler has run since `request` sent a signal, where it is ours
        self._missed = False  # it has, where nothing can be raised
        self._main = threading.get_ident()
        self._held = 0
        self._pending = False
        self._handler, self._nudged = self._on_signal, self._on_nudge  # as they are handed to Python
        set_handler(_NUDGE, self._nudged)

    def install(self) -> None:
        """Make ours the handler of SIGINT; user code may have replaced it."""
        if set_handler(signal.SIGINT, self._handler) is not self._handler:
            self._own = 0  # another one has had them

    def queued(self, request: str) -> None:
        """Note that a request waits for the main thread."""
        with self._lock:
            self._queued.add(request)

    def request(self, parent: str, group: bool = True) -> None:
        """Interrupt the request `parent`, or whichever runs if that is empty.

        The signal goes to the whole process group, as Ctrl-C in a terminal does: `!sleep 60` ends too. Without
        `group` it spares what else there is, such as the workers of a data loader.
        """
        with self._lock:
            running = self.running
            if running is not None and parent in ("", running):
                self._wanted.add(running)
            elif parent in self._queued:
                self._wanted.add(parent)
                return
            else:
                return
        self._own += 1
        self._seen = False
        if group:
            os.killpg(0, signal.SIGINT)
        else:
            signal.pthread_kill(self._main, signal.SIGINT)

    def nudge(self) -> bool:
        """Wake the main thread unless our handler has run; return whether it had to be done.

        A signal that comes just before a system call that waits does not end the wait, and one that another thread
        takes ends none: Python looks at it only after that. What a handler of the user's has seen nobody knows.
        """
        if self._seen:
            return False
        if getsignal(_NUDGE) is self._nudged:
            signal.pthread_kill(self._main, _NUDGE)
        return True

    def broke(self) -> None:
        """Note that what the main thread may have waited for, in a collective, was broken.

        If the request that runs was interrupted, it ends as that, whatever was raised by it.
        """
        with self._lock:
            if self.running in self._wanted:
                self.broken = True

    @property
    def wanted(self) -> bool:
        """Whether the request that runs shall be interrupted, seen by the main thread or not; for any thread."""
        with self._lock:
            return self.running in self._wanted

    def wait_failed(self) -> None:
        """Be told that waiting in a collective has raised; for any thread.

        It ends with KeyboardInterrupt if that was broken, and user code has swallowed what it had raised before.
        """
        if self.broken and threading.get_ident() == self._main:
            if self._failed and not self._held:
                raise KeyboardInterrupt
            self._failed = True

    def begin(self, request: str) -> bool:
        """Note that a request starts. False: it was interrupted while it waited and must not start."""
        self.install()
        with self._lock:
            self.broken = self._failed = False
            self._queued.discard(request)
            if request in self._wanted:
                self._wanted.discard(request)
                return False
            self.running = request
        return True

    def end(self) -> None:
        """Note that no request runs. From the first line on no KeyboardInterrupt is raised."""
        request, self.running = self.running, None
        self._held, self._pending, self._missed = 0, False, False
        if request is not None:
            with self._lock:
                self._wanted.discard(request)

    def hold(self) -> None:
        """Put KeyboardInterrupt off until `release`. Calls nest; on other threads they do nothing."""
        if threading.get_ident() == self._main:
            self._held += 1

    def release(self) -> None:
        """Raise the KeyboardInterrupt that came in between, if any."""
        if threading.get_ident() == self._main:
            self._held -= 1
            if self._pending and not self._held:
                self._pending = False
                raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Put KeyboardInterrupt off until the end of a block that raises nothing."""
        self.hold()
        yield
        self.release()

    def release_unseen(self) -> None:
        """Release where nothing can be raised: a nudge will strike with what came in between."""
        if threading.get_ident() == self._main:
            self._held -= 1
            if self._pending and not self._held:
                self._pending, self._missed, self._seen = False, True, False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        own, self._own = self._own > 0, max(0, self._own - 1)
        if self.running is not None and _in_destructor(frame):
            self._missed = True
            return
        self._seen, self._missed = True, False
        if self.running is not None and not (own and self.running not in self._wanted):
            self._strike()  # otherwise it was meant for a request that has ended meanwhile

    def _on_nudge(self, signum: int, frame: FrameType | None) -> None:
        if self._missed and not _in_destructor(frame):
            self._seen, self._missed = True, False
            self._strike()

    def _strike(self) -> None:
        if self._held:
            self._pending = True
        else:
            raise KeyboardInterrupt


def _in_destructor(frame: FrameType | None) -> bool:
    """Tell whether a frame belongs to a `__del__`, out of which Python lets no exception."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
