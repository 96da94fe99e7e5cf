"""What a run was measured on, and with."""

import datetime
import os
import platform
import subprocess
import time
from pathlib import Path


def load():
    """How many processors are busy: over a second where that is known, since the usual average remembers minutes."""

    def ticks():
        with open("/proc/stat") as stat:
            user, nice, system, idle, waiting, *others = map(int, stat.readline().split()[1:])
        return user + nice + system + sum(others[:3]), idle + waiting

    try:
        busy, idle = ticks()
        time.sleep(1)
        then_busy, then_idle = ticks()
    except OSError:
        return os.getloadavg()[0]
    return os.cpu_count() * (then_busy - busy) / max(1, then_busy - busy + then_idle - idle)


def describe(python):
    """Machine and versions, without names of hosts or paths. Load says whether the machine was quiet."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": f"{platform.system()} {platform.release()}",
        "load": round(load(), 1),
        "versions": {
            "dipls": output("git", "describe", "--always", "--dirty"),
            "go": output("go", "env", "GOVERSION"),
            **_python_versions(python),
        },
    }


def _cpu():
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.partition(":")[2].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _python_versions(python):
    code = """
import platform
import time
from importlib import metadata
print("python", platform.python_version())
for name in ("torch", "numpy", "ipython", "pyzmq"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        pass
"""
    return dict(line.split(" ", 1) for line in output(python, "-c", code).splitlines())


def output(*command):
    """What a command prints; "unknown" if it cannot."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
