"""What the operating system knows about processes and descriptors, on Linux and elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import signal
import sys
from collections.abc import Iterable
from typing import Any

LINUX = sys.platform == "linux"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

MARK = "DIPLS_PROCESS"  # in the environment of a process and its offspring: SESSION/NAME of the process

libc = ctypes.CDLL(None, use_errno=True)


class Poller:
    """Waits until descriptors are readable.

    Several pollers may wait for a `shared` descriptor. On Linux only one of them is woken: of those that wait, the one
    that was first to add it. Elsewhere all are woken.
    """

    def __init__(self) -> None:
        self._poll: Any = select.epoll() if LINUX else select.poll()

    def add(self, fd: int, shared: bool = False) -> None:
        """Wait for `fd`, too."""
        if LINUX and shared:
            # Old kernels cannot do this. All pollers are woken there.
            with contextlib.suppress(OSError):
                self._poll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
                return
        self._poll.register(fd, select.POLLIN)

    def remove(self, fd: int) -> None:
        """No longer wait for `fd`."""
        self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> list[int]:
        """Return the descriptors that are readable or whose other end is closed; none if `seconds` have passed."""
        patience = seconds if seconds is None or LINUX else math.ceil(seconds * 1000)
        return [fd for fd, _ in self._poll.poll(patience)]


class Bell:
    """Wakes a thread that waits in a Poller."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe()  # `fd` is readable after `ring`
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write, False)

    def ring(self) -> None:
        """Make `fd` readable; never waits."""
        with contextlib.suppress(BlockingIOError):  # the pipe is full, so it rings already
            os.write(self._write, b"\0")

    def clear(self) -> None:
        """Forget that it has rung."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self.fd, 4096)) == 4096:
                pass


def is_hung_up(fd: int) -> bool:
    """Whether nobody is at the other end of an open descriptor."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def start_time(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot, 0 where that is unknown.

    A pid may be reused; the pair of pid and start time is not.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return 0
    # Field 2, the command, is in parentheses and may itself hold spaces and parentheses.
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which must be its parent, ends. Linux only.

    Elsewhere the lifeline that the I/O thread watches does the same, a little later.
    """
    if LINUX:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    if LINUX:
        libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parents end, so that they can be found and ended. Linux only."""
    if LINUX:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wake_on_signals() -> int:
    """Return a descriptor, which does not block, that is readable once a signal has come. The end of a child is one."""
    woken, wakeup = os.pipe()
    for fd in (woken, wakeup):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return woken


def child_pids(pid: int | str = "self") -> list[int]:
    """Return the pids of a process's children, adopted ones included. The list is empty where that is unknown."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                pids.extend(map(int, file.read().split()))  # a thread may have ended meanwhile
    return pids


def knows_children() -> bool:
    """Whether the system tells `child_pids` of children."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def kill(pid: int, started: int) -> bool:
    """Kill the process `pid` if its start time is `started`. Linux only.

    Returns False if that is not allowed.
    """
    fd = -1
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):
        pass  # this Python was built for an older system, as conda's is, or runs on one, or has no descriptor left
    try:
        # The descriptor means one process for good. So the start time is looked at after it was opened.
        if start_time(pid) != started:
            return True
        if fd >= 0:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    except OSError:
        pass
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def is_janitor(pid: int) -> bool:
    """Whether a process frees the shared memory of others once they have ended, and then ends by itself.

    Such are Python's resource tracker, joblib's, and torch's shared memory manager.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read()
    except OSError:
        return False
    return b"resource_tracker import main" in line or os.path.basename(line.split(b"\0")[0]) == b"torch_shm_manager"


def open_fds() -> set[int]:
    """Return the open descriptors of this process."""
    listing = "/proc/self/fd" if LINUX else "/dev/fd"
    fds = {int(name) for name in os.listdir(listing)}
    return {fd for fd in fds if _is_open(fd)}  # the listing's own descriptor is closed by now


def close_fds_except(keep: Iterable[int]) -> None:
    """Close every descriptor above 2 that is not in `keep`."""
    low = 3
    for fd in sorted(set(keep)):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    os.closerange(low, max(open_fds(), default=low) + 1)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def signal_name(number: int) -> str:
    """Return `SIGKILL` for 9. For a number without a name, return the number as text."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
