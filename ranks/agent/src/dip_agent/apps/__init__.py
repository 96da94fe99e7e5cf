"""Hooks around a pool's life.

An app is a module that may define `imports`, `set_verbose`, `initializer`, `finalizer`, `on_hang` and `commands`; see
docs/apps.md. Before any of them runs, a rank joins torch's process group. The app `torch` does only that, and `none` is
plain Python.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Any

from ..spec import Spec
from ..tracebacks import users_part
from .hooks import AppError, Hooks, no_commands

if TYPE_CHECKING:
    from .torch import TorchApp


class AppRunner:
    """A process and its app. Everything here but `tell_hang` runs in the main thread.

    `name` is the app that runs, which is a simpler one than was asked for if that failed. `notices` are sentences that
    tell the user so, and what a verbose app says as it starts. `facts` are `backend` and `device` of the process group
    once it was joined.
    """

    def __init__(self, spec: Spec, namespace: dict[str, Any]):
        """The app's imports go into `namespace`. Nothing runs before `start`."""
        self.name = "none"
        self.notices: list[str] = []
        self.facts: dict[str, Any] = {}
        self._spec = spec
        self._namespace = namespace
        self._verbose = spec.verbose
        self._group: TorchApp | None = None
        self._hooks: Hooks | None = None

    def start(self) -> None:
        """Join the process group and start the app.

        Raises whatever keeps the rank from joining. A fault of the app itself becomes a notice.
        """
        if self._spec.rank is None:
            _use_every_core()
        elif self._spec.app == "none" or importlib.util.find_spec("torch") is None:
            for fd in (self._spec.listener, self._spec.gate):
                if fd >= 0:
                    os.close(fd)
        else:
            self._join(self._spec.listener, self._spec.gate)
        self._enter(self._spec.app)

    def change(self, name: str | None, verbose: bool | None) -> list[str]:
        """Change to another app, or make the app more or less verbose. None leaves either as it is.

        A rank that has joined the process group stays in it. Returns the notices. Raises whatever keeps the rank from
        joining, or an interrupt. The rank then has no app, and works.
        """
        if self._spec.rank is None:
            raise RuntimeError("the local namespace has no app: apps are for the ranks")
        self.notices = []
        if verbose is not None:
            self._verbose = verbose
        if name is None:
            if verbose is not None and self._hooks is not None:
                with self._as_notice(f"app {self.name}: ", ""):
                    self._hooks.set_verbose(verbose)
            return self.notices
        with self._as_notice(f"app {self.name}: ", ""):
            self._leave_hooks()
        if name == "none":
            # The group stays. Whatever holds it, such as a model, keeps its port, and a new group could not have that.
            self.name = "none"
        elif self._group is not None:
            self.name = "torch"
        elif importlib.util.find_spec("torch") is not None:
            self._join(_listen_again(), -1)
        self._enter(name)
        return self.notices

    def command(self, text: str) -> contextlib.AbstractContextManager[Any]:
        """Run the app's command `NAME ARGUMENT…`. Returns the context manager in which the cell is to run.

        Raises UsageError for an unknown command, and whatever the command raises.
        """
        if self._hooks is None:
            raise no_commands(self.name)
        return self._hooks.command(text)

    def tell_hang(self, finding: dict[str, Any]) -> None:
        """Tell the app that ranks wait for others. For any thread. It returns at once."""
        if (hooks := self._hooks) is not None:
            hooks.tell_hang(finding)

    def stop(self) -> None:
        """End the app. Call `leave_group` afterwards. Raises AppError if the app's finalizer raises."""
        name = self.name
        try:
            self._leave_hooks()
        except AppError as err:
            raise AppError(f"app {name}: {err}") from err.__cause__

    def leave_group(self) -> None:
        """Leave the process group, if the rank has joined one."""
        group, self._group, self.name = self._group, None, "none"
        if group is not None:
            group.finalize()

    def _join(self, listener: int, gate: int) -> None:
        from .torch import TorchApp

        group = TorchApp(listener, gate)
        self.facts = group.initialize()
        self._group, self.name = group, "torch"

    def _enter(self, name: str) -> None:
        """Start the hooks of the app `name`, if it has any."""
        if self._spec.rank is None or name in ("", self.name):
            return
        with self._as_notice(f"app {name}: ", f"; the pool runs as {self.name}"):
            hooks = Hooks.of(name, self._spec.script, self._namespace)
            said = hooks.enter(self._verbose)
            self._hooks, self.name = hooks, hooks.name
            if said:
                self.notices.append(f"app {self.name}: {said}")

    def _leave_hooks(self) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            self.name = "torch" if self._group is not None else "none"
            hooks.leave()

    @contextlib.contextmanager
    def _as_notice(self, before: str, after: str) -> Any:
        """Turn an AppError into a notice. If the app is verbose, the notice has the traceback of the cause, too."""
        try:
            yield
        except AppError as err:
            notice = f"{before}{err}{after}"
            if self._verbose and (cause := err.__cause__) is not None:
                lines = traceback.format_exception(type(cause), cause, users_part(cause.__traceback__))
                notice += "\n" + "".join(lines).rstrip()
            self.notices.append(notice)


def _use_every_core() -> None:
    """Let torch in the local namespace use all cores. The nursery imported it as ranks need it, with one thread."""
    torch = sys.modules.get("torch")
    if torch is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(os.cpu_count() or 1)


def _listen_again() -> int:
    """Return a socket for the store of a process group that is joined late, -1 where none is needed."""
    distributed = sys.modules.get("torch.distributed")
    if os.environ["RANK"] != "0" or (distributed is not None and distributed.is_initialized()):
        return -1
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
        return bound.detach()
