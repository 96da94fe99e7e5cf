"""One interrupt is one signal, whoever handles it; and a wait that was broken ends as an interrupt."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Process, wait_until

PATH = "/p/t.py"


def interrupt(process: Process, request: str) -> None:
    assert process.ask("interrupt_request", {"parent": request})["status"] == "ok"


# Counts the calls of a handler until it has not been called for longer than interrupts were once repeated.
COUNTING = """
import asyncio, select, signal, subprocess, sys, threading, time
calls = []
def heard(*_):
    calls.append(time.monotonic())
    print(f"heard {len(calls)}", flush=True)
def waits():
    return not calls or time.monotonic() - calls[-1] < 2.5
def by_handler(wait):
    signal.signal(signal.SIGINT, heard)
    print("set", flush=True)
    while waits():
        wait()
async def by_loop():
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, heard)
    print("set", flush=True)
    while waits():
        await asyncio.sleep(0.05)
async def by_cancelling():
    print("set", flush=True)
    while waits():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            heard()
"""
BY_CHILD = f"""
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.run([sys.executable, "-c", {COUNTING + "by_handler(lambda: time.sleep(0.05))"!r}])
"""


def test_a_handler_of_the_users_hears_every_interrupt_once(node, spawn):
    """Wherever it is, and however often it is interrupted."""
    cells = {
        "by_handler(lambda: time.sleep(0.05))": 1,
        "by_handler(lambda: None)": 1,
        "by_handler(lambda: select.select([], [], [], 0.05))": 2,
        "by_handler(lambda: threading.Event().wait(0.05))": 3,
        "asyncio.run(by_loop())": 1,
        "await by_loop()": 2,
        BY_CHILD: 1,
    }
    if hasattr(__import__("asyncio"), "Runner"):  # since Python 3.11 it cancels what runs
        cells["signal.signal(signal.SIGINT, signal.default_int_handler); asyncio.run(by_cancelling())"] = 1
    processes = [*(spawn(node)[0] for _ in list(cells)[1:]), *spawn(node, 1)]
    requests = [process.start(COUNTING + cell) for process, cell in zip(processes, cells)]
    for process, request, times in zip(processes, requests, cells.values()):
        process.wait_output("set\n")
        for number in range(times):
            interrupt(process, request)
            process.wait_output(f"heard {number + 1}")
    for process, request, (cell, times) in zip(processes, requests, cells.items()):
        result = process.finish(request)
        heard = [line for line in process.text().splitlines() if line.startswith("heard")]
        assert heard == [f"heard {number + 1}" for number in range(times)], cell
        assert result.status == "ok", cell
        assert process.run("print('on')").text() == "on\n"


def test_ignored_and_default_handlers(node, spawn):
    ignoring, raising, dying = (spawn(node)[0] for _ in range(3))
    code = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.{})\nprint('set')\ntime.sleep({})\nprint('went on')"
    )
    requests = [
        process.start(code.format(handler, seconds), PATH)
        for process, handler, seconds in (
            (ignoring, "SIG_IGN", 2),
            (raising, "default_int_handler", 1000),
            (dying, "SIG_DFL", 1000),
        )
    ]
    for process, request in zip((ignoring, raising, dying), requests):
        process.wait_output("set\n")
        if process is not dying:
            interrupt(process, request)
    dying.send("interrupt_request", {"parent": requests[2]})
    assert node.bury(dying)["signal"] == "SIGINT"
    result = raising.finish(requests[1])
    assert (result.content["ename"], [frame["line"] for frame in result.error["frames"]]) == ("KeyboardInterrupt", [4])
    result = ignoring.finish(requests[0])
    assert (result.status, ignoring.text()) == ("ok", "set\nwent on\n")
    # It was for that cell.
    request = ignoring.start("print('again'); time.sleep(1000)")
    ignoring.wait_output("again")
    interrupt(ignoring, request)
    assert ignoring.finish(request).content["ename"] == "KeyboardInterrupt"


def test_a_handler_between_cells(local):
    local.run("import signal, time; signal.signal(signal.SIGINT, lambda *_: print('heard'));")
    interrupt(local, "")  # nothing runs
    os.kill(local.pid, signal.SIGINT)
    local.wait_output("heard")
    request = local.start("print('runs'); time.sleep(1000)")
    local.wait_output("runs")
    interrupt(local, request)
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    assert local.text() == "heard\nruns\n"


def test_a_signal_from_outside_is_not_taken_for_one_that_a_handler_has_had(local):
    code = "import signal, time\nsignal.signal(signal.SIGINT, lambda *_: print('heard'))\nprint('set')\ntime.sleep(0.5)"
    request = local.start(code)
    local.wait_output("set\n")
    interrupt(local, request)
    assert local.finish(request).status == "ok"
    request = local.start("print('runs'); time.sleep(1000)")
    local.wait_output("runs")
    os.kill(local.pid, signal.SIGINT)
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"


# Waits that were broken.


def waits(rank: Process) -> bool:
    """Whether a rank is inside of an operation, and stays there."""
    first, second = rank.ask("groups_request"), rank.ask("groups_request")
    return bool(first["operations"]) and first == second


BREAKING = """
import os, signal, socket, threading, torch, torch.distributed as dist
def break_groups(fifo):
    # As break_request does it, but for all connections of the groups.
    os.read(os.open(fifo, os.O_RDONLY), 1)
    store = int(os.environ["MASTER_PORT"])
    signal.getsignal(signal.SIGINT).__self__.broke()
    for fd in os.listdir("/proc/self/fd"):
        try:
            if not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(fd))) as one:
                if one.family in (socket.AF_INET, socket.AF_INET6):
                    if store not in (one.getsockname()[1], one.getpeername()[1]):
                        one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
