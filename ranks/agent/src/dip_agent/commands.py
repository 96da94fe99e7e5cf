"""What the local namespace asks of the server: the client's side of docs/wire.md, "Commands"."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Callable

from .asking import Questions
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


class Commands:
    """Asks the server, on any thread, and waits for the answers."""

    def __init__(self, post: Callable[[str, dict[str, Any]], None], interrupts: Interrupts):
        """`post(type, content)` sends a message."""
        self._questions = Questions("command", post, interrupts)
        self._closed = False
        self.answer = self._questions.answer  # takes a reply; called by the thread that has received it

    def close(self) -> None:
        """Refuse commands from now on. The server has asked the process to end, and answers no more."""
        self._closed = True

    def ask(self, command: str, **content: Any) -> dict[str, Any]:
        """Ask, wait for the reply and return its content. Raises CommandError, or KeyboardInterrupt if it was aborted.

        If an exception strikes meanwhile, it is as with `Questions.ask`.
        """
        return self._ask(self._questions.number(), command, content)

    @contextlib.contextmanager
    def holding(self, command: str, **content: Any) -> Iterator[dict[str, Any]]:
        """As `ask`; at the end of the block the server lets go of what it holds for the command."""
        number = self._questions.number()
        try:
            yield self._ask(number, command, content)
        finally:
            self._questions.end(number)

    def _ask(self, number: int, command: str, content: dict[str, Any]) -> dict[str, Any]:
        if self._questions.in_fork:
            raise CommandError("ForkedProcessError", _FORKED)
        if self._closed:
            raise CommandError("RuntimeError", "the session is ending, and the ranks cannot be reached any more")
        reply = self._questions.ask(number, command=command, **content)
        if reply["status"] == "aborted":
            raise KeyboardInterrupt(reply.get("evalue", ""))  # the server's interrupt, whose signal is on its way
        if reply["status"] != "ok":
            raise CommandError(reply.get("ename", ""), reply.get("evalue", ""))
        return reply


_FORKED = (
    "this process was forked from the local namespace, and only that one is connected to the ranks. Have the forked "
    "process return its result, and go on in the cell."
)
