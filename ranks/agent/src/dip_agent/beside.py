"""Pulls that are served while the main thread waits in a collective, each by a thread of its own.

If the main thread changed a variable while it is pickled, half of the change would be sent. So variables are taken only
while the main thread stands still. If it moves, the main thread serves the pull itself, in its turn.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any, Callable, NamedTuple

from . import wire
from .groups import collectives
from .wire import Message

_ATTEMPTS = 3  # a main thread that waits may be woken for a moment, as by a signal

Pull = Callable[[Message, "Callable[[], None]"], "dict[str, Any]"]
Post = Callable[[str, Any, bytes, Sequence[bytes]], None]


class _Moved(BaseException):  # no Exception, so that no user code that is called to pickle something catches it
    """The main thread has run."""


class _Stand(NamedTuple):
    """Where the main thread waits."""

    frame: FrameType
    ran: str  # CPU time so far, to tell whether it has run; "" where the system does not say

    @classmethod
    def now(cls) -> _Stand | None:
        """Return where the main thread waits, None if that is not in a collective."""
        ran = _ran()
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        return cls(frame, ran) if frame is not None and collectives.is_inside(frame) else None

    def holds(self) -> bool:
        """Whether the main thread has stayed there and has not run."""
        now = sys._current_frames().get(threading.main_thread().ident or 0)
        return now is self.frame and _ran() == self.ran


class _Job:
    def __init__(self, request: Message, stand: _Stand):
        self.request = request
        self.stand = stand
        self.cancelled = False

    def check(self) -> None:
        """Raise KeyboardInterrupt or _Moved if the pull is to stop."""
        if self.cancelled:
            raise KeyboardInterrupt
        if not self.stand.holds():
            raise _Moved


class Beside:
    """Has pulls served beside the main thread."""

    def __init__(self, pull: Pull, post: Post, hand_over: Callable[[Message], None]):
        """`pull` makes a reply, `post` sends it, and `hand_over` gives a request to the main thread after all."""
        self._pull = pull
        self._post = post
        self._hand_over = hand_over
        self._jobs: dict[str, _Job] = {}  # by request

    def take(self, request: Message) -> bool:
        """Serve a pull_request if the main thread waits in a collective; otherwise return False."""
        if not request.content.get("while_busy") or (stand := _Stand.now()) is None:
            return False
        job = self._jobs[request.id] = _Job(request, stand)
        threading.Thread(target=self._serve, args=(job,), name="dipls pull", daemon=True).start()
        return True

    def cancel(self, request: str) -> bool:
        """Have a pull give up as soon as it can. Returns False if there is no such pull."""
        if (job := self._jobs.get(request)) is None:
            return False
        job.cancelled = True
        return True

    def _serve(self, job: _Job) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread is to get them
        pid, reply = os.getpid(), self._reply(job)
        if os.getpid() != pid:
            os._exit(1)  # forked by user code; the socket is its parent's
        del self._jobs[job.request.id]
        if reply is None:
            self._hand_over(job.request)
        else:
            self._post("pull_reply", reply, job.request.header, ())

    def _reply(self, job: _Job) -> dict[str, Any] | None:
        """Return the content of the reply, None if the main thread has to make it."""
        for _ in range(_ATTEMPTS):
            try:
                return {"status": "ok", **self._pull(job.request, job.check)}
            except _Moved:
                if (stand := _Stand.now()) is None:
                    return None
                job.stand = stand
            except BaseException as err:
                return wire.failure(err)
        return None


def _ran() -> str:
    try:
        with open(f"/proc/self/task/{os.getpid()}/schedstat", encoding="ascii") as file:
            return file.read().partition(" ")[0]
    except OSError:
        return ""
