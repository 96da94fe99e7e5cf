"""Everything that a process prints arrives, in order and with bounded memory."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import time
from pathlib import Path

import pytest
from harness import wait_until

from dip_agent.link.sender import COALESCE


def test_streams_interleave_in_order(local):
    result = local.run(
        """
import os, sys, ctypes
print("1 out"); print("2 err", file=sys.stderr); os.system("echo 3 sh"); print("4 out")
os.write(1, b"5 fd\\n"); sys.stderr.write("6 err\\n"); os.write(2, b"7 fd\\n"); print("8 out")
ctypes.CDLL(None).printf(b"9 c\\n")
"""
    )
    assert result.text().split("\n") == ["1 out", "2 err", "3 sh", "4 out", "5 fd", "6 err", "7 fd", "8 out", "9 c", ""]
    assert result.text("stderr") == "2 err\n6 err\n7 fd\n"


def test_subprocess_output_comes_before_the_reply(local):
    result = local.run("import subprocess; subprocess.run(['seq', '20000']);")
    assert result.text() == "".join(f"{n}\n" for n in range(1, 20001))


def test_silent_cell_is_one_reply(local):
    assert local.run("x = 1").messages == []


def test_a_burst_takes_few_messages(local):
    """The first bytes leave at once, and then there is a message every 10 ms at most, however many lines there are."""
    began = time.monotonic()
    result = local.run("for i in range(20_000): print('line', i)")
    windows = (time.monotonic() - began) / COALESCE
    messages = len(result.all("stream"))
    assert result.text().endswith("line 19999\n")
    assert 1 <= messages <= windows + 3, (messages, windows)  # and the first, the last, and one for an unfinished line


def test_any_bytes(local):
    data = bytes(range(256)) * 64
    result = local.run("import os, sys; d = bytes(range(256)) * 32; sys.stdout.buffer.write(d); os.write(1, d);")
    assert b"".join(part for _, part in result.output) == data


def test_any_text(local):
    result = local.run("print('ä€😀', '\\ud800', '\\udcff')")
    assert (result.status, result.text()) == ("ok", "ä€😀 \\ud800 \\udcff\n")


def test_stream_objects(local):
    code = """
import io, sys
for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
    assert stream.fileno() == number == stream.buffer.fileno() and not stream.isatty() and stream.writable()
    assert isinstance(stream, io.TextIOBase) and stream.encoding == "utf-8" and not stream.closed
    assert stream.write("abc") == 3 and stream.buffer.write(memoryview(b"abcd")) == 4
    stream.writelines(["x", "y"]); stream.reconfigure(line_buffering=True); stream.flush(); stream.close()
try: sys.stdout.write(b"x")
except TypeError as err: print(err)
"""
    result = local.run(code)
    assert result.status == "ok", result.messages
    assert result.text("stderr") == "abcabcdxy"
    assert result.text("stdout").startswith("abcabcdxywrite() argument must be str")


def test_flood_with_slow_server(local):
    """The process waits for acknowledgements, and neither it nor its queue to us grows."""
    local.acks = False
    size = 50 << 20
    request = local.start(f"import sys\nfor _ in range({size >> 16}): sys.stdout.write('x' * 65535 + '\\n')")
    wait_until(lambda: local.poll() and local.seq > (1 << 20) * 0.9, "a full ring")
    while local.poll(0.5):
        pass
    assert local.seq < 1 << 20, "more came than the ring holds"
    memory = rss(local.pid)
    local.acks = True
    local.send("stream_ack", {"seq": local.seq})
    result = local.finish(request)
    assert result.status == "ok"
    assert local.seq == size == sum(len(data) for _, data in local.output)
    assert rss(local.pid) < memory + (16 << 20)
    assert max(len(m.buffers[0]) for m in result.messages) <= 256 << 10


def test_flood_of_a_subprocess(local):
    result = local.run("import subprocess; subprocess.run(['head', '-c', str(20 << 20), '/dev/zero']);")
    assert sum(len(data) for _, data in result.output) == 20 << 20


def test_interrupt_while_waiting_for_room(local):
    local.acks = False
    request = local.start("while True: print('y' * 1000)")
    while local.seq < (1 << 20) * 0.9:
        local.poll()
    local.send("interrupt_request", {"parent": request})
    local.acks = True
    local.send("stream_ack", {"seq": local.seq})
    assert local.finish(request).content["ename"] == "KeyboardInterrupt"
    assert local.run("print('on')").text() == "on\n"


def test_interrupts_never_break_the_ring(local):
    """Interrupt a printing loop again and again: every byte stays in its place."""
    for _ in range(30):
        request = local.start("while True:\n    print('abcdefghij' * 10); os.write(1, b'')" if _ else "import os")
        if _:
            local.wait_output("j")
            local.send("interrupt_request", {"parent": request})
        local.finish(request)
        # The last line may be cut: an interrupt between two writes of one print is nobody's fault.
        assert set(local.text("stdout").split("\n")[:-1]) <= {"abcdefghij" * 10}
        local.output.clear()
    assert local.run("print('fine')").text() == "fine\n"


def test_print_from_a_signal_handler_and_a_thread(local):
    code = """
