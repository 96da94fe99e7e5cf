"""`input()` and `getpass()`: what is asked, what comes of the answer, and how the wait for it ends."""

from __future__ import annotations

from typing import Any

import pytest
from harness import Message, Process, Result, plain
from server import PATH


def asked(process: Process) -> Message:
    """Wait for the next question."""
    return process.wait(lambda m: m.type == "input_request", "input_request")


def reply(process: Process, question: Message, status: str = "ok", **content: Any) -> None:
    process.send("input_reply", {"id": question.content["id"], "status": status, **content})


def run(process: Process, code: str, *typed: str) -> Result:
    """Run a cell and type what it asks for."""
    request = process.start(code, PATH)
    for line in typed:
        question = asked(process)
        assert question.parent_id == request
        reply(process, question, value=line)
    return process.finish(request)


def test_lines_are_typed(local):
    code = """
import getpass
from getpass import getpass as same
print(repr(input()), repr(input("name? ")), repr(getpass.getpass()), repr(same("key: ", stream=None)))
"""
    request = local.start(code, PATH)
    questions = []
    for line in ("", "Ada é", "s3cret", "other"):
        questions.append(asked(local))
        reply(local, questions[-1], value=line)
    result = local.finish(request)
    assert result.text() == "'' 'Ada é' 's3cret' 'other'\n"
    told = [(q.content["prompt"], q.content["password"]) for q in questions]
    assert told == [("", False), ("name? ", False), ("Password: ", True), ("key: ", True)]


def test_what_is_above_the_last_line_of_a_prompt_is_printed_before_it(local):
    request = local.start("print('x', end='')\ninput('1) a\\n2) b\\n> ')", PATH)
    question = asked(local)
    assert question.content["prompt"] == "> "
    assert local.text().endswith("x1) a\n2) b\n")
    reply(local, question, value="2")
    assert local.finish(request).status == "ok"
    request = local.start("input('x' * 5000)", PATH)
    question = asked(local)
    assert question.content["prompt"] == "x" * 1000
    reply(local, question, value="")
    assert local.text().endswith("x" * 5000 + "\n")
    assert local.finish(request).status == "ok"


@pytest.mark.parametrize(
    ("status", "ename", "words"),
    [("eof", "EOFError", ""), ("error", "NoKeyboardError", "no keyboard is connected")],
)
@pytest.mark.parametrize("code", ["input('name? ')", "import getpass; getpass.getpass()"])
def test_nothing_is_typed(local, code, status, ename, words):
    request = local.start(code, PATH)
    reply(local, asked(local), status)
    result = local.finish(request)
    assert result.error["ename"] == ename
    assert words in plain(result.error)


def test_an_interrupt_ends_the_wait(local):
    request = local.start("try:\n    input('name? ')\nfinally:\n    print('left')", PATH)
    question = asked(local)
    local.ask("interrupt_request", {"parent": request})
    local.wait(lambda m: m.type == "input_end" and m.content["id"] == question.content["id"], "input_end")
    reply(local, question, "aborted")
    result = local.finish(request)
    assert (result.error["ename"], result.text()) == ("KeyboardInterrupt", "left\n")
    assert "dip_agent" not in plain(result.error)
    assert run(local, "print(input())", "again").text() == "again\n"


def test_a_loop_that_asks_again_can_be_interrupted(local):
    code = "while True:\n    try:\n        input('? ')\n    except KeyboardInterrupt:\n        print('no')"
    request = local.start(code, PATH)
    question = asked(local)
    local.ask("interrupt_request", {"parent": request})
    local.wait(lambda m: m.type == "input_end", "input_end")
    reply(local, question, "aborted")
    result = local.finish(request)
    assert (result.error["ename"], result.text()) == ("EOFError", "no\n")


def test_pdb_can_be_used(local):
    result = run(local, "x = 41\nimport pdb; pdb.set_trace()\nprint('end', x)", "p x + 1", "x = 3", "c")
    assert "\n42\n" in local.text()
    assert result.text().endswith("end 3\n")


def test_only_the_process_of_a_running_cell_asks(local):
    forks = """
import os
pid = os.fork()
if pid == 0:
    try:
        input()
    except Exception as err:
        print(type(err).__name__, flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    assert run(local, forks).text() == "NoKeyboardError\n"
    threads = """
import threading
go = threading.Event()
def ask():
    go.wait()
    try:
        input()
    except Exception as err:
        print("thread:", type(err).__name__, flush=True)
class Late:
    def __repr__(self):
        return input()
late = Late()
threading.Thread(target=ask).start()
"""
    assert run(local, threads).status == "ok"
    local.ask("variables_request", {"timeout": 5})  # which looks at `late`
    assert not any(m.type == "input_request" for m in local.inbox)
    request = local.start("threading.Timer(0.05, go.set).start()", PATH)
    assert local.finish(request).status == "ok"
    local.wait_output("thread: NoKeyboardError\n")


def test_a_thread_of_a_running_cell_asks(local):
    code = "import threading\nt = threading.Thread(target=lambda: print(input('t? ')))\nt.start()\nt.join()"
    assert run(local, code, "typed").text() == "typed\n"
