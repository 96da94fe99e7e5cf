"""How much GPU memory torch has allocated at most during a cell.

torch keeps one peak, which `torch.cuda.reset_peak_memory_stats` begins anew. A cell of the user's may rely on it, so
what torch tells of peaks stays what it would be if nobody had begun them anew for each cell.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Callable

log = logging.getLogger(__name__)


class Peaks:
    """The peak of the device that this process uses. Where torch uses no GPU, it costs two look-ups for each cell."""

    def __init__(self) -> None:
        """Begin to measure with the first cell after torch has begun to use a GPU."""
        self._stats: Callable[..., dict[str, Any]] | None = None  # torch's own
        self._reset: Callable[..., None] | None = None  # likewise
        self._earlier: dict[int, dict[str, Any]] = {}  # by device: peaks that torch has forgotten for our sake
        self._most: dict[int, int] = {}  # by device: bytes at most in this cell until the user has torch forget them
        self._broken = False  # torch could not tell, such as after an illegal access

    def begin(self) -> None:
        """Begin anew. Raises nothing."""
        self._try(self._begin)

    def end(self) -> int:
        """Return the peak since `begin` in bytes, 0 without a GPU. Raises nothing."""
        return self._try(self._end) or 0

    def _try(self, measure: Callable[[Any], int]) -> int:
        cuda = getattr(sys.modules.get("torch"), "cuda", None)
        if self._broken or cuda is None or not cuda.is_initialized():
            return 0
        try:
            return measure(cuda)
        except Exception:
            self._broken = True
            log.warning("the peak of GPU memory is not known any more", exc_info=True)
            return 0

    def _begin(self, cuda: Any) -> int:
        if self._stats is None or self._reset is None:
            self._stats, self._reset = self._remember()
        device = cuda.current_device()
        _raise_peaks(self._earlier.setdefault(device, {}), self._stats(device))
        self._most.clear()
        self._reset(device)
        return 0

    def _end(self, cuda: Any) -> int:
        stats = self._stats or sys.modules["torch"]._C._cuda_memoryStats
        device = cuda.current_device()
        return max(self._most.get(device, 0), _allocated(stats(device)))

    def _remember(self) -> tuple[Callable[..., dict[str, Any]], Callable[..., None]]:
        """Have torch tell peaks that it has forgotten, until the user asks it to forget them. Returns its own.

        All that torch offers calls these two, also by a name that the user has imported before.
        """
        c = sys.modules["torch"]._C
        stats, reset = c._cuda_memoryStats, c._cuda_resetPeakMemoryStats

        def memory_stats(device: int) -> dict[str, Any]:
            found = stats(device)
            _raise_peaks(found, self._earlier.get(device, {}))
            return found

        def reset_peak_memory_stats(device: int) -> None:
            self._earlier.pop(device, None)
            self._most[device] = max(self._most.get(device, 0), _allocated(stats(device)))
            reset(device)

        c._cuda_memoryStats, c._cuda_resetPeakMemoryStats = memory_stats, reset_peak_memory_stats
        return stats, reset


def _allocated(stats: dict[str, Any]) -> int:
    return int(stats["allocated_bytes"]["all"]["peak"])


def _raise_peaks(stats: dict[str, Any], others: dict[str, Any]) -> None:
    """Raise every `peak` in nested statistics to that of others, in place."""
    for key, other in others.items():
        if isinstance(other, dict):
            _raise_peaks(stats.setdefault(key, {}), other)
        elif key == "peak":
            stats[key] = max(stats.get(key, 0), other)
