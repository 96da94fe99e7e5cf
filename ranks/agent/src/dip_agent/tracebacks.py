"""Exceptions as content of `error` messages. Nothing here raises, whatever the exception does."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from . import paths, stacks
from .stacks import is_ours
from .wire import text

_TORCH = f"{os.sep}torch{os.sep}"
_HELPERS = (contextlib.contextmanager.__code__.co_filename, importlib.import_module.__code__.co_filename)


def exit_code(err: BaseException) -> int | None:
    """Return what a process that `err` ends would exit with, None if `err` is no SystemExit."""
    if not isinstance(err, SystemExit):
        return None
    if err.code is None:
        return 0
    if not isinstance(err.code, int):
        return 1  # the argument is a message
    return (err.code if -(2**63) <= err.code < 2**63 else -1) & 0xFF


def describe(shell: InteractiveShell, err: BaseException, tb: TracebackType | None) -> dict[str, Any]:
    """Return the content of the `error` message for `err`."""
    tb = users_part(tb)
    places = ((frame.f_code, line) for frame, line in traceback.walk_tb(tb))
    frames = [stacks.describe(code.co_filename, line, code.co_name) for code, line in places]
    if isinstance(err, SyntaxError) and err.filename and err.lineno:
        frames.append(stacks.describe(err.filename, err.lineno, "<module>"))
    value, rendered = text(err), _render(shell, err, tb)
    hint = paths.hint(err) or paths.where_from(err)
    if hint and "renaming" not in value:  # Python 3.13 says so itself
        value, rendered = f"{value}; {hint}", [*rendered, hint]
    rendered = [shell.painted(line) for line in rendered]
    return {"ename": type(err).__name__, "evalue": value, "traceback": rendered, "frames": frames}


def users_part(tb: TracebackType | None) -> TracebackType | None:
    """Return the traceback without frames of the machinery, and of library code that the machinery calls for itself."""
    users = []
    ours = True
    for part in _parts(tb):
        filename = part.tb_frame.f_code.co_filename
        ours = is_ours(filename) or (ours and (filename in _HELPERS or filename.startswith("<frozen importlib")))
        if not ours:
            users.append(part)
    return _joined(users)


def struck_machinery(err: BaseException) -> bool:
    """Whether an interrupt has struck code of ours, or struck while that handled an exception that users never see."""
    cause = err.__context__
    return users_part(err.__traceback__) is None or (cause is not None and users_part(cause.__traceback__) is None)


def in_torch(err: BaseException) -> bool:
    """Whether torch's code has raised an exception, or our code that torch has called."""
    parts = list(_parts(users_part(err.__traceback__)))
    return bool(parts) and _TORCH in parts[-1].tb_frame.f_code.co_filename


def place(err: BaseException) -> TracebackType | None:
    """Return the traceback of the user's code that an interrupt has ended, whatever exception it was turned into.

    torch's frames are left out, since torch only waited.
    """
    seen: set[int] = set()
    users, cause = users_part(err.__traceback__), err
    while users is None and cause.__context__ is not None and id(cause) not in seen:
        seen.add(id(cause))
        cause = cause.__context__
        users = users_part(cause.__traceback__)
    parts = list(_parts(users))
    while parts and _TORCH in parts[-1].tb_frame.f_code.co_filename:
        parts.pop()
    return _joined(parts)


def _joined(parts: list[TracebackType]) -> TracebackType | None:
    kept = None
    for part in reversed(parts):
        kept = TracebackType(kept, part.tb_frame, part.tb_lasti, part.tb_lineno)
    return kept


def _parts(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _render(shell: InteractiveShell, err: BaseException, tb: TracebackType | None) -> list[str]:
    if isinstance(err, UsageError):
        return [f"UsageError: {text(err)}"]
    if isinstance(err, SystemExit):
        if not isinstance(err.code, int):
            return text(err).split("\n")  # its message, which is what Python prints
        return [f"SystemExit: {text(err)}", "This ended the cell. The process lives on: it ends with its pool."]
    try:
        if isinstance(err, SyntaxError):
            return shell.SyntaxTB.structured_traceback(type(err), err, traceback.extract_tb(tb))
        if hasattr(err, "_render_traceback_"):
            return list(err._render_traceback_())
        if tb is not None and not _has_group(err):
            return shell.InteractiveTB.structured_traceback(type(err), err, tb, tb_offset=0)
    except Exception:
        pass  # because of broken source, a broken __repr__ …; the standard library's formatter bears more
    finally:
        _forget_sources()
    try:
        return "".join(traceback.format_exception(type(err), err, tb)).splitlines()
    except Exception:
        return [f"{type(err).__name__}: {text(err)}"]


def _forget_sources() -> None:
    """Have IPython's helpers forget what they have read. They would keep the code of every traceback for good."""
    for module in ("executing", "stack_data"):
        cls = getattr(sys.modules.get(module), "Source", None)
        for name, part in list(vars(cls).items()) if cls is not None else ():
            if name in ("__executing_cache", "__source_cache_with_lines"):
                part.clear()
            elif hasattr(part, "cache_clear"):
                part.cache_clear()


def _has_group(err: BaseException | None) -> bool:
    """Whether an exception group (Python 3.11) is in the chain. IPython's formatter leaves out its members."""
    seen: set[int] = set()
    while err is not None and id(err) not in seen:
        if hasattr(err, "exceptions") and hasattr(err, "split"):
            return True
        seen.add(id(err))
        err = err.__cause__ or err.__context__
    return False
