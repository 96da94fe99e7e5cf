"""What a node tells a process that it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Spec:
    """What a process must know about itself. All descriptors are open in the process, at these numbers."""

    name: str
    path: str  # of the socket
    key: str  # hex
    rank: int | None  # None: the local namespace
    app: str  # as in docs/apps.md
    script: str
    node: int  # pid
    ring: int
    crash: int  # a file for the stacks of a process that a signal kills
    stdout: tuple[int, int]  # read and write end
    stderr: tuple[int, int]
    lifeline: int  # its end of file means that the node is gone
    report: int  # one line of JSON goes here once the socket is bound, or could not be
    log: int
    listener: int = -1  # for rank 0: the bound socket of the process group's store
    verbose: bool = False  # of the app
    seed: int | None = None  # of all random generators; None: the system's entropy gives them their states
    plain: bool = False  # no colours in what IPython itself writes
    free_gpu: bool = True  # free torch's cached memory after cells
    gate: int = -1  # its end of file means that the store listens. Rank 0 has the end to close, others the end to read
    surroundings: dict[str, Any] = field(default_factory=dict)  # of the local namespace, as in docs/wire.md
    extra_path: list[str] = field(default_factory=list)
    log_level: str = "info"
    host: str = ""  # its name, as the server has it

    def fds(self) -> list[int]:
        """Return the descriptors, all of which must survive the start."""
        found = [
            self.ring,
            self.crash,
            *self.stdout,
            *self.stderr,
            self.lifeline,
            self.report,
            self.log,
            self.listener,
            self.gate,
        ]
        return [fd for fd in found if fd >= 0]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Spec:
        return cls(**json.loads(text))
