"""Variables on their way from one process's namespace to another's, in memory that both map."""

from __future__ import annotations

from typing import Any

from ..wire import Message


class Transfers:
    """A rank's side of push and pull."""

    def __init__(self, namespace: dict[str, Any]):
        self._namespace = namespace

    def push(self, request: Message) -> dict[str, Any]:
        """Unpickle the variables of a push_request; they wait for `end_push`. Return what the reply says."""
        raise NotImplementedError

    def end_push(self, commit: bool) -> None:
        """Bind the variables that wait, or forget them."""

    def pull(self, request: Message) -> dict[str, Any]:
        """Pickle the variables of a pull_request. Return what the reply says."""
        raise NotImplementedError

    def release(self, content: dict[str, Any]) -> None:
        """Free what the pull_request `content["parent"]` was answered with. Called on the I/O thread."""
