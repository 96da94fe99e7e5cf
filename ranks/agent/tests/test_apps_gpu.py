"""Freeing GPU memory after cells: a rank with a stand-in for torch, because there need not be a GPU here."""

from __future__ import annotations

import pytest

TORCH = """
from . import cuda
def set_num_threads(n): pass
def get_num_threads(): return 1
"""

CUDA = """
import os
GPUS = {gpus}
allocated, reserved, freed, broken = 0, 0, 0, False
def device_count(): return GPUS
def is_available(): return GPUS > 0
def is_initialized(): return reserved > 0
def set_device(device): pass
def memory_allocated(device):
    assert GPUS, "a rank on the CPU asked"
    assert device == "cuda:0"
    return allocated
def memory_reserved(device): return reserved
def empty_cache():
    global freed, reserved
    reserved //= 4
    assert GPUS, "a rank on the CPU freed"
    if broken: raise RuntimeError("an illegal memory access was encountered")
    freed += 1
    print("freed")
"""


@pytest.fixture
def start(make_node, tmp_path):
    """A function that starts a rank that sees so many GPUs."""

    def rank_with(gpus: int, **options):
        package = tmp_path / "stand-in" / "torch"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(TORCH)
        (package / "cuda.py").write_text(CUDA.format(gpus=gpus))
        (package / "distributed.py").write_text("def is_available(): return False\nis_nccl_available = is_available\n")
        node = make_node(env={"PYTHONPATH": str(package.parent)})
        (rank,) = node.spawn(1, app="torch", **options)
        assert rank.hello["device"] == ("cuda:0" if gpus else "cpu"), rank.hello
        return rank

    return rank_with


def test_the_cache_is_freed_before_the_reply_if_memory_has_changed(start):
    rank = start(1)
    assert rank.run("import torch").text() == ""
    assert rank.run("torch.cuda.allocated = 100").text() == "freed\n"
    assert rank.run("1").text() == ""
    assert rank.run("torch.cuda.allocated = 0; 1/0").text() == "freed\n"
    assert rank.run("torch.cuda.freed").all("execute_result")[0]["data"]["text/plain"] == "2"


def test_garbage_is_collected_first(start):
    rank = start(1)
    code = """
import torch
class Tensor:
    def __init__(self): self.me = self; torch.cuda.allocated += 100
    def __del__(self): torch.cuda.allocated -= 100; print("deleted")
Tensor() and None
"""
    assert rank.run(code).text() == "deleted\nfreed\n"
    assert rank.run("torch.cuda.allocated").all("execute_result")[0]["data"]["text/plain"] == "0"


def test_not_after_an_interrupt_but_the_next_time(start):
    rank = start(1)
    result = rank.run("import torch; torch.cuda.allocated = 100; raise KeyboardInterrupt")
    assert (result.content["ename"], result.text()) == ("KeyboardInterrupt", "")
    assert rank.run("1").text() == "freed\n"


def test_a_device_that_fails_fails_no_cell(start):
    rank = start(1)
    assert rank.run("import torch; torch.cuda.broken = True; torch.cuda.allocated = 1").status == "ok"
    assert rank.run("torch.cuda.broken = False").text() == "freed\n"


def test_it_can_be_turned_off(start):
    rank = start(1, free_gpu=False)
    assert rank.run("import torch; torch.cuda.allocated = 100").text() == ""


def test_a_rank_on_the_cpu_never_asks(start):
    rank = start(0)
    assert rank.run("import torch; torch.cuda.allocated = 100").text() == ""
    assert rank.ask("shutdown_request")["status"] == "ok"


def test_a_rank_without_torch_imports_none(local):
    code = "import sys; print([name for name in sys.modules if name.partition('.')[0] == 'torch'])"
    assert local.run(code).text() == "[]\n"


def test_cached_memory_is_given_back_on_demand(start):
    rank = start(1, free_gpu=False)
    assert rank.run("import torch; torch.cuda.reserved = 4 << 30").text() == ""
    result = rank.run("", free_memory=True)
    assert result.text() == "freed\ngave back 3.00 GiB of GPU memory, and keeps 1.00 GiB\n"
    assert result.status == "ok"


def test_without_gpus_there_is_nothing_to_give_back(start):
    rank = start(0)
    assert rank.run("", free_memory=True).text() == "this process has no GPU memory\n"
