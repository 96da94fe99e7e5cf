"""Carries variables to this host, or from it: one transfer, then the process ends and frees what it keeps.

The first line of standard input is the relay's: what proves who this host is. The next one says what is wanted, and the
other end is Go, ranks/host/afar/carry.go and chain.go:

    {"keep": [size, …]}   then come the bytes; the answer says where processes of this host can map them, until the
                          input ends: {"files": [{"path", "inode", "size"}], "sha256"}
    {"fetch": [file, …]}  the answer is {}, then come the bytes of the files, then {"sha256"}

Instead of an answer there may be {"error": "…"}. While bytes come, {"has": count} says how many there are.

With "chained": true the bytes pass through several hosts, from each straight to the next (hop.py):

    {…, "before": {"address", "ports", "peer", "token"}}  the host before this one comes there with the bytes; null:
                                                          they come from the session
    {"port": 40123}                                       is the answer; 0: it cannot listen, or need not
    {"next": {"address", "port", "peer", "token"}}        is the second line: where the next one waits; null: none does

{"lost": "why", "has": count} tells that no more comes from the host before; the session then sends the rest.
{"unreached": "why"} is about the next host, which has got nothing; {"refused": "who and why"} about somebody else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import re
import socket
import stat
import threading
import time
from typing import Any

from . import hop
from .identity import Identity

_STRIDE = 1 << 20  # bytes at a time
_MARGIN = 0.1  # the part of the free memory that is left to others
_NEWS = 0.3  # seconds between two words on how much there is


def main(agent_dir: str) -> int:
    """Serve one transfer. Returns the exit status."""
    with socket.socket(fileno=0) as sock:
        lines = sock.makefile("rb", buffering=0)
        identity = Identity(**json.loads(lines.readline()))
        request = json.loads(lines.readline())
        session = _Session(sock)
        try:
            if "keep" in request:
                _Keeping(session, identity, request).run(lines)
            else:
                _fetch(session, request["fetch"])
        except (OSError, ValueError, MemoryError) as err:
            session.fail(err)
        os._exit(0)  # threads that wait for other hosts must not hold it


class _Session:
    """The other end of standard input. Any thread may speak."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self._speaking = threading.Lock()

    def say(self, **what: Any) -> None:
        with self._speaking:
            self.sock.sendall(json.dumps(what).encode() + b"\n")

    def fail(self, err: BaseException) -> None:
        with contextlib.suppress(OSError):  # perhaps nobody wants to know any more
            self.say(error=str(err) or type(err).__name__)


