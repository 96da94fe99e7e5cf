"""Process groups that are broken while ranks wait in them, and formed anew: real ones, over gloo on the CPU."""

from __future__ import annotations

import itertools
import time

import pytest
import stress
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
    """Return each rank's connections to other ranks, chosen as the server does."""
    told = [[(one["local"], one["remote"]) for one in rank.ask("connections_request")["connections"]] for rank in ranks]
    ends = {connection for connections in told for connection in connections}
    return [[one for one in connections if one[::-1] in ends] for connections in told]


def waits(rank):
    """Whether a thread of a rank is inside of an operation."""
    return any(operation["thread"] for operation in rank.ask("groups_request")["operations"])


def break_all(ranks):
    """Break the groups on all ranks until nobody waits; return how many connections that took.

    gloo may open another connection while it is asked for its connections.
    """
    broken = break_once(ranks)
    while any(map(waits, ranks)):
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
    wait_until(lambda: all(map(waits, ranks)), "the collective")
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


def test_a_model_that_is_wrapped_again_trains_while_the_old_one_is_there(pool):
    """The old one was left between its passes, waits for gradients, and shares the parameters."""
    ranks = pool(3)
    good(ranks, MODEL.format(optimizer="SGD(model.parameters(), 0.01)"))
    requests = hang(ranks[:2], "model(torch.randn(4, 8)); dist.barrier()")
    break_all(ranks)
    assert [rank.finish(request).status for rank, request in zip(ranks, requests)] == ["error"] * 2
    mended(ranks)
    good(ranks[:1], "old = model")
    good(ranks, "model = torch.nn.parallel.DistributedDataParallel(model.module)")
    assert good(ranks, "step(); step()" + EQUAL) == ["True\n"] * 3


@pytest.mark.parametrize("optimizer", ["SGD(model.parameters(), 0.01)", "Adam(model.parameters(), 0.01)"])
def test_replicas_are_brought_to_agree(pool, optimizer):
    """Two ranks make a step that the first has not made."""
    ranks = pool(3)
    good(ranks, MODEL.format(optimizer=optimizer))
    good(ranks, "if rank: opt.step()")
    (reply, *_) = replies = mend_all(ranks, keep=True)
    assert [one["status"] for one in replies] == ["ok"] * 3, replies
    how = "a step ahead of rank 0" if optimizer.startswith("Adam") else "not as rank 0"
    notice = f"model: ranks 1-2 were {how} after the interrupt"
    notice += "; parameters, buffers and optimizer state are rank 0's now"
    assert [one["notices"] for one in replies] == [[notice]] * 3
    assert (reply["in_place"], reply["groups"], reply["stale"]) == (True, [], [])
    assert good(ranks, EQUAL) == ["True\n"] * 3
    assert good(ranks, "step()" + EQUAL) == ["True\n"] * 3
    assert [one["notices"] for one in mend_all(ranks, keep=True)] == [[]] * 3
    states = good(
        ranks, "print([sorted(map(str, opt.state[p])) for p in model.parameters()], opt.param_groups[0]['lr'])"
    )
    assert len(set(states)) == 1


def test_a_batch_that_an_interrupt_has_ended_takes_nothing_in(pool):
    ranks = pool(2)
    if good(ranks[:1], "print(hasattr(dist.distributed_c10d, '_coalescing_manager'))") != ["True\n"]:
        pytest.skip("this torch makes no batches of collectives")
    batch = "with dist.distributed_c10d._coalescing_manager(): dist.all_reduce(torch.ones(1)); raise KeyboardInterrupt"
    assert [result.status for result in each(ranks, batch)] == ["error"] * 2
    assert [reply["status"] for reply in mend_all(ranks, keep=True)] == ["ok"] * 2
    assert good(ranks, SUM) == ["2.0 kept\n"] * 2


