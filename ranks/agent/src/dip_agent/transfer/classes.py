"""Whether two classes of `__main__`, made in different processes, are the same code."""

from __future__ import annotations

import enum
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

_LRUCache = type(functools.lru_cache(len))
_HOLDERS = (functools.cached_property, functools.partialmethod, functools.singledispatchmethod)
_GENERATED = frozenset({"__annotate__", "__annotate_func__"})  # made by Python 3.14; no code of the class
_ATOMS = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))


def is_named(cls: type) -> bool:
    """Whether a class is of `__main__`, and a namespace can have it under its qualified name."""
    return cls.__module__ == "__main__" and "<locals>" not in cls.__qualname__


def find(namespace: Mapping[str, Any], qualname: str) -> type | None:
    """Return the class of `__main__` that a namespace has under that qualified name."""
    first, *rest = qualname.split(".")
    found = namespace.get(first)
    for name in rest:
        found = vars(found).get(name) if isinstance(found, type) else None
    return found if isinstance(found, type) and found.__module__ == "__main__" else None


class Fingerprints:
    """Fingerprints of classes: equal in all processes of one Python that have run the same code.

    They cover the names of a class, its bases and metaclass, its functions and an enum's members, but no other data
    and no line numbers. Each is computed once in the life of this object, which must not outlive the classes.
    """

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def of(self, cls: type) -> str:
        """Return the fingerprint of a class."""
        known = self._known.get(id(cls))
        if known is None:
            known = self._known[id(cls)] = hashlib.sha256(repr(self._class(cls)).encode()).hexdigest()
        return known

    def _class(self, cls: type) -> Any:
        functions = _Functions()
        parts = vars(cls)
        return (
            cls.__name__,
            cls.__qualname__,
            self._related(type(cls)),
            [self._related(base) for base in cls.__bases__],
            sorted(name for name, value in parts.items() if isinstance(value, types.MemberDescriptorType)),
            _members(cls),
            [
                (name, found)
                for name in sorted(parts.keys() - _GENERATED)
                if (found := functions.of(parts[name])) is not None
            ],
        )

    def _related(self, cls: type) -> str:
        return self.of(cls) if cls.__module__ == "__main__" else _name(cls)


class _Functions:
    """Describes what the functions of one class do. They may refer to each other, also in a circle."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}  # id → number

    def of(self, value: Any) -> Any:
        """Return a description of a function, or of an object that holds functions. None for data."""
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, (staticmethod, classmethod)):
            held = [value.__func__]
        elif isinstance(value, (property, types.DynamicClassAttribute)):
            held = [value.fget, value.fset, value.fdel]
        elif isinstance(value, _HOLDERS):
            held = [value.func]
        elif isinstance(value, _LRUCache):
            held = [value.__wrapped__]
        else:
            return None
        found = [self.of(one) for one in held]
        return None if found == [None] * len(found) else (type(value).__name__, found)

    def _function(self, function: types.FunctionType) -> Any:
        if id(function) in self._seen:
            return self._seen[id(function)]
        self._seen[id(function)] = len(self._seen)
        return (
            _code(function.__code__),
            [self._value(default) for default in function.__defaults__ or ()],
            [(name, self._value(default)) for name, default in sorted((function.__kwdefaults__ or {}).items())],
            [self._cell(cell) for cell in function.__closure__ or ()],
        )

    def _cell(self, cell: types.CellType) -> Any:
        try:
            return self._value(cell.cell_contents)
        except ValueError:
            return None  # the cell is empty

    def _value(self, value: Any) -> Any:
        """Describe a default value, or what a decorator keeps: functions and constants, and other data by type."""
        found = self.of(value)
        return _constant(value) if found is None else found


def _code(code: types.CodeType) -> Any:
    return (
        code.co_code,
        getattr(code, "co_exceptiontable", b""),  # since Python 3.11
        code.co_flags,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
        [_constant(constant) for constant in code.co_consts],
    )


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _code(value)
    kind = type(value)
    if kind in _ATOMS:
        return repr(value)
    if kind is tuple:
        return kind.__name__, [_constant(item) for item in value]
    if kind is frozenset:
        return kind.__name__, sorted(repr(_constant(item)) for item in value)  # the order differs between processes
    return _name(value if isinstance(value, type) else kind)


def _members(cls: type) -> Any:
    if not isinstance(cls, enum.EnumMeta):
        return None
    return [(name, _constant(cls._member_map_[name]._value_)) for name in cls._member_names_]


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