x = torch.ones(4)
def wait():
    dist.all_reduce(x)
"""

SWALLOWED = """
while True:
    try:
        wait()
    except Exception:
        continue
"""
HEARD_BEFORE = """
import time
try:
    print("asleep")
    time.sleep(1000)
except KeyboardInterrupt:
    pass
while True:
    try:
        wait()
    except Exception:
        pass
"""


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("wait()", 6),
        ("dist.barrier()", 6),
        ("work = dist.all_reduce(x, async_op=True)\nwork.wait()", 7),
        ("dist.recv(x, 1)", 6),
        ("model(x).sum().backward()", 6),
        ("for _ in range(1):\n    try:\n        wait()\n    finally:\n        x.add_(1)", 8),
        ("try:\n    wait()\nexcept Exception as err:\n    raise ValueError('mine') from err", 0),
        (SWALLOWED, 0),
        (HEARD_BEFORE, 15),
        ("try:\n    wait()\nexcept RuntimeError:\n    pass\nwait()", 0),
        ("async def f():\n    wait()\nawait f()", 7),
    ],
)
def test_a_wait_that_was_broken_ends_as_an_interrupt(torch_node, spawn, tmp_path, code, line):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ranks = spawn(torch_node, 2, app="torch")
    setup = BREAKING + "model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))\n"
    requests = [rank.start(setup + "model(x).sum().backward()", PATH, 100, run="r-0") for rank in ranks]
    assert [rank.finish(request).status for rank, request in zip(ranks, requests)] == ["ok", "ok"]
    ranks[0].run(f"threading.Thread(target=break_groups, args=({str(fifo)!r},), daemon=True).start()")
    request = ranks[0].start(code, PATH, 6, run="r-1")
    if code == HEARD_BEFORE:
        ranks[0].wait_output("asleep")
        interrupt(ranks[0], request)
    wait_until(lambda: waits(ranks[0]), "the wait")
    if code != HEARD_BEFORE:
        interrupt(ranks[0], request)
    fifo.write_bytes(b"x")
    result = ranks[0].finish(request)
    assert (result.content["ename"], result.error["ename"]) == ("KeyboardInterrupt", "KeyboardInterrupt")
    error = result.error
    assert not [frame for frame in error["frames"] if f"{os.sep}torch{os.sep}" in frame["file"]]
    assert "Connection" not in "\n".join(error["traceback"])
    users = [frame["line"] for frame in error["frames"] if frame.get("run") == "r-1"]
    assert users
    if line:
        assert users[-1] == line
    assert ranks[0].run("print(x.shape)").text() == "torch.Size([4])\n"
