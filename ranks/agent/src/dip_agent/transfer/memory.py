"""Bytes that other processes of this host can map, and mappings of theirs.

A file here is anonymous memory (a sealed memfd) or, where memory is short or the system has none, a file on disk that
only its owner can read. See docs/wire.md, "Payload".
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import mmap
import os
import pickle
import re
import secrets
import stat
import tempfile
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

SEPARATE = 1 << 20  # bytes; a larger piece gets its own file, so that its memory is freed as soon as it is unused
MOST_SEPARATE = 64  # pieces of one payload that may have their own files
ALIGNMENT = 64  # bytes, as vector instructions and torch's own allocator want it
STRIDE = 4 << 20  # bytes to write in one call: they stay in a cache, and an interrupt is seen between calls
UNNOTICED = 1 << 20  # bytes that may be sent without looking at how much memory is free
MARGIN = 0.1  # the part of the free memory or disk that is left to others

_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_WRITE", "F_SEAL_SEAL")
_MAP_FAILED = ctypes.c_void_p(-1).value
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_PROT_NONE = 0
_MADV_COLLAPSE = 25  # since Linux 6.1

_directory = ""  # for files that other processes can reach only by name
_host = ""  # the name of this host


class NoRoomError(Exception):
    """Neither memory nor disk has room."""


class Piece(NamedTuple):
    """Bytes that stay together, in any number of chunks."""

    chunks: Sequence[Any]  # bytes-like, with one dimension and items of one byte
    size: int

    @classmethod
    def of(cls, *chunks: Any) -> Piece:
        return cls(chunks, sum(len(chunk) for chunk in chunks))


class _Descriptors(list):
    """Open files, which are closed at the latest when this list is freed."""

    def close(self) -> None:
        # No bytecode lies between taking a number out and closing it, so that none is closed twice.
        deque(map(os.close, map(self.pop, [-1] * len(self))), maxlen=0)

    def __del__(self) -> None:
        self.close()


class Shared:
    """Pieces that other processes can map until `close`.

    `files` and `places` ([file, offset, size] for each piece) are as in docs/wire.md. `notice` is a sentence for the
    user, or "".
    """

    _paths: Any = ()  # of one whose making was interrupted

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self.places: list[list[int]] = []
        self.notice = ""
        self._fds = _Descriptors()
        self._paths = []

    def close(self) -> None:
        """Let go of the files. Those who have mapped them keep their bytes."""
        self._fds.close()
        while self._paths:
            try:
                os.unlink(self._paths[-1])
            except FileNotFoundError:
                pass
            self._paths.pop()

    def __del__(self) -> None:
        if self._paths:
            self.close()

    def add(self, pieces: Sequence[tuple[Piece, int]], on_disk: str) -> None:
        """Write pieces at their offsets into one new file: in the directory `on_disk`, or in memory if that is ""."""
        path = self._create(on_disk)
        fd = self._fds[-1]
        end = max(offset + piece.size for piece, offset in pieces)
        huge = _HugePages(fd, 0 if on_disk else end)
        for piece, offset in pieces:
            for chunk in piece.chunks:
                offset = _write(fd, chunk, offset, huge)
        if not on_disk and not self._paths:
            _seal(fd)
        status = os.fstat(fd)
        self.files.append({"path": path, "inode": status.st_ino, "size": status.st_size})

    def _create(self, on_disk: str) -> str:
        """Open a new file, which becomes the last of `_fds`. Returns the path by which other processes reach it."""
        if not os.path.isdir("/proc/self/fd"):
            return self._create_named(on_disk or _directory or disk_directory())
        if on_disk:
            self._create_named(on_disk)
            os.unlink(self._paths[-1])
            self._paths.pop()
        elif hasattr(os, "memfd_create"):
            acquire(self._fds, os.memfd_create, "dipls variables", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        else:
            return self._create_named(_directory or disk_directory())
        return f"/proc/{os.getpid()}/fd/{self._fds[-1]}"

    def _create_named(self, directory: str) -> str:
        path = os.path.join(directory, f"dipls-{secrets.token_hex(8)}")
        self._paths.append(path)  # before the file exists, since an interrupt may come at any time
        acquire(self._fds, os.open, path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return path


class _Mapping:
    """A file's bytes, mapped copy-on-write. They are unmapped with the last view of them."""

    _address: Any = ()  # of one whose making was interrupted

    def __init__(self, fd: int, size: int, at: int | None = None):
        """Map `size` bytes, at the address `at` if that is free. With `fd` -1 they are no file's."""
        self._size = size
        self._address = []
        access, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE
        if fd < 0:
            access, kind = _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        acquire(self._address, _mmap, at, size, access, kind, fd, 0)
        if self._address[0] == _MAP_FAILED:
            self._address.clear()
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    @property
    def address(self) -> int:
        """The address at which the mapping begins."""
        return self._address[0]

    def view(self) -> memoryview:
        """Return the bytes, writable. The view keeps the mapping alive."""
        array = (ctypes.c_ubyte * self._size).from_address(self.address)
        array.mapping = self
        return pickle.PickleBuffer(array).raw()

    def __del__(self, munmap: Callable[[int, int], int] = _munmap) -> None:
        if self._address:
            munmap(self._address.pop(), self._size)


