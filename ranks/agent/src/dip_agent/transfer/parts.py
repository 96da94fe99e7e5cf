"""Which tensors and arrays earlier pushes have brought. If a later push brings one again, ranks get another copy of it.

An optimizer that is pushed after its model thus has parameters that no model on the ranks has, and changes nothing.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

Parts = dict[int, "weakref.ref[Any]"]  # by id, as long as they live


class Collector:
    """Gathers the tensors and arrays that a pickler comes to, in `parts`."""

    def __init__(self, parts: Parts):
        self._parts = parts
        loaded = (
            getattr(sys.modules.get(name), kind, None) for name, kind in (("numpy", "ndarray"), ("torch", "Tensor"))
        )
        self.kinds = tuple(kind for kind in loaded if kind is not None)  # the types to look for

    def see(self, value: Any) -> None:
        """Note a tensor or an array, or the one that it is a view of."""
        base = getattr(value, "_base", None)  # a tensor's
        if base is None:
            base = getattr(value, "base", None)  # an array's, which may be any object with bytes
        owner = base if isinstance(base, self.kinds) else value
        self._parts[id(owner)] = weakref.ref(owner)


class _Push(NamedTuple):
    names: tuple[str, ...]
    ranks: frozenset[int]
    parts: Parts


class Pushed:
    """The pushes to a pool so far. A name belongs to the last push that has brought it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows: any thread may push
        self._pool = 0
        self._pushes: list[_Push] = []

    def add(self, pool: int, ranks: Iterable[int], names: Collection[str], parts: Parts) -> str:
        """Note a push to ranks of a pool. Returns a sentence about what it shares with earlier ones, or "".

        `pool` is the pool's number. What an earlier pool got is gone.
        """
        with self._lock:
            if pool != self._pool:
                self._pool, self._pushes = pool, []
            return self._add(_Push(tuple(names), frozenset(ranks), parts))

    def _add(self, push: _Push) -> str:
        sentence = ""
        kept = []
        for earlier in self._pushes:
            replaced = set(push.names) if earlier.ranks <= push.ranks else set()
            left = tuple(name for name in earlier.names if name not in replaced)
            if not left:
                continue
            shared = _shared(push.parts, earlier.parts)
            others = [name for name in left if name not in push.names]
            if shared and others and not sentence and earlier.ranks & push.ranks:
                sentence = _describe(push.names, others, shared)
            kept.append(earlier._replace(names=left))
        if push.parts:
            kept.append(push)
        self._pushes = kept
        return sentence


def _shared(some: Parts, others: Parts) -> int:
    """Count the parts that are in both and still live."""
    found = 0
    for key in some.keys() & others.keys():
        part = some[key]()
        found += part is not None and part is others[key]()
    return found


def _describe(names: Collection[str], others: Collection[str], shared: int) -> str:
    def listed(names: Collection[str]) -> str:
        return ", ".join(names)

    what = "a tensor or array" if shared == 1 else f"{shared} tensors and arrays"
    together = " ".join(dict.fromkeys([*others, *names]))
    verb = "shares" if len(names) == 1 else "share"
    return (
        f"{listed(names)} {verb} {what} with what was pushed earlier ({listed(others)}): on the ranks each has copies "
        f"of its own, and what one changes the other does not see. Push them in one: %dipush {together}"
    )
