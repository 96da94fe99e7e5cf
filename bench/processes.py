"""Processes that a benchmark starts, and their end: none of them, nor of theirs, outlives it."""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time

from peers.procfs import available_memory, descendants

# Below this much available memory a script is ended before the system ends something else.
RESERVE = 2_000_000_000
GRACE = 10  # seconds for an orderly end


class Failure(Exception):
    """A script that did not get to its end, and why."""


def adopt_orphans():
    """Makes this process the parent of orphans among its descendants, so that it can end them (Linux only)."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def run(command, seconds, **options):
    """Runs a script; yields what it prints, JSON by JSON. When this ends, the script and all that it started has ended.

    Raises Failure if the script fails, takes longer than that, or takes the machine's last memory.
    """
    options.update(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
    process = subprocess.Popen(command, **options)
    try:
        yield from _lines(process, time.monotonic() + seconds, seconds)
        if process.wait() != 0:
            raise Failure(f"it ended with exit code {process.returncode}")
    finally:
        _end(process)


def _lines(process, deadline, seconds):
    """The JSON lines of a process, while it keeps to its limits. What is no JSON is somebody's chatter."""
    os.set_blocking(process.stdout.fileno(), False)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if time.monotonic() > deadline:
                raise Failure(f"it took longer than {seconds} s")
            if available_memory() < RESERVE:
                raise Failure("it took the machine's last memory")
            if not selector.select(0.2):
                continue
            data = os.read(process.stdout.fileno(), 1 << 16)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)
            if not data:
                return


def _end(process):
    """Ends a process in order, if it still runs, and then what it has left, in order or not."""
    deadline = time.monotonic() + GRACE
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    if process.poll() is None:
        process.kill()
        process.wait()
    process.stdout.close()
    while left := descendants(os.getpid()):
        late = time.monotonic() > deadline
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        _reap()
        time.sleep(0.1)


def _reap():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
