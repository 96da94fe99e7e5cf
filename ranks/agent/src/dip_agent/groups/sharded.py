"""Models that are spread over the ranks (`fully_shard`). After an interrupt all ranks begin the next step alike.

A rank that was struck in the middle of a step may have gathered parameters that other ranks have not, and would leave
out the next collective. Each rank has its own part of the parameters, so there is nothing to compare.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from typing import Any

log = logging.getLogger(__name__)

_STATES = "torch.distributed._composable_state"
_MODULES = ("torch.distributed.fsdp._fully_shard._fully_shard", "torch.distributed._composable.fsdp.fully_shard")


def drop_step(meeting: Any, namespace: dict[str, Any]) -> list[str]:
    """Drop the step that was interrupted, on all ranks alike. Returns sentences about what was done."""
    roots: dict[str, list[Any]] = {}
    try:
        for module in _roots():
            roots.setdefault(_form(module), []).append(module)
        facts = {form: sorted(_progress(module) for module in alike) for form, alike in roots.items()}
    except Exception:  # this torch is not as we know it
        log.exception("what is sharded is left as the interrupt has left it")
        roots, facts = {}, {}
    told = meeting.exchange("sharded", facts)
    notices = []
    for form, alike in roots.items():
        others = [one[form] for one in told if form in one]
        if all(one == others[0] for one in others) and all(progress.endswith(_IDLE) for progress in others[0]):
            continue
        for module in alike:
            called = next((name for name, value in list(namespace.items()) if value is module), type(module).__name__)
            try:
                _reset(module)
                notices.append(f"{called}: the step that was interrupted is dropped, with its gradients")
            except Exception:
                log.exception("%s cannot begin a step anew", called)
                notices.append(f"{called} was interrupted in the middle of a step, and has to be made again")
    return notices


_IDLE = "idle"


def _roots() -> list[Any]:
    """Return the outermost modules that have run."""
    classes = tuple(sys.modules[name].FSDPModule for name in _MODULES if name in sys.modules)
    if not classes:
        return []
    made = list(sys.modules[_STATES]._module_state_mapping)  # modules that no variable holds, too
    return [module for module in made if isinstance(module, classes) and module._get_fsdp_state()._is_root]


def _form(module: Any) -> str:
    """Return a text by which all ranks know a module."""
    form = [(name, list(own.shape), str(own.dtype)) for name, own in module.named_parameters()]
    return hashlib.blake2b(repr(form).encode(), digest_size=16).hexdigest()


def _groups(state: Any) -> list[Any]:
    groups = getattr(state, "_fsdp_param_groups", None)  # newer torch; older ones have only one
    if groups is None:
        groups = [state._fsdp_param_group] if state._fsdp_param_group else []
    return list(groups)


def _progress(module: Any) -> str:
    """Return how far a module is in a step. The text ends with `_IDLE` if it is in none."""
    root = module._get_fsdp_state()
    context = root._state_ctx
    idle = context.iter_forward_root is None and not context.post_backward_final_callback_queued
    said = []
    for state in context.all_states:
        idle = idle and state._training_state.name == "IDLE"
        for group in _groups(state):
            idle = idle and group._training_state.name == "IDLE" and group._all_gather_result is None
            said.append(group._sharded_state.name)
    return f"{' '.join(said)} {_IDLE if idle else 'in a step'}"


def _reset(module: Any) -> None:
    root = module._get_fsdp_state()
    context = root._state_ctx
    for state in context.all_states:
        for group in _groups(state):
            group._all_gather_result = None  # nobody waits for what was broken
    if hasattr(module, "reset_iter_state"):  # newer torch has it
        module.reset_iter_state()
        return
    comm = root._comm_ctx
    comm.all_gather_state = None
    comm.reduce_scatter_state = None
    comm.post_forward_order.clear()
    for state in context.all_states:
        state._training_state = type(state._training_state).IDLE
        if hasattr(state, "_modules_to_run_forward"):
            state._modules_to_run_forward.clear()
        for group in _groups(state):
            group._training_state = type(group._training_state).IDLE
            group._post_reduce_event = group._reshard_after_forward_event = None
            group._partial_reduce_output = None
            group._post_forward_indices.clear()
            for own in group.fsdp_params:
                own.sharded_param.grad = None
                if (whole := getattr(own, "_unsharded_param", None)) is not None:
                    whole.grad = None
            group._to_sharded()
    context.iter_forward_root = None
    context.post_backward_final_callback_queued = False
