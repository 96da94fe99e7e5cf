"""The node: one thread, one poll loop, the parent of this host's processes. It never runs user code.

It ends, and everything that it started ends with it, when the server closes its standard input or asks it to, or at
SIGTERM. A server that asks has ended the processes before; otherwise the node asks them to end in order.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import importlib.util
import logging
import os
import platform
import re
import select
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

import zmq

from . import children, limits, paths, system
from .children import Child, Starter
from .link.channel import Channel
from .nursery import Nursery
from .oom import OOMKills
from .ring import NAMES
from .wire import PROTOCOL_VERSION, Message, encode, failure, unknown

log = logging.getLogger(__name__)

_PATIENCE = 1.5  # seconds for processes to end in order when no server is left to end them

_PACKAGES = ("ipython", "pyzmq", "cloudpickle", "torch", "numpy", "matplotlib")
_INLINE_BACKEND = "module://matplotlib_inline.backend_inline"


@dataclass
class _Spawn:
    """A spawn_request of which some processes have not bound their sockets yet."""

    request: Message
    reply: dict[str, Any]
    children: list[Child]
    waiting: set[str] = field(default_factory=set)


class Node:
    """See the module. `start` is the start-up object of docs/wire.md."""

    def __init__(
        self,
        start: dict[str, Any],
        agent_dir: str,
        log_fd: int,
        make_shell: Callable[[], Any],
        imported_fds: set[int],
    ):
        """Bind the socket.

        `make_shell` makes the Shell that forks run; it is called once, before the first fork. `imported_fds` are the
        descriptors that imported modules have opened so far.
        """
        self._start = start
        self._make_shell = make_shell
        self._shell: Any = None
        self._rehearsed = False
        self._told: set[str] = set()
        self._runtime_dir = start["runtime_dir"]
        self._log_fd = log_fd
        self._nursery = Nursery(imported_fds, paths.folder_of(start.get("script", "")))
        _choose_backend()
        self._starter = Starter(agent_dir, self._runtime_dir, log_fd)
        self._children: dict[str, Child] = {}
        self._spawn: _Spawn | None = None
        self._done = False
        self._ranks_only: list[str] = []  # variables that we have set for the sake of ranks
        self._oom_kills = OOMKills()
        system.adopt_orphans()
        self._deaths = system.wake_on_signals()
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._channel = Channel(os.path.join(self._runtime_dir, start["name"]), bytes.fromhex(start["key"]))
        self._nursery.keep_threads()

    def run(self) -> None:
        """Serve until the end, then leave nothing behind."""
        # Until now it was to die with its guard. From here on it cleans up when the server goes.
        system.outlive_parent()
        poller = zmq.Poller()
        for fd in (self._channel.socket, 0, self._deaths):
            poller.register(fd, zmq.POLLIN)
        watched: set[int] = set()
        shutdown = None
        try:
            while not self._done:
                wanted = {child.report for child in self._unbound()}
                for fd in watched - wanted:
                    poller.unregister(fd)
                for fd in wanted - watched:
                    poller.register(fd, zmq.POLLIN)
                watched = wanted
                events = dict(poller.poll())
                if self._deaths in events:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._deaths, 65536)
                    self._bury()
                if 0 in events and not os.read(0, 65536):
                    log.info("the server is gone")
                    break
                for child in self._unbound():
                    if child.report in events:
                        self._on_report(child)
                while not self._done and (message := self._channel.receive()) is not None:
                    if message.type == "shutdown_request":
                        shutdown = message
                        self._done = True
                    else:
                        self._dispatch(message)
        finally:
            self._end(shutdown)

    def _on_term(self, signum: int, frame: object) -> None:
        self._done = True  # the wake-up descriptor ends the poll

    # Requests.

    def _dispatch(self, message: Message) -> None:
        handlers = {
            "hello": ("hello_reply", self._hello),
            "preload_request": ("preload_reply", self._preload),
            "signal_request": ("signal_reply", self._signal),
        }
        if message.type == "spawn_request":
            self._start_processes(message)
            return
        if message.type not in handlers:
            log.warning("unknown message type %r", message.type)
            if message.type.endswith("_request"):
                self._channel.send(*unknown(message), message.header)
            return
        reply_type, handler = handlers[message.type]
        try:
            reply = {"status": "ok", **handler(message.content)}
        except Exception as err:
            log.exception("%s failed", message.type)
            reply = failure(err)
        self._reply(message, reply_type, reply)

    def _reply(self, request: Message, msg_type: str, content: dict[str, Any]) -> None:
        self._channel.send(msg_type, encode(content), request.header)

    def _hello(self, content: dict[str, Any]) -> dict[str, Any]:
        versions = {name: _version(name) for name in _PACKAGES}
        versions["nccl"] = _nccl_version()
        return {
            "protocol": PROTOCOL_VERSION,
            "pid": os.getpid(),
            "start_time": system.start_time(os.getpid()),
            "python": platform.python_version(),
            "packages": {name: version for name, version in versions.items() if version},
        }

    def _preload(self, content: dict[str, Any]) -> dict[str, Any]:
        with self._mortal():
            return self._import(content)

    @contextlib.contextmanager
    def _mortal(self) -> Iterator[None]:
        """Let SIGTERM, and the guard's end, end the node at once, since imports may take for ever."""
        handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        system.die_with_parent(os.getppid())
        try:
            yield
        finally:
            system.outlive_parent()
            signal.signal(signal.SIGTERM, handler)

    def _import(self, content: dict[str, Any]) -> dict[str, Any]:
        # OpenMP reads this when it is loaded. That is now, not in the rank.
        if "OMP_NUM_THREADS" not in os.environ:
            os.environ["OMP_NUM_THREADS"] = "1"
            self._ranks_only.append("OMP_NUM_THREADS")
        reply = self._nursery.preload([str(name) for name in content.get("modules", [])], str(content.get("app") or ""))
        if reply["fork_safe"]:
            self._prepare_shell()
        return reply

    def _prepare_shell(self) -> None:
        """Make the shell that forks run, unless it is there already, and have it import what it will need."""
        with self._nursery.keeping_fds():
            if self._shell is None:
                self._shell = self._make_shell()
            if not self._rehearsed:
                self._rehearsed = True
                self._shell.rehearse()

    def _signal(self, content: dict[str, Any]) -> dict[str, Any]:
        child = self._children.get(content["name"])
        if child is None:
            return {"sent": False}
        if content["signal"] not in ("SIGINT", "SIGTERM", "SIGKILL"):
            raise ValueError(f"signal {content['signal']!r} is not sent")
        if content["signal"] == "SIGKILL" and self._spawn is not None and child in self._spawn.children:
            # The server has given up the start. It hears nothing more of processes that have not bound their sockets.
            self._fail_spawn("RuntimeError", f"{child.name} was killed while it started")
            return {"sent": False}
        child.signal(content["signal"])
        return {"sent": True}

    # Starting processes.

    def _start_processes(self, request: Message) -> None:
        started: list[Child] = []
        try:
            if self._spawn is not None:
                raise RuntimeError("another spawn_request has not been answered yet")
            reply = self._start_all(request.content, started)
        except Exception as err:
            log.exception("spawn_request failed")
            self._abandon(started)
            self._reply(request, "spawn_reply", {**failure(err), "evalue": limits.explain(err)})
            return
        self._spawn = _Spawn(request, reply, started, {child.name for child in started})
        if not started:
            self._reply(request, "spawn_reply", reply)
            self._spawn = None

    def _start_all(self, content: dict[str, Any], started: list[Child]) -> dict[str, Any]:
        """Start every process, appending each to `started`; return the content of the reply."""
        wanted = content["processes"]
        for process in wanted:
            if process["name"] in self._children:
                raise ValueError(f"there is a process {process['name']} already")
        if short := limits.shortage(len(wanted)):
            raise RuntimeError(short)
        method, reason = content.get("method", "auto"), ""
        obstacle = self._nursery.obstacle()
        if method == "auto":
            method, reason = ("spawn", obstacle) if obstacle else ("fork", "")
        elif method == "fork" and obstacle:
            raise RuntimeError(f"these processes cannot be forked: {obstacle}")
        if method == "fork" and self._shell is None:
            with self._nursery.keeping_fds():
                self._shell = self._make_shell()
        if method == "fork":
            # What is here now stays for good. The garbage collector would only write to pages that forks share.
            gc.collect()
            gc.freeze()
        meet: dict[str, Any] = dict(content.get("rendezvous") or {})
        listener, gate = -1, (-1, -1)
        chosen = {"master_port": 0, "jax_port": 0}
        with contextlib.ExitStack() as stack:
            if any(process["rank"] == 0 for process in wanted):
                store, jax = (stack.enter_context(_reserve_port(meet["address"])) for _ in range(2))
                chosen = {"master_port": store.getsockname()[1], "jax_port": jax.getsockname()[1]}
                meet.update(chosen)
                listener = store.fileno()
                gate = os.pipe()
                for fd in gate:
                    stack.callback(os.close, fd)
            for process in wanted:
                inherited = dict(process.get("surroundings") or {})
                changed = inherited.pop("env", None) or {}
                spec = {
                    "name": process["name"],
                    "key": process["key"],
                    "rank": process["rank"],
                    "app": process.get("app", ""),
                    "verbose": process.get("verbose", False),
                    "free_gpu": process.get("free_gpu", True),
                    "seed": process.get("seed"),
                    "script": self._start.get("script", ""),
                    "host": self._start.get("host", ""),
                    "listener": listener if process["rank"] == 0 else -1,
                    "gate": -1 if process["rank"] is None else gate[process["rank"] == 0],
                    "surroundings": inherited,
                    "extra_path": self._start.get("extra_path", []),
                    "plain": self._start.get("plain", False),
                    "log_level": self._start.get("log_level", "info"),
                }
                env = {name: value for name, value in changed.items() if value is not None}
                if process["rank"] is not None:
                    env = {**_defaults(meet), **_rendezvous(process, meet), **env}
                env.update(process.get("env", {}))
                unset = [name for name, value in changed.items() if value is None]
                unset += process.get("unset", []) + (self._ranks_only if process["rank"] is None else [])
                child = self._starter.start(method, spec, env, unset, self._shell, self._nursery)
                started.append(child)
                self._children[child.name] = child
        return {
            "status": "ok",
            "method": method,
            "reason": reason,
            "notices": self._overridden() if method == "fork" else [],
            **chosen,
            "processes": [{"name": c.name, "pid": c.pid, "start_time": c.start_time} for c in started],
        }

    def _overridden(self) -> list[str]:
        """Return what is new on files of the script's folder that have the names of modules which forks have loaded."""
        news = [text for text in paths.overridden(self._start.get("script", "")) if text not in self._told]
        self._told.update(news)
        return news

    def _unbound(self) -> list[Child]:
        if self._spawn is None:
            return []
        return [child for child in self._spawn.children if child.name in self._spawn.waiting]

    def _on_report(self, child: Child) -> None:
        spawn = self._spawn
        if spawn is None:
            return  # a sibling has failed meanwhile
        report = child.report_line() or {"bound": False, "ename": "RuntimeError", "evalue": "it ended at once"}
        if not report["bound"]:
            self._fail_spawn(report["ename"], f"{child.name} could not start: {report['evalue']}")
            return
        spawn.waiting.discard(child.name)
        if not spawn.waiting:
            self._spawn = None
            self._reply(spawn.request, "spawn_reply", spawn.reply)

    def _fail_spawn(self, ename: str, evalue: str) -> None:
        spawn, self._spawn = self._spawn, None
        self._abandon(spawn.children)
        error = {"status": "error", "ename": ename, "evalue": evalue, "traceback": []}
        self._reply(spawn.request, "spawn_reply", error)

    def _abandon(self, started: list[Child]) -> None:
        """Leave nothing running of a spawn_request that failed; its processes are not reported as `exited`."""
        for child in started:
            if self._children.pop(child.name, None) is None:
                continue  # reaped already: its pid may be anybody's by now
            os.kill(child.pid, signal.SIGKILL)
            self._log_tail(child)
            self._kill_offspring(child)
            os.waitpid(child.pid, 0)
            self._clean_up(child)

    def _log_tail(self, child: Child) -> None:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        for chunk in child.tail():
            log.error("%s had printed: %s", child.name, chunk.data.decode("utf-8", "replace").rstrip())

    # Deaths.

    def _bury(self) -> None:
        """Report every child that has ended, and reap it and adopted orphans."""
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if info is None:
                return
            child = next((child for child in self._children.values() if child.pid == info.si_pid), None)
            if child is None:
                os.waitpid(info.si_pid, 0)  # an adopted orphan
                continue
            if self._spawn is not None and child.name in self._spawn.waiting:
                self._on_report(child)
                if child.name not in self._children:
                    continue  # it never bound its socket, and was abandoned with its siblings
            self._kill_offspring(child)
            killed = info.si_code != os.CLD_EXITED and info.si_status == signal.SIGKILL
            oom = killed and not child.asked and self._oom_kills.killed(child.pid, child.since)
            os.waitpid(child.pid, 0)
            del self._children[child.name]
            self._report_exit(child, info, oom)
            self._clean_up(child)

    def _report_exit(self, child: Child, info: Any, oom: bool) -> None:
        signalled = info.si_code != os.CLD_EXITED
        chunks = child.tail()
        content = {
            "name": child.name,
            "pid": child.pid,
            "start_time": child.start_time,
            "code": None if signalled else info.si_status,
            "signal": child.killed_by(info.si_status) if signalled else None,
            "asked": bool(child.asked),
            "oom": oom,
            "tail": [{"name": NAMES[chunk.tag], "seq": chunk.seq, "size": len(chunk.data)} for chunk in chunks],
        }
        self._channel.send("exited", encode(content), buffers=[b"".join(chunk.data for chunk in chunks)])

    def _kill_offspring(self, child: Child | None) -> None:
        known = {child.pid for child in self._children.values()}
        children.kill_offspring(child, self._runtime_dir, known if child is None else known | {child.pid})

    def _end_in_order(self) -> None:
        """Give processes a moment to end by themselves."""
        starting = {child.name for child in self._unbound()}
        going = [child for child in self._children.values() if child.name not in starting]
        for child in going:
            child.ask()
        due = time.monotonic() + _PATIENCE
        while going := [child for child in going if not child.ended()]:
            left = due - time.monotonic()
            if left <= 0 or not select.select([self._deaths], [], [], left)[0]:
                log.warning("killing %s: no end in time", ", ".join(child.name for child in going))
                return
            os.read(self._deaths, 65536)

    def _clean_up(self, child: Child) -> None:
        child.close()
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._runtime_dir, child.name))

    def _end(self, shutdown: Message | None) -> None:
        """End everything and reply to `shutdown`. Remove the sockets or, without a server, the whole directory."""
        if shutdown is None:
            self._end_in_order()
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)
        for child in self._children.values():
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
                self._kill_offspring(child)
                os.waitpid(child.pid, 0)
            self._clean_up(child)
        self._children.clear()
        self._kill_offspring(None)
        if shutdown is not None:
            self._reply(shutdown, "shutdown_reply", {"status": "ok"})
        self._channel.close()
        if shutdown is None:
            shutil.rmtree(self._runtime_dir, ignore_errors=True)