def test_large_parameters_are_compared_without_a_copy(pool):
    """There may be no room for one where they are."""
    (rank,) = pool(1)
    code = """
from dip_agent.groups import replicas
large = [torch.ones(1 << 24), torch.ones(0), torch.tensor(2.0)]
with torch.autograd.profiler.profile(profile_memory=True) as profiled:
    sums = replicas._sums(large)
words = [own.view(torch.int32).sum().item() for own in (large[0], large[1], large[2].reshape(1))]
print(sums == words, max(event.cpu_memory_usage for event in profiled.function_events) < large[0].numel() * 4)
"""
    assert good([rank], code) == ["True True\n"]


def test_an_optimizer_of_the_users_own_may_keep_anything(pool):
    ranks = pool(2)
    good(ranks, MODEL.format(optimizer="SGD(model.parameters(), 0.01, momentum=0.9)"))
    code = "first, second, *_ = opt.state; opt.state[first] = [rank]; opt.state[second]['step'] = torch.ones(3)"
    good(ranks, code)
    replies = mend_all(ranks, keep=True)
    assert [reply["status"] for reply in replies] == ["ok"] * 2, replies
    assert [reply["notices"] for reply in replies] == [[]] * 2
    good(ranks, "with torch.no_grad(): next(model.parameters()).fill_(rank)")
    replies = mend_all(ranks, keep=True)
    assert [reply["status"] for reply in replies] == ["ok"] * 2, replies
    assert all("but not the state of an optimizer" in reply["notices"][0] for reply in replies)
    assert good(ranks, EQUAL) == ["True\n"] * 2


def test_a_message_that_ends_in_groups_formed_anew_is_not_counted_there(pool):
    """As one of a thread's does that was broken."""
    ranks = pool(2)
    good(ranks, "for _ in range(3): dist.all_reduce(torch.ones(1))")
    message = """
import threading
from dip_agent.groups import collectives
ends = threading.Event()
def recv(group): ends.wait()
thread = threading.Thread(target=collectives._uncounted(recv), args=(dist.distributed_c10d._get_default_group(),))
thread.start()
"""
    good(ranks[:1], message)
    mended(ranks)
    good(ranks[:1], "ends.set(); thread.join()")
    good(ranks, SUM)
    counts = [rank.ask("groups_request")["groups"][0]["count"] for rank in ranks]
    assert counts[0] == counts[1]


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


def interrupted(ranks, requests, patience):
    """Interrupt cells as the server does; return what comes of each, and whether connections had to be broken."""
    for rank, request in zip(ranks, requests):
        rank.ask("interrupt_request", {"parent": request})
    deadline = time.monotonic() + patience
    broken = False
    while not all(map(idle, ranks)):
        if time.monotonic() > deadline:
            broken = True
            break_all(ranks)
            deadline = time.monotonic() + patience
        time.sleep(0.005)
    return [rank.finish(request) for rank, request in zip(ranks, requests)], broken


def refused(rank):
    """Whether a rank has an answer already."""
    return any(message.type == "execute_reply" for message in rank.inbox)


def idle(rank):
    return rank.ask("status_request", reply="status")["execution_state"] == "idle"


@pytest.mark.parametrize("optimizer", ["SGD(model.parameters(), 0.01)", "Adam(model.parameters(), 0.01)"])
def test_stress_interrupts_of_training(pool, optimizer):
    ranks = pool(3)
    choices = stress.choices()
    good(ranks, MODEL.format(optimizer=optimizer))
    for _ in range(stress.rounds(4, 100)):
        requests = [rank.start("while True: step()", path="/p/train.py") for rank in ranks]
        time.sleep(choices.random() * 0.2)  # the interrupt comes at a random moment
        results, broken = interrupted(ranks, requests, 0.2)
        for result in results:  # it may come before a cell has begun
            assert result.status == "aborted" or result.content["ename"] == "KeyboardInterrupt", result.content
        groups = [result.content["groups"] for result in results]
        keep = not broken and groups[0] == groups[1] == groups[2]
        replies = mend_all(ranks, keep=keep)
        assert [reply["status"] for reply in replies] == ["ok"] * 3, replies
        assert good(ranks, SUM) == ["3.0 kept\n"] * 3
        if replies[0]["stale"]:
            good(ranks, "model = torch.nn.parallel.DistributedDataParallel(model.module)")
        assert good(ranks, "step(); step()" + EQUAL) == ["True\n"] * 3


