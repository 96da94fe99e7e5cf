"""Waiting for the server's answer to a command: interrupts, threads, forks, and what must not be left behind."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Process
from server import PATH, Ranks, answer, command, run

PUSH = {"ranks": [0]}

# What waits for the server, and for which command.
WAITS = [
    ("%makedip -n 2", "make"),
    ("%makedip -i", "info"),
    ("x = 1\n%dipush x", "push"),
    ("%dipull x", "pull"),
    ("%autodip", "autodip"),
    ("%autopx", "autodip"),
    ("%px x", "run"),
    ("%%px\nx", "run"),
    ("%%dip\nx", "run"),
    ("%%dip everywhere\nx = 1", "run"),
    ("d = %dipper\nd.run('x')", "run"),
    ("d = %dipper\nd.push(x=1)", "push"),
    ("d = %dipper\nd.pull('x')", "pull"),
    ("d = %dipper\nd.interrupt()", "interrupt"),
    ("d = %dipper\nd.info()", "info"),
    ("for _ in range(3):\n    try:\n        %makedip -i\n    except Exception: pass", "info"),
]


def ended(process: Process, number: int) -> None:
    """Wait until the process says that it wants nothing more of a command."""
    process.wait(lambda m: m.type == "command_end" and m.content["id"] == number, f"command_end of {number}")


@pytest.mark.parametrize(("code", "name"), WAITS)
def test_interrupt(local, code, name):
    request = local.start(code, PATH)
    asked = command(local)
    assert asked.content["command"] == name
    local.ask("interrupt_request", {"parent": request})
    ended(local, asked.content["id"])
    assert not any(m.type == "execute_reply" for m in local.inbox)  # it waits until the server has given up
    answer(local, asked, status="aborted")
    result = local.finish(request)
    assert (result.content["ename"], result.error["ename"]) == ("KeyboardInterrupt", "KeyboardInterrupt")
    assert "dip_agent" not in "\n".join(result.error["traceback"])
    assert run(local, "%autodip", autodip={"autodip": ""}).text() == "Autodip: off\n"


@pytest.mark.parametrize("ename", ["NameError", "ValueError", "RuntimeError"])
def test_errors_are_caught_by_their_names(local, ename):
    code = f"try:\n    %dipull x\nexcept {ename} as err:\n    print(type(err).__name__, err)"
    refused = {"status": "error", "ename": ename, "evalue": "no x"}
    result = run(local, code, pull=refused)
    assert result.text() == f"{ename} no x\n"


def test_second_interrupt_waits_no_more(local):
    request = local.start("%makedip -n 2", PATH)
    asked = command(local)
    local.ask("interrupt_request", {"parent": request})
    ended(local, asked.content["id"])
    local.ask("interrupt_request", {"parent": request})
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    answer(local, asked, text="late")  # nobody waits for it any more
    assert run(local, "%autodip", autodip={"autodip": ""}).text() == "Autodip: off\n"


def test_reply_and_interrupt_at_once(local):
    for _ in range(30):
        request = local.start("x = 1\n%dipush x")
        asked = command(local)
        local.send("interrupt_request", {"parent": request})
        answer(local, asked, **PUSH)
        assert local.finish(request).status in ("ok", "error")
    assert run(local, "%dipush x", push=PUSH).status == "ok"


def test_interrupts_while_commands_come_and_go(local):
    for _ in range(30):
        request = local.start("while True: get_ipython().run_line_magic('autodip', '')")
        first = command(local)
        local.send("interrupt_request", {"parent": request})
        answer(local, first, autodip="")
        while not any(m.type == "execute_reply" for m in local.inbox):
            if (asked := next((m for m in local.inbox if m.type == "command_request"), None)) is not None:
                local.inbox.remove(asked)
                answer(local, asked, autodip="")
            local.poll(0.01)
        assert local.finish(request).content["ename"] == "KeyboardInterrupt"


def test_server_gives_up(local):
    request = local.start("%makedip -n 2")
    answer(local, command(local), status="aborted", ename="KeyboardInterrupt", evalue="interrupted")
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"


def test_errors_can_be_caught(local):
    code = "try:\n    %makedip\nexcept RuntimeError as err:\n    print(type(err).__name__, err.ename, err)"
    failure = {"status": "error", "ename": "PoolError", "evalue": "no"}
    assert run(local, code, info=failure).text() == "PoolError PoolError no\n"


def test_pull_lets_go_in_any_case(local):
    nowhere = {
        "host": "",
        "files": [{"path": "/proc/1/fd/99", "inode": 1, "size": 1}],
        "pickle": [0, 0, 1],
        "buffers": [],
        "bytes": 1,
    }
    result = run(local, "%dipull x", pull={"payloads": [{"rank": 0, "payload": nowhere}]})
    assert len(result.all("command_end")) == 1
    request = local.start("%dipull x")
    asked = command(local)
    local.ask("interrupt_request", {"parent": request})
    ended(local, asked.content["id"])
    answer(local, asked, payloads=[{"rank": 0, "payload": nowhere}])  # it was under way already
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"


def test_threads(local):
    code = """