import signal, threading
signal.signal(signal.SIGALRM, lambda *_: print("S" * 50))
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
threads = [threading.Thread(target=lambda c=c: [print(c * 50) for _ in range(500)]) for c in "ab"]
for thread in threads: thread.start()
for _ in range(3000): print("m" * 50)
for thread in threads: thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
"""
    result = local.run(code)
    assert result.status == "ok", result.messages
    text = result.text()
    assert [text.count(c * 50) for c in "abm"] == [500, 500, 3000]
    assert set(text) <= set("abmS\n")


def test_output_between_cells_goes_under_the_last_one(local):
    request = local.start("import threading; t = threading.Timer(0.2, print, ['late']); t.start()")
    local.finish(request)
    message = local.wait(lambda m: m.type == "stream" and m.buffers[0].startswith(b"late"))
    assert message.parent_id == request
    assert local.run("t.join(); print('next')").text() == "next\n"


def test_cell_that_closes_descriptors(local):
    result = local.run("import os; os.close(1); os.close(2); print('python level')")
    assert (result.status, result.text()) == ("ok", "python level\n")
    result = local.run("os.system('echo again; echo error >&2'); print('done')")
    assert result.text() == "again\nerror\ndone\n"


def test_redirected_descriptor_stays(local, tmp_path):
    file = tmp_path / "file"
    local.run(f"import os; fd = os.open({str(file)!r}, os.O_CREAT | os.O_WRONLY); keep = os.dup(1); os.dup2(fd, 1)")
    local.run("os.write(1, b'there')")
    assert local.run("os.dup2(keep, 1); os.write(1, b'here\\n');").text() == "here\n"
    assert file.read_text() == "there"


def test_daemon_that_floods_does_not_keep_a_cell_from_ending(local):
    result = local.run("import subprocess; p = subprocess.Popen(['yes']);")
    assert result.status == "ok"
    assert local.run("p.kill(); p.wait();").status == "ok"


@pytest.mark.parametrize(
    ("code", "signal", "status"),
    [
        ("os.kill(os.getpid(), 9)", "SIGKILL", None),
        ("os._exit(3)", None, 3),
        ("ctypes.string_at(0)", "SIGSEGV", None),
        ("os.abort()", "SIGABRT", None),
    ],
)
def test_nothing_printed_is_lost_at_death(node, spawn, code, signal, status):
    (process,) = spawn(node)
    process.acks = False
    text = "print('x' * 99999); os.write(1, b'fd\\n'); os.write(2, b'err\\n'); sys.stderr.write('last\\n')"
    process.start(f"import os, sys, ctypes\n{text}\n{code}", path="/nowhere/train.py", line=10)
    news = node.bury(process)
    assert (news["signal"], news["code"], news["asked"]) == (signal, status, False)
    assert process.text("stdout") == "x" * 99999 + "\nfd\n"
    assert process.text("stderr").startswith("err\nlast\n")
    if signal in ("SIGSEGV", "SIGABRT"):
        assert 'File "/nowhere/train.py", line 12 in <module>' in process.text("stderr")


def test_killed_while_the_ring_is_full(node, spawn):
    (process,) = spawn(node)
    process.acks = False
    process.start("n = 0\nwhile True:\n    n += 1\n    print(n)")
    while process.seq < (1 << 20) * 0.5:
        process.poll()
    node.ask("signal_request", {"name": process.name, "signal": "SIGKILL"})
    assert node.bury(process)["asked"]
    lines = process.text().split("\n")
    assert lines[:-1] == [str(n) for n in range(1, len(lines))]


def test_forked_children(local):
    code = """
