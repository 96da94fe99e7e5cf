"""Process groups that are broken while ranks wait in them, and formed anew: real ones, over gloo on the CPU."""

from __future__ import annotations

import itertools

import pytest
from harness import wait_until

torch = pytest.importorskip("torch")
pytest.importorskip("torch.distributed")

IN_PLACE = hasattr(torch.distributed.ProcessGroup, "_register_backend")  # since torch 2.0
needs_in_place = pytest.mark.skipif(not IN_PLACE, reason="a group keeps its backend before torch 2.0")

_rounds = itertools.count(1)


def each(ranks, code, **options):
    requests = [rank.start(code, **options) for rank in ranks]
    return [rank.finish(request) for rank, request in zip(ranks, requests)]


def good(ranks, code, **options):
    """Run a cell on ranks and return what each prints."""
    results = each(ranks, code, **options)
    assert [result.status for result in results] == ["ok"] * len(ranks), [result.messages for result in results]
    return [result.text("stdout") for result in results]


def between(ranks):
    """Return the connections of each rank of which both ends are among the ranks, as the server does."""
    told = [[(one["local"], one["remote"]) for one in rank.ask("connections_request")["connections"]] for rank in ranks]
    ends = {connection for connections in told for connection in connections}
    return [[one for one in connections if one[::-1] in ends] for connections in told]


def break_all(ranks):
    """Break the groups on all ranks until nobody waits; return how many connections that took.

    gloo may connect just while it is asked for its connections.
    """
    broken = break_once(ranks)
    while any(rank.ask("groups_request")["waits"] for rank in ranks):
        broken += break_once(ranks)
    return broken


def break_once(ranks):
    broken = []
    for rank, connections in zip(ranks, between(ranks)):
        content = {"connections": [{"local": a, "remote": b} for a, b in connections], "timeout": 1}
        reply = rank.ask("break_request", content)
        assert (reply["status"], reply["problems"]) == ("ok", []), reply
        broken.append(reply["broken"])
    return sum(broken)


def mend_all(ranks, timeout=30.0, **options):
    """Mend the groups on all ranks and return their replies."""
    number = next(_rounds)
    requests = [rank.send("mend_request", {"round": number, "timeout": timeout, **options}) for rank in ranks]
    return [rank.reply(request, "mend_reply") for rank, request in zip(ranks, requests)]


def mended(ranks, **options):
    replies = mend_all(ranks, **options)
    assert [reply["status"] for reply in replies] == ["ok"] * len(ranks), replies
    assert [reply["in_place"] for reply in replies] == [IN_PLACE] * len(ranks)
    return replies


@pytest.fixture
def pool(torch_node, spawn):
    """A function that starts ranks which have joined."""

    def start(size, **options):
        ranks = spawn(torch_node, size, app="torch", **options)
        assert [rank.hello["status"] for rank in ranks] == ["ok"] * size, [rank.hello for rank in ranks]
        good(ranks, "import os, torch, torch.distributed as dist; rank = dist.get_rank(); kept = [rank, 'kept']")
        return ranks

    return start


SUM = "t = torch.ones(1); dist.all_reduce(t); print(t.item(), kept[1])"


def hang(ranks, code="dist.all_reduce(torch.ones(1))"):
    """Have some ranks wait for others in a collective; return their requests."""
    requests = [rank.start(code, path="/p/train.py", line=3) for rank in ranks]
    wait_until(lambda: all(rank.ask("groups_request")["waits"] for rank in ranks), "the collective")
    return requests


def test_who_waits_is_freed_and_the_group_formed_anew(pool):
    ranks = pool(3)
    requests = hang(ranks[:2])
    assert break_all(ranks) > 0
    results = [rank.finish(request) for rank, request in zip(ranks, requests)]
    assert [result.content["ename"] for result in results] == ["RuntimeError"] * 2
    assert break_all(ranks) == 0
    replies = mended(ranks)
    assert [reply["groups"] for reply in replies] == [["0"]] * 3
    assert [reply["stale"] for reply in replies] == [[]] * 3
    assert good(ranks, SUM) == ["3.0 kept\n"] * 3
    assert between(ranks) != [[]] * 3


