"""Process groups are broken on purpose, so that nobody waits in them any longer, and then formed anew.

All ranks of a pool do the one or the other at the same time. Since torch 2.0 a group can be given another backend:
whatever holds the group, such as a model that trains in parallel, goes on with it. Before that, the groups end and the
default one is joined again. The user has to make anew what held them, and is told what that is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from types import ModuleType
from typing import Any, Callable

from .. import ranklist
from ..interrupts import Interrupts
from . import collectives, connections, holders, replicas, sharded
from .connections import Connection

_C10D = "torch.distributed.distributed_c10d"
_PAUSE = 0.002  # seconds between looks at which ranks have come
_LOOK = 0.1  # seconds between looks at whether a group is still being formed
_MOST_LOOKS = 3  # for gloo's threads, one after each cell; later they are looked for only when they are needed
_ALONE = 1.0  # seconds after an interrupt that a group may still take to form; other ranks may be gone by then

# Backend types. A group takes a new one each time it gets another backend; those that torch has a name for come first.
_NAMED = ("CUSTOM", "UCC", "MPI", "XCCL")
_UNNAMED = range(50, 250)


@dataclass
class _Renewed:
    """What a group that was formed anew has been given."""

    types: int = 0  # how many of _TYPES it has taken
    wrappers: list[tuple[Any, list[Any]]] = field(default_factory=list)  # backends that wrap others, and those

    def parts_of(self, backend: Any) -> list[Any]:
        """Return the backends that have connections. A wrapping backend is replaced by those that we had it wrap."""
        for wrapper, parts in self.wrappers:
            if wrapper is backend:
                return parts
        return [backend]

    def types_left(self, c10d: ModuleType) -> int:
        return len(_types(c10d)) - self.types

    def take_type(self, c10d: ModuleType) -> Any:
        """Return a backend type that the group has not had yet."""
        self.types += 1
        return _types(c10d)[self.types - 1]


def _types(c10d: ModuleType) -> list[Any]:
    made = c10d.ProcessGroup.BackendType
    return [made.__members__[name] for name in _NAMED if name in made.__members__] + list(map(made, _UNNAMED))


_renewed: weakref.WeakKeyDictionary[Any, _Renewed] = weakref.WeakKeyDictionary()  # by group

# Functions of torch's that wait in C++ while a group is formed. Before torch 2.2 the last three also wait at the store
# for the count with which the group begins, and whoever tells it may have been interrupted.
_FORMING = frozenset(
    {
        "_new_process_group_helper",
        "_create_gloo_process_group",
        "_create_process_group_wrapper",
        "new_group",
        "_new_group_with_tag",
        "init_process_group",
    }
)

_stores: set[Connection] = set()  # connections of this process to the pool's store
_cut_off = False  # the groups' backends cannot reach the store any more
_learned: set[str] = set()  # names of the groups for which gloo's threads were looked for
_looks = 0  # how often they have been looked for since `_learned` changed
_left: _Default | None = None  # the default group, if it has been left and is to be joined anew


class MendError(Exception):
    """The groups could not be formed anew this time."""


@dataclass
class _Default:
    """What is needed to make the default group."""

    backend: str
    rank: int
    size: int
    timeout: timedelta
    store: Any


def learn(names: Iterable[str]) -> None:
    """Note which groups exist now, and find the threads of those that are new. For the main thread."""
    global _learned, _looks
    if (now := set(names)) != _learned:
        _learned, _looks = now, 0
        replicas.watch()
    elif not 0 < _looks < _MOST_LOOKS:
        return
    _looks = 0 if connections.learn() else _looks + 1


def tell_connections(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a connections_reply. For any thread."""
    found = connections.of_gloo() if _C10D in sys.modules else []
    return {"connections": [connection._asdict() for connection in found]}


