"""The node: starting, spawning, deaths, and leaving nothing behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import AGENT_DIR, Peer, Process, alive, meeting, wait_until

from dip_agent import system

ENV = "import os; print({k: os.environ.get(k) for k in %r})"


def environment(process, *names: str) -> dict[str, str | None]:
    import ast

    return ast.literal_eval(process.run(ENV % (names,)).text())


def fds(pid: int) -> dict[int, str]:
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            pass
    return found


def test_hello(node):
    facts = node.facts
    assert facts["pid"] == node.popen.pid == node.ready["pid"]
    assert facts["start_time"] == node.ready["start_time"] > 0
    assert facts["python"].startswith("3.")
    assert {"ipython", "pyzmq", "cloudpickle"} <= set(facts["packages"])
    assert all(facts["packages"].values())


def test_permissions(node, local):
    assert (node.runtime_dir.stat().st_mode & 0o777) == 0o700
    for name in ("node", local.name):
        assert (node.runtime_dir / name).stat().st_mode & 0o077 == 0


def test_nothing_listens_on_tcp(node, local):
    for pid in (node.popen.pid, local.pid):
        lines = Path(f"/proc/{pid}/net/tcp").read_text() + Path(f"/proc/{pid}/net/tcp6").read_text()
        listening = {line.split()[9] for line in lines.splitlines() if line.split()[3] == "0A"}
        assert not [target for target in fds(pid).values() if target[8:-1] in listening]


def test_missing_packages(tmp_path):
    """An interpreter without the packages gets an answer and not a traceback."""
    code = f"import sys; sys.path[:] = [{str(AGENT_DIR)!r}] + [p for p in sys.path if 'packages' not in p]"
    read, write = os.pipe()
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{code}\nfrom dip_agent import boot; sys.exit(boot.main(['agent'], ''))"],
        input=b'{"extra_path": []}\n',
        preexec_fn=lambda: os.dup2(write, 3),
        close_fds=False,
        capture_output=True,
        timeout=60,
    )
    os.close(write)
    with open(read) as ready:
        line = json.loads(ready.read())
    assert done.returncode == 1, done.stderr
    assert line["ready"] is False
    assert {"IPython", "cloudpickle"} <= set(line["missing"]) <= {"IPython", "zmq", "cloudpickle"}
    assert "IPython" in line["error"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_environment_of_ranks(node, spawn, method):
    ranks = spawn(node, 2, app="none", method=method, env={"EXTRA": "ä b=c"})
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "JAX_PROCESS_ID", "JAX_NUM_PROCESSES", "EXTRA")
    assert node.spawned["method"] == method
    for rank, process in enumerate(ranks):
        found = environment(process, *names)
        port = str(node.spawned["master_port"])
        assert list(found.values()) == [str(rank), "2", "127.0.0.1", port, str(rank), "2", "ä b=c"]
        assert process.hello["rank"] == rank
        assert process.hello["pid"] == process.pid
        assert environment(process, "GLOO_SOCKET_IFNAME", "MPLBACKEND") == {
            "GLOO_SOCKET_IFNAME": "lo",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        }
        address = environment(process, "JAX_COORDINATOR_ADDRESS")["JAX_COORDINATOR_ADDRESS"]
        assert address.startswith("127.0.0.1:")
        assert address != f"127.0.0.1:{port}"
    assert len({process.pid for process in ranks} | {node.popen.pid}) == 3


def test_ranks_of_a_pool_that_began_on_another_node(make_node):
    """They meet the others where that one's node has said."""
    node = make_node()
    wanted = [{"name": f"r{n}-1", "rank": n, "key": "00" * 32, "app": "none", "env": {"RANK": str(n)}} for n in (2, 3)]
    meet = {**meeting(4, master_port=4711, jax_port=4712), "address": "10.77.0.10"}
    reply = node.ask("spawn_request", {"method": "spawn", "rendezvous": meet, "processes": wanted})
    assert (reply["status"], reply["master_port"], reply["jax_port"]) == ("ok", 0, 0)
    for rank, facts in zip((2, 3), reply["processes"]):
        process = Process(f"{node.runtime_dir}/{facts['name']}", bytes(32), facts)
        node.processes.append(process)
        process.ask("hello", {"protocol": 1})
        names = ("MASTER_ADDR", "MASTER_PORT", "JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID", "GLOO_SOCKET_IFNAME")
        found = environment(process, *names)
        assert list(found.values()) == ["10.77.0.10", "4711", "10.77.0.10:4712", str(rank), None]


