"""The app of fastai 2: `fit`, and what calls it, trains on all ranks. Only rank 0 shows bars and tables.

Whatever else a Learner does, each rank does by itself and with all of the data, so that `learn.get_preds()` works on
one rank as on all. Rank 0 finds the learning rate for all. `learn.distrib_ctx()` and `learn.to_distributed()` in a
script work as in fastai, on the CPU, too.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any, Callable

import fastai
import fastai.callback.schedule  # gives Learner its lr_find
import fastai.distributed
import torch
import torch.distributed as dist
from fastai.distributed import DistributedDL, DistributedTrainer
from fastai.learner import Learner
from fastai.torch_core import num_distrib, rank_distrib
from torch.nn.parallel import DistributedDataParallel

from . import accelerate, bars
from .patches import Patches

imports = ["import fastai.distributed"]

_patches = Patches()
_indices: torch.Tensor | None = None  # those that were broadcast last


def initializer() -> str:
    """Change Learner as described above."""
    if not hasattr(fastai.distributed, "Accelerator"):
        raise RuntimeError(f"fastai {fastai.__version__} trains in another way; this app needs fastai 2.7 or newer")
    accelerate.initializer()
    try:
        bars.install(_patches, shown=rank_distrib() == 0)
        _patches.set(Learner, "fit", _on_all_ranks(Learner.fit))
        _patches.set(Learner, "to_distributed", _once(Learner.to_distributed))
        _patches.set(Learner, "to_detach", _gathering_what_was_split(Learner.to_detach))
        _patches.set(Learner, "lr_find", _on_rank_0(Learner.lr_find))
        if dist.get_backend() != "nccl":
            _patches.set(DistributedDL, "_broadcast", _broadcast)
    except BaseException:
        finalizer()
        raise
    return f"fastai {fastai.__version__}: learners train on {num_distrib()} ranks"


def finalizer() -> None:
    """Undo the changes to Learner."""
    global _indices
    _indices = None
    _patches.undo()
    accelerate.finalizer()


def _on_all_ranks(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Run Learner.fit within the learner's distrib_ctx unless it is within it already."""

    @functools.wraps(fit)
    def wrapper(self: Learner, *args: Any, **options: Any) -> Any:
        with contextlib.nullcontext() if num_distrib() < 2 or _trainers(self) else self.distrib_ctx(), _restored(self):
            return fit(self, *args, **options)

    return wrapper


@contextlib.contextmanager
def _restored(learn: Learner) -> Iterator[None]:
    """Unwrap a learner whatever ends its fit. fastai does so only at a regular end."""
    loaders, logger = learn.dls.loaders, learn.logger
    try:
        yield
    finally:
        learn.dls.loaders, learn.logger = loaders, logger
        if isinstance(learn.model, DistributedDataParallel):
            learn.model = learn.model.module


def _once(to_distributed: Callable[..., Any]) -> Callable[..., Any]:
    """Have a learner wrapped only once, and only if there are other ranks to train with."""

    @functools.wraps(to_distributed)
    def wrapper(self: Learner, sync_bn: bool = True, **options: Any) -> Learner:
        if num_distrib() < 2 or _trainers(self):
            return self
        # SyncBatchNorm works only on GPUs.
        return to_distributed(self, sync_bn and torch.cuda.is_available(), **options)

    return wrapper


def _gathering_what_was_split(to_detach: Callable[..., Any]) -> Callable[..., Any]:
    """Gather only batches of which each rank has its own part. fastai gathers whenever there are several ranks."""

    @functools.wraps(to_detach)
    def wrapper(self: Learner, b: Any, cpu: bool = True, gather: bool = True) -> Any:
        return to_detach(self, b, cpu, gather and isinstance(getattr(self, "dl", None), DistributedDL))

    return wrapper


def _on_rank_0(lr_find: Callable[..., Any]) -> Callable[..., Any]:
    """Have rank 0 alone find the learning rate and tell the others.

    Together they would hang: each rank stops at its own loss, and only rank 0 saves and restores the model.
    """

    @functools.wraps(lr_find)
    def wrapper(self: Learner, *args: Any, **options: Any) -> Any:
        if num_distrib() < 2:
            return lr_find(self, *args, **options)
        if dist.get_rank() != 0:
            told: list[Any] = [None]
            dist.broadcast_object_list(told, 0)
            if isinstance(told[0], str):
                raise RuntimeError(f"rank 0 found no learning rate: {told[0]}")
            return told[0] and collections.namedtuple("SuggestedLRs", told[0])(**told[0])
        try:
            with _alone(self):
                found = lr_find(self, *args, **options)
        except BaseException as err:
            dist.broadcast_object_list([f"{type(err).__name__}: {err}"], 0)
            raise
        dist.broadcast_object_list([found and found._asdict()], 0)
        return found

    return wrapper


@contextlib.contextmanager
def _alone(learn: Learner) -> Iterator[None]:
    """Have a learner, and all of fastai, see no other rank."""
    alone = Patches()
    alone.set_item(os.environ, "WORLD_SIZE", "1")
    try:
        with learn.removed_cbs(_trainers(learn)):
            yield
    finally:
        alone.undo()


def _trainers(learn: Learner) -> list[DistributedTrainer]:
    return [cb for cb in learn.cbs if isinstance(cb, DistributedTrainer)]


def _broadcast(self: DistributedDL, t: Any, rank: int) -> list[int]:
    """Broadcast indices on the CPU, since gloo has them there. fastai itself does it on the GPU.

    The tensor is kept, since fastai forks its workers next. If gloo's thread were the last to let go of it, that thread
    would register with Python, under a lock that a fork before Python 3.12 needs (gh-112275). A worker that is forked
    at that moment hangs before it has run a line.
    """
    global _indices
    _indices = torch.as_tensor(t, dtype=torch.int64)
    dist.broadcast(_indices, rank)
    return _indices.tolist()
