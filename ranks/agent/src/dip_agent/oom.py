"""Whether the kernel has killed a process for want of memory, told by the control group's count or the kernel's log."""

from __future__ import annotations

import os
import re
import time

_INITIAL_NAMESPACE = "pid:[4026531836]"  # pids in the kernel's log are of this namespace
_DRIFT = 60.0  # seconds by which the log's clock and ours may differ
_LEFT_FOR = 10.0  # seconds in which the processes of one shortage end
_LOG_DELAY = 0.05  # the log's line comes just after the signal


class OOMKills:
    """Watches the count of the node's control group, to which the processes that it starts belong, too."""

    def __init__(self) -> None:
        self._counter = _counter()
        self._seen = self._count()
        self._left = 0  # kills that were counted and not yet ascribed to a process
        self._until = 0.0

    def killed(self, pid: int, since: float) -> bool:
        """Whether a process that SIGKILL has ended was killed for want of memory. It was started at `since`."""
        counted = self._news()
        said = _log_says(pid, since)
        if said is False and counted:
            time.sleep(_LOG_DELAY)
            said = _log_says(pid, since)
        if said is None:
            said = self._left > 0 and time.monotonic() < self._until
        self._left = max(0, self._left - said)
        return said

    def _news(self) -> bool:
        """Take the kills that were counted since the last call."""
        count = self._count()
        fresh, self._seen = count - self._seen, count
        if fresh > 0:
            left = self._left if time.monotonic() < self._until else 0
            self._left, self._until = left + fresh, time.monotonic() + _LEFT_FOR
        return fresh > 0

    def _count(self) -> int:
        if self._counter is None:
            return 0
        try:
            with open(self._counter, encoding="ascii") as file:
                return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
        except (OSError, ValueError):
            return 0


def _counter() -> str | None:
    """Return the file in which this process's control group counts such kills, None if none can be seen."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split() for line in file]
    except (OSError, ValueError):
        return None
    for _, controllers, group in groups:
        found = None
        if "memory" in controllers.split(","):
            found = _mounted(mounts, "cgroup", group, "memory.oom_control")
        elif not controllers:
            # This counts the group alone, without the groups within it. Not every kernel has it.
            local = _mounted(mounts, "cgroup2", group, "memory.events.local")
            found = local or _mounted(mounts, "cgroup2", group, "memory.events")
        if found:
            return found
    return None


def _mounted(mounts: list[list[str]], kind: str, group: str, name: str) -> str | None:
    for fields in mounts:
        root, point, options = fields[3], fields[4], fields[fields.index("-") + 1 :]
        if options[0] != kind or (kind == "cgroup" and "memory" not in options[2].split(",")):
            continue
        below = os.path.relpath(group, root)
        path = os.path.normpath(os.path.join(point, below, name))
        if not below.startswith("..") and os.access(path, os.R_OK):
            return path
    return None


def _log_says(pid: int, since: float) -> bool | None:
    """Whether the kernel's log tells of the kill of a process. None if it cannot be read, or its pids are not ours."""
    try:
        if os.readlink("/proc/self/ns/pid") != _INITIAL_NAMESPACE:
            return None
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    kill = re.compile(rb"Killed process %d\b" % pid)
    try:
        while True:
            try:
                record = os.read(log, 8192)
            except BrokenPipeError:  # the next line has been overwritten
                continue
            if not record:
                return None  # this is no log, as in some containers
            head, _, text = record.partition(b";")
            if kill.search(text) and int(head.split(b",")[2]) / 1e6 > since - _DRIFT:
                return True
    except BlockingIOError:
        return False
    except (OSError, ValueError, IndexError):
        return None
    finally:
        os.close(log)
