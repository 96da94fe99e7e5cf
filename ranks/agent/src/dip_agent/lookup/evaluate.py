"""The value of a dotted name, found by running as little user code as possible."""

from __future__ import annotations

import ast
import builtins
import enum
import inspect
import re
import sys
import types
from typing import Any

NAME = r"[^\W\d]\w*"
_STEP = rf"\.{NAME}|\[(?:-?\d+|'[^'\\\n]*'|\"[^\"\\\n]*\")\]"
CHAIN = rf"{NAME}(?:{_STEP})*"  # a.b[0]['c'].d
FREE = r"(?<![\w.\)\]'\"])"  # before a chain: it does not continue something else
_DOTTED = re.compile(rf"{FREE}{NAME}(?:\.{NAME})*")
_PARTS = re.compile(rf"^{NAME}|{_STEP}")


_HEAP_TYPE, _IMMUTABLE_TYPE = 1 << 9, 1 << 8  # bits of a type's __flags__: made at run time; cannot be changed


class Computed(LookupError):
    """User code would compute the attribute's value, and is not run. `descriptor` is the attribute's descriptor."""

    def __init__(self, descriptor: Any):
        super().__init__("what a property computes is not looked at")
        self.descriptor = descriptor


def chain_at(code: str, cursor: int) -> str:
    """Return the dotted name at a place in code, up to the end of the part at that place. "" if there is none."""
    start = code.rfind("\n", 0, cursor) + 1
    end = code.find("\n", cursor)
    line = code[start : end if end >= 0 else len(code)]
    for match in _DOTTED.finditer(line):
        if match.start() <= cursor - start <= match.end():
            dot = line.find(".", cursor - start, match.end())
            return line[match.start() : dot if dot >= 0 else match.end()]
    return ""


def evaluate(chain: str, space: dict[str, Any]) -> Any:
    """Return the value of a chain such as `a.b[0]['c']`.

    Raises whatever keeps it from having a value, and `Computed` if its last step is a property.
    """
    first, *steps = _PARTS.findall(chain)
    value = space[first] if first in space else vars(builtins)[first]
    for place, step in enumerate(steps, 1):
        try:
            value = _attribute(value, step[1:]) if step[0] == "." else _item(value, ast.literal_eval(step[1:-1]))
        except Computed as err:
            if place < len(steps):
                raise LookupError(str(err)) from None
            raise
    return value


def _attribute(value: Any, name: str) -> Any:
    if issubclass(type(value), types.ModuleType):
        return vars(value)[name]  # a module's own __getattr__ may import, and an import must not be interrupted
    if issubclass(type(value), enum.EnumMeta) and name in (members := vars(value).get("_member_map_", {})):
        return members[name]
    try:
        found = inspect.getattr_static(value, name)
    except AttributeError:
        return _child(value, name)
    if not any("__get__" in vars(cls) for cls in type(found).__mro__):
        return found
    if not _only_binds(found):
        raise Computed(found)
    if issubclass(type(value), type) and any(name in vars(cls) for cls in value.__mro__):
        return type(found).__get__(found, None, value)
    return type(found).__get__(found, value, type(value))


def _only_binds(descriptor: Any) -> bool:
    """Whether a descriptor runs no user code to get an attribute, as functions, slots and fields of C types do not."""
    cls = type(descriptor)
    if cls in (classmethod, staticmethod):
        return isinstance(descriptor.__func__, (types.FunctionType, types.BuiltinFunctionType))
    if cls is property:
        return False
    return not cls.__flags__ & _HEAP_TYPE or bool(cls.__flags__ & _IMMUTABLE_TYPE)


def _child(value: Any, name: str) -> Any:
    """Return what a `torch.nn.Module` would find by `__getattr__`: a parameter, buffer or module."""
    torch = sys.modules.get("torch")
    if torch is not None and issubclass(type(value), torch.nn.Module):
        for store in ("_parameters", "_buffers", "_modules"):
            if name in (held := vars(value).get(store, {})):
                return held[name]
    raise AttributeError(name)


def _item(value: Any, key: Any) -> Any:
    # A dataset may read, transform or draw its items at random. Looking at one would change what a cell gets.
    if not isinstance(value, (list, tuple, dict)) and type(value).__module__ != "torch.nn.modules.container":
        raise LookupError(f"items of {type(value).__name__} are not looked at")
    return value[key]
