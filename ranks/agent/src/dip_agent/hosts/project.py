"""Keeps a copy of a project's Python files on this host: one comparison, then the process ends.

The other end is Go, ranks/host/afar/project.go. The first line of standard input says what there is:

    {"root", "folder", "probe": {"path", "word"} | null, "whole", "files": [{"path", "hash"}],
     "links": [{"path", "target"}], "gone": [path]}

If a file with that word is at the probe's path, this host shares the folder, and there is nothing to do: the answer is
{"shared": true}. Otherwise it is {"wants": [index of a file]}, and of each comes a line {"size", "hash", "mode",
"modified"} and its bytes. The last answer is {"removed": count, "kept": path}. Instead of any there may be {"error"}.

Paths are below the root, and no link is followed on the way to them. The folder .dipls in the root knows what was
brought. Only that is ever removed; what somebody else has changed or put in its place is moved to .dipls/before.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import select
import socket
import stat
import time
from typing import Any, BinaryIO

from . import places

_OWN = ".dipls"
_BROUGHT = "brought.json"
_NEW = "new-"
_STRIDE = 1 << 20
_PAUSE = 0.05  # seconds between looks at a lock: nothing tells when it is free
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def main(agent_dir: str) -> int:
    """Serve one comparison. Returns the exit status."""
    with socket.socket(fileno=0) as sock, sock.makefile("rb") as lines:
        request = json.loads(lines.readline())
        try:
            if _shared(request["probe"]):
                _say(sock, {"shared": True})
                return 0
            with Copy(request["root"], sock) as copy:
                _say(sock, copy.take(request, sock, lines))
                if request["folder"]:
                    os.makedirs(request["folder"], exist_ok=True)
        except (OSError, ValueError) as err:
            where = f"{err.filename}: {err.strerror}" if isinstance(err, OSError) and err.filename else str(err)
            _say(sock, {"error": where})
            return 1
    return 0


def _say(sock: socket.socket, answer: dict[str, Any]) -> None:
    sock.sendall(json.dumps(answer).encode() + b"\n")


def _shared(probe: dict[str, str] | None) -> bool:
    with contextlib.suppress(OSError):
        if probe:
            with open(probe["path"], encoding="ascii") as file:
                return file.read(64) == probe["word"]
    return False


class Copy:
    """The copy of a project, of which nobody else changes anything meanwhile."""

    def __init__(self, root: str, sock: socket.socket):
        if places.squatter(root) >= 0:
            raise ValueError(f"{root} lies in a folder of another user of this host")
        os.makedirs(root, exist_ok=True)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _check_owner(self._root, root, os.geteuid(), 0)
        with contextlib.suppress(FileExistsError):
            os.mkdir(_OWN, 0o700, dir_fd=self._root)
        self._own = os.open(_OWN, _DIRECTORY, dir_fd=self._root)
        _check_owner(self._own, f"{root}/{_OWN}", os.geteuid())  # what is in it tells what to remove
        # A file, for on NFS a folder cannot be locked.
        self._locked = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._own)
        alone = self._lock(sock)
        self._before = f"before/{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self.kept = ""  # where something was put that was in the way
        self._where = f"{root}/{_OWN}"
        for name in os.listdir(self._own):
            if name.startswith(_NEW) and alone:  # somebody was killed
                os.unlink(name, dir_fd=self._own)
        brought = self._read_brought()
        self._files: dict[str, str] = brought.get("files", {})  # hashes, by path
        self._links: dict[str, str] = brought.get("links", {})

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._locked)
        os.close(self._own)
        os.close(self._root)

    def _lock(self, sock: socket.socket) -> bool:
        """Wait until nobody else changes the copy. Returns whether that is certain."""
        while True:
            try:
                fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except OSError as err:
                if err.errno not in (errno.EAGAIN, errno.EACCES):
                    return False  # a file system without locks: each step is one of all or nothing as it is
            if select.select([sock], [], [], _PAUSE)[0] and not sock.recv(1, socket.MSG_PEEK):
                raise ValueError("the session wants it no more")

    def _read_brought(self) -> dict[str, Any]:
        try:
            with open(os.open(_BROUGHT, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._own)) as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}  # nothing was, or nobody knows any more

    def take(self, request: dict[str, Any], sock: socket.socket, lines: BinaryIO) -> dict[str, Any]:
        """Make the copy equal to the project. Returns the last answer."""
        files = {_checked(one["path"]): one["hash"] for one in request["files"]}
        links = {_checked(one["path"]): one["target"] for one in request["links"]}
        gone = [_checked(path) for path in request["gone"]]
        if request["whole"]:
            gone = [_checked(path) for path in (*self._files, *self._links) if path not in files and path not in links]
        # What has become something else goes first: a link may be in the place of a folder.
        gone += [path for path in files if path in self._links] + [path for path in links if path in self._files]
        try:
            removed = sum(self._remove(path) for path in gone)
            wants = {}
            for i, (path, hash_) in enumerate(files.items()):
                if self._hash(path) == hash_:
                    self._files[path] = hash_
                else:
                    wants[i] = path
            _say(sock, {"wants": list(wants)})
            for path in wants.values():
                self._receive(path, json.loads(lines.readline()), lines)
            for path, target in links.items():
                self._link(path, target)
        finally:
            self._note()
        return {"removed": removed, "kept": self.kept}

    def _note(self) -> None:
        text = json.dumps({"files": self._files, "links": self._links})
        for name, content in ((".gitignore", "*\n"), (_BROUGHT, text)):
            new = self._new()
            with open(os.open(new, _CREATE, 0o600, dir_fd=self._own), "w") as file:
                file.write(content)
            os.rename(new, name, src_dir_fd=self._own, dst_dir_fd=self._own)

    def _new(self) -> str:
        return _NEW + secrets.token_hex(8)

    # Files. A path is opened folder by folder, so that no link leads out of the root.

    def _folder(self, path: str, make: bool = False) -> tuple[int, str]:
        """Open the folder of a path; return it with the rest, the name."""
        *folders, name = path.split("/")
        here = os.dup(self._root)
        for i, folder in enumerate(folders):
            try:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(folder, dir_fd=here)
                inner = os.open(folder, _DIRECTORY, dir_fd=here)
            except OSError as err:
                if err.errno in (errno.ELOOP, errno.ENOTDIR) and make:
                    raise ValueError(f"{'/'.join(folders[: i + 1])} is no folder there; move it away") from None
                raise
            finally:
                os.close(here)
            here = inner
        return here, name

    def _hash(self, path: str) -> str:
        """Return the hash of a file, "" if there is none."""
        try:
            folder, name = self._folder(path)
        except OSError:
            return ""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return ""
        finally:
            os.close(folder)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return ""
            digest = hashlib.sha256()
            while piece := file.read(_STRIDE):
                digest.update(piece)
            return digest.hexdigest()

    def _receive(self, path: str, head: dict[str, Any], lines: BinaryIO) -> None:
        new = self._new()
        digest, left = hashlib.sha256(), head["size"]
        with open(os.open(new, _CREATE, head["mode"] | 0o600, dir_fd=self._own), "wb") as file:
            while left:
                piece = lines.read(min(left, _STRIDE))
                if not piece:
                    raise ValueError("not all of it has come")
                digest.update(piece)
                file.write(piece)
                left -= len(piece)
            file.flush()
            os.utime(file.fileno(), ns=(head["modified"], head["modified"]))
        if digest.hexdigest() != head["hash"]:
            raise ValueError(f"{path}: what has come is not what was sent")
        folder, name = self._folder(path, make=True)
        try:
            self._make_way(folder, name, path)
            os.rename(new, name, src_dir_fd=self._own, dst_dir_fd=folder)
        finally:
            os.close(folder)
        self._files[path] = head["hash"]

    def _link(self, path: str, target: str) -> None:
        folder, name = self._folder(path, make=True)
        try:
            if _target(folder, name) != target:
                self._make_way(folder, name, path)
                new = self._new()
                os.symlink(target, new, dir_fd=self._own)
                os.rename(new, name, src_dir_fd=self._own, dst_dir_fd=folder)
        finally:
            os.close(folder)
        self._links[path] = target

    def _ours(self, folder: int, name: str, path: str) -> bool:
        """Tell whether what is there is as we have brought it."""
        if path in self._links:
            return _target(folder, name) == self._links[path]
        return path in self._files and self._hash(path) == self._files[path]

    def _make_way(self, folder: int, name: str, path: str) -> None:
        """Move away what somebody else has put, or changed, where a file of ours is to be."""
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode):
            raise ValueError(f"{path} is a folder there; move it away")
        if self._ours(folder, name, path):
            return
        inner = os.dup(self._own)
        for part in (*self._before.split("/"), *path.split("/")[:-1]):
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=inner)
            deeper = os.open(part, _DIRECTORY, dir_fd=inner)
            os.close(inner)
            inner = deeper
        os.rename(name, name, src_dir_fd=folder, dst_dir_fd=inner)
        os.close(inner)
        self.kept = f"{self._where}/{self._before}"

    def _remove(self, path: str) -> bool:
        """Remove what was brought and is no more; tell whether it was there."""
        there = False
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                folder, name = self._folder(path)
            except OSError as err:
                if err.errno != errno.ELOOP:
                    raise
                folder = -1  # a link is on the way: that is not what was brought
            if folder >= 0:
                try:
                    self._make_way(folder, name, path)
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                        there = True
                    if name.endswith(".py"):
                        self._forget_compiled(folder, name[:-2])
                finally:
                    os.close(folder)
                self._prune(path)
        self._files.pop(path, None)
        self._links.pop(path, None)
        return there

    def _forget_compiled(self, folder: int, module: str) -> None:
        """Remove what Python has made of a module, "NAME.": a folder with nothing else in it would be a package."""
        with contextlib.suppress(OSError):
            cache = os.open("__pycache__", _DIRECTORY, dir_fd=folder)
            try:
                for one in os.listdir(cache):
                    if one.startswith(module) and one.endswith(".pyc"):
                        os.unlink(one, dir_fd=cache)
            finally:
                os.close(cache)
            os.rmdir("__pycache__", dir_fd=folder)

    def _prune(self, path: str) -> None:
        """Remove folders that are empty now."""
        with contextlib.suppress(OSError, ValueError):
            while "/" in path:
                path = path.rpartition("/")[0]
                folder, name = self._folder(path)
                try:
                    os.rmdir(name, dir_fd=folder)
                finally:
                    os.close(folder)


def _check_owner(fd: int, path: str, *owners: int) -> None:
    if os.fstat(fd).st_uid not in owners:
        raise ValueError(f"{path} belongs to another user of this host")


def _target(folder: int, name: str) -> str | None:
    with contextlib.suppress(OSError):
        return os.readlink(name, dir_fd=folder)
    return None


def _checked(path: str) -> str:
    parts = path.split("/")
    if parts[0] == _OWN or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{path!r} is no path in the project")
    return path
