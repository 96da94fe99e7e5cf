"""The app `torch`: real process groups over gloo on the CPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from harness import wait_until

pytest.importorskip("torch.distributed")


def each(ranks, code, **options):
    requests = [rank.start(code, **options) for rank in ranks]
    return [rank.finish(request) for rank, request in zip(ranks, requests)]


# What a script needs before it makes a group of its own: Debian's torch is built without libuv.
PREPARE = """
import os, torch, torch.distributed as dist
try:
    dist.TCPStore("127.0.0.1", 0, 1, True, wait_for_workers=False)
except RuntimeError:
    os.environ["USE_LIBUV"] = "0"
"""


@pytest.fixture
def ranks(torch_node, spawn):
    made = spawn(torch_node, 2, app="torch")
    for number, rank in enumerate(made):
        hello = rank.hello
        assert (hello["status"], hello["rank"], hello["app"]) == ("ok", number, "torch"), hello
        assert (hello["backend"], hello["device"]) == ("gloo", "cpu")
    return made


def test_all_reduce(torch_node, spawn):
    ranks = spawn(torch_node, 3, app="")
    code = "import torch, torch.distributed as dist; t = torch.ones(1); dist.all_reduce(t); print(t.item())"
    assert [result.text() for result in each(ranks, code)] == ["3.0\n"] * 3


def test_spawned_ranks_join(torch_node, spawn):
    ranks = spawn(torch_node, 2, app="torch", method="spawn")
    code = "import torch, torch.distributed as dist; t = torch.ones(1); dist.all_reduce(t); print(t.item())"
    assert [result.text() for result in each(ranks, code)] == ["2.0\n"] * 2


def test_training_step(ranks):
    code = """
import torch, torch.distributed as dist
torch.manual_seed(dist.get_rank())
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for step in range(3):
    loss = model(torch.randn(8, 4)).square().mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
print(torch.cat([p.flatten() for p in model.parameters()]).tolist(), torch.get_num_threads())
"""
    first, second = each(ranks, code)
    assert first.status == second.status == "ok", first.messages
    assert first.text() == second.text()
    assert first.text().endswith("] 1\n")


def test_second_join_is_accepted(ranks):
    code = """
import torch.distributed as dist
from torch.distributed import init_process_group
dist.init_process_group("gloo")
init_process_group("gloo", rank=0, world_size=1)
print(dist.get_world_size())
"""
    for result in each(ranks, code):
        assert result.text("stdout") == "2\n"
        assert "has joined a gloo group already" in result.text("stderr")


def test_join_with_another_backend_is_refused(ranks):
    for result in each(ranks, "import torch.distributed as dist; dist.init_process_group('nccl')"):
        assert "this rank has joined a gloo group already" in result.content["evalue"]


@pytest.mark.parametrize("join", ['"gloo"', '"gloo", "env://"', 'rank=rank, world_size=2, backend="gloo"'])
def test_leaving_and_joining_anew(ranks, join):
    """As under torchrun, whose agent serves the store, but several times, while the old groups are still held."""
    code = f"""
import os, torch, torch.distributed as dist
rank = dist.get_rank()
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
groups = [dist.new_group([0, 1])]
for n in range(3):
    dist.destroy_process_group()
    dist.init_process_group({join})
    groups.append(dist.new_group([0, 1]))
    t = torch.ones(1)
    dist.all_reduce(t)
    dist.all_reduce(t, group=groups[-1])
    print(t.item())
print(torch.distributed.is_torchelastic_launched())
"""
    for result in each(ranks, code, path="/p/t.py"):
        assert (result.status, result.text("stdout")) == ("ok", "4.0\n" * 3 + "True\n"), result.messages
    for result in each(ranks, "model(torch.ones(1, 2)).sum(); t = torch.ones(1); dist.all_reduce(t); print(t.item())"):
        assert result.text("stdout") == "2.0\n"


def test_rpc(ranks):
    if not hasattr(pytest.importorskip("torch._C._distributed_rpc"), "TensorPipeAgent"):
        pytest.skip("this torch is built without TensorPipe")
    code = """
