"""How far this rank is with the collectives of its process groups.

If one rank has taken part in fewer collectives than another, they are out of step: their next collectives would be
paired with the wrong ones. A group counts what it is asked for. Messages between two ranks are left out here, since the
other ranks know nothing of them. Nothing is imported: without torch.distributed there are no groups.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import weakref
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any, Callable, TypeVar

from .. import stacks
from . import operations

log = logging.getLogger(__name__)

_T = TypeVar("_T")

# Methods of a process group that its ranks do not call alike. (A monitored barrier is many messages.)
_BETWEEN_RANKS = ("send", "recv", "recv_anysource", "monitored_barrier")

_C10D = "torch.distributed.distributed_c10d"

# These enclose a batch of messages or collectives. nccl counts it as a collective before it knows which it is.
_BATCH = ("_start_coalescing", "_end_coalescing")

_between: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # how often they have counted, by group
_lock = threading.Lock()  # guards it
_underway: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # what they counted before, by group
_batches: weakref.WeakKeyDictionary[Any, _Batch] = weakref.WeakKeyDictionary()  # that are being put together, by group
_counters: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()  # backends that count for their groups
_forgotten = 0  # how often counts have begun anew
_unknown: weakref.WeakSet[Any] = weakref.WeakSet()  # groups of which what went between two ranks was not noted
_watched = False
_known = True  # torch is as we know it


@dataclass
class _Batch:
    """Messages or collectives that go out together."""

    before: int  # the group's count before the batch
    forgotten: int  # `_forgotten` at that time
    noted: int = 0  # by how much the batch's messages have raised the count
    messages: bool = False  # it has messages


def watch() -> None:
    """From now on tell collectives from messages, if torch.distributed is loaded. For the main thread.

    Groups that exist already are no longer counted.
    """
    try:
        _watch()
    except Exception:
        _tell_of_unknown()


def _watch() -> None:
    global _watched
    c10d = sys.modules.get(_C10D)
    if _watched or c10d is None:
        return
    _watched = True
    if c10d.is_initialized():
        _unknown.update(_names(c10d))
    cls = c10d.ProcessGroup
    for name in _BETWEEN_RANKS:
        if hasattr(cls, name):
            setattr(cls, name, _uncounted(getattr(cls, name)))
    operations.watch(c10d)
    if all(hasattr(cls, name) for name in _BATCH):
        start, end = (getattr(cls, name) for name in _BATCH)
        cls._start_coalescing, cls._end_coalescing = _batch_begun(start), _batch_ended(end)


def counts() -> dict[str, int]:
    """Return how many collectives each group has been asked for, by its name. Empty before the rank has joined one.

    A count may begin at any number, but at the same one on all ranks. For the main thread.
    """
    if _C10D not in sys.modules:
        return {}
    try:
        _watch()
        return {name: count for name, count, _ in _groups()}
    except Exception:
        _tell_of_unknown()
        return {}


def _tell_of_unknown() -> None:
    """Log once that this torch is not as we know it. There are no counts then, but no cell fails."""
    global _known
    if _known:
        log.exception("the collectives of this torch are not counted")
    _known = False


def forget() -> None:
    """Begin all counts anew, since all groups were formed anew on all of their ranks. For the main thread."""
    global _forgotten
    with _lock:
        _forgotten += 1
        _between.clear()
    _underway.clear()  # an interrupt may have struck just before an entry was taken out
    _batches.clear()
    _unknown.clear()
    operations.forget()


def state(hidden: int | None, running: str) -> dict[str, Any]:
    """Return the content of a groups_reply. For any thread.

    `hidden` is a thread of ours to leave out, `running` the request that the main thread serves.
    """
    c10d = _c10d()
    known = _groups()
    groups = [_describe(c10d, name, count, group) for name, count, group in known]
    messages = {name: _between.get(group, 0) for name, _, group in known}
    return {
        "groups": groups,
        "operations": operations.pending(sys.modules.get(_C10D), groups, messages, _names(c10d), hidden),
        "threads": stacks.threads(hidden, source=False),
        "running": running,
    }


def is_inside(frame: FrameType) -> bool:
    """Whether the thread of an innermost frame waits for other ranks."""
    c10d = _c10d()
    return c10d is not None and operations.waits(frame, c10d, _names(c10d))


def _c10d() -> ModuleType | None:
    module = sys.modules.get(_C10D)
    return module if _watched and module is not None and module.is_initialized() else None


def _groups() -> list[tuple[str, int, Any]]:
    c10d = _c10d()
    found = []
    for group, name in list(_names(c10d).items()):
        if group in _unknown:
            continue
        try:
            count = _sequence(group)
        except Exception:  # a backend that does not count, or a group that is just ending
            continue
        found.append((str(name), _underway.get(group, count) - _between.get(group, 0), group))
    return found


def _names(c10d: ModuleType | None) -> dict[Any, Any]:
    """Return the groups that exist, with their names. Empty if this torch keeps them elsewhere."""
    return getattr(c10d, "_pg_names", {})


def _describe(c10d: Any, name: str, count: int, group: Any) -> dict[str, Any]:
    label = getattr(group, "group_desc", "")
    return {
        "name": name,
        "default": group is _told(c10d._get_default_group),
        "label": "" if label in ("default_pg", "undefined") else label,
        "backend": _told(lambda: str(c10d.get_backend(group))) or "",
        "ranks": _told(lambda: list(c10d.get_process_group_ranks(group))) or [],
        "count": count,
    }


def _told(ask: Callable[[], _T]) -> _T | None:
    """Return what torch answers, None if it raises."""
    try:
        return ask()
    except Exception:
        return None


def _uncounted(method: Any) -> Any:
    """Return a group's `method`, wrapped so that it notes by how much it raises the group's count."""

    name = method.__name__

    def noting(group: Any, *args: Any, **options: Any) -> Any:
        forgotten = _forgotten
        try:
            before = _sequence(group)
        except Exception:
            return method(group, *args, **options)
        try:
            _underway[group] = before
            work = method(group, *args, **options)
            operations.note_message(work, name, group, args)
            return work
        finally:
            _underway.pop(group, None)
            with contextlib.suppress(Exception):  # the message matters more than the note on it
                raised = _sequence(group) - before
                if (batch := _batches.get(group)) is not None:
                    batch.messages, batch.noted = True, batch.noted + raised
                _note(group, raised, forgotten)

    return functools.wraps(method)(noting)


def _batch_begun(method: Any) -> Any:
    def begin(group: Any, *args: Any, **options: Any) -> Any:
        with contextlib.suppress(Exception):
            _batches[group] = _Batch(_sequence(group), _forgotten)
        return method(group, *args, **options)

    return functools.wraps(method)(begin)


def _batch_ended(method: Any) -> Any:
    def end(group: Any, *args: Any, **options: Any) -> Any:
        try:
            return method(group, *args, **options)
        finally:
            batch = _batches.pop(group, None)
            if batch is not None and batch.messages:
                with contextlib.suppress(Exception):
                    _note(group, _sequence(group) - batch.before - batch.noted, batch.forgotten)

    return functools.wraps(method)(end)


def count_by(group: Any, backend: Any) -> None:
    """Have a backend that a group was just given count the group's collectives."""
    _counters[group] = backend


def _sequence(group: Any) -> int:
    """Return how many operations a group has been asked for, messages included.

    In some versions of torch the group itself goes on asking the first backend that it had.
    """
    return int(_counters.get(group, group)._get_sequence_number_for_group())


def _note(group: Any, raised: int, forgotten: int) -> None:
    """Note by how much messages have raised a group's count, unless counts have begun anew since."""
    with _lock:
        if forgotten == _forgotten:
            _between[group] = _between.get(group, 0) + raised
