"""What children inherit from a process: environment, working directory, sys.path.

The local namespace tells the server what it has changed of these since its start. Ranks that are made later take that
over, as if they were its children.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from . import columns, paths


class Surroundings:
    """Notices changes. Made once the process has been set up. Any thread may ask."""

    def __init__(self) -> None:
        self._start = _State()
        self._last = self._start
        self._start_path = paths.without_ours(self._start.path)
        self._changed: set[bytes] = set()  # variables that were ever changed
        self._told: dict[str, Any] = {"env": {}}  # what was ever changed, as it is now
        self._lock = threading.Lock()

    def news(self) -> dict[str, Any] | None:
        """Return the content of a `surroundings` message, or None if nothing has changed since the last one."""
        if self._last.holds():  # nearly always
            return None
        with self._lock:
            return self._compare(_State())

    def _compare(self, now: _State) -> dict[str, Any] | None:
        start, self._last = self._start, now
        for name in {*now.env, *start.env}:
            value = now.env.get(name)
            if value != start.env.get(name) and not columns.is_ours(name, value):
                self._changed.add(name)
        told = {"env": {os.fsdecode(name): _text(now.env.get(name)) for name in self._changed}}
        if "cwd" in self._told or now.cwd != start.cwd:
            told["cwd"] = now.cwd
        path = paths.without_ours(now.path)
        if "path" in self._told or path != self._start_path:
            told["path"] = path
        if told == self._told:
            return None  # such as another file's turn
        self._told = told
        return told


class _State:
    """The state of all of it at one moment."""

    def __init__(self) -> None:
        self.env = dict(_environ())
        self.cwd = _cwd()
        self.path = list(sys.path)

    def holds(self) -> bool:
        """Whether nothing has changed since."""
        return self.env == _environ() and self.path == sys.path and self.cwd == _cwd()


def _text(value: bytes | None) -> str | None:
    return None if value is None else os.fsdecode(value)


def _environ() -> dict[bytes, bytes]:
    try:
        return os.environ._data  # decoding all of it after every cell would take long
    except AttributeError:  # the user has put something else there
        return {os.fsencode(name): os.fsencode(value) for name, value in dict(os.environ).items()}


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None  # the working directory was removed


def take_over(changes: dict[str, Any]) -> list[str]:
    """Make the changes that the local namespace has made. Returns sentences about those that could not be made."""
    problems = []
    for name, value in (changes.get("env") or {}).items():
        try:
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        except (ValueError, OSError) as err:
            problems.append(f"the local namespace's {name} cannot be taken over: {err}")
    if changes.get("path") is not None:
        sys.path[:] = paths.with_ours(changes["path"])
    if changes.get("cwd") is not None:
        try:
            os.chdir(changes["cwd"])
        except OSError as err:
            problems.append(f"the local namespace's working directory cannot be taken over: {err}")
    return problems
