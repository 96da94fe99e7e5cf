"""The app of Hugging Face's accelerate: its Accelerator takes part in the process group that the rank has joined.

Accelerator learns nearly everything from a rank's environment, which is torchrun's. `Accelerator.print` and
`accelerate.utils.tqdm` show only rank 0's output by themselves.
"""

from __future__ import annotations

import os

import torch
from accelerate.state import AcceleratorState, GradientState

from .patches import Patches

imports = ["import accelerate"]

_patches = Patches()


def initializer() -> str:
    """Have every Accelerator from now on use the rank's device."""
    if not torch.cuda.is_available():
        # Without this it takes another device of the machine, and chooses a backend itself.
        _patches.set_item(os.environ, "ACCELERATE_USE_CPU", "true")
    elif torch.cuda.device_count() < int(os.environ["LOCAL_WORLD_SIZE"]):
        raise RuntimeError(
            f"accelerate needs a GPU for every rank: {os.environ['LOCAL_WORLD_SIZE']} ranks share "
            f"{torch.cuda.device_count()}. Make the pool with fewer ranks"
        )
    _forget()
    return f"accelerate: {'cuda' if torch.cuda.is_available() else 'cpu'}, rank {os.environ['RANK']}"


def finalizer() -> None:
    """Have accelerate forget the process group, which is about to end."""
    _patches.undo()
    _forget()


def _forget() -> None:
    """Reset the state that all Accelerators of a process share."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
