"""Tensors, modules and optimizers on their way between two processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import end
from harness import Node, Process

from dip_agent.transfer import TransferError, pack, unpack

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def rank(torch_node: Node) -> Iterator[Process]:
    """A rank that the tests share; it has torch imported."""
    (process,) = torch_node.spawn(1)
    yield process
    end(torch_node, process)


def there_and_back(rank: Process, value: Any) -> Any:
    """Return what a rank has made of `value`."""
    with pack({"value": value}, {}) as outgoing:
        reply = rank.ask("push_request", {"names": ["value"], "payload": outgoing.payload})
    assert reply["status"] == "ok", reply
    rank.send("push_commit", {"commit": True})
    request = rank.send("pull_request", {"names": ["value"]})
    reply = rank.reply(request, "pull_reply")
    assert reply["status"] == "ok", reply
    namespace: dict[str, Any] = {}
    unpack(["value"], reply["payload"], namespace).commit()
    rank.send("pull_release", {"parent": request})
    return namespace["value"]


def plain(tensor: Any) -> Any:
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # sparse CSR is "in beta state"
    BASE = torch.arange(12.0).reshape(3, 4)
    COMPLEX = torch.tensor([1 + 2j, 3 - 4j])
    TENSORS = {
        **{str(kind): torch.arange(4).to(kind) for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int8)},
        "bool": torch.tensor([True, False]),
        "complex": COMPLEX,
        "conjugate": COMPLEX.conj(),
        "negative": COMPLEX.conj().imag,
        "both": COMPLEX.conj().imag.conj(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3),
        "view": BASE[1:, ::2],
        "transposed": BASE.t(),
        "expanded": torch.zeros(1).expand(5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "frozen": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "with gradient": torch.ones(2, requires_grad=True),
        "sparse": torch.eye(3).to_sparse(),
        "sparse CSR": torch.eye(3).to_sparse_csr(),
        "quantized": torch.quantize_per_tensor(torch.arange(4.0), 0.1, 0, torch.quint8),
        "large": torch.arange(1 << 20),
    }


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_comes_back_equal(rank: Process, name: str) -> None:
    sent = TENSORS[name]
    got = there_and_back(rank, sent)
    assert type(got) is type(sent)
    assert (got.dtype, got.layout, got.requires_grad) == (sent.dtype, sent.layout, sent.requires_grad)
    assert torch.equal(plain(got), plain(sent))
    if sent.layout == torch.strided:
        assert got.stride() == sent.stride()


def test_views_of_one_storage_stay_that(rank: Process) -> None:
    base = torch.arange(1 << 19)
    sent = [base, base[5:10], base.view(2, -1), base.storage(), base.numpy()]
    with pack({"value": sent[:4]}, {}) as outgoing:
        assert outgoing.payload["bytes"] < base.nelement() * 8 * 1.01
    got = there_and_back(rank, sent)
    got[0][5] = -1
    assert (got[1][0], got[2][0, 5], got[3][5]) == (-1, -1, -1)


def test_no_byte_of_a_tensor_is_in_the_pickle(rank: Process) -> None:
    with pack({"value": torch.ones(1 << 20)}, {}) as outgoing:
        assert outgoing.payload["pickle"][2] < 1024
        assert [size for _, _, size, _ in outgoing.payload["buffers"]] == [4 << 20]


def test_training_goes_on_elsewhere(rank: Process) -> None:
    def step(model: Any, optimizer: Any) -> Any:
        optimizer.zero_grad()
        loss = model(BASE).pow(2).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    step(model, optimizer)
    back_model, back_optimizer = there_and_back(rank, (model, optimizer))
    for _ in range(3):
        assert torch.equal(step(model, optimizer), step(back_model, back_optimizer))
    assert back_optimizer.param_groups[0]["params"][0] is next(back_model.parameters())


def test_the_rank_trains_what_it_was_pushed(torch_node: Node, spawn: Callable[..., list[Process]]) -> None:
    (process,) = spawn(torch_node, 1)
    model = torch.nn.Linear(2, 1, bias=False)
    with pack({"model": model}, {}) as outgoing:
        request = process.send("push_request", {"names": ["model"], "payload": outgoing.payload})
        assert process.reply(request, "push_reply")["status"] == "ok"
        process.send("push_commit", {"commit": True})
    before = model.weight.detach().clone()
    result = process.run("import torch\nwith torch.no_grad(): model.weight += 1\nprint(model.weight.tolist())")
    assert result.status == "ok"
    assert eval(result.text("stdout")) == (before + 1).tolist()  # noqa: S307 - our own list
    assert torch.equal(model.weight, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_tensor_goes_through_host_memory(rank: Process) -> None:
    sent = [torch.arange(1 << 20, device="cuda"), torch.nn.Linear(3, 3).cuda()]
    got = there_and_back(rank, sent)
    assert got[0].is_cuda
    assert torch.equal(got[0], sent[0])
    assert torch.equal(got[1].weight, sent[1].weight)


def test_a_wrapped_model_is_its_ranks_own(rank: Process) -> None:
    """The hint stands where there is no process group, as in the local namespace."""
    code = """
import torch
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
wrapped = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
"""
    assert rank.run(code).status == "ok"
    request = rank.send("pull_request", {"names": ["wrapped"]})
    reply = rank.reply(request, "pull_reply")
    with pytest.raises(TransferError, match=r"has not been initialized.* can travel: its \.module$"):
        unpack(["wrapped"], reply["payload"], {})
    rank.send("pull_release", {"parent": request})
    assert rank.run("torch.distributed.destroy_process_group()").status == "ok"
