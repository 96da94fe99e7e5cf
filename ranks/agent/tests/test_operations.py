"""What a rank tells of where it waits and in which operation, with real process groups over gloo."""

from __future__ import annotations

import re
import shutil

import pytest
from harness import wait_until

pytest.importorskip("torch.distributed")

PATH = "/p/t.py"


@pytest.fixture
def ranks(torch_node, spawn):
    made = spawn(torch_node, 2, app="torch", env={"TORCH_FR_BUFFER_SIZE": "200"})
    each(made, "import torch, torch.distributed as dist\nx = torch.ones(2, 3)")
    return made


def each(ranks, code, **options):
    requests = [rank.start(code, **options) for rank in ranks]
    results = [rank.finish(request) for rank, request in zip(ranks, requests)]
    assert [result.status for result in results] == ["ok"] * len(ranks), [result.messages for result in results]
    return results


def inside(rank, code, name, path=PATH):
    """Start a cell that waits in an operation and stays there; return its request and the groups_reply."""
    request = rank.start(code, path, 5)
    told = standing(rank, name)
    assert told["running"] == request
    return request, told


def standing(rank, name):
    """Return what a rank tells once it stays inside of an operation."""
    told = None

    def stands():
        nonlocal told
        before, told = told, rank.ask("groups_request")
        return told == before and any(one["name"].startswith(name) for one in told["operations"])

    wait_until(stands, name)
    return told


def version(rank):
    found = re.match(r"(\d+)\.(\d+)", rank.run("print(torch.__version__)").text())
    return int(found[1]), int(found[2])


def test_a_rank_that_waits_for_nothing_has_no_operations(ranks):
    told = ranks[0].ask("groups_request")
    (world,) = told["groups"]
    assert (world["name"], world["default"], world["label"], world["backend"]) == ("0", True, "", "gloo")
    assert (world["ranks"], told["operations"], told["running"]) == ([0, 1], [], "")
    assert [(thread["main"], thread["frames"]) for thread in told["threads"]] == [(True, [])]


SYNCHRONOUS = {
    "all_reduce": ("dist.all_reduce(x)", [[2, 3]]),
    "broadcast": ("dist.broadcast(x, 1)", [[2, 3]]),
    "all_gather": ("dist.all_gather([torch.ones(2, 3), torch.ones(2, 3)], x)", [[2, 3]]),
    "reduce": ("dist.reduce(x, 0)", [[2, 3]]),
    "gather": ("dist.gather(x, [torch.ones(2, 3), torch.ones(2, 3)], 0)", [[2, 3]]),
    "scatter": ("dist.scatter(x, [], 1)", [[2, 3]]),
    "barrier": ("dist.barrier()", None),
    "all_gather_object": ("dist.all_gather_object([None, None], {1: 2})", None),
    "broadcast_object_list": ("dist.broadcast_object_list([None], 1)", None),
}


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_collective(ranks, name):
    call, sizes = SYNCHRONOUS[name]
    before = [rank.ask("groups_request")["groups"][0]["count"] for rank in ranks]
    request, told = inside(ranks[0], f"def step():\n    {call}\nstep()", name)
    (operation,) = told["operations"]
    main = told["threads"][0]
    assert main["main"]
    users = [(frame["file"], frame["line"], frame["name"]) for frame in main["frames"] if frame["file"] == PATH]
    assert users == [(PATH, 7, "<module>"), (PATH, 6, "step")]
    assert not [frame for frame in main["frames"] if "dip_agent" in frame["file"] or "source" in frame]
    assert told["groups"][0]["count"] == before[0] + 1
    assert operation.get("sizes") == sizes
    assert operation.get("dtype") == ("float32" if sizes else None)
    assert (operation["group"], operation["name"], operation["count"]) == ("0", name, before[0] + 1)
    assert operation["thread"] == main["id"]
    assert before[0] == before[1]
    other = {"gather": "dist.gather(x, None, 0)", "scatter": "dist.scatter(x, [x, x], 1)"}.get(name, call)
    each(ranks[1:], other)
    assert ranks[0].finish(request).status == "ok"
    # The recorder hears of an end a moment later.
    wait_until(lambda: not any(rank.ask("groups_request")["operations"] for rank in ranks), "the end of it")
    after = [rank.ask("groups_request") for rank in ranks]
    assert after[0]["groups"] == after[1]["groups"]


def test_messages(ranks):
    counts = [rank.ask("groups_request")["groups"][0]["count"] for rank in ranks]
    for call, name in {
        "dist.recv(torch.zeros(5), 1)": "recv",
        "work = dist.irecv(torch.zeros(5), 1)\nwork.wait()": "recv",
        "dist.recv(torch.zeros(5))": "recv",
    }.items():
        request, told = inside(ranks[0], call, name)
        (operation,) = told["operations"]
        peer = None if call == "dist.recv(torch.zeros(5))" else 1
        assert (operation["group"], operation.get("peer"), operation["count"]) == ("0", peer, 0)
        assert (operation["sizes"], operation["dtype"]) == ([[5]], "float32")
        each(ranks[1:], "dist.send(torch.ones(5), 0)")
        assert ranks[0].finish(request).status == "ok"
    assert [rank.ask("groups_request")["groups"][0]["count"] for rank in ranks] == counts


