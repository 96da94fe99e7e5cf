"""SIGINT becomes KeyboardInterrupt for the request that it is meant for, and for no other."""

from __future__ import annotations

import os
import signal
import threading
from _signal import signal as set_handler  # the public one takes every handler for an enum first
from types import FrameType

STARTING = "starting"  # the pseudo request that runs while the app joins


class Interrupts:
    """Which request runs, which ones shall be interrupted, and the handler that decides when the signal is there.

    `queued`, `request` and `nudge` are the I/O thread's; everything else belongs to the main thread, where Python also
    runs the handler. So between "that request runs" and "raise" nothing can come: a late signal finds another request
    and is ignored.
    """

    def __init__(self) -> None:
        self.running: str | None = None
        self._lock = threading.Lock()  # guards _queued and _wanted
        self._queued: set[str] = set()
        self._wanted: set[str] = set()  # requests that shall be interrupted, queued ones included
        self._own = 0  # signals that `request` and `nudge` sent and the handler has not seen
        self._seen = True  # the handler has run since `request` sent a signal
        self._main = threading.get_ident()
        self._held = 0
        self._pending = False

    def install(self) -> None:
        """Make ours the handler of SIGINT; user code may have replaced it."""
        set_handler(signal.SIGINT, self._on_signal)

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
        """Signal the main thread again unless its handler has run; return whether it had to be done.

        A signal that comes just before a system call that waits does not end the wait, and Python looks at it only
        after that.
        """
        if self._seen:
            return False
        self._own += 1
        signal.pthread_kill(self._main, signal.SIGINT)
        return True

    def begin(self, request: str) -> bool:
        """Note that a request starts. False: it was interrupted while it waited and must not start."""
        with self._lock:
            self._queued.discard(request)
            if request in self._wanted:
                self._wanted.discard(request)
                return False
            self.running = request
        return True

    def end(self) -> None:
        """Note that no request runs. From the first line on no KeyboardInterrupt is raised."""
        request, self.running = self.running, None
        self._held, self._pending = 0, False
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

    def release_unseen(self) -> None:
        """Release where nothing can be raised: `nudge` will signal again what came in between."""
        if threading.get_ident() == self._main:
            self._held -= 1
            if self._pending and not self._held:
                self._pending = self._seen = False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self.running is not None and _in_destructor(frame):
            self._own = max(0, self._own - 1)  # as if not seen: `nudge` will signal again
            return
        self._seen = True
        if self.running is None:
            self._own = max(0, self._own - 1)
            return
        if self._own:
            self._own -= 1
            if self.running not in self._wanted:
                return  # meant for a request that has ended meanwhile
        if self._held:
            self._pending = True
        else:
            raise KeyboardInterrupt


def _in_destructor(frame: FrameType | None) -> bool:
    """Tell whether a frame belongs to a `__del__`, out of which Python lets no exception."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
