"""Answers what only the machine itself can tell: its files in /proc, its programs, addresses, routes to other hosts.

What that means is for the session to say (ranks/host/machine.go). Each request has a thread of its own: some of them
take seconds, and one that looks at a process that hangs in the kernel may never end.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from .. import system
from . import environment, leftovers, rpc

_THREADS = 64
_FILE = re.compile(r"[1-9]\d*/[a-z_]+(/\d+(/[a-z]+)?)?")  # PID/stat, PID/task, PID/task/PID/stat, PID/fd/N
_REACH_PATIENCE = 2.0
_POLL = 0.01
_SLOWEST_READER = 3600.0  # seconds

# Of rtnetlink(7).
_RTM_GETADDR, _RTM_NEWADDR, _NLMSG_DONE = 22, 20, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_IFA_ADDRESS, _IFA_LOCAL = 1, 2


def hello_facts(launcher: dict[str, str]) -> dict[str, Any]:
    """Return what a host says of itself when it joins. `launcher` are rank variables that the environment had."""
    return {**_identity(), "launcher": {**environment.of_task(), **launcher}}


def _identity() -> dict[str, Any]:
    return {
        "name": socket.gethostname(),
        "system": platform.system(),
        "machine": platform.machine(),
        "python": sys.executable,
        "version": platform.python_version(),
        "pid": os.getpid(),
        "dir": os.getcwd(),
    }


def _facts(params: dict[str, Any]) -> dict[str, Any]:
    return {
        **_identity(),
        "pid": os.getppid(),  # the relay's, as when it joined
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "environ": environment.of_ranks(),
        "addresses": [{"interface": name, "ip": ip} for name, ip in addresses()],
        "time": time.time_ns(),
        "clock": time.monotonic_ns(),
    }


# Processes.


def _files(params: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [_file(name) for name in params["names"]]}


def _file(name: str) -> str | None:
    if not _FILE.fullmatch(name):
        raise ValueError(f"{name!r} is no file of a process")
    path = f"/proc/{name}"
    with contextlib.suppress(OSError):
        if "/fd/" in name:
            return os.readlink(path)
        if name.endswith("/task"):
            return " ".join(os.listdir(path))
        with open(path, "rb") as file:
            return os.fsdecode(file.read())
    return None


def _kill(params: dict[str, Any]) -> dict[str, Any]:
    pid, started, due = params["pid"], params["start"], time.monotonic() + params["seconds"]
    if pid <= 1 or not started:
        return {"gone": True}  # never known
    while True:
        if not system.kill(pid, started):
            return {"gone": False}
        if _ended(params)["ended"]:
            return {"gone": True}
        if time.monotonic() > due:
            return {"gone": False}
        time.sleep(_POLL)  # no event tells of the end of a process that is not our child


def _ended(params: dict[str, Any]) -> dict[str, Any]:
    found = leftovers.look_at(params["pid"])
    return {"ended": found is None or found.started != params["start"] or found.ended}


def _run(params: dict[str, Any]) -> dict[str, Any]:
    """Run the first program that is there, without a terminal."""
    path = next(filter(None, map(shutil.which, params["programs"])), None)
    if path is None:
        return {"missing": True}
    try:
        done = subprocess.run(
            [path, *params["args"]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=params["seconds"],
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        return {"late": True}
    status = ""
    if done.returncode < 0:
        status = f"signal: {system.signal_name(-done.returncode)}"
    elif done.returncode:
        status = f"exit status {done.returncode}"
    return {"out": os.fsdecode(done.stdout), "err": os.fsdecode(done.stderr), "status": status}


# The network.


def addresses() -> list[tuple[str, str]]:
    """Return the interfaces' names and addresses by which other hosts may reach this one; IPv4 comes first."""
    found = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.bind((0, 0))
        kernel.send(struct.pack("=LHHLLBxxx", 20, _RTM_GETADDR, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0, socket.AF_UNSPEC))
        while (piece := kernel.recv(1 << 16)) and _parse_addresses(piece, found):
            pass
    outside = [(name, ip) for name, ip in found if not ip.startswith(("127.", "fe80:")) and ip != "::1"]
    return sorted(outside, key=lambda one: ":" in one[1])