def test_users_environment_wins(make_node):
    node = make_node(env={"OMP_NUM_THREADS": "3", "MPLBACKEND": "agg", "GLOO_SOCKET_IFNAME": "lo", "GONE": "1"})
    node.ask("preload_request", {"modules": ["json"]})
    (rank,) = node.spawn(1)
    assert environment(rank, "OMP_NUM_THREADS", "MPLBACKEND") == {"OMP_NUM_THREADS": "3", "MPLBACKEND": "agg"}


def test_threads_of_ranks_and_of_the_local_namespace(make_node):
    node = make_node()
    node.ask("preload_request", {"modules": ["json"]})
    (local,), (rank,) = node.spawn(), node.spawn(1)
    assert environment(rank, "OMP_NUM_THREADS") == {"OMP_NUM_THREADS": "1"}
    assert environment(local, "OMP_NUM_THREADS") == {"OMP_NUM_THREADS": None}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_are_apart(node, spawn, method):
    """Each has its own group and descriptors. If one ends, its peers see an end of file, and others see nothing."""
    first, second = spawn(node, 2, method=method)
    for process in (first, second):
        assert os.getpgid(process.pid) == process.pid
    pipes = [{target for target in fds(p.pid).values() if target.startswith("pipe")} for p in (first, second)]
    shared = pipes[0] & pipes[1]
    assert len(shared) <= 1, f"log and nothing else: {shared}"
    if method == "fork":
        # Nothing that still lives in the fork may close, one day, a number that is another's by now.
        assert first.run("get_ipython().reset(); import gc; gc.collect();").status == "ok"
        assert first.run("print('on')").text() == "on\n"
    assert first.run("import os; os.readlink('/proc/self/fd/0')").all("execute_result")[0]["data"] == {
        "text/plain": "'/dev/null'"
    }
    # A program that user code starts gets the three standard descriptors.
    assert first.run("import os; os.system('ls /proc/self/fd');").text().split() == ["0", "1", "2", "3"]


def test_failed_start_leaves_nothing(node):
    (node.runtime_dir / "r1-9").mkdir()  # where a socket should go
    node.generation = 8
    assert node.spawn(3) == []
    assert node.spawned["status"] == "error"
    assert "r1-9 could not start" in node.spawned["evalue"]
    (node.runtime_dir / "r1-9").rmdir()
    assert node.ask("signal_request", {"name": "r0-9", "signal": "SIGKILL"})["sent"] is False
    assert sorted(path.name for path in node.runtime_dir.iterdir()) == ["node"]


