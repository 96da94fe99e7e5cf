"""Interrupt, status, stack and shutdown; messages that must be dropped."""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from harness import Peer, Process, alive, wait_until

PATH = "/project/train.py"


def busy(process: Process, request: str) -> None:
    """Wait until a request runs."""
    wait_until(lambda: process.ask("status_request", reply="status")["msg_id"] == request, "a busy process")


def places(process: Process) -> list[tuple[str, int, str]]:
    """Return where the main thread is."""
    frames = process.ask("stack_request")["threads"][0]["frames"]
    return [(frame["file"], frame["line"], frame["name"]) for frame in frames]


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "import asyncio; await asyncio.sleep(1000)",
        "import asyncio\nasync def f():\n    await asyncio.sleep(1000)\nawait asyncio.gather(f(), f())",
        "async def f():\n    while True: pass\nawait f()",
        "import asyncio; asyncio.run(asyncio.sleep(1000))",
        "import os; os.system('sleep 1000'); import time; time.sleep(1000)",
        "!sleep 1000",
        "import subprocess; subprocess.run(['sleep', '1000'])",
        "import threading; threading.Event().wait()",
        "import queue; queue.Queue().get()",
        "import time\nwhile True:\n    try: time.sleep(1000)\n    except Exception: pass",
    ],
)
def test_interrupt(local, code):
    request = local.start(code, PATH, 5)
    busy(local, request)
    assert local.ask("interrupt_request", {"parent": request})["status"] == "ok"
    while True:
        # os.system ignores SIGINT while its child takes it, as it does in a terminal; hence more than once.
        if any(m.type == "execute_reply" for m in local.inbox):
            break
        if not local.poll(0.5):
            local.ask("interrupt_request", {"parent": request})
    result = local.finish(request)
    assert (result.status, result.content["ename"], result.error["ename"]) == (
        "error",
        "KeyboardInterrupt",
        "KeyboardInterrupt",
    )
    assert local.ask("status_request", reply="status")["execution_state"] == "idle"
    after = local.run("print('on')")
    assert (after.status, after.text()) == ("ok", "on\n")


def test_interrupted_await_cleans_up_and_does_not_go_on(local):
    code = """
import asyncio
try:
    print("asleep")
    await asyncio.sleep(1000)
finally:
    print("cleaned")
print("never")
"""
    request = local.start(code)
    local.wait_output("asleep")
    local.send("interrupt_request", {"parent": ""})
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    assert local.text() == "asleep\ncleaned\n"
    assert local.run("await asyncio.sleep(0.01); print('new')").text() == "new\n"


def test_interrupt_in_a_destructor_is_not_lost(local, tmp_path):
    """Python ignores exceptions in `__del__`, so the interrupt strikes after it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"""
import os, time
fd = os.open({str(fifo)!r}, os.O_RDWR)
class Slow:
    def __del__(self):
        print("dying")
        os.read(fd, 1)
