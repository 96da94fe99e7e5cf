"""torch's process group: every rank joins it and sets its device."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import socket
import sys
from datetime import timedelta
from types import FunctionType
from typing import Any, Callable

import torch
import torch.distributed as dist

from ..groups import collectives, connections, mending
from ..keyboard import AT_A_BREAKPOINT, no_keyboard


class TorchApp:
    """Joins with nccl if every rank of this host has a GPU of its own, otherwise with gloo.

    CUDA_VISIBLE_DEVICES has the GPUs of all ranks of this host, and LOCAL_RANK is an index into it. If there are more
    ranks than GPUs, they share them in turn.

    Rank 0 serves the store as long as it lives, as torchrun's agent does. Every rank, rank 0 included, is a client, for
    its group and for whatever else it joins (`TORCHELASTIC_USE_AGENT_STORE`).
    """

    _server: dist.Store | None = None  # rank 0's
    _mender: dist.Store | None = None  # a client
    _joins = 0  # of this rank
    _second_join_accepted = False

    def __init__(self, listener: int, gate: int):
        """`listener` is the bound socket of the process group's store in rank 0, and otherwise -1.

        `gate` is a pipe that tells when the store listens: rank 0 has the end to close, the others the end to read. It
        is -1 if there is none.
        """
        self._listener = listener
        self._gate = gate

    def initialize(self) -> dict[str, Any]:
        """Set the device and join the process group. Returns `backend` and `device`."""
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
        device, backend = "cpu", "gloo"
        gpus = torch.cuda.device_count()
        if gpus:
            device = f"cuda:{local_rank % gpus}"
            torch.cuda.set_device(device)
            if gpus >= local_size and dist.is_nccl_available():
                backend = "nccl"
        if not dist.is_available():
            return {"backend": "", "device": device}
        if dist.is_initialized():  # the user has joined, while the app was `none`
            return {"backend": dist.get_backend(), "device": device}
        collectives.watch()
        if "TORCH_DISTRIBUTED_DEBUG" in os.environ and hasattr(dist, "set_debug_level_from_env"):
            dist.set_debug_level_from_env()  # torch read it as it was imported, before this rank was forked
        _name_recorder()
        self._serve(rank, world_size)
        _wait_long(dist.distributed_c10d, group_timeout())
        dist.init_process_group(backend, store=_own_store(), rank=rank, world_size=world_size, timeout=group_timeout())
        TorchApp._joins += 1
        mending.learn(map(str, dist.distributed_c10d._pg_names.values()))
        if not TorchApp._second_join_accepted:
            _accept_second_join()
            _refuse_breakpoints()
            TorchApp._second_join_accepted = True
        return {"backend": backend, "device": device}

    def finalize(self) -> None:
        """Leave the process group."""
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()

    def _serve(self, rank: int, world_size: int) -> None:
        """Have the store listen, or wait until it does."""
        try:
            if rank == 0 and TorchApp._server is None:
                TorchApp._server = self._listen(world_size)
            elif self._gate >= 0:
                # A client that comes too early is refused, and sleeps for a second before it tries again.
                os.read(self._gate, 1)
        finally:
            if self._gate >= 0:
                os.close(self._gate)
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"

    def _listen(self, world_size: int) -> dist.Store:
        options: dict[str, Any] = {"world_size": world_size, "is_master": True}
        if self._listener >= 0:
            with socket.socket(fileno=self._listener) as bound:
                if "master_listen_fd" in (inspect.getdoc(dist.TCPStore.__init__) or ""):
                    # Given a socket that listens on the loopback interface, torch opens none on all interfaces.
                    bound.listen(2048)
                    options["master_listen_fd"] = bound.detach()
        return _open_store(**options)


def _open_store(**options: Any) -> dist.Store:
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    options["wait_for_workers"] = False
    try:
        return dist.TCPStore(host, port, **options)
    except RuntimeError as err:
        if "libuv" not in str(err):
            raise
    os.environ["USE_LIBUV"] = "0"  # built without it, as Debian's is; what joins later reads this
    return dist.TCPStore(host, port, use_libuv=False, **options)


def _own_store() -> dist.Store:
    """Return a store for this rank's next join.

    A group that has ended leaves its keys behind, and the next one has the same name. It would at times take those keys
    for its own, and hang: under torchrun some joins do.
    """
    return dist.PrefixStore(f"/dipls/join_{TorchApp._joins}", _open_client())


def _open_client(**options: Any) -> dist.Store:
    """Return a client of the pool's store, and tell mending its connection."""
    port = int(os.environ["MASTER_PORT"])
    before = set(connections.with_port(port))
    client = _open_store(world_size=int(os.environ["WORLD_SIZE"]), is_master=False, **options)
    client.set_timeout(group_timeout())  # torch does so for a store that it makes itself
    # Before torch 2.1 there is a second connection, of a thread of the client's. Breaking it would end the process.
    for connection in [one for one in connections.with_port(port) if one not in before][:1]:
        mending.note_store(connection)
    return client


