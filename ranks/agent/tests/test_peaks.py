"""The peak of GPU memory, on a GPU that is made up: this machine may have none."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from dip_agent.peaks import Peaks


class Card:
    """What torch counts on one device."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self.c = SimpleNamespace(_cuda_memoryStats=self.stats, _cuda_resetPeakMemoryStats=self.reset)
        self.cuda = SimpleNamespace(is_initialized=lambda: True, current_device=lambda: 0)

    def stats(self, device: int) -> dict[str, Any]:
        return {"allocated_bytes": {"all": {"peak": self.peak, "current": self.now}}, "num_ooms": 0}

    def reset(self, device: int) -> None:
        self.peak = self.now

    def use(self, most: int, then: int) -> None:
        self.peak, self.now = max(self.peak, most), then

    def told(self) -> int:
        """Return what torch tells the user."""
        return int(self.c._cuda_memoryStats(0)["allocated_bytes"]["all"]["peak"])

    def forget(self) -> None:
        """Do what torch's `reset_peak_memory_stats` does, whenever the user has imported it."""
        self.c._cuda_resetPeakMemoryStats(0)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=card.cuda, _C=card.c))
    return card


def test_each_cell_has_its_own_peak_and_the_user_sees_torchs(card: Card) -> None:
    peaks = Peaks()
    got = []
    for most, then in ((100, 40), (60, 50), (50, 0)):
        peaks.begin()
        card.use(most, then)
        got.append((peaks.end(), card.told()))
    assert got == [(100, 100), (60, 100), (50, 100)]
    card.forget()
    assert card.told() == 0
    peaks.begin()
    card.use(30, 30)
    assert (peaks.end(), card.told()) == (30, 30)


def test_a_cell_that_has_torch_forget_its_peak_in_each_step_still_has_one(card: Card) -> None:
    peaks = Peaks()
    peaks.begin()
    for most in (100, 70):
        card.forget()
        card.use(most, 10)
    assert (peaks.end(), card.told()) == (100, 70)
    peaks.begin()
    assert peaks.end() == 10


def test_names_that_were_imported_before_the_first_cell_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from torch.cuda import max_memory_allocated, reset_peak_memory_stats

    card = Card()
    for name, function in vars(card.c).items():
        monkeypatch.setattr(torch._C, name, function, raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda.memory, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda.memory, "_get_device_index", lambda device, optional: 0)
    peaks = Peaks()
    peaks.begin()
    card.use(100, 0)
    assert peaks.end() == 100
    peaks.begin()
    assert max_memory_allocated() == 100
    reset_peak_memory_stats()
    assert max_memory_allocated() == 0
    assert peaks.end() == 0


def test_where_there_is_no_gpu_nothing_is_claimed(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    card.cuda.is_initialized = lambda: False
    peaks = Peaks()
    peaks.begin()
    assert peaks.end() == 0
    monkeypatch.delitem(sys.modules, "torch")
    assert peaks.end() == 0


def test_a_gpu_that_fails_does_not_fail_the_cell(card: Card) -> None:
    peaks = Peaks()
    peaks.begin()

    def fail(device: Any = None) -> dict[str, Any]:
        raise RuntimeError("an illegal memory access was encountered")

    peaks._stats = fail
    assert peaks.end() == 0
    peaks.begin()
    assert peaks.end() == 0