def _choose_backend() -> None:
    """Have plots shown as displays, unless the user has chosen a backend. matplotlib reads this as it is imported."""
    if importlib.util.find_spec("matplotlib_inline") is not None:
        os.environ.setdefault("MPLBACKEND", _INLINE_BACKEND)


def _defaults(meet: dict[str, Any]) -> dict[str, str]:
    """Return the variables that a rank gets unless the user has set them."""
    values = {"OMP_NUM_THREADS": "1"}
    if meet["address"].startswith("127."):  # the ranks are all on this host
        values["GLOO_SOCKET_IFNAME"] = "lo" if system.LINUX else "lo0"
    return {name: value for name, value in values.items() if name not in os.environ}


def _rendezvous(process: dict[str, Any], meet: dict[str, Any]) -> dict[str, str]:
    """Return the variables by which ranks find each other."""
    return {
        "MASTER_ADDR": meet["address"],
        "MASTER_PORT": str(meet["master_port"]),
        "JAX_COORDINATOR_ADDRESS": f"{meet['address']}:{meet['jax_port']}",
        "JAX_PROCESS_ID": str(process["rank"]),
        "JAX_NUM_PROCESSES": str(meet["ranks"]),
    }


def _reserve_port(address: str) -> socket.socket:
    """Return a socket bound to a free port of an address of this host.

    It does not listen. A rank that connects too early is then refused, and tries again; otherwise it would wait in a
    queue that nobody empties. SO_REUSEADDR lets rank 0 bind the port again.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((address, 0))
    return reserved


def _nccl_version() -> str:
    """Return the version of the NCCL that torch requires as a package, "" if it brings its own or has none."""
    try:
        required = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = next((match for text in required if (match := re.match(r"nvidia-nccl-cu\d+", text))), None)
    return _version(found[0]) if found else ""


def _version(distribution: str) -> str:
    """Return the version of an installed distribution without importing it, "" if it is not there."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    # A system's package may have no metadata. Debian's torch has none.
    spec = importlib.util.find_spec(distribution) if distribution.isidentifier() else None
    if spec is None or spec.origin is None:
        return ""
    try:
        with open(os.path.join(os.path.dirname(spec.origin), "version.py"), encoding="utf-8") as file:
            match = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", file.read(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else "unknown"
