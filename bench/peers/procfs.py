"""What Linux tells of processes and memory."""

import contextlib
import os


def sum_pss(pids):
    """The proportional share of memory of processes, in MB: a page that N processes share counts an Nth for each."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total * 1024 / 1e6


def cpu_seconds(pids):
    """The processor time of processes, of all their threads, in seconds. What has ended meanwhile is left out."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/schedstat") as schedstat:
                    total += int(schedstat.read().split()[0])
    return total / 1e9


def available_memory():
    """How much memory can still be had, in bytes; unknown is plenty."""
    with contextlib.suppress(OSError), open("/proc/meminfo") as info:
        return next(int(line.split()[1]) * 1024 for line in info if line.startswith("MemAvailable:"))
    return 1 << 62


def descendants(root):
    """The processes below one. Empty where there is no /proc."""
    parents = {}
    with contextlib.suppress(FileNotFoundError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as stat:
                parents[int(name)] = int(stat.read().rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}