Slow()
time.sleep(30)
"""
    request = local.start(code)
    local.wait_output("dying")
    local.ask("interrupt_request", {"parent": request})
    fifo.write_bytes(b"x")
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    assert local.run("print('on')").text() == "on\n"


def test_interrupt_is_for_its_own_request_only(local):
    local.send("interrupt_request", {"parent": ""})
    local.run("x = 1")
    local.send("interrupt_request", {"parent": "nobody_1"})
    assert local.run("sum(range(100000)); print('whole')").text() == "whole\n"
    # A stale one, for a request that has just ended.
    for _ in range(30):
        request = local.start("y = 2")
        local.send("interrupt_request", {"parent": request})
        following = local.start("for _ in range(2000): pass\nprint('whole')")
        assert local.finish(request).status in ("ok", "error", "aborted")
        assert local.finish(following).status == "ok"


def test_queued_request_is_aborted(local):
    running = local.start("import time; time.sleep(1000)")
    queued = local.start("print('never')")
    last = local.start("print('last')")
    busy(local, running)
    local.ask("interrupt_request", {"parent": queued})
    local.ask("interrupt_request", {"parent": running})
    assert local.finish(running).content["ename"] == "KeyboardInterrupt"
    aborted = local.finish(queued)
    assert (aborted.status, aborted.messages) == ("aborted", [])
    assert local.finish(last).text() == "last\n"


def test_signal_from_outside_when_idle_and_when_busy(local):
    os.kill(local.pid, signal.SIGINT)
    assert local.run("1").status == "ok"
    request = local.start("while True: pass")
    busy(local, request)
    os.kill(local.pid, signal.SIGINT)
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"


def test_users_own_handlers(local):
    local.run(
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGUSR1, lambda *_: 1 / 0)"
    )
    os.kill(local.pid, signal.SIGUSR1)  # raises in the loop that waits for requests
    local.wait_output("ZeroDivisionError")
    request = local.start("while True: pass")
    busy(local, request)
    local.send("interrupt_request", {"parent": request})
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"


def test_stack_while_busy_and_idle(local):
    code = "import time\ndef deep():\n    time.sleep(1000)\ndeep()"
    request = local.start(code, PATH, 40, run="r-1")
    wait_until(lambda: places(local)[-1:] == [(PATH, 42, "deep")], "the cell")
    threads = local.ask("stack_request")["threads"]
    (main,) = [thread for thread in threads if thread["main"]]
    assert main["frames"] == [
        {"file": PATH, "line": 43, "name": "<module>", "run": "r-1", "source": "deep()"},
        {"file": PATH, "line": 42, "name": "deep", "run": "r-1", "source": "time.sleep(1000)"},
    ]
    assert threads == [main]  # none of ours
    local.send("interrupt_request", {"parent": request})
    local.finish(request)
    assert places(local) == []


def test_names_while_busy_and_idle(local):
    local.run("x = 1; größe = 2")
    assert local.ask("names_request", {"names": ["größe", "y", "x", "print"]})["names"] == ["größe", "x"]
    request = local.start("y = 3\nwhile True: pass")
    busy(local, request)
    wait_until(lambda: local.ask("names_request", {"names": ["y", None, []]})["names"] == ["y"], "the assignment")
    assert local.ask("names_request", {"names": "xy"})["names"] == []
    local.send("interrupt_request", {"parent": request})
    local.finish(request)


def test_unknown_request_is_answered(local):
    assert local.ask("nonsense_request")["status"] == "error"


def test_a_torch_that_is_unknown_costs_no_cell(node, spawn):
    (rank,) = spawn(node, 1)
    code = """
    import sys, types
    torch = types.ModuleType("torch.distributed.distributed_c10d")
    torch.is_initialized = lambda: 1 / 0
    torch.ProcessGroup = object
    sys.modules[torch.__name__] = torch
    """
    assert rank.run(textwrap.dedent(code)).status == "ok"
    assert rank.run("print(1)").text() == "1\n"
    assert rank.ask("groups_request", reply="groups_reply")["status"] == "error"
    assert rank.run("del sys.modules[torch.__name__]; print(2)").text() == "2\n"


def test_shutdown(node, spawn):
    (process,) = spawn(node)
    process.run("import atexit; atexit.register(print, 'goodbye')")
    assert process.ask("shutdown_request", {"restart": False})["status"] == "ok"
    assert process.text() == "goodbye\n"
    news = node.bury(process)
    assert (news["code"], news["signal"], news["asked"]) == (0, None, False)
    assert not (node.runtime_dir / process.name).exists()


def test_shutdown_waits_for_its_turn(node, spawn):
    (process,) = spawn(node)
    request = process.start("import time; time.sleep(0.2); print('done')")
    assert process.ask("shutdown_request", {})["status"] == "ok"
    assert process.finish(request).status == "ok"
    assert process.text() == "done\n"
    node.bury(process)


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"<IDS|MSG>"],
        [b"\0" * 5_000_000],
        [b"<IDS|MSG>", b"0" * 64, b"{}", b"{}", b"{}", b"{}"],
        [b"x"] * 1000,
        [b"<IDS|MSG>", b"\xff", b"\xff", b"\xff", b"\xff", b"\xff"],
    ],
)
def test_garbage_is_dropped(node, local, frames):
    for peer in (node, local):
        peer.socket.send_multipart(frames)
    assert local.run("1").status == "ok"
    assert node.ask("hello")["status"] == "ok"
    assert "dropped a message" in node.log()


def test_strangers_are_not_heard(node, local):
    """Neither a wrong key, nor the right one in another session, nor a replay gets an answer or an effect."""
    path = f"{node.runtime_dir}/{local.name}"
    stranger = Peer(path, secrets.token_bytes(32))
    stranger.send("execute_request", {"code": "hacked = 1"})
    right_key = Peer(path, b"")
    right_key.codec._mac = local.codec._mac
    right_key.send("execute_request", {"code": "hacked = 1"})
    frames = local.codec.pack("execute_request", b'{"code": "n = globals().get(\'n\', 0) + 1"}')
    for _ in range(3):
        local.socket.send_multipart(frames)
    assert local.run("print(n, 'hacked' in globals())").text() == "1 False\n"
    assert "wrong signature" in node.log()
    assert not stranger.poll(0.1)
    assert not right_key.poll(0.1)
    stranger.close()
    right_key.close()


def test_status_before_the_app_has_joined(torch_node, spawn):
    """A rank that waits for peers that never come answers, shows its stack and can be interrupted."""
    (rank,) = spawn(torch_node, 1, app="torch", env={"WORLD_SIZE": "2"}, hello=False)
    assert rank.ask("status_request", reply="status")["execution_state"] == "starting"
    hello = rank.send("hello", {"protocol": 1})
    wait_until(lambda: "init_process_group" in [name for _, _, name in places(rank)], "the joining")
    torch_node.ask("signal_request", {"name": rank.name, "signal": "SIGTERM"})
    news = torch_node.exited(rank.name).content
    assert (news["signal"], news["asked"]) == ("SIGTERM", True)
    assert not alive(rank.pid)
    assert hello


def io_thread_switches(process: Process) -> int:
    """How often the I/O thread has gone to sleep."""
    ident = process.run(
        "import threading; print([t.native_id for t in threading.enumerate() if t.name == 'dipls I/O'][0])"
    )
    status = Path(f"/proc/{process.pid}/task/{int(ident.text())}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, both threads are woken")
def test_short_cells_that_print_nothing_wake_one_thread(local):
    before = io_thread_switches(local)
    for _ in range(300):
        assert local.run("pass").status == "ok"
        # A request that comes before the main thread waits for it would wake the other one.
        wait_until(lambda: main_thread_sleeps(local.pid), "the main thread's sleep")
    assert io_thread_switches(local) - before < 300


def main_thread_sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(") ")[2][0] == "S"


def test_background_output_and_requests_at_once(local):
    """Whoever of two threads is at the socket, no message is overlooked."""
    local.run(
        "import threading, time\n"
        "def talk():\n"
        "    for n in range(400):\n"
        "        print('talk', n)\n"
        "        time.sleep(0.001)\n"
        "talker = threading.Thread(target=talk); talker.start()"
    )
    runs = 0
    while "talk 399\n" not in local.text():
        assert local.run("pass").status == "ok"
        assert local.ask("status_request", reply="status")["execution_state"] == "idle"
        runs += 1
    assert runs
    assert local.text() == "".join(f"talk {n}\n" for n in range(400))


def test_a_busy_process_answers_at_once(local):
    """Whatever keeps the main thread: here a signal handler, while it has nothing to do otherwise."""
    local.run("import signal, time; signal.signal(signal.SIGUSR1, lambda *_: print('in') or time.sleep(1000));")
    os.kill(local.pid, signal.SIGUSR1)
    local.wait_output("in")
    assert local.ask("status_request", reply="status")["execution_state"] == "idle"
    assert places(local)[-1][2] == "<lambda>"


def test_a_handler_that_prints_while_the_ring_is_full(local):
    """The server goes on taking what is printed, so there is room again."""
    local.acks = False
    request = local.start(
        "import signal, threading\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'));\n"
        "threading.Thread(target=lambda: [print('y' * 1000) for _ in range(5000)]).start()"
    )
    while len(local.text()) < 1_000_000:
        local.poll()
    os.kill(local.pid, signal.SIGUSR1)
    local.acks = True
    local.send("stream_ack", {"seq": local.seq})
    assert local.finish(request).status == "ok"
    local.wait_output("handled\n")
    assert local.run("print('on')").status == "ok"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="older Pythons let a handler strike where `finally` begins")
def test_a_signal_handler_that_raises_loses_no_request(local):
    """It may strike at any moment, between two cells, too."""
    assert (
        local.run("""
