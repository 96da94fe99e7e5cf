"""NumPy's arrays and torch's storages, pickled so that their bytes travel out of band.

Both can be pickled without this, but copy into the pickle every tensor, every date and whatever is not contiguous.
Neither package is imported here before there is an object of it.
"""

from __future__ import annotations

import ctypes
import pickle
import sys
from collections.abc import Sequence
from typing import Any, Callable

from . import owned


class Reducers:
    """The reducers for one pickle; see `pickle.Pickler.reducer_override`."""

    def __init__(self) -> None:
        self._by_type: dict[type, Callable[[Reducers, Any], Any]] = {}
        self._storages: dict[
            int, Any
        ] = {}  # for each storage the one object that is pickled for it; it keeps the bytes alive
        if (ndarray := getattr(sys.modules.get("numpy"), "ndarray", None)) is not None:
            self._by_type[ndarray] = Reducers._reduce_array
        torch = sys.modules.get("torch")
        storage = getattr(torch, "storage", None)
        if hasattr(torch, "frombuffer") and hasattr(storage, "TypedStorage") and hasattr(storage, "UntypedStorage"):
            self._by_type[storage.TypedStorage] = Reducers._reduce_typed
            self._by_type[storage.UntypedStorage] = Reducers._reduce_untyped
            if not hasattr(torch._utils, "get_tensor_metadata"):
                self._by_type[torch.Tensor] = Reducers._reduce_lazy

    def reduce(self, value: Any) -> Any:
        """Return what `__reduce_ex__` would return, or NotImplemented."""
        reducer = self._by_type.get(type(value))
        return NotImplemented if reducer is None else reducer(self, value)

    def _reduce_array(self, array: Any) -> Any:
        if array.dtype.hasobject or not array.dtype.itemsize:
            # NumPy itself pickles it, but forgets the flag.
            return NotImplemented if array.flags.writeable else (rebuild_read_only, (array.copy(order="K"),))
        if not (array.flags.c_contiguous or array.flags.f_contiguous):
            writable = array.flags.writeable
            array = array.copy(order="C")
            array.flags.writeable = writable
        order = "C" if array.flags.c_contiguous else "F"
        # As plain bytes, since some types of items, such as dates, have no buffer format.
        buffer = pickle.PickleBuffer(array.reshape(-1, order=order).view("u1"))
        return rebuild_array, (buffer, array.dtype, array.shape, order)

    def _reduce_typed(self, storage: Any) -> Any:
        untyped = owned.untyped(storage)
        if untyped is None or not _has_bytes(untyped):
            return NotImplemented
        return rebuild_typed, (self._canonical(untyped), storage.dtype)

    def _reduce_untyped(self, storage: Any) -> Any:
        if not _has_bytes(storage):
            return NotImplemented
        first = self._canonical(storage)
        if first is not storage:
            return _itself, (first,)
        kind = storage.device.type
        return rebuild_storage, (pickle.PickleBuffer(_storage_bytes(storage)), kind)

    def _reduce_lazy(self, tensor: Any) -> Any:
        # Before torch 2 a pickle forgets that a tensor is the conjugate or the negative of its storage.
        conjugated, negated = tensor.is_conj(), tensor.is_neg()
        if not conjugated and not negated:
            return NotImplemented
        plain = tensor.detach().conj() if conjugated else tensor.detach()
        return rebuild_lazy, (plain._neg_view() if negated else plain, conjugated, negated, tensor.requires_grad)

    def _canonical(self, storage: Any) -> Any:
        # Every tensor makes a new object for its storage, even if it shares the storage with others.
        return self._storages.setdefault(storage._cdata, storage)


def rebuild_array(buffer: Any, dtype: Any, shape: Sequence[int], order: str) -> Any:
    """Return the array of that type and shape over the bytes of `buffer`."""
    return owned.array(buffer, dtype, shape, order)


def rebuild_read_only(array: Any) -> Any:
    """Return `array`, made read-only."""
    array.flags.writeable = False
    return array


def rebuild_storage(buffer: Any, kind: str) -> Any:
    """Return a storage over the bytes of `buffer`, or, for a GPU, a storage on the current one with a copy of them."""
    import torch

    view = memoryview(buffer)
    storage = owned.storage(view) if view.nbytes else torch.UntypedStorage(0)
    return storage.cuda() if kind == "cuda" and torch.cuda.is_available() else storage


def rebuild_typed(storage: Any, dtype: Any) -> Any:
    """Return `storage` in the form that a tensor's pickle needs."""
    from torch.storage import TypedStorage

    try:
        return TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)
    except TypeError:  # before torch 2
        return TypedStorage(wrap_storage=storage, dtype=dtype)


def rebuild_lazy(plain: Any, conjugated: bool, negated: bool, requires_grad: bool) -> Any:
    """Return the conjugate or the negative of a tensor, over the same storage."""
    tensor = plain._neg_view() if negated else plain
    return (tensor.conj() if conjugated else tensor).requires_grad_(requires_grad)


def _has_bytes(storage: Any) -> bool:
    return storage.device.type in ("cpu", "cuda")


def _storage_bytes(storage: Any) -> Any:
    """Return the storage's memory, or a copy of it if it is on a GPU."""
    if not storage.nbytes():
        return bytearray()
    host = storage if storage.device.type == "cpu" else storage.cpu()
    found = (ctypes.c_ubyte * host.nbytes()).from_address(host.data_ptr())
    found.storage = host
    return found


def _itself(value: Any) -> Any:
    return value