import os, torch, torch.distributed.rpc as rpc
rank = int(os.environ["RANK"])
rpc.init_rpc(f"worker{rank}", rank=rank, world_size=2)
print(rpc.rpc_sync(f"worker{1 - rank}", int, args=(str(rank),)))
rpc.shutdown()
"""
    for number, result in enumerate(each(ranks, code)):
        assert (result.status, result.text("stdout")) == ("ok", f"{number}\n"), result.messages
    for result in each(ranks, "t = torch.ones(1); torch.distributed.all_reduce(t); print(t.item())"):
        assert result.text("stdout") == "2.0\n"


def test_a_group_of_the_users_own_is_kept(torch_node, spawn):
    ranks = spawn(torch_node, 2, app="none")
    code = PREPARE + "dist.init_process_group('gloo')"
    assert [result.status for result in each(ranks, code)] == ["ok", "ok"]
    requests = [rank.send("app_request", {"app": "torch", "verbose": None}) for rank in ranks]
    for rank, request in zip(ranks, requests):
        reply = rank.reply(request, "app_reply")
        assert (reply["status"], reply.get("backend")) == ("ok", "gloo"), reply
    for result in each(ranks, "t = torch.ones(1); dist.all_reduce(t); print(t.item())"):
        assert result.text("stdout") == "2.0\n"


def test_shutdown_leaves_the_group(torch_node, ranks):
    requests = [rank.send("shutdown_request") for rank in ranks]
    for rank, request in zip(ranks, requests):
        assert rank.reply(request, "shutdown_reply")["status"] == "ok"
        assert torch_node.exited(rank.name).content["code"] == 0


def test_failure_to_join_is_reported(torch_node, spawn):
    (rank,) = spawn(torch_node, 1, app="torch", env={"WORLD_SIZE": "nonsense"})
    assert rank.hello["status"] == "error"
    assert rank.hello["ename"] == "ValueError"
    assert "nonsense" in rank.hello["evalue"]
    assert rank.run("1").status == "ok"


def test_interrupt_of_a_collective_in_python(ranks):
    """A C-level wait is not interruptible, but the process answers all the while."""
    request = ranks[0].start(
        "import torch, torch.distributed as dist; dist.all_reduce(torch.ones(1))", path="/p/t.py", line=3
    )
    wait_until(lambda: ranks[0].ask("groups_request")["operations"], "the collective")
    assert ranks[0].ask("interrupt_request", {"parent": request})["status"] == "ok"
    assert ranks[0].ask("status_request", reply="status")["status"] == "ok"
    ranks[1].run("import torch, torch.distributed as dist; dist.all_reduce(torch.ones(1))")
    assert ranks[0].finish(request).content["ename"] == "KeyboardInterrupt"


def counts(results):
    """Return the counts that cells ended with, by rank."""
    return [result.content["groups"] for result in results]


def test_ranks_tell_how_many_collectives_they_have_come_to(torch_node, spawn):
    ranks = spawn(torch_node, 3, app="torch")
    first = counts(each(ranks, "import torch, torch.distributed as dist"))
    assert first[0] == first[1] == first[2]
    assert list(first[0]) == ["0"]
    code = """
rank, pair = dist.get_rank(), dist.new_group([0, 1])
dist.all_reduce(torch.ones(1))
work = dist.all_reduce(torch.ones(1), async_op=True)  # that nobody waits for
if rank < 2:
    dist.barrier(pair)
# What two ranks say to each other is nothing to the third.
if rank == 0:
    dist.send(torch.ones(1), 1)
if rank == 1:
    dist.recv(torch.zeros(1), 0)
