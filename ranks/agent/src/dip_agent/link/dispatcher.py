"""What is done with each message as it comes in: answered at once, or handed to the main thread."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from typing import Any, Callable

from .. import stacks
from ..beside import Beside, Pull
from ..ending import Ending
from ..interrupts import Interrupts
from ..output import Output
from ..wire import NO_PARENT, Message, encode, failure, unknown
from .channel import Channel
from .mailbox import Mailbox
from .sender import Sender

log = logging.getLogger(__name__)

NUDGES = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between looks at whether the main thread has seen an interrupt
LOOKUP_TIME = 0.3  # seconds that a lookup may take if it does not say

_Content = dict[str, Any]
_Use = Callable[[_Content], None]
_LaterAnswer = Callable[[_Content, _Use], None]  # the second argument takes the answer

# What the main thread serves, first in, first out.
_TASKS = frozenset(
    {
        "hello",
        "execute_request",
        "check_request",
        "push_request",
        "push_commit",
        "pull_request",
        "app_request",
        "mend_request",
        "shutdown_request",
    }
)
# What the main thread serves while it has nothing else to do, and gives up as soon as it has.
_LOOKUPS = frozenset({"complete_request", "inspect_request", "variables_request", "table_request"})


class Dispatcher:
    """Takes the messages that were received, under the turn (see `IOThread`), on either thread.

    None of it runs user code or waits for the main thread.
    """

    def __init__(self, mailbox: Mailbox, sender: Sender, output: Output, interrupts: Interrupts, turn: threading.Lock):
        self._mailbox = mailbox
        self._sender = sender
        self._output = output
        self._interrupts = interrupts
        self._turn = turn
        self._channel: Channel
        self._io_thread = 0  # its identity
        # Written by the main thread.
        self.started = False  # the app has joined or failed
        self.ending: Ending | None = None  # the main thread sets this before it looks at `hurried`
        self._at_once: dict[str, _Use] = {}
        self._answers: dict[str, Callable[[_Content], _Content]] = {}
        self._later: dict[str, _LaterAnswer] = {}
        self._beside: Beside | None = None
        # Under the turn.
        self.hurried = False  # the end was asked for again, as by a server that waits no longer
        self._ends = False  # the end was asked for
        self.nudges: deque[float] = deque()  # moments at which to look whether an interrupt was seen

    # The main thread, as it starts.

    def serve_at_once(self, msg_type: str, handler: _Use) -> None:
        """Have whoever receives messages of a type, which have no answer, hand their content to `handler`."""
        self._at_once[msg_type] = handler

    def answer_at_once(self, msg_type: str, handler: Callable[[_Content], _Content]) -> None:
        """Have whoever receives requests of a type answer with what `handler` returns.

        `handler` must run no user code.
        """
        self._answers[msg_type] = handler

    def answer_later(self, msg_type: str, handler: _LaterAnswer) -> None:
        """As `answer_at_once`, but `handler` calls its second argument with the answer, at any time, on any thread."""
        self._later[msg_type] = handler

    def pull_beside(self, pull: Pull) -> None:
        """Have pulls that need not wait for the main thread served by `pull`, on other threads."""
        self._beside = Beside(pull, self._sender.post, self._hand_back)

    # The I/O thread, before there is a turn.

    def attach(self, channel: Channel, io_thread: int) -> None:
        """Tell which socket to answer on, and the identity of the calling thread."""
        self._channel, self._io_thread = channel, io_thread

    # Under the turn.

    def take(self, message: Message) -> None:
        """Do what a message asks for, or have it done."""
        content = message.content
        if message.type == "shutdown_request" and self._ends:
            self._hurry()
        elif message.type == "pull_request" and self._pulls_beside(message):
            pass
        elif message.type in _TASKS:
            self._ends = self._ends or message.type == "shutdown_request"
            self._mailbox.add_task(message)
        elif message.type in _LOOKUPS:
            self._look_up(message)
        elif message.type == "interrupt_request":
            self._interrupt(str(content.get("parent", "")))
            self._answer(message, "interrupt_reply", {})
        elif message.type == "status_request":
            self._answer(message, "status", self._state())
        elif message.type == "stack_request":
            self._answer(message, "stack_reply", {"threads": stacks.threads(self._io_thread)})
        elif message.type == "stream_ack":
            seq = content.get("seq")
            if isinstance(seq, int):
                self._output.ack(seq)
        elif message.type in self._answers:
            try:
                reply = self._answers[message.type](content)
            except Exception as err:  # of ours, or of a library that has changed: no reason to end the process
                log.exception("%s failed", message.type)
                reply = failure(err)
            self._answer(message, message.type.replace("_request", "_reply"), reply)
        elif message.type in self._later:
            self._answer_later(message, self._later[message.type])
        elif message.type in self._at_once:
            self._at_once[message.type](content)
        else:
            log.warning("unknown message type %r", message.type)
            if message.type.endswith("_request"):
                self._channel.send(*unknown(message), message.header)

    def end(self) -> None:
        """End in order, interrupting whatever runs: no server is left that could ask for it."""
        if not self._ends:
            self._interrupt("")
        self.take(Message("shutdown_request", "lifeline", NO_PARENT, "", {}, []))

    def nudge(self) -> None:
        """Look whether the main thread has seen an interrupt, if it is time for that, and otherwise wake it."""
        if self.nudges and time.monotonic() >= self.nudges[0]:
            self.nudges.popleft()
            if not self._interrupts.nudge():
                self.nudges.clear()

    def _hurry(self) -> None:
        """See to it that an end that waits does so no longer."""
        self.hurried = True
        if self.ending is not None:
            self.ending.hurry()
            self._nudge_later()

    def _interrupt(self, parent: str) -> None:
        if self._beside is not None and self._beside.cancel(parent):
            return
        self._interrupts.request(parent)
        self._nudge_later()

    def _nudge_later(self) -> None:
        self.nudges = deque(time.monotonic() + delay for delay in itertools.accumulate(NUDGES))

    def _pulls_beside(self, request: Message) -> bool:
        """Have a pull served beside a main thread that is busy, if that is possible."""
        return bool(self._mailbox.tasks) and self._beside is not None and self._beside.take(request)

    def _look_up(self, request: Message) -> None:
        if not self.started or self._mailbox.tasks:
            reply_type = request.type.replace("_request", "_reply")
            self._channel.send(reply_type, encode({"status": "aborted"}), request.header)
            return
        timeout = request.content.get("timeout")
        self._mailbox.add_lookup(request, timeout if isinstance(timeout, (int, float)) else LOOKUP_TIME)

    def _answer(self, request: Message, msg_type: str, content: _Content) -> None:
        self._channel.send(msg_type, encode({"status": "ok", **content}), request.header)

    def _answer_later(self, request: Message, handler: _LaterAnswer) -> None:
        """Have a request answered after everything printed so far."""
        reply_type = request.type.replace("_request", "_reply")

        def answer(content: _Content) -> None:
            self._sender.post(reply_type, {"status": "ok", **content}, request.header)

        try:
            handler(request.content, answer)
        except Exception as err:  # as in `take`
            log.exception("%s failed", request.type)
            answer(failure(err))

    def _state(self) -> _Content:
        if not self.started:
            return {"execution_state": "starting", "msg_id": ""}
        if self.ending is not None:
            return {"execution_state": "ending", "msg_id": "", "waits_for": self.ending.waits_for()}
        running = self._interrupts.running
        return {"execution_state": "idle" if running is None else "busy", "msg_id": running or ""}

    # A thread that serves a pull.

    def _hand_back(self, request: Message) -> None:
        """Have the main thread serve a request that another thread could not."""
        with self._turn:
            self._mailbox.add_task(request)
