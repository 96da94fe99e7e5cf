"""Where the directory of a node's sockets lies on a host. It is as in ranks/host/runtime.go, which says why."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import pwd
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator

from . import leftovers

log = logging.getLogger(__name__)

_MAX_SOCKET_PATH = 107
_LONGEST = "/12345678/r999999-999999"  # SESSION/NAME below the root
_SESSION = re.compile(r"[0-9a-f]{8}")
_LINGERING = "/var/lib/systemd/linger"
_MAX_LINKS = 40


class Directory:
    """The private directory of one session. Its lock, held as long as this process lives, tells that it is in use."""

    def __init__(self) -> None:
        """Choose a name, and remove what dead sessions have left. Raises OSError if there is no place."""
        self._root = _root()
        sweep(self._root)
        self.session = secrets.token_hex(4)
        self.path = os.path.join(self._root, self.session)
        self._lock = -1

    def make(self) -> None:
        """Make the directory unless it is there: the first time, and after something has removed it."""
        if self._lock >= 0 and _same(self._lock, self.path):
            return
        for again in range(1000):
            try:
                os.mkdir(self.path, 0o700)
            except FileExistsError:
                if not again:
                    raise
            lock = _try_lock(self.path)
            if lock >= 0:
                if self._lock >= 0:
                    os.close(self._lock)
                self._lock = lock
                return
            time.sleep(0.001)  # another dipls took it for a dead session's before we could lock it, and removes it
        raise OSError(errno.EBUSY, "somebody else keeps the session's directory locked", self.path)

    def remove(self) -> None:
        """Remove the directory for good."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def sweep(root: str = "") -> None:
    """Remove the directories of dead sessions, and end what still runs of them."""
    root = root or _root()
    for name in os.listdir(root):
        path = os.path.join(root, name)
        if not _SESSION.fullmatch(name) or not os.path.isdir(path) or os.path.islink(path):
            continue
        with contextlib.suppress(OSError):
            lock = _try_lock(path)
            if lock < 0:
                continue
            log.info("removing what a dead session has left: %s", path)
            # An empty one may have just been made, and not be locked yet.
            if os.listdir(path):
                leftovers.kill_session(name)
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _root() -> str:
    """Return the directory for those of sessions, made and checked."""
    passed = []
    for parent, root in _candidates():
        try:
            _use(parent, root)
            return root
        except OSError as err:
            passed.append(str(err))
    advice = "set DIPLS_RUNTIME_DIR to a short directory of your own on this host"
    raise OSError(errno.EACCES, f"no directory for sockets: {'; '.join(passed)} ({advice})")


def _candidates() -> list[tuple[str, str]]:
    """Return the places, the best first: the parent if it must be private, too, and the root."""
    if only := os.environ.get("DIPLS_RUNTIME_DIR"):
        return [("", only)]
    uid = os.geteuid()
    tmp = ("", os.path.join(tempfile.gettempdir(), f"dipls-{uid}"))
    xdg = os.environ.get("XDG_RUNTIME_DIR", "")
    if not xdg:
        return [tmp]
    login = (xdg, os.path.join(xdg, "dipls"))
    # What logind makes goes when the user logs out, unless the user lingers. A launcher's login may be a short one.
    return [tmp, login] if os.path.normpath(xdg) == f"/run/user/{uid}" and not _lingers() else [login, tmp]


def _lingers() -> bool:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = os.environ.get("USER", "")
    return bool(name) and os.path.exists(os.path.join(_LINGERING, name))


def _use(parent: str, root: str) -> None:
    if not os.path.isabs(root):
        raise OSError(errno.EINVAL, "not an absolute path", root)
    if len(os.fsencode(root + _LONGEST)) > _MAX_SOCKET_PATH:
        raise OSError(errno.ENAMETOOLONG, f"paths of sockets have at most {_MAX_SOCKET_PATH} bytes", root)
    if parent:
        _check_closed(parent)
        check_private(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(root, 0o700)
    _check_closed(root)


def _check_closed(path: str) -> None:
    """Raise OSError unless a directory, which is not a link, is the user's and closed to others."""
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        raise OSError(errno.ENOTDIR, "not a directory", path)
    if info.st_uid != os.geteuid():
        raise OSError(errno.EPERM, f"it belongs to uid {info.st_uid}, not to uid {os.geteuid()}", path)
    if info.st_mode & 0o077:
        raise OSError(errno.EPERM, f"it is open to others (mode {stat.S_IMODE(info.st_mode):#o})", path)


def check_private(path: str) -> None:
    """Raise OSError if, at a step of an absolute path, others than the user and root could put something else there."""
    trusted = _trusted()
    for at, info in _steps(path):
        if info.st_uid not in trusted:
            raise OSError(errno.EPERM, f"{at} belongs to uid {info.st_uid}", path)
        if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o022 and not info.st_mode & stat.S_ISVTX:
            raise OSError(errno.EPERM, f"others may write to {at}", path)


def squatter(path: str) -> int:
    """Return the uid of who else has made a step of an absolute path where anybody may, as in /tmp; -1: nobody has.

    The path may mean a folder of the user's on the session's machine. Here, somebody was quicker.
    """
    trusted = _trusted()
    anybody = False
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for _, info in _steps(path):
            if anybody and info.st_uid not in trusted:
                return info.st_uid
            anybody = stat.S_ISDIR(info.st_mode) and bool(info.st_mode & 0o002)
    return -1


def _trusted() -> tuple[int, int]:
    return (os.geteuid(), os.lstat("/").st_uid)


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Return the folders and links that an absolute path leads through, each from the root on."""
    for _ in range(_MAX_LINKS):
        at = "/"
        names = [name for name in path.split("/") if name]
        for i, name in enumerate(names):
            at = os.path.join(at, name)
            info = os.lstat(at)
            yield at, info
            if stat.S_ISLNK(info.st_mode):
                target = os.path.join(os.path.dirname(at), os.readlink(at))
                path = "/".join([target, *names[i + 1 :]])
                break
        else:
            return
    raise OSError(errno.ELOOP, "too many links", path)


def _try_lock(path: str) -> int:
    """Lock a directory; return what holds the lock, -1 if somebody else does, or the directory is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    if _same(fd, path):
        return fd
    os.close(fd)
    return -1


def _same(fd: int, path: str) -> bool:
    """Whether a path still means an open directory."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False
