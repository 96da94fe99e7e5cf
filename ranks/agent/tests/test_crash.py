"""What is told of a crash, and whether the kernel wanted a process's memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import stress
from harness import wait_until

from dip_agent import crash, oom

PATH = "/nöwhere/träin 🙂.py"  # faulthandler escapes what is not ASCII

NESTED = """
import ctypes, os, threading, time
def deeper(n):
    if n:
        deeper(n - 1)
    else:
        %s
threading.Thread(target=time.sleep, args=(100,), name="mine", daemon=True).start()
deeper(2)
"""


@pytest.mark.parametrize("before", ["", "async def later(): deeper(2)\n"])
@pytest.mark.parametrize(("fault", "words"), [("ctypes.string_at(0)", "Segmentation fault"), ("os.abort()", "Aborted")])
def test_a_crash_shows_the_users_line_first(node, spawn, fault, words, before):
    (process,) = spawn(node)
    code = NESTED % fault
    if before:
        code = code.replace("\ndeeper(2)\n", f"\n{before}await later()\n")
    process.start(code, path=PATH, line=10)
    node.bury(process)
    first, current, *rest = process.text("stderr").split("\n\n")
    assert first == f"Fatal Python error: {words}, at {PATH}, line 16, in deeper"
    lines = current.split("\n")
    assert lines[0].startswith("Current thread")
    assert lines[-1].startswith(f'  File "{PATH}", line ')
    assert PATH in lines[2 if "ctypes" in fault else 1]
    everything = "\n\n".join(rest)
    assert "threading.py" in everything, "the user's thread is shown"
    assert "dip_agent" not in process.text("stderr")
    assert "interactiveshell.py" not in process.text("stderr")
    assert rest[-1].startswith("(1 thread and ")
    assert rest[-1].endswith(" frames of dipls and IPython left out)\n")


def test_a_crash_of_a_fork_is_shown_as_it_comes(local):
    code = "import os, ctypes\nif os.fork() == 0:\n    ctypes.string_at(0)\nprint(os.wait()[1] & 127)"
    result = local.run(code, path="/nowhere/train.py", line=1)
    assert result.text("stdout") == f"{int(signal.SIGSEGV)}\n"
    local.wait_output('File "/nowhere/train.py", line 3 in <module>')


def test_a_report_that_is_none_of_ours():
    """What faulthandler says of a plain Python is told as it is, but for the place."""
    code = "import ctypes, faulthandler\ndef f():\n    ctypes.string_at(0)\nfaulthandler.enable()\nf()"
    report = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    head, rest = report.split("\n", 1)
    told = crash.readable(report)
    assert told.split("\n", 1)[0] == f"{head}, at <string>, line 3, in f"
    assert told.split("\n", 1)[1].strip() == rest.strip()


def test_a_report_that_was_cut():
    assert crash.readable("Fatal Python error: Seg") == "Fatal Python error: Seg\n"
    cut = 'Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File "/a.py", li'
    assert crash.readable(cut) == cut + "\n"


@pytest.mark.parametrize("again", [True, False])
def test_a_report_that_a_running_thread_cut_short(tmp_path, again):
    """faulthandler may be struck while it reads the stack of a thread that runs."""
    report = tmp_path / "report"
    head = "Fatal Python error: Bus error\n\n"
    whole = 'Thread 0x1 (most recent call first):\n  File "/a.py", line 1 in f\n\n'
    cut = f'Thread 0x2 (most recent call first):\n  File "{crash.__file__}", line 2 in g\n  File '
    end = "Fatal Python error: Segmentation fault\n\n\nExtension modules: zmq (total: 1)\n" if again else ""
    report.write_text(head + whole + cut + end)
    with open(report) as file:
        assert crash.read(file.fileno()) == head + whole + crash.CUT + "\n"
        assert crash.first_signal(file.fileno()) == ("SIGBUS" if again else "")


def test_sigkill_is_not_told_as_want_of_memory(node, spawn):
    (process,) = spawn(node)
    os.kill(process.pid, signal.SIGKILL)
    news = node.exited(process.name).content
    assert (news["signal"], news["asked"], news["oom"]) == ("SIGKILL", False, False)


@pytest.fixture
def group():
    """A control group whose processes may have 200 MB, removed at the end."""
    v1 = Path("/sys/fs/cgroup/memory")
    parent = v1 if v1.is_dir() else Path("/sys/fs/cgroup")
    made = parent / f"dipls-test-{os.getpid()}"
    try:
        made.mkdir()
        limit = made / ("memory.limit_in_bytes" if v1.is_dir() else "memory.max")
        limit.write_text(str(200 << 20))
        if not v1.is_dir():
            (made / "memory.swap.max").write_text("0")
    except OSError as err:
        if made.is_dir():
            made.rmdir()
        pytest.skip(f"control groups are for root: {err}")
    yield made

    def removed() -> bool:
        try:
            made.rmdir()
        except OSError:
            return False
        return True

    wait_until(removed, "the end of the group")


@pytest.mark.skipif(oom._log_says(os.getpid(), 0) is None, reason="the kernel's log is for root")
def test_the_kernels_log_tells_whose_memory_it_wanted(group, make_node):
    node = make_node()
    greedy, other = node.spawn(2)
    for process in (greedy, other):
        (group / "cgroup.procs").write_text(str(process.pid))
    greedy.start("x = []\nwhile True: x.append(bytearray(1 << 24))")
    os.kill(other.pid, signal.SIGKILL)
    told = {process.name: node.exited(process.name).content["oom"] for process in (other, greedy)}
    assert told == {other.name: False, greedy.name: True}


COUNTED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from dip_agent import oom
oom._log_says = lambda pid, since: None
with open(sys.argv[2], "w") as file:
    file.write(str(os.getpid()))
kills = oom.OOMKills()

def end(life):
    pid = os.fork()
    if pid == 0:
        life()
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    print(kills.killed(pid, time.monotonic()), flush=True)
    os.waitpid(pid, 0)

def greedy():
    x = []
    while True:
        x.append(bytearray(1 << 24))

end(lambda: os.kill(os.getpid(), signal.SIGKILL))
end(greedy)
end(lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_the_control_group_counts(group):
    """Where the kernel's log is for root only."""
    source = str(Path(oom.__file__).parents[1])
    run = subprocess.run(
        [sys.executable, "-c", COUNTED, source, str(group / "cgroup.procs")], capture_output=True, text=True
    )
    assert run.stdout.split() == ["False", "True", "False"], run.stderr