class _HugePages:
    """Has a file in memory consist of huge pages, as far as the system has any.

    Small pages take three times as long to fill, and long to give back. A system seldom gives a file huge pages by
    itself. But when it is asked to, it makes a huge page of the pages that a range has. So each range first gets one
    small page, and the rest is written afterwards.
    """

    def __init__(self, fd: int, size: int):
        """The file is empty, and will have `size` bytes."""
        self._fd = fd
        self._page = _huge_page()
        self._made = 0  # bytes that were prepared
        self._whole = size - size % self._page if self._page else 0  # bytes of whole huge pages
        if self._whole:
            os.ftruncate(fd, size)
            try:
                self._mapping = _map_file(fd, size)
            except OSError:
                self._whole = 0

    def prepare(self, end: int) -> None:
        """Prepare the bytes before `end`. Bytes that were not prepared must not have been written either."""
        begin = self._made
        if end <= begin or begin == self._whole:
            return
        self._made = min(-(-end // self._page) * self._page, self._whole)
        for offset in range(begin, self._made, self._page):
            os.pwrite(self._fd, b"\0", offset)
        if _madvise(self._mapping.address + begin, self._made - begin, _MADV_COLLAPSE) != 0:
            self._whole = self._made  # the system has no more, or makes none; go on with small pages


def configure(directory: str, host: str) -> None:
    """Say where this process is.

    Files that can only be reached by a name lie in `directory`, which is nobody else's. `host` is this host's name.
    """
    global _directory, _host
    _directory, _host = directory, host


def host() -> str:
    """Return the name of this host, whose processes alone can map what is shared here."""
    return _host


def acquire(owned: list[Any], call: Callable[..., Any], *arguments: Any) -> None:
    """Append `call(*arguments)` to `owned`.

    No bytecode lies between call and append, so an interrupt cannot lose what `call` returns.
    """
    owned.extend(map(call, *([argument] for argument in arguments)))


def share(pieces: Sequence[Piece]) -> Shared:
    """Write pieces where other processes can map them. Raises NoRoomError, or OSError if the system refuses."""
    shared = Shared()
    total = sum(piece.size for piece in pieces)
    on_disk, shared.notice = _where(total)
    groups = _layout([piece.size for piece in pieces])
    shared.places = [[0, 0, piece.size] for piece in pieces]
    try:
        for number, group in enumerate(groups):
            for index, offset in group:
                shared.places[index][:2] = number, offset
            shared.add([(pieces[index], offset) for index, offset in group], on_disk)
    except BaseException:
        shared.close()
        raise
    return shared


def open_shared(files: Sequence[dict[str, Any]]) -> list[memoryview]:
    """Map the files of a payload, copy-on-write. Raises OSError, or ValueError for a file that is not what was sent."""
    return [_map(file) for file in files]


def _map(file: dict[str, Any]) -> memoryview:
    fds = _Descriptors()
    try:
        acquire(fds, os.open, file["path"], os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        status = os.fstat(fds[0])
        found = (stat.S_ISREG(status.st_mode), status.st_uid, status.st_ino, status.st_size)
        if found != (True, os.geteuid(), file["inode"], file["size"]):
            raise ValueError(f"{file['path']} is not the file that was sent")
        return _map_file(fds[0], file["size"]).view() if file["size"] else memoryview(bytearray())
    finally:
        fds.close()


def _map_file(fd: int, size: int) -> _Mapping:
    """Map a file so that its huge pages are mapped as such. Their addresses must be aligned as their offsets are."""
    at, page = None, _huge_page()
    if 0 < page <= size:
        room = _Mapping(-1, size + page)
        at = -(-room.address // page) * page
        del room  # if another thread takes its place first, the file is mapped elsewhere
    return _Mapping(fd, size, at)


@functools.cache
def _huge_page() -> int:
    """Return the size of a huge page, 0 if there are none."""
    return int(_read("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") or 0)


def _layout(sizes: Sequence[int]) -> list[list[tuple[int, int]]]:
    """Return for each file which pieces it has, and at which offsets."""
    large = sorted((i for i, size in enumerate(sizes) if size >= SEPARATE), key=lambda i: -sizes[i])[:MOST_SEPARATE]
    together = []
    end = 0
    for index in sorted(set(range(len(sizes))) - set(large)):
        offset = -(-end // ALIGNMENT) * ALIGNMENT
        together.append((index, offset))
        end = offset + sizes[index]
    return [group for group in [together, *([(index, 0)] for index in large)] if group]


def _write(fd: int, chunk: Any, offset: int, huge: _HugePages) -> int:
    """Write `chunk` at `offset`. Returns where it ends."""
    view = memoryview(chunk)
    done = 0
    while done < len(view):
        part = view[done : done + STRIDE]
        huge.prepare(offset + done + len(part))
        done += os.pwrite(fd, part, offset + done)
    return offset + done


def _seal(fd: int) -> None:
    if hasattr(fcntl, "F_ADD_SEALS"):
        seals = 0
        for name in _SEALS:
            seals |= getattr(fcntl, name)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


def _where(total: int) -> tuple[str, str]:
    """Return the directory on disk for `total` bytes, or "" for memory, and a sentence for the user about that."""
    free = free_memory() if total > UNNOTICED else None
    if free is None or total <= free * (1 - MARGIN):
        return "", ""
    short = f"{human(total)} do not fit into free memory ({human(free)})"
    directory = disk_directory()
    room = free_disk(directory)
    if total > room * (1 - MARGIN):
        raise NoRoomError(
            f"{short}, nor on the disk of {directory} ({human(room)} free): free some, or send less at a time"
        )
    return directory, f"{short}: going through a file in {directory}"


def free_memory() -> int | None:
    """Return how many bytes are free in this machine and control group. None if that is unknown."""
    found = [free for free in (_available(), *_group_room()) if free is not None]
    return max(0, min(found)) if found else None


def free_disk(directory: str) -> int:
    """Return how many bytes the file system of `directory` has for us."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def disk_directory() -> str:
    """Return a directory for large temporary files that is not itself in memory."""
    temporary = tempfile.gettempdir()
    if _file_system(temporary) not in _IN_MEMORY:
        return temporary
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    os.makedirs(cache, mode=0o700, exist_ok=True)
    return cache


def human(size: int) -> str:
    """Return a number of bytes in the form that people write, such as "1.5 GB"."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def _file_system(path: str) -> str:
    """Return the type of the file system that holds `path`, "" if unknown."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _read("/proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split(" ")[2] == wanted:
            return kind.split(" ")[0]
    return ""


def _available() -> int | None:
    found = re.search(r"^MemAvailable: +(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _group_room() -> list[int]:
    """Return how many bytes each control group of this process, of either version, still allows, innermost first."""
    rooms = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            root, limit, usage, reclaimable = "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            reclaimable = "total_inactive_file"
        else:
            continue
        # In a container the path may be the host's. The limit is then in the root directory.
        while True:
            directory = root + group.rstrip("/")
            allowed, used = _read(f"{directory}/{limit}").strip(), _read(f"{directory}/{usage}").strip()
            if allowed.isdigit() and used.isdigit():
                cache = re.search(rf"^{reclaimable} (\d+)", _read(f"{directory}/memory.stat"), re.MULTILINE)
                rooms.append(int(allowed) - int(used) + (int(cache[1]) if cache else 0))
            if group in ("", "/"):
                break
            group = os.path.dirname(group)
    return rooms


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