dist.monitored_barrier()
"""
    then = counts(each(ranks, code))
    base = first[0]["0"]
    assert [group["0"] - base for group in then] == [2, 2, 2]
    assert [sorted(group) for group in then] == [["0", "1"], ["0", "1"], ["0"]]
    assert then[0]["1"] == then[1]["1"]
    for result in each(ranks[:1], "work = dist.all_reduce(torch.ones(1), async_op=True)"):
        assert result.content["groups"]["0"] - base == 3


def test_a_rank_inside_a_collective_says_so(ranks):
    each(ranks, "import torch, torch.distributed as dist")
    idle = [rank.ask("groups_request") for rank in ranks]
    assert [reply["operations"] for reply in idle] == [[], []]
    assert idle[0]["groups"] == idle[1]["groups"]
    assert (idle[0]["groups"][0]["name"], idle[0]["groups"][0]["ranks"]) == ("0", [0, 1])
    request = ranks[1].start("def step():\n    dist.all_reduce(torch.ones(1))\nstep()", path="/p/t.py", line=5)
    wait_until(lambda: ranks[1].ask("groups_request")["operations"], "the collective")
    inside = ranks[1].ask("groups_request")
    assert [operation["name"] for operation in inside["operations"]] == ["all_reduce"]
    lines = [frame["line"] for frame in inside["threads"][0]["frames"] if frame["file"] == "/p/t.py"]
    assert lines == [7, 6]
    count = idle[1]["groups"][0]["count"]
    wait_until(lambda: ranks[1].ask("groups_request")["groups"][0]["count"] == count + 1, "the group's count of it")
    each(ranks[:1], "dist.all_reduce(torch.ones(1))")
    assert ranks[1].finish(request).status == "ok"


def test_groups_of_the_users_own(torch_node, spawn):
    ranks = spawn(torch_node, 3, app="none")
    assert ["groups" in result.content for result in each(ranks, PREPARE)] == [False] * 3
    assert ranks[0].ask("groups_request")["groups"] == []
    code = """
dist.init_process_group("gloo")
rank = dist.get_rank()
if rank == 0:
    dist.send(torch.ones(1), 1)
if rank == 1:
    dist.recv(torch.zeros(1), 0)
if rank < 2:
    work = dist.all_reduce(torch.ones(1), async_op=True)
"""
    first, second, third = counts(each(ranks, code))
    assert first["0"] == second["0"] == third["0"] + 1
    each(ranks[2:], "dist.all_reduce(torch.ones(1))")


def test_a_group_of_which_something_was_not_seen_is_not_counted(torch_node, spawn):
    ranks = spawn(torch_node, 2, app="none", method="spawn")
    code = PREPARE + "dist.init_process_group('gloo'); pair = dist.new_group([0, 1])"
    assert ["groups" in result.content for result in each(ranks, code)] == [False] * 2
    (first, second) = counts(each(ranks, "later = dist.new_group([0, 1]); dist.barrier(later)"))
    assert list(first) == list(second) == ["2"]


def test_batches_of_messages_are_told_from_those_of_collectives(monkeypatch):
    """As nccl counts them, which takes two GPUs: once at the start of a batch, whatever goes into it."""

    class Group:
        count = 7

        def _get_sequence_number_for_group(self):
            return self.count

        def _start_coalescing(self, device):
            self.count += 1

        def _end_coalescing(self, device):
            pass

        def send(self):
            self.count += 0 if self.nccl else 1

    from dip_agent.groups import collectives

    group = Group()
    c10d = SimpleNamespace(_pg_names={}, is_initialized=lambda: True, ProcessGroup=Group)
    monkeypatch.setattr(collectives, "_watched", False)
    monkeypatch.setitem(sys.modules, "torch.distributed.distributed_c10d", c10d)
    collectives.watch()
    c10d._pg_names[group] = "0"
    for group.nccl in (True, False):
        before = collectives.counts()["0"]
        group._start_coalescing("cuda")
        group.send()
        group.send()
        group._end_coalescing("cuda")
        group.send()
        assert collectives.counts() == {"0": before}
        group._start_coalescing("cuda")  # of collectives
        group._end_coalescing("cuda")
        assert collectives.counts() == {"0": before + 1}


def test_a_breakpoint_fails_on_all_ranks_alike(torch_node, spawn):
    ranks = spawn(torch_node, 2, app="torch")
    code = "import torch.distributed as dist\nassert hasattr(dist, 'breakpoint')\ndist.breakpoint(1)"
    requests = [rank.start(code) for rank in ranks]
    results = [rank.finish(request) for rank, request in zip(ranks, requests)]
    if results[0].content["ename"] == "AssertionError":
        pytest.skip("torch has no breakpoint before 2.1")
    assert [result.content["ename"] for result in results] == ["NoKeyboardError"] * 2
    for rank in ranks:
        assert rank.run("x = 1\nbreakpoint()").content["ename"] == "NoKeyboardError"
        assert rank.run("print(x)").text() == "1\n"
