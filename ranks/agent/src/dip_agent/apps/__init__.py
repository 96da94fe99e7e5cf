"""Hooks around a process's life: `torch` joins and leaves the process group, `none` does nothing.

An app has a `name`, `initialize()`, which returns what the answer to hello says about it (`backend`, `device`), and
`finalize()`. Both run in the main thread and may raise; the server is told.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any, Protocol


class App(Protocol):
    """What a process knows about its app."""

    name: str

    def initialize(self) -> dict[str, Any]: ...

    def finalize(self) -> None: ...


class NoApp:
    """Plain Python."""

    name = "none"

    def initialize(self) -> dict[str, Any]:
        return {}

    def finalize(self) -> None:
        pass


class LocalApp(NoApp):
    """The local namespace: plain Python that may use every core."""

    def initialize(self) -> dict[str, Any]:
        torch = sys.modules.get("torch")
        if torch is not None and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(os.cpu_count() or 1)  # the nursery imported it as ranks need it, with one thread
        return {}


def make(name: str, rank: int | None, listener: int, gate: int) -> App:
    """Return the app `name` ("" for torch where that is installed). The local namespace has none.

    `listener` is the bound socket of the process group's store in rank 0, otherwise -1. `gate` is a pipe that tells
    when the store listens: rank 0 has the end to close, the others the end to read.
    """
    if rank is None:
        return LocalApp()
    if name == "none" or (name == "" and importlib.util.find_spec("torch") is None):
        for fd in (listener, gate):
            if fd >= 0:
                os.close(fd)
        return NoApp()
    from .torch import TorchApp

    return TorchApp(listener, gate)
