"""The end of a process in Python's order: threads, exit handlers, the app, and what the namespace holds."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, Callable

from .interrupts import Interrupts

LEAVING = "the process group to be left"  # takes for ever where a collective hangs; the server knows these words
GRACE = 0.2  # seconds for threads to end where nobody waits for them; enough for those of an idle executor


class Ending:
    """Ends the process part by part, in the main thread. An interrupt ends the current part."""

    _THREADS = "the end of threads"  # as a request that can be interrupted

    def __init__(self, interrupts: Interrupts, request: str, patient: bool):
        """`request` is the id of the one that asks for the end. `patient`: wait for threads however long they take."""
        self._interrupts = interrupts
        self._request = request
        self._patient = patient
        self._part: Callable[[], str] = lambda: ""

    def waits_for(self) -> str:
        """Say in a few words what the process waits for, "" if that takes no time. For any thread."""
        return self._part()

    def hurry(self) -> None:
        """Stop waiting for threads. For any thread, under the turn. Exit handlers run on until somebody kills us."""
        self._patient = False  # before the interrupt: `threads` begins its request before it looks at this
        self._interrupts.request(self._THREADS, group=False)

    def threads(self) -> None:
        """Have executors end when their work is done, and wait for all threads that are not daemons."""

        def wait() -> None:
            if not _threads():
                return
            due = None if self._patient else time.monotonic() + GRACE
            # In a thread of its own, since it waits for the executors' threads one by one, however long that takes.
            helper = threading.Thread(target=_end_executors, name="dipls end", daemon=True)
            helper.start()
            waited: list[threading.Thread] = [helper]
            while waited:
                left = None if due is None else due - time.monotonic()
                if left is not None and left <= 0:
                    return
                waited[0].join(left)
                waited = _threads()

        with self._doing(lambda: _count(len(_threads()), "thread"), self._THREADS):
            wait()

    def tasks(self, cancel: Callable[[], None]) -> None:
        """Have the tasks of asyncio cancelled, as `asyncio.run` does at its end."""
        with self._doing(lambda: "tasks"):
            cancel()

    def exit_handlers(self) -> None:
        """Run what was registered with `atexit`. Python prints what that raises."""
        with self._doing(lambda: _count(len(_processes()), "child process", "es") or "exit handlers"):
            atexit._run_exitfuncs()

    def app(self, stop: Callable[[], None], leave_group: Callable[[], None]) -> BaseException | None:
        """Have the app end and the process group be left; return what the app raises."""
        failure = None
        with self._doing(lambda: "the app's finalizer"):
            try:
                stop()
            except BaseException as err:
                failure = err
        with self._doing(lambda: LEAVING):
            leave_group()
        return failure

    def finalisers(self, clear: Callable[[], None]) -> None:
        """Let go of what the namespace holds, so that files are flushed and `__del__` is called."""
        with self._doing(lambda: "finalisers"), _alone_with_output():
            clear()
            if self._patient:
                gc.collect()

    def cut_off(self) -> dict[str, int]:
        """Return how many threads and child processes are still there that Python would have waited for."""
        return {"threads": len(_threads()), "processes": len(_processes())}

    @contextlib.contextmanager
    def _doing(self, part: Callable[[], str], request: str = "") -> Iterator[None]:
        try:
            try:
                self._part = part
                self._interrupts.begin(request or self._request)
                yield
            finally:
                self._interrupts.end()
                self._part = lambda: ""
        except KeyboardInterrupt:
            pass
        except BaseException:
            traceback.print_exc()


def _threads() -> list[threading.Thread]:
    """Return the threads that Python waits for at its end."""
    main = threading.main_thread()
    return [thread for thread in threading.enumerate() if not thread.daemon and thread is not main]


def _processes() -> list[Any]:
    """Return the child processes that `multiprocessing` waits for at Python's end."""
    module = sys.modules.get("multiprocessing.process")
    # `active_children` would reap those that have ended, but that is up to the thread that joins them.
    return [child for child in list(getattr(module, "_children", ())) if not child.daemon and _lives(child.pid)]


def _lives(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _count(number: int, noun: str, plural: str = "s") -> str:
    if not number:
        return ""
    return f"{number} {noun}" + (plural if number > 1 else "")


def _end_executors() -> None:
    """Do what Python does before it waits for threads: executors take no more work, and end once it is done."""
    for call in reversed(getattr(threading, "_threading_atexits", [])):
        try:
            call()
        except BaseException:
            traceback.print_exc()


class _MainOnly:
    """A stream on which other threads print nothing."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread() is threading.main_thread():
            self._stream.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _alone_with_output() -> Iterator[None]:
    """Keep daemon threads from printing errors because what they use is gone. Python would have stopped them before."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_MainOnly, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
