"""A started process, a rank or the local namespace: its main thread takes requests and runs user code."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any, Callable

from . import apps, check, columns, limits, output, paths, randomness, reload, surroundings, wire
from .commands import Commands
from .ending import Ending
from .gpu import GPUCache
from .groups import collectives, mending, operations
from .interrupts import STARTING, Interrupts
from .keyboard import Keyboard
from .link.io_thread import IOThread
from .lookup import Lookups
from .moments import Moments
from .output import Output
from .peaks import Peaks
from .randomness import Generators
from .ring import STDERR, STDOUT, Ring
from .shell import Shell
from .spec import Spec
from .surroundings import Surroundings
from .transfer import Transfers
from .wire import Message

log = logging.getLogger(__name__)


def main(spec: Spec, shell: Shell, generators: Generators | None = None) -> int:
    """Be the process that `spec` describes until its shutdown. Returns its exit status.

    The caller has set up the process group, descriptors 0 to 2 and the environment, and exits without unwinding.
    `generators` are the random generators that the process was forked with.
    """
    for fd in spec.fds():
        os.set_inheritable(fd, False)
    interrupts = Interrupts()
    printed = Output(
        Ring(spec.ring),
        {STDOUT: spec.stdout[0], STDERR: spec.stderr[0]},
        {STDOUT: spec.stdout[1], STDERR: spec.stderr[1]},
        interrupts,
    )
    os.close(spec.ring)
    interrupts.install()
    # The node shows the stacks of a crash. Those of a fork that user code makes are printed as they come, on a private
    # duplicate of descriptor 2, since a cell may have closed that.
    faulthandler.enable(file=spec.crash)
    os.register_at_fork(after_in_child=lambda: _crashes_to(spec.stderr[1]))
    io_thread = IOThread(spec.path, bytes.fromhex(spec.key), printed, interrupts, spec.lifeline)
    try:
        io_thread.bind()
        report = {"bound": True}
    except Exception as err:
        report = {"bound": False, "ename": type(err).__name__, "evalue": f"{limits.explain(err)} ({spec.path})"}
    os.write(spec.report, json.dumps(report).encode() + b"\n")
    os.close(spec.report)
    if not report["bound"]:
        return 1
    output.install(printed)
    return _Process(spec, shell, interrupts, printed, io_thread).serve(generators)


def _crashes_to(fd: int) -> None:
    """Have the stacks of a crash written to a descriptor, unless user code has disabled that or closed it."""
    if faulthandler.is_enabled():
        with contextlib.suppress(OSError, ValueError):
            faulthandler.enable(file=fd)


# What an execute_request may have in place of code.
OPERATIONS = {"transfer", "file", "free_memory"}


class _Process:
    """The main thread's loop."""

    def __init__(self, spec: Spec, shell: Shell, interrupts: Interrupts, printed: Output, io_thread: IOThread):
        self._spec = spec
        self._shell = shell
        self._interrupts = interrupts
        self._output = printed
        self._io = io_thread
        self._pid = os.getpid()
        self._app = apps.AppRunner(spec, shell.user_ns)
        self._gpu: GPUCache | None = None  # to be freed after cells
        self._peaks = Peaks()
        self._started: dict[str, Any] = {}  # content of the answer to hello
        self._header = wire.NO_PARENT  # of the request that runs, or ran last
        self._path = ""  # of the cell that runs, or ran last
        self._answered = True  # whether the request that was taken last has its reply
        self._transfers = Transfers(shell.user_ns, os.path.dirname(spec.path), spec.host)
        self._surroundings: Surroundings | None = None  # the local namespace's
        self._commands = Commands(self._ask, interrupts)
        self._keyboard = Keyboard(self._publish, interrupts)
        lookups = Lookups(shell)
        self._lookups = {
            "complete_request": lookups.complete,
            "inspect_request": lookups.inspect,
            "variables_request": lookups.variables,
            "table_request": lookups.table,
        }
        io_thread.dispatcher.serve_at_once("pull_release", self._transfers.release)
        io_thread.dispatcher.serve_at_once("command_reply", self._commands.answer)
        io_thread.dispatcher.serve_at_once("input_reply", self._keyboard.answer)
        io_thread.dispatcher.serve_at_once("hang", self._app.tell_hang)
        io_thread.dispatcher.serve_at_once("columns", columns.learn)
        io_thread.dispatcher.answer_at_once("names_request", self._bound)
        if spec.rank is not None:
            io_thread.dispatcher.pull_beside(self._transfers.pull)
        io_thread.dispatcher.answer_at_once("groups_request", self._standing)
        operations.on_failure(interrupts.wait_failed)
        io_thread.dispatcher.answer_at_once("connections_request", mending.tell_connections)
        io_thread.dispatcher.answer_later("break_request", self._break)

    def serve(self, generators: Generators | None) -> int:
        self._shell.plain = self._spec.plain
        commands = self._commands if self._spec.rank is None else None
        self._shell.attach(self._publish, self._spec.script, self._keyboard, commands, self._interrupts)
        self._io.tasks = self._shell.tasks
        self._start(randomness.renew(self._spec.seed, generators))
        while True:
            try:
                while True:  # within `try`, since a signal handler may raise between two requests, too
                    message = self._io.next_request()
                    self._answered = False
                    if message.type == "shutdown_request":
                        self._stop(message)
                        return 0
                    self._serve(message)
            except BaseException as err:
                self._leave_if_forked()
                # Between cells only a signal handler of the user's raises. The request that it strikes gets its reply.
                traceback.print_exc()
                if not self._answered:
                    self._reply(message, message.type.partition("_")[0] + "_reply", wire.failure(err))

    def _ask(self, msg_type: str, content: dict[str, Any]) -> None:
        self._tell_surroundings()
        self._io.sender.post(msg_type, content, self._header)

    def _tell_surroundings(self) -> None:
        """Tell the server what ranks that are made from now on inherit, before it is told anything else."""
        if self._surroundings is None:
            return
        try:
            if (news := self._surroundings.news()) is not None:
                self._io.sender.post("surroundings", news, self._header)
        except Exception:  # the user may have put anything there
            log.warning("the surroundings cannot be told", exc_info=True)

    def _bound(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return which of the names asked for are defined in the namespace."""
        names = content.get("names")
        known = names if isinstance(names, list) else []
        return {"names": [name for name in known if isinstance(name, str) and name in self._shell.user_ns]}

    def _standing(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return what this process runs and how far it is with collectives: a groups_reply."""
        running = self._interrupts.running
        return collectives.state(self._io.ident, "" if running in (None, STARTING) else running)

    def _serve(self, message: Message) -> None:
        if "surroundings" in message.content:
            for problem in surroundings.take_over(message.content["surroundings"]):
                print(f"dipls: {problem}", file=sys.stderr)
        if message.type == "hello":
            self._reply(message, "hello_reply", self._started)
        elif message.type == "execute_request":
            self._execute(message)
        elif message.type == "check_request":
            self._answer(message, self._check)
        elif message.type == "push_commit":
            self._transfers.end_push(bool(message.content.get("commit")))
            self._answered = True
            self._io.mailbox.done(message.id)
        elif message.type == "push_request":
            self._answer(message, self._transfers.push)
        elif message.type == "pull_request":
            self._answer(message, self._transfers.pull)
        elif message.type == "app_request":
            self._answer(message, self._change_app)
        elif message.type == "mend_request":
            self._answer(message, lambda request: mending.mend(request.content, self._shell.user_ns, self._interrupts))
        elif message.type in self._lookups:
            self._look_up(message)

    def _answer(self, message: Message, handler: Callable[[Message], dict[str, Any]]) -> None:
        """Have `handler` make the reply to a request that is no cell. An interrupt ends it as it ends a cell."""
        try:
            try:
                if not self._interrupts.begin(message.id):
                    raise KeyboardInterrupt
                reply = {"status": "ok", **handler(message)}
            finally:
                self._interrupts.end()
        except BaseException as err:
            self._leave_if_forked()
            reply = wire.failure(err)
        self._reply(message, message.type.replace("_request", "_reply"), reply)

    def _look_up(self, message: Message) -> None:
        """Answer what an editor asks of the namespace, unless its time runs out or there is other work to do."""
        try:
            try:
                if not self._interrupts.begin(message.id):
                    raise KeyboardInterrupt
                reply = {"status": "ok", **self._lookups[message.type](message.content)}
            finally:
                self._interrupts.end()
        except KeyboardInterrupt:
            self._leave_if_forked()
            reply = {"status": "aborted"}
        except BaseException as err:
            self._leave_if_forked()
            reply = wire.failure(err)
        self._reply(message, message.type.replace("_request", "_reply"), reply)

    def _reply(self, request: Message, msg_type: str, content: dict[str, Any]) -> None:
        self._io.reply(request, msg_type, content)
        self._answered = True

    def _start(self, notices: list[str]) -> None:
        began = time.monotonic()
        try:
            try:
                self._interrupts.begin(STARTING)
                notices = [*notices, *surroundings.take_over(self._spec.surroundings)]
                if self._spec.rank is not None:
                    collectives.watch()
                self._app.start()
                status: dict[str, Any] = {"status": "ok"}
            finally:
                self._interrupts.end()
        except BaseException as err:
            self._leave_if_forked()
            status = {**wire.failure(err), "evalue": limits.explain(err)}
            if hint := paths.hint(err):
                status["evalue"] += f"; {hint}"
        self._started = {
            "pid": self._pid,
            "rank": self._spec.rank,
            "app": self._app.name,
            "io_thread": self._io.native_id or 0,
            "backend": "",
            "device": "cpu",
            **self._app.facts,
            "seconds": time.monotonic() - began,
            "notices": [*notices, *self._app.notices],
            **status,
        }
        self._watch_gpu()
        if self._spec.rank is None:
            self._surroundings = Surroundings()
        self._io.dispatcher.started = True

    def _watch_gpu(self) -> None:
        if self._spec.free_gpu and self._gpu is None:
            self._gpu = GPUCache.of(self._app.facts.get("device", "cpu"))

    def _break(self, content: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
        self._interrupts.broke()  # first: breaking makes waits raise, and `wait_failed` looks at it
        mending.break_groups(content, answer)

    def _check(self, message: Message) -> dict[str, Any]:
        return {"faults": list(check.faults(self._shell, message.content.get("cells", [])))}

    def _change_app(self, message: Message) -> dict[str, Any]:
        notices = self._app.change(message.content.get("app"), message.content.get("verbose"))
        self._watch_gpu()
        return {"app": self._app.name, "notices": notices, **self._app.facts}

    def _execute(self, message: Message) -> None:
        moments = message.moments
        if moments is not None:
            moments.taken = time.monotonic_ns()
        self._io.sender.set_parent(message)
        self._output.watch(moments)
        self._header = message.header
        self._path = str(message.content.get("path") or "")
        # Some of IPython's code swallows an interrupt. So interrupts are put off until the user's code runs.
        self._interrupts.hold()
        self._peaks.begin()
        if not self._interrupts.begin(message.id):
            self._interrupts.end()
            reply: dict[str, Any] = {"status": "aborted", "execution_count": self._shell.execution_count}
        else:
            try:
                try:
                    self._keyboard.connected = True
                    if message.content.keys() & OPERATIONS:
                        reply = self._shell.operate(message.content, self._about_to_run(moments))
                    else:
                        around = self._within_command(str(message.content.get("app_command") or ""))
                        reply = self._shell.execute(message.content, self._about_to_run(moments), around)
                    if moments is not None:
                        moments.ran = time.monotonic_ns()
                    self._leave_if_forked(reply.get("exit_code", 0 if reply["status"] == "ok" else 1))
                    self._output.settle()
                finally:
                    self._interrupts.end()
                    self._keyboard.connected = False
            except BaseException as err:  # an interrupt has struck IPython itself, or `settle`
                self._interrupts.end()
                self._leave_if_forked()
                reply = self._shell.report(err)
        self._transfers.prune()
        if peak := self._peaks.end():
            reply["peak_memory"] = peak
        if reply.get("ename") == "KeyboardInterrupt":
            self._cancel_tasks(message.id)
        elif self._gpu is not None:
            self._gpu.free_if_changed()
        if self._spec.rank is not None and (groups := collectives.counts()):
            reply["groups"] = groups
            mending.learn(groups)
        if message.content.get("autoreload") and (imported := reload.news()):
            reply["imported"] = imported
        if reload.was_done():
            reply["reloaded"] = True
        if self._surroundings is not None:
            self._tell_surroundings()
        if moments is not None:
            moments.replied = time.monotonic_ns()
        self._reply(message, "execute_reply", reply)

    def _cancel_tasks(self, request: str) -> None:
        """Cancel what goes on between cells. Another interrupt of the request ends a task that does not let itself."""
        try:
            try:
                if self._interrupts.begin(request):
                    self._shell.tasks.cancel()
            finally:
                self._interrupts.end()
        except KeyboardInterrupt:
            pass

    def _about_to_run(self, moments: Moments | None) -> Callable[[], None]:
        """Return what the shell is to call just before the user's first line runs."""
        if moments is None:
            return self._interrupts.release

        def compiled() -> None:
            moments.compiled = time.monotonic_ns()
            self._interrupts.release()

        return compiled

    @contextlib.contextmanager
    def _within_command(self, command: str) -> Iterator[None]:
        """Run a command of the app, if there is one, and enter the context manager that it returns."""
        if not command:
            yield
            return
        self._interrupts.release()  # this is user code, not IPython's
        with self._app.command(command):
            self._interrupts.hold()
            yield

    def _publish(self, msg_type: str, content: dict[str, Any]) -> None:
        if os.getpid() != self._pid:
            # User code has forked this process, which prints as any subprocess does.
            shown = content.get("traceback") or [content.get("data", {}).get("text/plain", "")]
            print("\n".join(shown), file=sys.stderr if msg_type == "error" else sys.stdout)
            return
        self._io.sender.post(msg_type, content, self._header)

    def _stop(self, message: Message) -> None:
        """Do what Python does at the end of a script. The process then leaves by os._exit.

        With "wait" the server goes on answering commands meanwhile; without, it does not.
        """
        patient = bool(message.content.get("wait"))
        ending = Ending(self._interrupts, message.id, patient)
        self._io.dispatcher.ending = ending
        if self._io.dispatcher.hurried:
            ending.hurry()
        self._transfers.end_push(False)
        if not patient:
            self._commands.close()
        ending.tasks(self._shell.tasks.cancel)
        ending.threads()
        ending.exit_handlers()
        self._commands.close()
        failure = ending.app(self._app.stop, self._app.leave_group)
        cut_off = ending.cut_off()
        ending.finalisers(self._shell.clear)
        self._output.settle()
        reply = {"status": "ok"} if failure is None else wire.failure(failure)
        self._reply(
            message,
            "shutdown_reply",
            {"restart": bool(message.content.get("restart")), "cut_off": cut_off, **reply},
        )
        self._io.stop()

    def _leave_if_forked(self, code: int = 1) -> None:
        """End a process that user code has forked and that has left the cell, since the socket is its parent's."""
        if os.getpid() != self._pid:
            try:
                self._output.flush()
            finally:
                os._exit(code)


def configure_logging(fd: int, level: str, name: str) -> None:
    """Send the agent's log to `fd`, never to what the user's code prints."""
    logger = logging.getLogger("dip_agent")
    handler = logging.StreamHandler(os.fdopen(fd, "w", buffering=1, encoding="utf-8", errors="replace"))
    handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s {name}[%(process)d] %(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    number = logging.getLevelName(level.upper())
    logger.setLevel(number if isinstance(number, int) else logging.INFO)
