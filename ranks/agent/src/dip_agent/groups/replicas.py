"""Models that train in parallel with equal parameters. What an interrupt has left different is made equal again.

An interrupt may strike one rank before its optimizer's step and another after it, or in the middle of a backward pass.
Models and optimizers are noted as they are made, so that the n-th on one rank is known to be the n-th on another.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import logging
import sys
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Callable

from .. import ranklist

log = logging.getLogger(__name__)

_MODELS = "torch.nn.parallel.distributed"
_OPTIMIZERS = "torch.optim.optimizer"

_AT_ONCE = 1 << 18  # words to sum at a time: torch first copies them to 64 bits each

_models: list[tuple[str, int, weakref.ref[Any]]] = []  # name of its group, its number in that, the model
_optimizers: list[tuple[int, weakref.ref[Any]]] = []
_models_made: dict[str, int] = {}  # by the name of their group
_optimizers_made = 0
_watched = False


def watch() -> None:
    """From now on note the models and optimizers that are made."""
    global _watched
    models, optimizers = sys.modules.get(_MODELS), sys.modules.get(_OPTIMIZERS)
    if _watched or models is None or optimizers is None:
        return
    _watched = True
    _call_after(models.DistributedDataParallel, _note_model)
    _call_after(optimizers.Optimizer, _note_optimizer)


def _call_after(cls: type, note: Callable[[Any], None]) -> None:
    init = cls.__init__  # type: ignore[misc]

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        note(self)

    cls.__init__ = __init__  # type: ignore[misc]


def _note_model(model: Any) -> None:
    names = sys.modules["torch.distributed.distributed_c10d"]._pg_names
    name = str(names.get(model.process_group, ""))
    number = _models_made[name] = _models_made.get(name, 0) + 1
    _models[:] = [one for one in _models if one[2]() is not None]
    _models.append((name, number, weakref.ref(model)))


def _note_optimizer(optimizer: Any) -> None:
    global _optimizers_made
    _optimizers_made += 1
    _optimizers[:] = [one for one in _optimizers if one[1]() is not None]
    _optimizers.append((_optimizers_made, weakref.ref(optimizer)))


def agree(c10d: ModuleType, meeting: Any, namespace: dict[str, Any]) -> list[str]:
    """Make the models of this rank's groups equal those of the other ranks. Returns sentences about what was done.

    Rank 0 of a model's group has what counts, as when the model was made. `meeting` is with all ranks. There are
    collectives only for what differs.
    """
    global _optimizers_made
    models = sorted(_replicas(c10d), key=lambda model: model.key)
    facts = {
        "models": {model.name: model.facts() for model in models},
        "models_made": _models_made,
        "optimizers_made": _optimizers_made,
    }
    told = meeting.exchange("models", facts)
    # A rank that was interrupted while it made a model is to number the next one as the others do.
    _optimizers_made = max(one["optimizers_made"] for one in told)
    for name in _models_made:
        _models_made[name] = max(one["models_made"].get(name, 0) for one in told)
    notices = []
    try:
        for model in models:
            theirs = [told[rank]["models"].get(model.name) for rank in model.ranks]
            # Nobody trains a model that is gone on another rank, or was never finished there.
            if None not in theirs and (notice := model.adopt(meeting, theirs)):
                notices.append(f"{_called(model.module, namespace)}: {notice}")
    finally:
        for *_, reference in _models:
            if (module := reference()) is not None:
                _reset(c10d, module)
    return notices


def _replicas(c10d: ModuleType) -> Iterator[_Replica]:
    names = {id(group): (group, str(name)) for group, name in c10d._pg_names.items()}
    for made_of, number, reference in _models:
        module = reference()
        if module is None:
            continue
        group, name = names.get(id(module.process_group), (None, ""))
        if group is None:  # the group has ended: the user wraps the module again, and its optimizers go on
            group, name = c10d._get_default_group(), f"gone {made_of}"
            if module.process_group.size() != group.size():
                continue
        ranks = c10d._pg_group_ranks.get(group)
        members = list(range(group.size())) if ranks is None else sorted(ranks, key=ranks.__getitem__)
        yield _Replica(c10d, module, group, members, (len(name), name, number))


class _Replica:
    """This rank's copy of a model, with the optimizers that train it."""

    def __init__(self, c10d: ModuleType, module: Any, group: Any, ranks: list[int], key: tuple[int, str, int]):
        self._c10d = c10d
        self.group = group
        self.module = module
        self.ranks = ranks
        self.key = key
        self.name = f"{key[1]}/{key[2]}"
        ignored = getattr(module, "parameters_to_ignore", None) or set()
        self._parameters = [own for name, own in module.module.named_parameters() if name not in ignored]
        self._buffers = [own for name, own in module.module.named_buffers() if name not in ignored]
        self._optimizers = self._find_optimizers()

    def _find_optimizers(self) -> dict[str, Any]:
        """Return the optimizers whose state is the same on all ranks, by number."""
        own = set(map(id, self._parameters))
        alive = [(number, made) for number, reference in _optimizers if (made := reference()) is not None]
        # Some split their state between the ranks, with another optimizer inside.
        split = [made for _, made in alive if type(made).__module__.startswith("torch.distributed")]
        inner = {id(getattr(made, "optim", None)) for made in split} | set(map(id, split))
        return {
            str(number): made
            for number, made in alive
            if id(made) not in inner and any(id(one) in own for one in _trained(made))
        }

    def facts(self) -> dict[str, Any]:
        """Return what the other ranks need to know."""
        return {
            "made": _digest([(str(one.dtype), list(one.shape)) for one in (*self._parameters, *self._buffers)]),
            "state": _digest(_sums(self._parameters)),
            "optimizers": {
                number: {
                    "made": _digest([type(made).__name__, [list(one.shape) for one in _trained(made)]]),
                    "state": _digest([_state(made), _sums(list(_tensors(made)))]),
                    "steps": _steps(made),
                }
                for number, made in self._optimizers.items()
            },
        }

    def adopt(self, meeting: Any, theirs: list[dict[str, Any]]) -> str:
        """Where any rank differs, take over what the group's first rank has. Returns a sentence about that.

        `theirs` are the facts of the group's ranks.
        """
        first = theirs[0]
        if all(one == first for one in theirs):
            return ""
        who = _describe_differences(self.ranks, theirs)
        if any(one["made"] != first["made"] for one in theirs):
            return f"{who}, and is not made alike: it cannot be brought to agree; make it again on all ranks"
        with _no_grad():
            for own in (*self._parameters, *self._buffers):
                self._send(own)
            left = False
            for number in sorted(set(first["optimizers"]).union(*(one["optimizers"] for one in theirs)), key=int):
                made = [one["optimizers"].get(number, {}).get("made") for one in theirs]
                if None in made or len(set(made)) > 1:
                    left = True
                    continue
                own = self._optimizers[number]
                sent = meeting.exchange(f"state/{self.name}/{number}", _state(own), self.ranks)[0]
                left = not self._take_state(own, sent) or left
        what = "parameters and buffers are" if left else "parameters, buffers and optimizer state are"
        said = f"{who}; {what} rank {self.ranks[0]}'s now"
        return said + (", but not the state of an optimizer that differs too much: make it again" if left else "")

    def _send(self, tensor: Any) -> None:
        """Take over a tensor's content from the group's first rank."""
        local = _local(tensor)
        device = self._parameters[0].device  # the group's backend can send from there
        sent = local.detach().to(device).contiguous()
        self._c10d.broadcast(sent, self.ranks[0], group=self.group)
        if sent.data_ptr() != local.data_ptr():
            local.copy_(sent)

    def _take_state(self, optimizer: Any, sent: dict[str, Any]) -> bool:
        """Give an optimizer the state that was sent. Returns whether all of it could be taken over."""
        torch = sys.modules["torch"]
        whole = True
        for group, values in zip(optimizer.param_groups, sent["groups"]):
            for name, value in values.items():
                own = group.get(name)
                if isinstance(own, torch.Tensor):
                    own.fill_(value)
                else:
                    group[name] = tuple(value) if isinstance(own, tuple) else value
        for parameter, entries in zip(_trained(optimizer), sent["states"]):
            if entries is None:
                optimizer.state.pop(parameter, None)
                continue
            state = optimizer.state[parameter]
            if not isinstance(state, dict):
                whole = False
                continue
            for name in [name for name in state if name not in entries]:
                del state[name]
            for name, (kind, value, *form) in entries.items():
                if kind == "value":
                    state[name] = value
                elif kind == "tensor":
                    own = state.get(name)
                    shape, on_parameter = form
                    dtype = getattr(torch, value)
                    if not isinstance(own, torch.Tensor) or list(own.shape) != shape or own.dtype != dtype:
                        device = parameter.device if on_parameter else "cpu"
                        own = state[name] = torch.zeros(shape, dtype=dtype, device=device)
                    self._send(own)
                else:
                    whole = False
        return whole


