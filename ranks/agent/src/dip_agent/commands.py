"""What the local namespace asks of the server: the client's side of docs/protocol.md, "Commands"."""

from __future__ import annotations

import itertools
import queue
from typing import Any, Callable


class CommandError(RuntimeError):
    """The server could not do what it was asked; `ename` is the class of the error there."""

    def __init__(self, ename: str, evalue: str):
        super().__init__(evalue)
        self.ename = ename


class Commands:
    """Asks, from any thread, and waits for the answers that the I/O thread brings."""

    def __init__(self, post: Callable[[str, dict[str, Any]], None]):
        """`post(type, content)` sends a message."""
        self._post = post
        self._ids = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}

    def ask(self, command: str, **content: Any) -> dict[str, Any]:
        """Ask and wait; return the content of the reply, which has the command's `id`. Raises CommandError.

        An exception that strikes meanwhile, such as an interrupt, has the server give up, and is raised when it has; a
        second one does not wait for that.
        """
        number = next(self._ids)
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._waiting[number] = answers
        try:
            self._post("command_request", {"id": number, "command": command, **content})
            try:
                reply = answers.get()
            except BaseException:
                self.end(number)
                answers.get()
                raise
        finally:
            del self._waiting[number]
        if reply["status"] != "ok":
            raise CommandError(reply.get("ename", ""), reply.get("evalue", ""))
        return reply

    def end(self, number: int) -> None:
        """Tell the server that nothing more is needed of a command: it may let go of what it holds for that."""
        self._post("command_end", {"id": number})

    def answer(self, content: dict[str, Any]) -> None:
        """Take a reply; called on the I/O thread."""
        answers = self._waiting.get(content.get("id", 0))
        if answers is not None:
            answers.put(content)
