"""Which operations of torch.distributed this process has begun and not ended, from stacks and from torch's recorder.

This runs while user code does, and must call none of it. So of what frames hold only torch's own objects are looked at.
Nothing here waits, and what cannot be known for sure is left out.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import sys
import threading
import time
import weakref
from types import FrameType
from typing import Any, Callable, NamedTuple

from ..stacks import is_ours

_C10D = "torch.distributed.distributed_c10d"


def _torch(*parts: str) -> str:
    return os.sep + os.path.join("torch", *parts)


# Functions of distributed_c10d that wait for other ranks, with the parameter that holds what this rank gives. It is
# None where sizes may differ between ranks although the calls match.
_COLLECTIVES = {
    "all_reduce": "tensor",
    "all_reduce_coalesced": "tensors",
    "broadcast": "tensor",
    "reduce": "tensor",
    "all_gather": "tensor",
    "all_gather_into_tensor": "input_tensor",
    "_all_gather_base": "input_tensor",
    "all_gather_single": "input_tensor",
    "all_gather_coalesced": "input_tensor_list",
    "gather": "tensor",
    "gather_single": "input_tensor",
    "gather_into_tensor": "input_tensor",
    "scatter": "tensor",
    "reduce_scatter": "input_list",
    "reduce_scatter_tensor": "input",
    "_reduce_scatter_base": "input",
    "reduce_scatter_single": "input",
    "all_to_all": "",
    "all_to_all_single": "",
    "all_gather_object": "",
    "gather_object": "",
    "broadcast_object_list": "",
    "scatter_object_list": "",
    "barrier": "",
}
_MESSAGES = {
    "send": "tensor",
    "recv": "tensor",
    "isend": "tensor",
    "irecv": "tensor",
    "batch_isend_irecv": "",
    "send_object_list": "",
    "recv_object_list": "",
}
# These wait for the others through messages or the store, so no group counts them.
_UNCOUNTED = ("monitored_barrier", "init_process_group", "new_group", "_new_group_with_tag", "split_group")

# Functions in other files of torch's that wait for ranks in C++, and the operation that they wait in.
_ELSEWHERE = {
    (_torch("distributed", "utils.py"), "_verify_param_shape_across_processes"): "all_gather",
    (_torch("distributed", "utils.py"), "_sync_params_and_buffers"): "broadcast",
    (_torch("nn", "parallel", "distributed.py"), "_distributed_broadcast_coalesced"): "broadcast",
    (_torch("nn", "parallel", "distributed.py"), "_pre_forward"): "broadcast",
    (_torch("nn", "parallel", "distributed.py"), "forward"): "broadcast",
    (_torch("autograd", "__init__.py"), "backward"): "backward",
    (_torch("autograd", "__init__.py"), "grad"): "backward",
    (_torch("autograd", "graph.py"), "_engine_run_backward"): "backward",
    (_torch("futures", "__init__.py"), "wait"): "wait",
    (_torch("cuda", "__init__.py"), "synchronize"): "synchronize",
    (_torch("cuda", "streams.py"), "synchronize"): "synchronize",
    (_torch("accelerator", "__init__.py"), "synchronize"): "synchronize",
}
_FUNCTIONAL = _torch("distributed", "_functional_collectives.py")
_OPERATORS = _torch("_ops.py")
_WITHOUT_COUNT = ("wait", "backward", "synchronize")

# torch's numbers of operations (c10d::OpType). A Work tells its own since 2.0.
_OP_TYPES = {
    0: "broadcast",
    1: "all_reduce",
    2: "all_reduce_coalesced",
    3: "reduce",
    4: "all_gather",
    5: "all_gather_into_tensor",
    6: "all_gather_coalesced",
    7: "gather",
    8: "scatter",
    9: "reduce_scatter",
    10: "all_to_all_single",
    11: "all_to_all",
    12: "send",
    13: "recv",
    14: "recv",
    15: "barrier",
    16: "reduce_scatter_tensor",
}

_RECORDED = {  # names that the recorder has for them
    "_all_gather_base": "all_gather_into_tensor",
    "_allgather_base": "all_gather_into_tensor",
    "_reduce_scatter_base": "reduce_scatter_tensor",
    "allreduce": "all_reduce",
    "allgather": "all_gather",
}
_DTYPES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Byte": "uint8",
    "Char": "int8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}


class _Operation(NamedTuple):
    """Something that a thread waits in."""

    name: str
    group: str = ""
    sizes: list[list[int]] | None = None
    dtype: str = ""
    peer: int | None = None
    counts: bool = False  # the group's count is this one's
    ahead: int = 0  # by how much it is ahead of the group's count, which is raised later
    number: int = 0  # its number in the recorder, where only its `Work` is known
    begun: bool = False  # a collective began it before, and the thread only waits for it


# Messages between two ranks that are on their way, by Work: the operation, its group and its arguments.
_messages: weakref.WeakKeyDictionary[Any, tuple[str, Any, tuple[Any, ...]]] = weakref.WeakKeyDictionary()
_wait: Any = None  # the code object of the function that waits for a Work
_lost_before = 0  # when groups last ended (time.time_ns); the recorder takes what was pending then for pending for good
_read: dict[Any, tuple[Any, list[dict[str, Any]]]] = {}  # by recorder: its counts when it was read, and what it held
_failed: Callable[[], None] | None = None


def note_message(work: Any, name: str, group: Any, args: tuple[Any, ...]) -> None:
    """Remember what a `Work` is, since torch's own record leaves messages out."""
    with contextlib.suppress(TypeError):
        _messages[work] = name, group, args


