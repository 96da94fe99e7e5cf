"""Arrays and storages over mapped memory that can be resized like those that have allocated their memory.

Their bytes are not copied: the memory stays shared until somebody resizes them. A resize moves them into memory of
their own, as it may with any array, and lets go of the mapping.

NumPy allows that by the allocator with which an array is made (NEP 49). torch does not, so a storage's allocator is
changed in place. If its place in the storage is not found for sure, or NumPy is older than 1.22, the objects lie over
the memory in the usual way, and cannot be resized.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import itertools
import logging
import sys
import weakref
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)

_COPIED = 1 << 14  # bytes; a smaller array is copied, which is faster than giving it an allocator
_POINTER = ctypes.sizeof(ctypes.c_void_p)


# NumPy.


class _Allocator(ctypes.Structure):
    """NumPy's PyDataMemAllocator. Its functions get `ctx` as first argument."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


class _Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler for one array. The array has a reference to it, and it holds the array's memory."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("allocator", _Allocator),
    ]
    memory: list[Any]  # the array's; during and after a resize, the former one, too
    array = 0  # id of the array

    def free_left(self) -> None:
        """Let go of memory that the array no longer uses."""
        if self.array:
            data = ctypes.cast(self.array, ctypes.py_object).value.ctypes.data
            self.memory = [one for one in self.memory if one.ctypes.data == data]


class _Answers(dict):
    """What callbacks answer, by a number that they return.

    If a callback raises, ctypes returns any number, for which there is no answer here.
    """

    __missing__ = staticmethod({}.get)


_allocations: dict[int, int] = {}  # by the id of its handler: the address of the memory that an array is about to get
_moves = _Answers()
_numbers = itertools.count(0x5EED)
_resized: weakref.WeakValueDictionary[int, _Handler] = weakref.WeakValueDictionary()


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
def _move(context: int, address: int, size: int) -> int:
    """Move an array to new memory. The answer is its address."""
    import numpy

    handler = ctypes.cast(context, ctypes.py_object).value
    (old,) = (one for one in handler.memory if one.ctypes.data == address)
    new = numpy.empty(size, "u1")
    ctypes.memmove(new.ctypes.data, address, min(size, old.nbytes))
    handler.memory = [old, new]  # an interrupt may keep the answer from NumPy: `free_left` looks which one it uses
    _resized[context] = handler
    _moves.clear()
    number = next(_numbers)
    _moves[number] = new.ctypes.data
    return number


_move.restype = _moves.__getitem__

# What NumPy calls. An interrupt in Python code here would lose memory, or worse, so only `_move` is Python code.
_malloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(functools.partial(dict.get, _allocations))
_realloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(_move)
_free = ctypes.pythonapi.Py_DecRef  # gives back the array's reference to its handler
_FUNCTIONS = tuple(ctypes.cast(function, ctypes.c_void_p).value for function in (_malloc, _malloc, _realloc, _free))
_call = functools.partial.__call__


def array(buffer: Any, dtype: Any, shape: Sequence[int], order: str) -> Any:
    """Return an array over the bytes of `buffer`, which it owns."""
    import numpy

    view = memoryview(buffer)
    set_handler = _set_handler() if view.nbytes > _COPIED else None
    if set_handler is not None:
        made = _owning(set_handler, numpy.frombuffer(view, "u1"), dtype, shape, order)
    elif view.nbytes > _COPIED:
        return numpy.ndarray(shape, dtype, buffer, order=order)
    else:
        made = numpy.ndarray(shape, dtype, buffer, order=order).copy(order)
    made.flags.writeable = not view.readonly
    return made


def free_left() -> None:
    """Let go of the memory that arrays have left by being resized."""
    while _resized:
        _resized.popitem()[1].free_left()


def _owning(set_handler: Any, memory: Any, dtype: Any, shape: Sequence[int], order: str) -> Any:
    import numpy

    handler = _Handler(b"dipls", 1)
    handler.memory = [memory]
    key = id(handler)
    handler.allocator = _Allocator(key, *_FUNCTIONS)
    capsule = _api.PyCapsule_New(ctypes.byref(handler), b"mem_handler", None)
    context = contextvars.copy_context()  # NumPy looks for the allocator in the context; nobody else is to find it
    context.run(set_handler, capsule)
    _allocations[key] = memory.ctypes.data
    try:
        reference = functools.partial(_api.Py_IncRef, handler)  # `_free` gives this reference back
        made = [*map(_call, (reference, functools.partial(context.run, numpy.empty, shape, dtype, order)))]
    finally:
        del _allocations[key]
    handler.array = id(made[1])
    return made[1]