def test_subgroups(pool):
    ranks = pool(3)
    good(ranks, "pair = dist.new_group([0, 2]); alone = dist.new_group([1])")
    good(ranks, "pairs = {'pair': pair}")
    code = "dist.all_reduce(torch.ones(1), group=pair)"
    requests = hang(ranks[:1], code)
    break_all(ranks)
    assert ranks[0].finish(requests[0]).status == "error"
    replies = mended(ranks)
    if IN_PLACE:
        assert [reply["groups"] for reply in replies] == [["0", "1"], ["0", "2"], ["0", "1"]]
    else:
        todo = "make it again with new_group"
        kind = {"type": "ProcessGroupGloo", "todo": todo}
        pair = [{"name": "pair", **kind}, {"name": "pairs['pair']", **kind}]
        assert [reply["stale"] for reply in replies] == [pair, [{"name": "alone", **kind}], pair]
        good(ranks, "pair = dist.new_group([0, 2]); alone = dist.new_group([1])")
    code = "t = torch.ones(1); dist.all_reduce(t, group=pair if rank != 1 else alone); print(t.item())"
    assert good(ranks, code) == ["2.0\n", "1.0\n", "2.0\n"]
    assert good(ranks, SUM) == ["3.0 kept\n"] * 3
    # And one that is made later.
    code = "new = dist.new_group([1, 2]); t = torch.ones(1); dist.all_reduce(t, group=new); print(t.item())"
    assert good(ranks, code + " if rank else print(0)") == ["0\n", "2.0\n", "2.0\n"]


def test_who_makes_a_group_alone_is_freed(pool):
    """It waits for the others at the store, not in a collective."""
    ranks = pool(3)
    for number in range(2):
        request = ranks[0].start("new = dist.new_group([0, 1])", path="/p/train.py")
        wait_until(lambda: waits(ranks[0]), "the beginning")
        interrupted(ranks[:1], [request], 0.2)
        mended(ranks)
        assert good(ranks, SUM) == ["3.0 kept\n"] * 3
        code = "new = dist.new_group([0, 1]); t = torch.ones(1)\nif rank < 2: dist.all_reduce(t, group=new)"
        assert good(ranks, code + "\nprint(t.item())") == ["2.0\n", "2.0\n", "1.0\n"], number


def test_who_waits_for_the_first_count_of_a_group_is_freed(pool):
    """Before torch 2.2 the group's first rank tells the others in `new_group` where they begin to count."""
    ranks = pool(2)
    untold = "kind = dist.ProcessGroupGloo; tell = kind._set_sequence_number_for_group\n"
    untold += "def leave(group): raise RuntimeError('left')\nkind._set_sequence_number_for_group = leave\n"
    requests = [ranks[0].start(untold + "dist.new_group()"), ranks[1].start("dist.new_group()")]
    if ranks[0].finish(requests[0]).status == "ok":
        pytest.skip("this torch tells no count")
    wait_until(lambda: any("new_group" in str(frame) for frame in innermost(ranks[1])), "the wait")
    assert break_once(ranks) > 0
    assert ranks[1].finish(requests[1]).status == "error"
    good(ranks[:1], "kind._set_sequence_number_for_group = tell")
    mended(ranks)
    assert good(ranks, SUM) == ["2.0 kept\n"] * 2


def innermost(rank):
    """Return the innermost frame of a rank's main thread, if it has one."""
    return [thread["frames"][-1] for thread in rank.ask("groups_request")["threads"] if thread["main"]][:1]


