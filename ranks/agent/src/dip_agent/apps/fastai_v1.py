"""The app of fastai 1: `fit`, and what calls it, trains on all ranks. Only rank 0 shows bars and tables.

A learner that the script itself has made distributed, with `learn.to_distributed(…)`, stays as it is.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import fastai
import fastai.distributed
import torch
from fastai.basic_train import Learner
from fastai.distributed import DistributedTrainer
from fastai.torch_core import num_distrib, rank_distrib
from torch.nn.parallel import DistributedDataParallel

from . import bars
from .patches import Patches

imports = ["import fastai.distributed"]

_patches = Patches()


def initializer() -> str:
    """Change Learner as described above."""
    try:
        bars.install(_patches, shown=rank_distrib() == 0)
        _patches.set(Learner, "fit", _on_all_ranks(Learner.fit))
        if not torch.cuda.is_available():
            _patches.set(fastai.distributed, "DistributedDataParallel", _on_cpu)
    except BaseException:
        finalizer()
        raise
    return f"fastai {fastai.__version__}: learners train on {num_distrib()} ranks"


def finalizer() -> None:
    """Undo the changes to Learner."""
    _patches.undo()


def _on_all_ranks(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Have Learner.fit wrap the model and split the data for as long as it runs."""

    @functools.wraps(fit)
    def wrapper(self: Learner, *args: Any, **options: Any) -> Any:
        if num_distrib() < 2 or any(isinstance(callback, DistributedTrainer) for callback in self.callbacks):
            return fit(self, *args, **options)
        trainer = DistributedTrainer(self, torch.cuda.current_device() if torch.cuda.is_available() else 0)
        self.callbacks.append(trainer)
        try:
            return fit(self, *args, **options)
        finally:
            self.callbacks.remove(trainer)

    return wrapper


def _on_cpu(model: torch.nn.Module, **_: Any) -> DistributedDataParallel:
    """Wrap a model on the CPU, where DistributedDataParallel takes no devices."""
    return DistributedDataParallel(model)
