"""Questions to the server that a thread waits with: the process's side of a request, its reply and its end."""

from __future__ import annotations

import itertools
import os
import queue
from typing import Any, Callable

from .interrupts import Interrupts


class _Question:
    """Something whose reply is waited for."""

    def __init__(self) -> None:
        self.reply: dict[str, Any] | None = None
        # It is written in C: an interrupt cannot leave it half locked, as it can what `threading` offers.
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(self) -> dict[str, Any]:
        while self.reply is None:
            self.bell.get()
        return self.reply


class Questions:
    """Asks the server, on any thread, and waits for the answers: `KIND_request`, `KIND_reply`, `KIND_end`."""

    def __init__(self, kind: str, post: Callable[[str, dict[str, Any]], None], interrupts: Interrupts):
        """`post(type, content)` sends a message."""
        self._kind = kind
        self._post = post
        self._interrupts = interrupts
        self._pid = os.getpid()
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Question] = {}

    @property
    def in_fork(self) -> bool:
        """Whether user code has forked this process: the server is its parent's."""
        return os.getpid() != self._pid

    def number(self) -> int:
        """Return the number of the next question."""
        return next(self._ids)

    def answer(self, content: dict[str, Any]) -> None:
        """Take a reply; called by the thread that has received it."""
        question = self._waiting.get(content.get("id", 0))
        if question is not None:
            question.reply = content
            question.bell.put(None)

    def ask(self, number: int, **content: Any) -> dict[str, Any]:
        """Ask, wait for the reply and return it.

        If an exception strikes meanwhile, such as an interrupt, the server is told to give up, and the exception is
        raised once it has. A second exception is raised at once.
        """
        question = self._waiting[number] = _Question()
        posted = False
        try:
            try:
                # An interrupt waits until the request is posted: then it is certain that the server will answer.
                self._interrupts.hold()
                try:
                    self._post(f"{self._kind}_request", {"id": number, **content})
                    posted = True
                finally:
                    self._interrupts.release()
                return question.wait()
            except BaseException:
                if posted:
                    self.end(number)
                    question.wait()
                raise
        finally:
            del self._waiting[number]

    def end(self, number: int) -> None:
        """Tell the server that nothing more is needed of a question."""
        if self.in_fork:
            return  # the question is its parent's
        self._interrupts.hold()
        try:
            self._post(f"{self._kind}_end", {"id": number})
        finally:
            self._interrupts.release()