def mending_store(timeout: timedelta) -> dist.Store:
    """Return a client of the pool's store on which nothing else waits, and which later groups may use.

    Raises RuntimeError if the store does not answer in time.
    """
    if TorchApp._mender is not None:
        with contextlib.suppress(RuntimeError):
            TorchApp._mender.add("/dipls/mender", 0)
            return TorchApp._mender
    TorchApp._mender = _open_client(timeout=timeout)
    return TorchApp._mender


def group_timeout() -> timedelta:
    """Return how long the collectives of a group wait for other ranks, unless the user says otherwise.

    It is long: nobody is to lose anything by thinking at a breakpoint or between two cells.
    """
    try:
        seconds = float(os.environ["DIPLS_GROUP_TIMEOUT"])
    except (KeyError, ValueError):
        seconds = 0.0
    return timedelta(seconds=seconds) if seconds > 0 else timedelta(hours=24)


def _name_recorder() -> None:
    """Tell torch before 2.8 the size of its flight recorder by the old name. Newer torch warns about that name."""
    size = os.environ.get("TORCH_FR_BUFFER_SIZE")
    if size is not None and not hasattr(torch._C._distributed_c10d, "_dump_fr_trace_json"):
        os.environ.setdefault("TORCH_NCCL_TRACE_BUFFER_SIZE", size)


def _wait_long(c10d: Any, timeout: timedelta) -> None:
    """Have groups that the user makes without a timeout, those of a mesh included, wait as long as the default one."""
    old = c10d.default_pg_timeout
    for name in ("default_pg_timeout", "default_pg_nccl_timeout"):
        if getattr(c10d, name, None) is not None:
            setattr(c10d, name, timeout)
    # Before torch 2.2 the timeout is in the signatures.
    for value in list(vars(c10d).values()):
        function = inspect.unwrap(value) if type(value) is FunctionType else None
        if function is not None and function.__module__ == c10d.__name__ and function.__defaults__:
            function.__defaults__ = tuple(timeout if default is old else default for default in function.__defaults__)


def _join_anew(join: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call torch's own `init_process_group`, in a rank that has left its group."""
    bound = inspect.signature(join).bind(*args, **options)
    given = bound.arguments
    if given.get("store") is None and given.get("init_method") in (None, "env://"):
        for name in ("rank", "world_size"):
            if given.get(name, -1) < 0:
                given[name] = int(os.environ[name.upper()])
        given.pop("init_method", None)
        given["store"] = _own_store()
    joined = join(*bound.args, **bound.kwargs)
    TorchApp._joins += 1
    return joined


def _refuse_breakpoints() -> None:
    """Have torch's breakpoint fail on all ranks alike. Otherwise the others would wait for the one that stops there."""
    if hasattr(dist, "breakpoint"):  # since torch 2.1
        dist.breakpoint = no_keyboard("torch.distributed.breakpoint()", AT_A_BREAKPOINT)


def _accept_second_join() -> None:
    """Let a script that was written for torchrun call `init_process_group` although the rank has joined already."""
    join = dist.init_process_group

    @functools.wraps(join)
    def init_process_group(*args: Any, **options: Any) -> Any:
        if not dist.is_initialized():
            return _join_anew(join, *args, **options)
        wanted = str(args[0] if args else options.get("backend") or "").lower()
        joined = dist.get_backend()
        # torch ≥ 2 also takes "cpu:gloo,cuda:nccl".
        names = {part.rpartition(":")[2] for part in wanted.split(",")} - {"", "none", "undefined"}
        if names and joined not in names:
            raise RuntimeError(
                f"init_process_group({wanted!r}): this rank has joined a {joined} group already. "
                f"Use that one, or call dist.destroy_process_group() first."
            )
        print(f"dipls: init_process_group: this rank has joined a {joined} group already", file=sys.stderr)
        return None

    for module in (dist, dist.distributed_c10d):
        module.init_process_group = init_process_group