def _reset(c10d: ModuleType, module: Any) -> None:
    """Have the next iteration begin like the first one, since a backward pass may have been left in its middle.

    All ranks do so, also those where none was: they then form their buckets of gradients alike. A model whose group has
    ended must not wait for gradients either: it would send those of the model that now has its parameters.
    """
    try:
        if hasattr(module, "_static_graph_delay_allreduce_enqueued"):
            module._static_graph_delay_allreduce_enqueued = False
        if hasattr(module, "_has_rebuilt_buckets"):
            module._has_rebuilt_buckets = False
        hooks = getattr(module, "_comm_hooks", [])
        if not _can_make_reducer(module, hooks):
            if hasattr(module.reducer, "_reset_state"):  # since torch 2.3
                module.reducer._reset_state()
            return
        # As a model does when it is unpickled.
        parameters, sparse = module._build_params_for_reducer()
        names = module._build_debug_param_to_name_mapping(parameters)
        module._ddp_init_helper(parameters, sparse, names, module.static_graph)
        if getattr(module, "_require_manual_backward_finalization", False):
            module.require_manual_backward_finalization = True
        if module.static_graph:
            module.reducer._set_static_graph()
            module.logger._set_static_graph()
        for hook, state in hooks:
            c10d._register_comm_hook(module.reducer, state, hook)
    except Exception:  # this torch is not as we know it
        log.exception("a model's reducer cannot be made again")


