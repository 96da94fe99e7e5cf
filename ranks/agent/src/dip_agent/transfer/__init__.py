"""Variables on their way from one process's namespace to another's, in memory that both map.

`pack` puts variables where other processes can map them, and `unpack` takes them from there. `Transfers` does both for
a rank. The format is in docs/wire.md, "Payload".

    pickles  how each kind of object is pickled
    classes  whether two classes are the same code
    arrays   how arrays and tensors are pickled
    memory   where the bytes lie
    owned    arrays and storages over that memory, which can be resized
    parts    what later pushes share with earlier ones
    explain  why something cannot be sent
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from typing import Any, Callable

from .. import wire
from ..wire import Message
from . import memory, owned, pickles
from .explain import TransferError
from .memory import NoRoomError, Piece, Shared
from .parts import Parts, Pushed
from .pickles import Loaded as Incoming

__all__ = ["Incoming", "Outgoing", "Pushed", "TransferError", "Transfers", "pack", "unpack"]


class Outgoing:
    """Variables that other processes can map until `close`."""

    def __init__(self, shared: Shared, payload: dict[str, Any], parts: Parts):
        self.payload = payload  # as in docs/wire.md, "Payload"
        self.notice = shared.notice  # a sentence for the user, or empty
        self.parts = parts  # the tensors and arrays among them
        self._shared = shared

    def close(self) -> None:
        """Let go of the memory. Those who have unpacked the variables keep them."""
        self._shared.close()

    def __enter__(self) -> Outgoing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pack(variables: dict[str, Any], namespace: dict[str, Any], check: Callable[[], None] | None = None) -> Outgoing:
    """Pickle variables of `namespace` into memory that other processes can map.

    `check`, if given, is called now and then. What it raises ends this.

    Raises TransferError if one of them cannot be pickled or if there is no room. Any exception leaves nothing behind.
    """
    pickled = pickles.dump(variables, namespace, check)
    buffers = [buffer.raw() for buffer in pickled.buffers]
    try:
        shared = memory.share([Piece.of(*pickled.chunks), *map(Piece.of, buffers)])
    except (NoRoomError, OSError) as err:
        raise TransferError("", f"{', '.join(variables)} cannot be sent: {wire.text(err)}") from err
    payload = {
        "host": memory.host(),
        "files": shared.files,
        "pickle": shared.places[0],
        "buffers": [[*place, buffer.readonly] for place, buffer in zip(shared.places[1:], buffers)],
        "bytes": sum(size for _, _, size in shared.places),
    }
    return Outgoing(shared, payload, pickled.parts)


def unpack(names: Sequence[str], payload: dict[str, Any], namespace: dict[str, Any]) -> Incoming:
    """Map and unpickle variables that `pack` has put somewhere. The result's `commit` binds them.

    Functions among the values may need globals that come with them. These stay in `namespace` only after `commit`. A
    name may be there twice. Only one thread at a time may do this.

    Raises TransferError. Any exception leaves `namespace` as it was.
    """
    names = list(dict.fromkeys(names))
    if (there := payload["host"]) != (here := memory.host()):
        what = ", ".join(names)
        raise TransferError("", f"{what} cannot be received: the memory of {there} cannot be mapped on {here}")
    try:
        files = memory.open_shared(payload["files"])
    except (OSError, ValueError) as err:
        raise TransferError(
            "",
            f"{', '.join(names)} cannot be received: {wire.text(err)}. Is the process that sent them gone? Try again.",
        ) from err
    places = [payload["pickle"], *payload["buffers"]]
    data, *buffers = [files[file][offset : offset + size] for file, offset, size, *_ in places]
    return pickles.load(data, [pickle.PickleBuffer(buffer) for buffer in buffers], names, namespace)


class Transfers:
    """A rank's side of push and pull."""

    def __init__(self, namespace: dict[str, Any], directory: str, host: str):
        """`directory` and `host` are as for `memory.configure`."""
        memory.configure(directory, host)
        self._namespace = namespace
        self._staged: Incoming | None = None
        self._lock = threading.Lock()  # guards `_pulled` and `_pulling`, which `release` changes on another thread
        self._pulled: dict[str, Outgoing] = {}
        self._pulling: set[str] = set()  # ids of pull_requests that are being served and have not been released
        self._pickling = threading.Lock()  # one thread at a time pickles or unpickles

    def push(self, request: Message) -> dict[str, Any]:
        """Unpickle the variables of a push_request, which then wait for `end_push`. Returns the reply's content."""
        self.end_push(False)
        try:
            with self._pickling:
                self._staged = unpack(request.content["names"], request.content["payload"], self._namespace)
        except TransferError as err:
            return {**wire.failure(err), "name": err.name}
        return {}

    def end_push(self, commit: bool) -> None:
        """Bind the variables that a push has brought, or forget them."""
        staged, self._staged = self._staged, None
        if staged is not None and commit:
            staged.commit()
        elif staged is not None:
            staged.abort()

    def pull(self, request: Message, check: Callable[[], None] | None = None) -> dict[str, Any]:
        """Pickle the variables of a pull_request for its reply. For any thread. `check` is as in `pack`."""
        names = request.content["names"]
        for name in names:
            if name not in self._namespace:
                undefined = NameError(f"name {name!r} is not defined")
                return {**wire.failure(undefined), "name": name}
        with self._lock:
            self._pulling.add(request.id)
        try:
            with self._pickling:
                outgoing = pack({name: self._namespace[name] for name in names}, self._namespace, check)
            if check is not None:
                check()
            with self._lock:
                if request.id in self._pulling:
                    self._pulled[request.id] = outgoing
        except TransferError as err:
            return {**wire.failure(err), "name": err.name}
        finally:
            with self._lock:
                self._pulling.discard(request.id)
        return {"payload": outgoing.payload}

    def prune(self) -> None:
        """Let go of globals that came with functions and were replaced since, and of memory that arrays have left."""
        if self._pickling.acquire(blocking=False):  # otherwise the next call does it
            try:
                pickles.prune(self._namespace)
                owned.free_left()
            finally:
                self._pickling.release()

    def release(self, content: dict[str, Any]) -> None:
        """Free the memory of the reply to the pull_request `content["parent"]`. Called under the turn."""
        parent = content.get("parent")
        with self._lock:
            outgoing = self._pulled.pop(parent, None)
            self._pulling.discard(str(parent))
        if outgoing is not None:
            outgoing.close()