def _parse_addresses(piece: bytes, found: list[tuple[str, str]]) -> bool:
    """Add the addresses in a piece of the kernel's answer to `found`; return whether there is more."""
    at = 0
    while at < len(piece):
        size, kind = struct.unpack_from("=LH", piece, at)
        if kind != _RTM_NEWADDR:
            return kind != _NLMSG_DONE and size > 0
        family, index = piece[at + 16], struct.unpack_from("=L", piece, at + 20)[0]
        values: dict[int, bytes] = {}
        inner = at + 24
        while inner < at + size:
            length, name = struct.unpack_from("=HH", piece, inner)
            values[name] = piece[inner + 4 : inner + length]
            inner += (length + 3) & ~3
        raw = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)  # of a tunnel the second is the other end's
        with contextlib.suppress(OSError, ValueError):
            if raw and family in (socket.AF_INET, socket.AF_INET6):
                found.append((socket.if_indextoname(index), socket.inet_ntop(family, raw)))
        at += (size + 3) & ~3
    return True


class Offers:
    """Sockets that listen for a while, so that other hosts can try which addresses lead here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[socket.socket]] = {}

    def offer(self, params: dict[str, Any]) -> dict[str, Any]:
        """Listen on each address. Who connects gets a word by which it knows that this is the right host."""
        word = secrets.token_hex(8)
        listening = []
        for _, ip in addresses():
            with contextlib.suppress(OSError):
                one = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
                one.bind((ip, 0))
                one.listen(128)
                listening.append(one)
        with self._lock:
            self._open[word] = listening
        threading.Thread(target=self._greet, args=(listening, word), daemon=True).start()
        return {"word": word, "at": [_spell(*one.getsockname()[:2]) for one in listening]}

    def _greet(self, listening: list[socket.socket], word: str) -> None:
        with contextlib.ExitStack() as stack:
            for one in listening:
                stack.enter_context(one)
            while listening:
                readable, _, _ = select.select(listening, [], [])
                with self._lock:
                    if word not in self._open:
                        return
                for one in readable:
                    with contextlib.suppress(OSError), one.accept()[0] as peer:
                        peer.send(word.encode())

    def withdraw(self, params: dict[str, Any]) -> dict[str, Any]:
        """Listen no more."""
        with self._lock:
            for one in self._open.pop(params["word"], []):
                # A socket at which a thread waits goes on listening after its end. This ends both.
                one.shutdown(socket.SHUT_RDWR)
        return {}


def _reach(params: dict[str, Any]) -> dict[str, Any]:
    """Try all addresses that another host offers; return those that lead there, and by which interface."""
    names = {ip: name for name, ip in addresses()}
    with ThreadPoolExecutor(max(1, len(params["at"]))) as pool:
        sources = list(pool.map(lambda at: _try(at, params["word"].encode()), params["at"]))
    routes = [{"to": at, "from": ip, "interface": names.get(ip, "")} for at, ip in zip(params["at"], sources) if ip]
    return {"routes": routes}


def _try(at: str, word: bytes) -> str:
    """Return our own address of a connection to `at`, "" if the host with the word is not there."""
    host, _, port = at.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_PATIENCE) as talk:
            heard = b""
            while len(heard) < len(word) and (piece := talk.recv(64)):
                heard += piece
            return talk.getsockname()[0] if heard == word else ""
    except OSError:
        return ""


def _spell(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def main(agent_dir: str) -> int:
    """Answer requests until the relay ends the conversation. Returns the exit status."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    offers = Offers()
    methods: dict[str, Callable[[dict[str, Any]], Any]] = {
        "facts": _facts,
        "files": _files,
        "kill": _kill,
        "ended": _ended,
        "run": _run,
        "offer": offers.offer,
        "withdraw": offers.withdraw,
        "reach": _reach,
    }
    stream = rpc.Stream()

    def serve(message: rpc.Message) -> None:
        try:
            result = methods[message["method"]](message.get("params") or {})
        except Exception as err:
            stream.refuse(message, f"{type(err).__name__}: {err}")
        else:
            stream.answer(message, result)
        stream.flush(_SLOWEST_READER)

    pool = ThreadPoolExecutor(_THREADS)
    while True:
        select.select([stream.fd], [], [])
        messages = stream.receive()
        if messages is None:
            os._exit(0)  # threads that hang must not hold it
        for message in messages:
            pool.submit(serve, message)
