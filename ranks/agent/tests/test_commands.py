"""Waiting for the server's answer to a command: interrupts, threads, forks, and what must not be left behind."""

from __future__ import annotations

import os
import signal

import pytest
from harness import Process
from server import PATH, answer, command, run

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


def test_second_interrupt_waits_no_more(local):
    request = local.start("%makedip -n 2", PATH)
    asked = command(local)
    local.ask("interrupt_request", {"parent": request})
    ended(local, asked.content["id"])
    local.ask("interrupt_request", {"parent": request})
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    answer(local, asked, text="late")  # nobody is there for it
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
