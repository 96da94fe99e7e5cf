"""What a node imports once for all the processes that it forks, and whether forking is safe after that."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from . import limits, paths, system, threads
from .apps.hooks import import_app
from .randomness import Generators

# What the first training step imports. If the ranks did that, it would take each of them seconds.
_TORCH = ("torch", "torch.distributed", "torch.nn.parallel", "torch.optim", "torch._dynamo")


class Nursery:
    """Prepares this process for being forked.

    A fork closes every descriptor that it inherits but `fds`, which imported modules have opened. Their objects live on
    in the fork; if these descriptors were closed, such an object might later close one that has got the same number.
    """

    def __init__(self, fds: set[int], folder: str):
        """`fds` are the descriptors that imported modules have opened so far.

        `folder` is the script's. Nothing of it is imported but what `preload` names.
        """
        self.fds = fds
        self._folder = folder
        self.generators = Generators()
        self._own_threads = threads.ids()
        self._started_by: dict[int, str] = {}  # native threads by id: the module whose import started them

    def keep_threads(self) -> None:
        """Regard all threads that exist now as ours. They are ZeroMQ's, and hold nothing that a fork uses."""
        self._own_threads = threads.ids()

    @contextlib.contextmanager
    def keeping_fds(self) -> Iterator[None]:
        """Add the descriptors that are opened within the block to `fds`."""
        before = system.open_fds()
        try:
            yield
        finally:
            self.fds |= system.open_fds() - before

    def preload(self, modules: list[str], app: str = "") -> dict[str, Any]:
        """Import `modules`, and what the app needs, if it is one of ours; return the content of a preload_reply."""
        began = time.monotonic()
        failed = []
        with self.keeping_fds():
            for module in modules:
                for name in _parts(module):
                    try:
                        with self._noting(name):
                            self._import(name)
                    except BaseException as err:  # a module may even exit
                        failed.append({"module": name, "error": f"{type(err).__name__}: {limits.explain(err)}"})
                        break
            if app not in ("", "none", "torch") and not _sees_gpus():
                # The rank says what is wrong with its app.
                with contextlib.suppress(BaseException), self._noting(f"app {app}"):
                    import_app(app)
        reason = self.obstacle()
        return {
            "seconds": time.monotonic() - began,
            "failed": failed,
            "fork_safe": not reason,
            "reason": reason,
        }

    def _import(self, name: str) -> None:
        if name in _TORCH:
            importlib.import_module(name)
            return
        with paths.Finder(self._folder, name):
            importlib.import_module(name)

    def obstacle(self) -> str:
        """Return why processes must not be forked from this one, "" if they may be."""
        if not system.LINUX:
            return f"fork is not safe on {sys.platform}"
        others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
        if others:
            return f"a preloaded module started the thread {', '.join(others)}"
        natives = [thread for thread in threads.native(self._own_threads) if not thread.survives_fork]
        if natives:
            modules = dict.fromkeys(self._started_by[one.id] for one in natives if one.id in self._started_by)
            named = ", ".join(dict.fromkeys(map(str, natives)))
            module = ", ".join(modules) or "a preloaded module"
            return f"{module} started native threads ({named}), which a fork would lack"
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            return "a preloaded module initialized CUDA"
        for fd in system.open_fds():
            try:
                target = os.readlink(f"/proc/self/fd/{fd}")
            except OSError:
                continue
            if target.startswith("/dev/nvidia"):
                return f"a preloaded module opened {target}"
        return ""

    @contextlib.contextmanager
    def _noting(self, module: str) -> Iterator[None]:
        """Note the descriptors and threads that an import leaves behind."""
        before = threads.ids()
        try:
            with contextlib.nullcontext() if module in _TORCH else self.generators.watching():
                yield
        finally:
            self._started_by.update(dict.fromkeys(threads.ids() - before, module))


def _sees_gpus() -> bool:
    """Whether a program here would find a GPU. fastai uses it as it is imported, and then no fork can."""
    return os.path.exists("/dev/nvidiactl") and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def _parts(module: str) -> list[str]:
    if module != "torch":
        return [module]
    if importlib.util.find_spec("torch") is None:
        return ["torch"]
    return [name for name in _TORCH if importlib.util.find_spec(name) is not None]