def _can_make_reducer(module: Any, hooks: list[Any]) -> bool:
    """Whether a model's reducer can be made again: it holds nothing that only its maker knows."""
    if getattr(module, "mixed_precision", None) is not None or getattr(module, "_use_python_reducer", False):
        return False
    if getattr(module, "_delay_all_reduce_params", None):
        return False
    if any(hasattr(parameter, "_in_backward_optimizers") for parameter in module.module.parameters()):
        return False
    told = module.logger._get_ddp_logging_data()
    return bool(hooks) or not told.strs_map.get("comm_hook", "")


def _trained(optimizer: Any) -> list[Any]:
    """Return the parameters of an optimizer in their order."""
    return list(itertools.chain.from_iterable(group["params"] for group in optimizer.param_groups))


def _state(optimizer: Any) -> dict[str, Any]:
    """Return an optimizer's state for JSON. Of tensors it has only type and size."""
    torch = sys.modules["torch"]
    states: list[dict[str, Any] | None] = []
    for parameter in _trained(optimizer):
        entries = optimizer.state.get(parameter)
        if not entries:
            states.append(None)
            continue
        if not isinstance(entries, dict):
            states.append({"": ["other", type(entries).__name__]})
            continue
        told: dict[str, Any] = {}
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                form = [list(value.shape), value.device == parameter.device]
                told[str(name)] = ["tensor", str(value.dtype).rpartition(".")[2], *form]
            elif _is_plain(value):
                told[str(name)] = ["value", value]
            else:
                told[str(name)] = ["other", type(value).__name__]
        states.append(told)
    groups = []
    for group in optimizer.param_groups:
        values = {}
        for name, value in group.items():
            if _is_number(value):
                value = value.item()
            if _is_plain(value):
                values[name] = value
        groups.append(values)
    return {"groups": groups, "states": states}