import signal
class Struck(BaseException): pass
def strike(*_): raise Struck
signal.signal(signal.SIGALRM, strike);
""").status
        == "ok"
    )
    for n in range(60):
        requests = [
            local.start(f"signal.setitimer(signal.ITIMER_REAL, {0.0001 + n % 30 / 10000})"),
            local.start("x = 1"),
        ]
        for request in requests:
            assert local.finish(request).status in ("ok", "error")
    local.finish(local.start("signal.setitimer(signal.ITIMER_REAL, 0)"))  # the last one may be still to come
    assert local.run("print(x + 1)").text() == "2\n"  # and not `x + 1`: IPython's own hook may have been struck out


@pytest.mark.parametrize(
    "code",
    [
        "import multiprocessing; a, b = multiprocessing.Pipe()\na.recv()",
        "import socket; a, b = socket.socketpair()\na.recv(1)",
        "import threading\nthreading.Semaphore(0).acquire()",
        "import os\nos.read(os.pipe()[0], 1)",
    ],
)
def test_where_a_rank_without_torch_waits(node, spawn, code):
    (rank,) = spawn(node, 1)
    request = rank.start(code, PATH, 5, run="r-1")
    wait_until(lambda: (PATH, 6, "<module>") in places(rank), "the wait")
    told = rank.ask("groups_request")
    assert (told["groups"], told["operations"], told["running"]) == ([], [], request)
    assert told["threads"][0]["frames"][0] == {"file": PATH, "line": 6, "name": "<module>", "run": "r-1"}
    rank.ask("interrupt_request", {"parent": request})
    assert rank.finish(request).content["ename"] == "KeyboardInterrupt"


def test_a_second_interrupt_leaves_the_first_ones_traceback_as_it_is(local):
    local.run("""
        import os, signal
        def slow(*args, _tracebacks=get_ipython().InteractiveTB.structured_traceback, **named):
            os.kill(os.getpid(), signal.SIGINT)
            return _tracebacks(*args, **named)
        get_ipython().InteractiveTB.structured_traceback = slow
    """)
    result = local.run("x = 1\nraise KeyboardInterrupt", PATH, 5)
    assert [(frame["file"], frame["line"]) for frame in result.error["frames"]] == [(PATH, 6)]
    assert result.content["ename"] == "KeyboardInterrupt"
    assert sum(m.type == "error" for m in result.messages) == 1
    assert local.run("print('on')").text() == "on\n"


def test_an_interrupt_does_not_show_what_we_have_caught_before(local):
    caught = "try:\n    raise RuntimeError('broken')\nexcept RuntimeError:\n    raise KeyboardInterrupt"
    result = local.run(f"import dip_agent\nexec(compile({caught!r}, dip_agent.__file__, 'exec'))", PATH, 5)
    assert [(frame["file"], frame["line"]) for frame in result.error["frames"]] == [(PATH, 6)]
    assert result.error["ename"] == "KeyboardInterrupt"
    assert "RuntimeError: broken" not in "\n".join(result.error["traceback"])


def test_an_interrupt_in_torch_is_shown_at_the_users_line(local):
    """Its own stacks are long, and take a second to render."""
    own = r'exec(compile("def wait(): raise KeyboardInterrupt", "/lib/torch/wait.py", "exec"))'
    for code, lines in ((f"{own}\nwait()", [6]), (f"{own}\ndef f(): raise KeyboardInterrupt\nf()", [7, 6])):
        ended = local.finish(local.start(code, PATH, 5))
        assert ended.content["ename"] == "KeyboardInterrupt"
        assert [frame["line"] for frame in ended.error["frames"]] == lines


def test_an_interrupt_behind_torch_is_shown_at_the_users_line(local):
    ours = "exec(compile('raise KeyboardInterrupt', dip_agent.__file__, 'exec'))"
    result = local.run(f"import dip_agent\nexec(compile({ours!r}, '/lib/torch/hooks.py', 'exec'))", PATH, 5)
    assert [(frame["file"], frame["line"]) for frame in result.error["frames"]] == [(PATH, 6)]