def on_failure(failed: Callable[[], None]) -> None:
    """Have `failed` called when waiting for a `Work` raises RuntimeError. What `failed` raises is raised instead."""
    global _failed
    _failed = failed


def watch(c10d: Any) -> None:
    """Have a thread that waits for a `Work` show in stacks. Without this there is no Python frame for it."""
    global _wait
    cls = c10d.Work if hasattr(c10d, "Work") else sys.modules["torch._C._distributed_c10d"].Work
    original = cls.wait

    @functools.wraps(original)
    def wait(work: Any, timeout: Any = None) -> Any:
        try:
            return original(work) if timeout is None else original(work, timeout)
        except RuntimeError:
            if _failed is not None:
                _failed()
            raise

    cls.wait = wait
    _wait = wait.__code__


def forget() -> None:
    """Regard what has not ended as lost, since the groups are formed anew."""
    global _lost_before
    _messages.clear()
    _lost_before = time.time_ns()


def pending(
    c10d: Any, groups: list[dict[str, Any]], messages: dict[str, int], names: dict[Any, Any], hidden: int | None
) -> list[dict[str, Any]]:
    """Return the operations of a groups_reply: those in which threads wait and those that go on in the background.

    `groups` are those of the same reply, `messages` says how many messages between two ranks each has had, and `names`
    has the names of torch's groups. `hidden` is a thread of ours to leave out.
    """
    main = threading.main_thread().ident
    waiting = []
    for ident, frame in sys._current_frames().items():
        if ident == hidden:
            continue
        with contextlib.suppress(Exception):  # this torch may not be as we know it
            if (found := _of_thread(frame, c10d, names)) is not None:
                waiting.append((ident, found))
    waiting.sort(key=lambda pair: pair[0] != main)
    counts = {group["name"]: group["count"] for group in groups}
    counting = [found.group for _, found in waiting if found.counts]
    operations = []
    numbers: dict[int, dict[str, Any]] = {}
    for ident, found in waiting:
        # If several wait, the group's count is that of the last one.
        count = counts.get(found.group, 0) if found.counts and counting.count(found.group) == 1 else 0
        if count:
            count += found.ahead
        operations.append(_describe(found, count, ident))
        if found.number:
            numbers[found.number] = operations[-1]
    backends = [name for name in ("gloo", "nccl") if any(name in group["backend"] for group in groups)]
    for one in _recorded(backends, counts, len(counting), len(counting) < len(waiting)):
        behind, number = one.pop("behind"), one.pop("number")
        behind = max(0, behind - messages.get(one["group"], 0))  # torch has counted messages, too
        one["count"] = counts[one["group"]] - behind if one["group"] in counts else 0
        same = next((other for other in operations if _same(other, one)), numbers.get(number))
        if same is None or (same is numbers.get(number) and same["name"] != one["name"]):
            operations.append({**one, "thread": 0})
        else:
            same.update({**one, **{key: same[key] for key in ("name", "sizes", "dtype") if key in same}})
    return _joined(operations, [ident for ident, found in waiting if found.begun])


def _joined(operations: list[dict[str, Any]], threads: list[int]) -> list[dict[str, Any]]:
    """Return the operations. If one is in the background and one of `threads` waits, they are the same operation."""
    background = [one for one in operations if not one["thread"]]
    vague = [one for one in operations if one["name"] == "wait" and one["thread"] in threads]
    if len(background) == len(vague) == 1:
        vague[0].update({**background[0], "thread": vague[0]["thread"]})
        operations.remove(background[0])
    return operations


def waits(frame: FrameType, c10d: Any, names: dict[Any, Any]) -> bool:
    """Whether the thread whose innermost frame this is waits in an operation."""
    with contextlib.suppress(Exception):  # as above
        return _of_thread(frame, c10d, names) is not None
    return False


