"""The guard of a node on another host: it starts the node, and ends whatever is left of it, however the rest ends.

It does there what ranks/host/guard.go does on the machine of the server. Its standard input is a socket on which the
session speaks to it, by way of the relay. When that ends, the session is gone: then the node ends in order, or is
ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

from .. import system
from . import leftovers, places, rpc
from .leftovers import JANITOR_PATIENCE, KILL_PATIENCE, Running, SharedMemory

_NODE_PATIENCE = 2.2  # seconds for a node to end everything in order when the session is gone
_SILENCE = 1.0  # seconds for a node to end that has closed its ready pipe without a word
_READY_FD = 3  # a node's, see docs/wire.md
_READ = 1 << 16
_MAX_READY = 1 << 16
_LAST_WORDS = 1.0  # seconds for the relay to read how the node ended


class Supervisor:
    """See the module. It has one thread and serves one node."""

    def __init__(self, agent_dir: str, scratch: str = ""):
        """`scratch` is a folder of the relay's, which removes it; "": there is none."""
        self._agent_dir = agent_dir
        self._scratch = scratch
        self._relay = os.getppid()
        self._stream = rpc.Stream()
        self._shared = SharedMemory()
        self._selector = selectors.DefaultSelector()
        self._deaths = system.wake_on_signals()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGCONT, lambda *_: self._resume())
        system.adopt_orphans()
        self._selector.register(self._stream.fd, selectors.EVENT_READ)
        self._selector.register(self._deaths, selectors.EVENT_READ)

        self._directory: places.Directory | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._exit: int | None = None  # as waitstatus_to_exitcode has it
        self._lifeline = self._output = self._ready = -1
        self._said = b""  # on the ready pipe
        self._starting: rpc.Message | None = None  # the request that is not answered yet
        self._due: float | None = None  # when the node is killed if it has not ended
        self._told = False  # to end everything at once
        self._hung_up = False  # the session has, or is gone
        self._why = self._signalled = ""  # it was not the session

    def run(self) -> None:
        """Serve until the node has ended, or must."""
        listens = True
        while self._exit is None and not self._told:
            if listens:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._stream.push() else 0)
                self._selector.modify(self._stream.fd, events)
            patience = None if self._due is None else max(0.0, self._due - time.monotonic())
            ready = {key.fd: mask for key, mask in self._selector.select(patience)}
            if self._due is not None and time.monotonic() >= self._due:
                self._told = True
            self._reap(0)
            if self._signalled and not self._hung_up:
                self._why = self._signalled
                self._hang_up()
            if self._output in ready:
                self._pass_output()
            if self._ready in ready:
                self._hear()
            if ready.get(self._stream.fd, 0) & selectors.EVENT_READ and not self._serve():
                listens = False
                self._selector.unregister(self._stream.fd)
                self._hang_up()
        self._end()

    def _on_end(self, signum: int, frame: object) -> None:
        # A launcher that ends its job may tell each process of it. The wake-up descriptor ends the wait.
        self._signalled = f"it was told to end by {system.signal_name(signum)}"

    # Requests.

    def _serve(self) -> bool:
        """Serve what has come; return whether more may come."""
        messages = self._stream.receive()
        if messages is None:
            return False
        for message in messages:
            method = message["method"]
            if method == "kill":
                self._told = True
            elif method == "hangup":
                self._why = (message.get("params") or {}).get("why", "")
                self._hang_up()
            elif method == "resume":
                self._resume()
            elif method == "renew":
                self._renew(message)
            elif method == "start":
                self._start(message)
            else:
                self._stream.refuse(message, f"unknown method {method}")
        return True

    def _hang_up(self) -> None:
        """Let the node see that the session is gone. It then ends in order, but gets only so much time for it."""
        if self._node is None:
            self._told = True
        if self._hung_up or self._told:
            return
        self._hung_up = True
        # The node will end its processes, and of an ended process nobody can tell what it shared.
        self._shared.note(self._left)
        os.close(self._lifeline)
        self._lifeline = -1
        self._due = time.monotonic() + _NODE_PATIENCE

    def _resume(self) -> None:
        if self._node is not None and self._exit is None:
            self._node.send_signal(signal.SIGCONT)

    def _renew(self, request: rpc.Message) -> None:
        try:
            if self._directory is not None:
                self._directory.make()
        except OSError as err:
            self._stream.refuse(request, f"make the session's directory: {err}")
        else:
            self._stream.answer(request, {})

    # The start.

    def _start(self, request: rpc.Message) -> None:
        spec = request["params"]
        self._starting = request
        try:
            self._directory = places.Directory()
            folder, instead = _folder(spec["dir"], spec["squatter"])
            self._launch(spec, folder)
            # It is made now that somebody is there who removes it, whatever happens.
            self._directory.make()
            line = {**spec["line"], "runtime_dir": self._directory.path}
            with contextlib.suppress(BrokenPipeError):  # then its exit tells why
                os.write(self._lifeline, json.dumps(line).encode() + b"\n")
        except OSError as err:
            text = err.strerror or str(err)
            where = f"{err.filename}: {text}" if err.filename else text
            self._reply({"failed": {"text": where, "errno": err.errno or 0}})
            self._told = True
            return
        own = os.getpid()
        self._stream.notify(
            "started",
            {
                "session": self._directory.session,
                "directory": self._directory.path,
                "instead": instead,
                "supervisor": {"pid": own, "start": system.start_time(own)},
            },
        )

    def _launch(self, spec: dict[str, Any], folder: str) -> None:
        """Start the node with the descriptors that docs/wire.md lists."""
        command = spec["command"] or [spec["python"] or sys.executable, self._agent_dir]
        environment = dict(entry.split("=", 1) for entry in spec["env"] if "=" in entry)
        lifeline, self._lifeline = os.pipe()
        self._output, output = os.pipe()
        self._ready, ready = os.pipe()
        os.set_blocking(self._output, False)
        parent = os.getpid()
        theirs = (lifeline, output, ready)
        try:
            os.dup2(ready, _READY_FD)
            self._node = subprocess.Popen(
                command,
                stdin=lifeline,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environment,
                pass_fds=(_READY_FD,),
                start_new_session=True,  # it has no terminal
                preexec_fn=lambda: system.die_with_parent(parent),
            )
        except OSError:
            os.close(self._output)
            os.close(self._ready)
            self._output = self._ready = -1
            raise
        finally:
            _reserve(_READY_FD)
            for fd in theirs:
                os.close(fd)
        for fd in (self._output, self._ready):
            self._selector.register(fd, selectors.EVENT_READ)

    def _hear(self) -> None:
        """Read the node's ready line."""
        piece = os.read(self._ready, _READ)
        self._said += piece
        line, end, _ = self._said.partition(b"\n")
        if not end and piece and len(self._said) <= _MAX_READY:
            return
        self._selector.unregister(self._ready)
        os.close(self._ready)
        self._ready = -1
        if end:
            self._pass_output()
            self._reply({"ready": line.decode("utf-8", "replace")})
        else:
            self._due = time.monotonic() + _SILENCE

    def _reply(self, result: dict[str, Any]) -> None:
        if self._starting is not None:
            self._stream.answer(self._starting, result)
            self._starting = None

    def _pass_output(self) -> None:
        while self._output >= 0:
            try:
                text = os.read(self._output, _READ)
            except BlockingIOError:
                return
            if not text:
                self._selector.unregister(self._output)
                os.close(self._output)
                self._output = -1
                continue
            self._stream.notify("printed", {"text": text.decode("utf-8", "replace")})

    # The end.

    def _reap(self, seconds: float) -> None:
        """Wait so long at most for children to end, and reap those that have."""
        if seconds > 0:
            wait = selectors.DefaultSelector()
            wait.register(self._deaths, selectors.EVENT_READ)
            wait.select(seconds)
            wait.close()
        with contextlib.suppress(BlockingIOError):
            os.read(self._deaths, _READ)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if self._node is not None and pid == self._node.pid:
                    self._exit = self._node.returncode = os.waitstatus_to_exitcode(status)

    def _await(self, done: Any, seconds: float) -> bool:
        """Wait until `done()` is true, but not for ever; return whether it is."""
        due = time.monotonic() + seconds
        while not done():
            left = due - time.monotonic()
            if left <= 0:
                return False
            self._reap(left)
        return True

    def _left(self) -> list[Running]:
        return leftovers.below([os.getpid()])

    def _end(self) -> None:
        """Leave nothing behind."""

        def doomed() -> list[Running]:
            left = leftovers.no_janitors(self._left())
            if left:
                self._shared.note(lambda: left)
            return left

        if not leftovers.kill_all(doomed, self._reap):
            leftovers.complain("processes of the session do not end")
        self._await(lambda: self._node is None or self._exit is not None, KILL_PATIENCE)
        self._pass_output()
        if self._directory is not None:
            self._directory.remove()
        self._report()
        # From here on only janitors are left.
        if not self._await(lambda: not self._left(), JANITOR_PATIENCE):
            leftovers.kill_all(self._left, self._reap)
        self._shared.free()
        if self._scratch and os.getppid() != self._relay:
            shutil.rmtree(self._scratch, ignore_errors=True)  # it was killed before it could

    def _report(self) -> None:
        """Tell how the node ended."""
        if self._node is not None:
            code = 1 if self._exit is None else self._exit
            ended = {"signal": system.signal_name(-code)} if code < 0 else {"code": code}
            self._reply({"ended": True})
            self._stream.notify("ended", {**ended, "why": self._why})
        self._stream.flush(_LAST_WORDS)


def _folder(wanted: str, known: int) -> tuple[str, str]:
    """Return the working directory, twice if it is not the wanted one.

    `known` is who its squatter is on the session's machine: the same one if that shares it.
    """
    if not wanted:
        return os.getcwd(), ""
    if os.path.isdir(wanted):
        other = places.squatter(wanted)
        if other not in (-1, known):  # its modules would be imported
            raise OSError(errno.EPERM, f"another user, uid {other}, has made it, where anybody could", wanted)
        return wanted, ""
    home = os.path.expanduser("~")
    instead = home if os.path.isdir(home) else "/"
    return instead, instead


def _reserve(fd: int) -> None:
    """Let a descriptor lead nowhere, so that it is used for nothing else."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != fd:
        os.dup2(null, fd, inheritable=False)
        os.close(null)


def main(agent_dir: str) -> int:
    """Be the supervisor of a node. Returns the exit status."""
    _reserve(_READY_FD)
    Supervisor(agent_dir, *sys.argv[2:]).run()
    return 0