def break_groups(content: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    """Free whoever waits in the groups, and call `answer` with the content of a break_reply. For any thread."""
    wanted = {
        Connection(str(ends.get("local")), str(ends.get("remote")))
        for ends in content.get("connections") or []
        if isinstance(ends, dict)
    }
    broken = connections.shut_down(wanted) if wanted else 0
    if _forms_a_group():
        _cut_off_from_store()
        c10d = sys.modules[_C10D]
        broken += connections.knock(c10d.GroupMember.WORLD.size() if c10d.is_initialized() else 0)
    communicators = _communicators()
    if not communicators:
        answer({"broken": broken, "aborted": [], "problems": []})
        return
    done = threading.Event()
    aborted: list[str] = []
    problems: list[str] = []

    def abort() -> None:
        try:
            _abort(communicators, aborted, problems)
        finally:
            done.set()

    def wait() -> None:
        seconds = float(content.get("timeout") or 0)
        said = list(problems) if done.wait(seconds) else [f"the communicators have not ended within {seconds:g} s"]
        answer({"broken": broken, "aborted": list(aborted), "problems": said})

    # On threads of their own, so that this thread is free and the answer comes in time, however long NCCL takes.
    threading.Thread(target=abort, name="dipls abort", daemon=True).start()
    threading.Thread(target=wait, name="dipls abort's end", daemon=True).start()


def note_store(connection: Connection) -> None:
    """Note a connection of this rank's groups to the pool's store. When it is broken, mending makes a new one."""
    _stores.add(connection)


def _forms_a_group() -> bool:
    """Whether a thread is making a group, in which gloo waits at the store for the other ranks, in C++."""
    innermost = [frame.f_code for frame in sys._current_frames().values()]
    return any(code.co_name in _FORMING and code.co_filename.endswith("distributed_c10d.py") for code in innermost)


def _cut_off_from_store() -> None:
    """Free whoever waits at the pool's store. For any thread."""
    global _cut_off
    if _stores:
        connections.shut_down_any(_stores)
        _stores.clear()
        _cut_off = True


def _communicators() -> list[tuple[str, Any]]:
    """Return the groups' NCCL backends, each with the name of its group, youngest first."""
    c10d = sys.modules.get(_C10D)
    kind = getattr(c10d, "ProcessGroupNCCL", None)
    if c10d is None or kind is None:
        return []
    found = []
    for group, name in list(c10d._pg_names.items()):
        for backend, _ in _backends(group):
            if isinstance(_inner(backend), kind):
                found.append((str(name), _inner(backend)))
    return sorted(found, key=lambda one: (len(one[0]), one[0]), reverse=True)


def _abort(communicators: list[tuple[str, Any]], aborted: list[str], problems: list[str]) -> None:
    """Abort communicators as torch's `_abort_process_group` does, but leave the groups in place."""
    first = communicators[0][1]
    # In one batch, or the abort of one may wait for that of another.
    batch = getattr(first, "supports_coalescing", False) and len(communicators) > 1
    if batch:
        first._start_coalescing()
    try:
        for name, backend in communicators:
            # Before torch had `abort`, `_shutdown` did that.
            abort = getattr(backend, "abort", None) or getattr(backend, "_abort", None)
            abort = abort or getattr(backend, "_shutdown", None)
            if abort is None:
                problems.append(f"this torch cannot abort the communicators of group {name}")
                continue
            try:
                abort()
                aborted.append(name)
            except Exception as err:
                problems.append(f"group {name}: {err}")
    finally:
        if batch:
            with contextlib.suppress(Exception):
                first._end_coalescing()


def mend(content: dict[str, Any], namespace: dict[str, Any], interrupts: Interrupts) -> dict[str, Any]:
    """Form the process groups anew. Returns the content of a mend_reply. For the main thread.

    Raises MendError with a text for the user, and KeyboardInterrupt while it waits for other ranks.
    """
    c10d = sys.modules.get(_C10D)
    reply: dict[str, Any] = {"in_place": True, "groups": [], "stale": [], "notices": []}
    if c10d is None or not (c10d.is_initialized() or _left is not None):
        return reply
    keep = bool(content.get("keep"))
    # An interrupt may have left a block that puts a batch together. The batch is still there, and would take all that
    # comes later.
    if (batches := getattr(getattr(c10d, "_world", None), "pg_coalesce_state", None)) is not None:
        batches.clear()
    default = _left or _default(c10d)
    meeting = _Meeting(c10d, default, int(content["round"]), float(content["timeout"]))
    with meeting.failures():
        if not keep:
            # Before the meeting, so that no rank's new connections are taken for old ones.
            connections.shut_down(set(connections.of_gloo()))
            forming = _Forming(c10d, meeting, default, interrupts, reply)
            forming.form(meeting.exchange("groups", _facts(c10d)), namespace)
            meeting.exchange("formed", None)
            connections.learn(connections.PATIENCE)
        reply["notices"] += replicas.agree(c10d, meeting, namespace)
        reply["notices"] += sharded.drop_step(meeting, namespace)
        meeting.exchange("agreed", None)
    return reply


def _default(c10d: ModuleType) -> _Default:
    """Return what is needed to make the default group again."""
    group = c10d._get_default_group()
    backend, store = c10d._pg_map[group]
    return _Default(str(backend), group.rank(), group.size(), _timeout(group), store)


def _timeout(group: Any) -> timedelta:
    """Return the timeout of a group's collectives."""
    for backend, _ in _backends(group):
        with contextlib.suppress(AttributeError):
            return _inner(backend).options._timeout
    return timedelta(minutes=30)  # the backend does not say; this is torch's default


def _inner(backend: Any) -> Any:
    """Return the backend that does the work. TORCH_DISTRIBUTED_DEBUG=DETAIL wraps it in another one."""
    return getattr(backend, "wrapped_pg", None) or backend


def _backends(group: Any) -> list[tuple[Any, list[Any]]]:
    """Return a group's backends, each with the devices that it serves."""
    if not hasattr(group, "_get_backend"):  # before torch 2.0 a backend is the group
        return [(group, [])]
    torch = sys.modules["torch"]
    devices = getattr(group, "_device_types", None) or [torch.device("cpu"), torch.device("cuda")]
    found: list[tuple[Any, list[Any]]] = []
    for device in sorted(devices, key=str):
        try:
            backend = group._get_backend(device)
        except RuntimeError:  # the device has none
            continue
        for known, its in found:
            if known is backend:
                its.append(device)
                break
        else:
            found.append((backend, [device]))
    return found


def _members(c10d: ModuleType, group: Any) -> list[int]:
    """Return the ranks of a group, in their order in it."""
    ranks = c10d._pg_group_ranks.get(group)
    return list(range(group.size())) if ranks is None else sorted(ranks, key=ranks.__getitem__)


def _order(name: str) -> tuple[int, str]:
    """Return a key by which all ranks sort their groups alike. Most names are numbers."""
    return len(name), name


def _facts(c10d: ModuleType) -> dict[str, Any]:
    """Return what the other ranks need to know about this rank's groups."""
    groups = list(c10d._pg_names.items())
    return {
        "groups": {str(name): _members(c10d, group) for group, name in groups},
        "in_place": c10d.is_initialized() and all(_takes_another(c10d, group) for group, _ in groups),
        "count": c10d._group_count,
        "cut_off": _cut_off,
    }


def _takes_another(c10d: ModuleType, group: Any) -> bool:
    """Whether a group can be given another backend and stay the same object."""
    if not hasattr(group, "_register_backend"):
        return False
    backends = [backend for backend, _ in _backends(group) if isinstance(_inner(backend), _kinds(c10d))]
    return len(backends) <= _renewed.get(group, _Renewed()).types_left(c10d)


def _kinds(c10d: ModuleType) -> tuple[type, ...]:
    """Return the backend types that mending forms anew."""
    names = ("ProcessGroupGloo", "ProcessGroupNCCL")
    return tuple(kind for kind in (getattr(c10d, name, None) for name in names) if isinstance(kind, type))


def _is_reconfigurable(backend: Any) -> bool:
    """Whether a backend can itself connect again, as gloo's can since torch 2.14."""
    return bool(getattr(backend, "supports_reconfigure", False))


class _Meeting:
    """All ranks of the pool mend at the same time, and tell each other things through the pool's store."""

    def __init__(self, c10d: ModuleType, default: _Default, number: int, seconds: float):
        """`number` is the round's. Ranks have `seconds` to come."""
        self.number = number
        self.rank, self.size = default.rank, default.size
        self._c10d = c10d
        self.deadline = time.monotonic() + seconds  # for the other ranks to come
        self._seconds = seconds
        self._met: list[str] = []
        try:
            self._client = _pool_store(default, timedelta(seconds=max(1.0, seconds)))
            self._store = self.store("meeting")
            self._store.add("failures", 0)
        except RuntimeError as err:
            raise MendError(f"the store of the process group does not answer ({_first_line(err)})") from err

    def store(self, name: str) -> Any:
        """Return a part of the store that nobody has used before. It is the same on all ranks."""
        return self._c10d.PrefixStore(f"/dipls/mend_{self.number}/{name}", self._client)

    @property
    def left(self) -> timedelta:
        """How long other ranks may still take."""
        return timedelta(seconds=max(0.5, self.deadline - time.monotonic()))

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Tell the other ranks of what the block raises, so that they do not wait."""
        try:
            yield
        except BaseException as err:
            with contextlib.suppress(Exception):
                why = "was interrupted" if isinstance(err, KeyboardInterrupt) else f"failed: {_first_line(err)}"
                if not isinstance(err, _OthersFailed):
                    self._store.set("failure", json.dumps([self.rank, why]))
                    self._store.add("failures", 1)
            raise

    def exchange(self, what: str, facts: Any, ranks: list[int] | None = None) -> list[Any]:
        """Tell `ranks`, or all, some facts. Returns what they tell, in their order. Each `what` is used once."""
        others = list(range(self.size)) if ranks is None else ranks
        self._store.set(f"{what}/{self.rank}", json.dumps(facts))
        self._store.add(f"{what}/{self.rank}/come", 1)
        came = self._store.add(f"{what}/come", 1)
        while came < len(others):
            if self._store.add("failures", 0):
                rank, why = json.loads(self._store.get("failure"))
                raise _OthersFailed(f"rank {rank} {why}")
            if time.monotonic() > self.deadline:
                late = [rank for rank in others if not self._store.add(f"{what}/{rank}/come", 0)]
                verb = "has" if len(late) == 1 else "have"
                raise MendError(f"{ranklist.name(late)} {verb} not come within {self._seconds:g} s")
            time.sleep(_PAUSE)
            came = self._store.add(f"{what}/come", 0)
        return [json.loads(self._store.get(f"{what}/{rank}")) for rank in others]


class _OthersFailed(MendError):
    """Another rank has failed, and has told so."""


def _first_line(err: BaseException) -> str:
    return (str(err).strip() or type(err).__name__).splitlines()[0]


def _pool_store(default: _Default, timeout: timedelta) -> Any:
    """Return a client of the store that lives as long as rank 0, or of the store of a group that the user has made."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return default.store
    from ..apps import torch as app

    return app.mending_store(timeout)


class _Forming:
    """Forms the groups of this rank, one after the other."""

    def __init__(
        self, c10d: ModuleType, meeting: _Meeting, default: _Default, interrupts: Interrupts, reply: dict[str, Any]
    ):
        self._c10d = c10d
        self._meeting = meeting
        self._default = default
        self._interrupts = interrupts
        self._reply = reply

    def form(self, told: list[Any], namespace: dict[str, Any]) -> None:
        """Form the groups. `told` are the facts of all ranks."""
        if all(facts["in_place"] for facts in told):
            self._in_place(told)
        else:
            self._reply["in_place"] = False
            self._anew(namespace)
        collectives.forget()

    def _in_place(self, told: list[Any]) -> None:
        global _cut_off
        c10d = self._c10d
        connects = not any(facts["cut_off"] for facts in told)
        # A rank that was interrupted in the middle of new_group would give the next group another name.
        c10d._group_count = max(facts["count"] for facts in told)
        for group, name in sorted(c10d._pg_names.items(), key=lambda one: _order(str(one[1]))):
            name, ranks = str(name), _members(c10d, group)
            missing = [rank for rank in ranks if told[rank]["groups"].get(name) != ranks]
            if missing:
                self._reply["notices"].append(
                    f"the group of {ranklist.name(ranks)} is not known to {ranklist.name(missing)}: make it again"
                )
                continue
            with self._uninterrupted():
                self._renew(group, name, ranks, connects)
            self._reply["groups"].append(name)
        _cut_off = False

    def _renew(self, group: Any, name: str, ranks: list[int], connects: bool) -> None:
        """Give a group new connections. `connects`: on all ranks its backends can themselves connect again."""
        c10d = self._c10d
        renewed = _renewed.setdefault(group, _Renewed())
        default = None
        for number, (backend, devices) in enumerate(_backends(group)):
            part = f"{name}/{number}"
            if not isinstance(_inner(backend), _kinds(c10d)):
                self._reply["notices"].append(
                    f"the group of {ranklist.name(ranks)} stays as it is: a backend {backend.name()} cannot be mended"
                )
                continue
            if connects and all(map(_is_reconfigurable, renewed.parts_of(backend))):
                for index, one in enumerate(renewed.parts_of(backend)):
                    self._reconfigure(one, f"{part}/{index}", ranks)
                continue
            new = self._another(renewed, backend, self._meeting.store(part), group)
            kind = renewed.take_type(c10d)
            for device in devices:
                group._register_backend(device, kind, new)
            if default is None or any(device.type != "cpu" for device in devices):
                default = kind
                collectives.count_by(group, new)
        if default is not None:
            if hasattr(group, "_set_default_backend"):  # since torch 2.5
                group._set_default_backend(default)
            if hasattr(group, "_set_group_name"):  # the new backends need to know the name, too
                group._set_group_name(group.group_name)
                group._set_group_desc(group.group_desc)
        c10d._pg_map[group] = (c10d._pg_map[group][0], self._meeting.store(f"{name}/later"))

    def _reconfigure(self, backend: Any, part: str, ranks: list[int]) -> None:
        """Have a backend connect again."""
        options = self._c10d.ReconfigureOptions()
        options.uuid = self._meeting.number
        options.handles = self._meeting.exchange(part, backend.get_reconfigure_handle(), ranks)
        options.timeout = self._meeting.left
        backend.reconfigure(options).wait()

    def _another(self, renewed: _Renewed, backend: Any, store: Any, group: Any) -> Any:
        """Return a new backend like the given one, with its own connections."""
        c10d = self._c10d
        inner, rank, size = _inner(backend), group.rank(), group.size()
        timeout = inner.options._timeout
        if isinstance(inner, c10d.ProcessGroupGloo):
            new = c10d.ProcessGroupGloo(store, rank, size, _gloo_options(c10d, inner.options))
        else:
            new = c10d.ProcessGroupNCCL(store, rank, size, inner.options)
        if hasattr(new, "_set_sequence_number_for_group"):  # from torch 2.2 on it does nothing
            new._set_sequence_number_for_group()
        if inner is backend:
            return new
        helper = c10d.ProcessGroupGloo(c10d.PrefixStore("checks", store), rank, size, timeout)
        wrapper = c10d._ProcessGroupWrapper(new, helper)
        renewed.wrappers.append((wrapper, [new, helper]))
        return wrapper

    def _anew(self, namespace: dict[str, Any]) -> None:
        """Leave all groups and join the default one again."""
        global _cut_off, _left
        c10d = self._c10d
        old = dict(c10d._pg_names)
        self._reply["stale"] = holders.of(list(old), c10d.GroupMember.WORLD, namespace)
        _left = self._default
        with self._uninterrupted():
            if c10d.is_initialized():
                c10d.destroy_process_group()
            c10d._group_count = 0  # a join that failed has raised it, and the ranks' names would differ
            # The end of a group waits for its threads; nobody shall wait for that.
            threading.Thread(target=old.clear, name="dipls old groups", daemon=True).start()
            c10d.init_process_group(
                self._default.backend,
                store=self._meeting.store("default"),
                rank=self._default.rank,
                world_size=self._default.size,
                timeout=self._default.timeout,
            )
        _left, _cut_off = None, False
        self._reply["groups"] = [str(name) for name in c10d._pg_names.values()]

    @contextlib.contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """Put an interrupt off while a group is formed, since other ranks wait for this one meanwhile.

        They wait at the store, in C++, until the group's timeout, and would not hear of the interrupt.
        """
        formed = threading.Event()
        self._interrupts.hold()
        try:
            threading.Thread(target=self._give_up, args=(formed,), name="dipls mending", daemon=True).start()
            yield
        finally:
            formed.set()
            self._interrupts.release()

    def _give_up(self, formed: threading.Event) -> None:
        """Free this rank if the others do not come. Its groups may be formed the next time."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread is to get them
        until = self._meeting.deadline
        while not formed.wait(_LOOK):
            if self._interrupts.wanted:
                until = min(until, time.monotonic() + _ALONE)
            if time.monotonic() > until:
                _cut_off_from_store()
                return


def _gloo_options(c10d: ModuleType, old: Any) -> Any:
    """Return options for a backend that shares another one's devices, with their threads and descriptors."""
    options = c10d.ProcessGroupGloo._Options()
    for name in ("_devices", "_threads", "_timeout", "global_ranks_in_group", "group_name"):
        if hasattr(old, name):
            setattr(options, name, getattr(old, name))
    return options
