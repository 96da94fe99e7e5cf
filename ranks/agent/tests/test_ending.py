"""The end of a process: it waits for what Python waits for, in that order, and tells what is cut off."""

from __future__ import annotations

import pytest
from harness import alive, parent, wait_until

BACKGROUND = """
import atexit, os, threading, time, weakref
from concurrent.futures import ThreadPoolExecutor
def later(text):
    while not os.path.exists({go!r}): time.sleep(0.01)
    print(text + "\\n", end="", flush=True)
class Loud:
    def __del__(self): print("finaliser of the namespace")
loud = Loud()
loud.cycle = loud
thread = threading.Thread(target=later, args=("thread",))
thread.start()
executor = ThreadPoolExecutor(1)
futures = [executor.submit(later, f"future {{n}}") for n in range(3)]
idle = ThreadPoolExecutor(1)
idle.submit(int).result()
atexit.register(print, "exit handler")
weakref.finalize(loud, print, "finaliser")
"""
APP = "def initializer(): pass\ndef finalizer(): print('app left')\n"


def state(process) -> str:
    return process.ask("status_request", reply="status").get("waits_for", "")


@pytest.fixture
def go(tmp_path):
    """A file that what waits in the background waits for."""
    path = tmp_path / "go"
    yield path
    path.touch()


@pytest.mark.parametrize("rank", [False, True])
def test_an_end_that_waits(node, spawn, go, tmp_path, rank):
    app = tmp_path / "app_of_mine.py"
    app.write_text(APP)
    (process,) = spawn(node, 1, app=str(app)) if rank else spawn(node)
    assert process.run(BACKGROUND.format(go=str(go))).status == "ok"
    request = process.send("shutdown_request", {"wait": True})
    wait_until(lambda: state(process) == "2 threads", "word of two threads")
    go.touch()
    reply = process.reply(request, "shutdown_reply")
    assert (reply["status"], reply["cut_off"]) == ("ok", {"threads": 0, "processes": 0})
    said = [line for line in process.text().splitlines() if "/gloo/" not in line]  # torch's own word on joining
    assert sorted(said[:4]) == ["future 0", "future 1", "future 2", "thread"]
    assert sorted(said[4:6]) == ["exit handler", "finaliser"]
    assert said[6:] == [*(["app left"] if rank else []), "finaliser of the namespace"]
    assert node.bury(process)["code"] == 0


def test_an_interrupt_ends_the_waiting(node, spawn, go):
    (process,) = spawn(node)
    process.run(BACKGROUND.format(go=str(go)))
    request = process.send("shutdown_request", {"wait": True})
    wait_until(lambda: state(process) == "2 threads", "word of two threads")
    process.send("interrupt_request", {"parent": ""})
    assert process.reply(request, "shutdown_reply")["cut_off"] == {"threads": 2, "processes": 0}
    assert sorted(process.text().splitlines()[:2]) == ["exit handler", "finaliser"]
    assert node.bury(process)["code"] == 0


def test_who_asks_again_does_not_wait_but_lets_exit_handlers_run(node, spawn, go, tmp_path):
    (process,) = spawn(node)
    process.run(BACKGROUND.format(go=str(go)))
    process.run(
        "@atexit.register\ndef slow():\n"
        f"    open({str(tmp_path / 'slow')!r}, 'w').close()\n"
        f"    while not os.path.exists({str(tmp_path / 'on')!r}): time.sleep(0.01)\n"
        "    print('slow one')"
    )
    request = process.send("shutdown_request", {"wait": True})
    process.send("shutdown_request", {"wait": False})
    wait_until((tmp_path / "slow").exists, "the exit handlers")
    process.send("shutdown_request", {"wait": False})
    (tmp_path / "on").touch()
    assert process.reply(request, "shutdown_reply")["cut_off"] == {"threads": 2, "processes": 0}
    assert "slow one\n" in process.text()
    assert "KeyboardInterrupt" not in process.text()
    assert node.bury(process)["code"] == 0


def test_an_end_that_does_not_wait(node, spawn, go):
    (process,) = spawn(node)
    process.run(BACKGROUND.format(go=str(go)))
    assert process.ask("shutdown_request")["cut_off"] == {"threads": 2, "processes": 0}
    assert sorted(process.text().splitlines()[:2]) == ["exit handler", "finaliser"]
    node.bury(process)


