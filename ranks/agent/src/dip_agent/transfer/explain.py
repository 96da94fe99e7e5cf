"""Why a variable cannot go from one process to another: the error, and where in the variable the culprit is."""

from __future__ import annotations

import functools
import itertools
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple

NODES = 200_000  # at most so many objects are looked at in search of a culprit
DEPTH = 100  # steps from the variable to the culprit


class TransferError(Exception):
    """A variable cannot be sent or received. `name` is its name, or "" if this is about all variables."""

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.name = name


class Place(NamedTuple):
    """Where an object was found: an expression, and what its first name is if it is no variable of the namespace.

    `through` is the first global on the way that a function uses; an attribute does not count.
    """

    expression: str
    origin: str = ""
    through: str = ""
    depth: int = 0

    def __str__(self) -> str:
        if not self.origin:
            return self.expression
        return self.origin if self.expression.isidentifier() else f"{self.expression} ({self.origin})"

    def inside(self, suffix: str) -> Place:
        """Return the place of a part of the object."""
        return self._replace(expression=self.expression + suffix, depth=self.depth + 1)

    def used(self, name: str, origin: str, through: str = "") -> Place:
        """Return the place of an object that the function at this place knows as `name`."""
        return Place(name, origin, self.through or through, self.depth + 1)


def locate(culprit: Any, name: str, value: Any, namespace: Mapping[str, Any]) -> Place | None:
    """Return the shortest way to the object `culprit` in the variable `name`. None if it is not found."""
    todo = deque([(Place(name), value)])
    seen = {id(value): value}
    while todo:
        place, found = todo.popleft()
        if found is culprit:
            return place
        if place.depth >= DEPTH:
            continue
        for part, child in itertools.islice(_parts(place, found, namespace), NODES):
            if child is culprit:
                return part
            if id(child) not in seen and len(seen) < NODES and not isinstance(child, _LEAVES):
                seen[id(child)] = child
                todo.append((part, child))
    return None


_LEAVES = (type(None), bool, int, float, complex, str, bytes, bytearray, types.ModuleType, types.BuiltinFunctionType)


def _parts(place: Place, value: Any, namespace: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Yield what a pickle of `value` would hold, each with its place."""
    try:
        if isinstance(value, types.FunctionType):
            yield from _function_parts(place, value, namespace)
        elif isinstance(value, types.MethodType):
            yield place.inside(".__self__"), value.__self__
            yield place.inside(".__func__"), value.__func__
        elif isinstance(value, type):
            yield from _class_parts(place, value)
        else:
            yield from _instance_parts(place, value)
    except Exception:
        return  # an object that cannot be looked at has no parts to name


def _function_parts(place: Place, function: Any, namespace: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield place.used(name, f"{place}'s closure variable {name!r}"), cell.cell_contents
        except ValueError:
            pass  # the cell is empty
    for name in sorted(global_names(function.__code__)):
        if name in function.__globals__:
            through = name if function.__globals__ is namespace else ""
            yield place.used(name, f"global {name!r} of {place}", through), function.__globals__[name]
    for number, default in enumerate(function.__defaults__ or ()):
        yield place.inside(f".__defaults__[{number}]"), default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield place.inside(f".__kwdefaults__[{name!r}]"), default
    yield from _attributes(place, function)


def _class_parts(place: Place, cls: type) -> Iterator[tuple[Place, Any]]:
    if cls.__module__ != "__main__" and "<locals>" not in cls.__qualname__:
        return  # it is pickled by name
    for name, value in vars(cls).items():
        if isinstance(value, (staticmethod, classmethod)):
            yield place.inside(f".{name}"), value.__func__
        elif isinstance(value, property):
            for accessor in filter(None, (value.fget, value.fset, value.fdel)):
                yield place.inside(f".{name}"), accessor
        yield place.inside(f".{name}"), value
    for base in cls.__bases__:
        yield place.inside(f".__mro__[{cls.__mro__.index(base)}]"), base


def _instance_parts(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield place.inside(f"[{_short(key)}]"), item
            yield place.inside(f"[key {_short(key)}]"), key
    elif isinstance(value, (list, tuple, deque)):
        for number, item in enumerate(value):
            yield place.inside(f"[{number}]"), item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield place.inside("{…}"), item
    elif isinstance(value, functools.partial):
        for name in ("func", "args", "keywords"):
            yield place.inside(f".{name}"), getattr(value, name)
    yield from _attributes(place, value)
    yield place.inside(".__class__"), type(value)
    yield from _reduced(place, value)


def _attributes(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    for name, item in list(getattr(value, "__dict__", {}).items()):
        yield place.inside(f".{name}"), item
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                yield place.inside(f".{name}"), getattr(value, name)


def _reduced(place: Place, value: Any) -> Iterator[tuple[Place, Any]]:
    """Yield what the object itself gives to pickle. A last resort for objects of C types, or with no other parts."""
    if isinstance(value, (dict, list, tuple, set, frozenset)) or type(value).__module__ in ("numpy", "torch"):
        return
    reduced = value.__reduce_ex__(5)
    if isinstance(reduced, tuple):
        for part in itertools.islice(reduced, 1, 3):
            for item in part if isinstance(part, tuple) else (part,):
                yield place, item


def global_names(code: types.CodeType) -> set[str]:
    """Return the names that `code` and the code in it might look up as globals."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= global_names(constant)
    return names


def _short(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 40 else text[:39] + "…"


def reason(err: BaseException, say: Callable[[BaseException], str]) -> str:
    """Return in a few words what went wrong. `say` is a `str` that does not raise."""
    if isinstance(err, RecursionError) or isinstance(err.__cause__, RecursionError):
        return "it is nested too deeply"
    words = say(err)
    if isinstance(err, (TypeError, AttributeError)) or type(err).__name__ == "PicklingError":
        return words or type(err).__name__
    return f"{type(err).__name__}: {words}" if words else type(err).__name__
