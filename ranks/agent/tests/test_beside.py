"""Variables of ranks that wait in a collective come while they wait."""

from __future__ import annotations

import os

import pytest
from harness import wait_until

pytest.importorskip("torch.distributed")

from dip_agent import transfer


@pytest.fixture
def ranks(torch_node, spawn):
    made = spawn(torch_node, 2, app="torch")
    for rank in made:
        assert rank.run("import torch, torch.distributed as dist; x = torch.arange(6.0); n = 1").status == "ok"
    return made


def inside(rank, code):
    """Start a cell that waits in a collective and stays there."""
    request = rank.start(code)

    def waits():
        first, second = rank.ask("groups_request"), rank.ask("groups_request")
        return bool(first["operations"]) and first == second

    wait_until(waits, "the collective")
    return request


def received(rank, pull, *names):
    """Return the variables that a pull_request has brought."""
    reply = rank.reply(pull, "pull_reply")
    assert reply["status"] == "ok", reply
    values = transfer.unpack(names, reply["payload"], {}).values
    rank.send("pull_release", {"parent": pull})
    return values


@pytest.mark.parametrize(
    ("code", "others"),
    [
        ("dist.all_reduce(x.clone())", "dist.all_reduce(x)"),
        ("dist.recv(torch.zeros(1), 1)", "dist.send(torch.zeros(1), 0)"),
        ("dist.barrier()", "dist.barrier()"),
        ("model(torch.ones(1, 2)).sum().backward()", "model(torch.ones(1, 2)).sum().backward()"),
    ],
)
def test_pull_beside_a_collective(ranks, code, others):
    made = "model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))"
    requests = [rank.start(made) for rank in ranks]
    assert [rank.finish(request).status for rank, request in zip(ranks, requests)] == ["ok", "ok"]
    request = inside(ranks[0], f"n = 2\ndef f(): return n\nbig = torch.ones(1 << 20)\n{code}\nn = 3")
    pull = ranks[0].send("pull_request", {"names": ["x", "n", "big"], "while_busy": True})
    values = received(ranks[0], pull, "x", "n", "big")
    assert (values["x"].tolist(), values["n"]) == ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2)
    assert values["big"].sum().item() == 1 << 20
    assert ranks[0].ask("status_request", reply="status")["msg_id"] == request
    refused = ranks[0].ask("pull_request", {"names": ["x", "nix"], "while_busy": True})
    assert (refused["status"], refused["name"]) == ("error", "nix")
    assert ranks[1].run(others).status == "ok"
    assert ranks[0].finish(request).status == "ok"
    # Afterwards it is a pull as any other.
    pull = ranks[0].send("pull_request", {"names": ["n"], "while_busy": True})
    assert received(ranks[0], pull, "n") == {"n": 3}


def test_pull_in_its_turn(ranks):
    """Of a rank that does anything else than wait for others."""
    request = ranks[0].start("import time\nn = 2\nprint('on')\ntime.sleep(0.3)\nn = 3")
    ranks[0].wait_output("on")
    pull = ranks[0].send("pull_request", {"names": ["n"], "while_busy": True})
    assert ranks[0].finish(request).status == "ok"
    assert received(ranks[0], pull, "n") == {"n": 3}
    request = inside(ranks[0], "dist.all_reduce(x)\nn = 4")
    pull = ranks[0].send("pull_request", {"names": ["n"]})
    assert ranks[0].ask("status_request", reply="status")["msg_id"] == request
    assert not [message for message in ranks[0].inbox if message.type == "pull_reply"]
    assert ranks[1].run("dist.all_reduce(x)").status == "ok"
    assert ranks[0].finish(request).status == "ok"
    assert received(ranks[0], pull, "n") == {"n": 4}


SLOW = """
import os, threading
class Slow:
    def __reduce__(self):
        print("pickling on", threading.current_thread() is threading.main_thread())
        os.read(os.open({fifo!r}, os.O_RDONLY), 1)
        return int, ()
slow, many = Slow(), list(range(100_000))
"""


def test_a_rank_that_moves_meanwhile_is_pulled_from_in_its_turn(ranks, tmp_path):
    """What it changes would be sent half changed."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ranks[0].run(SLOW.format(fifo=str(fifo)))
    request = inside(ranks[0], "dist.all_reduce(x)\nn = 5")
    pull = ranks[0].send("pull_request", {"names": ["slow", "n"], "while_busy": True})
    ranks[0].wait_output("pickling on False")
    assert ranks[1].run("dist.all_reduce(x)").status == "ok"
    assert ranks[0].finish(request).status == "ok"
    fifo.write_bytes(b"x")
    ranks[0].wait_output("pickling on True")
    fifo.write_bytes(b"x")
    assert received(ranks[0], pull, "slow", "n") == {"slow": 0, "n": 5}


def test_a_pull_beside_is_cancelled(ranks, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ranks[0].run(SLOW.format(fifo=str(fifo)))
    request = inside(ranks[0], "dist.all_reduce(x)")
    pull = ranks[0].send("pull_request", {"names": ["slow", "many"], "while_busy": True})
    ranks[0].wait_output("pickling on False")
    ranks[0].ask("interrupt_request", {"parent": pull})
    fifo.write_bytes(b"x")
    assert ranks[0].reply(pull, "pull_reply")["ename"] == "KeyboardInterrupt"
    assert ranks[0].ask("status_request", reply="status")["msg_id"] == request
    assert ranks[1].run("dist.all_reduce(x)").status == "ok"
    assert ranks[0].finish(request).status == "ok"
