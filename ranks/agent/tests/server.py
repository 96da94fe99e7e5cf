"""The server's answers to commands, scripted or by real ranks."""

from __future__ import annotations

import json
from typing import Any, Callable, Union

from harness import Message, Process, Result

PATH = "/project/train.py"

Answer = Union[dict[str, Any], Callable[[dict[str, Any]], dict[str, Any]]]


def failing(ename: str, evalue: str) -> dict[str, Any]:
    """Return the answer that a command fails."""
    return {"status": "error", "ename": ename, "evalue": evalue}


def command(process: Process) -> Message:
    """Wait for the next command."""
    return process.wait(lambda m: m.type == "command_request", "command_request")


def answer(process: Process, request: Message, **content: Any) -> None:
    """Send the reply to a command."""
    process.send("command_reply", {"id": request.content["id"], "status": "ok", **content})


def run(process: Process, code: str, path: str = PATH, line: int = 10, **answers: Answer) -> Result:
    """Run a cell and answer its commands, by name; `asked` of the result is what they were."""
    return serve(process, process.start(code, path, line), answers)


def transfer(process: Process, way: str, names: list[str], ranks: str, **answers: Answer) -> Result:
    """Have variables pushed or pulled by a request that has no code, and answer its commands as `run` does."""
    wanted = {"pull": way == "pull", "names": names, "ranks": ranks}
    return serve(process, process.start("", transfer=wanted), answers)


def serve(process: Process, request: str, answers: dict[str, Answer]) -> Result:
    """Answer the commands of a request until its end."""
    before = len(process.output)
    asked = []
    while True:
        message = process.wait(
            lambda m: m.type == "command_request" or (m.type == "execute_reply" and m.parent_id == request),
            "command_request or execute_reply",
        )
        if message.type == "execute_reply":
            process.inbox.append(message)
            break
        assert message.parent_id == request
        content = dict(message.content)
        reply = answers[content["command"]]
        answer(process, message, **(reply(content) if callable(reply) else reply))
        del content["id"]
        asked.append(content)
    result = process.finish(request)
    result.output = process.output[before:]
    result.asked = asked
    return result


class Ranks:
    """Serves push and pull by real ranks, as the server does."""

    def __init__(self, ranks: list[Process]):
        self._ranks = ranks

    def push(self, content: dict[str, Any]) -> dict[str, Any]:
        request = {"names": content["names"], "payload": content["payload"]}
        replies = [rank.ask("push_request", request) for rank in self._ranks]
        good = all(reply["status"] == "ok" for reply in replies)
        for rank in self._ranks:
            rank.send("push_commit", {"commit": good})
        if not good:
            return failing("TransferError", f"{json.dumps(replies)}; nothing was pushed")
        return {"ranks": list(range(len(self._ranks)))}

    def pull(self, content: dict[str, Any]) -> dict[str, Any]:
        numbers = range(len(self._ranks)) if content["ranks"] == "all" else map(int, content["ranks"].split(","))
        payloads = []
        for number in numbers:
            reply = self._ranks[number].ask("pull_request", {"names": content["names"]})
            if reply["status"] != "ok":
                return failing("TransferError", f"rank {number}: {reply['evalue']}; nothing was pulled")
            payloads.append({"rank": number, "payload": reply["payload"]})
        return {"payloads": payloads}