import os, sys, multiprocessing
pid = os.fork()
if pid == 0:
    print("child print"); sys.stderr.write("child error\\n"); os.system("echo child sh"); os._exit(7)
print("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
def work(n):
    print("worker", n)
processes = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(2)]
for p in processes: p.start()
for p in processes: p.join()
print("parent", [p.exitcode for p in processes])
"""
    text = local.run(code).text()
    for line in ("child print", "child error", "child sh", "status 7", "worker 0", "worker 1", "parent [0, 0]"):
        assert line + "\n" in text


@pytest.mark.parametrize(
    ("last", "status"), [("x = 1", 0), ("1 / 0", 1), ("sys.exit(5)", 5), ("sys.exit()", 0), ("display(1)", 0)]
)
def test_forked_child_that_leaves_the_cell_is_silent_on_the_socket(local, last, status):
    result = local.run(f"import os, sys; pid = os.fork()\nif pid == 0:\n    print('in child')\n    {last}")
    assert result.status == "ok"
    result = local.run("print('child:', os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
    assert f"child: {status}\n" in result.text()
    assert result.status == "ok"
    assert "in child\n" in local.text()
    if "0" in last:
        assert "ZeroDivisionError" in local.text()


def rss(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def test_a_finaliser_that_prints_while_the_process_forks(local):
    """Until the child knows that it is one, it must not write into the ring, which is its parent's, too."""
    request = local.start(
        "import gc, os, threading\n"
        "class Loud:\n"
        "    def __init__(self): self.me = self\n"
        "    def __del__(self): print('dying')\n"
        "class Early(threading.Thread):\n"  # what Python does first of all after a fork is to tell its threads
        "    def _reset_internal_locks(self, *args):\n"
        "        Loud(); gc.collect()\n"
        "        super()._reset_internal_locks(*args)\n"
        "    def _after_fork(self, *args):\n"
        "        Loud(); gc.collect()\n"
        "        super()._after_fork(*args)\n"
        "done = threading.Event()\n"
        "Early(target=done.wait).start()\n"
        "for n in range(20):\n"
        "    print('parent', n)\n"
        "    if not (pid := os.fork()): os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
        "done.set()"
    )
    assert local.finish(request).status == "ok"
    assert local.run("print('on')").status == "ok"
    assert [line for line in local.text().splitlines() if line != "dying"] == [
        *(f"parent {n}" for n in range(20)),
        "on",
    ]


def test_what_is_printed_before_the_server_says_hello_is_kept(node, spawn, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(1, b'early\\n'); os.write(2, b'errors, too\\n')")
    (rank,) = spawn(node, 1, method="spawn", env={"PYTHONPATH": str(tmp_path)}, hello=False)
    wait_until(lambda: not any(_unread(rank.pid, fd) for fd in (1, 2)), "the I/O thread to take it")
    rank.hello = rank.ask("hello", {"protocol": 1})
    result = rank.run("print('late')")
    assert (result.status, rank.text("stdout"), rank.text("stderr")) == ("ok", "early\nlate\n", "errors, too\n")


def _unread(pid, fd):
    """Return how many bytes there are in the pipe that a process prints to."""
    pipe = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        os.close(pipe)
