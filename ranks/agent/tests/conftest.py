"""Fixtures: nodes, processes, and a watch over what tests leave behind."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from harness import Node, Process, alive, wait_until

from dip_agent import system

_SHARED = ("node", "torch_node")  # nodes that live longer than a test


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread, a descriptor, a child or a process of a node behind."""
    for name in _SHARED:
        if name in request.fixturenames:
            request.getfixturevalue(name)
    before = _belongings()
    yield
    wait_until(lambda: _belongings() <= before, f"the end of {_belongings() - before}")


def _belongings() -> set[tuple[str, str]]:
    found = {("thread", thread.name) for thread in threading.enumerate()}
    for fd in system.open_fds():
        with contextlib.suppress(OSError):
            what = os.readlink(f"/proc/self/fd/{fd}")
            if what != "/dev/urandom":  # Python keeps it open, from when it first needs it
                found.add(("fd", f"{fd} {what}"))
    found |= {("child", str(pid)) for pid in system.child_pids()}
    return found


def _close(node: Node) -> None:
    pids = [process.pid for process in node.processes]
    node.close()
    wait_until(lambda: not any(map(alive, pids)), "the end of all processes")
    assert not node.runtime_dir.exists()


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that tests share. `local` is a process of the test's own."""
    made = Node(tmp_path_factory.mktemp("node") / "run")
    yield made
    _close(made)


@pytest.fixture(scope="session")
def torch_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A shared node that has imported torch."""
    pytest.importorskip("torch.distributed")
    made = Node(tmp_path_factory.mktemp("torch") / "run")
    assert made.ask("preload_request", {"modules": ["torch"]})["fork_safe"]
    yield made
    _close(made)


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[object]:
    """A function that starts a node of the test's own."""
    made: list[Node] = []

    def make(**options: object) -> Node:
        made.append(Node(tmp_path / f"run{len(made)}", **options))
        return made[-1]

    yield make
    for one in made:
        _close(one)


@pytest.fixture
def spawn() -> Iterator[Callable[..., list[Process]]]:
    """A function that starts processes on a shared node, as Node.spawn does; they end with the test."""
    made: list[tuple[Node, Process]] = []

    def start(node: Node, *args: Any, **options: Any) -> list[Process]:
        processes = node.spawn(*args, **options)
        made.extend((node, process) for process in processes)
        return processes

    yield start
    for node, process in made:
        end(node, process)


@pytest.fixture
def local(node: Node) -> Iterator[Process]:
    """A process of the test's own, forked from the shared node."""
    (process,) = node.spawn()
    yield process
    end(node, process)


def end(node: Node, *processes: Process) -> None:
    """Kill processes of a shared node and forget them."""
    for process in processes:
        if node.ask("signal_request", {"name": process.name, "signal": "SIGKILL"})["sent"]:
            node.exited(process.name)
        process.close()
        node.processes.remove(process)
    node.inbox.clear()
