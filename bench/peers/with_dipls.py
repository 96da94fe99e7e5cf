"""dipls as its user meets it: the binary. What is measured below that is in bench/figures.

Groups: start, from nothing to the first cell; kernel, the first byte; attached, an editor over a living session;
hosts, the start on several hosts. Training is in with_torchrun.py.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from procfs import descendants, sum_pss
from samples import attempt, emit, plan


def events(p, file, *flags):
    """The events of `dipls run FILE`, each as it comes."""
    command = [p["dipls"], "run", file, "--python", sys.executable, "--json", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        raise RuntimeError(f"dipls run ended with exit code {process.returncode}")


def script(name, code):
    path = Path(name)
    path.write_text(code)
    return str(path)


def measure_start(p):
    emit("start", [start(p)])


def start(p, *flags):
    """How long it takes from nothing until the first cell has imported torch, in seconds."""
    cell = script("start.py", "# %%\nimport torch\n")
    begin = time.perf_counter()
    for event in events(p, cell, "-n", str(p["ranks"]), "--target", "remote", *flags):
        if event["event"] == "run_finished":
            assert event["status"] == "ok", event
            took = time.perf_counter() - begin
    return took


def measure_hosts(p):
    """Hosts that have nothing yet. They share this machine's cores, so torch's import is that of as many processes."""
    subprocess.run(
        [sys.executable, "-c", "import torch"], check=True
    )  # what has to be read from the disk does not count
    emit("hosts_import", [together(len(p["hosts"]), sys.executable, "-c", "import torch")])
    emit("hosts_start", [start(p, "--hosts", ",".join(p["hosts"]))])


def together(count, *command):
    """How long it takes until so many processes have ended that start at once, in seconds.

    Each has a session of its own, as on hosts: between sessions the system shares the cores.
    """
    begin = time.perf_counter()
    processes = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    codes = [process.wait() for process in processes]
    assert not any(codes), f"{command[0]} ended with exit codes {codes}"
    return time.perf_counter() - begin


def measure_first_byte(p):
    loop = f"for _ in range({p['first_bytes']}):\n    print(time.time_ns())\n    time.sleep(0.25)\n"
    cell = script("first_byte.py", "import time\n" + loop)
    samples = []
    for event in events(p, cell, "-n", "1", "--target", "remote", "--app", "none"):
        if event["event"] == "stream" and event["name"] == "stdout" and event["text"].strip():  # not the end of a line
            samples.append((time.time_ns() - int(event["text"].split()[0])) / 1e6)
    assert len(samples) == p["first_bytes"], f"{len(samples)} of {p['first_bytes']} lines came one by one"
    emit("first_byte", samples)


def measure_attached(p):
    """Windows over a living session, and in turn with a session of their own; then the idle session's memory."""
    cell = "for i in range(20_000):\n    print(i)\n"  # 20 of them print 2 MB, of which the session keeps all
    file = Path(script("train.py", "".join(f"# %% Step {i}\n{cell}" for i in range(20))))
    session = ["--session", Path.cwd().name, "--keep", "forever", "--python", sys.executable]
    subprocess.run([p["dipls"], "run", file, *session, "--target", "local"], stdout=subprocess.DEVNULL, check=True)
    try:
        own, attached = [], []
        for _ in range(p["windows"]):
            own.append(window(p, file, keep="0"))
            attached.append(window(p, file, keep="forever"))
        emit("window_own", [lenses for lenses, _ in own])
        emit("window_attached", [lenses for lenses, _ in attached])
        emit("window_past", [past for _, past in attached])
        emit("session_memory", [session_memory(p)])
    finally:
        subprocess.run([p["dipls"], "stop", "--all"], check=True)


def window(p, file, keep):
    """How long an editor's window takes, in milliseconds: from the start of its server until the lenses are there and
    the session is attached, if there is one that is kept, and until all that this remembers has come.
    """
    begin = time.perf_counter()
    uri, folder = file.resolve().as_uri(), file.resolve().parent.as_uri()
    options = {"events": True, "trusted": True, "python": sys.executable, "session": {"keep": keep}}
    start = {
        "processId": None,
        "rootUri": folder,
        "workspaceFolders": [{"uri": folder, "name": "bench"}],
        "capabilities": {},
        "initializationOptions": options,
    }
    document = {"uri": uri, "languageId": "python", "version": 1, "text": file.read_text()}
    steps = ["lenses"] if keep == "0" else ["lenses", "attached", "past"]
    took = {}
    with subprocess.Popen([p["dipls"], "lsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        send(server, id=1, method="initialize", params=start)
        receive(server, lambda m: m.get("id") == 1)
        send(server, method="initialized", params={})
        send(server, method="textDocument/didOpen", params={"textDocument": document})
        send(server, id=2, method="textDocument/codeLens", params={"textDocument": {"uri": uri}})
        while len(took) < len(steps):
            m = receive(server, lambda m: m.get("id") == 2 or m.get("method") == "dip/session")
            if "result" in m:
                assert m["result"], "there are no lenses"
                step = "lenses"
            else:
                assert m["params"]["state"] == "reattached", m
                step = "attached" if m["params"].get("past") else "past"
            took[step] = (time.perf_counter() - begin) * 1000
        send(server, id=3, method="shutdown")
        receive(server, lambda m: m.get("id") == 3)
        send(server, method="exit")
    return max(took["lenses"], took.get("attached", 0)), took.get("past")


def send(server, **message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    server.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    server.stdin.flush()


def receive(server, wanted):
    """The next message that is wanted."""
    while header := server.stdout.readline():
        size = int(header.split(b":")[1])
        while server.stdout.readline().strip():
            pass
        message = json.loads(server.stdout.read(size))
        if wanted(message):
            return message
    raise RuntimeError("the server has ended")


def session_memory(p):
    """The memory of the session that nobody is attached to, without its Python, in MB."""
    (about,) = json.loads(subprocess.check_output([p["dipls"], "sessions", "--json"]))
    program = os.stat(p["dipls"])
    pids = {about["pid"], *descendants(about["pid"])}
    own = [pid for pid in pids if os.path.samestat(os.stat(f"/proc/{pid}/exe"), program)]
    return sum_pss(own)


if __name__ == "__main__":
    group = sys.argv[2]
    measure, figures = {
        "start": (measure_start, "start"),
        "kernel": (measure_first_byte, "first_byte"),
        "attached": (measure_attached, "window and session_memory"),
        "hosts": (measure_hosts, "hosts_start"),
    }[group]
    attempt(figures, measure, plan())