def test_exit_handlers_that_take_long(node, spawn, go):
    (process,) = spawn(node)
    code = (
        "import atexit, os, time\n@atexit.register\ndef wait():\n    while not os.path.exists({!r}): time.sleep(0.01)\n"
    )
    process.run(code.format(str(go)))
    process.run("atexit.register(lambda: 1 / 0)")
    request = process.send("shutdown_request", {"wait": True})
    wait_until(lambda: state(process) == "exit handlers", "word of exit handlers")
    go.touch()
    assert process.reply(request, "shutdown_reply")["status"] == "ok"
    assert "ZeroDivisionError" in process.text("stderr")
    node.bury(process)


def test_child_processes_are_waited_for(node, spawn, go):
    (process,) = spawn(node)
    code = (
        "import multiprocessing, os, time\n"
        "def work():\n"
        "    while not os.path.exists({!r}): time.sleep(0.01)\n"
        "    print('child done', flush=True)\n"
        "multiprocessing.get_context('fork').Process(target=work).start()"
    )
    process.run(code.format(str(go)))
    request = process.send("shutdown_request", {"wait": True})
    wait_until(lambda: state(process) == "1 child process", "word of a child")
    go.touch()
    assert process.reply(request, "shutdown_reply")["cut_off"] == {"threads": 0, "processes": 0}
    assert "child done" in process.text()
    node.bury(process)


@pytest.mark.parametrize("wait", [False, True])
def test_what_a_file_holds_back_is_written(node, spawn, tmp_path, wait):
    (process,) = spawn(node)
    process.run(f"f = open({str(tmp_path / 'log')!r}, 'w'); f.write('last words')")
    process.ask("shutdown_request", {"wait": wait})
    assert (tmp_path / "log").read_text() == "last words"
    node.bury(process)


def test_daemon_threads_say_nothing_of_what_is_taken_from_them(node, spawn):
    (process,) = spawn(node)
    code = """
import threading, time
def _step(): time.sleep(0.001)
def work():
    while True: _step()
worker = threading.Thread(target=work, daemon=True)
class Slow:
    def __del__(self, join=worker.join): join(60)
worker.start()
z = Slow()
"""
    assert process.run(code).status == "ok"
    assert process.ask("shutdown_request", {"wait": True})["status"] == "ok"
    assert process.text() == ""
    node.bury(process)


def test_an_exit_that_comes_back_from_a_cell_that_runs(node, spawn):
    """The server interrupts a cell and asks for the end at once: that interrupt is not for the exit handlers."""
    (process,) = spawn(node)
    request = process.start("import atexit, time; atexit.register(print, 'bye')\nwhile True: time.sleep(0.01)")
    wait_until(lambda: process.ask("names_request", {"names": ["atexit"]})["names"] == ["atexit"], "the cell")
    process.send("interrupt_request", {"parent": ""})
    assert process.ask("shutdown_request")["status"] == "ok"
    assert process.finish(request).content["ename"] == "KeyboardInterrupt"
    assert process.text("stdout") == "bye\n"
    node.bury(process)


@pytest.mark.parametrize("how", ["server", "sigterm"])
def test_without_a_server_processes_end_in_order(make_node, tmp_path, how):
    node = make_node()
    busy, idle, deaf = node.spawn(3)
    code = """
import atexit
@atexit.register
def goodbye():
    print("x" * (3 << 20))  # more than a server that is gone makes room for
    open({!r}, "w").write("bye")
"""
    for name, process in (("busy", busy), ("idle", idle)):
        process.run(code.format(str(tmp_path / name)))
    request = busy.start("print('runs')\nwhile True: pass")
    busy.wait_output("runs")
    deaf.start("import ctypes, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [2]); x = 1; ctypes.CDLL(None).pause()")
    wait_until(lambda: deaf.ask("names_request", {"names": ["x"]})["names"] == ["x"], "the cell")
    if how == "server":
        node.popen.stdin.close()
    else:
        node.popen.terminate()
    assert node.popen.wait(60) == 0
    assert not any(alive(process.pid) for process in (busy, idle, deaf))
    assert (tmp_path / "busy").read_text() == (tmp_path / "idle").read_text() == "bye"
    # Nobody has asked for an interrupt, so a server that is still there hears of none.
    while busy.poll(0.2):
        pass
    assert {m.type for m in busy.inbox if parent(m) == request} <= {"stream"}