def test_again_and_again(pool):
    ranks = pool(3)
    for waiting in ([0, 1], [2], [1, 2], [0]):
        some = [ranks[number] for number in waiting]
        requests = hang(some)
        break_all(ranks)
        assert [rank.finish(request).status for rank, request in zip(some, requests)] == ["error"] * len(some)
        mended(ranks)
        assert good(ranks, SUM) == ["3.0 kept\n"] * 3
        counts = [rank.ask("groups_request")["groups"][0]["count"] for rank in ranks]
        assert len(set(counts)) == 1
        (first,) = set(counts)
        good(ranks, SUM)
        assert [rank.ask("groups_request")["groups"][0]["count"] for rank in ranks] == [first + 1] * 3


MODEL = """
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 1)))
opt = torch.optim.{optimizer}
torch.manual_seed(rank)
def step():
    opt.zero_grad(); loss = model(torch.randn(4, 8)).square().mean(); loss.backward(); opt.step()
for _ in range(3):
    step()
"""

EQUAL = """
def equal():
    own = torch.cat([p.detach().flatten() for p in model.parameters()])
    all_ = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(all_, own)
    return all(torch.equal(own, one) for one in all_)
print(equal())
"""


@needs_in_place
def test_one_model_trains_on_after_twenty(pool):
    ranks = pool(3)
    good(ranks, MODEL.format(optimizer="SGD(model.parameters(), 0.01)"))
    for number in range(20):
        some = [rank for index, rank in enumerate(ranks) if index != number % 3]
        requests = hang(some, "while True: step()")
        break_all(ranks)
        assert [rank.finish(request).status for rank, request in zip(some, requests)] == ["error"] * 2
        mended(ranks)
        good(ranks, "step(); step()")
        assert good(ranks, EQUAL) == ["True\n"] * 3
    assert good(ranks, SUM) == ["3.0 kept\n"] * 3


@pytest.mark.parametrize("optimizer", ["SGD(model.parameters(), 0.01)", "Adam(model.parameters(), 0.01)"])
def test_replicas_are_brought_to_agree(pool, optimizer):
    """One rank makes a step that the others have not made."""
    ranks = pool(3)
    good(ranks, MODEL.format(optimizer=optimizer))
    good(ranks, "if rank == 1: opt.step()")
    (reply, *_) = replies = mend_all(ranks, keep=True)
    assert [one["status"] for one in replies] == ["ok"] * 3, replies
    how = "a step ahead of rank 0" if optimizer.startswith("Adam") else "not as rank 0"
    notice = f"model: rank 1 was {how} after the interrupt; parameters, buffers and optimizer state are rank 0's now"
    assert [one["notices"] for one in replies] == [[notice]] * 3
    assert (reply["in_place"], reply["groups"], reply["stale"]) == (True, [], [])
    assert good(ranks, EQUAL) == ["True\n"] * 3
    assert good(ranks, "step()" + EQUAL) == ["True\n"] * 3
    assert [one["notices"] for one in mend_all(ranks, keep=True)] == [[]] * 3
    states = good(
        ranks, "print([sorted(map(str, opt.state[p])) for p in model.parameters()], opt.param_groups[0]['lr'])"
    )
    assert len(set(states)) == 1


@needs_in_place
def test_what_was_lost_with_a_group_is_not_told_any_more(pool):
    """torch's recorder takes it for pending for good."""
    ranks = pool(2, env={"TORCH_FR_BUFFER_SIZE": "200"})
    if good(ranks[:1], "print(hasattr(torch._C._distributed_c10d, '_dump_fr_trace_json'))") != ["True\n"]:
        pytest.skip("torch records nothing of gloo before 2.8")
    for _ in range(2):
        good(ranks[:1], "lost = dist.all_reduce(torch.ones(3), async_op=True)")
        requests = hang(ranks[:1])
        break_all(ranks)
        assert ranks[0].finish(requests[0]).status == "error"
        mended(ranks)
        assert [rank.ask("groups_request")["operations"] for rank in ranks] == [[], []]
        good(ranks, SUM)
        count = ranks[1].ask("groups_request")["groups"][0]["count"]
        good(ranks[:1], "begun = dist.all_reduce(torch.ones(5), async_op=True)")
        told = ranks[0].ask("groups_request")
        assert told["operations"] == [
            {"group": "0", "name": "all_reduce", "count": count + 1, "sizes": [[5]], "dtype": "float32", "thread": 0}
        ]
        assert told["groups"][0]["count"] == count + 1
        good(ranks[1:], "dist.all_reduce(torch.ones(5))")
        wait_until(lambda: not ranks[0].ask("groups_request")["operations"], "the end of it")