def test_stress_who_comes_to_a_group_that_the_others_have_left_is_freed(pool):
    """It has found at the store where they listened. Chance has it which of two connects, and which waits for that."""
    ranks = pool(3)
    code = "new = dist.new_group([0, 1])"
    for number in range(stress.rounds(4, 40)):
        for rank in (ranks[1], ranks[0]):
            request = rank.start(code, path="/p/train.py")
            wait_until(lambda rank=rank: waits(rank) or refused(rank), "the beginning")
            results, _ = interrupted([rank], [request], 0.2)
            assert results[0].status == "error", number
        mended(ranks)
        assert good(ranks, SUM) == ["3.0 kept\n"] * 3, number


@needs_in_place
def test_a_mesh_of_devices(pool):
    ranks = pool(4)
    code = "from torch.distributed.device_mesh import init_device_mesh as make; mesh = make('cpu', (2, 2))"
    if each(ranks[:1], "import torch.distributed.device_mesh")[0].status != "ok":
        pytest.skip("torch has no device_mesh before 2.2")
    good(
        ranks,
        code + "\ntry:\n    from torch.distributed.tensor import distribute_tensor, Shard"
        "\nexcept ImportError:  # before torch 2.5\n    from torch.distributed._tensor import distribute_tensor, Shard"
        "\nspread = distribute_tensor(torch.arange(8.0).reshape(4, 2), mesh, [Shard(0), Shard(1)])",
    )
    row = "t = torch.ones(1) * (rank + 1); dist.all_reduce(t, group=mesh.get_group({})); print(t.item())"
    for number in range(3):
        requests = hang(ranks[:1], row.format(number % 2))
        break_all(ranks)
        assert ranks[0].finish(requests[0]).status == "error"
        mended(ranks)
        assert good(ranks, row.format(0)) == ["4.0\n", "6.0\n", "4.0\n", "6.0\n"]
        assert good(ranks, row.format(1)) == ["3.0\n", "3.0\n", "7.0\n", "7.0\n"]
        assert good(ranks, "print(spread.full_tensor().sum().item())") == ["28.0\n"] * 4


OWN_SOCKETS = """
import asyncio, socket, sqlite3, threading, tempfile
store = dist.distributed_c10d._get_default_store()
if rank == 0:
    server = socket.create_server(("127.0.0.1", 0)); store.set("own", str(server.getsockname()[1]))
    peers = [server.accept()[0] for _ in range(dist.get_world_size() - 1)]
else:
    peers = [socket.create_connection(("127.0.0.1", int(store.get("own"))))]

async def answer(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper()); await writer.drain()

async def serve():
    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    store.set("loop", str(listening.sockets[0].getsockname()[1]))
    await listening.serve_forever()

if rank == 0:
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
else:
    client = socket.create_connection(("127.0.0.1", int(store.get("loop"))))
base = sqlite3.connect(tempfile.mkdtemp() + "/base"); base.execute("create table a (x)")
file = tempfile.TemporaryFile("w+")
"""

USE_OWN = """
for peer in peers:
    peer.sendall(b"%d" % rank)
print(sorted(peer.recv(1) for peer in peers))
if rank:
    client.sendall(b"again\\n"); print(client.recv(6))
base.execute("insert into a values (1)"); base.commit()
file.write("a"); file.flush()
"""


