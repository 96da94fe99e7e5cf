"""Stacks of the threads of this process, as text."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from types import FrameType
from typing import Any

import IPython

_MACHINERY = tuple(
    os.path.dirname(os.path.abspath(path)) + os.sep for path in (os.path.dirname(__file__), IPython.__file__)
)


def threads(hidden: int | None) -> list[dict[str, Any]]:
    """Return `{"id", "name", "main", "stack"}` of every thread but the one called `hidden`, the main thread first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sys._current_frames()
    frames.pop(hidden, None)
    found = [
        {"id": ident, "name": names.get(ident, ""), "main": ident == main, "stack": _text(frame, ident == main)}
        for ident, frame in frames.items()
    ]
    return sorted(found, key=lambda thread: not thread["main"])


def is_ours(filename: str) -> bool:
    """Whether a file is the agent's or IPython's: the machinery around the user's code."""
    return filename.startswith(_MACHINERY)


def _text(frame: FrameType, main: bool) -> str:
    stack = traceback.extract_stack(frame)
    if main:
        while stack and not is_ours(stack[0].filename):
            del stack[0]
    # What is left of the outermost frames is how the agent came to call the code. If there is nothing else, it waits.
    while stack and is_ours(stack[0].filename):
        del stack[0]
    return "".join(stack.format()) if stack else "waiting for a cell\n"
