"""From `python AGENT_DIR` to a node, or to a process that a node spawned.

It imports only the standard library until it knows that the other packages are there.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from typing import Any

from . import limits, paths, system

_NEEDED = ("IPython", "zmq", "cloudpickle")
_READY_FD = 3


def main(argv: list[str], agent_dir: str) -> int:
    """Be a node (no arguments), a spawned process (`child`) or a part of a host's agent, or `check` cells.

    Returns the exit status.
    """
    if argv[1:] == ["child"]:
        return _child()
    if argv[1:] == ["check"]:
        return _check()
    if argv[1:] and argv[1] in ("relay", "supervisor", "machine", "carrier", "project"):
        part = importlib.import_module(f".hosts.{argv[1]}", __package__)
        return int(part.main(agent_dir))
    return _node(agent_dir)


def _node(agent_dir: str) -> int:
    os.set_inheritable(_READY_FD, False)
    inherited = system.open_fds()
    start: dict[str, Any] = json.loads(sys.stdin.buffer.raw.readline())
    paths.hide(paths.folder_of(start.get("script", "")), "")
    _extend_path(start["extra_path"])
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return _not_ready(error=f"{sys.executable} lacks {', '.join(missing)}", missing=missing)
    try:
        from .node import Node
        from .rank import configure_logging

        # The log gets a descriptor of its own: in a forked process 2 is what the user prints to.
        log_fd = os.dup(2)
        configure_logging(log_fd, start["log_level"], start["name"])
        from .shell import Shell

        node = Node(start, agent_dir, log_fd, Shell.make, system.open_fds() - inherited)
    except Exception as err:
        return _not_ready(error=f"{type(err).__name__}: {limits.explain(err)}")
    pid = os.getpid()
    _say({"ready": True, "pid": pid, "start_time": system.start_time(pid)})
    node.run()
    return 0


def _child() -> int:
    from .spec import Spec

    with open(0, encoding="utf-8", closefd=False) as file:
        spec = Spec.from_json(file.read())
    system.close_fds_except(spec.fds())  # not what the node has inherited from elsewhere
    paths.hide(paths.folder_of(spec.script), "")
    _extend_path(spec.extra_path)
    from . import children, rank
    from .shell import Shell

    rank.configure_logging(spec.log, spec.log_level, spec.name)
    children.become(spec)
    shell = Shell.make()
    paths.show(spec.script)
    code = rank.main(spec, shell)
    os._exit(code)


def _check() -> int:
    """Compile the cells of files. The request is on standard input, and the answer a line on standard output."""
    request: dict[str, Any] = json.load(sys.stdin.buffer)  # UTF-8, whatever the locale says
    paths.hide(*{paths.folder_of(cell["path"]) for file in request["files"] for cell in file["cells"]}, "")
    _extend_path(request["extra_path"])
    if missing := [name for name in ("IPython", "cloudpickle") if importlib.util.find_spec(name) is None]:
        print(json.dumps({"missing": missing}))
        return 0
    from . import check

    print(json.dumps(check.main(request)))
    return 0


def _extend_path(extra: list[str]) -> None:
    sys.path.extend(path for path in extra if path not in sys.path)


def _not_ready(**facts: Any) -> int:
    _say({"ready": False, **facts})
    return 1


def _say(line: dict[str, Any]) -> None:
    os.write(_READY_FD, json.dumps(line).encode() + b"\n")
    os.close(_READY_FD)
