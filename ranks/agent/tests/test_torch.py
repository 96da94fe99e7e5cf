"""The app `torch`: real process groups over gloo on the CPU."""

from __future__ import annotations

import pytest
from harness import wait_until

pytest.importorskip("torch.distributed")


def each(ranks, code, **options):
    requests = [rank.start(code, **options) for rank in ranks]
    return [rank.finish(request) for rank, request in zip(ranks, requests)]


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


def test_leaving_and_joining_anew(ranks):
    for rank in reversed(ranks):  # whoever joins anew while rank 0's old store still listens would join that
        assert rank.run("import torch, torch.distributed as dist; dist.destroy_process_group()").status == "ok"
    code = 'dist.init_process_group("gloo"); t = torch.ones(1); dist.all_reduce(t); print(t.item())'
    for result in each(ranks, code):
        assert (result.status, result.text("stdout")) == ("ok", "2.0\n"), result.messages


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
    wait_until(lambda: "work.wait()" in ranks[0].ask("stack_request")["threads"][0]["stack"], "the collective")
    assert ranks[0].ask("interrupt_request", {"parent": request})["status"] == "ok"
    assert ranks[0].ask("status_request", reply="status")["status"] == "ok"
    ranks[1].run("import torch, torch.distributed as dist; dist.all_reduce(torch.ones(1))")
    assert ranks[0].finish(request).content["ename"] == "KeyboardInterrupt"