def _describe(found: _Operation, count: int, thread: int) -> dict[str, Any]:
    told: dict[str, Any] = {"group": found.group, "name": found.name, "count": count, "thread": thread}
    if found.sizes is not None:
        told["sizes"], told["dtype"] = found.sizes, found.dtype
    if found.peer is not None:
        told["peer"] = found.peer
    return told


def _same(waiting: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Whether the operation that a thread waits in is one that was recorded."""
    return waiting["count"] == recorded["count"] > 0 and waiting["group"] == recorded["group"]


# By stacks.


def _of_thread(frame: FrameType | None, c10d: Any, names: dict[Any, Any]) -> _Operation | None:
    """Return what a thread waits in. Then its innermost frames are torch's, up to the code that called torch."""
    found = None
    innermost, begun = True, False
    while frame is not None:
        code = frame.f_code
        file, name = code.co_filename, code.co_name
        if code is _wait:
            found, begun = _of_work(frame.f_locals.get("work"), c10d, names), True
        elif not is_ours(file) and not _passes_on(file):
            place = file[file.rfind(_TORCH) :] if _TORCH in file else ""
            if not place:
                break
            if file.endswith(_C10D_FILE) and (name in _COLLECTIVES or name in _MESSAGES or name in _UNCOUNTED):
                found = _of_c10d(name, begun, frame, c10d, names)
            elif found is None or found.name == "wait":
                found = _of_torch(place, name, frame, innermost, c10d, names) or found
            innermost = False
        frame = frame.f_back
    return found


_TORCH = _torch("")
_C10D_FILE = _torch("distributed", "distributed_c10d.py")
_PASSES_ON = (contextlib.__file__, functools.__file__)


def _passes_on(file: str) -> bool:
    return file in _PASSES_ON


def _checks_first(c10d: Any) -> int:
    """Return 1 if a group first has its ranks agree on what they are about to do. It does not count that."""
    module = sys.modules["torch.distributed"]
    return int(str(module.get_debug_level()).endswith("DETAIL")) if hasattr(module, "get_debug_level") else 0


def _of_c10d(name: str, begun: bool, frame: FrameType, c10d: Any, names: dict[Any, Any]) -> _Operation:
    given = frame.f_locals
    if name in _UNCOUNTED:
        group = _group(given, c10d, names) if name == "monitored_barrier" else ""
        return _Operation("new_group" if name == "_new_group_with_tag" else name, group)
    group = _group(given, c10d, names)
    parameter = _COLLECTIVES.get(name) or _MESSAGES.get(name, "")
    sizes, dtype = _shapes(given.get(parameter)) if parameter else (None, "")
    if name in _COLLECTIVES:
        return _Operation(name, group, sizes, dtype, counts=True, ahead=0 if begun else _checks_first(c10d))
    return _Operation(name.removeprefix("i"), group, sizes, dtype, _peer(given, c10d))


def _of_torch(
    place: str, name: str, frame: FrameType, innermost: bool, c10d: Any, names: dict[Any, Any]
) -> _Operation | None:
    """Return what other code of torch's waits in. Only the innermost frame tells."""
    if place == _OPERATORS and innermost:
        known = getattr(frame.f_locals.get("self"), "__dict__", {})
        called = known.get("_name") or known.get("_qualified_op_name") or ""
        return _Operation("wait", begun=True) if "c10d_functional::wait_tensor" in str(called) else None
    if place == _FUNCTIONAL and name.startswith("wait_tensor"):
        return _Operation("wait", begun=True)
    does = _ELSEWHERE.get((place, name))
    if does is None or not innermost:
        return None
    if does in _WITHOUT_COUNT:
        return _Operation(does)
    given = dict(frame.f_locals)
    given.update(getattr(given.get("self"), "__dict__", {}))
    return _Operation(does, _group(given, c10d, names), counts=True)


def _of_work(work: Any, c10d: Any, names: dict[Any, Any]) -> _Operation:
    """Return what a thread waits for that has called a `wait` method itself."""
    if (message := _messages.get(work)) is not None:
        name, group, args = message
        sizes, dtype = _shapes(args[0] if args else None)
        peer = args[1] if name != "recv_anysource" and len(args) > 1 else None
        ranks = _ranks(c10d, group)
        at = ranks[peer] if type(peer) is int and 0 <= peer < len(ranks) else None
        return _Operation(name.partition("_")[0], str(names.get(group, "")), sizes, dtype, at)
    only = str(next(iter(names.values()))) if len(names) == 1 else ""  # every Work belongs to a group
    name, number = "wait", 0
    if type(work).__module__.startswith("torch"):
        with contextlib.suppress(Exception):
            name = _OP_TYPES.get(work._get_op_type(), "wait")
            number = work._get_sequence_number()
    return _Operation(name, only, number=number, begun=True)


def _group(given: Any, c10d: Any, names: dict[Any, Any]) -> str:
    group = next((given[name] for name in ("group", "process_group", "pg") if given.get(name) is not None), None)
    try:
        group = c10d._get_default_group() if group is None else group
    except Exception:  # there is none yet
        return ""
    return str(names[group]) if type(group).__module__.startswith("torch") and group in names else ""


def _peer(given: Any, c10d: Any) -> int | None:
    for name in ("dst", "src"):
        if type(given.get(name)) is int:
            return given[name]
    for name in ("group_dst", "group_src"):
        if type(rank := given.get(name)) is int:
            ranks = _ranks(c10d, given.get("group") or c10d._get_default_group())
            return ranks[rank] if 0 <= rank < len(ranks) else None
    return None


def _ranks(c10d: Any, group: Any) -> list[int]:
    with contextlib.suppress(Exception):
        return list(c10d.get_process_group_ranks(group))
    return []


def _shapes(value: Any) -> tuple[list[list[int]] | None, str]:
    """Return sizes and type of tensors if they are torch's own. Other classes may run user code."""
    torch = sys.modules.get("torch")
    own = (torch.Tensor, torch.nn.Parameter) if torch is not None else ()
    tensors = value if type(value) in (list, tuple) else [value]
    if not tensors or any(type(tensor) not in own for tensor in tensors):
        return None, ""
    return [[int(size) for size in tensor.shape] for tensor in tensors], str(tensors[0].dtype).removeprefix("torch.")


# By torch's recorder.


def _recorders(backends: Any) -> list[Callable[[bool, bool], bytes]]:
    """Return the functions that dump what these backends have recorded. Each kind of backend has its own."""
    module = sys.modules.get("torch._C._distributed_c10d")
    functions = {"gloo": "_dump_fr_trace_json", "nccl": "_dump_nccl_trace_json"}
    found = (getattr(module, functions[backend], None) for backend in backends)
    return [dump for dump in found if dump is not None]


def _status(dump: Callable[[bool, bool], bytes]) -> dict[str, tuple[int, int]]:
    """Return how many operations have begun and how many have ended, by the number of the group."""
    status = json.loads(dump(False, True)).get("pg_status", {})
    return {
        number: (int(told["last_enqueued_collective"]), max(0, int(told["last_completed_collective"])))
        for number, told in status.items()
    }


def _recorded(backends: list[str], counts: dict[str, int], explained: int, vague: bool) -> list[dict[str, Any]]:
    """Return the recorded operations that have not ended. Each says how far `behind` its group's last one it is.

    `counts` are the groups' counts. Reading the whole record takes milliseconds. So it is read only if more operations
    are pending than the `explained` ones, in which threads wait, or one is `vague`, and something has moved since.
    """
    found = []
    for dump in _recorders(backends):
        status = _status(dump)
        count = sum(max(0, begun - ended) for begun, ended in status.values())
        if count <= explained and not (count and vague):
            continue
        if dump not in _read or _read[dump][0] != (status, counts):
            _read[dump] = (status, counts), _entries(dump(True, True))
        for entry in _read[dump][1]:
            if entry.get("is_p2p") or entry["time_created_ns"] < _lost_before:
                continue
            begun, _ = status.get(str(entry["pg_id"]), (entry["collective_seq_id"], 0))
            name = entry["profiling_name"].rpartition(":")[2]
            one = {
                "group": entry["process_group"][0],
                "name": _RECORDED.get(name, name),
                "behind": max(0, begun - entry["collective_seq_id"]),
                "number": entry["collective_seq_id"],
            }
            side = "output" if name == "scatter" else "input"
            if entry[f"{side}_dtypes"] and not name.startswith("all_to_all"):  # whose sizes may differ
                dtype = entry[f"{side}_dtypes"][0]
                one["sizes"], one["dtype"] = entry[f"{side}_sizes"], _DTYPES.get(dtype, dtype.lower())
            found.append(one)
    return found


def _entries(dump: bytes) -> list[dict[str, Any]]:
    """Return the entries of a dump that have not ended. The others, which are nearly all, are not parsed."""
    found = []
    for match in re.finditer(b'"retired":false', dump):
        first, last = dump.rfind(b"{", 0, match.start()), dump.find(b"}", match.end())
        try:
            found.append(json.loads(dump[first : last + 1]))
        except ValueError:  # the user's name for a group has braces
            return [entry for entry in json.loads(dump)["entries"] if not entry["retired"]]
    return found
