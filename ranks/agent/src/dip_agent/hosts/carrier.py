"""Carries variables to this host, or from it: one transfer, then the process ends and frees what it keeps.

The first line of standard input says what is wanted, and the other end is Go, ranks/host/afar/carry.go:

    {"keep": [size, …]}   then come the bytes; the answer says where processes of this host can map them, until the
                          input ends: {"files": [{"path", "inode", "size"}], "sha256"}
    {"fetch": [file, …]}  the answer is {}, then come the bytes of the files, then {"sha256"}

Instead of an answer there may be {"error": "…"}.
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
from typing import Any

_STRIDE = 1 << 20  # bytes at a time
_MARGIN = 0.1  # the part of the free memory that is left to others


def main(agent_dir: str) -> int:
    """Serve one transfer. Returns the exit status."""
    with socket.socket(fileno=0) as sock:
        lines = sock.makefile("rb", buffering=0)
        request = json.loads(lines.readline())
        kept: list[int] = []
        try:
            if "keep" in request:
                _say(sock, _keep(sock, request["keep"], kept))
            else:
                _fetch(sock, request["fetch"])
        except (OSError, ValueError, MemoryError) as err:
            with contextlib.suppress(OSError):  # perhaps nobody wants it any more
                _say(sock, {"error": str(err) or type(err).__name__})
            return 0
        with contextlib.suppress(OSError):
            while sock.recv(_STRIDE):  # until what is kept is wanted no more
                pass
    return 0


def _say(sock: socket.socket, answer: dict[str, Any]) -> None:
    sock.sendall(json.dumps(answer).encode() + b"\n")


def _keep(sock: socket.socket, sizes: list[int], kept: list[int]) -> dict[str, Any]:
    free = _free_memory()
    if free is not None and sum(sizes) > free * (1 - _MARGIN):
        raise MemoryError(f"no room for {sum(sizes)} bytes: {free} bytes of memory are free")
    digest = hashlib.sha256()
    files = []
    for size in sizes:
        fd = os.memfd_create("dipls variables", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        kept.append(fd)
        if size:
            os.ftruncate(fd, size)
            with mmap.mmap(fd, size) as memory, memoryview(memory) as view:
                _fill(sock, view, digest)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        files.append({"path": f"/proc/{os.getpid()}/fd/{fd}", "inode": os.fstat(fd).st_ino, "size": size})
    return {"files": files, "sha256": digest.hexdigest()}


def _fill(sock: socket.socket, view: memoryview, digest: Any) -> None:
    done = 0
    while done < len(view):
        with view[done : done + _STRIDE] as part:
            count = sock.recv_into(part)
            if not count:
                raise ValueError("not all of it has come")
            digest.update(part[:count])
        done += count


def _fetch(sock: socket.socket, files: list[dict[str, Any]]) -> None:
    opened = [(_open(file), file["size"]) for file in files]
    _say(sock, {})
    digest = hashlib.sha256()
    for fd, size in opened:
        if size:
            with mmap.mmap(fd, size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED) as memory, memoryview(memory) as view:
                for done in range(0, size, _STRIDE):
                    with view[done : done + _STRIDE] as part:
                        digest.update(part)
                        sock.sendall(part)
    _say(sock, {"sha256": digest.hexdigest()})


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
