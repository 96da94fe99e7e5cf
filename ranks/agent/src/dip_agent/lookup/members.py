"""What an object consists of: items of built-in containers, fields of others. None of it is computed by user code."""

from __future__ import annotations

import collections
import itertools
import sys
import types
import zlib
from collections.abc import Iterator
from typing import Any

from .describe import _gpu_is_busy, _is_torch, kind_of

MAX_MEMBERS = 200
BLOCK = 1 << 20  # elements of an array that are looked at, and copied, at a time
MAX_COPY = 1 << 28  # bytes of a tensor on a GPU that are copied to find its checksum

_LISTS = (list, tuple, collections.deque)


def has_members(value: Any) -> bool:
    """Whether `members` finds something in a value. It looks at no member."""
    if kind_of(value) != "instance":
        return False
    if issubclass(type(value), (dict, *_LISTS)):
        return bool(_length(value))
    return not _is_array(value) and next(_fields(value), None) is not None


def members(value: Any) -> tuple[list[tuple[str, Any, bool]], int]:
    """Return the members of a value, and how many were left out.

    Each has a step, which is what follows the value's own name (`.weight`, `[0]`, `['lr']`), the value there, and
    whether `evaluate` takes that step.
    """
    cls = type(value)
    steps = _plainly_indexed(cls)
    if issubclass(cls, dict):
        found: Iterator[tuple[str, Any, bool]] = (_keyed(key, item, steps) for key, item in dict.items(value))
        size = _length(value)
    elif issubclass(cls, _LISTS):
        found = ((f"[{i}]", item, steps) for i, item in enumerate(_items(value)))
        size = _length(value)
    else:
        fields = list(_fields(value))
        found, size = (_named(value, name, item) for name, item in fields), len(fields)
    return list(itertools.islice(found, MAX_MEMBERS)), max(0, size - MAX_MEMBERS)


def digest(value: Any) -> str:
    """Return what tells arrays apart without showing them: `norm 1.5 · crc 9c1185a5`. Returns "" if there is none."""
    try:
        return _digest(value)
    except Exception:  # a type for which there is no norm, or no memory
        return ""


def _digest(value: Any) -> str:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and type(value) is numpy.ndarray:
        return _digest_of_array(numpy, value)
    if torch is None or not _is_torch(value) or value.layout is not torch.strided or value.is_quantized:
        return ""
    if value.device.type != "cpu" and (value.device.type != "cuda" or _gpu_is_busy(value.device)):
        return ""
    with torch.no_grad():
        return _digest_of_tensor(torch, value.detach())


def _digest_of_array(numpy: Any, array: Any) -> str:
    if array.dtype.kind not in "biufc":
        return ""
    norms, crc = [0.0], 0
    for start in range(0, array.size, BLOCK):
        block = array.flat[start : start + BLOCK]
        norms.append(numpy.linalg.norm(block.astype(complex if array.dtype.kind == "c" else float)))
        crc = _checksum(block, crc)
    return f"norm {numpy.linalg.norm(norms):.6g} · crc {crc:08x}"


def _digest_of_tensor(torch: Any, tensor: Any) -> str:
    copied = tensor.device.type != "cuda" or tensor.numel() * tensor.element_size() <= MAX_COPY
    norms, crc = [], 0
    for block in _blocks(tensor):
        wide = block if block.is_complex() else block.to(torch.float64)
        norms.append(torch.linalg.vector_norm(wide).to(torch.float64))
        if copied:
            whole = block.cpu().clone(memory_format=torch.contiguous_format)  # a single element may have any stride
            crc = _checksum(whole.view(torch.uint8).numpy(), crc)
    text = f"norm {torch.linalg.vector_norm(torch.stack(norms)).item():.6g}"
    return f"{text} · crc {crc:08x}" if copied else text


def _blocks(tensor: Any) -> Iterator[Any]:
    """Cut a tensor into flat ones of at most BLOCK elements, in order. Only a block is ever copied."""
    if tensor.numel() <= BLOCK:
        yield tensor.reshape(-1)
    elif tensor.is_contiguous():
        yield from tensor.view(-1).split(BLOCK)
    elif (row := tensor.numel() // tensor.shape[0]) > BLOCK:
        for part in tensor:
            yield from _blocks(part)
    else:
        yield from (part.reshape(-1) for part in tensor.split(BLOCK // row))


def _checksum(array: Any, crc: int) -> int:
    data = memoryview(array).cast("B")
    for start in range(0, len(data), 1 << 20):  # an interrupt can end it between two pieces
        crc = zlib.crc32(data[start : start + (1 << 20)], crc)
    return crc


def _length(value: Any) -> int:
    """The length of a built-in container, whatever a class of the user's says about it."""
    for cls in (dict, *_LISTS):
        if issubclass(type(value), cls):
            return cls.__len__(value)
    return 0


def _items(value: Any) -> Iterator[Any]:
    for cls in _LISTS:
        if issubclass(type(value), cls):
            return cls.__iter__(value)
    return iter(())


def _plainly_indexed(cls: type) -> bool:
    """Whether an index into an object of a class runs no user code."""
    for base in cls.__mro__:
        if "__getitem__" in vars(base):
            return base in (dict, list, tuple)
    return False


def _keyed(key: Any, item: Any, steps: bool) -> tuple[str, Any, bool]:
    if type(key) is str and key.isprintable() and not set(key) & set("\\'"):
        return f"['{key}']", item, steps
    if type(key) is int:
        return f"[{key}]", item, steps
    parts = key if type(key) is tuple else (key,)
    plain = all(type(part) in (str, bytes, int, float, bool, type(None)) for part in parts)
    return f"[{repr(key)[:80] if plain else type(key).__name__}]", item, False


def _named(value: Any, name: str, item: Any) -> tuple[str, Any, bool]:
    if name.isdigit() and type(value).__module__ == "torch.nn.modules.container":
        return f"[{name}]", item, True
    return f".{name}", item, name.isidentifier()


def _is_array(value: Any) -> bool:
    cls = type(value)
    return _is_torch(value) or cls.__module__.partition(".")[0] in ("numpy", "pandas", "builtins")


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds by name: parameters, buffers and submodules of a module, then fields, public ones first."""
    torch = sys.modules.get("torch")
    held = _own_dict(value)
    stores: tuple[str, ...] = ()
    if torch is not None and issubclass(type(value), torch.nn.Module):
        stores = ("_parameters", "_buffers", "_modules")
        for store in stores:
            yield from ((name, item) for name, item in held.get(store, {}).items() if isinstance(name, str))
    names = [name for name in held if isinstance(name, str) and name not in stores and not name.startswith("__")]
    if stores:  # the rest of a module's own is machinery
        names = [name for name in names if not name.startswith("_")]
    for name in sorted(names, key=lambda name: name.startswith("_")):
        yield name, held[name]
    for cls in type(value).__mro__:
        for name, slot in vars(cls).items():
            if type(slot) is types.MemberDescriptorType and cls.__module__ != "builtins" and not name.startswith("__"):
                try:
                    yield name, slot.__get__(value, type(value))
                except AttributeError:
                    pass  # nothing was put there yet


def _own_dict(value: Any) -> dict[str, Any]:
    """An object's `__dict__`, past any that its class computes."""
    for cls in type(value).__mro__:
        slot = vars(cls).get("__dict__")
        if type(slot) is types.GetSetDescriptorType and cls is not type:
            held = slot.__get__(value, type(value))
            return held if type(held) is dict else {}
    return {}