def _tensors(optimizer: Any) -> Iterator[Any]:
    """Yield the tensors of an optimizer's state in an order that is the same on all ranks."""
    torch = sys.modules["torch"]
    for parameter in _trained(optimizer):
        entries = optimizer.state.get(parameter)
        for name in sorted(entries, key=str) if isinstance(entries, dict) else ():
            if isinstance(entries[name], torch.Tensor):
                yield entries[name]


def _steps(optimizer: Any) -> int | None:
    """Return how many steps an optimizer has made, None if it does not count them."""
    found = [state.get("step") for state in optimizer.state.values() if isinstance(state, dict)]
    steps = [int(one) for one in found if isinstance(one, (int, float)) or _is_number(one)]
    return max(steps) if steps else None


def _is_number(value: Any) -> bool:
    return isinstance(value, sys.modules["torch"].Tensor) and value.numel() == 1


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _local(tensor: Any) -> Any:
    """Return this rank's part of a tensor that is spread over ranks, or the tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _sums(tensors: list[Any]) -> list[int]:
    """Return the sum of each tensor's words, read as integers. Tensors with different sums differ."""
    torch = sys.modules["torch"]
    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = []
    with _no_grad():
        for tensor in tensors:
            local = _local(tensor).detach()
            if local.is_sparse or local.is_meta:
                continue
            if local.is_complex():
                local = torch.view_as_real(local)
            flat = local.contiguous().reshape(-1).view(words[local.element_size()])
            parts = [part.sum(dtype=torch.int64) for part in flat.split(_AT_ONCE)]
            sums.append(torch.stack(parts).sum())
        return torch.stack([one.cpu() for one in sums]).tolist() if sums else []


def _no_grad() -> Any:
    return sys.modules["torch"].no_grad()


def _digest(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=16).hexdigest()


def _describe_differences(ranks: list[int], theirs: list[dict[str, Any]]) -> str:
    """Say which ranks differ from the first, and by how many steps if that is known."""
    groups: dict[str, list[int]] = {}
    for rank, facts in zip(ranks, theirs):
        if facts != theirs[0]:
            groups.setdefault(_compare(facts, theirs[0], ranks[0]), []).append(rank)
    said = []
    for how, which in groups.items():
        said.append(f"{ranklist.name(which)} {'was' if len(which) == 1 else 'were'} {how}")
    return " and ".join(said) + " after the interrupt"


def _compare(facts: dict[str, Any], first: dict[str, Any], rank: int) -> str:
    steps = 0
    for number, one in facts["optimizers"].items():
        other = first["optimizers"].get(number)
        if other is not None and None not in (one["steps"], other["steps"]):
            steps = steps or one["steps"] - other["steps"]
    if steps == 0:
        return f"not as rank {rank}"
    many = "a step" if abs(steps) == 1 else f"{abs(steps)} steps"
    return f"{many} {'ahead of' if steps > 0 else 'behind'} rank {rank}"


def _called(module: Any, namespace: dict[str, Any]) -> str:
    """Return the user's name for a model."""
    for name, value in list(namespace.items()):
        if not name.startswith("_"):
            if value is module:
                return name
            with contextlib.suppress(Exception):
                if any(own is module for own in object.__getattribute__(value, "__dict__").values()):
                    return name
    return type(module).__name__
