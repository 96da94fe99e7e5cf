"""Random states: each process has its own, although it was forked of one that had imported everything."""

from __future__ import annotations

import json

import pytest
from harness import Node, Process

DRAW = """
import json, random, sys, tempfile, uuid
import numpy as np, torch
drawn = [random.random(), float(np.random.rand()), float(np.random.default_rng().random()), torch.rand(1).item(),
         torch.initial_seed(), tempfile.mktemp(), str(uuid.uuid4()), random.Random().random()]
print(json.dumps(drawn))
"""


def draw(processes: list[Process], code: str = DRAW) -> list[list]:
    requests = [process.start(code) for process in processes]
    results = [process.finish(request) for process, request in zip(processes, requests)]
    assert [result.status for result in results] == ["ok"] * len(results), results[0].all("error")
    return [json.loads(result.text("stdout")) for result in results]


def all_distinct(rows: list[list]) -> bool:
    return all(len(set(map(str, column))) == len(rows) for column in zip(*rows))


@pytest.fixture(params=["fork", "spawn"])
def method(request):
    return request.param


def test_every_rank_has_a_state_of_its_own_and_another_one_after_a_restart(torch_node, spawn):
    pytest.importorskip("numpy")
    rows = []
    for _ in range(3):
        pools = [spawn(torch_node, 8), spawn(torch_node)]
        assert torch_node.spawned["method"] == "fork"
        for pool in pools:
            rows += draw(pool)
    assert len(rows) == 27
    assert all_distinct(rows)


def test_spawned_ranks_have_states_of_their_own(torch_node, spawn):
    rows = draw(spawn(torch_node, 2, method="spawn")) + draw(spawn(torch_node, 2, method="spawn"))
    assert all_distinct(rows)


def test_a_seed_that_the_local_namespace_sets_is_not_copied(torch_node, spawn):
    (local,) = spawn(torch_node)
    seed = "import random, torch, numpy as np\nrandom.seed(1); torch.manual_seed(1); np.random.seed(1)"
    assert local.run(seed).status == "ok"
    ranks = spawn(torch_node, 2)
    assert all_distinct(draw([local, *ranks]))
    assert [rank.run(seed).status for rank in ranks] == ["ok", "ok"]
    first, second = draw(ranks)
    assert first[:2] + first[3:5] == second[:2] + second[3:5]


MODULE = """
import random, uuid
import numpy as np, torch
class Holder:
    def __init__(self):
        self.generator = np.random.default_rng()
holder, legacy, plain, spawner = Holder(), np.random.RandomState(), random.Random(), np.random.default_rng()
legacy.randn()  # which leaves another number to be drawn
entropy = torch.Generator()
entropy.seed()
np.random.seed(0); random.seed(0); torch.manual_seed(0)
fixed = np.random.default_rng(7), np.random.RandomState(7), random.Random(7), torch.Generator().manual_seed(7)
forgotten = torch.Generator()
uuid._node = 0x112233445566  # as if it was made up: the machine had no address
"""
FRESH = """
import json, generators as g, torch, uuid, random, numpy as np
drawn = [g.holder.generator.random(), g.legacy.randn(), g.plain.random(), torch.rand(1, generator=g.entropy).item(),
         random.random(), np.random.rand(), torch.rand(1).item(), uuid.getnode()]
print(json.dumps(drawn))
"""
FIXED = """
import json, generators as g, torch
a, b, c, d = g.fixed
print(json.dumps([a.random(), b.rand(), c.random(), torch.rand(1, generator=d).item(),
                  torch.rand(1, generator=g.forgotten).item()]))
"""
SPAWNED = "import json, generators as g; print(json.dumps([g.spawner.spawn(1)[0].random()]))"


def test_generators_of_preloaded_modules(make_node, tmp_path, monkeypatch):
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    import random

    (tmp_path / "generators.py").write_text(MODULE)
    node: Node = make_node()
    reply = node.ask("preload_request", {"modules": ["torch", "generators"]})
    assert (reply["failed"], reply["fork_safe"]) == ([], True)
    ranks = [*node.spawn(3), *node.spawn()]
    # uuid asks the system first, which may know an address.
    made_up = "import uuid; uuid._GETTERS = []"
    assert [rank.run(made_up).status for rank in ranks] == ["ok"] * 4
    assert all_distinct(draw(ranks, FRESH))
    own = [np.random.default_rng(7).random(), np.random.RandomState(7).rand(), random.Random(7).random()]
    own += [
        torch.rand(1, generator=torch.Generator().manual_seed(7)).item(),
        torch.rand(1, generator=torch.Generator()).item(),
    ]
    assert draw(ranks, FIXED) == [own] * 4
    if hasattr(np.random.Generator, "spawn"):
        assert all_distinct(draw(ranks, SPAWNED))
    notice = "all ranks draw the same numbers from generators.forgotten: a torch.Generator without a seed"
    assert [rank.hello["notices"] for rank in ranks] == [[notice]] * 4


CUDA = """
import json, torch
waiting = [call for call in torch.cuda._lazy_seed_tracker.get_calls() if call]  # until CUDA is initialized
print(json.dumps([cell.cell_contents for cell in waiting[-1][0].__closure__]))
"""


def test_seeds_that_wait_for_cuda(make_node, tmp_path):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.cuda, "_lazy_seed_tracker") or torch.cuda.is_available():
        pytest.skip("no seed waits here")
    (tmp_path / "seeds.py").write_text("import torch\ntorch.manual_seed(0)\n")
    node: Node = make_node()
    assert node.ask("preload_request", {"modules": ["torch", "seeds"]})["failed"] == []
    ranks = node.spawn(2)
    drawn = draw(ranks, CUDA)
    assert [0] not in drawn
    assert drawn == draw(ranks, "import json, torch; print(json.dumps([torch.initial_seed()]))")
    assert drawn[0] != drawn[1]
    assert draw(node.spawn(1, seed=5), CUDA) == [[5]]


def test_a_seed_that_is_asked_for(torch_node, spawn, method):
    code = """
import json, random, numpy as np, torch
print(json.dumps([random.random(), float(np.random.rand()), torch.rand(1).item(), torch.initial_seed()]))
"""
    np, torch = pytest.importorskip("numpy"), pytest.importorskip("torch")
    import random

    (rank,) = spawn(torch_node, 1, method=method, seed=2**32 + 41)
    (row,) = draw([rank], code)
    number = torch.rand(1, generator=torch.Generator().manual_seed(2**32 + 41)).item()
    assert row == [random.Random(2**32 + 41).random(), np.random.RandomState(41).rand(), number, 2**32 + 41]
    assert draw(spawn(torch_node, 1, method=method, seed=2**32 + 41), code) == [row]
