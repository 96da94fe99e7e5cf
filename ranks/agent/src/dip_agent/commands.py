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
    """The server could not do what it was asked; `ename` is the class of the error there.

    Its own class has that name, too: it is what a view shows of an exception. `except NameError` catches a rank's.
    """

    def __new__(cls, ename: str, evalue: str) -> CommandError:
        if cls is CommandError and ename.isidentifier():
            cls = type(ename, (CommandError, *_CAUGHT_AS.get(ename, ())), {})
        return super().__new__(cls, ename, evalue)

    def __init__(self, ename: str, evalue: str):
        super().__init__(evalue)
        self.ename = ename

    def _render_traceback_(self) -> list[str]:
        """IPython's hook: the sentence alone, since the stack that led to it is not the user's."""
        return [f"{type(self).__name__}: {self}"]


# What code may expect to catch, as it would catch its own.
_CAUGHT_AS = {"NameError": (NameError,), "ValueError": (ValueError,)}


class _Question:
    """A command whose reply is waited for."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] | None = None
        # In C, and so never left half locked by an interrupt, unlike what `threading` has to wait with.
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self) -> dict[str, Any]:
        while self.reply is None:
            self.bell.get()
        return self.reply


class Commands:
    """Asks, from any thread, and waits for the answers that the I/O thread brings."""

    def __init__(self, post: Callable[[str, dict[str, Any]], None], interrupts: Interrupts):
        """`post(type, content)` sends a message."""
        self._post = post
        self._interrupts = interrupts
        self._pid = os.getpid()
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Question] = {}
        self._closed = False

    def close(self) -> None:
        """Refuse commands from now on: the server has asked the process to leave and answers no more."""
        self._closed = True

    def ask(self, command: str, **content: Any) -> dict[str, Any]:
        """Ask and wait; return the content of the reply. Raises CommandError, or KeyboardInterrupt if it was aborted.

        An exception that strikes meanwhile, such as an interrupt, has the server give up, and is raised when it has; a
        second one does not wait for that.
        """
        return self._ask(next(self._ids), command, content)

    @contextlib.contextmanager
    def holding(self, command: str, **content: Any) -> Iterator[dict[str, Any]]:
        """`ask`, and at the end of the block let go of what the server holds for the command."""
        number = next(self._ids)
        try:
            yield self._ask(number, command, content)
        finally:
            self._end(number)

    def answer(self, content: dict[str, Any]) -> None:
        """Take a reply; called on the I/O thread."""
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
                # Whether the server will answer must be known for sure: an interrupt waits until the request is out.
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
            raise KeyboardInterrupt(reply.get("evalue", ""))  # the server's doing: its interrupt is still on its way
        if reply["status"] != "ok":
            raise CommandError(reply.get("ename", ""), reply.get("evalue", ""))
        return reply

    def _end(self, number: int) -> None:
        """Tell the server that nothing more is needed of a command."""
        if os.getpid() != self._pid:
            return  # a child that was forked meanwhile leaves what its parent has
        self._interrupts.hold()
        try:
            self._post("command_end", {"id": number})
        finally:
            self._interrupts.release()


_FORKED = (
    "this process was forked from the local namespace, and only that one is connected to the ranks. Have the forked "
    "process return its result, and go on in the cell."
)
