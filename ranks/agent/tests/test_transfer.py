"""Push and pull between two real processes of one node."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from harness import Node, Process

# What the magics do, minus the server: the test plays that.
PACK = """
import json as _json, dip_agent.transfer as _transfer
_held = _transfer.pack({{name: globals()[name] for name in {names!r}}}, globals())
print(_json.dumps([_held.payload, _held.notice]))
"""


class Pair:
    """A local namespace and a rank."""

    def __init__(self, local: Process, rank: Process):
        self.local = local
        self.rank = rank

    def pack(self, *names: str) -> dict[str, Any]:
        """Pack variables of the local namespace, where they stay until `drop`."""
        result = self.local.run(PACK.format(names=names), silent=True)
        assert result.status == "ok", result.error
        payload, self.notice = json.loads(result.text("stdout"))
        return payload

    def drop(self) -> None:
        """Let the local namespace close what it has packed."""
        assert self.local.run("_held.close(); del _held", silent=True).status == "ok"

    def push(self, *names: str, commit: bool = True) -> dict[str, Any]:
        """Push variables to the rank, return its reply."""
        reply = self.rank.ask("push_request", {"names": names, "payload": self.pack(*names)})
        self.drop()
        if reply["status"] == "ok":
            self.rank.send("push_commit", {"commit": commit})
        return reply

    def pull(self, *names: str) -> dict[str, Any]:
        """Pull variables of the rank into the local namespace, return the rank's reply."""
        request = self.rank.send("pull_request", {"names": names})
        reply = self.rank.reply(request, "pull_reply")
        if reply["status"] == "ok":
            code = f"import dip_agent.transfer as _t\n_t.unpack({names!r}, {reply['payload']!r}, globals()).commit()"
            result = self.local.run(code, silent=True)
            assert result.status == "ok", result.error
        self.rank.send("pull_release", {"parent": request})
        return reply


@pytest.fixture
def pair(node: Node, spawn: Callable[..., list[Process]]) -> Pair:
    return Pair(*spawn(node), *spawn(node, 1))


def value(process: Process, expression: str) -> Any:
    """Return what an expression is worth in a process, by its repr."""
    result = process.run(f"print(repr(({expression})))", silent=True)
    assert result.status == "ok", result.error
    return eval(result.text("stdout"))  # noqa: S307 - the test's own expression


def ok(process: Process, code: str) -> None:
    result = process.run(code)
    assert result.status == "ok", result.error


def test_variables_go_to_the_rank_and_come_back(pair: Pair) -> None:
    ok(pair.local, "import numpy\nx = 41\na = numpy.arange(1 << 18)\nb = [a]")
    assert pair.push("x", "a", "b")["status"] == "ok"
    assert value(pair.rank, "x, int(a.sum()), a is b[0]") == (41, sum(range(1 << 18)), True)
    ok(pair.rank, "x += 1; a[0] = 7")
    assert pair.pull("x", "b", "a")["status"] == "ok"
    assert value(pair.local, "x, int(a[0]), a is b[0]") == (42, 7, True)