def test_what_the_user_has_opened_is_left_alone(pool):
    """Sockets of Python's, of an event loop's and of a C++ library's (ZeroMQ), a database and a file."""
    ranks = pool(3)
    good(ranks, OWN_SOCKETS)
    zmq = """
import zmq
context = zmq.Context()
if rank == 0:
    replier = context.socket(zmq.PULL); store.set("zmq", str(replier.bind_to_random_port("tcp://127.0.0.1")))
else:
    pusher = context.socket(zmq.PUSH); pusher.connect("tcp://127.0.0.1:" + store.get("zmq").decode())
"""
    good(ranks, zmq)
    use = USE_OWN + "\nif rank:\n    pusher.send(b'x')\nelse:\n    print(replier.recv(), replier.recv())"
    expected = ["[b'1', b'2']\nb'x' b'x'\n"] + ["[b'0']\nb'AGAIN\\n'\n"] * 2
    assert good(ranks, use) == expected
    told = between(ranks)
    # Each rank has a connection of gloo's with each other one, and nothing else.
    assert [len(connections) for connections in told] == [2, 2, 2]
    own = good(ranks, "print(*(peer.getsockname()[1] for peer in peers))")
    ports = {int(local.rpartition(":")[2]) for connections in told for local, _ in connections}
    assert ports.isdisjoint(int(port) for text in own for port in text.split())
    requests = hang(ranks[1:])
    break_all(ranks)
    assert [rank.finish(request).status for rank, request in zip(ranks[1:], requests)] == ["error"] * 2
    mended(ranks)
    assert good(ranks, use) == expected
    assert good(ranks, SUM) == ["3.0 kept\n"] * 3


def test_ranks_that_do_not_come_are_named_and_the_next_time_does_it(pool):
    ranks = pool(3)
    requests = hang(ranks[:1])
    break_all(ranks)
    ranks[0].finish(requests[0])
    replies = mend_all(ranks[:2], timeout=2)
    assert [reply["status"] for reply in replies] == ["error"] * 2
    assert "rank 2 has not come within 2 s" in [reply["evalue"] for reply in replies]
    for reply in replies:  # who comes to know first tells the other
        assert reply["evalue"].startswith(("rank 2 has not come", "rank 0 failed: rank 2", "rank 1 failed: rank 2"))
    mended(ranks)
    assert good(ranks, SUM) == ["3.0 kept\n"] * 3


def test_an_interrupt_ends_the_waiting_for_others(pool):
    ranks = pool(2)
    number = next(_rounds)
    request = ranks[0].send("mend_request", {"round": number, "timeout": 50})
    wait_until(lambda: not idle(ranks[0]), "the beginning")
    ranks[0].ask("interrupt_request", {"parent": request})
    assert ranks[0].reply(request, "mend_reply")["ename"] == "KeyboardInterrupt"
    mended(ranks)
    assert good(ranks, SUM) == ["2.0 kept\n"] * 2


LEFT_ALONE = """
import dip_agent.groups.mending as mending
def once(self, *given, form=mending._Forming.form):
    mending._Forming.form = form
    if rank == 1:
        self._meeting._store.get("rank 0 forms")
        raise RuntimeError("no room")
    self._meeting._store.set("rank 0 forms", "")
    form(self, *given)
mending._Forming.form = once
"""


@pytest.mark.parametrize("timeout", [50.0, 1.0], ids=["interrupted", "in time"])
def test_who_is_left_alone_while_a_group_is_formed_does_not_wait_for_ever(pool, timeout):
    ranks = pool(2)
    good(ranks, LEFT_ALONE)
    content = {"round": next(_rounds), "timeout": timeout}
    requests = [rank.send("mend_request", content) for rank in ranks]
    assert ranks[1].reply(requests[1], "mend_reply")["evalue"] == "no room"
    if timeout == 50.0:
        ranks[0].ask("interrupt_request", {"parent": requests[0]})
    assert ranks[0].reply(requests[0], "mend_reply")["status"] == "error"
    mended(ranks)
    assert good(ranks, SUM) == ["2.0 kept\n"] * 2


def test_ranks_without_a_group_have_nothing_to_mend(torch_node, spawn):
    ranks = spawn(torch_node, 2, app="none")
    assert [rank.ask("connections_request")["connections"] for rank in ranks] == [[], []]
    assert break_all(ranks) == 0
    for reply in mend_all(ranks):
        assert reply == {"status": "ok", "in_place": True, "groups": [], "stale": [], "notices": []}


