"""Trainers that look for an interactive environment, and refuse to train in one: ranks are none."""

from __future__ import annotations

import importlib.util
import json

import pytest
from harness import Process

WITNESS = """
import sys
interactive = hasattr(sys, "ps1") or bool(sys.flags.interactive)
"""
SEEN = """
import json, sys, __main__, witness
said = [hasattr(sys, name) for name in ("ps1", "ps2", "ps3")]
print(json.dumps([witness.interactive, *said, bool(sys.flags.interactive), getattr(__main__, "__file__", None)]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_only_the_local_namespace_is_interactive(make_node, tmp_path, method):
    (tmp_path / "witness.py").write_text(WITNESS)
    path = str(tmp_path / "train.py")
    node = make_node(script=path)
    (local,) = node.spawn(method=method)  # it also makes the shell that forks run
    assert node.ask("preload_request", {"modules": ["witness"]})["failed"] == []
    (rank,) = node.spawn(1, method=method)
    assert json.loads(rank.run(SEEN, path).text()) == [False, False, False, False, False, path]
    assert json.loads(local.run(SEEN, path).text()) == [True, True, True, True, False, path]


def test_lightning_knows_what_is_interactive_although_the_nursery_imported_it(make_node, tmp_path):
    (tmp_path / "lightning_like.py").write_text(WITNESS.replace("interactive =", "_IS_INTERACTIVE ="))
    node = make_node()
    assert node.ask("preload_request", {"modules": ["lightning_like"]})["failed"] == []
    code = "import lightning_like; print(lightning_like._IS_INTERACTIVE)"
    assert [process.run(code).text() for process in (*node.spawn(), *node.spawn(1))] == ["True\n", "False\n"]


def on_two_ranks(spawn, node, *modules: str, code: str) -> list[str]:
    """Run a cell on two ranks at once; return the last line that each printed.

    In the cell MODULE stands for the first of `modules` that can be imported; skips the test if none can.
    """
    there = [module for module in modules if importlib.util.find_spec(module.partition(".")[0])]
    if not there:
        pytest.skip(f"no {modules[0]} here")
    ranks: list[Process] = spawn(node, 2, app="torch")
    if ranks[0].run(f"import {there[0]}").status != "ok":
        pytest.skip(f"{there[0]} does not work with this Python and torch")
    requests = [rank.start(NET + code.replace("MODULE", there[0]), "/t.py") for rank in ranks]
    results = [rank.finish(request) for rank, request in zip(ranks, requests)]
    assert [result.status for result in results] == ["ok", "ok"], [result.all("error") for result in results]
    return [result.text("stdout").split("\n")[-2] for result in results]


NET = """
import torch, torch.distributed as dist
net = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
def same():
    sums = [None, None]
    dist.all_gather_object(sums, next(iter(net.parameters())).tolist())
    return sums[0] == sums[1]
"""


def test_lightning_fabric(torch_node, spawn):
    code = """
from MODULE import Fabric
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
net, optimizer = fabric.setup(net, optimizer)
fabric.backward(net(torch.randn(4, 4)).pow(2).mean())
optimizer.step()
print(fabric.world_size, fabric.global_rank, same())
"""
    assert on_two_ranks(spawn, torch_node, "lightning.fabric", "lightning_fabric", code=code) == [
        "2 0 True",
        "2 1 True",
    ]


def test_lightning_trainer(torch_node, spawn):
    code = """
import MODULE as pl
class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net
    def training_step(self, batch, index):
        return self.net(batch).pow(2).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
trainer = pl.Trainer(strategy="ddp", accelerator="cpu", devices=2, max_epochs=1, logger=False,
                     enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer.fit(Module(), torch.utils.data.DataLoader(torch.randn(16, 4), batch_size=4))
print(trainer.world_size, trainer.global_rank, trainer.global_step, same())
"""
    assert on_two_ranks(spawn, torch_node, "lightning.pytorch", "pytorch_lightning", code=code) == [
        "2 0 2 True",
        "2 1 2 True",
    ]


def test_accelerate(torch_node, spawn):
    code = """
from MODULE import Accelerator
accelerator = Accelerator(cpu=True)
net, optimizer = accelerator.prepare(net, optimizer)
accelerator.backward(net(torch.randn(4, 4)).pow(2).mean())
optimizer.step()
print(accelerator.num_processes, accelerator.process_index, same())
"""
    assert on_two_ranks(spawn, torch_node, "accelerate", code=code) == ["2 0 True", "2 1 True"]


def test_transformers_trainer(torch_node, spawn):
    code = """
from MODULE import Trainer, TrainingArguments
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net
    def forward(self, x, labels=None):
        y = self.net(x)
        return {"loss": (y - labels).pow(2).mean(), "logits": y}
data = [{"x": torch.randn(4), "labels": torch.zeros(1)} for _ in range(16)]
arguments = TrainingArguments("out", use_cpu=True, per_device_train_batch_size=4, num_train_epochs=1,
                              report_to=[], save_strategy="no", disable_tqdm=True)
done = Trainer(Model(), arguments, train_dataset=data).train()
print(arguments.world_size, arguments.process_index, done.global_step, same())
"""
    assert on_two_ranks(spawn, torch_node, "transformers", code=code) == ["2 0 2 True", "2 1 2 True"]
