"""The server's side of the protocol, for tests: starts a node and talks to it and to its processes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

import zmq

from dip_agent.wire import Codec, Message, encode

AGENT_DIR = Path(__file__).resolve().parents[1] / "src"
TIMEOUT = 60.0  # seconds until a test that waits gives up


def meeting(ranks: int, **ports: int) -> dict[str, Any]:
    """Return the `rendezvous` of a spawn_request: of a pool of so many ranks, on this host."""
    return {"address": "127.0.0.1", "ranks": ranks, **ports}


class Peer:
    """One DEALER, to one process."""

    def __init__(self, path: str, key: bytes):
        self.codec = Codec(key)
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.connect(f"ipc://{path}")
        self.inbox: list[Message] = []
        self.acks = True
        self.output: list[tuple[str, bytes]] = []  # (stream, bytes)
        self.seq = 0

    def send(self, msg_type: str, content: dict[str, Any] | None = None) -> str:
        """Send a message, return its id."""
        frames = self.codec.pack(msg_type, encode(content or {}))
        self.socket.send_multipart(frames)
        return json.loads(frames[2])["msg_id"]

    def poll(self, timeout: float = 0.05) -> bool:
        """Move one message, if one comes in time, to the inbox; streams also to `output`, acknowledged."""
        if not self.socket.poll(timeout * 1000):
            return False
        message = self.codec.unpack(self.socket.recv_multipart())
        self.inbox.append(message)
        if message.type == "stream":
            self.take(message.content["name"], message.content["seq"], message.buffers[0])
            if self.acks:
                self.send("stream_ack", {"seq": self.seq})
        return True

    def take(self, name: str, seq: int, data: bytes) -> None:
        """Append output that ends at `seq`, except what has come before."""
        assert seq - len(data) <= self.seq, "output is missing"
        if new := data[len(data) - max(0, seq - self.seq) :] if seq > self.seq else b"":
            self.output.append((name, new))
        self.seq = max(seq, self.seq)

    def wait(self, condition: Callable[[Message], bool], what: str = "message") -> Message:
        """Return the first message for which `condition` holds and take it out of the inbox."""
        deadline = time.monotonic() + TIMEOUT
        checked = 0
        while True:
            for index in range(checked, len(self.inbox)):
                if condition(self.inbox[index]):
                    return self.inbox.pop(index)
            checked = len(self.inbox)
            if not self.poll() and time.monotonic() > deadline:
                got = [(m.type, m.content) for m in self.inbox]
                raise AssertionError(f"no {what}; got {got}{self.busy_with()}")

    def reply(self, request: str, msg_type: str) -> dict[str, Any]:
        """Return the content of the reply to `request`."""
        return self.wait(lambda m: m.type == msg_type and parent(m) == request, msg_type).content

    def ask(self, msg_type: str, content: dict[str, Any] | None = None, reply: str = "") -> dict[str, Any]:
        """Send a request, return the content of its reply."""
        return self.reply(self.send(msg_type, content), reply or msg_type.replace("_request", "") + "_reply")

    def busy_with(self) -> str:
        """Say what the peer is busy with, for the error of a test that has waited in vain."""
        return ""

    def text(self, name: str = "") -> str:
        """Return what was printed so far on one stream or on both."""
        return b"".join(data for stream, data in self.output if name in ("", stream)).decode("utf-8", "replace")

    def close(self) -> None:
        self.context.destroy(linger=0)


class Process(Peer):
    """A rank or local namespace."""

    def __init__(self, path: str, key: bytes, facts: dict[str, Any]):
        super().__init__(path, key)
        self.pid = facts["pid"]
        self.name = facts["name"]

    def start(self, code: str, path: str = "", line: int = 1, **options: Any) -> str:
        return self.send("execute_request", {"code": code, "path": path, "line": line, **options})

    def finish(self, request: str) -> Result:
        before = len(self.output)
        content = self.reply(request, "execute_reply")
        mine = [m for m in self.inbox if parent(m) == request]
        self.inbox = [m for m in self.inbox if parent(m) != request]
        return Result(content, mine, self.output[before:])

    def run(self, code: str, path: str = "", line: int = 1, **options: Any) -> Result:
        return self.finish(self.start(code, path, line, **options))

    def busy_with(self) -> str:
        request = self.send("stack_request")
        for _ in range(100):
            self.poll()
            for message in self.inbox:
                if parent(message) == request:
                    return f"; its stacks: {json.dumps(message.content, indent=1)}"
        return "; it does not tell its stacks"

    def wait_output(self, text: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while text not in self.text():
            self.poll()
            assert time.monotonic() < deadline, f"{text!r} was not printed, but {self.text()[-2000:]!r}"


class Result:
    """What a cell did."""

    def __init__(self, content: dict[str, Any], messages: list[Message], output: list[tuple[str, bytes]]):
        self.content = content
        self.status = content["status"]
        self.messages = messages
        self.output = output

    def text(self, name: str = "") -> str:
        return b"".join(data for stream, data in self.output if name in ("", stream)).decode("utf-8", "replace")

    def all(self, msg_type: str) -> list[dict[str, Any]]:
        return [m.content for m in self.messages if m.type == msg_type]

    @property
    def error(self) -> dict[str, Any]:
        errors = self.all("error")
        assert len(errors) == 1, errors
        return errors[0]


class Node(Peer):
    """A node, as the server starts it."""

    def __init__(self, runtime_dir: Path, script: str = "", python: str = sys.executable, env: dict | None = None):
        runtime_dir.mkdir(mode=0o700)
        self.runtime_dir = runtime_dir
        self.log_path = runtime_dir.parent / "node.log"
        key = secrets.token_bytes(32)
        ready_read, ready_write = os.pipe()
        source = fcntl.fcntl(ready_write, fcntl.F_DUPFD_CLOEXEC, 100)  # a number above the one that it becomes
        with open(self.log_path, "wb") as log:
            self.popen = subprocess.Popen(
                [python, str(AGENT_DIR)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=runtime_dir.parent,
                env={**os.environ, **(env or {})},
                close_fds=False,
                preexec_fn=lambda: (os.setpgid(0, 0), os.dup2(source, 3)),
            )
        for fd in (ready_write, source):
            os.close(fd)
        line = {
            "protocol": 1,
            "host": "",
            "runtime_dir": str(runtime_dir),
            "name": "node",
            "key": key.hex(),
            "script": script,
            "extra_path": [],
            "log_level": "info",
        }
        self.popen.stdin.write(json.dumps(line).encode() + b"\n")
        self.popen.stdin.flush()
        with open(ready_read, encoding="utf-8") as ready:
            self.ready = json.loads(ready.readline() or "{}")
        self.processes: list[Process] = []
        self.generation = 0
        super().__init__(f"{runtime_dir}/node", key)
        if self.ready.get("ready"):
            self.facts = self.ask("hello", {"protocol": 1})

    def spawn(
        self,
        ranks: int = 0,
        app: str = "none",
        method: str = "auto",
        env: dict | None = None,
        hello: bool = True,
        **options: Any,
    ) -> list[Process]:
        """Start a pool of `ranks` ranks, or with 0 the local namespace; `options` are more fields of each process."""
        self.generation += 1
        wanted = []
        for rank in range(ranks) if ranks else [None]:
            name = f"l-{self.generation}" if rank is None else f"r{rank}-{self.generation}"
            variables: dict[str, str] = {}
            if rank is not None:
                for variable in ("RANK", "LOCAL_RANK"):
                    variables[variable] = str(rank)
                for variable in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
                    variables[variable] = str(ranks)
                variables["GROUP_RANK"] = "0"
                variables["TORCHELASTIC_RUN_ID"] = f"run-{self.generation}"
                variables["TORCHELASTIC_RESTART_COUNT"] = "0"
            wanted.append(
                {
                    "name": name,
                    "rank": rank,
                    "key": secrets.token_hex(32),
                    "env": {**variables, **(env or {})},
                    "app": app,
                    **options,
                }
            )
        self.spawned = self.ask("spawn_request", {"method": method, "rendezvous": meeting(ranks), "processes": wanted})
        if self.spawned["status"] != "ok":
            return []
        made = [
            Process(f"{self.runtime_dir}/{process['name']}", bytes.fromhex(process["key"]), facts)
            for process, facts in zip(wanted, self.spawned["processes"])
        ]
        self.processes += made
        if hello:
            requests = [process.send("hello", {"protocol": 1}) for process in made]
            for process, request in zip(made, requests):
                process.hello = process.reply(request, "hello_reply")
        return made

    def exited(self, name: str) -> Message:
        """Wait for the news that a process has ended."""
        return self.wait(lambda m: m.type == "exited" and m.content["name"] == name, f"exited of {name}")

    def bury(self, process: Process) -> dict[str, Any]:
        """Wait for the end of a process, add its tail to its output and return the news."""
        message = self.exited(process.name)
        while process.poll(0.2):
            pass
        data = message.buffers[0]
        for part in message.content["tail"]:
            process.take(part["name"], part["seq"], data[: part["size"]])
            data = data[part["size"] :]
        return message.content

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def close(self) -> None:
        """Go away like a server that crashed, and wait for the node's end."""
        for process in self.processes:
            process.close()
        super().close()
        self.popen.stdin.close()
        self.popen.wait(TIMEOUT)


def plain(error: dict[str, Any]) -> str:
    """Return the traceback of an error without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error["traceback"]))


def parent(message: Message) -> str:
    return message.parent_id


def wait_until(condition: Callable[[], bool], what: str = "condition") -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what} in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"