def test_stress_deaths_are_told_as_what_they_are(node, spawn):
    """Whatever a process does when a signal ends it, the signal is told, and what it leaves is readable."""
    chance = stress.choices()
    codes = {
        "idle": "",
        "python": "n = 0\nwhile True: n += 1",
        "prints": "while True: print('x' * 1000)",
        "native": "import time; time.sleep(1000)",
        "threads": "import threading, time\nfor _ in range(9): threading.Thread(target=time.sleep, args=(99,)).start()",
    }
    for _ in range(stress.rounds(3, 60)):
        (process,) = spawn(node)
        name, code = chance.choice(list(codes.items()))
        if code:
            process.start(code, path="/nowhere/train.py", line=1)
        for _ in range(chance.randrange(5)):
            process.poll(0.01)
        number = chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGTERM])
        if number == signal.SIGTERM and name != "native":
            number = signal.SIGKILL
        os.kill(process.pid, number)
        news = node.bury(process)
        report = process.text("stderr")
        assert (news["signal"], news["asked"], news["oom"]) == (number.name, False, False), name
        if number in (signal.SIGKILL, signal.SIGTERM):
            assert not report, name
        else:
            first, _, rest = report.partition("\n")
            assert first.startswith("Fatal Python error: "), name
            assert "dip_agent" not in first, name
            assert "of dipls and IPython left out" in rest or crash.CUT in rest, name


def test_what_is_no_log_says_nothing(monkeypatch):
    opened = os.open
    monkeypatch.setattr(os, "readlink", lambda path: oom._INITIAL_NAMESPACE)
    monkeypatch.setattr(os, "open", lambda path, flags: opened(os.devnull, flags))
    assert oom._log_says(os.getpid(), 0) is None
