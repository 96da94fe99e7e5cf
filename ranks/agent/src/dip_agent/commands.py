"""What the local namespace asks of the server: the client's side of docs/wire.md, "Commands"."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
from collections.abc import Iterator
from typing import Any, Callable

from .interrupts import Interrupts


class CommandError(RuntimeError):
    """The server could not do what it was asked. `ename` is the name of the error's class there.

    The exception's own class gets that name, too, since views show it. `except NameError` catches a rank's NameError.
    """

    def __new__(cls, ename: str, evalue: str) -> CommandError:
        if cls is CommandError and ename.isidentifier():
            cls = type(ename, (CommandError, *_CAUGHT_AS.get(ename, ())), {})
        return super().__new__(cls, ename, evalue)

    def __init__(self, ename: str, evalue: str):
        super().__init__(evalue)
        self.ename = ename

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: show only the sentence, since the stack below it is ours."""
        return [f"{type(self).__name__}: {self}"]


# Exceptions of ranks that user code can catch by their class.
_CAUGHT_AS = {"NameError": (NameError,), "ValueError": (ValueError,)}


class _Question:
    """A command whose reply is waited for."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] | None = None
        # It is written in C: an interrupt cannot leave it half locked, as it can what `threading` offers.
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self) -> dict[str, Any]:
        while self.reply is None:
            self.bell.get()
        return self.reply


class Commands:
    """Asks the server, on any thread, and waits for the answers."""

    def __init__(self, post: Callable[[str, dict[str, Any]], None], interrupts: Interrupts):
        """`post(type, content)` sends a message."""
        self._post = post
        self._interrupts = interrupts
        self._pid = os.getpid()
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Question] = {}
        self._closed = False

    def close(self) -> None:
        """Refuse commands from now on. The server has asked the process to end, and answers no more."""
        self._closed = True

    def ask(self, command: str, **content: Any) -> dict[str, Any]:
        """Ask, wait for the reply and return its content. Raises CommandError, or KeyboardInterrupt if it was aborted.

        If an exception strikes meanwhile, such as an interrupt, the server is told to give up, and the exception is
        raised once it has. A second exception is raised at once.
        """
        return self._ask(next(self._ids), command, content)

    @contextlib.contextmanager
    def holding(self, command: str, **content: Any) -> Iterator[dict[str, Any]]:
        """As `ask`; at the end of the block the server lets go of what it holds for the command."""
        number = next(self._ids)
        try:
            yield self._ask(number, command, content)
        finally:
            self._end(number)

    def answer(self, content: dict[str, Any]) -> None:
        """Take a reply; called by the thread that has received it."""
        question = self._waiting.get(content.get("id", 0))
        if question is not None:
            question.reply = content
            question.bell.put(None)

    def _ask(self, number: int, command: str, content: dict[str, Any]) -> dict[str, Any]:
        if os.getpid() != self._pid:
            raise CommandError("ForkedProcessError", _FORKED)
        if self._closed:
            raise CommandError("RuntimeError", "the session is ending, and the ranks cannot be reached any more")
        question = self._waiting[number] = _Question()
        posted = False
        try:
            try:
                # An interrupt waits until the request is posted: then it is certain that the server will answer.
                self._interrupts.hold()
                try:
                    self._post("command_request", {"id": number, "command": command, **content})
                    posted = True
                finally:
                    self._interrupts.release()
                reply = question.wait()
            except BaseException:
                if posted:
                    self._end(number)
                    question.wait()
                raise
        finally:
            del self._waiting[number]
        if reply["status"] == "aborted":
            raise KeyboardInterrupt(reply.get("evalue", ""))  # the server's interrupt, whose signal is on its way
        if reply["status"] != "ok":
            raise CommandError(reply.get("ename", ""), reply.get("evalue", ""))
        return reply

    def _end(self, number: int) -> None:
        """Tell the server that nothing more is needed of a command."""
        if os.getpid() != self._pid:
            return  # a fork: the command is its parent's
        self._interrupts.hold()
        try:
            self._post("command_end", {"id": number})
        finally:
            self._interrupts.release()


_FORKED = (
    "this process was forked from the local namespace, and only that one is connected to the ranks. Have the forked "
    "process return its result, and go on in the cell."
)
