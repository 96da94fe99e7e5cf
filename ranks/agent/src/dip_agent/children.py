"""The processes of a node: how they start, and how what they leave is cleaned up."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from typing import Any

from . import crash, paths, ring, system
from .nursery import Nursery
from .rank import main as rank_main
from .ring import STDERR, STDOUT, Chunk, Ring
from .spec import Spec

log = logging.getLogger(__name__)

_PIPE_SIZE = 1 << 20  # on Linux; the larger the pipe, the less often a flood of output wakes the I/O thread
_F_SETPIPE_SZ = 1031
_READ = 1 << 20


@dataclass
class Child:
    """A started process, as its node knows it. The descriptors are the node's ends."""

    name: str
    pid: int
    start_time: int
    ring: int
    crash: int
    stdout: int
    stderr: int
    lifeline: int
    report: int
    asked: str = ""  # the last signal that we sent
    since: float = field(default_factory=time.monotonic)

    def report_line(self) -> dict[str, Any] | None:
        """Return what the process reported about its socket, None if it ended before it could."""
        try:
            line = os.read(self.report, 65536)
            return json.loads(line) if line else None
        except (OSError, ValueError):
            return None

    def signal(self, name: str) -> None:
        """Send a signal by name: SIGTERM to the process group, any other to the process."""
        self.asked = name
        number = signal.Signals[name]
        if number == signal.SIGTERM:
            os.killpg(self.pid, number)
        else:
            # After a SIGKILL, `kill_offspring` ends what is left of the group.
            os.kill(self.pid, number)

    def ask(self) -> None:
        """Ask the process to end in order, since no server is left to do so."""
        with contextlib.suppress(OSError):  # it has ended
            os.write(self.lifeline, b"\n")

    def ended(self) -> bool:
        """Whether the process has ended. It must not have been reaped."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def killed_by(self, number: int) -> str:
        """Return the name of the signal that killed the process. `number` is what the system says."""
        return crash.first_signal(self.crash) or system.signal_name(number)

    def tail(self) -> list[Chunk]:
        """Return the output that the server never acknowledged, and the stacks of a crash. The process must be dead."""
        memory = Ring(self.ring)
        chunks, seq = memory.tail()
        memory.close()
        for tag, fd in ((STDOUT, self.stdout), (STDERR, self.stderr)):
            while data := _read_ready(fd):
                seq += len(data)
                chunks.append(Chunk(tag, seq, data))
        if stacks := crash.read(self.crash).encode():
            chunks.append(Chunk(STDERR, seq + len(stacks), stacks))
        return chunks

    def close(self) -> None:
        """Close the node's descriptors."""
        for fd in (self.ring, self.crash, self.stdout, self.stderr, self.lifeline, self.report):
            os.close(fd)


class Starter:
    """Starts processes for a node, by fork or spawn."""

    def __init__(self, agent_dir: str, runtime_dir: str, log_fd: int):
        self._agent_dir = agent_dir
        self._runtime_dir = runtime_dir
        self._log_fd = log_fd

    def start(
        self, method: str, spec: dict[str, Any], env: dict[str, str], unset: list[str], shell: Any, nursery: Nursery
    ) -> Child:
        """Start one process and return it. It reports by itself when its socket is bound.

        `spec` holds the fields of Spec that are not made here. `env` and `unset` change the node's environment for the
        process. A fork runs `shell`, and starts with what `nursery` has imported. Raises OSError.
        """
        name = _memory(self._runtime_dir, spec["name"])
        memory = ring.create(name, self._runtime_dir)
        stacks = ring.nameless(f"{name}:crash", self._runtime_dir)
        out_read, out_write = _pipe()
        err_read, err_write = _pipe()
        lifeline_read, lifeline_write = os.pipe()
        report_read, report_write = os.pipe()
        theirs = [out_write, err_write, lifeline_read, report_write]
        full = Spec(
            path=os.path.join(self._runtime_dir, spec["name"]),
            node=os.getpid(),
            ring=memory,
            crash=stacks,
            stdout=(out_read, out_write),
            stderr=(err_read, err_write),
            lifeline=lifeline_read,
            report=report_write,
            log=self._log_fd,
            **spec,
        )
        env = {**env, system.MARK: mark(self._runtime_dir, full.name)}
        try:
            pid = _fork(full, env, unset, shell, nursery) if method == "fork" else self._spawn(full, env, unset)
        except OSError:
            for fd in (memory, stacks, out_read, err_read, lifeline_write, report_read):
                os.close(fd)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        start_time = system.start_time(pid)
        return Child(full.name, pid, start_time, memory, stacks, out_read, err_read, lifeline_write, report_read)

    def _spawn(self, spec: Spec, env: dict[str, str], unset: list[str]) -> int:
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment.update(env)
        read, write = os.pipe()
        try:
            # The pipe holds far more than this, so the write cannot block.
            os.write(write, spec.to_json().encode())
            for fd in spec.fds():
                os.set_inheritable(fd, True)
            return os.posix_spawn(
                sys.executable,
                [sys.executable, self._agent_dir, "child"],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read, 0),
                    (os.POSIX_SPAWN_DUP2, spec.stdout[1], 1),
                    (os.POSIX_SPAWN_DUP2, spec.stderr[1], 2),
                ],
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGCHLD, signal.SIGINT, signal.SIGTERM],
            )
        finally:
            for fd in spec.fds():
                os.set_inheritable(fd, False)
            os.close(read)
            os.close(write)