def test_a_group_of_the_users_own_is_mended(torch_node, spawn):
    ranks = spawn(torch_node, 2, app="none")
    code = "import torch, torch.distributed as dist; dist.init_process_group('gloo'); kept = [0, 'kept']"
    good(ranks, code)
    for _ in range(2):
        requests = hang(ranks[:1])
        break_all(ranks)
        assert ranks[0].finish(requests[0]).status == "error"
        mended(ranks)
        assert good(ranks, SUM) == ["2.0 kept\n"] * 2


def test_with_collectives_that_are_compared(pool):
    """As %makedip --check has it: each backend is within another."""
    ranks = pool(3, env={"TORCH_DISTRIBUTED_DEBUG": "DETAIL"})
    for _ in range(3):
        requests = hang(ranks[:2])
        break_all(ranks)
        assert [rank.finish(request).status for rank, request in zip(ranks, requests)] == ["error"] * 2
        mended(ranks)
        assert good(ranks, SUM) == ["3.0 kept\n"] * 3
    # They are still compared.
    for result in each(ranks, "dist.all_reduce(torch.ones(rank + 1))"):
        assert result.status == "error", result.messages
        assert "mismatch" in result.content["evalue"]


TIMEOUTS = """
def timeout(group):
    backend = group._get_backend(torch.device("cpu")) if hasattr(group, "_get_backend") else group
    return backend.options._timeout.total_seconds()
from datetime import timedelta
"""


def test_groups_wait_as_long_as_they_are_told(pool):
    ranks = pool(2, env={"DIPLS_GROUP_TIMEOUT": "5000"})
    code = (
        "own = dist.new_group(timeout=timedelta(seconds=77)); print(timeout(dist.group.WORLD), timeout(own), end=' ')"
    )
    code += "; print(timeout(dist.new_group()))"
    assert good(ranks, TIMEOUTS + code) == ["5000.0 77.0 5000.0\n"] * 2
    mended(ranks)
    again = "print(timeout(dist.group.WORLD), timeout(own), timeout(dist.new_group()))"
    expected = "5000.0 77.0 5000.0\n"
    assert good(ranks, again) == [expected] * 2
    code = "dist.destroy_process_group(); dist.init_process_group('gloo', timeout=timedelta(seconds=88))"
    assert good(ranks, code + "; print(timeout(dist.group.WORLD))") == ["88.0\n"] * 2
    mended(ranks)
    assert good(ranks, "print(timeout(dist.group.WORLD))") == ["88.0\n"] * 2


def test_groups_wait_for_a_day_by_default(pool):
    assert good(pool(1), TIMEOUTS + "print(timeout(dist.group.WORLD), timeout(dist.new_group()))") == [
        "86400.0 86400.0\n"
    ]


@pytest.mark.skipif(IN_PLACE, reason="nothing is stale where a group keeps its object")
def test_what_holds_an_old_group_is_named(pool):
    ranks = pool(2)
    good(ranks, MODEL.format(optimizer="SGD(model.parameters(), 0.01)"))
    code = """
from types import SimpleNamespace
from torch.distributed.optim import ZeroRedundancyOptimizer
zero = ZeroRedundancyOptimizer(model.parameters(), torch.optim.SGD, lr=0.1)
trainer = SimpleNamespace(net=model, epochs=3)
models = [model, 1]
world = dist.group.WORLD
other = torch.nn.Linear(1, 1)
"""
    good(ranks, code)
    (reply, _) = mended(ranks)
    model = {"type": "DistributedDataParallel", "todo": "wrap it again"}
    assert reply["stale"] == [
        {"name": "model", **model},
        {"name": "zero", "type": "ZeroRedundancyOptimizer", "todo": "make it again"},
        {"name": "trainer.net", **model},
        {"name": "models[0]", **model},
        {"name": "world", "type": "ProcessGroupGloo", "todo": "take dist.group.WORLD again"},
    ]
