"""What a launcher sets for a task of its own, and ranks must not inherit.

Code that reads it would take a rank for such a task. What torchrun sets, bootstrap.py has taken out already.
"""

from __future__ import annotations

import os

_NAMES = (
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_TASK_PID", "SLURM_GTIDS"),
    *("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE"),
    *("MPI_LOCALRANKID", "MPI_LOCALNRANKS", "FLUX_TASK_RANK", "FLUX_TASK_LOCAL_ID", "JSM_NAMESPACE_RANK"),
)
_PREFIXES = ("OMPI_", "PMIX_", "PMI_", "PALS_", "HYDI_", "HYDRA_", "MV2_COMM_WORLD_", "SLURM_STEP_")


def of_task() -> dict[str, str]:
    """Return those variables of this process."""
    return {name: value for name, value in os.environ.items() if name in _NAMES or name.startswith(_PREFIXES)}


def of_ranks() -> list[str]:
    """Return what a node inherits, as NAME=VALUE."""
    left_out = of_task()
    return [f"{name}={value}" for name, value in os.environ.items() if name not in left_out]