def test_a_wait_of_the_users_own(ranks):
    code = "work = dist.all_reduce(torch.ones(4), async_op=True)\nwork.wait()"
    count = ranks[0].ask("groups_request")["groups"][0]["count"]
    new = version(ranks[0]) >= (2, 8)
    request, told = inside(ranks[0], code, "all_reduce" if new else "wait")
    (operation,) = told["operations"]
    assert (operation["group"], operation["thread"]) == ("0", told["threads"][0]["id"])
    assert told["threads"][0]["frames"][-1]["line"] == 6
    if new:
        assert (operation["count"], operation["sizes"]) == (count + 1, [[4]])
    each(ranks[1:], "dist.all_reduce(torch.ones(4))")
    assert ranks[0].finish(request).status == "ok"


def test_what_goes_on_in_the_background(ranks):
    if version(ranks[0]) < (2, 8):
        pytest.skip("torch records nothing of gloo before 2.8")
    count = ranks[0].ask("groups_request")["groups"][0]["count"]
    each(ranks[:1], "first = dist.all_reduce(torch.ones(4), async_op=True)")
    each(ranks[:1], "second = dist.all_gather([torch.ones(1).double()] * 2, torch.ones(1).double(), async_op=True)")
    told = ranks[0].ask("groups_request")
    assert told["operations"] == [
        {"group": "0", "name": "all_reduce", "count": count + 1, "sizes": [[4]], "dtype": "float32", "thread": 0},
        {"group": "0", "name": "all_gather", "count": count + 2, "sizes": [[1]], "dtype": "float64", "thread": 0},
    ]
    request, told = inside(ranks[0], "dist.barrier()", "barrier")
    assert [(one["name"], one["count"], one["thread"]) for one in told["operations"]] == [
        ("barrier", count + 3, told["threads"][0]["id"]),
        ("all_reduce", count + 1, 0),
        ("all_gather", count + 2, 0),
    ]
    each(
        ranks[1:],
        "dist.all_reduce(torch.ones(4)); dist.all_gather([torch.ones(1).double()] * 2, torch.ones(1).double())",
    )
    each(ranks[1:], "dist.barrier()")
    assert ranks[0].finish(request).status == "ok"
    wait_until(lambda: ranks[0].ask("groups_request")["operations"] == [], "the end of all")


def test_a_backward_pass(ranks):
    each(ranks, "model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 1))")
    step = "loss = model(torch.ones(1, 3)).sum()\nloss.backward()"
    each(ranks, step)
    each(ranks, step)
    request, told = inside(ranks[0], step, "backward")
    main = told["threads"][0]
    assert (told["operations"][0]["thread"], told["operations"][0]["count"]) == (main["id"], 0)
    assert [frame["line"] for frame in main["frames"] if frame["file"] == PATH] == [6]
    if version_of(told) >= 2:
        assert told["operations"][1]["name"] == "all_reduce"
    each(ranks[1:], step)
    assert ranks[0].finish(request).status == "ok"


def version_of(told):
    return len(told["operations"])


def test_a_subgroup_and_its_label(torch_node, spawn):
    ranks = spawn(torch_node, 3, app="torch")
    each(ranks, "import torch, torch.distributed as dist")
    new = version(ranks[0]) >= (2, 4)
    each(ranks, f"pair = dist.new_group([0, 2]{', group_desc=' + repr('tensor') if new else ''})")
    request, told = inside(ranks[2], "dist.all_reduce(torch.ones(1), group=pair)", "all_reduce")
    world, pair = told["groups"]
    assert (world["default"], pair["default"]) == (True, False)
    assert (pair["ranks"], pair["label"]) == ([0, 2], "tensor" if new else "")
    assert [one["group"] for one in told["operations"]] == [pair["name"]]
    assert [group["name"] for group in ranks[1].ask("groups_request")["groups"]] == [world["name"]]
    each(ranks[:1], "dist.all_reduce(torch.ones(1), group=pair)")
    assert ranks[2].finish(request).status == "ok"
    request, told = inside(ranks[2], "dist.new_group([0, 1, 2])", "new_group")
    assert (told["operations"][0]["group"], told["operations"][0]["count"]) == ("", 0)
    each(ranks[:2], "dist.new_group([0, 1, 2])")
    assert ranks[2].finish(request).status == "ok"


def test_a_label_with_braces(ranks):
    if version(ranks[0]) < (2, 8):
        pytest.skip("torch records nothing of gloo before 2.8")
    each(ranks, "pair = dist.new_group([0, 1], group_desc='{tensor} }')")
    each(ranks[:1], "work = dist.all_reduce(torch.ones(3), group=pair, async_op=True)")
    told = ranks[0].ask("groups_request")
    assert told["status"] == "ok", told
    assert [(one["name"], one["sizes"], one["thread"]) for one in told["operations"]] == [("all_reduce", [[3]], 0)]
    each(ranks[1:], "dist.all_reduce(torch.ones(3), group=pair)")