class _Memory:
    """Files that processes of this host can map. They fill from the first to the last; any thread may read along."""

    def __init__(self, sizes: list[int]):
        """Raises MemoryError if there is no room."""
        self.size = sum(sizes)
        free = _free_memory()
        if free is not None and self.size > free * (1 - _MARGIN):
            raise MemoryError(f"no room for {self.size} bytes: {free} bytes of memory are free")
        self._files: list[tuple[int, int]] = []  # descriptor, size
        for size in sizes:
            fd = os.memfd_create("dipls variables", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(fd, size)
            self._files.append((fd, size))
        self._grown = threading.Condition()
        self.filled = 0

    def add(self, data: memoryview) -> None:
        """Append bytes. One thread at a time may."""
        if len(data) > self.size - self.filled:
            raise ValueError("more has come than was to come")
        done = 0
        while done < len(data):
            fd, at, room = self._find(self.filled + done)
            done += os.pwrite(fd, data[done : done + room], at)
        with self._grown:
            self.filled += done
            self._grown.notify_all()

    def wait(self, at: int, seconds: float) -> int:
        """Wait until there is more than `at`. Returns how much more there is, 0 after so many seconds."""
        with self._grown:
            self._grown.wait_for(lambda: self.filled > at, seconds)
            return self.filled - at

    def read(self, at: int, buffer: memoryview) -> None:
        """Read what is there already."""
        done = 0
        while done < len(buffer):
            fd, start, room = self._find(at + done)
            done += os.preadv(fd, [buffer[done : done + room]], start)

    def seal(self) -> list[dict[str, Any]]:
        """Let nobody change it any more, and tell where it is."""
        files = []
        for fd, size in self._files:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
            files.append({"path": f"/proc/{os.getpid()}/fd/{fd}", "inode": os.fstat(fd).st_ino, "size": size})
        return files

    def _find(self, at: int) -> tuple[int, int, int]:
        """Return the file that has this byte, where it is there, and how many follow in the file, itself included."""
        for fd, size in self._files:
            if at < size:
                return fd, at, size - at
            at -= size
        raise ValueError("beyond the end")


class _Keeping:
    """Memory that fills from the session or from the host before this one, and maybe passes on to the next."""

    def __init__(self, session: _Session, identity: Identity, request: dict[str, Any]):
        self._session = session
        self._identity = identity
        self._chained: bool = request.get("chained", False)
        self._before: dict[str, Any] | None = request.get("before")
        self._memory = _Memory(request["keep"])
        self._next_known = threading.Event()  # whether the next host can be reached
        self._feeding = threading.Lock()  # guards what follows, and adding to the memory
        self._fed = False  # by the session, and by nobody else any more

    def run(self, lines: Any) -> None:
        """Take what comes, and keep it until the session wants it no more. Raises OSError or ValueError."""
        intake = None
        following = None
        if self._chained:
            intake = self._listen()
            following = json.loads(lines.readline())["next"]
        if following:
            threading.Thread(target=self._pass_on, args=(following,), daemon=True).start()
        else:
            self._next_known.set()
        if intake:
            threading.Thread(target=self._take, args=(intake,), daemon=True).start()
        threading.Thread(target=self._check, daemon=True).start()
        buffer = memoryview(bytearray(hop.PIECE))
        while count := self._session.sock.recv_into(buffer):
            with self._feeding:
                self._fed = True
            if intake:
                intake.close()
            self._memory.add(buffer[:count])

    def _listen(self) -> hop.Intake | None:
        intake = None
        if self._before:
            with contextlib.suppress(OSError):
                intake = hop.Intake(self._identity, self._before, lambda who: self._tell(refused=who))
        self._session.say(port=intake.port if intake else 0)
        return intake

    def _tell(self, **what: Any) -> None:
        with contextlib.suppress(OSError):  # perhaps nobody wants to know any more
            self._session.say(**what)

    def _take(self, intake: hop.Intake) -> None:
        """Take what the host before us brings."""
        buffer = memoryview(bytearray(hop.PIECE))
        try:
            with intake.take() as conn:
                while self._memory.filled < self._memory.size:
                    piece = hop.receive(conn, buffer)
                    with self._feeding:
                        if self._fed:
                            return
                        self._memory.add(piece)
        except (OSError, ValueError) as err:
            with self._feeding:
                if not self._fed:
                    self._tell(lost=str(err) or type(err).__name__, has=self._memory.filled)

    def _pass_on(self, following: dict[str, Any]) -> None:
        """Give the next host what there is, as it comes."""
        try:
            conn = hop.dial(self._identity, following)
        except (OSError, ValueError) as err:
            self._tell(unreached=str(err) or type(err).__name__)
            return
        finally:
            self._next_known.set()
        buffer = memoryview(bytearray(hop.PIECE))
        at = 0
        with conn, contextlib.suppress(OSError):  # if it breaks, the next host tells the session what it lacks
            while at < self._memory.size:
                piece = buffer[: self._memory.wait(at, hop.BEAT)]
                self._memory.read(at, piece)
                hop.send(conn, piece)
                at += len(piece)

    def _check(self) -> None:
        """Tell how much there is, and at the end what."""
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(_STRIDE))
        at = told = 0
        due = time.monotonic() + _NEWS
        try:
            while at < self._memory.size:
                piece = buffer[: self._memory.wait(at, _NEWS)]
                self._memory.read(at, piece)
                digest.update(piece)
                at += len(piece)
                if told < at and time.monotonic() >= due:
                    told, due = at, time.monotonic() + _NEWS
                    self._session.say(has=at)
            self._next_known.wait()
            self._session.say(files=self._memory.seal(), sha256=digest.hexdigest())
        except (OSError, ValueError) as err:
            self._session.fail(err)


def _fetch(session: _Session, files: list[dict[str, Any]]) -> None:
    opened = [(_open(file), file["size"]) for file in files]
    session.say()
    digest = hashlib.sha256()
    for fd, size in opened:
        if size:
            with mmap.mmap(fd, size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED) as memory, memoryview(memory) as view:
                for done in range(0, size, _STRIDE):
                    with view[done : done + _STRIDE] as part:
                        digest.update(part)
                        session.sock.sendall(part)
    session.say(sha256=digest.hexdigest())


def _open(file: dict[str, Any]) -> int:
    fd = os.open(file["path"], os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(fd)
    found = (stat.S_ISREG(status.st_mode), status.st_uid, status.st_ino, status.st_size)
    if found != (True, os.geteuid(), file["inode"], file["size"]):
        raise ValueError(f"{file['path']} is not the file that was sent")
    return fd


def _free_memory() -> int | None:
    with open("/proc/meminfo", encoding="ascii") as file:
        found = re.search(r"^MemAvailable: +(\d+) kB", file.read(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