_api = ctypes.PyDLL(None)
_api.Py_IncRef.argtypes = (ctypes.py_object,)
_api.Py_IncRef.restype = None
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p

_TABLES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")  # NumPy 2, NumPy 1
_GET_FEATURE_VERSION, _SET_HANDLER = 211, 304  # places in NumPy's table of functions, which do not change
_HANDLERS_SINCE = 0xF  # NumPy 1.22


@functools.cache
def _set_handler() -> Any:
    """Return NumPy's PyDataMem_SetHandler, None if it has none."""
    umath = next(filter(None, map(sys.modules.get, _TABLES)), None)
    if umath is None:
        log.warning("arrays that come from other processes cannot be resized: this NumPy is not known")
        return None
    table = _api.PyCapsule_GetPointer(umath._ARRAY_API, None)
    version, set_handler = (
        ctypes.c_void_p.from_address(table + index * _POINTER).value for index in (_GET_FEATURE_VERSION, _SET_HANDLER)
    )
    if ctypes.PYFUNCTYPE(ctypes.c_uint)(version)() < _HANDLERS_SINCE:
        return None
    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(set_handler)


# torch.

_STORAGE_BYTES = 96  # bytes to look at of a StorageImpl
_LOWEST_ADDRESS = 1 << 16


def storage(memory: memoryview) -> Any:
    """Return an untyped storage over `memory`, which it owns."""
    made = _foreign(memory)
    if (layout := _layout()) is not None:
        _give_allocator(made, layout)
    return made


def _foreign(memory: Any) -> Any:
    """Return a storage over memory that is not torch's."""
    import torch

    tensor = torch.frombuffer(memory, dtype=torch.uint8)
    return tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else untyped(tensor.storage())


def untyped(storage: Any) -> Any:
    """Return the untyped storage in a TypedStorage, None if it is not found."""
    for name in ("_untyped_storage", "_storage"):  # torch 2, torch 1
        if hasattr(storage, name):
            return getattr(storage, name)
    return None


@functools.cache
def _layout() -> tuple[int, int, int] | None:
    """Return where a StorageImpl has its allocator and its flag "resizable", and the address of torch's allocator.

    Storages over torch's memory and over other memory differ only in these. None if the places are not clear.
    """
    import torch

    try:
        # Made in turns, so that whatever lies behind them in memory does not look like a difference.
        pairs = [(torch.UntypedStorage(size), _foreign(bytearray(size))) for size in (64, 192, 4096, 640)]
        ours, theirs = ([ctypes.string_at(one._cdata, _STORAGE_BYTES) for one in some] for some in zip(*pairs))
    except Exception:  # this torch is not as we know it
        log.warning("storages that come from other processes cannot be resized", exc_info=True)
        return None
    pointers, flags = _differences(ours, theirs)
    if len(flags) != 1 or len(pointers) != 1:
        log.warning("storages that come from other processes cannot be resized: %s, %s", flags, pointers)
        return None
    ((pointer, allocator),) = pointers
    return pointer, flags[0], allocator


def _differences(ours: Sequence[bytes], theirs: Sequence[bytes]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return where all `ours` have one pointer, and which, and where they have 1. There all `theirs` have 0."""
    pointers = []
    for at in range(0, _STORAGE_BYTES, _POINTER):
        word = ours[0][at : at + _POINTER]
        address = int.from_bytes(word, "little")
        plausible = address >= _LOWEST_ADDRESS and address % _POINTER == 0
        if plausible and _all(ours, at, word) and _all(theirs, at, bytes(_POINTER)):
            pointers.append((at, address))
    inside = {at + byte for at, _ in pointers for byte in range(_POINTER)}  # a pointer may have a byte that is 1
    places = (at for at in range(_STORAGE_BYTES) if at not in inside)
    return pointers, [at for at in places if _all(ours, at, b"\1") and _all(theirs, at, b"\0")]


def _all(storages: Sequence[bytes], at: int, what: bytes) -> bool:
    return all(one[at : at + len(what)] == what for one in storages)


def _give_allocator(storage: Any, layout: tuple[int, int, int]) -> None:
    pointer, flag, allocator = layout
    ctypes.c_void_p.from_address(storage._cdata + pointer).value = allocator
    ctypes.c_bool.from_address(storage._cdata + flag).value = True
