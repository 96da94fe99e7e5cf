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

# Wakes the main thread so that Python runs the handler of a SIGINT that has come. A second SIGINT would do, too, but a
# handler of the user's would count it. By default SIGURG is ignored.
_NUDGE = signal.SIGURG


class Interrupts:
    """Which request runs, which ones are to be interrupted, and the handlers that raise KeyboardInterrupt.

    `queued`, `request`, `nudge` and `broke` are called under the turn (see `link.io_thread`), `wanted` and
    `wait_failed` by any thread, and everything else by the main thread. Python runs signal handlers in the main thread,
    too, so no request can end between the handler's check that it runs and the exception: a signal that comes late
    finds another request, and is ignored.
    """

    def __init__(self) -> None:
        self.running: str | None = None
        self.broken = False  # the request that runs, or ran last, was interrupted, and its collectives were broken
        self._failed = False  # waiting in a collective has raised since then
        self._lock = threading.Lock()  # guards _queued and _wanted, and who sets `broken`
        self._queued: set[str] = set()
        self._wanted: set[str] = set()  # requests that are to be interrupted, queued ones included
        self._own = 0  # signals that `request` has sent and our handler has not seen
        self._seen = True  # our handler has run since `request` sent the last signal
        self._late = False  # a request that waits was interrupted, and nobody has looked yet whether a task keeps it
        self._background = False  # tasks of asyncio go on while no request runs
        self._missed = False  # our handler has run where nothing can be raised
        self._main = threading.get_ident()
        self._held = 0
        self._pending = False
        self._handler, self._nudged = self._on_signal, self._on_nudge  # objects to compare with what Python has
        set_handler(_NUDGE, self._nudged)

    def install(self) -> None:
        """Make ours the handler of SIGINT. User code may have replaced it."""
        if set_handler(signal.SIGINT, self._handler) is not self._handler:
            self._own = 0  # the user's handler has seen them

    def queued(self, request: str) -> None:
        """Note that a request waits for the main thread."""
        with self._lock:
            self._queued.add(request)

    def request(self, parent: str, group: bool = True) -> None:
        """Interrupt the request `parent`, or whichever runs if that is empty.

        The signal goes to the whole process group, as Ctrl-C in a terminal does, so that `!sleep 60` ends, too. Without
        `group` it goes to the main thread only, and spares other processes such as a data loader's workers.
        """
        with self._lock:
            running = self.running
            if running is not None and parent in ("", running):
                self._wanted.add(running)
            elif parent in self._queued:
                self._wanted.add(parent)
                self._late = self._late or group
                return
            else:
                return
        self._send(group)

    def _send(self, group: bool) -> None:
        self._own += 1
        self._seen = False
        if group:
            os.killpg(0, signal.SIGINT)
        else:
            signal.pthread_kill(self._main, signal.SIGINT)

    def nudge(self) -> bool:
        """Wake the main thread unless our handler has run. Returns whether it had not.

        Python runs a handler between two bytecodes. A signal that comes just before a system call that waits does not
        end the wait, nor does one that another thread takes. Whether a handler of the user's has run is not known.

        A task that goes on between cells should have let a request begin by now. If it has not, and the request is to
        be interrupted, the task is.
        """
        late, self._late = self._late, False
        if late and self._keeps_waiting():
            self._send(group=True)
            return True
        if self._seen:
            return False
        if getsignal(_NUDGE) is self._nudged:
            signal.pthread_kill(self._main, _NUDGE)
        return True

    def broke(self) -> None:
        """Note that the process groups were broken, so that whoever waits in a collective is freed.

        If the request that runs was interrupted, it ends as interrupted, whatever the broken collective raises.
        """
        with self._lock:
            if self.running in self._wanted:
                self.broken = True

    @property
    def wanted(self) -> bool:
        """Whether the request that runs is to be interrupted, whether the main thread knows it or not."""
        with self._lock:
            return self.running in self._wanted

    def wait_failed(self) -> None:
        """Be told that waiting in a collective has raised.

        Raises KeyboardInterrupt if the groups were broken and user code has swallowed the first such exception.
        """
        if self.broken and threading.get_ident() == self._main:
            if self._failed and not self._held:
                raise KeyboardInterrupt
            self._failed = True

    def begin(self, request: str) -> bool:
        """Note that a request starts. Returns False if it was interrupted while it waited, and so must not start."""
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
        """Note that no request runs. From the first line on, no handler of ours raises KeyboardInterrupt."""
        request, self.running = self.running, None
        self._held, self._pending, self._missed = 0, False, False
        if request is not None:
            with self._lock:
                self._wanted.discard(request)

    @contextlib.contextmanager
    def background(self) -> Iterator[None]:
        """Let tasks go on while no request runs. An interrupt of a request that they keep from it strikes them."""
        self._background = True
        try:
            yield
        finally:
            self._background = False

    def _keeps_waiting(self) -> bool:
        return self._background and not self._queued.isdisjoint(self._wanted)

    def hold(self) -> None:
        """Put KeyboardInterrupt off until `release`. Calls nest. On other threads this does nothing."""
        if threading.get_ident() == self._main:
            self._held += 1

    def release(self) -> None:
        """End the last `hold`; raise the KeyboardInterrupt that was put off, if there is one."""
        if threading.get_ident() == self._main:
            self._held -= 1
            if self._pending and not self._held:
                self._pending = False
                raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Put KeyboardInterrupt off until the end of a block. The block must raise nothing."""
        self.hold()
        yield
        self.release()

    def release_unseen(self) -> None:
        """As `release`, where nothing can be raised: the next nudge raises what was put off."""
        if threading.get_ident() == self._main:
            self._held -= 1
            if self._pending and not self._held:
                self._pending, self._missed, self._seen = False, True, False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        own, self._own = self._own > 0, max(0, self._own - 1)
        in_background = self.running is None and self._keeps_waiting()
        if (in_background or self.running is not None) and _in_destructor(frame):
            self._missed = True
            return
        self._seen, self._missed = True, False
        if in_background or (self.running is not None and not (own and self.running not in self._wanted)):
            self._strike()  # otherwise the signal was meant for a request that has ended meanwhile

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
    """Whether a frame runs within a `__del__`. Python lets no exception out of one."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None
