"""Arrays and storages over memory that was mapped, which can be resized as those that have allocated theirs can.

Their bytes are not copied: until somebody resizes them, the memory stays shared. A resize moves them into memory of
their own, as a resize of any array may, and lets go of what was mapped.

NumPy has a door for that, the allocator that an array is made with (NEP 49). torch has none: what it knows of the
memory of a storage is changed in place. Where that is not found for sure, or NumPy is older than 1.22, things are over
the memory as usual, and cannot be resized.
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

_COPIED = 1 << 14  # bytes up to which an array is copied: that is faster than an allocator of its own
_POINTER = ctypes.sizeof(ctypes.c_void_p)


# NumPy.


class _Allocator(ctypes.Structure):
    """NumPy's PyDataMemAllocator. Its functions are called with `ctx` in front."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("ctx", "malloc", "calloc", "realloc", "free")]


class _Handler(ctypes.Structure):
    """NumPy's PyDataMem_Handler, of one array. The array has a reference to it, and it has the array's memory."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("allocator", _Allocator),
    ]
    memory: list[Any]  # that the array has; while and after a resize, the former, too
    array = 0  # id of the array

    def settle(self) -> None:
        """Let go of memory that the array does not have any more."""
        if self.array:
            data = ctypes.cast(self.array, ctypes.py_object).value.ctypes.data
            self.memory = [one for one in self.memory if one.ctypes.data == data]


class _Answers(dict):
    """What functions answer, by a number that they return.

    Of a function that raised, ctypes returns any number, and there is no answer.
    """

    __missing__ = staticmethod({}.get)


_allocations: dict[int, int] = {}  # address of the memory that an array is about to get, by the id of its handler
_moves = _Answers()
_numbers = itertools.count(0x5EED)
_resized: weakref.WeakValueDictionary[int, _Handler] = weakref.WeakValueDictionary()


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
def _move(context: int, address: int, size: int) -> int:
    """Move an array to new memory, whose address is the answer."""
    import numpy

    handler = ctypes.cast(context, ctypes.py_object).value
    (old,) = (one for one in handler.memory if one.ctypes.data == address)
    new = numpy.empty(size, "u1")
    ctypes.memmove(new.ctypes.data, address, min(size, old.nbytes))
    handler.memory = [old, new]  # an interrupt may yet keep NumPy from the answer: `settle` lets go of one of them
    _resized[context] = handler
    _moves.clear()
    number = next(_numbers)
    _moves[number] = new.ctypes.data
    return number


_move.restype = _moves.__getitem__

# What NumPy calls. An interrupt that strikes Python code here would lose memory, or worse: there is none but `_move`.
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


def settle() -> None:
    """Let go of the memory that arrays had before they were resized."""
    while _resized:
        _resized.popitem()[1].settle()


def _owning(set_handler: Any, memory: Any, dtype: Any, shape: Sequence[int], order: str) -> Any:
    import numpy

    handler = _Handler(b"dipls", 1)
    handler.memory = [memory]
    key = id(handler)
    handler.allocator = _Allocator(key, *_FUNCTIONS)
    capsule = _api.PyCapsule_New(ctypes.byref(handler), b"mem_handler", None)
    context = contextvars.copy_context()  # NumPy looks there for the allocator, and nobody else shall find it
    context.run(set_handler, capsule)
    _allocations[key] = memory.ctypes.data
    try:
        reference = functools.partial(_api.Py_IncRef, handler)  # which `free` gives back
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
_GET_FEATURE_VERSION, _SET_HANDLER = 211, 304  # in NumPy's table of functions, which stays as it is
_HANDLERS_SINCE = 0xF  # NumPy 1.22


@functools.cache
def _set_handler() -> Any:
    """Return NumPy's PyDataMem_SetHandler, None where there is none."""
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

_STORAGE_BYTES = 96  # of a StorageImpl that are looked at
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
    """Return what a TypedStorage is made of, None if it is not known."""
    for name in ("_untyped_storage", "_storage"):  # torch 2, torch 1
        if hasattr(storage, name):
            return getattr(storage, name)
    return None


@functools.cache
def _layout() -> tuple[int, int, int] | None:
    """Return where a StorageImpl has its allocator and whether it may be resized, and torch's allocator.

    Storages over memory of torch's and of others differ in that. None where it is not clear what is what.
    """
    import torch

    try:
        # By turns, so that what happens to lie behind them in memory is no difference.
        pairs = [(torch.UntypedStorage(size), _foreign(bytearray(size))) for size in (64, 192, 4096, 640)]
        ours, theirs = ([ctypes.string_at(one._cdata, _STORAGE_BYTES) for one in some] for some in zip(*pairs))
    except Exception:  # some other torch
        log.warning("storages that come from other processes cannot be resized", exc_info=True)
        return None
    pointers, flags = _differences(ours, theirs)
    if len(flags) != 1 or len(pointers) != 1:
        log.warning("storages that come from other processes cannot be resized: %s, %s", flags, pointers)
        return None
    ((pointer, allocator),) = pointers
    return pointer, flags[0], allocator


def _differences(ours: Sequence[bytes], theirs: Sequence[bytes]) -> tuple[list[tuple[int, int]], list[int]]:
    """Return where all of ours have the same pointer, and which, and where they have 1; all of theirs have 0 there."""
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