def test_a_thread_that_waits(ranks):
    code = "import threading\nthread = threading.Thread(target=lambda: dist.all_reduce(x), name='mine')\nthread.start()"
    each(ranks[:1], code, path=PATH, line=1)
    told = standing(ranks[0], "all_reduce")
    main, mine = told["threads"]
    assert (main["frames"], mine["name"], mine["main"]) == ([], "mine", False)
    assert [(one["name"], one["thread"]) for one in told["operations"]] == [("all_reduce", mine["id"])]
    assert (PATH, 2, "<lambda>") in [(frame["file"], frame["line"], frame["name"]) for frame in mine["frames"]]
    each(ranks[1:], "dist.all_reduce(x)")
    each(ranks[:1], "thread.join()")


def test_code_of_the_users_is_not_called(ranks):
    code = """
class Shy(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if "shape" in str(func) or "dtype" in str(func):
            print("looked at")
        return super().__torch_function__(func, types, args, kwargs or {})
    def __repr__(self):
        print("printed")
shy = torch.ones(3).as_subclass(Shy)
"""
    each(ranks, code)
    request, told = inside(ranks[0], "dist.all_reduce(shy)", "all_reduce")
    before = ranks[0].text()
    told = ranks[0].ask("groups_request")
    assert "printed" not in ranks[0].text()
    assert ranks[0].text() == before
    assert told["operations"][0]["group"] == "0"
    each(ranks[1:], "dist.all_reduce(torch.ones(3))")
    assert ranks[0].finish(request).status == "ok"


NEWER = {
    "functional": (
        "import torch.distributed._functional_collectives as fc\nx = torch.ones(4)",
        "y = fc.all_reduce(x, 'sum', dist.group.WORLD) + 1",
        "all_reduce",
    ),
    "dtensor": (
        "from torch.distributed.tensor import DTensor, Replicate, Shard, init_device_mesh\n"
        "mesh = init_device_mesh('cpu', (2,))\nd = DTensor.from_local(torch.ones(2, 3), mesh, [Shard(0)])",
        "d.full_tensor()",
        "all_gather",
    ),
    "fsdp2": (
        "from torch.distributed.fsdp import fully_shard\n"
        "from torch.distributed.tensor import init_device_mesh\n"
        "model = torch.nn.Linear(4, 2)\nfully_shard(model, mesh=init_device_mesh('cpu', (2,)))",
        "model(torch.ones(1, 4)).sum().backward()",
        "all_gather",
    ),
    "fsdp1": (
        "from torch.distributed.fsdp import FullyShardedDataParallel\n"
        "model = FullyShardedDataParallel(torch.nn.Linear(4, 2), device_id=torch.device('cpu'))",
        "model(torch.ones(1, 4)).sum().backward()",
        "all_gather",
    ),
    "compiled": (
        "import torch.distributed._functional_collectives as fc\n"
        "@torch.compile\ndef f(x):\n    return fc.all_reduce(x, 'sum', dist.group.WORLD) * 2\nf(torch.ones(4))",
        "f(torch.ones(4))",
        "all_reduce",
    ),
}


@pytest.mark.parametrize("what", NEWER)
def test_what_newer_torches_have(ranks, what):
    if version(ranks[0]) < (2, 8):
        pytest.skip("needs torch 2.8")
    if what == "compiled" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no compiler")
    setup, step, name = NEWER[what]
    each(ranks, setup)
    request, told = inside(ranks[0], step, name)
    world = told["groups"][0]
    (operation,) = told["operations"]
    assert (operation["group"], operation["count"]) == (world["name"], world["count"])
    assert operation["name"].startswith(name)
    assert operation["sizes"]
    assert operation["thread"] == told["threads"][0]["id"]
    assert [frame["line"] for frame in told["threads"][0]["frames"] if frame["file"] == PATH] == [5]
    each(ranks[1:], step)
    assert ranks[0].finish(request).status == "ok"


def test_ranks_that_check_each_other_first(torch_node, spawn):
    """The group counts a collective only once they have agreed on it."""
    ranks = spawn(torch_node, 2, app="torch", env={"TORCH_DISTRIBUTED_DEBUG": "DETAIL"})
    each(ranks, "import torch, torch.distributed as dist\ndist.barrier()")
    for call, counted in {"dist.all_reduce(torch.ones(1))": 1, "dist.monitored_barrier()": 0}.items():
        (before,) = {rank.ask("groups_request")["groups"][0]["count"] for rank in ranks}
        request, told = inside(ranks[0], call, call[5 : call.index("(")])
        assert told["groups"][0]["count"] == before
        assert [one["count"] for one in told["operations"]] == [before + 1 if counted else 0]
        each(ranks[1:], call)
        assert ranks[0].finish(request).status == "ok"


def test_a_monitored_barrier(ranks):
    count = ranks[0].ask("groups_request")["groups"][0]["count"]
    request, told = inside(ranks[0], "dist.monitored_barrier()", "monitored_barrier")
    assert (told["groups"][0]["count"], told["operations"][0]["count"]) == (count, 0)
    each(ranks[1:], "dist.monitored_barrier()")
    assert ranks[0].finish(request).status == "ok"
