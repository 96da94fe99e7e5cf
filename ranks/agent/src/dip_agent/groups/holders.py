"""Which of the user's objects still hold a process group that has ended. The user has to make them again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

_MOST = 100  # items of a container to look at
_CONTAINERS = (list, tuple, set, frozenset)
_IPYTHONS = frozenset({"In", "Out"})
_WRAPPERS = frozenset({"DistributedDataParallel", "FullyShardedDataParallel"})


def of(groups: list[Any], default: Any, namespace: dict[str, Any]) -> list[dict[str, str]]:
    """Return `{"name", "type", "todo"}` of each variable, or item directly in one, that holds one of the groups.

    No user code is called. `default` is the default group, or None.
    """
    ids = {id(group): group is default for group in groups}
    found = []
    for name, value in list(namespace.items()):
        if name.startswith("_") or name in _IPYTHONS:
            continue
        for path, item in ((name, value), *_within(name, value)):
            if todo := _todo(item, ids):
                found.append({"name": path, "type": type(item).__name__, "todo": todo})
                if item is value:
                    break  # its items are made again with it
    return found


def _todo(value: Any, ids: dict[int, bool]) -> str:
    """Return what the user has to do about a value, "" if it holds none of the groups."""
    if id(value) in ids:
        return "take dist.group.WORLD again" if ids[id(value)] else "make it again with new_group"
    if not any(cls.__module__.partition(".")[0] == "torch" for cls in type(value).__mro__):
        return ""
    for item in _attributes(value).values():
        if id(item) in ids or (isinstance(item, _CONTAINERS) and any(id(one) in ids for one in islice(item, _MOST))):
            wrapper = any(cls.__name__ in _WRAPPERS for cls in type(value).__mro__)
            return "wrap it again" if wrapper else "make it again"
    return ""


def _within(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each item directly in a value, with the expression for it."""
    if isinstance(value, dict):
        for key, item in islice(list(value.items()), _MOST):
            yield f"{name}[{key!r}]" if isinstance(key, (str, int)) else name, item
    elif isinstance(value, _CONTAINERS):
        for index, item in enumerate(islice(list(value), _MOST)):
            yield f"{name}[{index}]", item
    elif not isinstance(value, type):
        for attribute, item in _attributes(value).items():
            yield f"{name}.{attribute}", item


def _attributes(value: Any) -> dict[str, Any]:
    """Return an object's own attributes, for a torch module also its submodules. A Python module has none here."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    if not isinstance(own, dict) or "__spec__" in own:
        return {}
    children = own.get("_modules")
    return {**own, **children} if isinstance(children, dict) else dict(own)
