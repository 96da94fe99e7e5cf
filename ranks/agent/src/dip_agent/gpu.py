"""torch's cache of GPU memory. Other processes cannot use what it holds, so it is freed after cells."""

from __future__ import annotations

import gc
import logging
import sys
from typing import Any

GIB = 1 << 30

log = logging.getLogger(__name__)


class GPUCache:
    """The cache of one device, as this process holds it."""

    @classmethod
    def of(cls, device: str) -> GPUCache | None:
        """Return the cache of a device as torch names it, None for the CPU."""
        return cls(sys.modules["torch"].cuda, device) if device.startswith("cuda") else None

    def __init__(self, cuda: Any, device: str):
        """`cuda` is `torch.cuda`."""
        self._cuda = cuda
        self._device = device
        self._allocated = 0  # bytes, when it was freed last

    def free_if_changed(self) -> None:
        """Free the cache if the amount of allocated memory has changed since the last time. Raises nothing.

        This may wait for what runs on the GPU, such as a collective that an interrupt has left behind. So it is not
        called after an interrupt; the next call makes up for that.
        """
        try:
            if self._cuda.memory_allocated(self._device) != self._allocated:
                gc.collect()
                self._cuda.empty_cache()
                self._allocated = self._cuda.memory_allocated(self._device)
        except Exception:  # such as a device that an illegal access has made unusable
            log.warning("the cache of %s could not be freed", self._device, exc_info=True)


def give_back() -> str:
    """Free what torch has cached on all devices that this process uses. Returns a sentence that says how much that was.

    This may wait for what runs on the GPUs.
    """
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return "this process has no GPU memory"
    devices = range(cuda.device_count())
    before = sum(map(cuda.memory_reserved, devices))
    gc.collect()
    cuda.empty_cache()
    after = sum(map(cuda.memory_reserved, devices))
    return f"gave back {(before - after) / GIB:.2f} GiB of GPU memory, and keeps {after / GIB:.2f} GiB"