def become(spec: Spec) -> None:
    """Prepare a spawned process, or a fork in a process group of its own, for `rank.main`."""
    system.die_with_parent(spec.node)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def mark(runtime_dir: str, name: str) -> str:
    """Return the value of system.MARK for a process. It is unique among all sessions of the user."""
    return f"{os.path.basename(runtime_dir)}/{name}"


def _memory(runtime_dir: str, name: str) -> str:
    """Return the name of a process's ring. Whatever maps a ring of that name is a fork of the process."""
    return f"dipls:{os.path.basename(runtime_dir)}:{name}"


def kill_offspring(child: Child | None, runtime_dir: str, known: set[int]) -> None:
    """Kill the processes that a dead one has left, or that any has left if `child` is None.

    `child` must not have been reaped. Processes that free the shared memory of the dead are spared: they do so now, and
    then end by themselves.
    """
    if child is not None and not system.knows_children():
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
            pass
        return
    doomed: dict[int, int] = {}  # pid → start time
    spared = set(known)  # processes that belong to somebody else
    while True:
        # The orphans are our children: their pids are theirs until we reap them.
        orphans = [pid for pid in system.child_pids() if pid not in spared]
        for pid in orphans:
            if child is None or pid in doomed or _descends(pid, child, runtime_dir):
                _doom(pid, doomed)
        dying = [pid for pid in orphans if pid in doomed and not system.is_janitor(pid)]
        if not dying:
            return
        for pid, started in doomed.items():
            if not system.is_janitor(pid) and not system.kill(pid, started):
                spared.add(pid)
        for pid in dying:
            if pid not in spared:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _doom(pid: int, doomed: dict[int, int]) -> None:
    """Add a process and all that descends from it to `doomed`."""
    if pid not in doomed:
        doomed[pid] = system.start_time(pid)
        for offspring in system.child_pids(pid):
            _doom(offspring, doomed)


def _descends(pid: int, child: Child, runtime_dir: str) -> bool:
    """Whether an orphan descends from a dead process.

    It may still be in that process's group. If it was started as a program, its environment has the mark. If it is a
    plain fork, it maps the ring.
    """
    with contextlib.suppress(OSError):
        if os.getpgid(pid) == child.pid:
            return True
    wanted = {
        "environ": f"{system.MARK}={mark(runtime_dir, child.name)}\0".encode(),
        "maps": f"{_memory(runtime_dir, child.name)} ".encode(),
    }
    for file, text in wanted.items():
        with contextlib.suppress(OSError):
            if text in _read(f"/proc/{pid}/{file}"):
                return True
    return False


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _fork(spec: Spec, env: dict[str, str], unset: list[str], shell: Any, nursery: Nursery) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 warns because of ZeroMQ's threads. They hold no lock of Python's, and the child does not use them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        try:
            os.setpgid(pid, pid)  # parent and child both do it, since either may run first
        except OSError:
            pass
        return pid
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(spec.stdout[1], 1)
        os.dup2(spec.stderr[1], 2)
        # The child must not keep the other processes' pipes open: their end of file tells of a death.
        system.close_fds_except(nursery.fds | set(spec.fds()))
        for name in unset:
            os.environ.pop(name, None)
        os.environ.update(env)
        become(spec)
        paths.show(spec.script)
        code = rank_main(spec, shell, nursery.generators)
    except BaseException:
        log.critical("%s failed", spec.name, exc_info=True)
        code = 1
    finally:
        os._exit(code)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    if system.LINUX:
        import fcntl

        try:
            fcntl.fcntl(write, _F_SETPIPE_SZ, _PIPE_SIZE)
        except OSError:
            pass
    return read, write


def _read_ready(fd: int) -> bytes:
    try:
        return os.read(fd, _READ)
    except BlockingIOError:
        return b""