@pytest.fixture
def half_started(make_node, tmp_path):
    """A node whose spawn_request hangs: rank 0 has started, rank 1 waits for ever as its interpreter starts."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import os\nif os.environ.get('RANK') == '1': open({str(tmp_path / 'never')!r}).read()\n"
    )
    os.mkfifo(tmp_path / "never")
    node = make_node()
    processes = [
        {
            "name": f"r{rank}-0",
            "rank": rank,
            "key": "00" * 32,
            "app": "none",
            "env": {"PYTHONPATH": str(tmp_path), "RANK": str(rank), "WORLD_SIZE": "2"},
        }
        for rank in range(2)
    ]
    request = {"method": "spawn", "rendezvous": meeting(2), "processes": processes}
    node.request = node.send("spawn_request", request)
    wait_until(lambda: (node.runtime_dir / "r0-0").exists(), "rank 0's socket")
    rank = Peer(f"{node.runtime_dir}/r0-0", bytes(32))
    wait_until(lambda: rank.ask("status_request", reply="status")["execution_state"] == "idle", "rank 0's start")
    rank.close()
    yield node
    assert node.reply(node.request, "spawn_reply")["status"] == "error"
    assert sorted(path.name for path in node.runtime_dir.iterdir()) == ["node"]
    (process,) = node.spawn(1)
    assert process.run("print('on')").text() == "on\n"


def test_start_that_is_given_up_leaves_nothing(half_started):
    """As the server does after its patience, or at an interrupt: it kills what it has asked for."""
    for name in ("r0-0", "r1-0"):
        assert half_started.ask("signal_request", {"name": name, "signal": "SIGKILL"})["sent"] is False


def test_deaths_before_a_start_is_complete(half_started):
    half_started.send("signal_request", {"name": "r0-0", "signal": "SIGTERM"})
    assert half_started.exited("r0-0").content["signal"] == "SIGTERM"
    half_started.send("signal_request", {"name": "r1-0", "signal": "SIGTERM"})


def test_bad_requests(node):
    assert node.ask("spawn_request", {})["status"] == "error"
    assert node.ask("spawn_request", {"method": "fork", "processes": []})["status"] == "ok"
    assert node.ask("signal_request", {"name": "nobody", "signal": "SIGTERM"}) == {"status": "ok", "sent": False}
    assert node.ask("nonsense_request")["status"] == "error"


def test_preload(make_node, tmp_path):
    (tmp_path / "fine.py").write_text("import os\nfd = os.open(__file__, os.O_RDONLY)\nprint('noise')\n")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "leaves.py").write_text("import sys; sys.exit(3)")
    node = make_node()
    reply = node.ask("preload_request", {"modules": ["fine", "broken", "leaves", "nowhere"]})
    assert [failed["module"] for failed in reply["failed"]] == ["broken", "leaves", "nowhere"]
    assert "ZeroDivisionError" in reply["failed"][0]["error"]
    assert (reply["fork_safe"], reply["reason"]) == (True, "")
    (process,) = node.spawn()
    # A descriptor that a module opened is its own, and stays.
    assert (
        process.run("import os, sys; print('fine' in sys.modules, os.fstat(sys.modules['fine'].fd).st_size > 0)").text()
        == "True True\n"
    )


def test_fork_is_refused_after_a_thread(make_node, tmp_path):
    (tmp_path / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, name='T', daemon=True).start()"
    )
    node = make_node()
    reply = node.ask("preload_request", {"modules": ["threaded"]})
    assert (reply["fork_safe"], reply["reason"]) == (False, "a preloaded module started the thread T")
    (process,) = node.spawn()
    assert (node.spawned["method"], node.spawned["reason"]) == ("spawn", reply["reason"])
    assert process.run("1").status == "ok"
    assert node.spawn(method="fork") == []
    assert "cannot be forked" in node.spawned["evalue"]


NATIVE = """
import ctypes
libc = ctypes.CDLL(None)
assert libc.pthread_create(ctypes.byref(ctypes.c_ulong()), None, libc.sleep, ctypes.c_void_p(10**6)) == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_fork_is_refused_after_a_native_thread(make_node, tmp_path):
    (tmp_path / "native.py").write_text(NATIVE)
    node = make_node()
    reply = node.ask("preload_request", {"modules": ["json", "native"]})
    reason = "native started native threads (python), which a fork would lack"
    name = Path(f"/proc/{node.facts['pid']}/comm").read_text().strip()
    assert (reply["fork_safe"], reply["reason"]) == (False, reason.replace("python", name))
    ranks = node.spawn(2)
    assert (node.spawned["method"], node.spawned["reason"]) == ("spawn", reply["reason"])
    assert [rank.run("1").status for rank in ranks] == ["ok", "ok"]
    assert node.spawn(method="fork") == []
    assert reply["reason"] in node.spawned["evalue"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
@pytest.mark.parametrize("module", ["numpy", "numexpr", "pyarrow"])
def test_threads_that_take_part_in_forks_are_no_obstacle(make_node, module):
    pytest.importorskip("numpy")
    pytest.importorskip(module)
    node = make_node(env={"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "3"})
    reply = node.ask("preload_request", {"modules": ["numpy", module]})
    assert (reply["failed"], reply["fork_safe"], reply["reason"]) == ([], True, "")
    if len(os.listdir(f"/proc/{node.facts['pid']}/task")) <= 3:  # ours
        pytest.skip(f"this {module} starts no threads")
    ranks = node.spawn(2)
    assert node.spawned["method"] == "fork"
    code = (
        "import numpy as np, os\nx = np.ones((300, 300))\nprint((x @ x).sum(), len(os.listdir('/proc/self/task')) > 2)"
    )
    assert [rank.run(code).text() for rank in ranks] == ["27000000.0 True\n"] * 2


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("polars", "import polars; print(polars.DataFrame({'a': [1, 1, 2]}).group_by('a').len().height)"),
        ("jax", "import jax.numpy; print(int(jax.numpy.ones(2).sum()))"),
    ],
)
def test_libraries_with_threads_of_their_own_work_on_ranks(make_node, tmp_path, module, code):
    pytest.importorskip(module)
    (tmp_path / "uses.py").write_text(code)
    node = make_node()
    reply = node.ask("preload_request", {"modules": ["uses"]})
    assert "uses started native threads (" in reply["reason"]
    assert module in reply["reason"]
    ranks = node.spawn(2)
    assert [rank.run(code).text() for rank in ranks] == ["2\n"] * 2


def test_signals(node, spawn):
    (process,) = spawn(node)
    process.run("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    request = process.start("while True: pass")
    wait_until(lambda: process.ask("status_request", reply="status")["execution_state"] == "busy", "a busy process")
    assert node.ask("signal_request", {"name": process.name, "signal": "SIGINT"})["sent"]
    assert process.finish(request).content["ename"] == "KeyboardInterrupt"
    assert node.ask("signal_request", {"name": process.name, "signal": "SIGTERM"})["sent"]
    assert process.run("1").status == "ok"
    assert node.ask("signal_request", {"name": process.name, "signal": "SIGKILL"})["sent"]
    news = node.exited(process.name).content
    assert (news["signal"], news["code"], news["asked"], news["oom"]) == ("SIGKILL", None, True, False)
    assert (news["pid"], news["start_time"]) == (process.pid, node.spawned["processes"][0]["start_time"])
    assert not node.ask("signal_request", {"name": process.name, "signal": "SIGKILL"})["sent"]


CHILDREN = """
import os, subprocess, sys, time
same = subprocess.Popen(["sleep", "1000"])
apart = subprocess.Popen(["sleep", "1000"], start_new_session=True)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"%d" % os.getpid())
        time.sleep(1000)
    os._exit(0)
print(same.pid, apart.pid, int(os.read(read, 20)))
"""


def descendants(process) -> list[int]:
    pids = [int(pid) for pid in process.run(CHILDREN).text().split()]
    assert all(map(alive, pids))
    return pids


def test_descendants_die_with_their_process(node, spawn):
    process, other = spawn(node, 2)
    pids = descendants(process)
    others = descendants(other)
    os.kill(process.pid, signal.SIGKILL)
    assert node.exited(process.name).content["asked"] is False
    wait_until(lambda: not any(map(alive, pids)), "the end of the descendants")
    assert all(map(alive, others))


def test_descendants_die_after_a_shutdown_too(node, spawn):
    (process,) = spawn(node)
    pids = descendants(process)
    process.ask("shutdown_request")
    node.exited(process.name)
    wait_until(lambda: not any(map(alive, pids)), "the end of the descendants")


def test_the_server_goes(make_node):
    node = make_node()
    (process,) = node.spawn()
    pids = descendants(process)
    process.start("while True: pass")
    node.popen.stdin.close()
    assert node.popen.wait(60) == 0
    assert not any(map(alive, [process.pid, *pids]))
    assert not node.runtime_dir.exists()


def test_the_server_asks_it_to_go(make_node):
    node = make_node()
    (process,) = node.spawn()
    pids = descendants(process)
    assert node.ask("shutdown_request") == {"status": "ok"}
    assert node.popen.wait(60) == 0
    assert not any(map(alive, [process.pid, *pids]))
    assert list(node.runtime_dir.iterdir()) == []
    remove(node)


def test_sigterm_ends_a_node(make_node):
    node = make_node()
    (process,) = node.spawn()
    node.popen.terminate()
    assert node.popen.wait(60) == 0
    assert not alive(process.pid)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_die_with_their_node(make_node, method):
    node = make_node()
    ranks = node.spawn(2, method=method)
    ranks[0].start("while True: pass")
    node.popen.kill()
    node.popen.wait(60)
    wait_until(lambda: not any(alive(rank.pid) for rank in ranks), "the end of the ranks")
    remove(node)


def test_lifeline_alone(make_node):
    """Where the kernel does not tell a child of its parent's death, the end of a pipe does."""
    node = make_node()
    (process,) = node.spawn()
    process.run("import ctypes; ctypes.CDLL(None).prctl(1, 0)")
    process.start("while True: pass")
    node.popen.kill()
    wait_until(lambda: not alive(process.pid), "the end of the process")
    remove(node)


def remove(node) -> None:
    """Remove what a killed node leaves, as the server does."""
    for path in node.runtime_dir.iterdir():
        path.unlink()
    node.runtime_dir.rmdir()


SHARED = """
import multiprocessing
from multiprocessing import shared_memory
held = shared_memory.SharedMemory(create=True, size=1 << 20)
lock = multiprocessing.get_context("spawn").Lock()
print(f"/dev/shm/{held.name} /dev/shm/sem.{lock._semlock.name[1:]}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="names of shared memory are seen on Linux only")
@pytest.mark.parametrize("end", ["killed", "killed by request", "asked", "terminated", "the node goes"])
def test_shared_memory_is_freed(make_node, end):
    node = make_node()
    (process,) = node.spawn()
    names = process.run(SHARED).text().split()
    assert all(map(os.path.exists, names))
    if end == "killed":
        os.kill(process.pid, signal.SIGKILL)
    elif end == "killed by request":
        node.ask("signal_request", {"name": process.name, "signal": "SIGKILL"})
    elif end == "terminated":
        node.ask("signal_request", {"name": process.name, "signal": "SIGTERM"})
    elif end == "asked":
        process.ask("shutdown_request")
    else:
        node.popen.stdin.close()
    wait_until(lambda: not any(map(os.path.exists, names)), f"the end of {names}")


def test_mark_names_session_and_process(node, spawn):
    (process,) = spawn(node)
    assert environment(process, "DIPLS_PROCESS") == {"DIPLS_PROCESS": f"{node.runtime_dir.name}/{process.name}"}


def test_sigterm_ends_a_node_that_imports(make_node, tmp_path):
    (tmp_path / "endless.py").write_text(f"open({str(tmp_path / 'importing')!r}, 'w').close()\nwhile True: pass")
    node = make_node(env={"PYTHONPATH": str(tmp_path)})
    (process,) = node.spawn()
    node.send("preload_request", {"modules": ["endless"]})
    wait_until((tmp_path / "importing").exists, "the import")
    node.popen.terminate()
    assert node.popen.wait(60) == -signal.SIGTERM
    wait_until(lambda: not alive(process.pid), "the end of the process")
    remove(node)


def _not_there(pid: int) -> int:
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.mark.skipif(not system.LINUX, reason="elsewhere groups are killed")
@pytest.mark.parametrize("pidfd_open", [None, _not_there], ids=["old Python", "old kernel"])
def test_a_kill_without_descriptors_of_processes(monkeypatch, pidfd_open):
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    if pidfd_open is not None:
        monkeypatch.setattr(os, "pidfd_open", pidfd_open, raising=False)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = system.start_time(process.pid)
        assert system.kill(process.pid, started + 1)
        assert process.poll() is None
        assert system.kill(process.pid, started)
        assert process.wait() == -signal.SIGKILL
    assert system.kill(process.pid, started)


@pytest.mark.skipif(not system.knows_children(), reason="the system does not tell")
def test_children_of_a_process_of_which_a_thread_ends(monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        listed = os.listdir
        monkeypatch.setattr(os, "listdir", lambda path: ["0", *listed(path)])  # no process has that number any more
        assert process.pid in system.child_pids()
        process.kill()