import threading
d = %dipper
found = {}
def ask(number): found[number] = d.run(f"{number}", wait=False).id
threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
for thread in threads: thread.start()
for thread in threads: thread.join()
all(found[number] == f"run-{number}" for number in range(20))
"""
    request = local.start(code)
    asked = [command(local) for _ in range(20)]
    assert len({m.content["id"] for m in asked}) == 20
    for message in reversed(asked):
        answer(local, message, run=f"run-{message.content['code']}")
    (content,) = local.finish(request).all("execute_result")
    assert content["data"]["text/plain"] == "True"


def test_threads_that_pull_and_push(node, spawn, local):
    ranks = Ranks(spawn(node, 2))
    code = """
import threading
d = %dipper
d.push(base=1)
found = {}
def there_and_back(number):
    d.push(**{f"f{number}": lambda x: x + number + base})
    found[number] = [f(1) for f in d.pull(f"f{number}", rank="all")]
base = 1
threads = [threading.Thread(target=there_and_back, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
[found[number] for number in range(8)]
"""
    (content,) = run(local, code, push=ranks.push, pull=ranks.pull).all("execute_result")
    assert content["data"]["text/plain"] == str([[number + 2] * 2 for number in range(8)])


def test_thread_that_outlives_its_cell(local):
    code = """
import threading
def ask():
    get_ipython().run_line_magic("autodip", "on")
    print("done")
thread = threading.Thread(target=ask); thread.start()
"""
    request = local.start(code)
    asked = command(local)
    assert local.finish(request).status == "ok"
    assert local.run("x = 5").status == "ok"
    answer(local, asked, autodip="%%dip")
    local.wait_output("done")
    assert local.text() == "Autodip: on, cells run as %%dip\ndone\n"


def test_line_numbers_in_threads(local):
    code = """
import threading
barrier = threading.Barrier(2)
def first():
    barrier.wait()
    get_ipython().run_line_magic("px", "first")
def second():
    barrier.wait()
    get_ipython().run_cell_magic("dip", "", "second")
threads = [threading.Thread(target=f) for f in (first, second)]
for thread in threads: thread.start()
for thread in threads: thread.join()
%px third
"""
    done = {"run": "r", "run_status": "ok", "parts": []}
    result = run(local, code, line=100, run=done)
    assert {asked["code"]: asked["line"] for asked in result.asked} == {"first": 105, "second": 1, "third": 112}


def test_forked_process(local):
    code = """
import os
if (child := os.fork()) == 0:
    try:
        %makedip -i
    except RuntimeError as err:
        print(err)
    os._exit(0)
os.waitpid(child, 0)[1]
"""
    result = run(local, code)
    assert (result.status, result.asked) == ("ok", [])
    assert "this process was forked from the local namespace" in result.text()


def test_fork_while_a_command_waits(local):
    code = """
import os, threading
thread = threading.Thread(target=lambda: get_ipython().run_line_magic("makedip", "-i")); thread.start()
if (child := os.fork()) == 0: os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
"""
    request = local.start(code)
    asked = command(local)
    local.wait_output("7")
    answer(local, asked, pool={"state": "none", "reason": "", "size": 0})
    assert local.finish(request).status == "ok"
    assert local.text().startswith("7\nno pool; make one")


def test_signal_from_outside(local):
    request = local.start("%makedip -n 2")
    asked = command(local)
    os.kill(local.pid, signal.SIGINT)
    ended(local, asked.content["id"])
    answer(local, asked, status="aborted")
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"


def test_a_command_at_the_exit_is_refused(node, spawn):
    """The server waits for the process's end, and answers nothing any more."""
    (process,) = spawn(node)
    code = """
import atexit
%dipper d
@atexit.register
def goodbye():
    try:
        d.push(x=1)
    except RuntimeError as err:
        print(err)
"""
    assert process.run(code).status == "ok"
    assert process.ask("shutdown_request")["status"] == "ok"
    assert process.text() == "the session is ending, and the ranks cannot be reached any more\n"
