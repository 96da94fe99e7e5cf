"""JSON-RPC 2.0, a line for each message, over the socket that a process has as its standard input.

The other end is Go, ranks/host/afar/rpc.go. Text may hold lone surrogates: they stand for bytes that are not UTF-8.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from typing import Any

_READ = 1 << 16
_MAX_LINE = 16 << 20  # bytes of a request
_MAX_UNSENT = 1 << 20  # bytes of notifications that wait for a reader; more of them are left out

Message = dict[str, Any]


class Stream:
    """The conversation. Any thread may send; one receives. Nothing here waits, but `flush`."""

    def __init__(self, fd: int = 0):
        self.fd = fd
        os.set_blocking(fd, False)
        self._read = b""
        self._sending = threading.Lock()  # guards what follows
        self._unsent = bytearray()
        self._broken = False

    def receive(self) -> list[Message] | None:
        """Return the messages that have come, None after the last one."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data or len(self._read) > _MAX_LINE:
            return None
        *lines, self._read = (self._read + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def answer(self, request: Message, result: Any) -> None:
        """Answer a request."""
        self._send({"id": request["id"], "result": result})

    def refuse(self, request: Message, text: str) -> None:
        """Answer a request by an error."""
        self._send({"id": request["id"], "error": {"code": 1, "message": text}})

    def notify(self, method: str, params: Any) -> None:
        """Tell the other end, unless it reads too little."""
        if len(self._unsent) <= _MAX_UNSENT:
            self._send({"method": method, "params": params})

    def _send(self, message: Message) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        with self._sending:
            if not self._broken:
                self._unsent += line
        self.push()

    def push(self) -> bool:
        """Write what can be written now; return whether something is left."""
        with self._sending:
            while self._unsent:
                try:
                    done = os.write(self.fd, self._unsent)
                except BlockingIOError:
                    break
                except OSError:
                    self._broken = True  # nobody reads any more
                    self._unsent.clear()
                    break
                del self._unsent[:done]
            return bool(self._unsent)

    def flush(self, seconds: float) -> None:
        """Wait until all is written, but not for ever."""
        due = time.monotonic() + seconds
        while self.push() and (left := due - time.monotonic()) > 0:
            with contextlib.suppress(OSError):
                select.select([], [self.fd], [], left)
