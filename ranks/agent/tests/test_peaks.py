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
        memory = SimpleNamespace(
            memory_stats_as_nested_dict=self.stats,
            reset_peak_memory_stats=self.reset,
            _get_device_index=lambda device, optional: 0 if device is None else device,
        )
        self.cuda = SimpleNamespace(memory=memory, is_initialized=lambda: True, current_device=lambda: 0)

    def stats(self, device: Any = None) -> dict[str, Any]:
        return {"allocated_bytes": {"all": {"peak": self.peak, "current": self.now}}, "num_ooms": 0}

    def reset(self, device: Any = None) -> None:
        self.peak = self.now

    def use(self, most: int, then: int) -> None:
        self.peak, self.now = max(self.peak, most), then

    def told(self) -> int:
        """Return what torch tells the user."""
        return int(self.cuda.memory.memory_stats_as_nested_dict()["allocated_bytes"]["all"]["peak"])


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=card.cuda))
    return card


def test_each_cell_has_its_own_peak_and_the_user_sees_torchs(card: Card) -> None:
    peaks = Peaks()
    got = []
    for most, then in ((100, 40), (60, 50), (50, 0)):
        peaks.begin()
        card.use(most, then)
        got.append((peaks.end(), card.told()))
    assert got == [(100, 100), (60, 100), (50, 100)]
    card.cuda.reset_peak_memory_stats()  # by the user
    assert card.told() == 0
    peaks.begin()
    card.use(30, 30)
    assert (peaks.end(), card.told()) == (30, 30)


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
