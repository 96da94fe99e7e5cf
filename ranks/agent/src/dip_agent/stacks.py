"""Where the threads of this process are."""

from __future__ import annotations

import linecache
import os
import sys
import threading
from types import FrameType
from typing import Any

import IPython

from .snapshots import SourcePath

_MACHINERY = tuple(
    os.path.dirname(os.path.abspath(path)) + os.sep for path in (os.path.dirname(__file__), IPython.__file__)
)

_THREADING = threading.Thread.run.__code__.co_filename


def threads(hidden: int | None, source: bool = True) -> list[dict[str, Any]]:
    """Return `{"id", "name", "main", "frames"}` of the threads that run user code. The main thread always comes first.

    Frames are those of the user and of libraries, outermost first. With `source` they have the line's text, too. The
    thread `hidden` and other threads of ours are left out.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    found = []
    for ident, innermost in sys._current_frames().items():
        if ident == hidden:
            continue
        frames = _frames(innermost, ident == main)
        if frames or ident == main:
            described = [_describe(frame, source) for frame in frames]
            found.append({"id": ident, "name": names.get(ident, ""), "main": ident == main, "frames": described})
    return sorted(found, key=lambda thread: not thread["main"])


def is_ours(filename: str) -> bool:
    """Whether a file is the agent's or IPython's: the machinery around the user's code."""
    return filename.startswith(_MACHINERY)


def describe(file: str, line: int, name: str) -> dict[str, Any]:
    """Return a frame in the form that it has in messages."""
    found = {"file": file, "line": line, "name": name}
    if type(file) is SourcePath and file.run:
        found["run"] = file.run
    return found


def _frames(frame: FrameType | None, main: bool) -> list[FrameType]:
    """Return the frames of a thread, outermost first, without those of the machinery.

    A thread of ours has none, and the main thread has none while it waits for a request.
    """
    found: list[FrameType] = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    found.reverse()
    if main:  # frames outside of the machinery have started the process
        first = next((i for i, frame in enumerate(found) if _is_ours(frame)), 0)
        found = found[first:]
    elif _is_ours(next((frame for frame in found if not _starts_threads(frame)), found[0])):
        return []
    return [frame for frame in found if not _is_ours(frame)]


def _is_ours(frame: FrameType) -> bool:
    return is_ours(frame.f_code.co_filename)


def _starts_threads(frame: FrameType) -> bool:
    return frame.f_code.co_filename == _THREADING


def _describe(frame: FrameType, source: bool) -> dict[str, Any]:
    file, line = frame.f_code.co_filename, frame.f_lineno or 0  # None where code has no lines
    found = describe(file, line, frame.f_code.co_name)
    if source:
        linecache.checkcache(file)
        if text := linecache.getline(file, line, frame.f_globals).strip():
            found["source"] = text
    return found
